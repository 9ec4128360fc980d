"""The claim file: what was written is read back, and anything else is refused in one line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import Claim, InputError
from ticket_sig.files import write_json

WHOLE = Claim(scheme="scheme 2", signature={"message": "жук"}, subject="sha256:00").to_json()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@settings(deadline=None)
@given(
    scheme=st.text(max_size=80),
    signature=st.dictionaries(st.text(), st.text() | st.integers()),
    subject=st.text(),
    created=st.text(),
)
def test_comes_back_from_json(scheme: str, signature: dict[str, object], subject: str, created: str) -> None:
    claim = Claim(scheme=scheme, signature=signature, subject=subject, created=created)
    assert Claim.from_json(json.loads(json.dumps(claim.to_json()))) == claim


def test_comes_back_from_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "claim.json", WHOLE)
    assert Claim.read(tmp_path / "claim.json").to_json() == WHOLE
    assert Claim.read(str(tmp_path / "claim.json")).signature["message"] == "жук"


def test_is_dated_when_it_is_made() -> None:
    created = datetime.fromisoformat(Claim(scheme="s", signature={}, subject="s").created)
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=1)


def test_a_field_of_a_later_version_does_not_disturb() -> None:
    assert Claim.from_json({**WHOLE, "note": "later"}).to_json() == WHOLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "a cake"}, "claim: format: expected 'ticket_sig claim', found 'a cake'"),
        ({"format": None}, "claim: format: expected 'ticket_sig claim', found None"),
        ({"version": 2}, "claim: version: expected 1, found 2; use the ticket_sig that wrote it"),
        ({"version": "1"}, "claim: version: expected 1, found '1'"),
        ({"scheme": 2}, "claim: scheme: expected str, found int"),
        ({"scheme": "s" * 81}, "claim: scheme: expected at most 80 characters, found 81"),
        ({"signature": "text"}, "claim: signature: expected dict, found str"),
        ({"subject": None}, "claim: subject: expected str, found NoneType"),
        ({"created": 2024}, "claim: created: expected str, found int"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    write_json(path, {**WHOLE, **change})
    with pytest.raises(InputError) as refused:
        Claim.read(path)
    assert str(refused.value).startswith(f"{path}: {words}")


@pytest.mark.parametrize("name", ["format", "version", "scheme", "accuracy"])
@pytest.mark.parametrize("found", ["x" * 10**6, ["x" * 10**6]])
def test_a_field_of_any_length_gives_a_short_line(name: str, found: object) -> None:
    with pytest.raises(InputError, match=f"claim: {name}: expected") as refused:
        Claim.from_json({**WHOLE, name: found})
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", WHOLE)
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
    with pytest.raises(InputError, match="expected a JSON file"):
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
