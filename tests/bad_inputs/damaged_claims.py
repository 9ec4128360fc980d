"""Claims of both versions with a field that is missing, of another type, out of range, or too much of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from support import taught
from support.make_fixtures import FIXTURES

from bad_inputs.case import Topic
from bad_inputs.inputs import fixture, plain, shown
from ticket_sig import Claim, load
from ticket_sig.marks import MARKS, Uchida, Watermark, claim_of
from ticket_sig.marks.key_mask.split import split

topic = Topic("damaged claim")
_NET = {"a.weight": torch.ones(40, 30)}
_SCHEMES = {
    "key-mask": "scheme 1: key mask",
    "qr-code": "scheme 2: QR code in a kernel map",
    "trigger-set": "scheme 3: trigger set",
}
Json = dict[str, Any]
Damage = Callable[[Json], object]


@cache
def _written(mark: str) -> Claim:
    """A whole claim on one mark."""
    if mark == "qr-code":
        return Claim.read(FIXTURES / "bundle-v1-signed" / "claim.json")
    if mark == "trigger-set":
        return taught.claim()
    if mark == "key-mask":
        ticket = load(FIXTURES / "bundle-v1").ticket
        return split(ticket, 0.05, {name: ticket.weights[name].abs() for name in ticket.mask}).claim
    weights = {"freezenet": Watermark(b"mine", 50, manifest={"a.weight": (40, 30)}), "uchida": _bits()}
    return claim_of([weights[mark]], _NET)


def _bits() -> Uchida:
    return Uchida([True, False] * 10, "a.weight", (40, 30), key=bytes(32))


def _of_version_2(mark: str) -> Json:
    return deepcopy(_written(mark).to_json())


def _of_version_1(mark: str) -> Json:
    value = _of_version_2(mark)
    del value["written_by"]
    [one] = value.pop("marks")
    fields = {"triggers": one["fields"]} if mark == "trigger-set" else one["fields"]
    return {**value, "version": 1, "scheme": _SCHEMES.get(mark, mark), "signature": fields}


def _read(folder: Path, mark: str, text: str) -> list[Any]:
    """Has a claim of this text read by the verb that its mark is verified with."""
    if mark == "trigger-set":
        arguments = ["ask", "--url", "http://127.0.0.1:1", "--model", "mine", *shown(folder)]
    elif mark in ("qr-code", "key-mask"):
        arguments = ["verify", fixture(folder, "state.pt"), "--claim", folder / "claim.json"]
    else:
        model = plain(folder, "net.safetensors", _NET)
        arguments = ["verify", model, "--claim", folder / "claim.json"]
    (folder / "claim.json").write_text(text)
    return [*arguments, "--key", folder / "key"] if mark == "key-mask" else arguments


def _enter(name: str, mark: str, value: Json, *says: str, text: Callable[[str], str] = str) -> None:
    topic.enter(name, lambda folder: _read(folder, mark, text(json.dumps(value))), "claim.json: ", *says)


def _holders(value: Json) -> Iterator[tuple[Json, str]]:
    """Every field of a mark, with the object that holds it."""
    for name, one in value.items():
        yield value, name
        if isinstance(one, dict) and name != "manifest":  # its names are tensors
            yield from _holders(one)


def _fields_of(mark: str, value: Json) -> Json:
    if "marks" in value:
        found = value["marks"][0]["fields"]
    else:
        found = value["signature"]["triggers"] if mark == "trigger-set" else value["signature"]
    assert isinstance(found, dict)
    return found


# Every field of every mark, in both versions.
for _version, _make in ((1, _of_version_1), (2, _of_version_2)):
    for _mark in MARKS:
        for _index, (_, _name) in enumerate(_holders(_fields_of(_mark, _make(_mark)))):
            _value = _make(_mark)
            _holder, _ = list(_holders(_fields_of(_mark, _value)))[_index]
            del _holder[_name]
            _enter(f"{_mark} of version {_version} without {_name}", _mark, _value, f"{_name}: expected ")
            for _other in (None, [], 0.5):
                _value = _make(_mark)
                _holder, _ = list(_holders(_fields_of(_mark, _value)))[_index]
                if _name == "strength" and _other == 0.5 or _name == "shape" and _other == []:
                    continue
                _holder[_name] = _other
                _case = f"{_mark} of version {_version} with {_name} = {_other}"
                _enter(_case, _mark, _value, f"{_name}: expected ")

# What the claim itself says, in both versions.
for _version, _make in ((1, _of_version_1), (2, _of_version_2)):
    for _name in _make("qr-code"):
        _value = _make("qr-code")
        del _value[_name]
        _enter(f"version {_version} without {_name}", "qr-code", _value, f"claim: {_name}: expected ")
        for _other in (None, 5, "x" * 10**6):
            if isinstance(_other, str) and _name in ("subject", "created", "written_by"):
                continue  # any text will do
            _value = {**_make("qr-code"), _name: _other}
            _case = f"version {_version} with {_name} = {str(_other)[:5]}"
            _enter(_case, "qr-code", _value, f"claim: {_name}: expected ")
    for _other in ("90", -1, 101, True, 10**30, []):
        _value = {**_make("qr-code"), "accuracy": _other}
        _case = f"version {_version} with accuracy = {_other!r}"
        _enter(_case, "qr-code", _value, "claim: accuracy: expected a number from 0 to 100, found ")
    for _text in ("NaN", "-Infinity", "1e999", "9" * 5000):
        _enter(
            f"version {_version} with accuracy = {_text[:9]}",
            "qr-code",
            {**_make("qr-code"), "accuracy": 12345},
            "JSON: expected a whole JSON object, found text that does not parse (",
            text=lambda text, new=_text: text.replace("12345", new),  # type: ignore[misc]
        )
    for _open, _close in (("[", "]"), ('{"a": ', "}")):
        _enter(
            f"version {_version} nested 100,000 times in {_open[0]}",
            "qr-code",
            {**_make("qr-code"), "more": 12345},
            "JSON: expected a whole JSON object, found text that does not parse (it is nested too deeply)",
            text=lambda text, o=_open, c=_close: text.replace("12345", o * 10**5 + "1" + c * 10**5),  # type: ignore[misc]
        )


def _damaged(mark: str, damage: Damage) -> Json:
    """A claim of version 2 whose mark was changed."""
    value = _of_version_2(mark)
    damage(_fields_of(mark, value))
    return value


for _mark, _name, _change, _says in (
    ("qr-code", "QR version 0", {"qr": {"version": 0}}, "QR version: expected 1 to 40, found 0"),
    ("qr-code", "level X", {"qr": {"level": "X"}}, "QR level: expected L, M, Q or H, found 'X'"),
    ("qr-code", "data mask 8", {"qr": {"data_mask": 8}}, "data_mask: expected 0 to 7, found 8"),
    (
        "qr-code",
        "another digest",
        {"qr": {"digest": "sha256:0"}},
        "digest of the code: expected sha256:0, found",
    ),
    (
        "qr-code",
        "row of 31 digits",
        {"placement": {"row": 10**30}},
        "row: expected a whole number, found 1000",
    ),
    (
        "qr-code",
        "one dimension",
        {"placement": {"shape": [22]}},
        "shape: expected two or more positive whole",
    ),
    (
        "qr-code",
        "a side of 0",
        {"placement": {"shape": [22, 0]}},
        "shape: expected two or more positive whole",
    ),
    ("qr-code", "no message", {"message": ""}, "message: expected at least one character, found none"),
    (
        "qr-code",
        "a novel",
        {"message": "x" * 10**5},
        "message: expected at most 1273 bytes at level H, found",
    ),
    (
        "key-mask",
        "numbers of 31 digits",
        {"kept_key": 10**30},
        "kept_key: expected a whole number, found 1000",
    ),
    ("trigger-set", "no images", {"count": 0}, "count: expected 1 to 100000, found 0"),
    (
        "trigger-set",
        "10^18 images",
        {"count": 10**18},
        "count: expected 1 to 100000, found 1000000000000000000",
    ),
    (
        "trigger-set",
        "images of no size",
        {"size": [0, 8, 1]},
        "size: expected sides of 1 to 1024 and 1, 2, 3, 4",
    ),
    (
        "trigger-set",
        "a fourth side",
        {"size": [8, 8, 1, 1]},
        "size: expected [height, width, channels], found",
    ),
    ("trigger-set", "one class", {"classes": 1}, "classes: expected 2 to 1000000, found 1"),
    ("freezenet", "no data", {"data": ""}, "freezenet: data: expected 1 byte or more, found none"),
    ("freezenet", "half a byte", {"data": "abc"}, "data: expected hexadecimal digits, found something else"),
    (
        "freezenet",
        "a length below 0",
        {"length": -1},
        "length: expected a whole number of 0 or more, found a neg",
    ),
    (
        "freezenet",
        "10^18 values",
        {"length": 10**18},
        "length: expected at most 33554432, found 100000000000000",
    ),
    (
        "freezenet",
        "values for no network",
        {"manifest": {}},
        "network: expected trainable parameters, found none",
    ),
    ("freezenet", "no shape", {"manifest": {"a": "wide"}}, "manifest, a: expected a shape, found 'wide'"),
    (
        "freezenet",
        "a side of 2^48",
        {"manifest": {"a": [2**48]}},
        "manifest, a: expected a shape, found [281474",
    ),
    (
        "freezenet",
        "65 sides",
        {"manifest": {"a": [1] * 65}},
        "manifest, a: expected a shape, found [1, 1, 1, 1",
    ),
    ("uchida", "a short key", {"key": "00"}, "uchida: key: expected 32 bytes, found 1"),
    ("uchida", "no bits", {"payload": ""}, "payload: expected 1 to 8192 bits, found 0"),
    ("uchida", "digits from 0 to 2", {"payload": "012"}, "payload: expected digits 0 and 1, found '012'"),
    ("uchida", "a million bits", {"payload": "0" * 10**6}, "payload: expected 1 to 8192 bits, found 1000000"),
    ("uchida", "a layer of no name", {"layer": ""}, "layer: expected the name of a tensor, found ''"),
    (
        "uchida",
        "one dimension",
        {"shape": [1200]},
        "shape: expected 2 or more sizes of 1 or more, found (1200,)",
    ),
    (
        "uchida",
        "less room than bits",
        {"shape": [40, 3]},
        "capacity: expected at least 20 weights in a filter of",
    ),
    (
        "uchida",
        "room beyond memory",
        {"shape": [2, 2**40]},
        "payload: expected at most 0 bits in a filter of 10",
    ),
    ("uchida", "a strength of 0", {"strength": 0}, "strength: expected a finite number above 0, found 0.0"),
    (
        "uchida",
        "a strength of 10^31",
        {"strength": 1e31},
        "strength: expected a number from 0 to 1.26765e+30, fou",
    ),
):

    def _changed(fields: Json, change: Json) -> None:
        for name, new in change.items():
            fields[name] = fields[name] | new if isinstance(new, dict) and name != "manifest" else new

    _enter(
        f"{_mark} with {_name}",
        _mark,
        _damaged(_mark, lambda fields, change=_change: _changed(fields, change)),  # type: ignore[misc]
        _says,
    )


_CODE = _of_version_2("qr-code")["marks"][0]
_OTHER = {"mark": "nct", "fields": {}}
_KNOWN = f"mark: expected one of {', '.join(MARKS)}, found "

for _name, _marks, _says in (
    ("no marks", [], "marks: expected 1 to 16 objects, found 0"),
    ("1000 marks", [_CODE] * 1000, "marks: expected 1 to 16 objects, found 1000"),
    ("a mark that is a text", [_CODE, "qr-code"], "marks: expected 1 to 16 objects, found a str"),
    ("a mark without a name", [{"fields": _CODE["fields"]}], "mark: expected str, found none"),
    ("a mark whose name is a number", [_CODE | {"mark": 2}], "mark: expected str, found int"),
    ("a mark of a long name", [_CODE | {"mark": "x" * 81}], "mark: expected at most 80 characters, found 81"),
    ("a mark of two lines", [_CODE | {"mark": "a\nb\x1b[2J"}], rf"{_KNOWN}'a\nb\x1b[2J', written by "),
    ("a mark without fields", [{"mark": "qr-code"}], "fields: expected dict, found none"),
    ("fields that are a list", [{"mark": "qr-code", "fields": []}], "fields: expected dict, found list"),
    ("an unknown mark", [_OTHER], f"{_KNOWN}'nct', written by ticket_sig 9.9"),
    ("an unknown mark beside a code", [_CODE, _OTHER], f"{_KNOWN}'nct', written by ticket_sig 9.9"),
    (
        "a damaged mark beside a code",
        [_CODE, {"mark": "uchida", "fields": {}}],
        "payload: expected str, found",
    ),
):
    _value = {**_of_version_2("qr-code"), "marks": _marks, "written_by": "ticket_sig 9.9"}
    _enter(f"version 2 with {_name}", "qr-code", _value, _says)

_enter(
    "version 3",
    "qr-code",
    {**_of_version_2("qr-code"), "version": 3, "written_by": "ticket_sig 9.9"},
    "version: expected 1 or 2, found 3, written by ticket_sig 9.9; use the ticket_sig that wrote it",
)

_TAUGHT = _of_version_1("trigger-set")["signature"]
_SCHEME_2 = {"scheme": _SCHEMES["qr-code"], "signature": {}}
for _name, _signature, _says in (
    ("without triggers", {}, "triggers: expected dict, found none"),
    ("with a list of triggers", {"triggers": []}, "triggers: expected dict, found list"),
    ("beside a text", _TAUGHT | {"beside": "code"}, "beside: expected dict, found str"),
    ("beside no scheme", _TAUGHT | {"beside": {"signature": {}}}, "scheme: expected str, found none"),
    ("beside no signature", _TAUGHT | {"beside": {"scheme": "a"}}, "signature: expected dict, found none"),
):
    _value = {**_of_version_1("trigger-set"), "signature": _signature}
    _enter(f"version 1, triggers {_name}", "trigger-set", _value, _says)

for _name, _signature, _says in (
    ("a damaged code", _TAUGHT | {"beside": _SCHEME_2}, "qr: expected dict, found none"),
    (
        "scheme 9",
        _TAUGHT | {"beside": {"scheme": "scheme 9", "signature": {}}},
        f"{_KNOWN}'scheme 9', written by",
    ),
):
    _value = {**_of_version_1("trigger-set"), "signature": _signature}
    _enter(f"version 1, triggers beside {_name}, read in weights", "qr-code", _value, _says)
