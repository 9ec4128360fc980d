"""Write a FreezeNet watermark into a copy of a model: values at places, both of which follow from bytes.

MARKED/claim.json holds the data, with which anybody finds the places: keep it, and give away the rest; of a
bundle model.safetensors alone. Data that can be guessed prove no ownership: let them hold enough secret
bytes, and have the claim dated by somebody else.

Safetensors files, one or a folder of many, are copied with their configuration and never loaded whole;
any other model becomes a bundle. Train the copy next, so that the network recovers: `train` keeps every value
at its place.

Example: ticket-sig watermark freezenet apply MODEL --data-file secret.bin --length 4096 --out MARKED
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import given
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, print_json, printable, progress, table

if TYPE_CHECKING:
    from ticket_sig.watermarks import Watermark
    from ticket_sig.watermarks.files import Marked

_SHOWN = 10  # tensors in the table


def run(
    model: given.Model,
    marked: Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)],
    text: given.Text = None,
    data_file: given.DataFile = None,
    length: given.Length = None,
    share: given.Share = None,
    scale: given.Scale = None,
    arch: given.Arch = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.cli.options import check_free
    from ticket_sig.watermarks.files import apply_to_files

    check_free(marked, force)
    data = given.data_of(text, data_file)
    watermark, _ = given.watermark_of(model, data, length, share, scale, arch)
    with progress() as bars:
        made = apply_to_files(watermark, model, marked, replace=force, progress=bars)
    if as_json:
        print_json(
            {
                "marked": str(marked),
                "claim": str(marked / "claim.json"),
                "scale": watermark.scale,
                **made.reading.to_json(),
                "places": {name: len(f.places) for name, f in made.fixed.items()},
                "left_out": list(made.left_out),
            }
        )
    else:
        _report(watermark, made, marked)


def _report(watermark: Watermark, made: Marked, marked: Path) -> None:
    from ticket_sig.formats.bundle import MODEL, is_bundle
    from ticket_sig.statistics import format_p

    reading = made.reading
    largest = sorted(made.fixed.items(), key=lambda item: -len(item[1].places))
    rows = [(name, len(f.places), f"{f.bound:.4g}") for name, f in largest[:_SHOWN]]
    if rest := largest[_SHOWN:]:
        rows.append((f"{len(rest)} more", sum(len(f.places) for _, f in rest), ""))
    out.print(table("", ("tensor", "places", "values up to"), rows))
    out.print(
        f"length: {reading.length} of {reading.total} weights, {100 * reading.length / reading.total:.4g} %; "
        f"scale {watermark.scale}"
    )
    out.print(f"p-value: {format_p(reading.log10_p)}, of the copy as it is")
    if not reading.verdict().verified:
        out.print("too short: no verdict can rest on it; a larger --length")
    if made.left_out:
        out.print(printable(f"left out of the copy: {', '.join(made.left_out)}"))
    # A bundle also holds how it was trained, and the weights that it began with.
    shared = f"{MODEL} alone" if is_bundle(marked) else "the rest"
    out.print(f"claim: {marked / 'claim.json'}; it holds the data: keep it, give away {shared}")
    if next_ := _training(marked):
        out.print(f"next: {next_}")
    out.print(f"next: ticket-sig watermark freezenet verify {marked} --claim {marked / 'claim.json'}")


def _training(marked: Path) -> str:
    """The command that trains the copy and keeps the watermark; none for shards, which it cannot read."""
    from ticket_sig.files import read_json
    from ticket_sig.formats.bundle import MODEL, TICKET, is_bundle

    if not (marked / MODEL).is_file():
        return ""
    known = is_bundle(marked) and read_json(marked / TICKET)["recipe"]
    named = "" if known else "--arch NAME --dataset NAME "
    return f"ticket-sig train {marked} --start model {named}--data DIR --out TRAINED"
