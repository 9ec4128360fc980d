"""The face of what is evaluated: a method, and one key and payload of it for one network.

Source: MPAI-NNW Traceability V1.1 (IEEE 3304). A registered mark, a fingerprint and a plug-in of a user
answer to it alike, so that the evaluator knows none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ticket_sig.datasets import Dataset
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import InputError
from ticket_sig.formats.layouts import weights_for
from ticket_sig.lottery.level import network_of
from ticket_sig.lottery.retrain import retrain
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.loop import Engine
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.recipe import Recipe
from ticket_sig.verdict import Symbols


class NoRoom(InputError):
    """A mark cannot be put into networks like this one, whatever its key: the method is left out."""


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """What networks are trained for, and how.

    Attributes:
        data: training and test split.
        recipe: of the initial training.
        further: of what follows it: in it a mark is injected, and the unmarked networks are trained as long.
        engine: where it is trained.
        folder: for the state of trainings.
        model: a network of the user's own in place of `recipe.arch`.
    """

    data: Dataset
    recipe: Recipe
    further: Recipe
    engine: Engine
    folder: Path
    model: nn.Module | None = None

    def network(self, ticket: Ticket) -> nn.Module:
        """A network of its own with a ticket's weights, on the engine's device, in evaluation mode."""
        network = network_of(self.recipe, self.data, self.model, self.engine.device)
        network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
        return network.to(self.engine.device).eval()

    def trained_further(
        self, network: Ticket, *, triggers: TriggerBatch | None = None, marks: Sequence[KeptMark] = ()
    ) -> Ticket:
        """The network trained by `further`, from where it stands; started again, it goes on in its folder."""
        kept = [mark.digest for mark in marks] + ([triggers.digest] if triggers else [])
        identity = {"weights": tensor_digest(network.weights), "mask": tensor_digest(network.mask)}
        identity |= {"recipe": json_digest(self.further.to_json()), "kept": ", ".join(kept)}
        folder = self.folder / json_digest(identity).partition(":")[2][:16]
        return retrain(
            network,
            self.further,
            self.data,
            folder,
            start="model",
            triggers=triggers,
            marks=marks,
            model=self.model,
            engine=self.engine,
        )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a method says of one network.

    Attributes:
        detected: whether its detector, or matcher, finds the mark; None where it has none.
        log10_p: log10 of the p-value that goes with it; None where the method gives none.
        symbols: what its decoder reads beside what was put in; None where it has none.
    """

    detected: bool | None = None
    log10_p: float | None = None
    symbols: Symbols | None = None


class Instance(ABC):
    """One key and one payload for one network: one of the M x D.

    Attributes:
        digest: SHA-256 of key and payload; no two instances of an evaluation have the same.
    """

    digest: str

    @abstractmethod
    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        """The network with the mark in it, trained further where the method or its mark takes that.

        Of a passive method the network itself: its fingerprint was extracted for the instance.
        """

    @abstractmethod
    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        """What detector and decoder say of a network, which is left as it is.

        Raises:
            InputError: the network cannot be read with this instance.
        """


class Method(ABC):
    """A way to mark networks, or to know them again.

    Attributes:
        name: in reports and on the command line.
        passive: whether networks stay as they are (fingerprints).
        keyed: whether a network has as many instances as there are secrets; else it has one, whatever D is.
        subject: "ticket" where it stands in the mask, else "dense": the networks that it is tried on.
        stands_in: "mask", "weights" or "answers".
        carries: "bits", "numbers", "labels" or "nothing".
        options: what it was made with, as JSON.
    """

    name: str
    passive: bool = False
    keyed: bool = True
    subject: str = "dense"
    stands_in: str = "weights"
    carries: str = "nothing"
    options: Mapping[str, Any] = {}

    @abstractmethod
    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> Instance:
        """A key and a payload for a network; both follow from the secret.

        Raises:
            NoRoom: the network has no room for it.
            InputError: it cannot be made for another reason.
        """
