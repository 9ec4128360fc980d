"""The second ticket in `checkpoints/`: QR code, spread and mirror code in the mask of the first, retrained.

    python -m experiments ship_carriers --data DIR --out RUN
    python -m experiments ship_carriers --smoke --out RUN --checkpoints DIR

Resumable. The secret is made once, in RUN, and is published beside the bundle: it is for trying things out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import ticket_sig
from experiments import CHECKPOINTS
from experiments.lib.entry import run_options, this_machine
from experiments.lib.sections import made_how, table
from experiments.lib.sturdiest import LEVEL, MESSAGE, VERSION
from experiments.shipping.ship_ticket import write_card
from ticket_sig.attacks import Scene, attack
from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.files import SECRET, make_folder, whole_file
from ticket_sig.formats import load
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.embed import Embedded, embed
from ticket_sig.marks.mark import verdict_on
from ticket_sig.marks.mask_change import moved
from ticket_sig.marks.secret import Secret
from ticket_sig.pictures import before_and_after
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.verdict import Verdict

FROM = "resnet20-cifar10"
MARKS = "qr-code+spread+mirror"
ATTACKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(
        (f"pruned by {100 * rate:g} % more", "magnitude-pruning", {"rate": rate})
        for rate in (0.05, 0.1, 0.2, 0.3, 0.5)
    ),
    ("2 % of the pruned weights back, as noise", "add-on", {"rate": 0.02}),
    ("10 % of the pruned weights back, as noise", "add-on", {"rate": 0.1}),
    ("quantized to 3 bits", "quantization", {"bits": 3}),
    ("channels permuted and rescaled", "permute-channels", {"rescale": 1000.0}),
)


def told(verdict: Verdict) -> str:
    """One mark of an attacked network, in a field of a table."""
    message = "cannot be read" if verdict.reading.message is None else f"`{verdict.reading.message}`"
    return f"{message}, {verdict.outcome}, p = {format_p(verdict.log10_p)}"


def survives(signed: Ticket, embedded: Embedded, recipe: Recipe, data: Dataset) -> list[str]:
    """A table of attacks without training: accuracy, and what is read of each mark."""
    rows = []
    tried = [("as it is", signed)]
    tried += [(words, attack(name, **given)(signed, Scene(recipe=recipe))) for words, name, given in ATTACKS]
    for words, network in tried:
        right = weights_accuracy(network.weights, recipe.arch, data, pick_device())
        found = [verdict_on(mark, network, len(embedded.marks), embedded.shown) for mark in embedded.marks]
        rows.append((words, f"{right:.2f}", *(told(one) for one in found if isinstance(one, Verdict))))
    return table(("attack", "test % (float32)", *(mark.name for mark in embedded.marks)), rows)


def card(before: Ticket, signed: Ticket, embedded: Embedded, recipe: Recipe, data: Dataset) -> list[str]:
    """The card."""
    name, mask = f"{recipe.arch}-{data.name}-spread", signed.mask
    right = {
        what: weights_accuracy(ticket.weights, recipe.arch, data, pick_device())
        for what, ticket in (("before", before), ("signed", signed))
    }
    place = of_kind(CodeMark, embedded.claim).placement
    rows = [
        (
            "network",
            f"{recipe.arch}, {mask.kept:,} of {mask.total:,} weights kept ({100 * mask.density:.2f} %)",
        ),
        ("data", recipe.dataset),
        ("test accuracy (float32)", f"{right['signed']:.2f} %"),
        (f"`{FROM}`, whose mask it was", f"{right['before']:.2f} % (float32)"),
        ("weights moved by the marks", f"{moved(before.mask, mask):,}"),
        ("message", f"`{MESSAGE}`, in each mark"),
        (
            "QR code",
            f"version {VERSION}, level {LEVEL}; {place.layer}, row {place.row}, column {place.column}",
        ),
        *(
            (one.name, f"{one.code.size} bits, each by {one.margin:.2f} standard deviations when signed")
            for one in embedded.marks
            if isinstance(one, Carrier)
        ),
    ]
    return [
        f"# {name}: three marks in one mask",
        "",
        *table(("", ""), rows),
        "",
        f"    ticket-sig verify checkpoints/{name} --claim checkpoints/{name}/claim.json \\",
        f"        --secret checkpoints/{name}.secret",
        f"    ticket-sig extract checkpoints/{name}                  # the QR code, which needs no secret",
        "",
        "The secret is public on purpose: this is an example. Keep your own.",
        f"The older code of `{FROM}` stood in the same mask, and part of it still does.",
        "",
        "![kernel map of the layer with the QR code, before and after signing](kernel_map.png)",
        "",
        "## What the marks survive",
        "",
        "One attack each, not trained on; p-values count the three marks that are tried:",
        "",
        *survives(signed, embedded, recipe, data),
        "",
        "## How it was made",
        "",
        f"`python -m experiments ship_carriers --data DIR --out RUN`, one seed ({recipe.seed}): the marks "
        f"are written into the mask of `{FROM}`, and the network is retrained from its rewind weights as "
        "that one was.",
        "",
        *made_how(recipe, signed.history[-1:]),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    run_options(parser)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)


def main(options: argparse.Namespace) -> None:
    """Signs, retrains, writes bundle, secret and card."""
    data = load_dataset("digits" if options.smoke else "cifar10", None if options.smoke else options.data)
    make_folder(options.out)
    kept = options.out / "owner.secret"
    if not kept.exists():
        Secret.fresh().write(kept)
    secret = Secret.read(kept)
    with this_machine() as engine:
        ticket, recipe = _first(options, engine, data)
        embedded = embed(ticket, MESSAGE, mark=MARKS, secret=secret, version=VERSION, level=LEVEL)
        signed = ticket_sig.retrain(embedded.ticket, recipe, data, options.out / "retrain", engine=engine)
    name = f"{recipe.arch}-{data.name}-spread"
    bundle = ticket_sig.save(signed, options.checkpoints / name, claim=embedded.claim.to_json(), replace=True)
    # As the bundle it replaces an earlier one: `Secret.write` would leave that beside the new bundle.
    with whole_file(options.checkpoints / f"{name}.secret", SECRET) as partial:
        partial.write_bytes(secret.value)
    code = of_kind(CodeMark, Claim.read(bundle / "claim.json"))
    before_and_after(bundle / "kernel_map.png", ticket.mask, signed.mask, code.frame())
    print(write_card(bundle, card(ticket, signed, embedded, recipe, data)))


def _first(options: argparse.Namespace, engine: Any, data: Dataset) -> tuple[Ticket, Recipe]:
    """The ticket whose mask is taken, and how it was retrained."""
    precision = pick_precision("auto", engine.device)
    if not options.smoke:
        shipped = load(CHECKPOINTS / FROM).ticket
        return shipped, replace(Recipe.from_json(shipped.recipe or {}), precision=precision)
    changes: dict[str, Any] = {"length": Steps(2), "rates": (0.5,), "tolerance": 99.0, "density": 0.3}
    recipe = preset("demo", arch="resnet20", dataset="digits", precision=precision, **changes)
    return ticket_sig.find(recipe, data, options.out / "find", engine=engine), recipe
