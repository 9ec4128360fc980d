"""Case 17: whoever answered the pictures sends the table as pandas, Excel, R or a person wrote it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from ticket_sig import InputError
from ticket_sig.verification.ask.answers_file import file_names, read_answers

LABELS = [3, 0, 9, 4]
NAMES = file_names(4)
LINES = list(zip(NAMES, LABELS, strict=True))


def read(folder: Path, text: str | bytes) -> list[int | None]:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "answers.csv").write_bytes(data)
    return read_answers(folder / "answers.csv", 4)


def table(line: str, head: str = "", end: str = "\n") -> str:
    """A table of the right answers: {k} the line's number from 0, {n} the picture, {l} the label."""
    lines = [line.format(k=k, n=name, l=label) for k, (name, label) in enumerate(LINES)]
    return end.join([*([head] if head else []), *lines, ""])


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("file,label", "{n},{l}"),
        ("", "{n},{l}"),
        ("", "{l},{n}"),
        ("file,label", "{n},{l}.0"),
        ("file,label", "{n}, {l}.000"),
        ("file,label", "{n},{l}.000000000000000000e+00"),
        (",file,label", "{k},{n},{l}"),
        ("Unnamed: 0,file,guess", "{k},{n},{l}"),
        (",0,1", "{k},{n},{l}"),
        ("filename,prediction", "{n},{l}"),
        ("File Name,Predicted Label", "{n},{l}"),
        ("FILE,LABEL", "{n},{l}"),
        ('"file","label"', '"{n}","{l}"'),
        ("Datei;Klasse", "{n};{l}"),
        ("file;label", "{n};{l},0"),
        ("file\tlabel", "{n}\t{l}"),
        ("label,file", "{l},{n}"),
        ("score,label,file", "0.98,{l},{n}"),
        ("label;score;file", "{l};0,98;{n}"),
        ("file,label,,", "{n},{l},,"),
        ("", "{n},{l},,"),
        ("file,label", "queries/{n},{l}"),
        ("file,label", r"C:\x\queries\{n},{l}"),
        ("file,label", "./OUT/queries/{n},{l}"),
        ("sep=;\nfile;label", "{n};{l}"),
        ("file,prediction,note", '{n},{l},"one, or\nmore"'),
    ],
)
def test_a_table_is_read(head: str, line: str, tmp_path: Path) -> None:
    for text in (table(line, head), table(line, head, "\r\n"), "\n" + table(line, head, "\n\n")):
        assert read(tmp_path, text) == LABELS, text


def test_capitals_of_the_file_system_do_not_matter(tmp_path: Path) -> None:
    assert read(tmp_path, table("{n},{l}").replace("png", "PNG")) == LABELS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets_are_read(encoding: str, tmp_path: Path) -> None:
    """What Excel calls Unicode text is UTF-16 with tabs; its CSV is in the code page of the machine."""
    text = table("{n}\t{l}\tde la forêt", "file\tlabel\ttrouvé", "\r\n")
    assert read(tmp_path, text.encode(encoding)) == LABELS
    big = b"\xfe\xff" + text.encode("utf-16-be")
    assert read(tmp_path, big) == LABELS


@pytest.mark.parametrize("blank", ["", " ", "nan", "NaN", "NA", "<NA>", "#N/A", "None", "null", '""'])
def test_blanks_are_no_answers(blank: str, tmp_path: Path) -> None:
    text = table("{n},{l}.0", "file,label").replace("9.0", blank)
    assert read(tmp_path, text) == [3, 0, None, 4]
    assert read(tmp_path, table("{l},{n}", "label,file").replace("9,", f"{blank},")) == [3, 0, None, 4]


def test_what_a_spreadsheet_module_writes_is_read(tmp_path: Path) -> None:
    for dialect in csv.list_dialects():
        written = io.StringIO()
        csv.writer(written, dialect).writerows([("file", "label"), *LINES])
        assert read(tmp_path, written.getvalue()) == LABELS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            table("{n},{l},{l}", "file,label,prediction"),
            "line 1: .*one column of labels, found label and pred",
        ),
        (
            table("{n},{l},{l}", "file,top1,top2"),
            "line 1: .*found top1 and top2; keep the one that counts, under the na",
        ),
        (
            table("{n},a/{n},{l}", "file,path,label"),
            "line 2: .*one column of pictures, found 0001.png and a/",
        ),
        (table("{k},{n},{l}"), "line 1: expected FILE,LABEL, found 3 cells; or a header that names the col"),
        (table("{n}", "file"), r"line 1: expected FILE,LABEL, with a comma, a semicolon or a tab between"),
        (table("{n},{l},5", "file,label"), "line 2: expected at most 2 cells, found 3"),
        (table("{n},{l}.5", "file,label"), "line 2: expected a whole number as label, found '3.5'"),
        (table('{n},"{l},0"', "file,label"), "line 2: expected a whole number as label, found '3,0'"),
        (table("{n};{l},000", "file;label"), "line 2: expected a whole number as label, found '3,000'"),
        (table("{n};{l},5", "file;label"), "line 2: expected a whole number as label, found '3,5'"),
        (table("{n},horse", "file,label"), "line 2: expected a whole number as label, found 'horse'"),
        (
            table("{n},{l}") + "queries/0002.png,0\n",
            "line 5: expected every picture once, found 0002.png aga",
        ),
        ("file,label\n0001.png,\n0001.png,3\n", "line 3: expected every picture once"),
        (table("{k},{l}", "file,label"), "line 2: expected a picture, 0001.png to 0004.png, found '0'"),
    ],
)
def test_what_is_not_clear_is_named_by_its_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"answers.csv: {words}"):
        read(tmp_path, text)
