"""Processes that work for an evaluation: they begin without what this one has loaded, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from ticket_sig.errors import InputError, bad_input

_DONE, _REFUSED, _FAILED = "done", "refused", "failed"
_SECONDS = 1.0  # between two looks at what is done


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Calls a function in a process of its own, with one thread; errors as of `side_by_side`."""
    return side_by_side(function, [arguments])[0]


def side_by_side(
    function: Callable[..., Any],
    calls: Sequence[Sequence[object]],
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Calls a function in a process of its own for each list of arguments; all can be sent (pickled).

    Where one fails, or this process is interrupted, the others are ended.

    Args:
        meanwhile: called about every second.

    Returns:
        What it returned, call by call.

    Raises:
        InputError: the function raised it, or a process was ended from outside.
        RuntimeError: the function raised something else.
    """
    results: list[Any] = [None] * len(calls)
    with _started(function, calls) as pipes:
        waiting = dict(zip(pipes, range(len(calls)), strict=True))
        while waiting:
            for pipe in wait(list(waiting), _SECONDS):
                assert isinstance(pipe, Connection)
                results[waiting.pop(pipe)] = _answer(pipe)
            meanwhile()
    return results


@contextmanager
def _started(function: Callable[..., Any], calls: Sequence[Sequence[object]]) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        for arguments in calls:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, function, arguments))
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield pipes
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _answer(pipe: Connection) -> Any:
    try:
        outcome, value = pipe.recv()
    except EOFError:
        hint = "what it had finished is kept; is there enough memory?"
        raise bad_input(
            "evaluate", "process", "one that ends by itself", "one that was ended", hint=hint
        ) from None
    if outcome == _REFUSED:
        raise InputError(value)
    if outcome == _FAILED:
        raise RuntimeError(value)
    return value


def _work(pipe: Connection, function: Callable[..., Any], arguments: Sequence[object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first process ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        pipe.send((_DONE, function(*arguments)))
    except InputError as error:
        pipe.send((_REFUSED, str(error)))
    except Exception as error:
        pipe.send((_FAILED, f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
