"""Which methods an evaluation is of: named, all, or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ticket_sig.errors import bad_input
from ticket_sig.evaluation.method import Method
from ticket_sig.evaluation.methods import METHODS, method
from ticket_sig.evaluation.settings import ALL


def method_names(names: Sequence[str], plugin: Path | None = None) -> tuple[str, ...]:
    """The names, `all` written out, and that of a plug-in, which is its file's; each once.

    Raises:
        InputError: there are none.
    """
    every = [one for name in names for one in (METHODS if name == ALL else [name])]
    found = tuple(dict.fromkeys([*every, *([plugin.stem] if plugin else [])]))
    if not found:
        raise bad_input("", "METHOD", f"{ALL}, or some of {', '.join(METHODS)}; or a --plugin", "none")
    return found


def methods_named(names: Sequence[str], plugin: Path | None = None) -> list[Method]:
    """Methods by name; errors as of `method`."""
    return [method(name, plugin) for name in names]
