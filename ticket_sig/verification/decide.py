"""The verdict on the marks of a claim: on each of them, and on several together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.errors import InputError, NotThere
from ticket_sig.marks import Mark, Model
from ticket_sig.marks.mark import tried, verdict_on
from ticket_sig.progress import Steps
from ticket_sig.verdict import Reading, Rows, Symbols, Unread, Verdict


def decide(
    marks: Sequence[Mark],
    suspect: Callable[[Mark], Model],
    claim: Claim,
    shown: Mapping[str, Any],
    *,
    readings: int = 1,
    whole: bool = True,
    aligned: bool = False,
) -> Verdict:
    """The verdict on all marks of a claim that are tried.

    Args:
        suspect: as it is to be read for a mark.
        readings: how many times it is read, each a chance.
        whole: whether all of the suspect is there, so that what is lacking is lacking in it.
        aligned: whether it was aligned with a reference.

    Raises:
        InputError: no mark could be read, or none stands and one could not be read.
    """
    able = tried(marks, shown)
    chances = len(able) * readings
    read = [_read(mark, suspect, chances, shown, claim, aligned) for mark in able]
    verdicts = [one for one in read if isinstance(one, Verdict)]
    errors = [one for one in read if isinstance(one, InputError)]
    undecided = [error for error in errors if not (whole and isinstance(error, NotThere))]
    if undecided and not verdicts:
        raise undecided[0]
    if not verdicts:
        names = " + ".join(mark.name for mark in able)
        return Unread(mark=names, reason="; ".join(dict.fromkeys(map(str, errors)))).verdict()
    if len(able) == 1:
        return verdicts[0]
    together = Together(verdicts, len(able), [str(error) for error in errors]).verdict()
    if undecided and not together.verified:  # a mark that could not be read may stand
        raise undecided[0]
    return together


def _read(
    mark: Mark,
    suspect: Callable[[Mark], Model],
    chances: int,
    shown: Mapping[str, Any],
    claim: Claim,
    aligned: bool,
) -> Verdict | InputError:
    try:
        model = suspect(mark)
    except InputError as error:
        return error
    return verdict_on(mark, model, chances, shown, claim.tied, aligned=aligned)


def as_it_stands(suspect: Model, steps: Steps | None = None) -> Callable[[Mark], Model]:
    """The suspect for every mark, for `decide`; each is a step of the progress."""
    told = steps or Steps()

    def of_mark(mark: Mark) -> Model:
        told.next(f"reading {mark.name}")
        return suspect

    return of_mark


@dataclass(frozen=True)
class Together:
    """What stands of several marks of one claim: the best of them, paid for by their number.

    Attributes:
        verdicts: of those that could be read, each paid for (`Verdict.tried`).
        tried: how many there are.
        errors: why the others could not be read.
    """

    verdicts: Sequence[Verdict]
    tried: int
    errors: Sequence[str] = ()

    @property
    def best(self) -> Verdict:
        """The mark that stands out most, of those that lack nothing if there are any."""
        return min(self.verdicts, key=lambda verdict: (bool(verdict.lacking), verdict.log10_p))

    @property
    def names(self) -> list[str]:
        """Of the marks that could be read; those of one kind are numbered."""
        kinds = [verdict.mark for verdict in self.verdicts]
        numbers = [kinds[: place + 1].count(kind) for place, kind in enumerate(kinds)]
        return [
            f"{kind} {number}" if kinds.count(kind) > 1 else kind
            for kind, number in zip(kinds, numbers, strict=True)
        ]

    @property
    def message(self) -> str | None:
        """The clearest message; of marks that are verified, if there are any."""
        stand = [one for one in self.verdicts if one.verified] or self.verdicts
        return max(reversed(stand), key=lambda one: clarity(one.reading)).reading.message

    @property
    def agreement(self) -> float:
        """That of the best."""
        return self.best.reading.agreement

    @property
    def log10_p(self) -> float:
        """The best p-value, times the number of marks that were tried (Bonferroni)."""
        return self.best.log10_p

    @property
    def symbols(self) -> Symbols | None:
        """Those of the best."""
        return self.best.reading.symbols

    def rows(self) -> Rows:
        """The rows of each mark, under its name and outcome."""
        rows: list[tuple[str, object]] = [("marks tried", self.tried)]
        for name, verdict in zip(self.names, self.verdicts, strict=True):
            _, *others = verdict.rows()
            rows += [(name, verdict.outcome), *((f"  {what.strip()}", value) for what, value in others)]
        return [*rows, *(("could not be read", error) for error in self.errors)]

    def to_json(self) -> dict[str, Any]:
        """Each mark's verdict, and why there is none."""
        marks = [verdict.to_json() for verdict in self.verdicts]
        return {"tried": self.tried, "marks": marks, "could_not_be_read": list(self.errors)}

    def verdict(self) -> Verdict:
        """Verified where one of the marks is, at the price of having tried all."""
        named = list(zip(self.names, self.verdicts, strict=True))
        stand = [one for one in named if one[1].verified] or [one for one in named if one[1] is self.best]
        gone = ", ".join(name for name, verdict in named if not verdict.verified)
        return Verdict(
            mark=" + ".join(self.names),
            reading=self,
            statistic="; ".join(f"{name}: {verdict.statistic}" for name, verdict in named),
            proves=_said((verdict.proves, name) for name, verdict in stand),
            does_not_prove=_said((verdict.does_not_prove, name) for name, verdict in stand)
            + (f"; nothing by {gone}" if gone else ""),
            lacking=self.best.lacking,
            # Where one of them needs no condition, none is needed.
            holds_if=_said((v.holds_if, name) for name, v in stand)
            if all(v.holds_if for _, v in stand)
            else "",
        )


def _said(texts: Iterable[tuple[str, str]]) -> str:
    """Each text once, after the names of all marks that say it."""
    names: dict[str, list[str]] = {}
    for text, name in texts:
        names.setdefault(text, []).append(name)
    return "; ".join(f"{' and '.join(marks)}: {text}" for text, marks in names.items())


def clarity(reading: Reading) -> tuple[bool, bool, bool]:
    """By which of several readings is shown: it says something, is verified, is a text; then the latest.

    Bits alone can be read in any network.
    """
    message = reading.message
    return message is not None, reading.verdict().verified, bool(set(message or "") - {"0", "1"})
