"""Putting a mark into a ticket, or into a copy of a model file of any size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.fields import SHOWN
from ticket_sig.files import SECRET, check_new, whole_folder, write_json
from ticket_sig.formats import load, save
from ticket_sig.formats.bundle import CLAIM, is_bundle
from ticket_sig.formats.folder import folder_of, has_model
from ticket_sig.formats.load import shards_at
from ticket_sig.formats.patch import copy_files, other_files
from ticket_sig.formats.weights import Shards, is_safetensors, tensors_of
from ticket_sig.lottery.prune import prune_dense
from ticket_sig.marks import MARKS, claim_of, marks_of
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.mark import Mark, Model, as_ticket, tried
from ticket_sig.marks.secret import Secret
from ticket_sig.mask import Mask
from ticket_sig.options import Options, made, one_named, options_of
from ticket_sig.progress import Progress
from ticket_sig.ticket import Ticket
from ticket_sig.transcripts.link import Link
from ticket_sig.transcripts.transcript import Transcript
from ticket_sig.verdict import Reading, Rows, Verdict


@dataclass(frozen=True)
class Embedded:
    """A marked ticket with its claim.

    Attributes:
        marks: that were put in, in this order.
        shown: what their reading needs beside the model and the claim (`verify(..., **shown)`): the owner's
            secret, to be kept in a file of its own (`shown["secret"].write(path)`).
    """

    ticket: Ticket
    claim: Claim
    marks: tuple[Mark, ...]
    shown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mark(self) -> Mark:
        """The first of them."""
        return self.marks[0]


@dataclass(frozen=True, kw_only=True)
class PutIn:
    """One mark that was put in.

    Attributes:
        verdict: on it alone, as one of the marks of the claim, with what is read of it in the copy.
        facts: what embedding did, for people.
    """

    mark: Mark
    verdict: Verdict
    facts: Rows


@dataclass(frozen=True, kw_only=True)
class Written:
    """A copy of a model with marks in it.

    Attributes:
        claim: what lies in its claim.json.
        marks: that were put in, in this order.
        left_out: names of what lay beside the model and is not in the copy.
        dropped: marks of an earlier claim that no longer stand, and are not claimed any more.
    """

    claim: Claim
    marks: tuple[PutIn, ...]
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def mark(self) -> Mark:
        """The first mark."""
        return self.marks[0].mark

    @property
    def verdict(self) -> Verdict:
        """That on it."""
        return self.marks[0].verdict

    @property
    def reading(self) -> Reading:
        """What is read of it."""
        return self.verdict.reading


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
    known = {name: {one.name for one in options_of(_kind(name))} for name in names}
    every = set[str]().union(*known.values())
    # What none of them has, each refuses.
    own = {
        name: {n: one for n, one in given.items() if n in has or n not in every}
        for name, has in known.items()
    }
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
        given: the marks' options (`MARKS[mark].options`); each goes to every mark that has it.

    Raises:
        InputError: no such mark, options out of range, a mark does not fit the ticket, or no longer stands
            when the others are put in.
    """
    options = options_of_each(mark, **given, **({} if message is None else {"message": message}))
    own = _Secrets.of(options, secret)
    steps = list(_steps(as_ticket(model), options, own, ()))
    marks, marked = tuple(one for one, _, _ in steps), steps[-1][2]
    if len(marks) > 1:
        _check_standing([(one, one.read(marked).verdict()) for one in marks])
    return Embedded(marked, claim_of(marks, marked.weights), marks, own.shown)


def embed_in_files(
    path: Path | str,
    out: Path | str,
    marks: Mapping[str, Options],
    *,
    secret: bytes | Secret | None = None,
    mask_file: Path | None = None,
    prune: float | None = None,
    transcript: Transcript | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Writes a copy of a model with marks in it, and claim.json; the claim is its owner's to read.

    Of one mark that is made by single entries, safetensors files, one or many, are copied as they are but for
    those entries, and never loaded whole. Any other model becomes a bundle. Marks that the claim beside the
    model is of are claimed on, as far as they still stand.

    Args:
        out: folder to write, whole or not at all.
        marks: options by name in the registry, to be put in in this order (`options_of_each`).
        secret: that decides all that must look like chance; fresh by default. Where a mark keeps it out of
            the claim (`keep_apart`), the caller keeps it: nothing that is written holds it.
        mask_file: of the model's mask, where it lies apart.
        prune: first prune this share by magnitude.
        transcript: of the search that found the mask; the claim names it (`transcripts.link`).
        replace: overwrite a model that is there, and the claim beside it.

    Raises:
        InputError: the model cannot be read or carry a mark, or one does not take in it, or no longer stands
            beside the others; the claim beside the model is of another secret; it is not the ticket of the
            transcript; `out` is taken, or holds the model itself, or lies in its folder.
        OSError: the disk is full; nothing is left behind.
    """
    path, out = folder_of(Path(path)), Path(out)
    own = _Secrets.of(marks, secret)
    in_parts = is_safetensors(path) and not is_bundle(path) and prune is None
    _check_out(path, out, replace, in_place=not in_parts)
    in_parts = in_parts and mask_file is None and transcript is None and len(marks) == 1
    [name, *_] = marks
    if in_parts and MARKS[name].entries is not Mark.entries and (weights := shards_at(path)) is not None:
        make = partial(MARKS[name].make, options=marks[name], secret=own.of_mark(name))
        return _copy(path, weights, out, make, replace, progress)
    loaded = load(path, mask_file)
    with about(path):
        if loaded.sealed:
            raise bad_input("", "sealed part", "none", "one: the ticket is locked", hint="unlock it first")
        before = loaded.ticket if prune is None else prune_dense(loaded.ticket, prune)
        claimed = Claim.read(loaded.claim) if loaded.claim else None
        earlier = _earlier(claimed, own)
        marked, put = before, list[tuple[Mark, Rows]]()
        for one, last, after in _steps(before, marks, own, earlier):
            put.append((one, one.facts(last, after)))
            marked = after
        link = Link.of(transcript, before.mask, marked.mask).to_json() if transcript else None
        if prune is not None:
            kept = Mask.of_matrices(loaded.ticket.weights).kept
            pruned = ("pruned", f"{kept} weights kept before, {before.mask.kept} after")
            put[0] = (put[0][0], [pruned, *put[0][1]])
        written = _written(put, marked, claimed, earlier, own, link=link)
    save(marked, out, claim=written.claim.to_json(), replace=replace)
    return written


@dataclass(frozen=True)
class _Secrets:
    """Which mark gets which secret.

    Attributes:
        given: None for fresh ones.
        apart: the owner's, where a mark keeps it out of the claim.
    """

    given: bytes | None
    apart: Secret | None = None

    @classmethod
    def of(cls, marks: Iterable[str], secret: bytes | Secret | None) -> _Secrets:
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


def _steps(
    ticket: Ticket, options: Mapping[str, Options], secrets: _Secrets, others: Sequence[Mark]
) -> Iterator[tuple[Mark, Ticket, Ticket]]:
    """Puts in one mark after the other: each, with the ticket before and after."""
    there = list(others)
    for name, chosen in options.items():
        one = MARKS[name].make(ticket, chosen, secrets.of_mark(name))
        after = one.embed_beside(ticket, there)
        yield one, ticket, after
        there.append(one)
        ticket = after


def _copy(
    path: Path,
    weights: Shards,
    out: Path,
    make: Callable[[Model], Mark],
    replace: bool,
    progress: Progress | None,
) -> Written:
    with about(path):
        one = make(weights)
        changed = one.entries(weights)
        assert changed is not None
        others, left_out = other_files(weights)
    beside = (weights.folder or path) / CLAIM
    with whole_folder(out, replace=replace) as folder:
        copy_files(weights, folder, changed, progress)
        for source in others:
            shutil.copyfile(source, folder / source.name)
        left = tuple(name for name in left_out if name != CLAIM)
        with about(path):
            claimed, after = Claim.read(beside) if beside.is_file() else None, Shards(folder)
            secrets = _Secrets(None)  # a carrier is not made by single entries
            put = [(one, one.facts(weights, after))]
            written = _written(put, after, claimed, _earlier(claimed, secrets), secrets, left)
        write_json(folder / CLAIM, written.claim.to_json(), SECRET)
    return written


def _earlier(claimed: Claim | None, secrets: _Secrets) -> list[Mark]:
    """The marks of the claim beside the model; InputError for another secret: one file is to show all."""
    marks = marks_of(claimed) if claimed else []
    for mark in marks:
        if claimed and secrets.apart and isinstance(mark, Carrier):
            mark.checked(secrets.apart, Path(claimed.source))
    return marks


def _written(
    put: Sequence[tuple[Mark, Rows]],
    after: Ticket | Shards,
    claimed: Claim | None,
    earlier: Sequence[Mark],
    secrets: _Secrets,
    left_out: tuple[str, ...] = (),
    link: Mapping[str, Any] | None = None,
) -> Written:
    """What is told of marks that were put in; of the claim beside, the marks that still stand are kept."""
    stand = [_stands(mark, after, secrets.shown) for mark in earlier]
    marks = [*compress(earlier, stand), *(one for one, _ in put)]
    chances = len(tried(marks, secrets.shown))
    verdicts = [replaced(one.read(after).verdict(), tried=chances) for one, _ in put]
    _check_standing([(one, verdict) for (one, _), verdict in zip(put, verdicts, strict=True)])
    claim = (
        claim_of(marks, tensors_of(after), tied=after.copies)
        if isinstance(after, Shards)
        else claim_of(marks, after.weights)
    )
    return Written(
        claim=replaced(claim, transcript=link or (claimed.transcript if claimed else None)),
        marks=tuple(
            PutIn(mark=one, verdict=verdict, facts=facts)
            for (one, facts), verdict in zip(put, verdicts, strict=True)
        ),
        left_out=left_out,
        dropped=tuple(mark.name for mark, stands in zip(earlier, stand, strict=True) if not stands),
    )


def _check_standing(marks: Sequence[tuple[Mark, Verdict]]) -> None:
    """Refuses a mark that does not stand in what it was put into, whole or verified."""
    for one, verdict in marks:
        if verdict.reading.agreement < 1 and not verdict.verified:
            layer = f", layer {found}" if (found := getattr(one, "layer", None)) else ""
            hint = "the mark does not take in this model: choose another layer, or another mark"
            if len(marks) > 1:
                hint = "it does not stand beside the others: put it in last, or leave it out"
            raise bad_input(
                "", f"{one.name}{layer}", "all of it read in the copy", verdict.statistic, hint=hint
            )


def _stands(mark: Mark, marked: Model, shown: Mapping[str, Any]) -> bool:
    """Whether a mark stands: detected, or whole but too weak for that; what cannot be looked at is kept."""
    needed = {name: one for name, one in shown.items() if name in mark.needs}
    unread = mark.needs and not needed
    if mark.stands_in == "answers" or unread or (mark.stands_in == "mask" and isinstance(marked, Shards)):
        return True
    try:
        reading = mark.read(marked, **needed)
    except InputError:
        return False
    return reading.verdict().detected or reading.agreement == 1


def _check_out(path: Path, out: Path, replace: bool, in_place: bool) -> None:
    """Refuses to overwrite what is no model, or the model while it is read, and to write into its folder."""
    if path.is_dir() and out.resolve() != path.resolve() and out.resolve().is_relative_to(path.resolve()):
        raise bad_input(out, "output folder", "one outside the model's own", "one inside")
    if not replace:
        check_new(out, "choose another or pass --force")
    if not out.exists():
        return
    if path.resolve().is_relative_to(out.resolve()) and not (in_place and is_bundle(path)):
        raise bad_input(out, "output folder", "another than the model's own", "the same")
    # A claim alone makes no model: it may lie beside anything.
    if not (is_bundle(out) or has_model(out)):
        raise bad_input(out, "output folder", "a model to overwrite", "something else")
