"""What an attack achieved: accuracy, weights kept and verdict before and after (NeurIPS'21, section 4.3).

An attack that costs more than the tolerance has not won: the thief holds a model that is no longer worth
stealing. Nor has one that leaves any mark of the owner's verified: the one in the mask, which is read, or the
trigger set, which the network is asked about. A locked ticket of scheme 1 is another matter: it holds no key
that could be lost, and who forges one wins if it brings back the accuracy that the claim promises.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import Task, task_of
from ticket_sig.claim import Claim
from ticket_sig.datasets.data import Split
from ticket_sig.datasets.images import Pixels
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.signatures import scheme1, scheme3
from ticket_sig.signatures.scheme1 import Key
from ticket_sig.signatures.triggers import TriggerSet
from ticket_sig.ticket import Ticket
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verdict import Verdict
from ticket_sig.verification import verify
from ticket_sig.verification.ask.network import ask_network, network_of
from ticket_sig.verification.ask.pixels import Normalisation
from ticket_sig.verification.black_box import Ask, verify_answers
from ticket_sig.verification.fidelity import EPS_F
from ticket_sig.verification.queries import NONCE_BYTES

_Pair = tuple[float | None, float | None]
_IN_MASK, _TRIGGERS = "mark in the mask", "trigger set"


@dataclass(frozen=True)
class Decision:
    """A claim tried on a model: the verdict, or why it could not be verified."""

    verdict: Verdict | None
    reason: str = ""

    @classmethod
    def of(
        cls, ticket: Ticket, claim: Claim, key: Key | None = None, locked: Ticket | None = None
    ) -> Decision:
        """Verifies; what is raised becomes the reason."""
        try:
            return cls(verify(ticket, claim, key, locked))
        except InputError as error:
            return cls(None, str(error))

    @classmethod
    def of_answers(
        cls, ask: Ask, claim: Claim, triggers: TriggerSet, controls: Sequence[Ask], nonce: bytes
    ) -> Decision:
        """Verifies by answers; what is raised becomes the reason."""
        try:
            return cls(verify_answers(claim, triggers, ask, controls=controls, nonce=nonce))
        except InputError as error:
            return cls(None, str(error))

    @property
    def verified(self) -> bool:
        """Whether it is verified."""
        return self.verdict is not None and self.verdict.verified

    @property
    def outcome(self) -> str:
        """verified, not verified or could not verify."""
        return self.verdict.outcome if self.verdict else "could not verify"

    @property
    def message(self) -> str | None:
        """What can be read at the claim's place, where the scheme has a message."""
        return self.verdict.evidence.get("message") if self.verdict else None

    def to_json(self) -> dict[str, Any]:
        """Verdict, p-value and message as JSON."""
        if self.verdict is None:
            return {"verdict": self.outcome, "reason": self.reason}
        whole = self.verdict.to_json()
        parts = {name: whole[name] for name in ("verdict", "statistic", "p_value", "log10_p")}
        return {**parts, "message": self.message}


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """A model before and after an attack.

    Attributes:
        accuracy: test accuracies in % (before, after); None where not measured, before also where the
            attack is for another data set.
        triggers: share of the trigger set that is answered as taught, in % (before, after); None as above.
        kept: weights kept (before, after), of `total` before.
        total: prunable weights.
        owner: the owner's claim on the mask, tried (before, after); None without one.
        taught: the owner's claim on the trigger set, tried (before, after); None without one.
        promised: accuracy in % that the claim promises; None where it promises none.
        locked: whether the model before is the locked ticket of the claim (scheme 1).
        forged: the thief's own claim, tried after; None where he makes none.
        tolerance: points of accuracy that a thief may lose.
    """

    accuracy: _Pair
    kept: tuple[int, int]
    total: int
    triggers: _Pair = (None, None)
    owner: tuple[Decision, Decision] | None = None
    taught: tuple[Decision, Decision] | None = None
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
    def pays(self) -> bool | None:
        """Whether the thief lost more accuracy than the tolerance; None where that was not measured."""
        return None if self.lost is None else self.lost > self.tolerance

    @property
    def marks(self) -> dict[str, tuple[Decision, Decision]]:
        """What the owner's claim was tried on, (before, after) by name."""
        tried = {_IN_MASK: self.owner, _TRIGGERS: self.taught}
        return {name: pair for name, pair in tried.items() if pair is not None}

    @property
    def outcome(self) -> str:
        """Who won, in words."""
        if self.locked:
            return self._of_locked()
        if not self.marks:
            return f"the thief pays{self._price}" if self.pays else ""
        held = [name for name, (before, _) in self.marks.items() if before.verified]
        if not held:
            tried = [before.outcome for before, _ in self.marks.values()]
            if len(tried) > 1:
                tried = [f"{name} {said}" for name, said in zip(self.marks, tried, strict=True)]
            return f"nothing to win: {', '.join(tried)} before the attack"
        if stood := [name for name in held if self.marks[name][1].verified]:
            return f"the owner wins: {self._still(stood)}"
        if untried := [name for name, (before, _) in self.marks.items() if before.verdict is None]:
            return f"the {held[0]} is gone{self._price}; the {untried[0]} could not be tried"
        if self.pays is None:
            return "the claim is gone; accuracy was not measured"
        who = "nobody wins: the claim is gone, and the thief pays" if self.pays else "the thief wins"
        return who + self._price

    @property
    def _price(self) -> str:
        if self.lost is None:
            return ""
        return f", at {self.lost:.2f} points of accuracy" if self.lost > 0 else ", at no cost"

    def _still(self, stood: list[str]) -> str:
        both = self.forged is not None and self.forged.verified and not self.pays
        also = "; the thief's own claim is verified, too: the earlier date decides" if both else ""
        if len(self.marks) == 1:
            return f"the claim is still verified{also}"
        names = " and ".join(f"the {name}" for name in stood)
        return f"{names} {'is' if len(stood) == 1 else 'are'} still verified{also}"

    def _of_locked(self) -> str:
        """A locked ticket holds no key before or after: what counts is whether a forged one does its work."""
        holds_none = "the locked ticket holds no key, before or after"
        reached = self.accuracy[1]
        if self.promised is None:
            return f"nothing to win: {holds_none}, and the claim promises no accuracy"
        if reached is None:
            return f"nothing is decided: {holds_none}, and accuracy was not measured"
        said = f"{reached:.2f} % without the owner's key, {self.promised:.2f} % promised with it"
        if reached < self.promised - self.tolerance:
            return f"the owner wins: {said}; {holds_none}"
        return f"the thief wins: {said}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1], "lost": self.lost},
            "triggers": {"before": self.triggers[0], "after": self.triggers[1]},
            "kept": {"before": self.kept[0], "after": self.kept[1], "total": self.total},
            "thief_pays": self.pays,
            "owner": _both(self.owner),
            "taught": _both(self.taught),
            "forged": self.forged and self.forged.to_json(),
            "outcome": self.outcome,
        }


def _both(tried: tuple[Decision, Decision] | None) -> Mapping[str, Any] | None:
    return tried and {"before": tried[0].to_json(), "after": tried[1].to_json()}


def attack_report(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    *,
    claim: Claim | None = None,
    key: Key | None = None,
    locked: Ticket | None = None,
    triggers: TriggerSet | None = None,
    controls: Sequence[Ask] = (),
    forged: Claim | None = None,
    tolerance: float = EPS_F,
) -> AttackReport:
    """Measures an attack.

    Args:
        before: the model that was attacked.
        after: what the attack made of it.
        scene: of the attack; accuracies are measured where it has data.
        claim: the owner's; tried on both.
        key, locked: of a claim of scheme 1, and the locked ticket as it was handed out.
        triggers: the owner's trigger set; its answers are measured where the scene has data, and judged
            where the claim is of scheme 3.
        controls: innocent networks, for triggers that somebody chose (`verify_answers`).
        forged: the thief's own claim; tried on what he made.

    Raises:
        InputError: the weights do not fit the network.
    """
    task = None if scene.data is None else task_of(before, scene)
    accuracies, answers = _measured(before, after, scene, task, triggers)
    owner = taught = None
    if claim is not None and not _has_triggers_alone(claim):
        owner = Decision.of(before, claim, key, locked), Decision.of(after, claim, key, locked)
    if claim is not None and claim.scheme == scheme3.SCHEME:
        taught = _taught(before, after, scene, task, claim, triggers, controls)
    return AttackReport(
        accuracy=accuracies,
        triggers=answers,
        kept=(before.mask.kept, after.mask.kept),
        total=before.mask.total,
        owner=owner,
        taught=taught,
        promised=claim.accuracy if claim else None,
        locked=claim is not None and _is_locked(before, claim),
        forged=None if forged is None else Decision.of(after, forged),
        tolerance=tolerance,
    )


def _is_locked(ticket: Ticket, claim: Claim) -> bool:
    return claim.scheme == scheme1.SCHEME and claim.subject == tensor_digest(ticket.weights)


def _has_triggers_alone(claim: Claim) -> bool:
    return claim.scheme == scheme3.SCHEME and scheme3.TriggerMark.from_json(claim.signature).beside is None


def _taught(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    task: Task | None,
    claim: Claim,
    triggers: TriggerSet | None,
    controls: Sequence[Ask],
) -> tuple[Decision, Decision]:
    """The claim on the trigger set, judged by the answers of both networks to the same images."""
    if triggers is None:
        hint = "give it: --triggers"
        reason = str(bad_input("", "trigger set", "the claim's, to ask the network", "none", hint=hint))
        return Decision(None, reason), Decision(None, reason)
    nonce = bytes(torch.randint(256, (NONCE_BYTES,), generator=scene.draw("decoys")).tolist())
    # Of a model that served another task the own recipe tells more than the thief's data.
    asks = _ask(before, None if task and task.fresh else task, scene), _ask(after, task, scene)
    tried = [Decision.of_answers(ask, claim, triggers, controls, nonce) for ask in asks]
    return tried[0], tried[1]


def _ask(ticket: Ticket, task: Task | None, scene: Scene) -> Ask:
    """Asks a model of this process; that it cannot be built is said when it is asked."""

    def ask(images: Pixels) -> Sequence[int | None]:
        if task is not None:
            network, normalisation = _network(ticket, task), Normalisation(task.data.mean, task.data.std)
        else:
            thief = None if ticket.recipe else scene.recipe
            names = {"arch": thief.arch, "dataset": thief.dataset} if thief else {}
            network, normalisation = network_of(ticket, images.shape[3], **names)
        return ask_network(network.to(scene.engine.device), normalisation)(images)

    return ask


def _measured(
    before: Ticket, after: Ticket, scene: Scene, task: Task | None, triggers: TriggerSet | None
) -> tuple[_Pair, _Pair]:
    """Accuracies on the test split and on the trigger set, each (before, after)."""
    if task is None:
        return (None, None), (None, None)
    data, precision, device = task.data, scene.recipe_for(before).precision, scene.engine.device
    networks = [None if task.fresh else _network(before, task), _network(after, task)]
    for network in filter(None, networks):
        scene.engine.prepare(network, precision)

    def on(split: Split | None) -> _Pair:
        found = [accuracy(n, split, data, device, precision) if n and split else None for n in networks]
        return found[0], found[1]

    return on(data.test), on(triggers.split if triggers else None)


def _network(ticket: Ticket, task: Task) -> nn.Module:
    network = copy.deepcopy(task.network)
    network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
    return network
