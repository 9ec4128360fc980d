"""Putting marks into a copy of a model file of any size."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from itertools import compress
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.files import SECRET, check_new, whole_folder, write_json
from ticket_sig.formats import load
from ticket_sig.formats.bundle import (
    CLAIM,
    check_overwrite,
    is_bundle,
    keep_reference,
    reference_beside,
    write_bundle,
)
from ticket_sig.formats.folder import REFERENCE, folder_of, has_model
from ticket_sig.formats.load import shards_at
from ticket_sig.formats.patch import copy_files, other_files
from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.formats.weights import Shards, tensors_of
from ticket_sig.lottery.prune import prune_dense
from ticket_sig.marks import MARKS, claim_of, marks_of
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.embed import Secrets, check_standing, steps
from ticket_sig.marks.mark import Mark, Model, tried
from ticket_sig.marks.secret import SIZE, Secret
from ticket_sig.mask import Mask
from ticket_sig.options import Options
from ticket_sig.progress import Progress
from ticket_sig.ticket import Ticket
from ticket_sig.transcripts.link import Link
from ticket_sig.transcripts.transcript import Transcript
from ticket_sig.verdict import Reading, Rows, Verdict


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
        still: those of its marks that are claimed on.
        reference: where the model before its first mark is, to which the claim commits: "beside" the claim;
            or it is the "input", which was not copied; "unknown" for neither.
    """

    claim: Claim
    marks: tuple[PutIn, ...]
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]
    still: tuple[str, ...] = ()
    reference: Literal["beside", "input", "unknown"] = "unknown"

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


def embed_in_files(
    path: Path | str,
    out: Path | str,
    marks: Mapping[str, Options],
    *,
    secret: bytes | Secret | None = None,
    mask_file: Path | None = None,
    prune: float | None = None,
    transcript: Transcript | None = None,
    reference: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Writes a copy of a model with marks in it, and claim.json; the claim is its owner's to read.

    Of one mark that is made by single entries, safetensors files, one or many, are copied as they are but for
    those entries, and never loaded whole. Any other model becomes a bundle. Marks that the claim beside the
    model is of are claimed on, as far as they still stand.

    Beside the claim lies the model before its first mark (reference.safetensors), to which the claim commits.
    Of files that are copied as they are there is no second copy: the claim commits to the first.

    Args:
        out: folder to write, whole or not at all.
        marks: options by name in the registry, to be put in in this order (`options_of_each`).
        secret: that decides all that must look like chance; fresh by default. Where a mark keeps it out of
            the claim (`keep_apart`), the caller keeps it: nothing that is written holds it.
        mask_file: of the model's mask, where it lies apart.
        prune: first prune this share by magnitude.
        transcript: of the search that found the mask; the claim names it (`transcripts.link`).
        reference: keep the model as it was before, and commit to it.
        replace: overwrite a model that is there, and the claim beside it.

    Raises:
        InputError: the model cannot be read or carry a mark, or one does not take in it, or no longer stands
            beside the others; the claim beside the model is of another secret; it is not the ticket of the
            transcript; `out` is taken, or holds the model itself, or lies in its folder.
        OSError: the disk is full; nothing is left behind.
    """
    asked = _Asked(
        path=folder_of(Path(path)),
        out=Path(out),
        marks=marks,
        secrets=Secrets.of(marks, secret),
        mask_file=mask_file,
        prune=prune,
        transcript=transcript,
        reference=reference,
        replace=replace,
        progress=progress,
    )
    _check_out(asked.path, asked.out, replace)
    if (weights := asked.in_parts()) is not None:
        return asked.copy(weights)
    check_overwrite(asked.out, replace)
    return asked.bundle()


@dataclass(frozen=True)
class Kept:
    """The reference of a claim: the model before its first mark.

    Attributes:
        digest: to which the claim commits; None for no reference.
        file: that it lies in, beside an earlier claim; None where that is not known.
        own: whether the model itself, before anything is put in, is the reference.
    """

    digest: str | None = None
    file: Path | None = None
    own: bool = False

    @classmethod
    def of(
        cls, claimed: Claim | None, file: Path | None, weights: Mapping[str, Tensor], wanted: bool
    ) -> Kept:
        """That of a claim beside the model, or the model; none where it holds marks and the claim has none.

        Args:
            file: that lies beside that claim.
            weights: of the model, before anything is put in.
            wanted: whether there is to be one at all.

        Raises:
            InputError: the file is damaged, or of another model than the claim says.
        """
        if not wanted:
            return cls()
        if claimed and claimed.reference:
            if file and (found := tensor_digest(read_safetensors(file))) != claimed.reference:
                raise bad_input(file, "digest", f"{claimed.reference}, as its claim says", found)
            return cls(claimed.reference, file)
        if claimed and any(mark.stands_in != "answers" for mark in marks_of(claimed)):
            return cls()
        return cls(tensor_digest(weights), own=True)

    def now_in(self, out: Path) -> Literal["beside", "input", "unknown"]:
        """Where it is once a copy was written."""
        if (out / REFERENCE).is_file():
            return "beside"
        return "input" if self.own else "unknown"

    def write(self, weights: Mapping[str, Tensor] | None, folder: Path) -> None:
        """Writes it beside a claim: the model's weights, if they are given, or that of an earlier claim."""
        source = weights if self.own else self.file
        if source is not None:
            keep_reference(source, folder)


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What there is beside a model before marks are put in.

    Attributes:
        claim: an earlier one.
        marks: those of it.
        secrets: for the marks that are put in.
        kept: the reference.
    """

    claim: Claim | None
    marks: Sequence[Mark]
    secrets: Secrets
    kept: Kept


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is to be put into a copy of a model; attributes as of `embed_in_files`."""

    path: Path
    out: Path
    marks: Mapping[str, Options]
    secrets: Secrets
    mask_file: Path | None
    prune: float | None
    transcript: Transcript | None
    reference: bool
    replace: bool
    progress: Progress | None

    def in_parts(self) -> Shards | None:
        """The files that are copied as they are but for single entries; None where a bundle is written."""
        [name, *more] = self.marks
        bare = self.mask_file is None and self.prune is None and self.transcript is None
        return shards_at(self.path) if bare and not more and MARKS[name].entries is not Mark.entries else None

    def copy(self, weights: Shards) -> Written:
        """Copies the files, with the entries that make the mark."""
        [(name, options)] = self.marks.items()
        beside = (weights.folder or self.path) / CLAIM
        with about(self.path):
            before = self._before(beside if beside.is_file() else None, tensors_of(weights))
            one = MARKS[name].make(weights, options, before.secrets.of_mark(name))
            changed = one.entries(weights)
            assert changed is not None
            others, left_out = other_files(weights)
        with whole_folder(self.out, replace=self.replace) as folder:
            copy_files(weights, folder, changed, self.progress)
            for source in others:
                shutil.copyfile(source, folder / source.name)
            before.kept.write(None, folder)
            left = tuple(name for name in left_out if name not in (CLAIM, REFERENCE))
            with about(self.path):
                after = Shards(folder)
                written = _written([(one, one.facts(weights, after))], after, before, left)
            write_json(folder / CLAIM, written.claim.to_json(), SECRET)
        return replaced(written, reference=before.kept.now_in(self.out))

    def bundle(self) -> Written:
        """Writes a bundle of the whole model."""
        loaded = load(self.path, self.mask_file)
        with about(self.path):
            if loaded.sealed:
                found, hint = "one: the ticket is locked", "unlock it first"
                raise bad_input("", "sealed part", "none", found, hint=hint)
            ticket, pruned = loaded.ticket, list[tuple[str, object]]()
            if self.prune is not None:
                ticket, count = prune_dense(ticket, self.prune), Mask.of_matrices(ticket.weights).kept
                pruned = [("pruned", f"{count} weights kept before, {ticket.mask.kept} after")]
            before = self._before(loaded.claim, ticket.weights)
        with whole_folder(self.out, replace=self.replace) as folder:
            before.kept.write(ticket.weights, folder)  # now: the marks are put into these tensors
            with about(self.path):
                marked, put = self._put_in(ticket, before)
                put[0] = (put[0][0], [*pruned, *put[0][1]])
                searched = self.transcript
                link = Link.of(searched, ticket.mask, marked.mask).to_json() if searched else None
                written = _written(put, marked, before, link=link)
            write_bundle(marked, folder, claim=written.claim.to_json())
        return replaced(written, reference=before.kept.now_in(self.out))

    def _before(self, file: Path | None, weights: Mapping[str, Tensor]) -> _Before:
        """What there is beside these weights.

        Args:
            file: of an earlier claim.

        Raises:
            InputError: the claim is damaged, or of another secret; as `Kept.of`.
        """
        claim = Claim.read(file) if file else None
        return _Before(
            claim=claim,
            marks=marks_of(claim) if claim else [],
            secrets=_beside(claim, self.secrets),
            kept=Kept.of(claim, reference_beside(file), weights, self.reference),
        )

    def _put_in(self, ticket: Ticket, beside: _Before) -> tuple[Ticket, list[tuple[Mark, Rows]]]:
        """The ticket with all marks in it, and what each did; its weights are changed in place."""
        put: list[tuple[Mark, Rows]] = []
        if self.progress:
            self.progress.begin("marks", len(self.marks))
        given = beside.secrets, beside.marks, beside.kept.digest
        for one, before, after in steps(ticket, self.marks, *given, in_place=True):
            put.append((one, one.facts(before, after)))
            ticket = after
            if self.progress:
                self.progress.advance(len(put), one.name)
        return ticket, put


def _beside(claimed: Claim | None, secrets: Secrets) -> Secrets:
    """The secrets for marks beside those of a claim, which never holds what one of its marks keeps apart.

    Raises:
        InputError: an owner's secret is another than the claim's: one file is to show all.
    """
    carriers = [mark for mark in (marks_of(claimed) if claimed else []) if isinstance(mark, Carrier)]
    if claimed and secrets.apart:
        for mark in carriers:
            mark.checked(secrets.apart, Path(claimed.source))
    elif secrets.given is not None and len(secrets.given) == SIZE:
        own = Secret(secrets.given)
        if any(mark.commitment == own.commitment for mark in carriers):
            return Secrets(secrets.given, own)
    return secrets


def _written(
    put: Sequence[tuple[Mark, Rows]],
    after: Ticket | Shards,
    before: _Before,
    left_out: tuple[str, ...] = (),
    link: Mapping[str, Any] | None = None,
) -> Written:
    """What is told of marks that were put in; of the claim beside, the marks that still stand are kept."""
    earlier, shown, reference = before.marks, before.secrets.shown, before.kept.digest
    stand = [_stands(mark, after, shown) for mark in earlier]
    marks = [*compress(earlier, stand), *(one for one, _ in put)]
    chances = len(tried(marks, shown))
    verdicts = [replaced(one.read(after).verdict(), tried=chances) for one, _ in put]
    check_standing([(one, verdict) for (one, _), verdict in zip(put, verdicts, strict=True)])
    claim = (
        claim_of(marks, tensors_of(after), tied=after.copies, reference=reference)
        if isinstance(after, Shards)
        else claim_of(marks, after.weights, reference=reference)
    )
    return Written(
        claim=replaced(claim, transcript=link or (before.claim.transcript if before.claim else None)),
        marks=tuple(
            PutIn(mark=one, verdict=verdict, facts=facts)
            for (one, facts), verdict in zip(put, verdicts, strict=True)
        ),
        left_out=left_out,
        dropped=tuple(mark.name for mark, stands in zip(earlier, stand, strict=True) if not stands),
        still=tuple(str(mark) for mark in compress(earlier, stand)),
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


def _check_out(path: Path, out: Path, replace: bool) -> None:
    """Refuses to overwrite what is no model, or the model itself, and to write into its folder."""
    if path.is_dir() and out.resolve() != path.resolve() and out.resolve().is_relative_to(path.resolve()):
        raise bad_input(out, "output folder", "one outside the model's own", "one inside")
    if not replace:
        check_new(out, "choose another or pass --force")
    if not out.exists():
        return
    if path.resolve().is_relative_to(out.resolve()):
        raise bad_input(out, "output folder", "another than the model's own", "the same")
    # A claim alone makes no model: it may lie beside anything.
    if not (is_bundle(out) or has_model(out)):
        raise bad_input(out, "output folder", "a model to overwrite", "something else")
