"""One training iteration as a CUDA graph: recorded once for each batch size, replayed without the host.

A step of a small network on a large GPU is hundreds of kernels of a few microseconds each; launched one by
one, the GPU waits for Python most of the time.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_WARM_UP = 3  # what lazy initialisation needs before a capture, by PyTorch's notes on CUDA graphs

Work = Callable[[Tensor], None]


class CapturedIteration:
    """The graphs of one iteration: each replays it on the rows [first, first + count) of an epoch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()  # the graphs never run at once: one memory serves all

    def prepare(self, count: int, work: Work, state: Callable[[], list[Tensor]]) -> None:
        """Captures `work(rows)` for this many rows, where that has not been done; changes no state.

        Args:
            work: one step; reads nothing from the host but `rows` (int64, on the device) and tensors that
                keep their address.
            state: all tensors that `work` changes.

        Raises:
            RuntimeError: the step waits for the host or draws random numbers, or memory runs out.
        """
        if count in self._graphs:
            return
        self._first.zero_()  # from the last step's first row on there may be fewer
        before = [t.clone() for t in state()]
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(stream):
                self._warm_up(count, work)
                with torch.cuda.graph(graph, pool=self._pool, stream=stream):
                    work(self._rows(count))
        finally:
            torch.cuda.current_stream(self._device).wait_stream(stream)
            for t, value in zip(state(), before, strict=True):
                t.copy_(value)
        self._graphs[count] = graph

    def replay(self, first: int, count: int) -> None:
        """Does the step that was captured for this many rows, from the row `first` on."""
        self._first.fill_(first)
        self._graphs[count].replay()

    def _rows(self, count: int) -> Tensor:
        # Made within the graph, which keeps none of its inputs alive.
        return self._first + torch.arange(count, device=self._device)

    def _warm_up(self, count: int, work: Work) -> None:
        """Runs the step; what a graph cannot hold is refused here: a capture that fails leaves traces."""
        before = torch.get_rng_state(), torch.cuda.get_rng_state(self._device)
        for _ in range(_WARM_UP):
            work(self._rows(count))
        with _waiting_is_an_error():
            work(self._rows(count))
        after = torch.get_rng_state(), torch.cuda.get_rng_state(self._device)
        if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            raise RuntimeError("the step draws random numbers")


@contextlib.contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    """What waits for the host raises; PyTorch warns every time that it does not see all of it."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
