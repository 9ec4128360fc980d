"""Marks in the mask: seconds to embed and to read them, and one large file from the command line.

    python benchmarks/carriers.py [--runs 5] [--large] [--small] [--json]

The peer is a spread code as one writes it first, with a permutation of all weights in memory and no error
correction. With --large every step is a process of its own, and its memory is given above that of a command
that does nothing; "file" is the size of the bundle that is read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from embed import median_seconds
from numpy.typing import NDArray

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.marks import Mark
from ticket_sig.training.device import made_with

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "resnet20-cifar10"
LARGE = {"conv.weight": (512, 512, 3, 3), "linear.weight": (4096, 11008)}
SMALL = {"conv.weight": (128, 64, 3, 3), "linear.weight": (256, 512)}
KEPT = 0.2
MESSAGE = "by: Owner"  # 9 bytes
MARKS = ("qr-code", "spread", "mirror", "qr-code+spread+mirror")
SECONDS, SECONDS_LARGE, FILES = 1.0, 10.0, 2.0  # bounds: of ResNet-20, of the large file, of its memory
PEER, BITS, MARGIN, OWNER = "peer, in memory", 256, 4.0, 0
MIB = 1 << 20


class Permuted:
    """The peer: a spread code by a permutation and a sign for every weight, all in memory."""

    def __init__(self, total: int) -> None:
        draw = np.random.default_rng(OWNER)
        self.owner = draw.permutation(total) % BITS
        self.sign = draw.choice(np.array([-1, 1], dtype=np.int8), total)
        self.sent = draw.choice([-1, 1], BITS)

    def sums(self, kept: NDArray[np.bool_], density: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each bit in standard deviations."""
        sums = np.bincount(self.owner, self.sign * (kept - density), BITS)
        return np.asarray(sums / np.sqrt(np.bincount(self.owner, density * (1 - density), BITS)))

    def embed(
        self, kept: NDArray[np.bool_], size: NDArray[np.float32], density: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Swaps the smallest kept weights of the wrong side for pruned ones of the right side."""
        scale = np.sqrt(np.bincount(self.owner, density * (1 - density), BITS))
        short = np.maximum(0, MARGIN - self.sums(kept, density) * self.sent) * scale
        right, marked = self.sign * self.sent[self.owner] > 0, kept.copy()
        for places in (np.flatnonzero(kept & ~right), np.flatnonzero(~kept & right)):
            order = places[np.lexsort((size[places], self.owner[places]))]
            starts = np.searchsorted(self.owner[order], np.arange(BITS))
            rank = np.arange(len(order)) - starts[self.owner[order]]
            swapped = order[rank < np.ceil(short / 2)[self.owner[order]]]
            marked[swapped] = ~marked[swapped]
        return marked


def flat(weights: Sequence[torch.Tensor]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float64]]:
    """All weights in a row: which are kept, their sizes, and the density of their layer."""
    values = [one.float().numpy().ravel() for one in weights]
    size = np.abs(np.concatenate(values))
    density = np.concatenate([np.full(one.size, np.count_nonzero(one) / one.size) for one in values])
    return size != 0, size, density


@dataclass(frozen=True)
class Row:
    """Seconds of one mark; memory in bytes, where it is measured."""

    mark: str
    step: str
    seconds: float
    memory: int | None = None


def small_network(runs: int) -> list[Row]:
    """Embedding and reading of every mark in the shipped ResNet-20, in this process."""
    ticket, rows = load(SHIPPED).ticket, list[Row]()
    for name in MARKS:
        made = embed(ticket, MESSAGE, mark=name)

        def write(name: str = name) -> object:
            return embed(ticket, MESSAGE, mark=name)

        def read(marks: Sequence[Mark] = made.marks, marked: Ticket = made.ticket) -> list[object]:
            return [one.read(marked).verdict() for one in marks]

        rows += [Row(name, step, median_seconds(work, runs)) for step, work in both(write, read)]
    kept, size, density = flat([ticket.weights[name] for name in ticket.mask])
    marked = Permuted(len(kept)).embed(kept, size, density)
    write_peer = lambda: Permuted(len(kept)).embed(kept, size, density)  # noqa: E731
    read_peer = lambda: Permuted(len(kept)).sums(marked, density)  # noqa: E731
    return rows + [Row(PEER, step, median_seconds(work, runs)) for step, work in both(write_peer, read_peer)]
