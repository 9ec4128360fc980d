"""Black box verification: the verifier can only ask for answers. One file for each way to ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ticket_sig.claim import Claim
from ticket_sig.datasets.images import Pixels
from ticket_sig.marks.mark import of_kind
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.reading import check_controls
from ticket_sig.marks.trigger_set.record import DECOYS, prepare
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.verdict import Verdict

# Images uint8 [n, height, width, channels] to n labels; None where no answer came.
Ask = Callable[[Pixels], Sequence[int | None]]


def verify_answers(
    claim: Claim,
    triggers: TriggerSet,
    ask: Ask,
    *,
    controls: Sequence[Ask] = (),
    decoys: int = DECOYS,
    nonce: bytes | None = None,
) -> Verdict:
    """Asks a suspect about triggers and decoys and decides whether it was taught the triggers.

    Args:
        claim: on a trigger set.
        triggers: the set the claim was made with, shown to the verifier.
        ask: how to get answers (`ask_network`, `ask_server`, or any function from images to labels). It is
            called once. Who asks the same suspect again must do so with the same nonce: what two askings
            have in common is the trigger set.
        controls: innocent networks of the same task, no worse than the suspect, asked the same images in the
            same way; needed where the set is not keyed.
        decoys: number of unrelated images to ask about.
        nonce: what decoys and order follow from; fresh by default.

    Raises:
        InputError: it could not be decided (see `prepare` and `TriggerMark.read`), or the asking failed.
    """
    check_controls(triggers, len(controls))
    queries = prepare(claim, triggers, decoys, nonce)
    return judge(claim, queries, ask(queries.images), [control(queries.images) for control in controls])


def judge(
    claim: Claim,
    queries: Queries,
    answers: Sequence[int | None],
    controls: Sequence[Sequence[int | None]] = (),
) -> Verdict:
    """Decides by answers that are there; arguments and errors as of `TriggerMark.read`."""
    return of_kind(TriggerMark, claim).read(answers, queries=queries, controls=controls).verdict()
