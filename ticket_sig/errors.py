"""The one error a user can cause: it says where, which field, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NAMED_AT_MOST = 8  # of many names or problems in one message
_LONGEST = 1000  # characters of a part of a message: a text from a file may have millions


class InputError(ValueError):
    """Something the caller handed in cannot be used; the message is one line and names it.

    The command line prints the message and leaves with exit code 2.

    Attributes:
        named: whether the message begins with the file it is about.
    """

    def __init__(self, message: str, *, named: bool = False) -> None:
        super().__init__(message)
        self.named = named


class NotThere(InputError):
    """A suspect has no tensor of the name or shape that a mark names: whoever made it may have seen to that.

    `verify` then says "not verified", with the message as the reason.
    """


def bad_input(where: object, field: str, expected: str, found: str, *, hint: str = "") -> InputError:
    """Returns the error `WHERE: FIELD: expected E, found F; HINT` (WHERE and HINT may be empty)."""
    head = f"{where}: {_cut(field)}" if str(where) else _cut(field)
    tail = f"; {hint}" if hint else ""
    message = " ".join(f"{head}: expected {_cut(expected)}, found {_cut(found)}{tail}".split())
    return InputError(message, named=isinstance(where, Path))


def not_there(where: object, field: str, expected: str, found: str, *, hint: str = "") -> NotThere:
    """Returns the same as `NotThere`."""
    return NotThere(str(bad_input(where, field, expected, found, hint=hint)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def some(found: Sequence[str], separator: str = ", ", at_most: int = NAMED_AT_MOST) -> str:
    """The first of many, and how many more there are."""
    before = " " if separator == ", " else separator
    more = f"{before}and {len(found) - at_most} more" if len(found) > at_most else ""
    return separator.join(found[:at_most]) + more


def refuse(where: object, problems: Iterable[str]) -> None:
    """Raises one error that lists the problems, the first of many; does nothing where there are none."""
    if listed := some(list(problems), "; "):
        raise InputError(f"{where}: {listed}", named=isinstance(where, Path))


@contextmanager
def about(where: object) -> Iterator[None]:
    """Puts the name of a file before the message of an InputError from the block, unless it has one.

    Args:
        where: the file, or what the message may begin with already, and is not said twice.
    """
    try:
        yield
    except InputError as error:
        if error.named:
            raise
        kind = NotThere if isinstance(error, NotThere) else InputError
        raise kind(f"{where}: {str(error).removeprefix(f'{where}: ')}", named=True) from None


def needs_extra(package: str, extra: str, what: str) -> InputError:
    """Returns the error for an optional dependency that is not installed."""
    return bad_input("", what, f"the package {package}", "none", hint=f"pip install 'ticket-sig[{extra}]'")
