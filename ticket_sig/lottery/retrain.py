"""Trains a ticket under its mask: from the rewind weights, or on from where the model stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.formats.layouts import weights_for
from ticket_sig.lottery.level import Trainer, network_of
from ticket_sig.mask import Mask
from ticket_sig.options import one_of
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.device import emulated
from ticket_sig.training.loop import Engine
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.recorder import Plan
from ticket_sig.training.run_folder import run_folder
from ticket_sig.training.teacher import Teacher

STARTS = ("rewind", "model")
_SLOW = "this machine emulates bf16, which takes many times as long as float32 (--precision float32)"


def retrain(
    ticket: Ticket,
    recipe: Recipe,
    data: Dataset,
    run: Path | str,
    *,
    start: str = "rewind",
    triggers: TriggerBatch | None = None,
    marks: Sequence[KeptMark] = (),
    teacher: Teacher | None = None,
    model: nn.Module | None = None,
    engine: Engine | None = None,
) -> Ticket:
    """Trains a ticket under its mask and returns it with one more entry of history.

    Args:
        run: folder for the state of the training; the same arguments go on where a kill left it.
        start: "rewind" (from the rewind weights, as a ticket is trained) or "model" (fine-tuning:
            from the weights it has).
        triggers: trigger images appended to every batch (scheme 3).
        marks: to keep, or to teach (`kept_in_training(claim)`).
        teacher: whose answers are learnt (knowledge distillation).
        model: a network of the user's own in place of `recipe.arch`, as it is (see `find`).

    Raises:
        InputError: no rewind weights, the weights do not fit the network, or the run folder is
            another run's.
    """
    run = Path(run)
    engine = (engine or Engine()).going_on(run)
    one_of(STARTS)("start", start)
    if start == "model":
        recipe = replace(recipe, retrain="start")  # fine-tuning has no rewind step to go on from
    model = network_of(recipe, data, model, engine.device)
    given = ticket.rewound() if start == "rewind" else ticket.weights
    weights = weights_for(model.state_dict(), given, recipe.arch)
    mask = ticket.mask_for(dict(model.named_parameters(remove_duplicate=False)))
    digests = [mark.digest for mark in marks]
    identity = {"recipe": recipe.to_json(), "data": data.digest}
    identity |= _identity(weights, mask, triggers, teacher, digests)
    begun_with = engine.prepare(model, recipe.precision)
    if emulated(recipe.precision, engine.device):
        engine.progress.note(_SLOW)
    trainer = Trainer(model, data, recipe, engine, triggers, marks, teacher)
    with run_folder(run, identity, begun_with, engine.progress.note):
        level = run / "level"
        kept = (*digests, *(one.digest for one in (triggers, teacher) if one))
        facts = recipe, data, weights, mask, begun_with
        plan = Plan(*facts, derived=False, search=False, fresh=not level.exists(), kept=kept)
        trained = _trained(trainer, level, plan)
    return replace(
        trained,
        weights={**given, **trained.weights},
        rewind=ticket.rewind,
        history=(*ticket.history, *trained.history),
    )


def _trained(trainer: Trainer, level: Path, plan: Plan) -> Ticket:
    """The ticket after the one training of a plan, recorded where that is asked for."""
    start, mask, engine = plan.initial, plan.mask, trainer.engine
    if engine.recorder:
        engine.recorder.begin(plan, engine.progress.note)
    label = f"ticket, {100 * mask.density:.2f} % kept"
    trained = trainer.train_level(level, start, mask, step="train", label=label, rewind=start)
    if engine.recorder:
        engine.recorder.end(trained)
    return trained


def _identity(
    start: Mapping[str, Tensor],
    mask: Mask,
    triggers: TriggerBatch | None,
    teacher: Teacher | None,
    marks: Sequence[str],
) -> dict[str, Any]:
    identity: dict[str, Any] = {"start": tensor_digest(start), "mask": tensor_digest(mask)}
    if triggers is not None:
        identity["triggers"] = triggers.digest
    if marks:
        # One alone is written as version 0.1 wrote it, so that what it began goes on.
        identity |= {"mark": marks[0]} if len(marks) == 1 else {"marks": list(marks)}
    if teacher is not None:
        identity["teacher"] = teacher.digest
    return identity
