"""Putting marks into a ticket: each beside the others, under one secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.fields import SHOWN
from ticket_sig.marks import MARKS, claim_of
from ticket_sig.marks.mark import Mark, Model, as_ticket
from ticket_sig.marks.secret import Secret
from ticket_sig.options import Options, made, one_named, options_of
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict


@dataclass(frozen=True)
class Embedded:
    """A marked ticket with its claim.

    Attributes:
        marks: that were put in, in this order.
        reference: the ticket as it was before, to which the claim commits: with it `verify` undoes what a
            thief changed for free. To be kept with the claim, and not to be given away; None if left out.
        shown: what their reading needs beside the model and the claim (`verify(..., **shown)`): the owner's
            secret, to be kept in a file of its own (`shown["secret"].write(path)`).
    """

    ticket: Ticket
    claim: Claim
    marks: tuple[Mark, ...]
    shown: Mapping[str, Any] = field(default_factory=dict)
    reference: Ticket | None = None

    @property
    def mark(self) -> Mark:
        """The first of them."""
        return self.marks[0]


def options_for(mark: str, **given: Any) -> Options:
    """The options of a mark that `embed` puts in.

    Raises:
        InputError: no such mark, or none for `embed`; an option unknown, missing or out of range.
    """
    return made(_kind(mark), mark, given)


def options_of_each(marks: str, **given: Any) -> dict[str, Options]:
    """The options of each of several marks, `NAME+NAME`; one that is given goes to all that have it.

    Raises:
        InputError: as `options_for`; or a mark is named twice.
    """
    names = marks.split("+")
    if len(set(names)) < len(names):
        raise bad_input("", "mark", "each once", repr(marks)[:SHOWN])
    known = {name: [one.name for one in options_of(_kind(name))] for name in names}
    every = dict.fromkeys(option for has in known.values() for option in has)
    if extra := [option for option in given if option not in every]:
        raise bad_input("", marks, f"options among {', '.join(every)}", ", ".join(extra))
    own = {name: {one: given[one] for one in has if one in given} for name, has in known.items()}
    return {name: options_for(name, **own[name]) for name in names}


def _kind(mark: str) -> type[Options]:
    return one_named({name: kind.options for name, kind in MARKS.items() if kind.options}, "mark", mark)


def keep_apart(marks: Iterable[str]) -> bool:
    """Whether any of these marks keeps its owner's secret out of the claim."""
    return any("secret" in MARKS[name].needs for name in marks)


def embed(
    model: Model,
    message: str | None = None,
    *,
    mark: str = "qr-code",
    secret: bytes | Secret | None = None,
    keep_reference: bool = True,
    **given: Any,
) -> Embedded:
    """Puts marks into a ticket: by default a message as a QR code into its mask.

        signed = embed(ticket, "owner@example.org")
        marked = embed(network, mark="freezenet", length=4096)
        both = embed(ticket, "mine", mark="spread+mirror")
        both.shown["secret"].write(Path("mine.secret"))

    Args:
        model: a ticket, or a network or state dict, which is left as it is.
        message: what the marks are to say, where they say anything.
        mark: name in the registry (`MARKS`), or several, `NAME+NAME`, to be put in in this order.
        secret: bytes that decide all that must look like chance; fresh by default.
        keep_reference: commit to the model as it is now.
        given: the marks' options (`MARKS[mark].options`); each goes to every mark that has it.

    Raises:
        InputError: no such mark, options out of range, a mark does not fit the ticket, or no longer stands
            when the others are put in.
    """
    options = options_of_each(mark, **given, **({} if message is None else {"message": message}))
    own = Secrets.of(options, secret)
    before = as_ticket(model)
    committed = tensor_digest(before.weights) if keep_reference else None
    done = list(steps(before, options, own, (), committed))
    marks, marked = tuple(one for one, _, _ in done), done[-1][2]
    if len(marks) > 1:
        check_standing([(one, one.read(marked).verdict()) for one in marks])
    claim = claim_of(marks, marked.weights, reference=committed)
    return Embedded(marked, claim, marks, own.shown, before if keep_reference else None)


@dataclass(frozen=True)
class Secrets:
    """Which mark gets which secret.

    Attributes:
        given: None for fresh ones.
        apart: the owner's, where a mark keeps it out of the claim.
    """

    given: bytes | None = field(repr=False)
    apart: Secret | None = None

    @classmethod
    def of(cls, marks: Iterable[str], secret: bytes | Secret | None) -> Secrets:
        """Those of marks that are put in together; InputError where an owner's has another size."""
        if keep_apart(marks):
            own = Secret.of(secret)
            return cls(own.value, own)
        return cls(secret.value if isinstance(secret, Secret) else secret)

    @property
    def shown(self) -> dict[str, Any]:
        """What a reading needs."""
        return {"secret": self.apart} if self.apart else {}

    def of_mark(self, name: str) -> bytes | None:
        """That of a mark; one whose claim may hold it never gets what another keeps apart."""
        if self.apart is None or "secret" in MARKS[name].needs:
            return self.given
        return self.apart.derived(name)


def steps(
    ticket: Ticket,
    options: Mapping[str, Options],
    secrets: Secrets,
    others: Sequence[Mark],
    reference: str | None,
    *,
    in_place: bool = False,
) -> Iterator[tuple[Mark, Ticket, Ticket]]:
    """Puts in one mark after the other: each, with the ticket before and after.

    Args:
        reference: digest of the model before its first mark, to which marks are bound; None = to none.
        in_place: change the weights of the ticket before, which saves a copy of all; its mask stays.
    """
    there = list(others)
    for name, chosen in options.items():
        one = MARKS[name].make(ticket, chosen, secrets.of_mark(name))
        one = one if reference is None else one.bound_to(reference)
        after = one.embed_beside(ticket, there, in_place=in_place)
        yield one, ticket, after
        there.append(one)
        ticket = after


def check_standing(marks: Sequence[tuple[Mark, Verdict]]) -> None:
    """Refuses a mark that does not stand in what it was put into, whole or verified."""
    for one, verdict in marks:
        if verdict.reading.agreement < 1 and not verdict.verified:
            layer = f", layer {found}" if (found := getattr(one, "layer", None)) else ""
            hint = "the mark does not take in this model: choose another layer, or another mark"
            if len(marks) > 1:
                hint = (
                    f"it does not stand beside the others: {one.remedy()}; or put it in last, or leave it out"
                )
            raise bad_input(
                "", f"{one.name}{layer}", "all of it read in the copy", verdict.statistic, hint=hint
            )
