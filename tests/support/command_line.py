"""The command line, run in this process, and what runs it in one of its own."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

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


Command = Callable[..., Outcome]  # the fixture `ticket_sig`


def read_json(said: Outcome) -> dict[str, Any]:
    """The one JSON object on standard output."""
    value = json.loads(said.out)
    assert isinstance(value, dict)
    return value


def could_not(said: Outcome, *words: str) -> None:
    """Exit code 2, nothing on standard output, and one line on standard error with these words."""
    assert (said.code, said.out) == (2, ""), said
    assert said.err.startswith("ticket-sig: ") and said.err.count("\n") == 1, said.err
    assert [word for word in words if word not in said.err] == [], said.err


def plain(text: str) -> str:
    """A text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def help_of(ticket_sig: Command, *words: str) -> str:
    """The help page of a verb, or of them all."""
    said = ticket_sig(*words, "--help")
    assert said.code == 0, said.err
    return plain(said.out)


def options_in(text: str) -> set[str]:
    """The options that a help page lists; what a text mentions does not count, nor does `--no-x` of `--x`."""
    boxes = re.findall(r"^│\s+(?:\*\s+)?((?:--[a-z0-9-]+\s+)+)", text, re.MULTILINE)
    found = {name for names in boxes for name in names.split()}
    return {name for name in found if name.replace("--no-", "--", 1) not in found - {name}}


def next_commands(said: str, **filled: object) -> list[list[str]]:
    """The commands after `next:` as a shell would split them, with what is to be filled in (DIR, TRAINED)."""
    found = [shlex.split(line) for line in re.findall(r"^next: ticket-sig (.*)$", said, re.MULTILINE)]
    return [[str(filled.get(word, word)) for word in words] for words in found]


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


def unwrapped(help_text: str) -> str:
    """A help text without its frames, colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", help_text).split())


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
