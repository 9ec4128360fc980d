"""Options of the verbs that can record a transcript of what they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ticket_sig.cli import options
from ticket_sig.cli.output import out, tell_next
from ticket_sig.errors import bad_input
from ticket_sig.options import Options, flag, made, option

if TYPE_CHECKING:
    from ticket_sig.training.recorder import Recorder


@dataclass(frozen=True, kw_only=True)
class Recording(Options):
    """What is recorded where, and how much of it is kept."""

    transcript: Path | None = option("Record the training there, for `audit`.", default=None)
    every: int | None = option("Steps of a segment of the transcript; 100 by default.", default=None)
    keep: str | None = option(
        "Keep the state of every N-th boundary, of the others the digests alone: less disk, and an audit "
        "trains so many segments at a time. Or a size that the transcript may take, such as 500MB or 2GiB.",
        default=None,
    )
    sign: Path | None = option("Sign with this key pair, which `keygen` made.", default=None)
    passphrase_env: str | None = option(
        "Environment variable that holds the passphrase of the key's file.", default=None
    )


def with_recording(run: Callable[..., None]) -> Callable[..., None]:
    """A verb with these options; those given come in its parameter `recorded`."""
    from ticket_sig.cli.declared import with_options

    return with_options(run, {"transcript": Recording}, panel="Transcript", into="recorded")


def tell_transcript(recorded: Mapping[str, Any], shown: Mapping[str, object]) -> None:
    """Where a training was recorded, and how it is audited; nothing where it was not.

    Args:
        shown: options by which its auditor is shown data and marks; those that are None are left out.
    """
    if "transcript" in recorded:
        given = [word for pair in options.changes(**shown).items() for word in pair]
        out.print(f"transcript: {recorded['transcript']}")
        tell_next("audit", recorded["transcript"], *given, "--out", "RECORD")


def recorder(recorded: Mapping[str, Any]) -> Recorder | None:
    """What records a training; None where nobody asked for it.

    Raises:
        InputError: options of a transcript without one, or one out of range, or the key cannot be read.
    """
    given = made(Recording, "transcript", recorded)
    if given.transcript is None:
        if recorded:
            raise bad_input("", ", ".join(map(flag, recorded)), "a --transcript beside it", "none")
        return None
    from ticket_sig.transcripts import TranscriptRecorder

    key, numbers = (
        options.key_pair(given.sign, given.passphrase_env),
        {"every": given.every, "keep": given.keep},
    )
    return TranscriptRecorder(given.transcript, key=key, **options.changes(**numbers))
