"""The main path in one run: find a ticket, sign it, retrain it, read it back, prune it, read again.

    python experiments/main_path.py --dataset cifar10 --data DIR --preset quick --rounds 2 --out RUN
    python experiments/main_path.py --smoke --out RUN

Resumable. Writes its section of RESULTS.md (beside this file, or --results) and prints it. The published
figures it stands beside are NeurIPS'21, Table 2 (accuracy) and Table 6 and Figure 3 (pruning), ResNet-20 on
CIFAR-10 at 19.4 % kept and 182 epochs a round.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from results import command, write_section

import ticket_sig
from ticket_sig.claim import Claim
from ticket_sig.cli.output import progress
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.pictures import accuracy_over_rounds, before_and_after
from ticket_sig.signatures.scheme2 import Signature
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, preset
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine
from ticket_sig.verification import verify
from ticket_sig.verification.statistics import format_p

RATES = (0.0, 0.05, 0.1, 0.2)


def sign_once(ticket: Ticket, message: str, folder: Path, **code: Any) -> tuple[Ticket, Claim]:
    """The signed ticket, kept in a folder: its key is drawn from the system, so a second run must read it."""
    if not folder.exists():
        signed = ticket_sig.embed(ticket, message, **code)
        ticket_sig.save(signed.ticket, folder, claim=signed.claim.to_json())
    found = load(folder)
    assert found.claim is not None
    return found.ticket, Claim.read(found.claim)


def attack_row(
    ticket: Ticket, claim: Claim, rate: float, recipe: Recipe, data: Dataset, engine: Engine
) -> list[str]:
    """One row of the table: the signed ticket after one-shot magnitude pruning."""
    pruned = prune_ticket(ticket, rate) if rate else ticket
    right = weights_accuracy(pruned.weights, recipe.arch, data, engine.device, recipe.precision)
    verdict = verify(pruned, claim)
    message = verdict.evidence["message"]
    agree = f"{verdict.evidence['matches']} / {verdict.evidence['data_modules']}"
    read = f"`{message}`" if message is not None else "cannot be read"
    return [f"{100 * rate:g} %", f"{right:.2f}", read, agree, format_p(verdict.log10_p), verdict.outcome]


def report(ticket: Ticket, trained: Ticket, claim: Claim, rows: list[list[str]], recipe: Recipe) -> str:
    """The section of RESULTS.md."""
    signature = Signature.from_json(claim.signature)
    entries = [entry for entry in trained.history if entry.test is not None]
    place, kept = signature.placement, trained.mask.kept
    rounds = [
        f"| {e.step} | {100 * e.density:.2f} | {e.validation:.2f} | {e.test:.2f} | {e.epochs} | {e.seconds} |"
        for e in entries
    ]
    lines = [
        "| step | kept % | validation % | test % | epochs | seconds |",
        "|---|---|---|---|---|---|",
        *rounds,
        "",
        f"Signed with `{signature.message}`: version {signature.version}, level {signature.level}, data mask "
        f"{signature.data_mask}, in {place.layer} at row {place.row}, column {place.column}; "
        f"{ticket.mask.kept} weights kept before and {kept} after. Then pruned by magnitude, not retrained:",
        "",
        "| pruned more | test % | message | data modules | p | verdict |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Recipe: `{json.dumps(recipe.to_json())}`",
        "",
        f"Made with: `{json.dumps(dict(entries[-1].made_with or {}))}`. One seed; "
        "the seconds are wall-clock, other work on the machine included.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs the path and writes its section."""
    parser = command(__doc__)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--message", default="signature")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.preset, options.rounds = "digits", "demo", 1
    device = pick_device()
    precision = pick_precision("auto", device)
    data = load_dataset(options.dataset, options.data)
    recipe = preset(
        options.preset, arch="resnet20", dataset=data.name, rounds=options.rounds, precision=precision
    )
    with progress() as bars:
        engine = Engine(device=device, progress=bars)
        ticket = ticket_sig.find(recipe, data, options.out / "find", engine=engine)
        embedded, claim = sign_once(ticket, options.message, options.out / "embedded")
        trained = ticket_sig.retrain(embedded, recipe, data, options.out / "retrain", engine=engine)
    ticket_sig.save(trained, options.out / "signed", claim=claim.to_json(), replace=True)
    rows = [attack_row(trained, claim, rate, recipe, data, engine) for rate in RATES]
    title = f"Main path: ResNet-20 on {data.name}, {options.rounds} rounds, preset {options.preset}"
    text = write_section(options.results / "RESULTS.md", title, report(ticket, trained, claim, rows, recipe))
    pictures = options.results / "figures"
    before_and_after(
        pictures / f"kernel_map-{data.name}.png",
        ticket.mask,
        trained.mask,
        Signature.from_json(claim.signature),
    )
    accuracy_over_rounds(pictures / f"accuracy-{data.name}.png", trained.history)
    print(text)


if __name__ == "__main__":
    main()
