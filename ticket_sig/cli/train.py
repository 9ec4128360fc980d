"""Train a ticket under its mask, from its rewind weights (or on, with --start model).

The recipe is the bundle's own; options change it. A bundle made from a bare model file has none:
give --arch, --dataset and --start model. Stopped and started again, it goes on where it was.

With --triggers it is taught a trigger set beside the data (scheme 3), and the claim says so. A watermark that
the bundle's claim is of is kept (FreezeNet) or taught on (Uchida).

Example: ticket-sig train SIGNED --data DIR --out TRAINED
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.signatures.triggers import TriggerSet
    from ticket_sig.ticket import Round, Ticket


Bundle = Annotated[
    Path,
    typer.Option("--out", help="Bundle to write; OUT.run keeps the state until then.", show_default=False),
]
Start = Annotated[str, typer.Option(help="rewind: as a ticket is trained; model: go on from its weights.")]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.", show_default=False)]
DatasetName = Annotated[
    str | None, typer.Option(help="Data set, where the bundle does not say.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option(help="Another recipe: paper, open-lth, quick or demo.", show_default=False)
]
Triggers = Annotated[
    Path | None,
    typer.Option(help="Teach a trigger set: its secret's file, or a folder (scheme 3).", show_default=False),
]
TriggerSize = Annotated[int, typer.Option("--trigger-batch", help="Triggers appended to every batch.")]
Precision = Annotated[
    str | None, typer.Option(help="auto, bf16 or float32; the recipe's by default.", show_default=False)
]


def run(
    model: options.Model,
    bundle: Bundle,
    data: options.Data = None,
    triggers: Triggers = None,
    trigger_batch: TriggerSize = 6,
    start: Start = "rewind",
    arch: Arch = None,
    dataset: DatasetName = None,
    preset: Preset = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    precision: Precision = None,
    checkpoint_every: options.CheckpointEvery = 20,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import load_dataset
    from ticket_sig.formats import load, save
    from ticket_sig.lottery import retrain
    from ticket_sig.signatures.triggers import read_triggers
    from ticket_sig.training.batches import TriggerBatch
    from ticket_sig.training.device import pick_precision
    from ticket_sig.watermarks import WATERMARKS, mark_of

    options.check_free(bundle, force)
    loaded = load(model)
    claim = Claim.read(loaded.claim) if loaded.claim else None
    state = bundle.with_name(f"{bundle.name}.run")
    with options.engine(device, checkpoint_every) as engine:
        recipe = options.recipe_of(
            loaded.ticket.recipe,
            preset,
            arch=arch,
            dataset=dataset,
            seed=seed,
            precision=precision and pick_precision(precision, engine.device),
            **options.length_change(epochs),
        )
        images = load_dataset(recipe.dataset, data)
        taught = read_triggers(triggers, images.size, images.classes) if triggers else None
        batch = TriggerBatch(taught.split, trigger_batch) if taught else None
        mark = mark_of(claim) if claim and claim.scheme in WATERMARKS else None
        taught_too: dict[str, Any] = {"triggers": batch, "mark": mark, "engine": engine}
        ticket = retrain(loaded.ticket, recipe, images, state, start=start, **taught_too)
    claim = _claim(claim, taught, ticket)
    save(ticket, bundle, claim=claim.to_json() if claim else None, replace=force)
    shutil.rmtree(state)
    before, after = loaded.ticket.last_trained(), ticket.history[-1]
    if as_json:
        print_json({"bundle": str(bundle), "before": before and before.to_json(), "after": after.to_json()})
    else:
        _report(before, after, bundle)
        if mark:
            verdict = mark.read(ticket.weights).verdict()
            out.print(f"watermark: {verdict.statistic}; {verdict.outcome}")
        _next(bundle, claim, triggers, after)


def _claim(claim: Claim | None, taught: TriggerSet | None, ticket: Ticket) -> Claim | None:
    """The claim of the trained network: of its triggers too, and promising its accuracy."""
    from ticket_sig.digests import tensor_digest
    from ticket_sig.signatures import scheme1
    from ticket_sig.signatures.scheme3 import claim_triggers

    if taught is not None:
        claim = claim_triggers(taught, tensor_digest(ticket.weights), claim)
    if claim is None or claim.scheme == scheme1.SCHEME:
        return claim  # what a locked ticket reaches is not what its owner promises
    return dataclasses.replace(claim, accuracy=ticket.history[-1].test)


def _report(before: Round | None, after: Round, bundle: Path) -> None:
    if before:
        out.print(f"before: {percent(before.test)} % test accuracy, {100 * before.density:.2f} % kept")
    out.print(
        f"after:  {percent(after.test)} % test accuracy, {100 * after.density:.2f} % kept\nbundle: {bundle}"
    )


def _next(bundle: Path, claim: Claim | None, triggers: Path | None, after: Round) -> None:
    """How the marks of the trained network are verified, and whether the triggers suffice for that."""
    from ticket_sig.signatures.describe import code_of
    from ticket_sig.signatures.scheme3 import TriggerMark
    from ticket_sig.verification.black_box import matches_needed
    from ticket_sig.watermarks import WATERMARKS

    command = f"ticket-sig verify {bundle} --claim {bundle / 'claim.json'}"
    if claim is not None and (claim.scheme in WATERMARKS or code_of(claim)):
        out.print(f"next: {command}")
    if claim is None or triggers is None or after.triggers is None:
        return
    mark = TriggerMark.from_json(claim.signature)
    needed = matches_needed(mark.count, mark.classes) or mark.count
    out.print(
        f"triggers: {after.triggers:.2f} % of {mark.count} answered as taught; it takes {needed} to verify"
    )
    if after.triggers * mark.count < 100 * needed:
        out.print("too few were learnt: more --epochs, or a larger --trigger-batch")
    out.print(f"next: {command} --triggers {triggers}")
