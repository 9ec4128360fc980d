"""Asking by files: what is handed over, what stays, and a table of answers that may be damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import taught

from ticket_sig import InputError
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.record import prepare, read_queries, write_record
from ticket_sig.marks.trigger_set.triggers import TriggerSecret
from ticket_sig.verification.ask import judge
from ticket_sig.verification.ask.answers_file import file_names, read_answers, write_queries


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Queries, Path]:
    """Queries, and the folder that they were written to."""
    made, folder = prepare(taught.claim(), taught.triggers(), decoys=100), tmp_path_factory.mktemp("queries")
    write_queries(made, folder / "out")
    return made, folder / "out"


@pytest.fixture
def queries(written: tuple[Queries, Path], tmp_path: Path) -> Queries:
    """The queries; a copy of their folder lies in `out`."""
    made, folder = written
    shutil.copytree(folder, tmp_path / "out")
    return made


def answered(folder: Path) -> list[str]:
    """What a network that knows the triggers says to the pictures, read as anybody would read them."""
    pictures = sorted((folder / "queries").iterdir())
    pixels = np.stack([np.array(Image.open(picture)) for picture in pictures])[..., None]
    labels = taught.memoriser()(pixels)
    return [f"{picture.name},{label}" for picture, label in zip(pictures, labels, strict=True)]


@pytest.mark.parametrize("head", ["", "file,label\n", "\ufefffile,label\r\n"])
def test_pictures_go_out_and_answers_come_back(head: str, queries: Queries, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text(head + "\n".join(answered(tmp_path / "out")), encoding="utf-8")
    again = read_queries(tmp_path / "out" / "queries.json", taught.claim(), taught.triggers())
    verdict = judge(taught.claim(), again, read_answers(tmp_path / "answers.csv", len(again)))
    assert verdict.verified and verdict.reading.matches == 100


def test_the_folder_to_hand_over_holds_pictures_and_nothing_else(queries: Queries, tmp_path: Path) -> None:
    handed = list((tmp_path / "out" / "queries").iterdir())
    assert sorted(path.name for path in handed) == file_names(200)
    assert all(Image.open(path).info == {} for path in handed)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"queries", "queries.json"}
    assert (tmp_path / "out" / "queries.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="output folder: expected a name not taken yet"):
        write_queries(queries, tmp_path / "out")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_hold_the_very_pixels(channels: int, tmp_path: Path) -> None:
    triggers = TriggerSecret(bytes(32), 100, (5, 7, channels), 10).trigger_set()
    queries = prepare(claim_triggers(triggers, "sha256:none"), triggers, decoys=100)
    write_queries(queries, tmp_path / "out")
    for index in (0, 199):
        pixels = np.array(Image.open(tmp_path / "out" / "queries" / f"{index + 1:04d}.png"))
        assert np.array_equal(pixels.reshape(5, 7, channels), queries.images[index])


def test_missing_lines_are_no_answers(queries: Queries, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("0002.png, 7\n\n0200.png,0\n")
    assert read_answers(tmp_path / "answers.csv", 200) == [None, 7, *[None] * 197, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"0001.png,3\n0301.png,3\n", "line 2: expected a picture, 0001.png to 0300.png, found '0301.png'"),
        (b"0001.png,3\n0001.png,3\n", "line 2: expected every picture once, found 0001.png again"),
        (b"0001.png,cat\n", "line 1: expected a whole number as label, found 'cat'"),
        (b"0001.png,3.5\n", "line 1: expected a whole number as label, found '3.5'"),
        (b"0001.png\n3\n", "line 2: expected a picture, .* found '3'"),
        (b"0001.png 3\n", "line 1: expected FILE,LABEL, with a comma, a semicolon or a tab between"),
        (b"0001.png,3,0.9\n", "line 1: expected FILE,LABEL, found 3 cells; or a header"),
        (b"0001.png,3\nfile,label\n", "line 2: expected a picture"),
        (b"0001.png," + b"9" * 5000, "line 1: expected a whole number as label"),
        (b"PK\x03\x04\0\0", "expected a table as text, in UTF-8 or UTF-16, .* save a workbook as CSV"),
        (b"x" * 200_000, "expected a table of short cells, found field larger"),
        (b"0001.png,3\n" * 5, "line 2: expected every picture once"),
    ],
)
def test_a_damaged_table_is_named_by_line(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_bytes(text)
    with pytest.raises(InputError, match=f"answers.csv: .*{words}"):
        read_answers(tmp_path / "answers.csv", 300)


def test_an_answer_out_of_range_is_one_that_matches_nothing(queries: Queries, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("".join(f"{name},10\n" for name in file_names(200)))
    verdict = judge(taught.claim(), queries, read_answers(tmp_path / "answers.csv", 200))
    assert not verdict.verified and verdict.reading.no_class == 200
    with pytest.raises(InputError, match=r"none\.csv: answers: expected a file"):
        read_answers(tmp_path / "none.csv", 300)


def test_a_record_is_for_its_owner_and_makes_the_same_images_again(queries: Queries, tmp_path: Path) -> None:
    write_record(queries, tmp_path / "record.json")
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600
    again = read_queries(tmp_path / "record.json", taught.claim(), taught.triggers())
    assert np.array_equal(again.images, queries.images)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "claim"}, "queries.json: queries: format"),
        ({"version": 2}, "queries.json: queries: version: expected 1, found 2"),
        ({"nonce": "00"}, "queries.json: queries: nonce: expected 64 hexadecimal digits"),
        ({"nonce": "0" * 64}, "queries.json: queries: pictures: expected those of claim, triggers and nonce"),
        ({"decoys": "many"}, "queries.json: queries: decoys: expected a whole number"),
        ({"decoys": 3}, "queries.json: decoys: expected 100 to"),
        ({"decoys": 101}, "queries.json: queries: pictures"),
        ({"commitment": "sha256:0"}, "queries.json: queries: commitment: expected the claim's sha256"),
    ],
)
def test_a_changed_record_is_named(
    changes: dict[str, object], words: str, queries: Queries, tmp_path: Path
) -> None:
    file = tmp_path / "out" / "queries.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=words):
        read_queries(file, taught.claim(), taught.triggers())


def test_a_record_of_another_claim_is_named(queries: Queries, tmp_path: Path) -> None:
    other = replace(taught.SECRET, secret=bytes(32)).trigger_set()
    with pytest.raises(InputError, match="queries: commitment: expected the claim's"):
        read_queries(tmp_path / "out" / "queries.json", claim_triggers(other, "sha256:none"), other)
