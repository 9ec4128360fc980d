"""Signing speed: our placement against the published loop over positions, and a large state dict whole.

    python benchmarks/embed.py [--runs 3] [--small]

The peer is the search of the paper's code, re-written: for every position the share of equal modules.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Bits, most_similar
from ticket_sig.training.device import made_with


def loop_over_positions(kernels: Bits, codes: list[qr.QRCode]) -> int:
    """The most agreeing data modules over all positions and codes, one position at a time."""
    side, best = codes[0].light.shape[0], 0
    for code in codes:
        for row in range(kernels.shape[0] - side + 1):
            for column in range(kernels.shape[1] - side + 1):
                equal = kernels[row : row + side, column : column + side] == code.light
                best = max(best, int(np.count_nonzero(equal & code.data)))
    return best


def ours(kernels: Bits, codes: list[qr.QRCode]) -> int:
    """The same by `most_similar`."""
    placement, code = most_similar({"layer": kernels}, codes)
    equal = placement.cut(kernels, code.light.shape[0]) == code.light
    return int(np.count_nonzero(equal & code.data))


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall-clock time of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def embed_file(path: Path, out: Path) -> None:
    """What `ticket-sig embed` does: read, sign, write a bundle."""
    signed = embed(load(path).ticket, "signature", version=3)
    save(signed.ticket, out, claim=signed.claim.to_json(), replace=True)


def main() -> None:
    """Prints both measurements with hardware and versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="seconds, not minutes; for tests")
    options = parser.parse_args()
    print(made_with(torch.device("cpu"), "float32"))

    side = 48 if options.small else 256
    kernels = np.random.default_rng(0).random((side, side)) < 0.5
    codes = qr.encode("signature", 3, "H")
    assert ours(kernels, codes) == loop_over_positions(kernels, codes)
    fast = median_seconds(lambda: ours(kernels, codes), options.runs)
    slow = median_seconds(lambda: loop_over_positions(kernels, codes), options.runs)
    print(f"placement, {side}x{side} kernels, 8 data masks, median of {options.runs}:")
    print(f"  ours {fast:.4f} s, loop over positions {slow:.4f} s, ratio {slow / fast:.0f}")

    shapes = {"conv.weight": (512, 512, 3, 3), "linear.weight": (4096, 11008)}
    if options.small:
        shapes = {"conv.weight": (64, 64, 3, 3), "linear.weight": (128, 256)}
    draw = torch.Generator().manual_seed(0)
    weights = {
        n: torch.randn(s, generator=draw) * (torch.rand(s, generator=draw) < 0.1) for n, s in shapes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(Ticket(weights=weights, mask=Mask.of_zeros(weights)), Path(folder) / "plain")
        (Path(folder) / "plain" / "model.safetensors").rename(path)
        seconds = median_seconds(lambda: embed_file(path, Path(folder) / "signed"), options.runs)
    sizes = ", ".join("x".join(map(str, s)) for s in shapes.values())
    print(f"embed a file with layers {sizes}, read and written, median of {options.runs}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
