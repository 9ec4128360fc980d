"""White box verification: the verifier holds the weights (NeurIPS'21, section 3.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.formats import load, open_weights
from ticket_sig.marks import MARKS, Mark, Model, marks_of
from ticket_sig.marks.mark import tried
from ticket_sig.options import flag
from ticket_sig.progress import Progress, Steps
from ticket_sig.recovery.reference import Reference
from ticket_sig.verdict import Reading, Verdict
from ticket_sig.verification.decide import as_it_stands, clarity, decide
from ticket_sig.verification.through import reference_in, reference_of, through_reference


def extract(model: Model, claim: Claim, **shown: Any) -> Reading:
    """Reads what a mark of a claim says, as `message`; of several marks by `clarity`.

    Args:
        model: any model (`load(path).ticket`, a module, a state dict).
        shown: what such marks need beside it (`Mark.needs`): the owner's secret. One of which nothing is
            shown is left out, where there are others.

    Raises:
        InputError: the claim has no such mark, or the model lacks what they all name; something that a mark
            needs is missing, or shown though none needs it.
    """
    marks = _carriers(claim)
    check_needed(marks, shown, claim)
    return _extract(marks, model, claim, shown)[1]


def _extract(
    marks: Sequence[Mark], model: Model, claim: Claim, shown: Mapping[str, Any]
) -> tuple[Mark, Reading]:
    read, errors = [], []
    for mark in tried(marks, shown):
        try:
            given = {name: one for name, one in shown.items() if name in mark.needs}
            read.append((mark, mark.read_tied(model, claim.tied, **given)))
        except InputError as error:
            errors.append(error)
    if not read:
        raise errors[0]
    return max(reversed(read), key=lambda one: clarity(one[1]))


def _carriers(claim: Claim) -> list[Mark]:
    """The marks of a claim that say something; InputError where there is none."""
    marks = marks_of(claim)
    if carriers := [mark for mark in marks if mark.carries == "bits"]:
        return carriers
    bits = ", ".join(name for name, kind in MARKS.items() if kind.carries == "bits")
    found = ", ".join(mark.name for mark in marks)
    raise bad_input(claim.source, "marks", f"one that carries bits ({bits})", found)


def verify(
    model: Model, claim: Claim, *, reference: Reference | Model | None = None, **shown: Any
) -> Verdict:
    """Decides whether one of the claimed marks stands in a model: in its mask, or in its weights.

    Args:
        model: `load(path).ticket`, a module, a state dict, or `open_weights(path)`, of which only parts are
            read.
        claim: of one mark or several; trigger sets are left out (`verification.ask`). Where several are
            read, the best p-value counts, times their number.
        reference: the owner's model, best as it was before its first mark. Where nothing is verified as it
            stands, the suspect is aligned with it and read again (`through_reference`).
        shown: what marks of the claim need beside the model (`Mark.needs`): key and locked ticket, or the
            owner's secret.

    Returns:
        "Not verified" also of a model that lacks what the marks name.

    Raises:
        InputError: it could not be decided: no mark of the claim can be read in weights, or none stands and
            one could not be read; something that a mark needs is missing, or shown though no mark needs it.
    """
    marks = in_weights(claim)
    check_needed(marks, shown, claim)
    if reference is None:
        return decide(marks, as_it_stands(model), claim, shown)
    return through_reference(marks, model, claim, reference_of(reference), shown)


def verify_file(
    path: Path | str,
    claim: Claim,
    files: Mapping[str, Path] | None = None,
    mask: Path | None = None,
    reference: Path | None = None,
    arch: str | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """The same of a model file; large ones are read in parts, where no mark stands in the mask.

    Args:
        files: what marks need, by name (`Mark.needs`).
        mask: a file of the model's mask, where it lies apart.
        reference: file of the owner's model; the suspect then is loaded whole.
        arch: of the reference's network, where neither the file nor its tensors' names tell.
        progress: is told what is being done: it may take a minute.

    Raises:
        InputError: as `verify`, or a file is missing or damaged; names the file.
    """
    marks, files = in_weights(claim), files or {}
    shown = opened(marks, files, claim)
    able = len(tried(marks, shown))
    steps = Steps(progress, "verify", 1 + able if reference is None else 2 + 2 * able)
    steps.next("reading the model")
    if reference is None:
        whole = not _is_shard(path)
        with about(path), _of_shards(path):
            model = _opened_for(marks, path, mask)
            return decide(marks, as_it_stands(model, steps), claim, shown, whole=whole)
    owned = reference_in(reference, arch)
    with about(path), _of_shards(path):
        return through_reference(marks, load(path, mask).ticket, claim, owned, shown, steps)


def extract_file(
    path: Path | str,
    claim: Claim,
    files: Mapping[str, Path] | None = None,
    mask: Path | None = None,
    *,
    drawn: bool = False,
) -> tuple[Mark, Reading]:
    """The same as `extract` of a model file, which errors name, and the mark that was read.

    Args:
        drawn: only marks that have a picture, if there are any.
    """
    marks = _carriers(claim)
    shown = opened(marks, files or {}, claim)
    if drawn:
        marks = [mark for mark in marks if type(mark).draw is not Mark.draw] or marks
    with about(path), _of_shards(path):
        return _extract(marks, _opened_for(marks, path, mask), claim, shown)


@contextmanager
def _of_shards(path: Path | str) -> Iterator[None]:
    """Says of what is lacking in one shard of several that this may lie in the others."""
    try:
        yield
    except InputError as error:
        if not _is_shard(path):
            raise
        hint = "this is one shard of several; give its folder or index"
        raise InputError(f"{error}; {hint}", named=error.named) from None


def _is_shard(path: Path | str) -> bool:
    """Whether a file's name says that it is one of several."""
    count = re.search(r"-\d+-of-(\d+)\.\w+$", Path(path).name)
    return count is not None and int(count[1]) > 1


def _opened_for(marks: Sequence[Mark], path: Path | str, mask: Path | None) -> Model:
    masked = any(mark.stands_in == "mask" for mark in marks)
    return load(path, mask).ticket if masked else open_weights(path, mask)


def in_weights(claim: Claim) -> list[Mark]:
    """The marks of a claim that are read in a model's weights; InputError where there is none."""
    marks = [mark for mark in marks_of(claim) if mark.stands_in != "answers"]
    if not marks:
        hint = "ask the network for its answers: ticket-sig ask MODEL --claim FILE --triggers FILE"
        named = " or ".join(name for name, kind in MARKS.items() if kind.stands_in != "answers")
        found = ", ".join(one.name for one in claim.marks)
        raise bad_input(claim.source, "marks", f"one that is read in weights ({named})", found, hint=hint)
    return marks


def opened(marks: Sequence[Mark], files: Mapping[str, Path], claim: Claim) -> dict[str, Any]:
    """What marks need, read from files by name; InputError where one is damaged, or no mark needs it."""
    check_needed(marks, files, claim)
    return {name: one for mark in marks for name, one in mark.opened(files, Path(claim.source)).items()}


def check_needed(marks: Sequence[Mark], shown: Mapping[str, Any], claim: Claim) -> None:
    """Refuses, as InputError, what no mark of a claim needs: whoever shows it expects it to matter."""
    needed = {name for mark in marks for name in mark.needs}
    if extra := [name for name in shown if name not in needed]:
        takers = [n for n, kind in MARKS.items() if kind.needs.keys() & set(extra)]
        expected = f"a claim on {' or '.join(takers) or 'a mark'}, for {', '.join(map(flag, extra))}"
        with about(claim.source):
            raise bad_input("", "marks", expected, ", ".join(one.name for one in claim.marks))
