"""Seconds for one epoch of CIFAR-10: the step run eagerly, compiled, captured as a CUDA graph, and both.

    python benchmarks/gpu_epoch.py [--arch resnet20] [--runs 5] [--json FILE]
    python benchmarks/gpu_epoch.py --images 512 --runs 1        # what a CPU runs by default

A run is one epoch, after one that warms up (and compiles, and captures). A mode that cannot run says why in
one line; FILE is written anew after every mode.

Faithful in every mode: the same network, batches, batch size and schedule. The floor is what the
activations alone cost if each is moved as seldom as can be, at the bandwidth of a large copy. In bytes of
all the convolutions' outputs: forward 4 (written, normalised, written, read by the next layer), backward 8
(the gradient written; gradient and output read for the sums, and again for the slope; that written and
read; the layer's input read). It is an estimate: what stays in a cache costs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train_step import made_up

from ticket_sig.datasets import Dataset
from ticket_sig.files import write_json
from ticket_sig.mask import Mask
from ticket_sig.models import build
from ticket_sig.training import Recipe, preset
from ticket_sig.training.batches import Batches
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.iteration import Iteration
from ticket_sig.training.loop import Engine

PASSES = 12
MODES = {"eager": (False, False), "compiled": (True, False), "captured": (False, True), "both": (True, True)}


def prepared(
    recipe: Recipe, data: Dataset, device: torch.device, compiled: bool, captured: bool
) -> Iteration:
    """A step of the engine, as its training runs it."""
    model = build(recipe.arch, data.classes, seed=0)
    # The compiler fuses by itself, and cannot look into kernels in C.
    Engine(device=device, fused=not compiled).prepare(model, recipe.precision)
    if compiled:
        model.compile()
    batches = Batches(data.train, data, recipe, device)
    return Iteration(model.train(), batches, recipe, device, Mask({}), capture=captured)


def epoch_seconds(step: Iteration, runs: int) -> list[float]:
    """Seconds of the epoch that warms up, and of each that follows it."""
    times = []
    for epoch in range(runs + 1):
        synchronise(step.device)
        start = time.perf_counter()
        for index in range(len(step.batches)):
            step(epoch * len(step.batches) + index)
        synchronise(step.device)
        times.append(time.perf_counter() - start)
    return times


def synchronise(device: torch.device) -> None:
    """Waits until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def convolution_bytes(model: nn.Module, width: int) -> int:
    """Bytes of all convolutions' outputs for one image."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * width

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    return total


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.ones((1 << 30) if device.type == "cuda" else (1 << 27), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def seconds(work: Callable[[], object]) -> float:
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        return time.perf_counter() - start

    return 2 * source.numel() / min(seconds(lambda: target.copy_(source)) for _ in range(10))


def measure(mode: str, recipe: Recipe, data: Dataset, device: torch.device, runs: int) -> dict[str, Any]:
    """The times of one mode, or why there are none."""
    compiled, captured = MODES[mode]
    if captured and device.type != "cuda":
        return {"not run": "needs a GPU"}
    try:
        step = prepared(recipe, data, device, compiled, captured)
        warm_up, *times = epoch_seconds(step, runs)
    except Exception as error:  # what a compiler raises where it cannot work is of many kinds
        first = next(iter(str(error).strip().splitlines()), "")
        return {"not run": f"{type(error).__name__}: {first}"}
    return {
        "seconds": statistics.median(times),
        "runs": times,
        "warm_up": warm_up,
        "images_per_second": len(data.train) / statistics.median(times),
        "captured": step.captured,
    }


def in_words(mode: str, modes: dict[str, dict[str, Any]], floor: float) -> str:
    """What was measured of one mode, beside eager where that was."""
    found, eager = modes[mode], modes.get("eager", {}).get("seconds")
    if "not run" in found:
        return f"not run, {found['not run']}"
    seconds, runs = found["seconds"], found["runs"]
    times = f"{eager / seconds:.2f} times eager, " if eager else ""
    note = "" if found["captured"] == MODES[mode][1] else " (could not be captured)"
    return (
        f"{seconds:.4f} s an epoch (median of {len(runs)}, {min(runs):.4f} to {max(runs):.4f}), "
        f"{found['images_per_second']:.0f} images/s, {times}{seconds / floor:.1f} times the floor{note}"
    )


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--images", type=int, help="50,000 on a GPU, 512 on a CPU")
    parser.add_argument("--runs", "--epochs", type=int, help="5 on a GPU, 1 on a CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers, with hardware and versions")
    return parser.parse_args()


def main() -> None:
    """Prints the floor and every mode beside it."""
    options = arguments()
    device = pick_device(options.device)
    on_gpu = device.type == "cuda"
    precision = pick_precision("auto", device)
    data = made_up(options.images or (50_000 if on_gpu else 512))
    recipe = preset("paper", arch=options.arch, dataset=data.name, precision=precision)
    images, runs = len(data.train), options.runs or (5 if on_gpu else 1)
    trained_with = Engine(device=device).prepare(build(options.arch, data.classes, seed=0), precision)
    print(f"{trained_with}; {options.arch}, {images} images, batch {recipe.batch_size}")

    speed = bandwidth(device)
    moved = PASSES * convolution_bytes(build(options.arch, 10), 2 if precision == "bf16" else 4)
    floor = moved * images / speed
    print(f"floor: {floor:.4f} s an epoch: {moved / 1e6:.1f} MB an image at {speed / 1e9:.0f} GB/s")
    modes: dict[str, dict[str, Any]] = {}
    sizes = {"arch": options.arch, "images": images, "batch_size": recipe.batch_size}
    for mode in options.modes:
        modes[mode] = measure(mode, recipe, data, device, runs)
        print(f"{mode}: {in_words(mode, modes, floor)}", flush=True)
        if options.json:
            write_json(
                options.json,
                {
                    "made_with": trained_with,
                    **sizes,
                    "bytes_per_second": speed,
                    "floor": floor,
                    "modes": modes,
                },
            )


if __name__ == "__main__":
    main()
