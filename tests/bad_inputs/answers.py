"""Tables of answers that do not fit their queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.command_line import done

from bad_inputs.case import Topic
from bad_inputs.inputs import edit_json, shown

topic = Topic("black box")


def _answers(folder: Path, text: str, **changes: Any) -> list[Any]:
    arguments = shown(folder)
    done(["queries", *arguments, "--out", folder / "OUT", "--decoys", 100])
    edit_json(folder / "OUT" / "queries.json", **changes)
    (folder / "answers.csv").write_text(text)
    files = ["--answers", folder / "answers.csv", "--queries", folder / "OUT" / "queries.json"]
    return ["ask", *files, *arguments]


for _name, _text, *_says in (
    (
        "an unknown picture",
        "0001.png,3\n9999.png,3\n",
        "answers.csv: line 2: expected a picture, 0001.png to 0200.png",
    ),
    ("a picture twice", "0001.png,3\n0001.png,4\n", "answers.csv: line 2: expected every picture once"),
    (
        "a word",
        "file,label\n0001.png,cat\n",
        "answers.csv: line 2: expected a whole number as label, found 'cat'",
    ),
    ("a third column", "0001.png,3,0.9\n", "answers.csv: line 1: expected FILE,LABEL, found 3 cells"),
    ("a fraction", "file;label\n0001.png;3,5\n", "line 2: expected a whole number as label, found '3,5'"),
    ("thousands, perhaps", "0001.png;3,000\n", "line 1: expected a whole number as label, found '3,000'"),
    (
        "two columns of labels",
        "file,label,prediction\n0001.png,3,4\n",
        "answers.csv: line 1: expected one column of labels, found label and prediction; keep the one",
    ),
    (
        "two columns of pictures",
        "file,nearest,label\n0001.png,0002.png,4\n",
        "answers.csv: line 2: expected one column of pictures, found 0001.png and 0002.png",
    ),
    (
        "a workbook",
        "PK\x03\x04\0\0",
        "answers.csv: answers: expected a table as text",
        "save a workbook as CSV",
    ),
    ("nothing", "", "answers to decoys: expected at least 30, found 0 of 100"),
):
    topic.enter(f"answers with {_name}", lambda folder, text=_text: _answers(folder, text), *_says)  # type: ignore[misc]


@topic.case("OUT/queries.json: queries: pictures: expected those of claim, triggers and nonce sha256:")
def record_that_was_changed(folder: Path) -> list[Any]:
    return _answers(folder, "0001.png,3\n", nonce="0" * 64)


@topic.case("--queries: expected a path, found none; the record that `ticket-sig queries --out DIR` wrote")
def answers_without_the_record(folder: Path) -> list[Any]:
    (folder / "answers.csv").write_text("0001.png,3\n")
    return ["ask", "--answers", folder / "answers.csv", *shown(folder)]
