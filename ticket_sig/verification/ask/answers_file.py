"""Asks by files: pictures to hand over, and a table of the answers that came back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from PIL import Image

from ticket_sig.errors import InputError, bad_input
from ticket_sig.files import check_new, whole_folder
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.record import write_record

PICTURES, RECORD = "queries", "queries.json"


def write_queries(queries: Queries, folder: Path) -> None:
    """Writes FOLDER/queries/0001.png, ... to hand over, and FOLDER/queries.json, which the verifier keeps.

    Raises:
        InputError: the folder is there already.
    """
    check_new(folder)
    with whole_folder(folder) as partial:
        (partial / PICTURES).mkdir()
        for name, pixels in zip(file_names(len(queries)), queries.images, strict=True):
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            picture.save(partial / PICTURES / name)
        write_record(queries, partial / RECORD)


def file_names(count: int) -> list[str]:
    """The pictures' names, in the order of the queries."""
    digits = max(4, len(str(count)))
    return [f"{number:0{digits}d}.png" for number in range(1, count + 1)]


def read_answers(path: Path, count: int) -> list[int | None]:
    """Reads a table `file,label`, one line a picture; a header is optional, missing lines are no answers.

    Args:
        count: number of pictures.

    Returns:
        The labels in the order of the queries.

    Raises:
        InputError: missing, not UTF-8, a line of another form, an unknown or repeated picture, or a label
            that is no whole number; names the line.
    """
    if not path.is_file():
        raise bad_input(path, "answers", "a file of lines FILE,LABEL", "none")
    known: dict[str, int | None] = dict.fromkeys(file_names(count))
    try:
        # A table from a spreadsheet begins with a byte order mark.
        rows = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or (rows.line_num == 1 and cells == ["file", "label"]):
                continue
            _enter(known, cells, path, rows.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        raise bad_input(path, "answers", "a table in UTF-8", str(error)) from None
    return list(known.values())


def _enter(known: dict[str, int | None], cells: list[str], path: Path, line: int) -> None:
    def wrong(expected: str, found: str) -> InputError:
        return bad_input(path, f"line {line}", expected, found)

    if len(cells) != 2:
        raise wrong("FILE,LABEL", f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}")
    file, label = cells
    if file not in known:
        raise wrong(f"a picture, {next(iter(known))} to {next(reversed(known))}", repr(file)[:80])
    if known[file] is not None:
        raise wrong("every picture once", f"{file} again")
    if not re.fullmatch("-?[0-9]{1,18}", label):
        raise wrong("a whole number as label", repr(label)[:80])
    known[file] = int(label)
