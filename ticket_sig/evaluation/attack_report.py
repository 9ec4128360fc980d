"""What an attack achieved: accuracy, weights kept and verdict before and after (NeurIPS'21, section 4.3).

An attack that costs more than the tolerance has not won: the thief holds a model that is no longer worth
stealing. Nor has one that leaves the owner's claim verified.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import Task, task_of
from ticket_sig.claim import Claim
from ticket_sig.datasets.data import Split
from ticket_sig.errors import InputError
from ticket_sig.formats.layouts import weights_for
from ticket_sig.signatures.scheme1 import Key
from ticket_sig.signatures.triggers import TriggerSet
from ticket_sig.ticket import Ticket
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verification import verify
from ticket_sig.verification.fidelity import EPS_F
from ticket_sig.verification.verdict import Verdict

_Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Decision:
    """A claim tried on a model: the verdict, or why it could not be verified."""

    verdict: Verdict | None
    reason: str = ""

    @classmethod
    def of(cls, ticket: Ticket, claim: Claim, key: Key | None = None) -> Decision:
        """Verifies; what is raised becomes the reason."""
        try:
            return cls(verify(ticket, claim, key))
        except InputError as error:
            return cls(None, str(error))

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
        owner: the owner's claim, tried (before, after); None without a claim.
        forged: the thief's own claim, tried after; None where he makes none.
        tolerance: points of accuracy that a thief may lose.
    """

    accuracy: _Pair
    kept: tuple[int, int]
    total: int
    triggers: _Pair = (None, None)
    owner: tuple[Decision, Decision] | None = None
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
    def outcome(self) -> str:
        """Who won, in words."""
        price = "" if self.lost is None else f", at {self.lost:.2f} points of accuracy"
        if self.owner is None:
            return f"the thief pays{price}" if self.pays else ""
        before, after = self.owner
        if before.outcome != "verified":
            return f"nothing to win: {before.outcome} before the attack"
        if after.outcome == "verified":
            both = self.forged is not None and self.forged.outcome == "verified" and not self.pays
            also = "; the thief's own claim is verified, too: the earlier date decides" if both else ""
            return f"the owner wins: the claim is still verified{also}"
        if self.pays is None:
            return "the claim is gone; accuracy was not measured"
        who = "nobody wins: the claim is gone, and the thief pays" if self.pays else "the thief wins"
        return who + price

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        owner: Mapping[str, Any] | None = None
        if self.owner is not None:
            owner = {"before": self.owner[0].to_json(), "after": self.owner[1].to_json()}
        return {
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1], "lost": self.lost},
            "triggers": {"before": self.triggers[0], "after": self.triggers[1]},
            "kept": {"before": self.kept[0], "after": self.kept[1], "total": self.total},
            "thief_pays": self.pays,
            "owner": owner,
            "forged": self.forged and self.forged.to_json(),
            "outcome": self.outcome,
        }


def attack_report(
    before: Ticket,
    after: Ticket,
    scene: Scene,
    *,
    claim: Claim | None = None,
    key: Key | None = None,
    triggers: TriggerSet | None = None,
    forged: Claim | None = None,
    tolerance: float = EPS_F,
) -> AttackReport:
    """Measures an attack.

    Args:
        before: the model that was attacked.
        after: what the attack made of it.
        scene: of the attack; accuracies are measured where it has data.
        claim: the owner's; tried on both.
        key: of a claim of scheme 1.
        triggers: the owner's trigger set; its answers are measured where the scene has data.
        forged: the thief's own claim; tried on what he made.

    Raises:
        InputError: the weights do not fit the network.
    """
    accuracies, answers = _measured(before, after, scene, triggers)
    return AttackReport(
        accuracy=accuracies,
        triggers=answers,
        kept=(before.mask.kept, after.mask.kept),
        total=before.mask.total,
        owner=None if claim is None else (Decision.of(before, claim, key), Decision.of(after, claim, key)),
        forged=None if forged is None else Decision.of(after, forged),
        tolerance=tolerance,
    )


def _measured(
    before: Ticket, after: Ticket, scene: Scene, triggers: TriggerSet | None
) -> tuple[_Pair, _Pair]:
    """Accuracies on the test split and on the trigger set, each (before, after)."""
    if scene.data is None:
        return (None, None), (None, None)
    task = task_of(before, scene)
    precision, device = scene.recipe_for(before).precision, scene.engine.device
    networks = [None if task.fresh else _network(before, task), _network(after, task)]
    for network in filter(None, networks):
        scene.engine.prepare(network, precision)

    def on(split: Split | None) -> _Pair:
        found = [accuracy(n, split, task.data, device, precision) if n and split else None for n in networks]
        return found[0], found[1]

    return on(task.data.test), on(triggers.split if triggers else None)


def _network(ticket: Ticket, task: Task) -> nn.Module:
    network = copy.deepcopy(task.network)
    network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
    return network
