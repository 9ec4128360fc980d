"""What the verbs share: tables and progress for people on stderr or stdout, one JSON object for machines."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from ticket_sig.verdict import Rows, Verdict
    from ticket_sig.verification.fidelity import Fidelity

# No markup: messages and paths are the user's, and may hold brackets.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

_LOG_SECONDS = 60

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ForceFlag = Annotated[bool, typer.Option("--force", help="Overwrite the output folder.")]


def print_json(value: Mapping[str, Any]) -> None:
    """Prints one JSON object on stdout; paths may be among the values."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=os.fspath)
    print(text if can_say(text) else json.dumps(json.loads(text), indent=2))
    sys.stdout.flush()


def can_say(text: str) -> bool:
    """Whether stdout's encoding has every character of a text, so that none has to be spelled out."""
    errors = "surrogateescape" if sys.stdout.errors == "surrogateescape" else "strict"
    try:
        text.encode(sys.stdout.encoding or "utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table for people; every column but the first is set to the right."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        made.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    return made


def print_rows(rows: Rows) -> None:
    """Rows for people, each on a line of its own: a table would cut what is long."""
    for name, value in rows:
        out.print(f"{name}: {printable(str(value))}")


def tell_verdict(
    verdict: Verdict, accuracy: Fidelity | None, about: Mapping[str, Any], as_json: bool
) -> None:
    """A verdict: for people the outcome, what it rests on, what it proves and what not; or all as JSON.

    Args:
        about: what it is about, for machines.
    """
    if as_json:
        print_json({**verdict.to_json(), "fidelity": accuracy and accuracy.to_json(), **about})
        return
    out.print(verdict.headline, style=f"bold {'green' if verdict.verified else 'red'}")
    out.print(table("", ("evidence", "value"), verdict.rows()))
    print_rows(verdict.remarks)
    if (message := verdict.reading.message) is not None:
        out.print(f"message: {printable(message)}")  # a table would cut it
    if accuracy is not None:
        out.print(f"fidelity: {accuracy}")
    out.print(f"proves: {verdict.proves if verdict.verified else 'nothing'}")
    out.print(f"does not prove: {verdict.leaves_open}")


class Bars:
    """Progress on stderr: a bar (in a log file a line a minute), and a line for whatever is done."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._label, self._total, self._told = "", 0, time.monotonic()

    def begin(self, label: str, total: int) -> None:
        """Starts the bar of the next piece of work."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(label, total=total, detail="")
        self._label, self._total = label, total

    def advance(self, done: int, detail: str = "") -> None:
        """Moves the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, detail=detail)
        if self._bars.disable and time.monotonic() - self._told >= _LOG_SECONDS:
            self._told = time.monotonic()
            self.note(f"{self._label}: {done} of {self._total}{detail and f', {detail}'}")

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bars.console.print(text)


@contextmanager
def progress() -> Iterator[Bars]:
    """Shows progress on stderr while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        yield Bars(bars)


def printable(text: str) -> str:
    """A text from a file as it can be shown: control characters, which could move the cursor, spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell_next(*words: object, where: Console = out) -> None:
    """The command to go on with, as a shell takes it."""
    where.print(f"next: ticket-sig {' '.join(_quoted(str(word)) for word in words)}")


def _quoted(word: str) -> str:
    """A word for a shell; bytes that cannot be shown are spelled out, as bash, zsh and ksh read them."""
    if word.isprintable():
        return shlex.quote(word)
    shown = (chr(b) if 32 <= b < 127 and chr(b) not in "\\'" else f"\\x{b:02x}" for b in os.fsencode(word))
    return f"$'{''.join(shown)}'"


def percent(value: float | None) -> str:
    """An accuracy in %, or nothing."""
    return "" if value is None else f"{value:.2f}"
