"""Open the samples that an audit trains on, for an auditor who may not see the whole data set.

The auditor names the file that the choice follows from (--segments, --seed-from), as to `audit`. Opened are
the samples of the segments that he then trains again, those that detectors suspect among them, and the Merkle
proof that the manifest commits to these samples. He audits with the same choice and `audit --openings FILE`.
In a search for the extreme ticket the held-out samples are opened, too: they decided which masks were tried.

Without --out it only says what it would open. That needs no data: an auditor can ask for it, too.

Example: ticket-sig open TRANSCRIPT --data DIR --segments 20 --seed-from letter.txt --out openings.safetensors
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, print_json, tell_next
from ticket_sig.errors import bad_input
from ticket_sig.files import read_bytes

Folder = Annotated[Path, typer.Argument(help="Folder that was recorded.")]
Number = Annotated[int | None, typer.Option("--segments", help="So many, drawn at random as by `audit`.")]
TopQ = Annotated[int | None, typer.Option("--top-q", help="The Q largest updates of an epoch.")]
SeedFrom = Annotated[
    Path | None, typer.Option(help="File that the random choice follows from; the auditor names it.")
]
Named = Annotated[
    list[str] | None,
    typer.Option(
        "--segment", metavar="LEVEL:STEP", help="Also this one, by its first step; may be repeated."
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="All segments.")]
File = Annotated[Path | None, typer.Option("--out", help="File to write.")]


def run(
    transcript: Folder,
    segments: Number = None,
    top_q: TopQ = None,
    seed_from: SeedFrom = None,
    named: Named = None,
    everything: Everything = False,
    data: options.Data = None,
    file: File = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.transcripts import Choice, Openings, Transcript, to_open

    hint = "--segment opens more beside it" if named else ""
    if everything + (segments is not None) + (top_q is not None) != 1:
        raise bad_input("", "--segments, --top-q, --all", "one of them", "none or several", hint=hint)
    if (segments is None) != (seed_from is None):
        found = "none" if seed_from is None else str(seed_from)
        raise bad_input("", "--seed-from", "a file beside --segments, and only there", found)
    if file is not None:
        options.check_place(file, force)
    seed = b"" if seed_from is None else read_bytes(seed_from, "seed")
    shown = Transcript.open(transcript)
    also = [shown.segment(name) for name in named or ()]
    chosen = sorted({*also, *to_open(shown, Choice(number=segments, top=top_q, seed=seed))})
    openings = None
    if file is not None:
        openings = Openings.of(shown, load_dataset(str(shown.manifest.data.get("name")), data), chosen)
        openings.write(file)
    if as_json:
        counts = {"samples": openings and len(openings), "openings": file}
        print_json({"segments": [[s.level, s.first, s.last] for s in chosen], **counts})
        return
    for one in chosen:
        out.print(f"{'opened' if file else 'to open'}: {one}")
    if openings is not None and file is not None:
        out.print(f"{len(openings)} samples, {file.stat().st_size} bytes: {file}")
        given = {"--segments": segments, "--seed-from": seed_from, "--top-q": top_q, "--openings": file}
        tell_next("audit", transcript, *(word for pair in options.changes(**given).items() for word in pair))
