"""Decide whether a claimed mark stands in a model's weights.

Exit code 0: verified; 1: not verified, or --transcript does not fit; 2: could not be decided. The p-value
is corrected for everything that a claimant could have tried: for a code every place and every message. Where
the claim is of several marks, the best p-value counts, times their number.

A claim on a key mask needs its key (--key), and the locked ticket that was handed out with it: the folder
that the claim lies in, or --locked DIR. A claim on a spread or a mirror code only commits to its owner's
secret, and needs it (--secret). With --data the accuracy is measured, too, and held against the one
that the claim promises (fidelity). Models in many safetensors files are never loaded whole for freezenet,
uchida and nct. An nct is never verified by itself: its claim has no date that could be checked here.

Renamed layers are found by their shapes. What else a thief can change for free (channels in another order,
scales, layers stored otherwise) hides most marks; with --reference, the owner's model, it is undone, and the
suspect is read again. The first line then says on which condition the verdict holds, if any (a spread or
mirror code that is bound to the reference needs none), and beside the p-value stands the one without it.

Without a claim, --reference asks whether the model descends from that one (was trained from it): they are
aligned, and are more alike than independent networks of the family are, or not.

A trigger set is not read in the weights: `ticket-sig ask` asks the network for its answers.

Example: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json

Through the owner's model: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json
--reference SIGNED/reference.safetensors

A spread or mirror code: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json
--secret SIGNED.secret
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import JsonFlag, out, print_rows, printable, progress, tell_next, tell_verdict
from ticket_sig.errors import bad_input
from ticket_sig.options import flag

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.transcripts.link import Linked

Searched = Annotated[
    Path | None,
    typer.Option(
        "--transcript",
        help="Transcript that the claim names: is its mask the signed one?",
        rich_help_panel="How it was trained",
    ),
]
Audits = Annotated[
    list[Path] | None,
    typer.Option(
        "--audit",
        help="Record of an audit of the transcript; may be repeated.",
        rich_help_panel="How it was trained",
    ),
]
ClaimFile = Annotated[
    Path | None,
    typer.Option("--claim", help="Claim file; without one, --reference: does the model descend from it?"),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="The owner's model, as it was before it was signed: reference.safetensors beside its claim. "
        "What a thief changed for free is undone with it; used only if no mark is verified without it.",
    ),
]


def run(
    model: options.Model,
    given: dict[str, Path],
    claim: ClaimFile = None,
    mask: options.MaskFile = None,
    reference: Reference = None,
    transcript: Searched = None,
    audit: Audits = None,
    data: options.Data = None,
    dataset: options.DatasetName = None,
    arch: options.Arch = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.formats.load import contained_in
    from ticket_sig.marks import marks_of
    from ticket_sig.marks.mark import tried
    from ticket_sig.verification.fidelity import fidelity_of_file
    from ticket_sig.verification.white_box import verify_file

    if claim is None:
        beside = {"transcript": transcript, "audit": audit or None, "data": data, "dataset": dataset}
        return _descent(model, reference, mask, arch, {**beside, **given}, as_json)
    if audit and transcript is None:
        raise bad_input("", "--audit", "--transcript beside it", "none")
    claimed = Claim.read(claim)
    own = arch if reference is None or data or dataset else None  # else it is of the reference alone
    with progress() as bars:
        of_reference = arch if reference else None
        verdict = verify_file(model, claimed, given, mask, reference, of_reference, bars)
        if data or dataset:
            bars.begin("accuracy", 1)
        accuracy = fidelity_of_file(model, claimed, data=data, arch=own, dataset=dataset, mask=mask)
    marks = marks_of(claimed)
    left = [str(mark) for mark in marks if mark.stands_in == "answers"]
    read = tried(marks, given)
    unread = [mark for mark in marks if mark.stands_in != "answers" and mark not in read]
    names = {"left_to_ask": left, "not_looked_at": [str(mark) for mark in unread]}
    link = _linked(model, claimed, transcript, audit or [], mask) if transcript else None
    held = contained_in(model)
    told = {**names, **held.to_json(), **({"transcript": link.to_json()} if link else {})}
    if link and link.problems and not as_json:
        out.print("transcript and claim do not fit")  # first, as it decides the exit code
    tell_verdict(verdict, accuracy, {"model": model, "claim": claim, **told}, as_json)
    if not as_json:
        if link:
            print_rows(link.rows)
        if str(held):
            out.print(printable(str(held)))
        for mark in unread:
            out.print(printable(f"not looked at: {mark}; it needs {', '.join(map(flag, mark.needs))}"))
        if left:
            out.print(f"not looked at: {'; '.join(left)}. Ask the network, which may prove more:")
            named = options.names_for(model, arch, dataset)
            tell_next("ask", model, *named, "--claim", claim, "--triggers", "FILE")
    raise typer.Exit(0 if verdict.verified and not (link and link.problems) else 1)


def _descent(
    model: Path,
    reference: Path | None,
    mask: Path | None,
    arch: str | None,
    others: Mapping[str, object],
    as_json: bool,
) -> None:
    """Whether a model descends from a reference; `others` are options that only a claim has a use for."""
    from ticket_sig.verification.descended import descended_file

    if reference is None:
        beside = model / "claim.json"
        hint = f"{beside} lies beside it" if beside.is_file() else ""
        expected = "a claim file, or --reference without one"
        raise bad_input("usage", "--claim", expected, "neither", hint=hint)
    if extra := [flag(name) for name, path in others.items() if path is not None]:
        raise bad_input("", ", ".join(extra), "--claim beside it", "none")
    with progress() as bars:
        verdict = descended_file(model, reference, mask, arch, bars)
    tell_verdict(verdict, None, {"model": model, "reference": reference}, as_json)
    raise typer.Exit(0 if verdict.verified else 1)


def _linked(model: Path, claim: Claim, transcript: Path, audits: list[Path], mask: Path | None) -> Linked:
    from ticket_sig.formats import load
    from ticket_sig.marks import marks_of
    from ticket_sig.mask import Mask
    from ticket_sig.transcripts import Transcript
    from ticket_sig.transcripts.link import linked
    from ticket_sig.transcripts.record import Record

    # What a file says of its mask is its writer's word.
    suspect = Mask.of_matrices(load(model, mask).ticket.weights)
    movable = sum(mark.room(suspect) for mark in marks_of(claim))
    return linked(
        claim, Transcript.open(transcript), suspect, movable, [Record.read(path) for path in audits]
    )


def command() -> Callable[..., None]:
    """The verb with the options of what marks need."""
    return with_options(run, {"marks": options.needed()}, panel="What {} need")
