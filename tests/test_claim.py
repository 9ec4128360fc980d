"""The claim file: what was written is read back, and anything else is refused in one line."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ticket_sig
from ticket_sig import Claim, InputError
from ticket_sig.claim import ClaimedMark
from ticket_sig.files import write_json
from ticket_sig.marks import marks_of

MARK = ClaimedMark("qr-code", {"message": "жук"})
WHOLE = Claim(marks=(MARK,), subject="sha256:00", accuracy=91.5).to_json()
TAUGHT = "scheme 3: trigger set"
OLD = {
    "format": "ticket_sig claim",
    "version": 1,
    "scheme": "scheme 2: QR code in a kernel map",
    "signature": {"message": "жук"},
    "subject": "sha256:00",
    "created": "2026-01-01T00:00:00+00:00",
}


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


marks = st.builds(
    ClaimedMark, st.text(max_size=80), st.dictionaries(st.text(), st.text() | st.integers(), max_size=3)
)


@settings(deadline=None)
@given(
    listed=st.lists(marks, min_size=1, max_size=16),
    subject=st.text(),
    created=st.text(),
    accuracy=st.none() | st.floats(0, 100),
)
def test_comes_back_from_json(
    listed: list[ClaimedMark], subject: str, created: str, accuracy: float | None
) -> None:
    claim = Claim(marks=tuple(listed), subject=subject, created=created, accuracy=accuracy)
    assert Claim.from_json(json.loads(json.dumps(claim.to_json()))) == claim


def test_comes_back_from_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "claim.json", WHOLE)
    assert Claim.read(tmp_path / "claim.json").to_json() == WHOLE
    assert Claim.read(str(tmp_path / "claim.json")).marks == (MARK,)


def test_the_file_says_which_package_wrote_it() -> None:
    assert WHOLE["written_by"] == f"ticket_sig {ticket_sig.__version__}" and WHOLE["version"] == 2


def test_is_dated_when_it_is_made() -> None:
    created = datetime.fromisoformat(Claim(marks=(MARK,), subject="s").created)
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=1)


def test_a_field_of_a_later_version_does_not_disturb() -> None:
    listed = [{**WHOLE["marks"][0], "note": "later"}]
    assert Claim.from_json({**WHOLE, "note": "later", "marks": listed}).to_json() == WHOLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "a cake"}, "claim: format: expected 'ticket_sig claim', found 'a cake'"),
        ({"format": None}, "claim: format: expected 'ticket_sig claim', found None"),
        (
            {"version": 3, "written_by": "ticket_sig 0.9"},
            "claim: version: expected 1 or 2, found 3, written by ticket_sig 0.9; use the",
        ),
        ({"version": 0}, "claim: version: expected 1 or 2, found 0"),
        ({"version": "1"}, "claim: version: expected 1 or 2, found '1'"),
        ({"version": True}, "claim: version: expected 1 or 2, found True"),
        ({"marks": {"qr-code": {}}}, "claim: marks: expected list, found dict"),
        ({"marks": []}, "claim: marks: expected 1 to 16 objects, found 0"),
        ({"marks": WHOLE["marks"] * 17}, "claim: marks: expected 1 to 16 objects, found 17"),
        ({"marks": [*WHOLE["marks"], "qr-code"]}, "claim: marks: expected 1 to 16 objects, found a str"),
        ({"marks": [{"fields": {}}]}, "claim: mark: expected str, found none"),
        ({"marks": [{"mark": 2, "fields": {}}]}, "claim: mark: expected str, found int"),
        (
            {"marks": [{"mark": "m" * 81, "fields": {}}]},
            "claim: mark: expected at most 80 characters, found 81",
        ),
        ({"marks": [{"mark": "qr-code", "fields": "text"}]}, "claim: fields: expected dict, found str"),
        ({"marks": [{"mark": "qr-code"}]}, "claim: fields: expected dict, found none"),
        ({"subject": None}, "claim: subject: expected str, found NoneType"),
        ({"created": 2024}, "claim: created: expected str, found int"),
        ({"written_by": 2}, "claim: written_by: expected str, found int"),
        ({"accuracy": 101}, "claim: accuracy: expected a number from 0 to 100, found 101"),
        ({"accuracy": True}, "claim: accuracy: expected a number from 0 to 100, found True"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    assert_refused({**WHOLE, **change}, words, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": 2}, "claim: scheme: expected str, found int"),
        ({"scheme": "s" * 81}, "claim: scheme: expected at most 80 characters, found 81"),
        ({"signature": "text"}, "claim: signature: expected dict, found str"),
        ({"scheme": TAUGHT, "signature": {}}, "claim: triggers: expected dict, found none"),
        ({"scheme": TAUGHT, "signature": {"triggers": 3}}, "claim: triggers: expected dict, found int"),
        (
            {"scheme": TAUGHT, "signature": {"triggers": {}, "beside": 3}},
            "claim: beside: expected dict, found int",
        ),
        (
            {"scheme": TAUGHT, "signature": {"triggers": {}, "beside": {}}},
            "claim: scheme: expected str, found none",
        ),
        (
            {"scheme": TAUGHT, "signature": {"triggers": {}, "beside": {"scheme": "s"}}},
            "claim: signature: expected dict, found none",
        ),
        ({"subject": None}, "claim: subject: expected str, found NoneType"),
    ],
)
def test_so_it_is_in_a_claim_of_version_1(change: dict[str, object], words: str, tmp_path: Path) -> None:
    assert Claim.from_json(OLD).marks == (MARK,)
    assert_refused({**OLD, **change}, words, tmp_path)


def assert_refused(content: dict[str, object], words: str, folder: Path) -> None:
    """Reading a claim of this content is refused in one line that names file and field."""
    path = folder / "claim.json"
    write_json(path, content)
    with pytest.raises(InputError) as refused:
        Claim.read(path)
    assert str(refused.value).startswith(f"{path}: {words}")


def test_a_mark_that_is_not_known_says_who_wrote_it_and_which_are(tmp_path: Path) -> None:
    listed = [*WHOLE["marks"], {"mark": "halo", "fields": {"a": [1]}}]
    write_json(tmp_path / "claim.json", {**WHOLE, "marks": listed, "written_by": "ticket_sig 0.9"})
    claim = Claim.read(tmp_path / "claim.json")
    expected = (
        "expected one of qr-code, key-mask, trigger-set, freezenet, uchida, nct, spread, mirror, found 'halo'"
    )
    with pytest.raises(InputError) as refused:
        marks_of(claim)
    path = tmp_path / "claim.json"
    assert str(refused.value) == f"{path}: claim: mark: {expected}, written by ticket_sig 0.9"
    with pytest.raises(InputError, match=r"'scheme 9', written by ticket_sig 0\.1"):
        marks_of(Claim.from_json({**OLD, "scheme": "scheme 9"}))


@pytest.mark.parametrize("name", ["", "qr-code\n", "\x1b[2Jqr-code", "../qr-code", "QR-CODE", "__init__"])
def test_a_name_is_a_mark_s_or_refused_in_one_line(name: str) -> None:
    claim = Claim.from_json({**WHOLE, "marks": [{"mark": name, "fields": {}}], "written_by": "a\nb\x1b"})
    with pytest.raises(InputError, match=re.escape(f"found {name!r}, written by a b")) as refused:
        marks_of(claim)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["message", "qr", "placement"])
@pytest.mark.parametrize("depth", [300, 100_000])
def test_fields_that_are_nested_deeply_are_refused_in_one_line(
    field: str, depth: int, tmp_path: Path
) -> None:
    whole = {**WHOLE, "marks": [{"mark": "qr-code", "fields": {**MARK.fields, field: "DEEP"}}]}
    path = write(tmp_path / "claim.json", json.dumps(whole).replace('"DEEP"', "[" * depth + "]" * depth))
    with pytest.raises(InputError) as refused:
        marks_of(Claim.read(path))
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["format", "version", "marks", "accuracy"])
@pytest.mark.parametrize("found", ["x" * 10**6, ["x" * 10**6]])
def test_a_field_of_any_length_gives_a_short_line(name: str, found: object) -> None:
    with pytest.raises(InputError, match=f"claim: {name}: expected") as refused:
        Claim.from_json({**WHOLE, name: found})
    assert len(str(refused.value)) < 300


def test_a_writer_of_any_length_gives_a_short_line() -> None:
    for change in ({"version": 3}, {"marks": [{"mark": "halo", "fields": {}}]}):
        with pytest.raises(InputError, match="written by xxx") as refused:
            marks_of(Claim.from_json({**WHOLE, **change, "written_by": "x" * 10**6}))
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "accuracy"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"claim: {name}: expected .*, found [Nn]one"):
        Claim.from_json({n: v for n, v in WHOLE.items() if n != name})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "JSON: expected a whole JSON object"),
        (json.dumps(WHOLE)[:-9], "JSON: expected a whole JSON object"),
        (json.dumps(WHOLE).encode("utf-16"), "JSON: expected a whole JSON object"),
        (b"\xff\xfe\x00", "JSON: expected a whole JSON object"),
        ("[1, 2]", "JSON: expected an object, found a list"),
        ("null", "JSON: expected an object, found a NoneType"),
        ("[" * 100_000, "JSON: expected a whole JSON object"),
        (json.dumps({**WHOLE, "version": 7}).replace("7", "7" * 5000), "JSON"),
    ],
)
def test_a_file_that_is_no_claim_is_refused_in_one_line(
    content: str | bytes, words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "claim.json", content)
    with pytest.raises(InputError) as refused:
        Claim.read(path)
    assert str(refused.value).startswith(f"{path}: {words}")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: file: expected a JSON file, found none"):
        Claim.read(tmp_path / "none.json")
    with pytest.raises(InputError, match="expected a claim file, found a folder"):
        Claim.read(tmp_path)


@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(json.dumps(WHOLE, ensure_ascii=False).encode())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path = write(tmp_path_factory.getbasetemp() / "damaged.json", bytes(whole))
    try:
        Claim.read(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_claim_that_could_not_be_read_again_is_not_made() -> None:
    marks = (ClaimedMark("uchida", {}),) * 16
    assert len(Claim(marks=marks, subject="sha256:none").marks) == 16
    for wrong in ((), (*marks, *marks[:1])):
        with pytest.raises(InputError, match=f"^claim: marks: expected 1 to 16, found {len(wrong)}$"):
            Claim(marks=wrong, subject="sha256:none")
