"""Black box verification of scheme 3: the verifier can only ask for labels (NeurIPS'21, section 3.4).

The statistic is the number of triggers answered with the claimed label; an answer that did not come counts as
wrong. Two p-values are computed, and the verdict rests on the larger one:

1. *Of the labels*, where they follow from a secret. Each is a pseudo-random number that a network which
   never saw the set cannot know: it matches with chance 1/classes, independently of all others, whatever the
   network answers (one class always, too). The tail is binomial, exactly. A liar may have tried secrets until
   one happened to fit an innocent network; 2^64 tries are paid for (Bonferroni).
2. *Beside the decoys*, for any set. Decoys are images of the same generator, drawn by the verifier after the
   claim was made. Were the triggers nothing to the network, it would match them as often as its answers to
   decoys match labels distributed as the triggers' are. With a share x of n triggers matching, z of m decoys,
   and r the unknown chance, Hoeffding's inequality (1963, theorem 1) bounds each tail by exp(-n KL(x||r)) and
   exp(-m KL(z||r)); both are independent, so the chance that the exponents add up to W or more is at most
   (1 + W) exp(-W), and W is taken at the r that explains both best. This pays for the decoys being finitely
   many, needs no chance to be the same for two images, and holds however the labels were chosen: a liar who
   found a secret whose labels are mostly the class that the network likes gains nothing. The decoys' share is
   never taken below 1/classes, nor below that of the triggers' own answers with the labels shuffled.

Where somebody chose images and labels (a folder), only the second is left, and the decoys are images of
another kind: it cannot tell a taught label from one that the network was seen to give. The verdict says so.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from ticket_sig.claim import Claim
from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import bad_input
from ticket_sig.signatures.triggers import TriggerSet
from ticket_sig.verification.queries import DECOYS, Queries, prepare
from ticket_sig.verification.statistics import corrected
from ticket_sig.verification.verdict import LOG10_THRESHOLD, Verdict

# Images uint8 [n, height, width, channels] to n labels; None where no answer came.
Ask = Callable[[Pixels], Sequence[int | None]]

LOG10_SECRETS = 64 * math.log10(2)
_NONE = -1  # an answer that did not come


@dataclass(frozen=True)
class Answers:
    """What a suspect answered, put back into the order of triggers and decoys.

    Attributes:
        labels: int64 [n], the triggers' labels.
        classes: number of classes.
        triggers, decoys: int64 [n] and [m], the answers; -1 where none came.
    """

    labels: NDArray[np.int64]
    classes: int
    triggers: NDArray[np.int64]
    decoys: NDArray[np.int64]

    @property
    def matches(self) -> int:
        """Triggers answered with the claimed label."""
        return int((self.triggers == self.labels).sum())

    @property
    def decoys_answered(self) -> int:
        """Decoys that were answered."""
        return int((self.decoys != _NONE).sum())

    @property
    def decoy_rate(self) -> float:
        """How often a decoy's answer is the label of a trigger drawn at random."""
        return self._rate(self.decoys)

    @property
    def log10_p_labels(self) -> float:
        """Of the labels alone, each of which an unrelated network matches with chance 1/classes."""
        return log10_p_labels(self.matches, len(self.labels), self.classes)

    @property
    def log10_p_decoys(self) -> float:
        """Beside the decoys, whatever the labels are."""
        rate = max(self.decoy_rate, 1 / self.classes, self._rate(self.triggers))
        return log10_p_beside(self.matches, len(self.labels), rate, self.decoys_answered)

    def _rate(self, answers: NDArray[np.int64]) -> float:
        came = answers[answers != _NONE]
        shares = np.bincount(self.labels, minlength=self.classes) / len(self.labels)
        return float(shares[came].mean()) if len(came) else 0.0


def log10_p_labels(matches: int, triggers: int, classes: int) -> float:
    """log10 of the chance that as many keyed labels, uniform and independent, are guessed."""
    return float(min(0.0, binom.logsf(matches - 1, triggers, 1 / classes) / math.log(10)))


def log10_p_beside(matches: int, triggers: int, decoy_rate: float, decoys: int) -> float:
    """log10 of a bound on the chance of so many matches where triggers and decoys are alike to the network.

    Args:
        decoy_rate: share of the decoys' answers that match.
        decoys: how many were answered.
    """
    rate = matches / triggers
    if rate <= decoy_rate:
        return 0.0
    pooled = (matches + decoys * decoy_rate) / (triggers + decoys)
    w = triggers * _kl(rate, pooled) + decoys * _kl(decoy_rate, pooled)
    return min(0.0, (math.log1p(w) - w) / math.log(10))


def _kl(x: float, r: float) -> float:
    """Relative entropy of two coins, in nats."""
    return sum(a * math.log(a / b) for a, b in ((x, r), (1 - x, 1 - r)) if a > 0)


def matches_needed(count: int, classes: int) -> int | None:
    """How many of `count` keyed triggers must be answered as claimed to verify; None where all are too few.

    Of the labels alone; beside decoys that the network takes for one class more may be needed.
    """
    tails = binom.logsf(np.arange(-1, count), count, 1 / classes) / math.log(10)
    enough = np.flatnonzero(tails + LOG10_SECRETS < LOG10_THRESHOLD)
    return int(enough[0]) if len(enough) else None


def verify_answers(
    claim: Claim, triggers: TriggerSet, ask: Ask, *, decoys: int = DECOYS, nonce: bytes | None = None
) -> Verdict:
    """Asks a suspect about triggers and decoys and decides whether it was taught the triggers.

    Args:
        claim: of scheme 3.
        triggers: the set the claim was made with, shown to the verifier.
        ask: how to get answers; `ticket_sig.verification.ask` has some. It is called once.
        decoys: number of unrelated images to ask about.
        nonce: what decoys and order follow from; fresh by default.

    Raises:
        InputError: it could not be decided (see `prepare` and `judge`), or the asking failed.
    """
    queries = prepare(claim, triggers, decoys, nonce)
    return judge(claim, queries, ask(queries.images))


def judge(claim: Claim, queries: Queries, answers: Sequence[int | None]) -> Verdict:
    """Decides by answers that are there.

    Args:
        answers: labels in the order of `queries.images`; None where none came.

    Raises:
        InputError: too many or too few answers, one is no class of the network, or fewer than half of the
            decoys were answered.
    """
    found = _sorted_out(queries, _checked(answers, len(queries), queries.triggers.classes))
    if 2 * found.decoys_answered < queries.decoys:
        hint = "the chance of a match cannot be told; ask again"
        few = f"{found.decoys_answered} of {queries.decoys}"
        raise bad_input("", "answers to decoys", "at least half of them", few, hint=hint)
    keyed = queries.triggers.keyed
    log10_p = found.log10_p_decoys
    if keyed:
        log10_p = max(log10_p, corrected(found.log10_p_labels, LOG10_SECRETS))
    expected = max(found.decoy_rate, 1 / found.classes) * len(found.labels)
    return Verdict(
        statistic=f"{found.matches} of {len(found.labels)} triggers answered as claimed, "
        f"{expected:.1f} expected by chance",
        log10_p=log10_p,
        evidence=_evidence(claim, queries, found),
        proves=_PROVES_KEYED if keyed else _PROVES_CHOSEN,
        does_not_prove=_DOES_NOT_PROVE if keyed else f"{_CHOSEN}; {_DOES_NOT_PROVE}",
    )


_PROVES_KEYED = (
    "this network, or one that it was made from, was taught the claimed triggers: one that never saw them "
    "does not answer so many as claimed, whichever of 2^64 secrets the claimant tried"
)
_PROVES_CHOSEN = (
    "this network gives the claimed labels far more often than its answers to other images would have it"
)
_CHOSEN = (
    "that they were taught: somebody chose images and labels, and could have written down what this network "
    "answers anyhow; it takes a claim dated before the suspect, and innocent networks asked the same"
)
_DOES_NOT_PROVE = (
    "who taught them, or when: compare with a record of the claim from before the dispute; nor does 'not "
    "verified' clear a network: a server can tell abstract images from others and answer them otherwise, "
    "number its classes anew, or have been trained until the triggers were forgotten"
)


def _evidence(claim: Claim, queries: Queries, found: Answers) -> dict[str, Any]:
    keyed = queries.triggers.keyed
    answered = found.triggers[found.triggers != _NONE]
    came = np.concatenate([answered, found.decoys[found.decoys != _NONE]])
    return {
        "scheme": claim.scheme,
        "commitment": queries.triggers.commitment,
        "keyed": keyed,
        "classes": found.classes,
        "matches": found.matches,
        "triggers": len(found.labels),
        "triggers_answered": len(answered),
        "decoys": queries.decoys,
        "decoys_answered": found.decoys_answered,
        "decoy_rate": round(found.decoy_rate, 6),
        "different_answers": len(np.unique(came)),
        "log10_p_labels": round(found.log10_p_labels, 3) if keyed else None,
        "log10_secrets_tried": round(LOG10_SECRETS, 3) if keyed else None,
        "log10_p_decoys": round(found.log10_p_decoys, 3),
        "nonce": queries.nonce.hex(),
    }


def _checked(answers: Sequence[int | None], count: int, classes: int) -> NDArray[np.int64]:
    if len(answers) != count:
        raise bad_input("", "answers", f"{count}, one for every image", str(len(answers)))
    checked = np.full(count, _NONE, dtype=np.int64)
    for number, answer in enumerate(answers, 1):
        if answer is None:
            continue
        try:
            label = operator.index(answer)
        except TypeError:
            label = _NONE
        if not 0 <= label < classes:
            raise bad_input("", f"answer {number}", f"a class, 0 to {classes - 1}", repr(answer)[:80])
        checked[number - 1] = label
    return checked


def _sorted_out(queries: Queries, asked: NDArray[np.int64]) -> Answers:
    answers = np.empty_like(asked)
    answers[queries.order] = asked
    triggers, n = queries.triggers, len(queries.triggers)
    labels: NDArray[np.int64] = triggers.split.labels.numpy()
    return Answers(labels, triggers.classes, answers[:n], answers[n:])
