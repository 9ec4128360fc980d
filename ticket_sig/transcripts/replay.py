"""Training a segment again from its first boundary."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import torch

from ticket_sig.errors import bad_input
from ticket_sig.training.loop import Run
from ticket_sig.transcripts.states import State

_TURN = 1e-4  # seconds, of all cores together: Python runs one waking thread at a time


def replay(run: Run, start: State, first: int, last: int) -> State:
    """The state after steps `first` to `last` (excluded) of a training, from the state before them.

    Raises:
        InputError: the state is of another network, or has momentum for some parameters alone.
    """
    start.put_into(run.model, run.optimizer, run.losses)
    run.model.train()
    for step in range(first, last):
        if step % run.per_epoch == 0:
            run.losses.zero_()
        try:
            run.iteration(step)
        except TypeError:  # of the optimizer's kernel
            raise bad_input(
                "state", "optimizer", "a tensor for each parameter, or for none", "others"
            ) from None
    return State.of(run.model, run.optimizer, run.losses)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Computes with so many threads, on however many cores there are: sums are split by their number."""
    before, cores, over = torch.get_num_threads(), _cores(), Event()
    crowded = cores if len(cores) < count else ()
    wakers = [Thread(target=_wake, args=(core, over, _TURN * len(cores))) for core in crowded]
    torch.set_num_threads(count)
    try:
        for waker in wakers:
            waker.start()
        yield
    finally:
        over.set()
        torch.set_num_threads(before)
        for waker in wakers:
            if waker.ident is not None:  # the system may have had no room for another thread
                waker.join()


def _cores() -> Collection[int]:
    """Those that this process may use; none where the system cannot say."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else ()


def _wake(core: int, over: Event, seconds: float) -> None:
    """Wakes on a core again and again, so that the threads on it take short turns.

    Kernels of oneDNN wait for each other in a loop that never sleeps. Where two of their threads share a
    core, one waits in vain until the system takes the core from it, after 4 ms, hundreds of times a step.
    """
    with suppress(OSError):  # this process may no longer use it
        os.sched_setaffinity(0, {core})  # of this thread alone
    while not over.wait(seconds):
        pass
