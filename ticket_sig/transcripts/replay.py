"""Training a segment again from its first boundary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ticket_sig.training.loop import Run
from ticket_sig.transcripts.states import State


def replay(run: Run, start: State, first: int, last: int) -> State:
    """The state after steps `first` to `last` (excluded) of a training, from the state before them."""
    start.put_into(run.model, run.optimizer, run.losses)
    run.model.train()
    for step in range(first, last):
        if step % run.per_epoch == 0:
            run.losses.zero_()
        run.iteration(step)
    return State.of(run.model, run.optimizer, run.losses)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Computes with so many threads, on however many cores there are: sums are split by their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
