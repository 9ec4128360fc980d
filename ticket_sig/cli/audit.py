"""Audit a transcript: is it the record of a training that was really done?

Exit code 0: valid; 1: not; 2: could not be decided. Everything it commits to is computed again: initial
weights, batches, masks of the search. Segments are trained again from their first boundary, and must give the
same bits: all of them, or with --segments so many at random, or with --top-q the largest updates of each
epoch, which a liar can foresee. What the detectors suspect is always trained again. Take the seed of
--segments from a file that nobody could know when the transcript was made. Show the marks and triggers that
the training kept or taught: --claim and --triggers, the latter with the --trigger-batch of the training.

An auditor who may not see all the data takes the samples that the owner opened (--openings, see `open`).

On another numerical stack (torch, processor, kernels) bits may differ. Then it is "consistent" at most, and
the exit code is 1. --combine adds up the records of several audits.

Example: ticket-sig audit TRANSCRIPT --data DIR --segments 20 --seed-from beacon.txt --out record.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, printable, table
from ticket_sig.errors import bad_input
from ticket_sig.files import check_new, read_bytes

Folder = Annotated[Path | None, typer.Argument(metavar="[transcript]", help="Folder that was recorded.")]
Everything = Annotated[bool, typer.Option("--all", help="Train all segments again; so by default.")]
Number = Annotated[int | None, typer.Option("--segments", help="Train so many again, drawn at random.")]
TopQ = Annotated[int | None, typer.Option("--top-q", help="Train the Q largest updates of an epoch again.")]
SeedFrom = Annotated[
    Path | None, typer.Option(help="File that the random choice follows from; fresh random bytes by default.")
]
OpeningsFile = Annotated[
    Path | None, typer.Option("--openings", help="Samples that the owner opened, in place of --data.")
]
Claim = Annotated[
    Path | None, typer.Option("--claim", help="Claim of marks that the training kept or taught.")
]
Triggers = Annotated[Path | None, typer.Option(help="Trigger set that was taught: its secret, or a folder.")]
Record = Annotated[Path | None, typer.Option("--out", help="Audit record to write.")]
Combine = Annotated[
    list[Path] | None, typer.Option("--combine", help="Record to add up; repeat it for each record.")
]
_SHOWN = 10  # reasons that people see


class Taught(NamedTuple):
    """The options that say which triggers were taught, and how they are read."""

    path: Path | None
    size: int | None
    order: str | None
    fit: str | None


def run(
    folder: Folder = None,
    everything: Everything = False,
    segments: Number = None,
    top_q: TopQ = None,
    seed_from: SeedFrom = None,
    data: options.Data = None,
    openings: OpeningsFile = None,
    claim: Claim = None,
    triggers: Triggers = None,
    trigger_batch: options.TriggerSize = None,
    trigger_order: options.TriggerOrder = None,
    trigger_fit: options.TriggerFit = None,
    record: Record = None,
    sign: options.SignWith = None,
    passphrase_env: options.PassphraseEnv = None,
    combine: Combine = None,
    device: options.Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    if (folder is None) == (not combine):
        found = "neither" if folder is None else "both"
        hint = "--combine goes before each record" if folder is not None else ""
        raise bad_input("", "audit", "a transcript, or records to --combine", found, hint=hint)
    if folder is None:
        raise typer.Exit(0 if _combine(combine or [], as_json) else 1)
    if everything and (segments or top_q):
        raise bad_input("", "--all, --segments, --top-q", "one of them", "several")
    if seed_from is not None and segments is None:
        raise bad_input("", "--seed-from", "--segments beside it", "none")
    if openings is not None and data is not None:
        raise bad_input("", "--data, --openings", "one of them", "both")
    if openings is not None and segments is not None and seed_from is None:
        raise bad_input("", "--seed-from", "the file by which the owner opened segments", "none")
    key = options.key_pair(sign, passphrase_env)
    if record is not None:
        check_new(record, "choose another", "audit record")
    taught = Taught(triggers, trigger_batch, trigger_order, trigger_fit)
    value = _audited(folder, segments, top_q, seed_from, data, openings, claim, taught, device)
    if record is not None:
        from ticket_sig.transcripts.record import write_record

        write_record(record, value, key)
    _tell(value, record, as_json)
    raise typer.Exit(0 if value["outcome"] == "valid" else 1)


def _audited(
    folder: Path,
    segments: int | None,
    top_q: int | None,
    seed_from: Path | None,
    data: Path | None,
    openings: Path | None,
    claim: Path | None,
    taught: Taught,
    device: str,
) -> dict[str, Any]:
    import secrets

    from ticket_sig.claim import Claim
    from ticket_sig.datasets import load_dataset
    from ticket_sig.marks.trained import kept_in_training
    from ticket_sig.transcripts import Choice, Openings, Transcript, audit
    from ticket_sig.transcripts.openings import undisclosed
    from ticket_sig.transcripts.record import to_json
    from ticket_sig.transcripts.transcript import check_kind

    seed = secrets.token_bytes(32) if seed_from is None else read_bytes(seed_from, "seed")
    choice = Choice(number=segments, top=top_q, seed=seed)
    transcript = Transcript.open(folder)
    check_kind(transcript)
    marks = kept_in_training(Claim.read(claim)) if claim else ()
    name = str(transcript.manifest.data.get("name"))
    images = Openings.read(openings) if openings else load_dataset(name, data)
    with options.engine(device, 0) as engine:
        shape = undisclosed(transcript)
        shown = options.trigger_set(taught.path, shape, taught.order, taught.fit)
        batch = options.trigger_batch(shown, taught.size)
        return to_json(audit(transcript, images, choice, engine=engine, marks=marks, triggers=batch), choice)


def _tell(value: dict[str, Any], record: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({**value, "record": record})
        return
    count, total = len(value["replayed"]), value["segments"]
    out.print(f"{value['outcome']}: {count} of {total} segments trained again")
    rows = [("signed by", value["signer"] or "nobody")]
    rows += [("entries of the chain", f"{value['entries']}, {value['signed_entries']} of them signed")]
    rows += [("ended", "yes" if value["ended"] else "no: the training is not finished")]
    if opened := value["opened"]:
        data = value["data"]
        split = f"{data['train']} samples to train on, {data['test']} to test"
        rows += [("data, by its owner", f"{data['name']}, {split}")]
        rows += [("samples opened, the others not seen", f"{opened['samples']} of {opened['of']}")]
    rows += [("suspected by detectors", len(value["suspected"]))]
    rows += [(f"chance to miss {b} forged", f"{p:.3g}") for b, p in value["chance_missed"].items()]
    rows += [
        (f"other stack: {n}", f"{theirs}, here {ours}") for n, (theirs, ours) in value["differences"].items()
    ]
    out.print(table("transcript", ("evidence", "value"), [(name, printable(str(v))) for name, v in rows]))
    for reason in (reasons := value["reasons"])[:_SHOWN]:
        out.print(printable(reason))
    if len(reasons) > _SHOWN:
        out.print(f"and {len(reasons) - _SHOWN} more: the record (--out) and --json name them all")
    if value["damaged"]:
        out.print("the folder is damaged, or was changed: that says nothing of who made its chain")
    if value["outcome"] == "valid":
        _tell_limits(value)
    if record:
        out.print(f"record: {record}")


def _tell_limits(value: Mapping[str, Any]) -> None:
    out.print("proves: what was trained again follows, bit for bit, from what the manifest commits to")
    limits = ["who trained it, or when; have the first signed head dated by somebody else"]
    if value["kind"] == "training":
        limits.append("where the weights come from that it starts from")
    if value["opened"]:
        limits.append("what the samples are that were not opened")
    for limit in limits:
        out.print(f"does not prove: {limit}")


def _combine(paths: list[Path], as_json: bool) -> bool:
    from ticket_sig.transcripts.record import FORGED, Record, combine

    found = combine({path: Record.read(path) for path in paths})
    missed = {str(b): found.missed(b) for b in FORGED if b <= found.segments}
    if as_json:
        covered = sorted([s.level, s.first, s.last] for s in found.covered)
        value = {"valid": found.valid, "head": found.head, "segments": found.segments, "covered": covered}
        counts = {"invalid": found.invalid, "opened": found.opened}
        print_json({**value, **counts, "auditors": found.auditors, "chance_missed": missed})
        return found.valid
    said = "valid" if found.valid else "not valid"
    out.print(f"{said}: {len(found.covered)} of {found.segments} segments covered")
    for forged, chance in missed.items():
        out.print(f"chance to miss {forged} forged: {chance:.3g}")
    for number, auditor in enumerate(found.auditors, 1):
        out.print(f"record {number} signed by: {auditor or 'nobody, so anybody may have written it'}")
    if found.invalid:
        out.print(f"records that say invalid: {found.invalid}")
    if found.opened:
        out.print(f"records of auditors who saw opened samples alone: {found.opened}")
    return found.valid
