"""Seconds for one epoch of CIFAR-10: the step run eagerly, compiled, captured as a CUDA graph, and both.

    python benchmarks/gpu_epoch.py [--arch resnet20] [--epochs 5]
    python benchmarks/gpu_epoch.py --images 512 --epochs 1        # what a CPU runs by default

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

import torch
from torch import Tensor, nn
from train_step import made_up

from ticket_sig.datasets import Dataset
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


def epoch_seconds(step: Iteration, epochs: int) -> float:
    """Median time of an epoch, after one that warms up."""
    times = []
    for epoch in range(epochs + 1):
        synchronise(step.device)
        start = time.perf_counter()
        for index in range(len(step.batches)):
            step(epoch * len(step.batches) + index)
        synchronise(step.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


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


def main() -> None:
    """Prints the floor and every mode beside it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--images", type=int, help="50,000 on a GPU, 512 on a CPU")
    parser.add_argument("--epochs", type=int, help="5 on a GPU, 1 on a CPU")
    options = parser.parse_args()
    device = pick_device(options.device)
    on_gpu = device.type == "cuda"
    precision = pick_precision("auto", device)
    data = made_up(options.images or (50_000 if on_gpu else 512))
    recipe = preset("paper", arch=options.arch, dataset=data.name, precision=precision)
    model = build(options.arch, data.classes, seed=0)
    trained_with = Engine(device=device).prepare(model, precision)
    print(f"{trained_with}; {options.arch}, {len(data.train)} images, batch {recipe.batch_size}")

    speed = bandwidth(device)
    moved = PASSES * convolution_bytes(build(options.arch, 10), 2 if precision == "bf16" else 4)
    floor = moved * len(data.train) / speed
    print(f"floor: {floor:.4f} s an epoch: {moved / 1e6:.1f} MB an image at {speed / 1e9:.0f} GB/s")
    eager = None
    for mode in options.modes:
        compiled, captured = MODES[mode]
        if captured and not on_gpu:
            print(f"{mode}: not run, needs a GPU")
            continue
        step = prepared(recipe, data, device, compiled, captured)
        seconds = epoch_seconds(step, options.epochs or (5 if on_gpu else 1))
        eager = seconds if mode == "eager" else eager
        times = f"{eager / seconds:.2f} times eager, " if eager else ""
        note = "" if step.captured == captured else " (could not be captured)"
        print(
            f"{mode}: {seconds:.4f} s an epoch, {len(data.train) / seconds:.0f} images/s, "
            f"{times}{seconds / floor:.1f} times the floor{note}",
            flush=True,
        )


if __name__ == "__main__":
    main()
