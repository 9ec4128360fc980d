"""Setting an attack on a model file up: what the thief has, and what the owner shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticket_sig.attacks.attack import Attacked
from ticket_sig.attacks.report import AttackReport, attack_report
from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import task_of
from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.errors import bad_input
from ticket_sig.marks import CodeMark, TriggerMark, marks_of, of_kind
from ticket_sig.marks.trigger_set.triggers import TriggerSet, read_triggers
from ticket_sig.options import flag
from ticket_sig.ticket import Ticket
from ticket_sig.training.loop import Engine
from ticket_sig.training.subject import Subject, recipe_of
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.ask.asking import controls_of, triggers_of
from ticket_sig.verification.white_box import check_needed


@dataclass(frozen=True, kw_only=True)
class Thief:
    """What a thief has beside the model.

    Attributes:
        arch, dataset: names of network and data set; the bundle's own where there are none.
        data: folder of the data set.
        seed: of whatever he draws.
        insider: whether he knows the place that the claim names.
    """

    arch: str | None = None
    dataset: str | None = None
    data: Path | None = None
    seed: int = 0
    insider: bool = False


@dataclass(frozen=True)
class Shown:
    """What the owner shows, in files.

    Attributes:
        claim: None where nothing is claimed.
        needed: what the claim's marks need, by name.
        triggers: the trigger set, its secret or folder.
        controls: innocent networks, where somebody chose the triggers.
    """

    claim: Path | None = None
    needed: Mapping[str, Path] | None = None
    triggers: Path | None = None
    controls: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A scene, and the owner's side of it.

    Attributes:
        claim, shown: the owner's, and what its marks need.
        triggers, controls: the trigger set, and how to ask innocent networks.
    """

    scene: Scene
    claim: Claim | None
    shown: Mapping[str, Any]
    triggers: TriggerSet | None
    controls: Sequence[Ask]

    def report(self, before: Ticket, done: Attacked) -> AttackReport:
        """What an attack achieved; errors as of `attack_report`."""
        return attack_report(
            before,
            done.ticket,
            self.scene,
            claim=self.claim,
            shown=self.shown,
            triggers=self.triggers,
            controls=self.controls,
            forged=done.claim,
        )


def stage(ticket: Ticket, thief: Thief, shown: Shown, engine: Engine, state: Path) -> Staged:
    """Reads what there is of the owner's and of the thief's.

    Args:
        ticket: that will be attacked.
        state: folder for the state of a training.

    Raises:
        InputError: something is missing, damaged, or shown without use.
    """
    owner = None if shown.claim is None else Claim.read(shown.claim)
    needed = shown.needed or {}
    if owner is None and (thief.insider or needed):
        named = "--insider" if thief.insider else ", ".join(map(flag, needed))
        raise bad_input("", named, "a claim to try: --claim FILE", "none")
    known = ticket.recipe or thief.arch or thief.dataset or thief.data
    scene = Scene(
        data=_data(ticket, thief) if known else None,
        recipe=recipe_of(ticket.recipe, arch=thief.arch, dataset=thief.dataset) if known else None,
        engine=engine,
        run=state,
        seed=thief.seed,
        place=of_kind(CodeMark, owner) if owner and thief.insider else None,
    )
    taught = None if shown.triggers is None else _trigger_set(ticket, scene, owner, shown.triggers)
    if taught is None and shown.controls:
        raise bad_input("", "--control", "triggers to ask it about: --triggers", "none")
    return Staged(
        scene=scene,
        claim=owner,
        shown={} if owner is None else _opened(owner, needed),
        triggers=taught,
        controls=controls_of(shown.controls, taught.size[2], thief.arch, thief.dataset) if taught else [],
    )


def _data(ticket: Ticket, thief: Thief) -> Dataset | None:
    if thief.dataset:  # who names a data set wants it, and is told where its folder is missing
        return load_dataset(thief.dataset, thief.data)
    return Subject.of(ticket).data(thief.data)


def _opened(claim: Claim, needed: Mapping[str, Path]) -> dict[str, Any]:
    marks = [mark for mark in marks_of(claim) if mark.stands_in != "answers"]
    check_needed(marks, needed, claim)
    opened = (mark.opened(needed, Path(claim.source)) for mark in marks)
    return {name: one for each in opened for name, one in each.items()}


def _trigger_set(ticket: Ticket, scene: Scene, claim: Claim | None, path: Path) -> TriggerSet:
    """The owner's trigger set: the claim's, or else one for the network's images and classes."""
    if claim is not None and any(one.name == TriggerMark.name for one in claim.marks):
        return triggers_of(claim, path)
    data = task_of(ticket, scene).data
    return read_triggers(path, data.size, data.classes)
