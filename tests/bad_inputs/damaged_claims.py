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
from support.tickets import sparse_ticket

from bad_inputs.case import Topic
from bad_inputs.inputs import fixture, plain, shown
from ticket_sig import Claim, load
from ticket_sig.marks import MARKS, Nct, Uchida, Watermark, claim_of
from ticket_sig.marks.carrier import Carrier, CarrierOptions
from ticket_sig.marks.key_mask.split import split
from ticket_sig.marks.nct.mark import NctOptions

topic = Topic("damaged claim")
_NET = {"a.weight": torch.ones(40, 30)}
_SCHEMES = {
    "key-mask": "scheme 1: key mask",
    "qr-code": "scheme 2: QR code in a kernel map",
    "trigger-set": "scheme 3: trigger set",
}
_GONE = object()
Json = dict[str, Any]
Steps = tuple[str | int, ...]


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
    if issubclass(kind := MARKS[mark], Carrier):
        made = kind.make(sparse_ticket(), CarrierOptions(message="mine"), bytes(32))
        return claim_of([made], sparse_ticket().weights)
    if mark == "freezenet":
        return claim_of([Watermark(b"mine", 50, manifest={"a.weight": (40, 30)})], _NET)
    if mark == "nct":
        net = {"a.weight": torch.randn(40, 30, generator=torch.Generator().manual_seed(0))}
        return claim_of([Nct.make(net, NctOptions(random=20, hidden=4), bytes(32))], _NET)
    return claim_of([Uchida([True, False] * 10, "a.weight", (40, 30), secret=bytes(32))], _NET)


def _whole(mark: str, version: int) -> Json:
    """It as JSON of a version, and as `_fields` has it."""
    value = deepcopy(_written(mark).to_json())
    if version == 1:
        del value["written_by"]
        [one] = value.pop("marks")
        fields = {"triggers": one["fields"]} if mark == "trigger-set" else one["fields"]
        value |= {"version": 1, "scheme": _SCHEMES.get(mark, mark), "signature": fields}
    return value


def _fields(mark: str, version: int) -> Steps:
    """Where the fields of its mark are."""
    if version == 2:
        return "marks", 0, "fields"
    return ("signature", "triggers") if mark == "trigger-set" else ("signature",)


def _at(value: Any, steps: Steps) -> Any:
    for step in steps:
        value = value[step]
    return value


def _below(value: Json, steps: Steps) -> Iterator[Steps]:
    """Every field, and those of objects in it."""
    for name, one in _at(value, steps).items():
        yield *steps, name
        if isinstance(one, dict) and name != "manifest":  # its names are tensors
            yield from _below(value, (*steps, name))


def _changed(value: Json, steps: Steps, new: object) -> Json:
    """It with something else in one place."""
    value = deepcopy(value)
    holder = _at(value, steps[:-1])
    holder[steps[-1]] = new
    if new is _GONE:
        del holder[steps[-1]]
    return value


def _read(folder: Path, mark: str, text: str) -> list[Any]:
    """Has a claim of this text read by the verb that its mark is verified with."""
    if mark == "trigger-set":
        arguments = ["ask", "--url", "http://127.0.0.1:1", "--model", "mine", *shown(folder)]
    else:
        of_mask = mark in ("qr-code", "key-mask")
        model = fixture(folder, "state.pt") if of_mask else plain(folder, "net.safetensors", _NET)
        arguments = ["verify", model, "--claim", folder / "claim.json"]
    (folder / "claim.json").write_text(text)
    return [*arguments, "--key", folder / "key.safetensors"] if mark == "key-mask" else arguments


def _enter(name: str, mark: str, value: Json, *says: str, text: Callable[[str], str] = str) -> None:
    topic.enter(name, lambda folder: _read(folder, mark, text(json.dumps(value))), "claim.json: ", *says)


def _named(new: object) -> str:
    return "gone" if new is _GONE else f"= {str(new)[:30]}"


# Every field of every mark, and of the claim itself.
for _version in (1, 2):
    for _mark in MARKS:
        for _steps in _below(_whole(_mark, _version), _fields(_mark, _version)):
            for _new in (_GONE, None, [], 0.5):
                if (_steps[-1], _new) == ("strength", 0.5):
                    continue  # it may be so
                _enter(
                    f"version {_version}, {_mark}: {_steps[-1]} {_named(_new)}",
                    _mark,
                    _changed(_whole(_mark, _version), _steps, _new),
                    f"{_steps[-1]}: expected ",
                )
    for _name in _whole("qr-code", _version):
        for _new in (
            _GONE,
            None,
            5,
            *([] if _name in ("subject", "created", "written_by") else ["x" * 10**6]),
        ):
            _enter(
                f"version {_version}: {_name} {_named(_new)}",
                "qr-code",
                _changed(_whole("qr-code", _version), (_name,), _new),
                f"claim: {_name}: expected ",
            )
    for _new in ("90", -1, 101, True, 10**30, []):
        _enter(
            f"version {_version}: accuracy = {_new!r}",
            "qr-code",
            {**_whole("qr-code", _version), "accuracy": _new},
            "claim: accuracy: expected a number from 0 to 100, found ",
        )
    for _text, _says in {
        "NaN": "NaN is no JSON number",
        "-Infinity": "-Infinity is no JSON number",
        "1e999": "1e999 is no JSON number",
        "9" * 5000: "5000 digits",
        "[" * 10**5 + "]" * 10**5: "it is nested too deeply",
        '{"a": ' * 10**5 + "1" + "}" * 10**5: "it is nested too deeply",
    }.items():
        _enter(
            f"version {_version}: accuracy {_text[:12]}",
            "qr-code",
            {**_whole("qr-code", _version), "accuracy": 12345},
            "JSON: expected a whole JSON object, found text that does not parse (",
            _says,
            text=lambda text, new=_text: text.replace("12345", new),  # type: ignore[misc]
        )

_OUT_OF_RANGE: dict[str, tuple[tuple[str, object, str], ...]] = {
    "qr-code": (
        ("qr.version", 0, "QR version: expected 1 to 40, found 0"),
        ("qr.level", "X", "QR level: expected L, M, Q or H, found 'X'"),
        ("qr.level", "x" * 10**6, f"QR level: expected L, M, Q or H, found '{'x' * 999}..."),
        ("qr.digest", "x" * 10**6, f"digest of the code: expected {'x' * 1000}..., found sha256:"),
        ("qr.data_mask", 8, "data_mask: expected 0 to 7, found 8"),
        ("qr.eci", 3, "eci: expected 26 (UTF-8), or no such field, found 3"),
        # It was written without a header, which takes room.
        (
            "qr.eci",
            26,
            "message: expected at most 6 bytes in version 1, level H, found 7, which takes version 2",
        ),
        *(
            ("qr.eci", new, f"eci: expected a whole number, found {new!r}")
            for new in (True, None, 26.0, "26")
        ),
        ("qr.digest", "sha256:0", "digest of the code: expected sha256:0, found sha256:"),
        ("placement.row", 10**30, f"row: expected a whole number of 0 or more, found {10**30}"),
        ("placement.row", -3, "row: expected a whole number of 0 or more, found -3"),
        ("placement.column", -1, "column: expected a whole number of 0 or more, found -1"),
        ("placement.row", 99, "placement: expected a region of the 22x22 kernels of "),
        ("placement.shape", [22], "shape: expected two or more positive whole numbers, found [22]"),
        ("placement.shape", [22, 0], "shape: expected two or more positive whole numbers, found [22, 0]"),
        ("message", "", "message: expected at least one character, found none"),
        ("message", "x" * 10**5, "message: expected at most 1273 bytes at level H, found 100000"),
    ),
    "key-mask": (
        ("kept_key", 10**30, f"kept_key: expected a whole number of 0 or more, found {10**30}"),
        ("kept_locked", -1, "kept_locked: expected a whole number of 0 or more, found -1"),
    ),
    "trigger-set": (
        ("count", 0, "count: expected 1 to 100000, found 0"),
        ("count", 10**18, f"count: expected 1 to 100000, found {10**18}"),
        ("size", [0, 8, 1], "size: expected sides of 1 to 1024 and 1, 2, 3, 4 channels, found [0, 8, 1]"),
        ("size", [8, 8, 1, 1], "size: expected [height, width, channels], found [8, 8, 1, 1]"),
        ("classes", 1, "classes: expected 2 to 1000000, found 1"),
    ),
    "freezenet": (
        ("data", "", "freezenet: data: expected 1 byte or more, found none"),
        ("data", "abc", "data: expected hexadecimal digits, found something else"),
        ("length", -1, "length: expected a whole number of 0 or more, found a negative one"),
        ("length", 10**18, f"length: expected at most 33554432, found {10**18}"),
        ("manifest", {}, "network: expected trainable parameters, found none"),
        ("manifest", {"a": "wide"}, "manifest, a: expected a shape, found 'wide'"),
        ("manifest", {"a": [2**48]}, f"manifest, a: expected a shape, found [{2**48}]"),
        ("manifest", {"a": [1] * 65}, "manifest, a: expected a shape, found [1, 1, "),
    ),
    "uchida": (
        ("key", "00", "key: expected 64 hexadecimal digits, found something else"),
        ("payload", "", "payload: expected 1 to 8192 bits, found 0"),
        ("payload", "012", "payload: expected digits 0 and 1, found '012'"),
        ("payload", "0" * 10**6, "payload: expected 1 to 8192 bits, found 1000000"),
        ("layer", "", "layer: expected the name of a tensor, found ''"),
        ("shape", [1200], "shape: expected 2 or more sizes of 1 or more, found (1200,)"),
        (
            "shape",
            [40, 3],
            "capacity: expected at least 20 weights in a filter of a.weight, one a bit, found 3",
        ),
        ("shape", [2, 2**40], f"payload: expected at most 0 bits in a filter of {2**40}, found 20"),
        ("strength", 0, "strength: expected a finite number above 0, found 0.0"),
        ("strength", 1e31, "strength: expected a number from 0 to 1.26765e+30, found 1e+31"),
    ),
    "nct": (
        ("secret", "0", "secret: expected hexadecimal digits, found something else"),
        ("payload", "", "payload: expected 1 to 8192 bits, found 0"),
        ("payload", "0" * 10**6, "payload: expected 1 to 8192 bits, found 1000000"),
        ("layer", "", "layer: expected the name of a tensor, found ''"),
        ("shape", [1200], "shape: expected 2 or more sizes of 1 or more, found (1200,)"),
        (
            "shape",
            [40, 20],
            "shape of a.weight: expected at least 1200 weights, 60 for each of 20 bits, found 800",
        ),
        ("shape", [2, 2**50], f"shape: expected 2 or more sizes of 1 or more, found (2, {2**50})"),
        ("per_bit", 257, "per_bit: expected 8 to 256, found 257"),
        ("per_bit", 59, "classifier: expected 240 bytes for each of 1 to 256 hidden units, found 976 bytes"),
        ("classifier", "", "classifier: expected 244 bytes for each of 1 to 256 hidden units, found 0 bytes"),
        ("classifier", "00" * 244 * 257, "of 1 to 256 hidden units, found 62708 bytes"),
        ("classifier", "0000c07f" * 61, "classifier: expected finite numbers, found 61 that are not"),
        ("classifier", "0" * 10**6, "of 1 to 256 hidden units, found 500000 bytes"),
    ),
}
for _mark, _table in _OUT_OF_RANGE.items():
    for _name, _new, _says in _table:
        _enter(
            f"{_mark}: {_name} = {repr(_new)[:30]}, {len(str(_new))} characters",
            _mark,
            _changed(_whole(_mark, 2), (*_fields(_mark, 2), *_name.split(".")), _new),
            _says,
        )

_CODE = _whole("qr-code", 2)["marks"][0]
_UNKNOWN = {"mark": "halo", "fields": {}}
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
    ("an unknown mark", [_UNKNOWN], f"{_KNOWN}'halo', written by ticket_sig 9.9"),
    ("an unknown mark beside a code", [_CODE, _UNKNOWN], f"{_KNOWN}'halo', written by ticket_sig 9.9"),
    ("a damaged mark beside a code", [_CODE, {"mark": "uchida", "fields": {}}], "payload: expected str, "),
):
    _value = {**_whole("qr-code", 2), "marks": _marks, "written_by": "ticket_sig 9.9"}
    _enter(f"version 2, {_name}", "qr-code", _value, _says)

_enter(
    "version 3",
    "qr-code",
    {**_whole("qr-code", 2), "version": 3, "written_by": "ticket_sig 9.9"},
    "version: expected 1 or 2, found 3, written by ticket_sig 9.9; use the ticket_sig that wrote it",
)

# Triggers of version 1, which stood beside another mark.
for _name, _new, _verified, _says in (
    ("triggers", _GONE, "trigger-set", "triggers: expected dict, found none"),
    ("triggers", [], "trigger-set", "triggers: expected dict, found list"),
    ("beside", "code", "trigger-set", "beside: expected dict, found str"),
    ("beside", {"signature": {}}, "trigger-set", "scheme: expected str, found none"),
    ("beside", {"scheme": "a"}, "trigger-set", "signature: expected dict, found none"),
    ("beside", {"scheme": _SCHEMES["qr-code"], "signature": {}}, "qr-code", "qr: expected dict, found none"),
    ("beside", {"scheme": "b", "signature": {}}, "qr-code", f"{_KNOWN}'b', written by ticket_sig 0.1"),
):
    _enter(
        f"version 1, signature of triggers: {_name} {_named(_new)}",
        _verified,
        _changed(_whole("trigger-set", 1), ("signature", _name), _new),
        _says,
    )
