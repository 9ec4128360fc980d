"""JSON that came from outside: parsed strictly, and each field of the type and in the range it must have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ticket_sig.errors import bad_input

SHOWN = 80  # characters of what was found
_T = TypeVar("_T")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; NaN and numbers beyond all range are none.

    Raises:
        ValueError: it does not parse, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_format(value: Mapping[str, Any], where: object, kind: str, *versions: int) -> None:
    """Checks `format` and `version` of a file of ours.

    Raises:
        InputError: another format or version; of a newer one it says which package wrote it.
    """
    if value.get("format") != kind:
        raise bad_input(where, "format", repr(kind), repr(value.get("format"))[:SHOWN])
    if isinstance(version := value.get("version"), bool) or version not in versions:
        writer = value.get("written_by")
        by = f", written by {writer[:SHOWN]}" if isinstance(writer, str) else ""
        expected = " or ".join(map(str, versions))
        hint = "use the ticket_sig that wrote it"
        raise bad_input(where, "version", expected, f"{repr(version)[:SHOWN]}{by}", hint=hint)


def entry(value: Mapping[str, Any], name: str, kind: type[_T], where: object = "claim") -> _T:
    """A field of a type.

    Raises:
        InputError: missing, or of another type (true is no number here).
    """
    found = value.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        told = type(found).__name__ if name in value else "none"
        raise bad_input(where, name, kind.__name__, told)
    return found


def number(value: Mapping[str, Any], name: str, most: float, where: object = "claim") -> float:
    """A field that is a number from 0 to `most`.

    Raises:
        InputError: missing, no number, or out of range.
    """
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= most:
        raise bad_input(where, name, f"a number from 0 to {most:g}", repr(found)[:SHOWN])
    return float(found)


def whole(value: Mapping[str, Any], name: str, where: object = "claim", least: int | None = None) -> int:
    """A field that is a whole number, of 63 bits at most.

    Raises:
        InputError: missing, no whole number, less than `least`, or too large.
    """
    found = value.get(name)
    if type(found) is not int or abs(found) >= 2**63 or (least is not None and found < least):
        expected = "a whole number" if least is None else f"a whole number of {least} or more"
        raise bad_input(where, name, expected, repr(found)[:SHOWN])
    return found


def hexadecimal(value: Mapping[str, Any], name: str, where: object = "claim", length: int = 0) -> bytes:
    """A field that holds bytes as hexadecimal digits.

    Args:
        length: how many bytes; 0: any number.

    Raises:
        InputError: missing, other characters, or another length.
    """
    digits = entry(value, name, str, where)
    many = f"{{{2 * length}}}" if length else "*"
    if len(digits) % 2 or not re.fullmatch(f"[0-9a-f]{many}", digits):
        expected = f"{2 * length} hexadecimal digits" if length else "hexadecimal digits"
        raise bad_input(where, name, expected, "something else")
    return bytes.fromhex(digits)


def matching(value: Mapping[str, Any], name: str, pattern: str, where: object = "claim") -> str:
    """A field that is a text of some form.

    Raises:
        InputError: missing, or of another form.
    """
    found = value.get(name)
    if not isinstance(found, str) or not re.fullmatch(pattern, found):
        raise bad_input(where, name, f"text of the form {pattern}", repr(found)[:SHOWN])
    return found


def image_size(value: Mapping[str, Any], where: object = "claim") -> tuple[int, int, int]:
    """The field `size`: height, width and channels of an image.

    Raises:
        InputError: missing, or no three whole numbers.
    """
    size = value.get("size")
    if not isinstance(size, list) or len(size) != 3 or not all(type(n) is int for n in size):
        raise bad_input(where, "size", "[height, width, channels]", repr(size)[:SHOWN])
    return size[0], size[1], size[2]


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:SHOWN])
