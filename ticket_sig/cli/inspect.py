"""Show what a model file holds: kept weights and kernels of every layer, history, claim; or a transcript.

Example: ticket-sig inspect RUN/ticket --png maps.png
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, print_rows, printable, table, tell_next
from ticket_sig.errors import some

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.formats.load import Loaded
    from ticket_sig.ticket import Ticket


def run(
    model: options.Model,
    mask: options.MaskFile = None,
    png: Annotated[Path | None, typer.Option(help="Draw the kernel map of every layer.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig import pictures
    from ticket_sig.claim import Claim
    from ticket_sig.formats import load
    from ticket_sig.marks import marks_of
    from ticket_sig.transcripts.transcript import is_transcript

    if is_transcript(model):
        _tell_transcript(model, as_json)
        return
    loaded = load(model, mask)
    claim = Claim.read(loaded.claim) if loaded.claim else None
    marks = marks_of(claim) if claim else []
    if png:
        pictures.kernel_maps(png, loaded.ticket.mask, [frame for mark in marks if (frame := mark.frame())])
    if as_json:
        print_json(_as_json(loaded, claim, png))
        return
    _tell_ticket(f"{model} ({loaded.kind})", loaded.ticket)
    for mark in marks:
        out.print(printable(f"claim: {mark}, signed {claim.created if claim else ''}"))
    if told := str(loaded.contained):
        out.print(printable(told))
    if loaded.contained.passed_over:
        out.print(printable(f"entries passed over: {some(loaded.contained.passed_over)}"))
    if loaded.passed_over:
        out.print(printable(f"code passed over, not run: {some(loaded.passed_over)}"))
    if png:
        out.print(f"picture: {png}")


def _as_json(loaded: Loaded, claim: Claim | None, png: Path | None) -> dict[str, object]:
    """What a model file holds, for machines."""
    kept = loaded.ticket.mask
    layers = [{**vars(row), "shape": list(row.shape), "density": row.density} for row in kept.table()]
    counts = {"kept": kept.kept, "total": kept.total, "density": kept.density, "layers": layers}
    history = [entry.to_json() for entry in loaded.ticket.history]
    found = {"history": history, "claim": claim and claim.to_json(), "png": png}
    states = {**loaded.contained.to_json(), "entries_passed_over": loaded.contained.passed_over}
    return {"kind": loaded.kind, **counts, **found, "passed_over": loaded.passed_over, **states}


def _tell_ticket(title: str, ticket: Ticket) -> None:
    """The layers of a ticket, and how it came about."""
    kept, rows = ticket.mask, list[tuple[object, ...]]()
    for row in kept.table():
        shape, kernels = "x".join(map(str, row.shape)), row.kept_kernels / max(1, row.kernels)
        rows.append((row.name, shape, row.kept, f"{100 * row.density:.2f}", f"{100 * kernels:.2f}"))
    rows.append(("all", "", kept.kept, f"{100 * kept.density:.2f}", ""))
    out.print(table(title, ("layer", "shape", "kept", "kept %", "kernels kept %"), rows))
    for rate, times in ticket.pruning_rates().items():
        out.print(f"pruned {times} {'time' if times == 1 else 'times'} by {100 * rate:g} %")
    for entry in ticket.history:
        tested = f", {entry.test:.2f} % test accuracy" if entry.test is not None else ""
        out.print(f"{entry.step}: {100 * entry.density:.2f} % kept{tested}")


def _tell_transcript(folder: Path, as_json: bool) -> None:
    """What a transcript commits to, and how far it goes; only chain and signatures are checked."""
    from ticket_sig.transcripts import Transcript

    transcript = Transcript.open(folder)
    manifest = transcript.manifest.to_json()
    levels = [
        {
            **level.entry.fields,
            "boundaries": len(level.boundaries),
            "states": len(level.steps),
            "steps": level.steps[-1] if level.steps else 0,
        }
        for level in transcript.levels
    ]
    chain = {"signer": transcript.signer, "entries": len(transcript.chain.entries)}
    counts: dict[str, object] = {"segments": len(transcript.segments), "ended": transcript.end is not None}
    counts |= {**chain, "signed_entries": transcript.signed_entries}
    longest = max((one.last - one.first for one in transcript.segments), default=0)
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    counts |= {"steps_trained_at_a_time": longest, "bytes": size}
    if as_json:
        print_json(
            {"kind": "transcript", "head": transcript.chain.head, **counts, "levels": levels, **manifest}
        )
        return
    kind = "training loop of its owner's" if manifest["kind"] == "own" else manifest["kind"]
    out.print(f"transcript of a {kind}, not audited")
    ended = "yes" if transcript.end else "no: the training is not finished"
    told = {**counts, "ended": ended, "signer": transcript.signer or "nobody", "head": transcript.chain.head}
    print_rows([(name.replace("_", " "), value) for name, value in told.items()])
    print_rows([("steps of a segment, at most", manifest["segment"])])
    for name in ("recipe", "initial", "data", "stack", "code"):
        shown = ", ".join(
            f"{key} {value}" for key, value in manifest[name].items() if value not in (None, [])
        )
        out.print(printable(f"{name}: {shown}"))
    rows = [
        [one.get(n) for n in ("level", "rate", "kept", "total", "boundaries", "states", "steps")]
        for one in levels
    ]
    out.print(table("levels", ("level", "rate", "kept", "of", "boundaries", "states", "steps"), rows))
    if manifest["kind"] != "own":
        tell_next("audit", folder, "--out", "RECORD")
