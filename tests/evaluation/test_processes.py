"""Processes that work for an evaluation: what comes of them, however they end."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from ticket_sig import InputError
from ticket_sig.errors import bad_input
from ticket_sig.evaluation.processes import _work, alone, side_by_side


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of this process, which has torch: spawned ones import it for seconds."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)


def twice(number: int) -> int:
    time.sleep(0.05 * (3 - number))
    return 2 * number


def outcome(ending: str) -> None:
    if ending == "refuses":
        raise bad_input("plug-in", "Detector", "a function", "none")
    if ending == "fails":
        raise KeyError("no such thing")
    if ending == "is killed":
        os._exit(9)
    time.sleep(60)


def test_results_come_in_the_order_of_the_calls() -> None:
    looks = []
    assert side_by_side(twice, [(1,), (2,), (3,)], lambda: looks.append(1)) == [2, 4, 6]
    assert looks


@pytest.mark.parametrize(
    ("ending", "kind", "message"),
    [
        ("refuses", InputError, "plug-in: Detector: expected a function, found none"),
        ("fails", RuntimeError, "KeyError: 'no such thing'"),
        ("is killed", InputError, "process: expected one that ends by itself, found one that was ended"),
    ],
)
def test_where_one_fails_the_others_are_ended(ending: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        side_by_side(outcome, [("waits",), (ending,)])
    assert not multiprocessing.active_children()


def test_a_process_ends_with_the_one_that_began_it() -> None:
    ours, theirs = multiprocessing.Pipe()
    with pytest.raises(InputError, match="one that was ended"):
        alone(abandoning, theirs)
    theirs.close()
    with pytest.raises(EOFError):  # the last one that held the other end is gone
        ours.recv()


def abandoning(pipe: object) -> None:
    """Begins a process that holds the pipe, and dies."""
    context = multiprocessing.get_context("fork")
    context.Process(target=_work, args=(pipe, outcome, ("waits",))).start()
    os._exit(9)
