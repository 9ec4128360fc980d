"""A whole search on a CPU with sparse layers and without: seconds of each level, and of all.

    python benchmarks/sparse_search.py --dataset cifar10 --data data/cifar-10-batches-py --epochs 4

Half of the weights that are left are pruned in a round, until 5 % are kept. Both searches have one recipe and
run one after the other. A level's seconds are those of its training; the whole search is all of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from ticket_sig.cli.output import progress
from ticket_sig.datasets import load_dataset
from ticket_sig.lottery import find
from ticket_sig.training import Steps, preset
from ticket_sig.training.device import made_with, pick_device, pick_precision
from ticket_sig.training.loop import Engine

WAYS = {"dense": False, "auto": "auto"}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--epochs", type=int, default=4, help="of each level")
    parser.add_argument("--kept", type=float, default=0.05, help="share of the weights to end with")
    given = parser.parse_args()
    data, device = load_dataset(given.dataset, given.data), pick_device()
    recipe = preset(
        "quick" if given.dataset != "digits" else "demo",
        arch=given.arch,
        dataset=given.dataset,
        length=Steps(given.epochs),
        rewind=Steps(0, "it"),
        rates=(0.5,),
        density=given.kept,
        tolerance=99.0,
        precision=pick_precision("auto", device),
    )
    levels, totals = dict[str, list[tuple[float, float, float]]](), dict[str, float]()
    for way, sparse in WAYS.items():
        with tempfile.TemporaryDirectory() as run, progress() as bars:
            begun = time.perf_counter()
            ticket = find(recipe, data, Path(run), engine=Engine(device=device, sparse=sparse, progress=bars))
            totals[way] = time.perf_counter() - begun
        levels[way] = [(e.density, e.seconds or 0.0, e.test or 0.0) for e in ticket.history]
    print(
        f"{made_with(device, recipe.precision)}\n"
        f"{given.epochs} epochs a level; seconds, and test accuracy in %"
    )
    print(f"{'kept':>8} {'dense':>16} {'auto':>16} {'ratio':>6}")
    for (kept, dense, right), (_, auto, with_sparse) in zip(*levels.values(), strict=True):
        row = f"{100 * kept:7.2f}% {dense:8.1f} ({right:5.2f}) {auto:8.1f} ({with_sparse:5.2f})"
        print(f"{row} {dense / auto:6.2f}")
    dense, auto = totals["dense"], totals["auto"]
    print(f"whole search: {dense:.0f} s and {auto:.0f} s: {dense / auto:.2f} times")


if __name__ == "__main__":
    main()
