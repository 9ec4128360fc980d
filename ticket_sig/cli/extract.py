"""Read the message, or the bits, out of a model; prints them alone.

The claim says where to look: the bundle's own claim.json, or --claim FILE for any other model file. Leaves
with exit code 1 where nothing can be read there. A claim may be of several marks: then a verified mark
comes first, then a text before bits, then a later mark before an earlier one. A mark that the claim keeps the
secret of apart is read where it is given: --secret FILE. With --png, a mark that has a picture is read: a
QR code.

Without a claim, QR codes can be read: the one at --place LAYER:ROW:COLUMN (out and in channel of its first
kernel), or with --search all of them, wherever they stand. A message that is found so proves nothing by
itself.

Example: ticket-sig extract SUSPECT.pth --claim SIGNED/claim.json --png code.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import JsonFlag, can_say, err, print_json, printable, progress
from ticket_sig.errors import about, bad_input
from ticket_sig.options import flag

_PANEL = "QR codes without a claim"

Png = Annotated[Path | None, typer.Option(help="Write the code as it was read, function patterns put back.")]
Place = Annotated[
    str | None,
    typer.Option(
        help="Read the code that begins at LAYER:ROW:COLUMN; the layer may be named as a module.",
        rich_help_panel=_PANEL,
    ),
]
Search = Annotated[
    bool, typer.Option("--search", help="Read every code, in any layer.", rich_help_panel=_PANEL)
]
Version = Annotated[
    int | None, typer.Option(help="Size of the code, 1 to 40; any by default.", rich_help_panel=_PANEL)
]
Level = Annotated[
    str | None,
    typer.Option(help="Its error correction: L, M, Q or H; any by default.", rich_help_panel=_PANEL),
]


def run(
    model: options.Model,
    given: dict[str, Path],
    claim: options.OwnClaim = None,
    mask: options.MaskFile = None,
    place: Place = None,
    search: Search = False,
    version: Version = None,
    level: Level = None,
    png: Png = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    if _without_claim({"place": place, "search": search or None}, {"claim": claim, **given}, version, level):
        _unclaimed(model, mask, place, {"version": version, "level": level}, png, as_json)
    else:
        _claimed(model, given, claim, mask, png, as_json)


def command() -> Callable[..., None]:
    """The verb with the options of what marks that say something need."""
    return with_options(run, {"marks": options.needed("bits")}, panel="What {} need")


def _without_claim(where: dict[str, Any], of_claim: dict[str, Any], *form: int | str | None) -> bool:
    """Whether a code is to be read without a claim; InputError where options contradict each other."""
    asked = [flag(name) for name, value in where.items() if value is not None]
    known = [flag(name) for name, value in of_claim.items() if value is not None]
    if len(asked) > 1 or (asked and known):
        raise bad_input("", asked[0], "it alone", f"also {', '.join([*asked[1:], *known])}")
    if not asked and any(one is not None for one in form):
        raise bad_input("", "--version and --level", "--place or --search with them", "neither")
    return bool(asked)


def _unclaimed(
    model: Path, mask: Path | None, place: str | None, form: dict[str, Any], png: Path | None, as_json: bool
) -> None:
    from ticket_sig.formats.load import load
    from ticket_sig.marks.qr_code.placement import Placement
    from ticket_sig.marks.qr_code.unclaimed import PROVES_NOTHING, read_at, search

    begins = None if place is None else Placement.parse(place)
    loaded = load(model, mask)
    with about(model), progress() as bars:
        if begins:
            found = [code for code in [read_at(loaded.ticket, begins, **form)] if code]
        else:
            found = search(loaded.ticket, **form, progress=bars)
    drawn = png if found else None
    if drawn:
        found[0].draw(drawn)
    if as_json:
        message = found[0].message if found else None
        codes = {"message": message, "found": [code.to_json() for code in found], "proves": "nothing"}
        print_json({"mark": "qr-code", **codes, "png": drawn, **loaded.contained.to_json()})
    if told := str(loaded.contained):
        err.print(printable(told))
    if not found:
        err.print(f"no code can be read: {'at this place' if begins else 'at any place of the mask'}")
        raise typer.Exit(1)
    if not as_json:
        for code in found:
            _print_message(code.message)
            err.print(printable(str(code)))
        err.print(PROVES_NOTHING)


def _claimed(
    model: Path,
    given: dict[str, Path],
    claim: Path | None,
    mask: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    from ticket_sig.claim import Claim
    from ticket_sig.formats.load import claim_beside, contained_in
    from ticket_sig.statistics import format_p
    from ticket_sig.verification.white_box import extract_file

    mark, reading = extract_file(
        model, Claim.read(claim or claim_beside(model)), given, mask, drawn=png is not None
    )
    held = contained_in(model)
    if png:
        mark.draw(reading, png)
    message, statistic = reading.message, reading.verdict().statistic
    if as_json:
        print_json({"mark": mark.name, **reading.to_json(), "png": png, **held.to_json()})
    elif message is not None:
        _print_message(message)
    if str(held):
        err.print(printable(str(held)))
    told = f"{mark.name}: {statistic}, p = {format_p(reading.log10_p)}"
    if message is None:
        err.print(f"no message can be read: {told}")
        raise typer.Exit(1)
    if not as_json:
        err.print(told)


def _print_message(message: str) -> None:
    if sys.stdout.isatty():
        print(printable(message))
        return
    if not can_say(message):
        expected = "an encoding with every character of the message"
        raise bad_input("", "output", expected, sys.stdout.encoding, hint="set PYTHONIOENCODING=utf-8")
    print(message)
