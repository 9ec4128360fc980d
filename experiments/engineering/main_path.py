"""The main path in one run: find a ticket, sign it, retrain it, read it back, prune it, read again.

    python -m experiments main_path --dataset cifar10 --data DIR --preset quick --rounds 2 --out RUN
    python -m experiments main_path --smoke --out RUN

Resumable. Writes its section of RESULTS.md (in experiments/, or --results) and prints it. The published
figures beside ours are NeurIPS'21, Table 6 and Figure 3: ResNet-20 on CIFAR-10 at 19.4 % kept, 182 epochs a
round.
"""

from __future__ import annotations

import argparse
from typing import Any

import ticket_sig
from experiments.lib.document import Section, write_section
from experiments.lib.entry import run_options, this_machine
from experiments.lib.sections import history_table, pruning_table
from ticket_sig.datasets import load_dataset
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.pictures import accuracy_over_rounds, before_and_after
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.device import pick_precision


def report(
    ticket: Ticket, trained: Ticket, signature: CodeMark, pruned: list[str], recipe: Recipe
) -> list[str]:
    """The tables of its section."""
    place, kept = signature.placement, trained.mask.kept
    return [
        *history_table(trained.history, recipe.precision),
        "",
        f"Signed with `{signature.message}`: version {signature.version}, level {signature.level}, data mask "
        f"{signature.data_mask}, in {place.layer} at row {place.row}, column {place.column}; "
        f"{ticket.mask.kept} weights kept before and {kept} after. Then pruned by magnitude, not retrained:",
        "",
        *pruned,
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    run_options(parser, results=True)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--message", default="signature")


def main(options: argparse.Namespace) -> None:
    """Runs the path and writes its section."""
    changes: dict[str, Any] = {}
    if options.smoke:
        options.dataset, options.preset, options.rounds = "digits", "demo", 1
        changes["length"] = Steps(2)
    data = load_dataset(options.dataset, options.data)
    with this_machine() as engine:
        changes |= {"rounds": options.rounds, "precision": pick_precision("auto", engine.device)}
        recipe = preset(options.preset, arch="resnet20", dataset=data.name, **changes)
        ticket = ticket_sig.find(recipe, data, options.out / "find", engine=engine)
        signed = ticket_sig.embed(ticket, options.message)
        trained = ticket_sig.retrain(signed.ticket, recipe, data, options.out / "retrain", engine=engine)
    ticket_sig.save(trained, options.out / "signed", claim=signed.claim.to_json(), replace=True)
    pruned = pruning_table(trained, signed.claim, recipe, data, engine.device)
    title = f"Main path: ResNet-20 on {data.name}, {options.rounds} rounds, preset {options.preset}"
    code = of_kind(CodeMark, signed.claim)
    last, name = trained.history[-1], f"main_path-{data.name}_{options.preset}_{options.rounds}"
    outcome = ticket_sig.verify(trained, signed.claim).outcome
    found = f"{last.test:.2f} % right with {100 * last.density:.1f} % kept; {outcome}"
    section = Section(
        name,
        title,
        ["measured", "one seed", found],
        report(ticket, trained, code, pruned, recipe),
        recipes=[recipe.to_json()],
        stacks=[entry.made_with for entry in trained.history if entry.made_with],
    )
    text = write_section(options.results, section)
    pictures = options.results / "figures"
    maps = pictures / f"kernel_map-{data.name}.png"
    before_and_after(maps, ticket.mask, trained.mask, code.frame())
    accuracy_over_rounds(pictures / f"accuracy-{data.name}.png", trained.history)
    print(text)
