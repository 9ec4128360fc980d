"""How a command ends, whatever happens: an error in one line, a signal, a reader that left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ticket_sig.errors import InputError

INTERRUPTED = 130  # exit code: what a shell reports for Ctrl-C
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # not on Windows


@contextmanager
def leaving() -> Iterator[None]:
    """The frame of a program: in the block its streams can be used, and signals end it cleanly."""
    _open_streams()
    try:
        with ended_by_signals():
            yield
    finally:
        _leave_streams()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """In the block SIGTERM and SIGHUP end the program as Ctrl-C does: nothing half-written is left.

    A signal that is ignored, as SIGHUP under nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    caught = [number for number, handler in before.items() if handler == signal.SIG_DFL]
    for number in caught:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def one_line(error: Exception) -> str:
    """What a user is told of an error.

    Raises:
        Exception: the error itself, where it is a mistake of ours and TICKET_SIG_DEBUG is set.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "memory: expected enough for this model, found too little"
    if os.environ.get("TICKET_SIG_DEBUG"):
        raise error
    return f"internal error: {type(error).__name__}: {error}; TICKET_SIG_DEBUG=1 shows where"


def _open_streams() -> None:
    """A stream that the caller closed leads nowhere: else the next file to be opened would take its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  as long as the program runs


def say(line: str) -> None:
    """Prints a line on stderr; that nobody reads it is no reason for another exit code."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def _leave_streams() -> None:
    """Drops what cannot be written: Python would try again at its end, and leave with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
