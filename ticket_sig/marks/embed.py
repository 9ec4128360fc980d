"""Putting a mark into a ticket, or into a copy of a model file of any size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial
from pathlib import Path
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.files import SECRET, check_new, whole_folder, write_json
from ticket_sig.formats import load, save
from ticket_sig.formats.bundle import CLAIM, is_bundle
from ticket_sig.formats.folder import folder_of, has_model
from ticket_sig.formats.load import shards_at
from ticket_sig.formats.patch import copy_files, other_files
from ticket_sig.formats.weights import Shards, is_safetensors, tensors_of
from ticket_sig.lottery.prune import prune_dense
from ticket_sig.marks import MARKS, claim_of, marks_of
from ticket_sig.marks.mark import Mark, Model, as_ticket, tried
from ticket_sig.mask import Mask
from ticket_sig.options import Options, made, one_named
from ticket_sig.progress import Progress
from ticket_sig.ticket import Ticket
from ticket_sig.transcripts.link import Link
from ticket_sig.transcripts.transcript import Transcript
from ticket_sig.verdict import Reading, Rows, Verdict


@dataclass(frozen=True)
class Embedded:
    """A marked ticket with its claim."""

    ticket: Ticket
    claim: Claim
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Written:
    """A copy of a model with a mark in it.

    Attributes:
        claim: what lies in its claim.json.
        mark: that was put in.
        reading: what stands in the copy.
        verdict: on that alone, as one of the marks of the claim.
        facts: what embedding did, for people.
        left_out: names of what lay beside the model and is not in the copy.
        dropped: marks of an earlier claim that no longer stand, and are not claimed any more.
    """

    claim: Claim
    mark: Mark
    reading: Reading
    verdict: Verdict
    facts: Rows
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]


def options_for(mark: str, **given: Any) -> Options:
    """The options of a mark that `embed` puts in.

    Raises:
        InputError: no such mark, or none for `embed`; an option unknown, missing or out of range.
    """
    embeddable = {name: kind.options for name, kind in MARKS.items() if kind.options is not None}
    return made(one_named(embeddable, "mark", mark), mark, given)


def embed(
    model: Model,
    message: str | None = None,
    *,
    mark: str = "qr-code",
    secret: bytes | None = None,
    **given: Any,
) -> Embedded:
    """Puts a mark into a ticket: by default a message as a QR code into its mask.

        signed = embed(ticket, "owner@example.org")
        marked = embed(network, mark="freezenet", length=4096)

    Args:
        model: a ticket, or a network or state dict, which is left as it is.
        message: what the mark is to say, where it says anything.
        mark: name in the registry (`MARKS`).
        secret: bytes that decide all that must look like chance; fresh by default.
        given: the mark's options (`MARKS[mark].options`).

    Raises:
        InputError: no such mark, options out of range, or the mark does not fit the ticket.
    """
    options = options_for(mark, **given, **({} if message is None else {"message": message}))
    ticket = as_ticket(model)
    one = MARKS[mark].make(ticket, options, secret)
    marked = one.embed(ticket)
    return Embedded(marked, claim_of([one], marked.weights), one)


def embed_in_files(
    path: Path | str,
    out: Path | str,
    mark: str,
    options: Options,
    *,
    secret: bytes | None = None,
    mask_file: Path | None = None,
    prune: float | None = None,
    transcript: Transcript | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Writes a copy of a model with a mark in it, and claim.json; the claim is its owner's to read.

    Of a mark that is made by single entries, safetensors files, one or many, are copied as they are but for
    those entries, and never loaded whole. Any other model becomes a bundle. Marks that the claim beside the
    model is of are claimed on, as far as they still stand.

    Args:
        out: folder to write, whole or not at all.
        mask_file: of the model's mask, where it lies apart.
        prune: first prune this share by magnitude.
        transcript: of the search that found the mask; the claim names it (`transcripts.link`).
        replace: overwrite a model that is there, and the claim beside it.

    Raises:
        InputError: the model cannot be read or carry the mark, or the mark does not take in it; it is not the
            ticket of the transcript; `out` is taken, or holds the model itself, or lies in its folder.
        OSError: the disk is full; nothing is left behind.
    """
    path, out = folder_of(Path(path)), Path(out)
    kind = MARKS[mark]
    in_parts = is_safetensors(path) and not is_bundle(path) and prune is None
    _check_out(path, out, replace, in_place=not in_parts)
    in_parts = in_parts and mask_file is None and transcript is None and kind.entries is not Mark.entries
    if in_parts and (weights := shards_at(path)) is not None:
        make = partial(kind.make, options=options, secret=secret)
        return _copy(path, weights, out, make, replace, progress)
    loaded = load(path, mask_file)
    with about(path):
        if loaded.sealed:
            raise bad_input("", "sealed part", "none", "one: the ticket is locked", hint="unlock it first")
        ticket = loaded.ticket if prune is None else prune_dense(loaded.ticket, prune)
        one = kind.make(ticket, options, secret)
        marked = one.embed(ticket)
        link = Link.of(transcript, ticket.mask, marked.mask).to_json() if transcript else None
        written = _written(one, ticket, marked, loaded.claim, link=link)
        if prune is not None:
            kept = Mask.of_matrices(loaded.ticket.weights).kept
            pruned = ("pruned", f"{kept} weights kept before, {ticket.mask.kept} after")
            written = replaced(written, facts=[pruned, *written.facts])
    save(marked, out, claim=written.claim.to_json(), replace=replace)
    return written


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
            written = _written(one, weights, Shards(folder), beside if beside.is_file() else None, left)
        write_json(folder / CLAIM, written.claim.to_json(), SECRET)
    return written


def _written(
    one: Mark,
    before: Model,
    after: Ticket | Shards,
    beside: Path | None,
    left_out: tuple[str, ...] = (),
    link: Mapping[str, Any] | None = None,
) -> Written:
    """What is told of a mark that was put in; of the claim beside, the marks that still stand are kept."""
    claimed = Claim.read(beside) if beside else None
    earlier = [(mark, _stands(mark, after)) for mark in (marks_of(claimed) if claimed else ())]
    link = link or (claimed.transcript if claimed else None)
    marks, reading = [*(mark for mark, stands in earlier if stands), one], one.read(after)
    verdict = replaced(reading.verdict(), tried=len(tried(marks)))
    if reading.agreement < 1 and not verdict.verified:
        layer = f", layer {found}" if (found := getattr(one, "layer", None)) else ""
        hint = "the mark does not take in this model: choose another layer, or another mark"
        raise bad_input("", f"{one.name}{layer}", "all of it read in the copy", verdict.statistic, hint=hint)
    return Written(
        claim=replaced(
            claim_of(marks, tensors_of(after), tied=after.copies)
            if isinstance(after, Shards)
            else claim_of(marks, after.weights),
            transcript=link,
        ),
        mark=one,
        reading=reading,
        verdict=verdict,
        facts=one.facts(before, after),
        left_out=left_out,
        dropped=tuple(mark.name for mark, stands in earlier if not stands),
    )


def _stands(mark: Mark, marked: Model) -> bool:
    """Whether a mark stands: detected, or whole but too weak for that; what cannot be looked at is kept."""
    if mark.stands_in == "answers" or mark.needs or (mark.stands_in == "mask" and isinstance(marked, Shards)):
        return True
    try:
        reading = mark.read(marked)
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
