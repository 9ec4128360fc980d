"""What an attack achieved: accuracy, weights kept and verdicts before and after (NeurIPS'21, section 4.3).

An attack that costs more than the tolerance has not won: the thief holds a model that is no longer worth
stealing. Nor has one that leaves any mark of the owner's verified, be it read in the weights or, as a trigger
set, off the network's answers. A locked ticket (key-mask) is another matter: it holds no key
that could be lost, and who forges one wins if it brings back the accuracy that the claim promises.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import Task, task_of
from ticket_sig.claim import Claim
from ticket_sig.datasets.data import Split
from ticket_sig.datasets.images import Pixels
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.marks import marks_of
from ticket_sig.marks.mark import tried, verdict_on
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.models import build
from ticket_sig.options import flag
from ticket_sig.ticket import Ticket
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verdict import Verdict
from ticket_sig.verification import verify
from ticket_sig.verification.ask import Ask, verify_answers
from ticket_sig.verification.ask.network import ask_network, network_of
from ticket_sig.verification.ask.pixels import Normalisation
from ticket_sig.verification.fidelity import EPS_F

_Pair = tuple[float | None, float | None]


class Winner(Enum):
    """Who won, or why that is not decided."""

    OWNER = "the owner wins"
    THIEF = "the thief wins"
    NOBODY = "nobody wins"
    NOTHING_TO_WIN = "nothing to win"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True)
class Decision:
    """A claim tried on a model: the verdict, or why it could not be verified.

    Attributes:
        lacking: what the mark needs, where nothing of it was shown: it was not tried.
    """

    verdict: Verdict | None
    reason: str = ""
    lacking: str = ""

    @property
    def verified(self) -> bool:
        """Whether it is verified."""
        return self.verdict is not None and self.verdict.verified

    @property
    def outcome(self) -> str:
        """verified, not verified, could not verify, or that it was not tried."""
        if self.lacking:
            return f"not tried (no {self.lacking})"
        return self.verdict.outcome if self.verdict else "could not verify"

    @property
    def message(self) -> str | None:
        """What can be read, where the mark has a message."""
        return self.verdict.reading.message if self.verdict else None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        if self.verdict is None:
            return {"verdict": "could not verify", "reason": self.reason}
        whole = self.verdict.to_json()
        parts = {name: whole[name] for name in ("verdict", "statistic", "p_value", "log10_p")}
        return {**parts, "message": self.message}


@dataclass(frozen=True)
class Tried:
    """One claim, tried before and after."""

    before: Decision
    after: Decision

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


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

    accuracy: _Pair
    kept: tuple[int, int]
    total: int
    total_after: int | None = None
    triggers: _Pair = (None, None)
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
    task = None if scene.data is None else task_of(before, scene)
    accuracies, answers = _measured(before, after, scene, task, triggers, network)
    marks = marks_of(claim) if claim else []
    chances = len(tried(marks, shown or {}))
    found: dict[str, Tried] = {}
    for mark in marks:
        name = f"{mark.name} {len(found) + 1}" if mark.name in found else mark.name
        if claim is not None and mark.stands_in == "answers":
            found[name] = _taught(before, after, scene, task, claim, triggers, controls, network)
        else:
            read = [verdict_on(mark, ticket, chances, shown) for ticket in (before, after)]
            untold = mark.needs and not mark.needs.keys() & set(shown or {})
            lacking = flag(next(iter(mark.needs))) if untold else ""
            found[name] = Tried(*(replace(_decision(one), lacking=lacking) for one in read))
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
        forged=None if forged is None else _tried(lambda: verify(after, forged, **(forged_shown or {}))),
        tolerance=tolerance,
    )


def _decision(found: Verdict | InputError) -> Decision:
    return Decision(None, str(found)) if isinstance(found, InputError) else Decision(found)


def _tried(decide: Callable[[], Verdict]) -> Decision:
    """Verifies; what is raised becomes the reason."""
    try:
        return Decision(decide())
    except InputError as error:
        return _decision(error)


def _taught(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    task: Task | None,
    claim: Claim,
    triggers: TriggerSet | None,
    controls: Sequence[Ask],
    network: nn.Module | None,
) -> Tried:
    """The claim on the trigger set, judged by the answers of both networks to the same images."""
    if triggers is None:
        hint = "give it: --triggers"
        reason = str(bad_input("", "trigger set", "the claim's, to ask the network", "none", hint=hint))
        return Tried(Decision(None, reason), Decision(None, reason))
    nonce = scene.secret("decoys")

    def decided(ask: Ask) -> Decision:
        return _tried(lambda: verify_answers(claim, triggers, ask, controls=controls, nonce=nonce))

    # Of a model that served another task the own recipe tells more than the thief's data.
    own = None if task and task.fresh else task
    asked = _ask(before, own, scene)
    if network is not None:
        return Tried(decided(asked), decided(_ask(before, task, scene, network)))
    done = task and _of_the_thief(task, after, scene.recipe_for(before).arch)
    return Tried(decided(asked), decided(_ask(after, done, scene)))


def _ask(ticket: Ticket, task: Task | None, scene: Scene, given: nn.Module | None = None) -> Ask:
    """Asks a model of this process, or a given one that takes the same images.

    That it cannot be built is said when it is asked.
    """

    def ask(images: Pixels) -> Sequence[int | None]:
        """The network's answers to images; InputError where it cannot be built."""
        if task is not None:
            network, normalisation = _network(ticket, task), Normalisation(task.data.mean, task.data.std)
        else:
            thief = None if ticket.recipe else scene.recipe
            names = {"arch": thief.arch, "dataset": thief.dataset} if thief else {}
            network, normalisation = network_of(ticket, images.shape[3], **names)
        network = network if given is None else given
        return ask_network(network.to(scene.engine.device), normalisation)(images)

    return ask


def _measured(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    task: Task | None,
    triggers: TriggerSet | None,
    thief: nn.Module | None,
) -> tuple[_Pair, _Pair]:
    """Accuracies on the test split and on the trigger set, each (before, after)."""
    if task is None:
        return (None, None), (None, None)
    data, precision, device = task.data, scene.recipe_for(before).precision, scene.engine.device
    if thief is None:
        thief = _network(after, _of_the_thief(task, after, scene.recipe_for(before).arch))
    networks = [None if task.fresh else _network(before, task), thief]
    for network in filter(None, networks):
        scene.engine.prepare(network, precision)

    def on(split: Split | None) -> _Pair:
        found = [accuracy(n, split, data, device, precision) if n and split else None for n in networks]
        return found[0], found[1]

    with contextlib.ExitStack() as stack:
        for network in filter(None, networks):
            stack.enter_context(scene.engine.answering(network, precision, data.size))
        return on(data.test), on(triggers.split if triggers else None)


def _of_the_thief(task: Task, after: Ticket, arch: str) -> Task:
    """The task with the network that the thief has then: it may be of another architecture."""
    own = (after.recipe or {}).get("arch", arch)
    if own == arch:
        return task
    return replace(task, network=build(own, task.data.classes, task.data.channels))


def _network(ticket: Ticket, task: Task) -> nn.Module:
    network = copy.deepcopy(task.network)
    network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
    return network
