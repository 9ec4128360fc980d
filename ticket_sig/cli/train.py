"""Train a ticket under its mask, from its rewind weights (or on, with --start model).

The recipe is the bundle's own; options change it. A bundle made from a bare model file has none:
give --arch, --dataset and --start model. Stopped and started again, it goes on where it was.

Marks of the bundle's claim are kept in training (a code by the mask, freezenet by its values), or
taught on (uchida). With --triggers it is taught a trigger set beside the data, and the claim says so.

Example: ticket-sig train SIGNED --data DIR --out TRAINED
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, printable, tell_next
from ticket_sig.cli.recording import recorder, tell_transcript, with_recording
from ticket_sig.errors import InputError, about

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import Dataset
    from ticket_sig.marks.trigger_set.triggers import TriggerSet
    from ticket_sig.mask import Mask
    from ticket_sig.ticket import Ticket

Bundle = Annotated[Path, typer.Option("--out", help="Bundle to write; OUT.run keeps the state until then.")]
Start = Annotated[str, typer.Option(help="rewind: as a ticket is trained; model: go on from its weights.")]
Triggers = Annotated[Path | None, typer.Option(help="Teach a trigger set: its secret's file, or a folder.")]
LearningRate = Annotated[float | None, typer.Option(help="Largest learning rate, in place of the recipe's.")]
Precision = Annotated[str | None, typer.Option(help="auto, bf16 or float32; the recipe's by default.")]
_SHOWN = ("--data", "--claim", "--triggers", "--trigger-batch", "--trigger-order", "--trigger-fit")


def run(
    model: options.Model,
    bundle: Bundle,
    mask: options.MaskFile = None,
    data: options.Data = None,
    triggers: Triggers = None,
    trigger_batch: options.TriggerSize = None,
    trigger_order: options.TriggerOrder = None,
    trigger_fit: options.TriggerFit = None,
    start: Start = "rewind",
    arch: options.Arch = None,
    dataset: options.DatasetName = None,
    preset: options.Preset = None,
    epochs: options.Epochs = None,
    lr: LearningRate = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    precision: Precision = None,
    sparse: options.Sparse = "off",
    checkpoint_every: options.CheckpointEvery = 20,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
    *,
    recorded: Mapping[str, Any],
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import load_dataset
    from ticket_sig.formats import load
    from ticket_sig.lottery import retrain
    from ticket_sig.marks.trained import claim_after, kept_in_training
    from ticket_sig.training.device import pick_precision
    from ticket_sig.training.evaluate import weights_accuracy
    from ticket_sig.training.run_folder import remove_run
    from ticket_sig.training.subject import recipe_of

    options.check_free(bundle, force)
    loaded = load(model, mask)
    claim = Claim.read(loaded.claim) if loaded.claim else None
    state = options.state_beside(bundle)
    with options.engine(device, checkpoint_every, recorder(recorded), sparse) as engine:
        chosen = precision and pick_precision(precision, engine.device)
        changes = {"arch": arch, "dataset": dataset, "seed": seed, "precision": chosen, "lr": lr}
        recipe = recipe_of(loaded.ticket.recipe, preset, **changes, **options.length_change(epochs))
        images = load_dataset(recipe.dataset, data)
        taught = _trigger_set(triggers, images, trigger_order, trigger_fit, as_json)
        batch = options.trigger_batch(taught, trigger_batch)
        marks = kept_in_training(claim)
        with about(model):
            ticket = retrain(
                loaded.ticket, recipe, images, state, start=start, triggers=batch, marks=marks, engine=engine
            )
    replaced = _replaced(claim) if taught else []
    claim = claim_after(claim, ticket, taught)
    _write(ticket, claim, loaded.claim, bundle, force)
    remove_run(state)
    before = weights_accuracy(loaded.ticket.weights, recipe.arch, images, engine.device, recipe.precision)
    _report((before, loaded.ticket.mask), ticket, claim, replaced, bundle, triggers, recorded, as_json)
    shown = (data, loaded.claim if marks else None, triggers, trigger_batch, trigger_order, trigger_fit)
    tell_transcript({} if as_json else recorded, dict(zip(_SHOWN, shown, strict=True)))


def command() -> Callable[..., None]:
    """The verb, with the options of a transcript."""
    return with_recording(run)


def _trigger_set(
    path: Path | None, images: Dataset, order: str | None, fit: str | None, as_json: bool
) -> TriggerSet | None:
    """The triggers to be taught, if any; people are told how its folder is arranged."""
    taught = options.trigger_set(path, images, order, fit)
    if taught and taught.arrangement and not as_json:
        out.print(f"trigger folder: {taught.arrangement}")
    return taught


def _replaced(claim: Claim | None) -> list[str]:
    """The marks of a claim whose place a new trigger set takes."""
    from ticket_sig.marks import TriggerMark

    return [mark.name for mark in (claim.marks if claim else ()) if mark.name == TriggerMark.name]


def _write(ticket: Ticket, claim: Claim | None, earlier: Path | None, bundle: Path, force: bool) -> None:
    """Writes the bundle; with it goes the reference that lies beside the earlier claim."""
    from ticket_sig.formats import save
    from ticket_sig.formats.bundle import reference_beside

    kept = reference_beside(earlier) if claim and claim.reference else None
    save(ticket, bundle, claim=claim.to_json() if claim else None, reference=kept, replace=force)


def _report(
    before: tuple[float, Mask],
    ticket: Ticket,
    claim: Claim | None,
    replaced: list[str],
    bundle: Path,
    triggers: Path | None,
    recorded: Mapping[str, Any],
    as_json: bool,
) -> None:
    from ticket_sig.marks.trained import still_read

    after, read = ticket.history[-1], still_read(claim, ticket)
    accuracy, mask = before
    if as_json:
        counts = {"kept": mask.kept, "total": mask.total, "density": mask.density}
        entries = {"before": {**counts, "test": accuracy}, "after": after.to_json()}
        marks = [_unread(name, one) if isinstance(one, InputError) else one.to_json() for name, one in read]
        left = {"no_longer_claimed": replaced, "transcript": recorded.get("transcript")}
        print_json({"bundle": bundle, **entries, "marks": marks, **left})
        return
    for name, test, density in (("before:", accuracy, mask.density), ("after: ", after.test, after.density)):
        out.print(f"{name} {percent(test)} % test accuracy, {100 * density:.2f} % kept")
    out.print(f"bundle: {bundle}")
    shown = (bundle, "--claim", bundle / "claim.json")
    for name, one in read:
        told = one if isinstance(one, InputError) else f"{one.statistic}; {one.outcome}"
        out.print(printable(f"{name}: {told}"))
    if replaced:
        out.print(f"no longer claimed, as another takes its place: {', '.join(replaced)}")
    if read:
        tell_next("verify", *shown)
    if claim is not None and triggers is not None and after.triggers is not None:
        _tell_triggers(claim, after.triggers)
        tell_next("ask", *shown, "--triggers", triggers)


def _unread(name: str, error: Exception) -> dict[str, str]:
    return {"mark": name, "verdict": "could not verify", "reason": str(error)}


def _tell_triggers(claim: Claim, answered: float) -> None:
    """Whether the triggers that were learnt suffice to verify."""
    from ticket_sig.marks import TriggerMark, of_kind
    from ticket_sig.marks.trigger_set.reading import matches_needed

    mark = of_kind(TriggerMark, claim)
    needed = matches_needed(mark.count, mark.classes) or mark.count
    out.print(f"triggers: {answered:.2f} % of {mark.count} answered as taught; it takes {needed} to verify")
    if answered * mark.count < 100 * needed:
        out.print("too few were learnt: more --epochs, or a larger --trigger-batch")
