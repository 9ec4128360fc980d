"""A model before and after an attack: a claim is tried on both, and their answers are measured."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import Task, task_of
from ticket_sig.claim import Claim
from ticket_sig.datasets.data import Split
from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.marks.mark import Mark, verdict_on
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.models import build
from ticket_sig.options import flag
from ticket_sig.ticket import Ticket
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import Ask, verify_answers
from ticket_sig.verification.ask.network import ask_network, network_of
from ticket_sig.verification.ask.pixels import Normalisation

Pair = tuple[float | None, float | None]


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
class Trial:
    """A model before and after an attack.

    Attributes:
        scene: of the attack.
        network: that the thief has then, where it is not the recipe's (`Attacked.answering`).
    """

    before: Ticket
    after: Ticket
    scene: Scene
    network: nn.Module | None = None

    @cached_property
    def _task(self) -> Task | None:
        """What the thief's data mean to the model; None where he has none."""
        return None if self.scene.data is None else task_of(self.before, self.scene)

    def measured(self, triggers: TriggerSet | None) -> tuple[Pair, Pair]:
        """Accuracies on the test split and on the trigger set, each (before, after)."""
        if (task := self._task) is None:
            return (None, None), (None, None)
        scene, data, device = self.scene, task.data, self.scene.engine.device
        precision = scene.recipe_for(self.before).precision
        thief = self.network
        if thief is None:
            thief = _network(self.after, self._of_the_thief(task))
        networks = [None if task.fresh else _network(self.before, task), thief]
        for network in filter(None, networks):
            scene.engine.prepare(network, precision)

        def on(split: Split | None) -> Pair:
            found = [accuracy(n, split, data, device, precision) if n and split else None for n in networks]
            return found[0], found[1]

        with contextlib.ExitStack() as stack:
            for network in filter(None, networks):
                stack.enter_context(scene.engine.answering(network, precision, data.size))
            return on(data.test), on(triggers.split if triggers else None)

    def on_weights(self, mark: Mark, chances: int, shown: Mapping[str, Any]) -> Tried:
        """A mark that is read in both, one of so many that are tried; with what is shown of what it needs."""
        untold = mark.needs and not mark.needs.keys() & set(shown)
        lacking = flag(next(iter(mark.needs))) if untold else ""
        read = [verdict_on(mark, ticket, chances, shown) for ticket in (self.before, self.after)]
        return Tried(*(replace(_decision(one), lacking=lacking) for one in read))

    def on_answers(self, claim: Claim, triggers: TriggerSet | None, controls: Sequence[Ask]) -> Tried:
        """A claim on a trigger set, judged by the answers of both networks to the same images."""
        if triggers is None:
            hint = "give it: --triggers"
            reason = str(bad_input("", "trigger set", "the claim's, to ask the network", "none", hint=hint))
            return Tried(Decision(None, reason), Decision(None, reason))
        nonce = self.scene.secret("decoys")

        def decided(ask: Ask) -> Decision:
            return decision_of(lambda: verify_answers(claim, triggers, ask, controls=controls, nonce=nonce))

        return Tried(*map(decided, self._both()))

    def _both(self) -> tuple[Ask, Ask]:
        """What asks the model before, and what asks the thief's."""
        task = self._task
        # Of a model that served another task the own recipe tells more than the thief's data.
        before = self._ask(self.before, None if task and task.fresh else task)
        if self.network is not None:
            return before, self._ask(self.before, task, self.network)
        return before, self._ask(self.after, task and self._of_the_thief(task))

    def _ask(self, ticket: Ticket, task: Task | None, given: nn.Module | None = None) -> Ask:
        """Asks a model of this process, or a given one that takes the same images.

        That it cannot be built is said when it is asked.
        """

        def ask(images: Pixels) -> Sequence[int | None]:
            """The network's answers to images; InputError where it cannot be built."""
            if task is not None:
                network, normalisation = _network(ticket, task), Normalisation(task.data.mean, task.data.std)
            else:
                thief = None if ticket.recipe else self.scene.recipe
                names = {"arch": thief.arch, "dataset": thief.dataset} if thief else {}
                network, normalisation = network_of(ticket, images.shape[3], **names)
            network = network if given is None else given
            return ask_network(network.to(self.scene.engine.device), normalisation)(images)

        return ask

    def _of_the_thief(self, task: Task) -> Task:
        """The task with the network that the thief has then: it may be of another architecture."""
        arch = self.scene.recipe_for(self.before).arch
        own = (self.after.recipe or {}).get("arch", arch)
        if own == arch:
            return task
        return replace(task, network=build(own, task.data.classes, task.data.channels))


def decision_of(verify: Callable[[], Verdict]) -> Decision:
    """What verifying says; what it raises becomes the reason."""
    try:
        return Decision(verify())
    except InputError as error:
        return _decision(error)


def _decision(found: Verdict | InputError) -> Decision:
    return Decision(None, str(found)) if isinstance(found, InputError) else Decision(found)


def _network(ticket: Ticket, task: Task) -> nn.Module:
    network = copy.deepcopy(task.network)
    network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
    return network
