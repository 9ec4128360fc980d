"""An attack on a model file: what the thief has, what the owner shows, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticket_sig.attacks.attack import Attack, Attacked
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
from ticket_sig.verification.ask.asking import controls_of, triggers_of
from ticket_sig.verification.white_box import opened


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A thief and an owner, as far as files and names say.

    Attributes:
        ticket: that is attacked.
        arch, dataset, data: names of the thief's network and data set, and its folder; what is not named is
            the ticket's own.
        seed: of whatever the thief draws.
        insider: whether he knows the place that the claim names.
        engine, state: where he trains, and the folder for its state.
        claim: the owner's; None where nothing is claimed.
        needed: what the claim's marks need, by name.
        triggers: the owner's trigger set, its secret or folder.
        controls: innocent networks, where somebody chose the triggers.
    """

    ticket: Ticket
    arch: str | None = None
    dataset: str | None = None
    data: Path | None = None
    seed: int = 0
    insider: bool = False
    engine: Engine = field(default_factory=Engine)
    state: Path | None = None
    claim: Path | None = None
    needed: Mapping[str, Path] = field(default_factory=dict)
    triggers: Path | None = None
    controls: Sequence[Path] = ()

    def carry_out(self, made: Attack) -> tuple[Attacked, AttackReport]:
        """Attacks, and measures what that achieved; all that is shown is read before.

        Raises:
            InputError: something is missing, damaged, or shown without use; or as of the attack.
        """
        owner = None if self.claim is None else Claim.read(self.claim)
        if owner is None and (self.insider or self.needed):
            named = "--insider" if self.insider else ", ".join(map(flag, self.needed))
            raise bad_input("", named, "a claim to try: --claim FILE", "none")
        scene = self._scene(owner)
        taught = None if self.triggers is None else self._trigger_set(scene, owner, self.triggers)
        if taught is None and self.controls:
            raise bad_input("", "--control", "triggers to ask it about: --triggers", "none")
        known = self.arch, self.dataset
        controls = controls_of(self.controls, taught.size, *known, self.engine) if taught else []
        shown = {} if owner is None else self._opened(owner)
        done = made.carry_out(self.ticket, scene)
        tried: dict[str, Any] = {"claim": owner, "shown": shown, "triggers": taught, "controls": controls}
        tried |= {"forged": done.claim, "forged_shown": done.shown, "network": done.answering}
        return done, attack_report(self.ticket, done.ticket, scene, **tried)

    def _scene(self, owner: Claim | None) -> Scene:
        recipe, known = None, self.ticket.recipe
        if known or self.arch or self.dataset or self.data:
            recipe = recipe_of(known, arch=self.arch, dataset=self.dataset)
        place = of_kind(CodeMark, owner) if owner and self.insider else None
        where: dict[str, Any] = {"engine": self.engine, "run": self.state, "seed": self.seed}
        return Scene(data=self._data() if recipe else None, recipe=recipe, place=place, **where)

    def _data(self) -> Dataset | None:
        if self.dataset:  # who names a data set wants it, and is told where its folder is missing
            return load_dataset(self.dataset, self.data)
        return Subject.of(self.ticket).data(self.data)

    def _opened(self, claim: Claim) -> dict[str, Any]:
        marks = [mark for mark in marks_of(claim) if mark.stands_in != "answers"]
        return opened(marks, self.needed, claim)

    def _trigger_set(self, scene: Scene, claim: Claim | None, path: Path) -> TriggerSet:
        """The owner's trigger set: the claim's, or else one for the network's images and classes."""
        if claim is not None and any(one.name == TriggerMark.name for one in claim.marks):
            return triggers_of(claim, path)
        data = task_of(self.ticket, scene).data
        return read_triggers(path, data.size, data.classes)
