"""One training step as a CUDA graph: recorded once for each batch size, replayed without the host.

A step of a small network on a large GPU is hundreds of kernels of a few microseconds each; launched one by
one, the GPU waits for Python most of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 3  # what lazy initialisation needs before a capture, by PyTorch's notes on CUDA graphs


class CapturedStep:
    """Replays `work(rows)` on the rows [first, first + count) of an epoch.

    Args:
        work: one step; reads nothing from the host but `rows` (int64, on the device) and tensors that keep
            their address, and never waits for the device.
        state: all tensors that `work` changes; put back after the warm-up.

    Raises:
        RuntimeError: the step cannot be captured.
    """

    def __init__(
        self, work: Callable[[Tensor], None], state: Callable[[], list[Tensor]], device: torch.device
    ):
        self._work, self._state = work, state
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def prepare(self, count: int) -> None:
        """Captures the step for this many rows, where that has not been done; changes no state."""
        if count not in self._graphs:
            self._graphs[count] = self._capture(count)

    def __call__(self, first: int, count: int) -> None:
        self.prepare(count)
        self._first.fill_(first)
        self._graphs[count].replay()

    def _capture(self, count: int) -> torch.cuda.CUDAGraph:
        offsets = torch.arange(count, device=self._first.device)
        before = [t.clone() for t in self._state()]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._first.device):
                self._warm_up(offsets)
                with torch.cuda.graph(graph):
                    self._work(self._first + offsets)
        finally:
            for t, value in zip(self._state(), before, strict=True):
                t.copy_(value)
        return graph

    def _warm_up(self, offsets: Tensor) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._work(offsets)
        torch.cuda.current_stream().wait_stream(stream)
