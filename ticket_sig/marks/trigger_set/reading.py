"""Reading a trigger set off answers: the verifier can only ask for labels (NeurIPS'21, section 3.4).

The statistic is the number of triggers answered with the claimed label; an answer that did not come counts as
wrong. Up to three p-values are computed, and the verdict rests on the largest:

1. *Of the labels*, where they follow from a secret. Each is a pseudo-random number that a network which
   never saw the set cannot know: it matches with chance 1/classes, independently of all others, whatever the
   network answers (one class always, too). The tail is binomial, exactly. A liar may have tried secrets until
   one happened to fit an innocent network; 2^64 tries are paid for (Bonferroni).
2. *Beside the decoys*, for any set. Decoys are images of the same generator, drawn by the verifier after the
   claim was made. H0: the network treats triggers like decoys, so its match rate on triggers equals the rate
   at which its answers to decoys match labels drawn from the distribution of the trigger labels. With a
   share x of n triggers matching, z of m decoys, and r the unknown chance, Hoeffding's inequality (1963,
   theorem 1) bounds each tail by exp(-n KL(x||r)) and exp(-m KL(z||r)); both are independent, so the chance
   that the exponents add up to W or more is at most (1 + W) exp(-W), and W is taken at the r that explains
   both best. This pays for the decoys being finitely many, needs no chance to be the same for two images,
   and holds however the labels were chosen: a liar who found a secret whose labels are mostly the class that
   the network likes gains nothing. The decoys' share is never taken below 1/classes, nor below that of the
   triggers' own answers with the labels shuffled.

Nobody gains by answers that do not come. A missing trigger counts as wrong, a missing decoy is left out. So
where triggers are treated like decoys, they match at most as often as the decoys that were answered: the
bound of 2. holds for any number of these, and the fewer they are, the less it says. *A false claimant*: the
first and the third need none, and whoever could choose which answers of an innocent server get lost could as
well change them. *A thief*: too few answered decoys are "could not verify" only where the p-value falls short
anyway. For a trigger, no answer is as good to him as a wrong one, which he can always give; that there are
fewer decoys gains him little, and the verifier can ask about more. To escape he must fail many of his users,
or tell triggers from other images.

Where somebody chose images and labels (a folder), only the second is left, and it is not enough: the decoys
are images of another kind, and every honest network gives photographs their true labels. So it takes a third:

3. *Beside control networks*, innocent ones of the same task that the verifier asks the same: the bound of 2.
   with the triggers that the best of them answers as claimed in place of the decoys. It is as good as the
   controls: one that knows its task less well than an innocent suspect makes that suspect look guilty. Nor
   does it help against labels that were written down from the suspect's own answers; against these only a
   date helps. The verdict says both.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ticket_sig.digests import bytes_digest
from ticket_sig.errors import bad_input
from ticket_sig.marks.trigger_set.folder import Arrangement
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.statistics import LOG10_SECRETS, corrected, format_p, log10_tails
from ticket_sig.verdict import LOG10_THRESHOLD, Rows, Symbols, Verdict

_NONE = -1  # an answer that did not come
_FEWEST_ANSWERED = 30  # decoys: of fewer, "not verified" would say too much

_PROVES_KEYED = (
    "this network, or one that it was made from, was taught the claimed triggers: one that never saw them "
    "does not answer so many as claimed, whichever of 2^64 secrets the claimant tried"
)
_PROVES_CHOSEN = (
    "this network gives the claimed labels far more often than the control networks, and than its answers to "
    "other images would have it"
)
_CHOSEN = (
    "that they were taught, unless the claim is dated before the suspect, and the controls are innocent and "
    "as good as it: somebody chose images and labels, and could have written down what this network answers "
    "anyhow, or what only a better network than the controls gets right"
)
_HOLDS_IF = "holds if the claim is older than the suspect, and the controls are innocent and as good as it"
_DOES_NOT_PROVE = (
    "who taught them, or when: compare with a record of the claim from before the dispute; nor does 'not "
    "verified' clear a network: a server can tell abstract images from others and answer them otherwise, "
    "number its classes anew, or have been trained until the triggers were forgotten"
)


@dataclass(frozen=True, kw_only=True)
class TriggerReading:
    """What a suspect answered, put back into the order of triggers and decoys.

    Attributes:
        commitment: digest of the trigger set, as claims hold it.
        keyed: whether images and labels follow from a secret; else somebody chose them.
        nonce: what the queries followed from.
        labels: int64 [n], the triggers' labels.
        classes: number of classes.
        triggers, decoys: int64 [n] and [m], the answers; -1 where none came, `classes` for every label that
            is no class of the claim's: it counts as an answer and matches nothing.
        controls: int64 [n] each, what innocent networks answer to the triggers.
        arrangement: how the folder was read that the triggers were chosen in; None where there is none.
    """

    commitment: str
    keyed: bool
    nonce: bytes
    labels: NDArray[np.int64]
    classes: int
    triggers: NDArray[np.int64]
    decoys: NDArray[np.int64]
    controls: tuple[NDArray[np.int64], ...] = ()
    arrangement: Arrangement | None = None

    message: ClassVar[None] = None  # a trigger set says nothing

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
    def no_class(self) -> int:
        """Answers that are no class of the claim's."""
        return int((np.concatenate([self.triggers, self.decoys]) == self.classes).sum())

    @property
    def control_matches(self) -> list[int]:
        """Triggers that each control network answers with the claimed label."""
        return [int((answers == self.labels).sum()) for answers in self.controls]

    @property
    def log10_p_labels(self) -> float:
        """Of the labels alone, each of which an unrelated network matches with chance 1/classes."""
        return log10_p_labels(self.matches, len(self.labels), self.classes)

    @property
    def log10_p_decoys(self) -> float:
        """Beside the decoys, whatever the labels are."""
        rate = max(self.decoy_rate, 1 / self.classes, self._rate(self.triggers))
        return log10_p_beside(self.matches, len(self.labels), rate, self.decoys_answered)

    @property
    def log10_p_controls(self) -> float | None:
        """Beside the control network that answers most triggers as claimed; None without one."""
        if not self.controls:
            return None
        n = len(self.labels)
        rate = max(*self.control_matches, n / self.classes) / n
        return log10_p_beside(self.matches, n, rate, n)

    def _rate(self, answers: NDArray[np.int64]) -> float:
        came = answers[answers != _NONE]
        shares = np.bincount(self.labels, minlength=self.classes + 1) / len(self.labels)
        return float(shares[came].mean()) if len(came) else 0.0

    @property
    def agreement(self) -> float:
        """Share of the claimed payload that is found, 0 to 1."""
        return self.matches / len(self.labels)

    @property
    def log10_p(self) -> float:
        """The largest of the p-values that there are."""
        labels = corrected(self.log10_p_labels, LOG10_SECRETS) if self.keyed else None
        return max(p for p in (labels, self.log10_p_decoys, self.log10_p_controls) if p is not None)

    @property
    def symbols(self) -> Symbols:
        """The labels, claimed and answered; None where no answer came."""
        answers = (None if answer == _NONE else answer for answer in self.triggers.tolist())
        return Symbols(tuple(self.labels.tolist()), tuple(answers))

    @property
    def expected(self) -> float:
        """Matches by chance: as often as a decoy's answer, at random, or as the best control network."""
        best = max([0, *self.control_matches]) / len(self.labels)
        return max(self.decoy_rate, 1 / self.classes, best) * len(self.labels)

    @property
    def triggers_answered(self) -> int:
        """Triggers that were answered."""
        return int((self.triggers != _NONE).sum())

    @property
    def different(self) -> int:
        """How many classes the answers name."""
        came = np.concatenate([self.triggers, self.decoys])
        return len(np.unique(came[(came != _NONE) & (came < self.classes)]))

    def rows(self) -> Rows:
        """What it rests on, for people."""
        n, controls = len(self.labels), self.log10_p_controls
        rows = {
            "  of the labels, one secret": self.keyed and format_p(self.log10_p_labels),
            "  secrets to choose from": self.keyed and f"10^{LOG10_SECRETS:.1f}",
            "  beside the decoys": format_p(self.log10_p_decoys),
            "  beside the best control": controls is not None and format_p(controls),
            "triggers": f"{n}, {'from a secret' if self.keyed else 'chosen by somebody'}",
            "trigger folder": self.arrangement,
            "decoys that match": f"{100 * self.decoy_rate:.1f} %",
            "triggers that controls match": ", ".join(map(str, self.control_matches)),
            "triggers answered": f"{self.triggers_answered} of {n}",
            "decoys answered": f"{self.decoys_answered} of {len(self.decoys)}",
            "different answers": f"{self.different} of {self.classes} classes",
            "answers of no class": self.no_class,
        }
        return [(name, value) for name, value in rows.items() if value]  # what there is none of is left out

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        keyed, beside = self.keyed, self.log10_p_controls
        return {
            "commitment": self.commitment,
            "keyed": keyed,
            "order": self.arrangement and self.arrangement.order,
            "fit": self.arrangement and self.arrangement.fit,
            "classes": self.classes,
            "matches": self.matches,
            "triggers": len(self.labels),
            "triggers_answered": self.triggers_answered,
            "decoys": len(self.decoys),
            "decoys_answered": self.decoys_answered,
            "decoy_rate": round(self.decoy_rate, 6),
            "different_answers": self.different,
            "answers_of_no_class": self.no_class,
            "control_matches": self.control_matches,
            "log10_p": round(self.log10_p, 3),
            "log10_p_labels": round(self.log10_p_labels, 3) if keyed else None,
            "log10_secrets_tried": round(LOG10_SECRETS, 3) if keyed else None,
            "log10_p_decoys": round(self.log10_p_decoys, 3),
            "log10_p_controls": None if beside is None else round(beside, 3),
            "nonce_digest": bytes_digest(self.nonce),
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value alone."""
        keyed = self.keyed
        return Verdict(
            mark="trigger-set",
            reading=self,
            statistic=f"{self.matches} of {len(self.labels)} triggers answered as claimed, "
            f"{self.expected:.1f} expected by chance",
            proves=_PROVES_KEYED if keyed else _PROVES_CHOSEN,
            does_not_prove=_DOES_NOT_PROVE if keyed else f"{_CHOSEN}; {_DOES_NOT_PROVE}",
            holds_if="" if keyed else _HOLDS_IF,
        )


def log10_p_labels(matches: int, triggers: int, classes: int) -> float:
    """log10 of the chance that as many keyed labels, uniform and independent, are guessed."""
    return float(log10_tails(triggers, 1 / classes)[matches])


def log10_p_beside(matches: int, triggers: int, other_rate: float, others: int) -> float:
    """log10 of a bound on the chance of so many matches where two samples are alike.

    Args:
        other_rate: share of the other sample's answers that match.
        others: its size: decoys that were answered, or triggers that a control network was asked.
    """
    rate = matches / triggers
    if rate <= other_rate:
        return 0.0
    pooled = (matches + others * other_rate) / (triggers + others)
    w = triggers * _kl(rate, pooled) + others * _kl(other_rate, pooled)
    return min(0.0, (math.log1p(w) - w) / math.log(10))


def _kl(x: float, r: float) -> float:
    """Relative entropy of two coins, in nats."""
    return sum(a * math.log(a / b) for a, b in ((x, r), (1 - x, 1 - r)) if a > 0)


def matches_needed(count: int, classes: int) -> int | None:
    """How many of `count` keyed triggers must be answered as claimed to verify; None where all are too few.

    Of the labels alone; beside decoys that the network takes for one class more may be needed.
    """
    enough = np.flatnonzero(log10_tails(count, 1 / classes) + LOG10_SECRETS < LOG10_THRESHOLD)
    return int(enough[0]) if len(enough) else None


def read_answers(
    queries: Queries, answers: Sequence[int | None], controls: Sequence[Sequence[int | None]] = ()
) -> TriggerReading:
    """Puts answers back into the order of triggers and decoys; errors as of `TriggerMark.read`."""
    triggers, n = queries.triggers, len(queries.triggers)
    check_controls(triggers, len(controls))
    found = _sorted_out(queries, answers)
    asked = [_sorted_out(queries, control)[:n] for control in controls]
    for number, control in enumerate(asked, 1):
        if missing := int((control == _NONE).sum()):
            raise bad_input("", f"control {number}", "an answer to every trigger", f"{missing} missing")
    reading = TriggerReading(
        commitment=triggers.commitment,
        keyed=triggers.keyed,
        nonce=queries.nonce,
        labels=triggers.split.labels.numpy(),
        classes=triggers.classes,
        triggers=found[:n],
        decoys=found[n:],
        controls=tuple(asked),
        arrangement=triggers.arrangement,
    )
    if reading.decoys_answered < _FEWEST_ANSWERED and not reading.verdict().verified:
        few, hint = f"{reading.decoys_answered} of {queries.decoys}", "the chance of a match cannot be told"
        raise bad_input("", "answers to decoys", f"at least {_FEWEST_ANSWERED}", few, hint=hint)
    return reading


def check_controls(triggers: TriggerSet, controls: int) -> None:
    """Checks for control networks; InputError where somebody chose the triggers, and there is none."""
    if not (triggers.keyed or controls):
        expected = "an innocent network of the same task, as somebody chose images and labels"
        hint = "chosen triggers need a control network: --control MODEL"
        raise bad_input("", "control", expected, "none", hint=hint)


def _sorted_out(queries: Queries, asked: Sequence[int | None]) -> NDArray[np.int64]:
    """Answers in the order of triggers and decoys, checked."""
    count, classes = len(queries), queries.triggers.classes
    if len(asked) != count:
        raise bad_input("", "answers", f"{count}, one for every image", str(len(asked)))
    answers = np.full(count, _NONE, dtype=np.int64)
    for number, (place, answer) in enumerate(zip(queries.order, asked, strict=True), 1):
        if answer is None:
            continue
        try:
            label = operator.index(answer)
        except TypeError:
            raise bad_input("", f"answer {number}", "a whole number", repr(answer)[:80]) from None
        answers[place] = label if 0 <= label < classes else classes
    return answers
