"""Asks by files: pictures to hand over, and a table of the answers that came back."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

from PIL import Image

from ticket_sig.errors import InputError, bad_input
from ticket_sig.files import check_new, whole_folder
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.record import write_record

PICTURES, RECORD = "queries", "queries.json"
_SUFFIX = ".png"
_LARGEST = 32 << 20  # bytes of a table
_LABELS = (
    "label",
    "labels",
    "prediction",
    "predictions",
    "predicted",
    "predictedlabel",
    "pred",
    "class",
    "answer",
)
_INDEX = re.compile("|unnamed: [0-9]+|index", re.IGNORECASE)  # columns of line numbers, as pandas writes them
_NOTHING: tuple[list[str], ...] = ([], ["sep="])  # blank, or what names the separator to a spreadsheet
_BLANK = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none")  # of pandas, R and spreadsheets


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
    return [f"{number:0{digits}d}{_SUFFIX}" for number in range(1, count + 1)]


def read_answers(path: Path, count: int) -> list[int | None]:
    """Reads a table with a line for each picture, as people, spreadsheets and pandas write it.

    Commas, semicolons or tabs separate the cells. One column holds the pictures' names, folders before them
    allowed; one holds the labels. A header is optional where there are no other columns; else it says which
    column holds the labels. Missing lines and blank labels are no answers.

    Args:
        count: number of pictures.

    Returns:
        The labels in the order of the queries.

    Raises:
        InputError: missing, too large, no text, a line of another form, an unknown or repeated picture, or
            a label that is no whole number; names the line. Or two columns could be the one of the labels.
    """
    if not path.is_file():
        raise bad_input(path, "answers", "a file of lines FILE,LABEL", "none")
    text = _text(path)
    separator = _separator(text)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        trimmed = ((lines.line_num, _trimmed(cells)) for cells in lines)
        filled = (_Row(path, number, cells) for number, cells in trimmed if cells not in _NOTHING)
        rows = list(islice(filled, count + 2))  # a header, and one line more than there are pictures
    except csv.Error as error:
        raise bad_input(path, "answers", "a table of short cells", str(error)) from None
    known: dict[str, int | None] = dict.fromkeys(file_names(count))
    if rows:
        columns, rows = _columns(rows)
        seen: set[str] = set()
        for row in rows:
            file, label = columns.of(row, known)
            if file in seen:
                raise row.wrong("every picture once", f"{file} again")
            seen.add(file)
            known[file] = _label(label, row, decimal_comma=separator != ",")
    return list(known.values())


@dataclass(frozen=True)
class _Row:
    """A line of the table, without blank cells at its end."""

    path: Path
    number: int
    cells: list[str]

    def wrong(self, expected: str, found: str, hint: str = "") -> InputError:
        """What is wrong with it."""
        return bad_input(self.path, f"line {self.number}", expected, found, hint=hint)


@dataclass(frozen=True)
class _Columns:
    """Which column holds the pictures and which the labels, and the most cells of a line."""

    file: int
    label: int
    width: int

    def of(self, row: _Row, known: Collection[str]) -> tuple[str, str]:
        """The picture and the label of a line, as written."""
        cells = row.cells
        if len(cells) > self.width:
            raise row.wrong(f"at most {self.width} cells", str(len(cells)))
        cell = cells[self.file] if self.file < len(cells) else ""
        file = _name(cell)
        if file not in known:
            names = list(known)
            raise row.wrong(f"a picture, {names[0]} to {names[-1]}", repr(cell)[:80])
        return file, cells[self.label] if self.label < len(cells) else ""


def _text(path: Path) -> str:
    """The text of a table in UTF-8, or in UTF-16 as spreadsheets save it.

    In a column that does not count other bytes do no harm: names of pictures and labels are ASCII.
    """
    if (size := path.stat().st_size) > _LARGEST:
        raise bad_input(path, "answers", f"at most {_LARGEST} bytes", str(size))
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    if "\0" in text:
        hint = "save a workbook as CSV"
        raise bad_input(path, "answers", "a table as text, in UTF-8 or UTF-16", "something else", hint=hint)
    return text


def _separator(text: str) -> str:
    """The first of tab, semicolon and comma that splits the first line which is not blank."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    with suppress(csv.Error):
        for separator in "\t;":
            if len(next(csv.reader([first], delimiter=separator))) > 1:
                return separator
    return ","


def _trimmed(cells: list[str]) -> list[str]:
    cells = [cell.strip() for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _columns(rows: list[_Row]) -> tuple[_Columns, list[_Row]]:
    """What the columns hold, by the header and the first line with a picture; and the lines that follow."""
    head, *rest = rows
    if any(map(_is_picture, head.cells)):
        file = _pictures(head)
        if len(head.cells) > 2:
            hint = "or a header that names the columns"
            raise head.wrong("FILE,LABEL", f"{len(head.cells)} cells", hint)
        return _Columns(file, 1 - file, 2), rows
    file = _pictures(rest[0]) if rest else 0
    named = {n: cell for n, cell in enumerate(head.cells) if n != file and not _INDEX.fullmatch(cell)}
    labels = [n for n, cell in named.items() if re.sub("[^a-z]", "", cell.lower()) in _LABELS] or list(named)
    if not labels:
        raise head.wrong("FILE,LABEL, with a comma, a semicolon or a tab between", repr(head.cells)[:80])
    if len(labels) > 1:
        hint = "keep the one that counts, under the name label"
        raise head.wrong("one column of labels", " and ".join(named[n] for n in labels), hint)
    return _Columns(file, labels[0], len(head.cells)), rest


def _pictures(row: _Row) -> int:
    """The column of a line that names a picture; the first where none does."""
    found = [n for n, cell in enumerate(row.cells) if _is_picture(cell)] or [0]
    if len(found) > 1:
        raise row.wrong("one column of pictures", " and ".join(row.cells[n] for n in found))
    return found[0]


def _name(cell: str) -> str:
    """A picture's name without folders, of whatever system."""
    return re.split(r"[/\\]", cell)[-1].lower()


def _is_picture(cell: str) -> bool:
    return cell.lower().endswith(_SUFFIX)


def _label(cell: str, row: _Row, decimal_comma: bool) -> int | None:
    if cell.lower() in _BLANK:
        return None
    # "3,000" may be three thousand.
    if decimal_comma and re.fullmatch("[0-9]+,0{1,2}", cell):
        cell = cell.replace(",", ".")
    if not re.fullmatch(r"[-+]?[0-9]{1,18}(\.[0-9]{0,20})?(e[-+]?[0-9]{1,2})?", cell.lower()):
        raise row.wrong("a whole number as label", repr(cell)[:80])
    number = Decimal(cell)
    if number != number.to_integral_value():
        raise row.wrong("a whole number as label", repr(cell)[:80])
    return int(number)
