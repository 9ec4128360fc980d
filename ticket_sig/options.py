"""Options declared once: a dataclass field with its help text, its default and its check.

Marks, attacks and scores declare theirs so, and the command line, its help and the error messages come from
the declaration:

    @dataclass(frozen=True, kw_only=True)
    class Noise(Options):
        rate: float = option("Share of the kept weights that move.", check=share)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ticket_sig.errors import bad_input
from ticket_sig.fields import SHOWN

Check = Callable[[str, Any], None]  # name and value of an option; raises InputError
_T = TypeVar("_T")
_hints: Callable[..., Mapping[str, Any]] = cache(get_type_hints)


def option(help: str, *, default: Any = MISSING, check: Check | None = None) -> Any:
    """A field of a dataclass that is an option; without a default it is required.

    Args:
        help: one sentence for people, as `--help` shows it.
        check: called unless the value is None.
    """
    return dataclasses.field(default=default, metadata={"help": help, "check": check})


@dataclass(frozen=True, kw_only=True)
class Options:
    """A set of options, each checked when it is made.

    Raises:
        InputError: a value of another type than its field's, or one that its check refuses.
    """

    def __post_init__(self) -> None:
        hints = types_of(type(self))
        for one in options_of(type(self)):
            value, hint = getattr(self, one.name), hints[one.name]
            if not fits(value, hint):
                raise bad_input("", one.name, in_words(hint), repr(value)[:SHOWN])
            if value is not None and (check := one.metadata["check"]) is not None:
                check(one.name, value)


def types_of(kind: type[Any]) -> Mapping[str, Any]:
    """The types of a dataclass's fields, by name; they are worked out once, and not for every value."""
    return _hints(kind)


def options_of(kind: type[Any]) -> list[Field[Any]]:
    """The options of a class, in order; other fields of a dataclass are none."""
    return [f for f in dataclasses.fields(kind) if "help" in f.metadata]


def made(kind: type[_T], name: str, given: Mapping[str, Any]) -> _T:
    """Makes a set of options from values by name; messages name what they are for.

    Raises:
        InputError: an option that it does not have, one that is missing, or a value out of range.
    """
    known = {f.name: f for f in options_of(kind)}
    if extra := [n for n in given if n not in known]:
        expected = f"options among {', '.join(known)}" if known else "no options"
        raise bad_input("", name, expected, ", ".join(extra))
    if lacking := [n for n, f in known.items() if f.default is MISSING and n not in given]:
        expected = in_words(types_of(kind)[lacking[0]])
        raise bad_input("", flag(lacking[0]), expected, "none", hint=f"{name} needs it")
    return kind(**given)


def one_named(registry: Mapping[str, _T], what: str, name: str) -> _T:
    """The entry of a registry by its name; InputError where there is none of that name."""
    if name not in registry:
        raise bad_input("", what, f"one of {', '.join(registry)}", repr(name)[:SHOWN])
    return registry[name]


def flag(name: str) -> str:
    """An option's name on the command line: `data_file` is `--data-file`."""
    return f"--{name.replace('_', '-')}"


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type: one of a union, a tuple of one type; whole numbers are floats."""
    if isinstance(hint, UnionType):
        return any(fits(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(v, get_args(hint)[0]) for v in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def in_words(hint: Any) -> str:
    """A field's type for a message."""
    if isinstance(hint, UnionType):
        return " or ".join(in_words(one) for one in get_args(hint))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(
        hint, "none" if hint is type(None) else getattr(hint, "__name__", str(hint))
    )


def _checked(fine: Callable[[Any], bool], expected: str, shown: Callable[[Any], str] = str) -> Check:
    def check(name: str, value: Any) -> None:
        if not fine(value):
            raise bad_input("", name, expected, shown(value)[:SHOWN])

    return check


share = _checked(lambda value: 0 < value < 1, "a share between 0 and 1, without both")
positive = _checked(lambda value: 0 < value < math.inf, "a finite number more than 0")
one_or_more = _checked(lambda value: value >= 1, "1 or more")


def not_blank(name: str, value: str) -> None:
    """A check for a text: it is not of blanks alone."""
    if value.isspace():
        raise bad_input("", name, "a text", "blanks alone")


def unicode_text(name: str, value: str) -> bytes:
    """A text in UTF-8; refuses bytes of the command line that are none."""
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise bad_input("", name, "Unicode text", f"{value[error.start]!r} in it") from None


def above_0(most: float) -> Check:
    """A check for numbers above 0, and up to `most`."""
    return _checked(lambda value: 0 < value <= most, f"a number above 0, at most {most:g}")


def within(low: float, high: float) -> Check:
    """A check for numbers from `low` to `high`, both included."""
    return _checked(lambda value: low <= value <= high, f"{low:g} to {high:g}")


def one_of(choices: Iterable[str]) -> Check:
    """A check for a text that is one of some."""
    known = tuple(choices)
    return _checked(lambda value: value in known, f"one of {', '.join(known)}", shown=repr)
