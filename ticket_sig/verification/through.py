"""Verification through a reference: what a thief changed for free is undone, and the suspect is read again.

A reference that knows nothing of the secret cannot draw an innocent suspect towards the mark: permutations
are chosen by the reference alone, so that the statistic keeps its null distribution. But whoever makes a
reference from the suspect can choose it, and so the permutations; and one that is made from the secret draws
whatever is aligned with it towards the mark, also what is made later. So the verdict holds on a condition,
which is said first: the reference tells nothing of the secret, and is older than the suspect. A claim that
commits to it makes its age a question of the claim's date. Beside it stands the p-value without the
condition: all that alignment could choose from is counted.

A mark that is bound to the reference (`Mark.bound_to`) needs no condition. Its signs are drawn anew for every
other reference, so that none can be made from the suspect, or from the secret, to fit them: each reference is
one more of the tries that are paid for. For this, alignment has to follow from the reference's tensors alone,
whose digest is in the key of the signs; so its network must be the one of the package that they fit.

A reference that carries the mark itself could draw a suspect towards it. Then the layers of the mark have no
say in the alignment. The others were trained with them: that they tell nothing of the secret is assumed, and
said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.formats import load
from ticket_sig.formats.names import each_in
from ticket_sig.marks import Mark, Model
from ticket_sig.marks.mark import as_ticket, verdict_on
from ticket_sig.models import MODELS, build_for
from ticket_sig.progress import Steps
from ticket_sig.recovery import align
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.undone import Undone
from ticket_sig.statistics import corrected, format_p
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows, Unread, Verdict
from ticket_sig.verification.decide import Together, as_it_stands, decide

READINGS = 2  # as it stands, and through the reference: both are paid for


@dataclass(frozen=True, kw_only=True)
class Through:
    """What a reference did for a verdict.

    Attributes:
        committed: whether the claim commits to the reference as the model before its first mark.
        other: whether it commits to another one.
        condition: under which the p-value holds; empty where the suspect was read as it stands, or every mark
            is bound to the reference. Before it stands the name of the mark, where it is not that of all.
        bound: names of marks that are bound.
        undone: what was undone before it was read.
        log10_choices: permutations and symmetries that alignment could choose from.
        similarity: of the aligned suspect to the reference, 0 to 1; None where the verdict is on the suspect
            as it stands.
        left_out: layers that were not used to align, as the reference carries marks in them.
        reason: why the verdict is on the suspect as it stands, though nothing is verified so.
        no_more: whether this is the reason: aligned, it says no more. Else it could not be aligned.
        not_followed: why it was aligned by names and shapes alone; None where channels were followed, too.
    """

    committed: bool
    other: bool = False
    condition: str = ""
    bound: tuple[str, ...] = ()
    undone: tuple[Undone, ...] = ()
    log10_choices: float = 0.0
    similarity: float | None = None
    left_out: tuple[str, ...] = ()
    reason: str = ""
    no_more: bool = False
    not_followed: str | None = None

    def without_condition(self, verdict: Verdict) -> float:
        """log10 of the verdict's p-value, whatever the reference is: all ways to align are counted.

        Of several marks that of the best; those that are bound owe nothing to the reference.
        """
        return min(
            one.log10_p if one.mark in self.bound else corrected(one.log10_p, self.log10_choices)
            for one in _each(verdict)
            if bool(one.lacking) == bool(verdict.lacking)
        )

    def rows(self, verdict: Verdict) -> Rows:
        """For people, beside the verdict."""
        channels = channel_rows(self.not_followed)
        if self.similarity is None:
            told = self.reason if self.no_more else "not aligned" if self.reason else "not needed"
            return [("reference", f"{told}; the p-value is doubled because one was given"), *channels]
        none = "another than the claim commits to" if self.other else "the claim commits to none"
        many = "1 layer" if len(self.left_out) == 1 else f"{len(self.left_out)} layers"
        layers = f"{many}: the reference carries the mark there"
        return [
            *([("  without the condition", self._without_in_words(verdict))] if self.condition else []),
            ("reference", "the claim commits to it" if self.committed else none),
            *([("  bound to it", " and ".join(self.bound))] if self.bound else []),
            ("undone", ", ".join(map(str, self.undone)) or "nothing"),
            *channels,
            ("similarity to the reference", f"{self.similarity:.3f}"),
            *([("not used to align", layers)] if self.left_out else []),
        ]

    def _without_in_words(self, verdict: Verdict) -> str:
        p = self.without_condition(verdict)
        free = [one.mark for one in _each(verdict) if one.mark in self.bound and one.log10_p == p]
        ways = f"10^{self.log10_choices:.1f} ways to align counted"
        return f"{format_p(p)} ({f'by {free[0]}, which is bound' if free else ways})"

    def to_json(self, verdict: Verdict) -> dict[str, Any]:
        """For machines."""
        aligned = self.similarity is not None
        about_it = {
            "committed": self.committed,
            "aligned": aligned,
            "bound": list(self.bound),
            "undone": [one.to_json() for one in self.undone],
            "similarity": self.similarity,
            "log10_choices": round(self.log10_choices, 3),
            "left_out": list(self.left_out),
            **({"reason": self.reason} if self.reason else {}),
            **({"not_followed": self.not_followed} if self.not_followed else {}),
        }
        if not aligned:
            return {"reference": about_it}
        without = self.without_condition(verdict)
        return {
            "log10_p_unconditional": round(without, 3),
            "p_value_unconditional": format_p(without),
            "reference": about_it,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Referred(Verdict):
    """A verdict that a reference was given for."""

    through: Through

    @classmethod
    def of(cls, verdict: Verdict, through: Through) -> Referred:
        """The same verdict, with what the reference did for it."""
        own = {one.name: getattr(verdict, one.name) for one in fields(verdict)}
        unaligned = bool(through.reason) and not through.no_more
        remarks = [*verdict.remarks, *([("not aligned", through.reason)] if unaligned else [])]
        return cls(**{**own, "remarks": remarks}, through=through)

    @property
    def condition(self) -> str:
        """Under which it holds, or what it says by marks that are not bound; empty where none is needed."""
        stand = [one.mark in self.through.bound for one in _each(self) if one.verified]
        of_reference = "" if stand and all(stand) else self.through.condition
        own = super().condition
        told = own.removeprefix("holds if ") in of_reference  # one date may be asked for by both
        return of_reference if told else "; ".join(filter(None, (of_reference, own)))

    @property
    def headline(self) -> str:
        """The outcome, by which marks without a condition, and the condition under which it holds."""
        if not (self.verified and self.condition):
            return self.outcome
        free = [one.mark for one in _each(self) if one.verified and one.mark in self.through.bound]
        by = f" by {' and '.join(free)}" if free else ""
        return f"{self.outcome}{by}; {self.condition}"

    @property
    def leaves_open(self) -> str:
        """What it does not prove; that the condition holds, among it."""
        open_still = super().leaves_open
        return f"{open_still}; that the condition holds" if self.headline != self.outcome else open_still

    def rows(self) -> Rows:
        """As of every verdict; behind the p-value, what it owes to the reference."""
        rows = list(super().rows())
        at = [name for name, _ in rows].index("p-value") + 1
        return [*rows[:at], *self.through.rows(self), *rows[at:]]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON, with condition and reference."""
        return {**super().to_json(), "condition": self.condition or None, **self.through.to_json(self)}


def channel_rows(not_followed: str | None) -> Rows:
    """What a verdict says where a reference's channels were not followed, for people."""
    return [("channels", f"not followed: {not_followed}")] if not_followed else []


def _each(verdict: Verdict) -> Sequence[Verdict]:
    """The verdicts on the marks that were read: of several, or this one."""
    return verdict.reading.verdicts if isinstance(verdict.reading, Together) else [verdict]


def reference_of(model: Reference | Model, arch: str | None = None) -> Reference:
    """The owner's model as a reference.

    Args:
        arch: of a ticket's network; by default its recipe's or, where it has none, the one that its tensors
            fit.

    Raises:
        InputError: no such `arch`, or the model is not of it; or it is no model.
    """
    if isinstance(model, Reference):
        return model
    if isinstance(model, nn.Module) and arch is None:
        return Reference.of(model)
    ticket = as_ticket(model)
    named = arch or (None if (ticket.recipe or {}).get("arch") in MODELS else fitting(ticket))
    return Reference.of(ticket, named)


def reference_in(path: Path, arch: str | None = None) -> Reference:
    """The same of a file or a bundle; InputError, which names it, also where it cannot be read."""
    with about(path):
        return reference_of(load(path).ticket, arch)


def fitting(ticket: Ticket) -> str | None:
    """The network of the package that a ticket's tensors fit; a file of tensors does not say which it is."""
    for arch in MODELS:
        try:
            build_for(arch, ticket.weights)
            return arch
        except InputError:
            continue
    return None


def through_reference(
    marks: Sequence[Mark],
    suspect: Model,
    claim: Claim,
    reference: Reference,
    shown: Mapping[str, Any],
    steps: Steps | None = None,
) -> Referred:
    """Reads a suspect as it stands and, if nothing is verified so, aligned with a reference.

    Both readings are paid for: each p-value is doubled, also where the first suffices.

    Raises:
        InputError: it can be read neither way.
    """
    steps = steps or Steps()
    beside = _Beside(suspect=suspect, claim=claim, reference=reference, shown=shown, steps=steps)
    plain: Verdict | InputError
    try:
        plain = decide(marks, as_it_stands(suspect, steps), claim, shown, readings=READINGS)
    except InputError as error:
        plain = error
    if isinstance(plain, Verdict) and plain.verified:
        return Referred.of(plain, Through(committed=beside.committed))
    try:
        aligned = decide(marks, beside.aligned, claim, shown, readings=READINGS, aligned=True)
    except InputError as error:
        if isinstance(plain, InputError) or isinstance(plain.reading, Unread):
            raise
        return Referred.of(plain, Through(committed=beside.committed, reason=str(error)))
    found = Referred.of(aligned, beside.through())
    if isinstance(plain, InputError) or _order(found) <= _order(plain):
        return found
    no_more = "aligned, the suspect says no more"
    last = Through(committed=beside.committed, reason=no_more, no_more=True, not_followed=reference.unread)
    return Referred.of(plain, last)


def _order(verdict: Verdict) -> tuple[bool, bool, float]:
    return not verdict.verified, bool(verdict.lacking), verdict.log10_p


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """A suspect beside a reference, aligned as it may be for each mark."""

    suspect: Model
    claim: Claim
    reference: Reference
    shown: Mapping[str, Any]
    steps: Steps
    _done: dict[frozenset[str], Any] = field(default_factory=dict)  # alignments, or why there is none
    _conditions: dict[str, list[str]] = field(default_factory=dict)  # and the marks that they are of

    @cached_property
    def digest(self) -> str:
        """Of the reference's tensors."""
        return tensor_digest(self.reference.ticket.weights)

    @cached_property
    def _told_by_tensors(self) -> bool:
        """Whether its network follows from its tensors, so that nothing of it can be chosen beside them."""
        own = self.reference.model is not None and self.reference.arch is None
        return not own and self.reference.arch == fitting(self.reference.ticket)

    @property
    def committed(self) -> bool:
        """Whether the claim commits to it as the model before the first mark."""
        return self.digest == self.claim.reference

    def aligned(self, mark: Mark) -> Ticket:
        """The suspect as it is read for a mark.

        Raises:
            InputError: it cannot be aligned, or the reference carries the mark in all layers.
        """
        carries = self._carries(mark)
        without = self._layers_of(mark) if carries else frozenset[str]()
        if without not in self._done:
            self.steps.next("aligning with the reference")
            try:
                suspect = as_ticket(self.suspect)
                self._done[without] = align(suspect, self.reference, without=without)
            except InputError as error:
                self._done[without] = error
        if isinstance(done := self._done[without], InputError):
            raise done
        self.steps.next(f"reading {mark.name}, aligned")
        self._conditions.setdefault(self._condition(mark, carries), []).append(mark.name)
        ticket: Ticket = done.ticket
        return ticket

    def through(self) -> Through:
        """What was done for the marks that were read."""
        done = [one for one in self._done.values() if not isinstance(one, InputError)]
        on_condition = {text: names for text, names in self._conditions.items() if text}
        told = [f"{' and '.join(names)}: {text}" for text, names in on_condition.items()]
        bound = set(self._conditions.get("", ())).difference(*on_condition.values())
        return Through(
            committed=self.committed,
            other=self.claim.reference not in (None, self.digest),
            condition="; ".join(on_condition if len(self._conditions) == 1 else told),
            bound=tuple(sorted(bound)),
            undone=tuple(dict.fromkeys(undone for one in done for undone in one.undone)),
            log10_choices=max(one.log10_choices for one in done),
            similarity=round(min(1.0, max(one.similarity for one in done)), 6),
            left_out=tuple(sorted(set().union(*self._done))),
            not_followed=self.reference.unread,
        )

    def _carries(self, mark: Mark) -> bool:
        """Whether the reference itself carries the mark: it is the signed model, or the mark is read in it.

        The claim of a mark that was taken out (`Mark.locks`) has as its subject a model without it.
        """
        if self.digest == self.claim.subject and not mark.locks:
            return True
        read = verdict_on(mark, self.reference.ticket, 1, self.shown, self.claim.tied)
        return isinstance(read, Verdict) and read.detected

    def _layers_of(self, mark: Mark) -> frozenset[str]:
        """The layers of the reference that carry a mark; InputError where none, or no others, are known."""
        weights = self.reference.ticket.weights
        found = each_in(mark.carried_by(), {name: t.shape for name, t in weights.items()})
        matrices = {name for name, t in weights.items() if t.ndim >= 2}
        left = matrices.difference(found.values())
        if not found or not left:
            carriers = "all layers" if found else "layers that its claim does not name"
            hint = "give the model as it was before it was signed"
            expected = f"layers without the mark {mark.name}, to align by"
            raise bad_input("reference", "layers", expected, f"one that carries it in {carriers}", hint=hint)
        return frozenset(found.values())

    def _condition(self, mark: Mark, carries: bool) -> str:
        """Under which a reading of the mark proves what it says.

        A commitment shows that the claimant had both, reference and secret. It does not show that he did not
        make one for the other. Of a mark that is bound to it, no condition is needed.
        """
        if mark.binding() == self.digest and not carries and self._told_by_tensors:
            return ""
        dated = self.committed or self.digest == self.claim.subject
        blind = "layers without the mark tell" if carries else "reference tells"
        older = "the claim is" if dated else "the reference is" if carries else "is"
        return f"holds if the {blind} nothing of the secret, and {older} older than the suspect"
