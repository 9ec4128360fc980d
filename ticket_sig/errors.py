"""The one error a user can cause: it says where, which field, what was expected and what was found."""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller handed in cannot be used; the message is one line and names it.

    The command line prints the message and leaves with exit code 2.
    """


def bad_input(where: object, field: str, expected: str, found: str, *, hint: str = "") -> InputError:
    """Returns the error `WHERE: FIELD: expected E, found F; HINT` (WHERE and HINT may be empty)."""
    head = f"{where}: {field}" if str(where) else field
    tail = f"; {hint}" if hint else ""
    return InputError(" ".join(f"{head}: expected {expected}, found {found}{tail}".split()))


def needs_extra(package: str, extra: str, what: str) -> InputError:
    """Returns the error for an optional dependency that is not installed."""
    return bad_input("", what, f"the package {package}", "none", hint=f"pip install 'ticket-sig[{extra}]'")
