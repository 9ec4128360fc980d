"""JSON that came from outside: parsed strictly, and each field of the type and in the range it must have.

A check returns the field, or raises an `InputError` that names `where`, field, what was expected and found.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ticket_sig.errors import bad_input

SHOWN = 80  # characters of what was found
_LONG = 20  # digits; Python takes its time over thousands, and refuses more
_T = TypeVar("_T")


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        finite: NaN and numbers beyond all range are none; else they are read, as infinities.

    Raises:
        ValueError: it does not parse, or is nested too deeply.
    """
    try:
        if finite:
            return json.loads(text, parse_constant=_refuse, parse_float=_finite)
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_format(value: Mapping[str, Any], where: object, kind: str, *versions: int) -> None:
    """Checks `format` and `version` of a file of ours; an error says which package wrote it."""
    _checked(value, "format", where, repr(kind), lambda found: found == kind)
    if isinstance(version := value.get("version"), bool) or version not in versions:
        writer = value.get("written_by")
        by = f", written by {writer[:SHOWN]}" if isinstance(writer, str) else ""
        expected, found = " or ".join(map(str, versions)), f"{repr(version)[:SHOWN]}{by}"
        raise bad_input(where, "version", expected, found, hint="use the ticket_sig that wrote it")


def entry(value: Mapping[str, Any], name: str, kind: type[_T], where: object = "claim") -> _T:
    """A field of a type; true is no number here."""
    found = value.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        told = type(found).__name__ if name in value else "none"
        raise bad_input(where, name, kind.__name__, told)
    return found


def number(value: Mapping[str, Any], name: str, most: float, where: object = "claim") -> float:
    """A number from 0 to `most`."""

    def fine(found: object) -> bool:
        return isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found <= most

    return float(_checked(value, name, where, f"a number from 0 to {most:g}", fine))


def whole(value: Mapping[str, Any], name: str, where: object = "claim", least: int | None = None) -> int:
    """A whole number of 63 bits at most, and not less than `least`."""
    low = 1 - 2**63 if least is None else least
    expected = "a whole number" if least is None else f"a whole number of {least} or more"
    found: int = _checked(value, name, where, expected, lambda n: type(n) is int and low <= n < 2**63)
    return found


def hexadecimal(value: Mapping[str, Any], name: str, where: object = "claim", length: int = 0) -> bytes:
    """Bytes as hexadecimal digits: `length` of them, or any number where it is 0."""
    digits = entry(value, name, str, where)
    many = f"{{{2 * length}}}" if length else "*"
    if len(digits) % 2 or not re.fullmatch(f"[0-9a-f]{many}", digits):
        expected = f"{2 * length} hexadecimal digits" if length else "hexadecimal digits"
        raise bad_input(where, name, expected, "something else")
    return bytes.fromhex(digits)


def matching(value: Mapping[str, Any], name: str, pattern: str, where: object = "claim") -> str:
    """A text that a regular expression matches as a whole."""

    def fine(found: object) -> bool:
        return isinstance(found, str) and re.fullmatch(pattern, found) is not None

    return str(_checked(value, name, where, f"text of the form {pattern}", fine))


def image_size(value: Mapping[str, Any], where: object = "claim") -> tuple[int, int, int]:
    """The field `size`: height, width and channels of an image."""

    def fine(found: object) -> bool:
        return isinstance(found, list) and len(found) == 3 and all(type(n) is int for n in found)

    height, width, channels = _checked(value, "size", where, "[height, width, channels]", fine)
    return height, width, channels


def _checked(
    value: Mapping[str, Any], name: str, where: object, expected: str, fine: Callable[[Any], object]
) -> Any:
    found = value.get(name)
    if not fine(found):
        raise bad_input(where, name, expected, repr(found)[:SHOWN])
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:SHOWN])


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONG else float(digits)
