"""What an attack achieved: accuracy, weights kept and verdicts before and after (NeurIPS'21, section 4.3).

An attack that costs more than the tolerance has not won: the thief holds a model that is no longer worth
stealing. Nor has one that leaves any mark of the owner's verified, be it read in the weights or, as a trigger
set, off the network's answers. A locked ticket (key-mask) is another matter: it holds no key
that could be lost, and who forges one wins if it brings back the accuracy that the claim promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.trial import Decision, Pair, Trial, Tried, decision_of
from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import marks_of
from ticket_sig.marks.mark import tried
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.ticket import Ticket
from ticket_sig.verification import verify
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.fidelity import EPS_F


class Winner(Enum):
    """Who won, or why that is not decided."""

    OWNER = "the owner wins"
    THIEF = "the thief wins"
    NOBODY = "nobody wins"
    NOTHING_TO_WIN = "nothing to win"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """A model before and after an attack.

    Attributes:
        accuracy: test accuracies in % (before, after); None where not measured, before also where the
            attack is for another data set.
        triggers: share of the trigger set that is answered as taught, in % (before, after); None as above.
        kept: weights kept (before, after), of `total` before.
        total: prunable weights before.
        total_after: after, where they are others: the thief's network may be of another architecture.
        marks: of the owner's claim, by name, each tried (before, after).
        promised: accuracy in % that the claim promises; None where it promises none.
        locked: whether the model before is the locked ticket of the claim.
        forged: the thief's own claim, tried after; None where he makes none.
        tolerance: points of accuracy that a thief may lose.
    """

    accuracy: Pair
    kept: tuple[int, int]
    total: int
    total_after: int | None = None
    triggers: Pair = (None, None)
    marks: Mapping[str, Tried] = field(default_factory=dict)
    promised: float | None = None
    locked: bool = False
    forged: Decision | None = None
    tolerance: float = EPS_F

    @property
    def lost(self) -> float | None:
        """Points of accuracy that the attack cost."""
        before, after = self.accuracy
        return None if before is None or after is None else before - after

    @property
    def totals(self) -> tuple[int, int]:
        """Prunable weights (before, after)."""
        return self.total, self.total if self.total_after is None else self.total_after

    @property
    def pays(self) -> bool | None:
        """Whether the thief lost more accuracy than the tolerance; None where that was not measured."""
        return None if self.lost is None else self.lost > self.tolerance

    @property
    def held(self) -> list[str]:
        """Names of the marks that were verified before the attack."""
        return [name for name, tried in self.marks.items() if tried.before.verified]

    @property
    def stood(self) -> list[str]:
        """Those of them that are verified after it."""
        return [name for name in self.held if self.marks[name].after.verified]

    @property
    def untried(self) -> list[str]:
        """Names of the marks that could not be tried before."""
        return [name for name, tried in self.marks.items() if tried.before.verdict is None]

    @property
    def lacking(self) -> list[str]:
        """What marks need of which nothing was shown."""
        return sorted({tried.before.lacking for tried in self.marks.values()} - {""})

    @property
    def both_claim(self) -> bool:
        """Whether the thief's own claim is verified beside the owner's, on a model that is worth it."""
        return self.forged is not None and self.forged.verified and not self.pays

    @property
    def winner(self) -> Winner:
        """Who won."""
        if self.locked:
            return self._winner_of_locked()
        if not self.marks:
            return Winner.NOT_DECIDED
        if not self.held:
            return Winner.NOT_DECIDED if self.lacking else Winner.NOTHING_TO_WIN
        if self.stood:
            return Winner.OWNER
        if self.untried or self.pays is None:
            return Winner.NOT_DECIDED
        return Winner.NOBODY if self.pays else Winner.THIEF

    def _winner_of_locked(self) -> Winner:
        """A locked ticket holds no key before or after: what counts is whether a forged one does its work."""
        if self.promised is None:
            return Winner.NOTHING_TO_WIN
        if self.accuracy[1] is None:
            return Winner.NOT_DECIDED
        return Winner.OWNER if self.accuracy[1] < self.promised - self.tolerance else Winner.THIEF

    @property
    def outcome(self) -> str:
        """Who won, in words."""
        return in_words(self)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1], "lost": self.lost},
            "triggers": {"before": self.triggers[0], "after": self.triggers[1]},
            "kept": {
                "before": self.kept[0],
                "after": self.kept[1],
                "total": self.total,
                "total_after": self.totals[1],
            },
            "thief_pays": self.pays,
            "marks": {name: tried.to_json() for name, tried in self.marks.items()},
            "forged": self.forged and self.forged.to_json(),
            "winner": self.winner.name.lower(),
            "outcome": self.outcome,
        }


def in_words(report: AttackReport) -> str:
    """Who won, and on what that rests; nothing where nobody claims anything and the thief loses nothing."""
    if report.locked:
        return _of_locked(report)
    price = ""
    if report.lost is not None:
        price = f", at {report.lost:.2f} points of accuracy" if report.lost > 0 else ", at no cost"
    if not report.marks:
        return f"the thief pays{price}" if report.pays else ""
    if report.winner is Winner.NOTHING_TO_WIN:
        said = [f"{name} {tried.before.outcome}" for name, tried in report.marks.items()]
        return f"nothing to win: {', '.join(said)} before the attack"
    if report.winner is Winner.OWNER:
        also = (
            "; the thief's own claim is verified, too: the earlier date decides" if report.both_claim else ""
        )
        names = " and ".join(f"the {name}" for name in report.stood)
        return f"the owner wins: {names} {'is' if len(report.stood) == 1 else 'are'} still verified{also}"
    lacking = f": it takes {', '.join(report.lacking)}" if report.lacking else ""
    if not report.held:
        return f"nothing is decided: {' and '.join(report.untried)} could not be tried{lacking}"
    if report.untried:
        untried = " and ".join(f"the {name}" for name in report.untried)
        return f"the {report.held[0]} is gone{price}; {untried} could not be tried{lacking}"
    if report.winner is Winner.NOT_DECIDED:
        return "the claim is gone; accuracy was not measured"
    if report.winner is Winner.NOBODY:
        return f"nobody wins: the claim is gone, and the thief pays{price}"
    return f"the thief wins{price}"


def _of_locked(report: AttackReport) -> str:
    holds_none = "the locked ticket holds no key, before or after"
    if report.winner is Winner.NOTHING_TO_WIN:
        return f"nothing to win: {holds_none}, and the claim promises no accuracy"
    if report.winner is Winner.NOT_DECIDED:
        return f"nothing is decided: {holds_none}, and accuracy was not measured"
    said = f"{report.accuracy[1]:.2f} % without the owner's key, {report.promised:.2f} % promised with it"
    if report.winner is Winner.OWNER:
        return f"the owner wins: {said}; {holds_none}"
    return f"the thief wins: {said}"


def attack_report(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    *,
    claim: Claim | None = None,
    shown: Mapping[str, Any] | None = None,
    triggers: TriggerSet | None = None,
    controls: Sequence[Ask] = (),
    forged: Claim | None = None,
    forged_shown: Mapping[str, Any] | None = None,
    network: nn.Module | None = None,
    tolerance: float = EPS_F,
) -> AttackReport:
    """Measures an attack.

    Args:
        before: the model that was attacked.
        after: what the attack made of it.
        scene: of the attack; accuracies are measured where it has data.
        claim: the owner's; tried on both.
        shown: what its marks need beside the weights (`verify`): key and locked ticket.
        triggers: the owner's trigger set; its answers are measured where the scene has data, and judged
            where the claim is on one.
        controls: innocent networks, for triggers that somebody chose (`verify_answers`).
        forged: the thief's own claim; tried on what he made.
        forged_shown: what his mark needs beside the weights.
        network: that the thief has then, where it is not the recipe's (`Attacked.answering`).

    Raises:
        InputError: the weights do not fit the network, or the claim is damaged.
    """
    trial = Trial(before=before, after=after, scene=scene, network=network)
    accuracies, answers = trial.measured(triggers)
    marks = marks_of(claim) if claim else []
    chances = len(tried(marks, shown or {}))
    found: dict[str, Tried] = {}
    for mark in marks:
        name = f"{mark.name} {len(found) + 1}" if mark.name in found else mark.name
        if claim is not None and mark.stands_in == "answers":
            found[name] = trial.on_answers(claim, triggers, controls)
        else:
            found[name] = trial.on_weights(mark, chances, shown or {})
    locks = bool(marks) and all(mark.locks for mark in marks)
    return AttackReport(
        accuracy=accuracies,
        triggers=answers,
        kept=(before.mask.kept, after.mask.kept),
        total=before.mask.total,
        total_after=None if after.mask.total == before.mask.total else after.mask.total,
        marks=found,
        promised=claim.accuracy if claim else None,
        locked=locks and claim is not None and claim.subject == tensor_digest(before.weights),
        forged=None if forged is None else decision_of(lambda: verify(after, forged, **(forged_shown or {}))),
        tolerance=tolerance,
    )
