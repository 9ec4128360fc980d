"""Marks in the mask: seconds to embed and to read them, and one large file from the command line.

    python benchmarks/carriers.py [--runs 5] [--large] [--small] [--json]

The peer is a spread code as one writes it first: a permutation of all weights in memory, and no error
correction. --large adds a bundle of 47 million weights: each command is a process of its own, timed with
all its imports, and its memory is the most that was resident, above that of the imports.
"""

from __future__ import annotations

import argparse
import json
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
from freezenet import status
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.training.device import made_with

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "resnet20-cifar10"
LARGE = {"conv.weight": (512, 512, 3, 3), "linear.weight": (4096, 11008)}
SMALL = {"conv.weight": (256, 128, 3, 3), "linear.weight": (256, 512)}
KEPT = 0.2
MESSAGE = "by: Owner"  # 9 bytes
MESSAGE_LARGE = "me"  # its one layer of 3x3 kernels has 240 pairs of patterns: the mirror code takes no more
MARKS = ("qr-code", "spread", "mirror", "qr-code+spread+mirror")
SECONDS, SECONDS_LARGE, FILES = 1.0, 10.0, 2.0  # bounds: of ResNet-20, of the large file, of its memory
PEER, BITS, MARGIN, OWNER = "peer, in memory", 256, 4.0, 0
IMPORTS = "imports alone"
IMPORTED = "ticket_sig.cli.app, ticket_sig.marks.embed_in_files, scipy.optimize"  # by the command


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


def flat(
    weights: Sequence[torch.Tensor],
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float64]]:
    """All weights in a row: which are kept, their sizes, and the density of their layer."""
    values = [one.float().numpy().ravel() for one in weights]
    size = np.abs(np.concatenate(values))
    density = np.concatenate([np.full(one.size, np.count_nonzero(one) / one.size) for one in values])
    return size != 0, size, density


@dataclass(frozen=True)
class Row:
    """What one step of one mark took.

    Attributes:
        memory: of a process of its own, in sizes of the file.
    """

    mark: str
    step: str
    seconds: float
    bound: float | None
    memory: float | None = None


def in_this_process(runs: int) -> list[Row]:
    """Every mark put into the shipped ResNet-20, and read there; medians."""
    ticket, rows = load(SHIPPED).ticket, list[Row]()

    def add(mark: str, bound: float | None, **steps: Callable[[], object]) -> None:
        rows.extend(Row(mark, step, median_seconds(work, runs), bound) for step, work in steps.items())

    for name in MARKS:
        made = embed(ticket, MESSAGE, mark=name)
        add(
            name,
            SECONDS,
            embed=lambda name=name: embed(ticket, MESSAGE, mark=name),
            read=lambda made=made: [one.read(made.ticket).verdict() for one in made.marks],
        )
    kept, size, density = flat([ticket.weights[name] for name in ticket.mask])
    marked = Permuted(len(kept)).embed(kept, size, density)
    add(
        PEER,
        None,
        embed=lambda: Permuted(len(kept)).embed(kept, size, density),
        read=lambda: Permuted(len(kept)).sums(marked, density),
    )
    return rows


def from_the_command_line(small: bool) -> list[Row]:
    """Every mark put into one bundle by `ticket-sig embed`, once each; into a small one all at once."""
    draw, shapes = torch.Generator().manual_seed(0), SMALL if small else LARGE
    weights = {
        name: torch.randn(shape, generator=draw) * (torch.rand(shape, generator=draw) < KEPT)
        for name, shape in shapes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        model, out = Path(folder) / "model", Path(folder) / "marked"
        save(Ticket(weights=weights, mask=Mask.of_zeros(weights)), model)
        size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        verb = [
            "-m",
            "ticket_sig",
            "embed",
            model,
            "--message",
            MESSAGE_LARGE,
            "--force",
            "--out",
            out,
            "--mark",
        ]
        commands = {name: [*verb, name] for name in (MARKS[-1:] if small else MARKS)}
        commands[PEER] = [__file__, "--peer", model / "model.safetensors", out / "peer.safetensors"]
        imports = measured(["-c", f"import {IMPORTED}"])
        taken = {name: measured(command) for name, command in commands.items()}
    rows = [Row(IMPORTS, "large", imports[0], None, imports[1] / size)]
    for name, (seconds, memory) in taken.items():
        bound = None if name == PEER else SECONDS_LARGE
        rows.append(Row(name, "large", seconds, bound, max(0, memory - imports[1]) / size))
    return rows


def measured(arguments: Sequence[str | Path]) -> tuple[float, int]:
    """Seconds of a process, and the most bytes that were resident in it."""
    start, most = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, status(process.pid, "VmHWM"))
            time.sleep(0.002)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: ended with {process.returncode}")
    return time.perf_counter() - start, most


def peer_in_file(model: Path, out: Path) -> None:
    """The peer from file to file."""
    weights = load_file(model)
    kept, size, density = flat(list(weights.values()))
    marked = torch.from_numpy(Permuted(len(kept)).embed(kept, size, density))
    for name, part in zip(weights, marked.split([t.numel() for t in weights.values()]), strict=True):
        now = part.view(weights[name].shape)
        weights[name] = torch.where(now & (weights[name] == 0), 1e-3, weights[name]) * now
    save_file(weights, out)


def print_table(rows: Sequence[Row]) -> None:
    """Ours beside the peer's, with the ratio of the two, and the bounds."""
    peers = {row.step: row for row in rows if row.mark == PEER}
    print(f"{'':24} {'step':6} {'seconds':>9} {'bound':>6} {'of peer':>8} {'files':>6} {'bound':>6}")
    for row in rows:
        bound = "" if row.bound is None else f"{row.bound:g}"
        ratio = f"{row.seconds / peers[row.step].seconds:.2f}"
        memory = "" if row.memory is None else f"{row.memory:.2f}"
        most = f"{FILES:g}" if memory and bound else ""
        print(f"{row.mark:24} {row.step:6} {row.seconds:9.3f} {bound:>6} {ratio:>8} {memory:>6} {most:>6}")


def main() -> None:
    """Prints all measurements with hardware and versions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also a file of 47 million weights")
    parser.add_argument("--small", action="store_true", help="in place of that file a small one; for tests")
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer_in_file(*options.peer)
        return
    with_, rows = made_with(torch.device("cpu"), "float32"), in_this_process(options.runs)
    large = from_the_command_line(options.small) if options.large or options.small else []
    if options.json:
        print(json.dumps({"made_with": with_, "rows": [asdict(row) for row in (*rows, *large)]}))
        return
    print(with_)
    print(f"ResNet-20, median of {options.runs}; large: from the command line, once; files: memory / file")
    print_table([*rows, *large])


if __name__ == "__main__":
    main()
