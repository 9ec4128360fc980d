"""Training a segment again from its first boundary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ticket_sig.errors import bad_input
from ticket_sig.training.loop import Run
from ticket_sig.transcripts.states import State


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
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
