"""Any mark of the registry as a method to evaluate: made as its owner would, put in, trained on, read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ticket_sig.datasets.data import Split
from ticket_sig.errors import InputError, bad_input
from ticket_sig.evaluation.method import EvaluationTask, Found, Instance, Method, NoRoom
from ticket_sig.marks import Mark, claim_of
from ticket_sig.marks.mark import Drawn
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TRIGGER_BATCH, TriggerBatch, iterations_of
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import verify_answers
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.pixels import Normalisation

_SECRET_WORDS = 4
_SEEN = 40  # times that a trigger must be seen to be learnt; on digits in 8 epochs 46 taught 85 of 100


class OfMark(Method):
    """A mark of the registry, by what it declares of itself (`Mark`).

    Args:
        kind: of the mark.
        size: of its payload, in bits, numbers or labels; by default the mark's `usual_size`.
    """

    def __init__(self, kind: type[Mark], size: int | None = None) -> None:
        if size is not None and size < 1:
            raise bad_input(kind.name, "size", "1 or more", str(size))
        self.kind, self.size = kind, kind.usual_size if size is None else size
        self.name, self.passive = kind.name, kind.passive
        self.stands_in, self.carries = kind.stands_in, kind.carries
        self.subject = "ticket" if kind.stands_in == "mask" else "dense"
        self.options: dict[str, Any] = {} if self.size is None else {"size": self.size}

    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> OneMark:
        """A mark of random payload (`Mark.drawn`); of a passive one, for the network as it will be read.

        Raises:
            NoRoom: the payload does not fit the network.
        """
        try:
            drawn = self.kind.drawn(network, secret, self.size, task.data)
        except InputError as error:
            raise NoRoom(str(error)) from None
        return OneMark(drawn.mark.digest, drawn, secret)


@dataclass(frozen=True)
class OneMark(Instance):
    """One mark, and all that it takes to try it.

    Attributes:
        digest: SHA-256 of all that decides the mark, its payload included.
        drawn: the mark, what its reading needs, and what is taught.
        secret: that it was drawn by; decides, too, what a network is asked beside.
    """

    digest: str
    drawn: Drawn
    secret: bytes

    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        """Embeds the mark, and trains the network on with the mark kept, or taught.

        So an owner does it: what `embed` writes without training (Uchida's bits, too) is held by the
        regularizer, or put back, in every step; the mask holds what stands in it. A trigger set is taught.

        Raises:
            NoRoom: the mark does not fit the network.
            InputError: the training fails.
        """
        mark, taught = self.drawn.mark, self.drawn.taught
        if mark.passive:
            return network
        try:
            marked = network if mark.options is None else mark.embed(network)
        except InputError as error:
            raise NoRoom(str(error)) from None
        batch = None if taught is None else batch_for(taught, task)
        return task.trained_further(marked, triggers=batch, marks=[mark])

    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        """The verdict on the mark, read in the weights, or in answers that the network gives in this process.

        Nobody has to look for a date: the instance was made before the suspect (`Verdict.detected`).
        """
        verdict = (
            self._asked(suspect, task) if self.drawn.mark.stands_in == "answers" else self._read(suspect)
        )
        return Found(detected=verdict.detected, log10_p=verdict.log10_p, symbols=verdict.reading.symbols)

    def _read(self, suspect: Ticket) -> Verdict:
        return self.drawn.mark.read(suspect, **self.drawn.shown).verdict()

    def _asked(self, suspect: Ticket, task: EvaluationTask) -> Verdict:
        """The same decoys for every network: they follow from the secret, which no network has seen."""
        data = task.data
        ask = ask_network(task.network(suspect), Normalisation(data.mean, data.std))
        nonce = keyed_words(self.secret, "decoys", _SECRET_WORDS).tobytes()
        return verify_answers(claim_of([self.drawn.mark], {}), ask=ask, nonce=nonce, **self.drawn.shown)


def batch_for(taught: Split, task: EvaluationTask) -> TriggerBatch:
    """So many triggers beside each batch that a short training sees each often enough; half of it at most."""
    recipe = task.further
    steps = iterations_of(recipe.length, recipe, task.data)
    wanted = max(TRIGGER_BATCH, math.ceil(_SEEN * len(taught) / steps))
    return TriggerBatch(taught, min(wanted, max(1, recipe.batch_size // 2), len(taught)))
