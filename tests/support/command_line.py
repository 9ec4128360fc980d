"""The command line, run in this process, and what runs it in one of its own."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import NamedTuple

from ticket_sig.cli.app import main

# What is run here, as a process of its own.
PROGRAM = (sys.executable, "-c", "from ticket_sig.cli.app import main; main()")
# A ticket of digits within seconds.
FIND = ("find", "--preset", "demo", "--epochs", 1, "--rounds", 1, "--rate", 0.5)


class Outcome(NamedTuple):
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run(arguments: Sequence[object], during: AbstractContextManager[object] | None = None) -> Outcome:
    """Runs a command while `during` holds: a full disk, a lock.

    Raises:
        AssertionError: it came back without an exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), _warnings_as_users_see_them():
        try:
            with during or nullcontext():
                main([str(a) for a in arguments])
        except SystemExit as left:
            return Outcome(int(left.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command came back without an exit code")


def done(arguments: Sequence[object]) -> None:
    """Runs a command that must succeed: what comes before the test."""
    outcome = run(arguments)
    assert outcome.code == 0, outcome.err


@contextmanager
def _warnings_as_users_see_them() -> Iterator[None]:
    """Prints warnings on stderr as Python does by itself; pytest would keep them back."""
    hidden = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)

    def show(message: Warning | str, category: type[Warning], file: str, line: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, file, line))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in hidden:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield
