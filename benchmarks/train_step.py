"""Training speed on a CPU: our loop against the pipeline of the paper's code, images per second.

    python benchmarks/train_step.py [--runs 3] [--steps 60] [--small]

The peer is that pipeline as its users would write it in plain PyTorch: images cropped and flipped one by
one with PIL in a DataLoader with 2 workers, float32, NCHW, SGD. Each is measured in a process of its own,
in turn, on the same made-up images of CIFAR's number and size; speed does not depend on what they show.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from ticket_sig.datasets.data import Dataset as Images
from ticket_sig.datasets.data import Split
from ticket_sig.mask import Mask
from ticket_sig.models import build, prunable_names
from ticket_sig.training import preset
from ticket_sig.training.device import made_with, pick_precision
from ticket_sig.training.loop import Engine, Run

BATCH, WARM_UP, MATRIX = 128, 10, 2048


def made_up(count: int) -> Images:
    """Images of CIFAR-10's size."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=draw)
    split = Split(images, torch.randint(10, (count,), generator=draw))
    return Images("made up", split, split[:BATCH], 10, (0.5,) * 3, (0.25,) * 3)


class PilImages(Dataset[tuple[Tensor, int]]):
    """Pad by 4, crop, flip, normalise: one image at a time."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images.numpy(), split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), 4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = image.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(0.45).div_(0.25), self.labels[index]


def peer(data: Images, steps: int, arch: str = "resnet20") -> dict[str, Any]:
    """Images per second of the peer."""
    model = build(arch, 10, seed=0).train()  # not fused: batch norm, addition and ReLU are PyTorch's
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(PilImages(data.train), BATCH, shuffle=True, num_workers=2, drop_last=True)
    times = [time.perf_counter()]
    for images, labels in loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.perf_counter())
        if len(times) > WARM_UP + steps:
            break
    return {"images_per_second": rate(times)}


def rate(times: list[float]) -> float:
    """Images per second after the warm-up, from first to last: waiting for data counts."""
    return BATCH * (len(times) - 1 - WARM_UP) / (times[-1] - times[WARM_UP])


class Stopwatch:
    """Adds up the time of calls."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.seconds = work, 0.0

    def __call__(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = self.work(*arguments)
        self.seconds += time.perf_counter() - start
        return result


def ours(data: Images, steps: int, *, fused: bool) -> dict[str, Any]:
    """Images per second of our loop, under a mask, and where its time goes."""
    precision = pick_precision("auto", torch.device("cpu"))
    recipe = preset("paper", arch="resnet20", dataset="made up", precision=precision)
    model = build("resnet20", 10, seed=0)
    engine = Engine(fused=fused)
    trained_with = engine.prepare(model, precision)
    weights = dict(model.named_parameters())
    draw = torch.Generator().manual_seed(0)
    mask = Mask({n: torch.rand(weights[n].shape, generator=draw) < 0.2 for n in prunable_names(model)})
    run = Run(model, data, recipe, engine, mask)
    learn, hold = Stopwatch(run.iteration.learn), Stopwatch(run.iteration.hold)
    run.iteration.learn, run.iteration.hold = learn, hold  # type: ignore[method-assign]
    times = [time.perf_counter()]
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            learn.seconds = hold.seconds = 0.0
        run.advance()
        times.append(time.perf_counter())
    whole = times[-1] - times[WARM_UP]
    return {
        "images_per_second": rate(times),
        "outside": 1 - learn.seconds / whole,
        "mask": hold.seconds / whole,
        "flops": flops() * BATCH * steps / whole,
        "peak": matmul_peak(),
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "with": trained_with,
    }


def flops() -> float:
    """Floating-point operations of one image, forward and backward."""
    model, images = build("resnet20", 10), torch.zeros(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / 2


def matmul_peak() -> float:
    """What this machine reaches in a bfloat16 matrix product, in operations per second."""
    a, b = torch.ones(2, MATRIX, MATRIX, dtype=torch.bfloat16)
    a @ b
    times = []
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return float(2 * MATRIX**3 / min(times))


def measure(which: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--only", which, "--steps", str(options.steps)]
    command += ["--small"] if options.small else []
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    """Prints every run, the medians and their ratio."""
    global WARM_UP, MATRIX
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--small", action="store_true", help="seconds, not minutes; for tests")
    parser.add_argument("--only", choices=("ours", "unfused", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.small:
        WARM_UP, MATRIX = 1, 256
    if options.only:
        data = made_up((WARM_UP + options.steps + 1) * BATCH * 2 if options.small else 50_000)
        if options.only == "peer":
            print(json.dumps(peer(data, options.steps)))
        else:
            print(json.dumps(ours(data, options.steps, fused=options.only == "ours")))
        return
    print(made_with(torch.device("cpu"), pick_precision("auto", torch.device("cpu"))), flush=True)
    found: dict[str, list[dict[str, Any]]] = {"peer": [], "ours": [], "unfused": []}
    for run in range(options.runs):
        for which, results in found.items():
            results.append(measure(which, options))
        speeds = {which: results[-1]["images_per_second"] for which, results in found.items()}
        said = ", ".join(f"{which} {speed:.0f}" for which, speed in speeds.items())
        print(f"run {run + 1}: images/s: {said}; ratio {speeds['ours'] / speeds['peer']:.2f}", flush=True)
    report(found)


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """The medians; ratios are taken run by run, since a machine's speed changes from minute to minute."""

    def middle(which: str, what: str) -> float:
        return statistics.median(float(result[what]) for result in found[which])

    def ratio(which: str) -> float:
        pairs = zip(found[which], found["peer"], strict=True)
        return statistics.median(a["images_per_second"] / b["images_per_second"] for a, b in pairs)

    for which, name in (("ours", "ours"), ("unfused", "ours without kernels in C"), ("peer", "the peer")):
        speed = middle(which, "images_per_second")
        print(f"median: {name}: {speed:.0f} images/s, {ratio(which):.2f} times the peer")
    peak = middle("ours", "peak")
    print(f"outside the network: {100 * middle('ours', 'outside'):.1f} % of the time")
    print(f"mask enforcement: {100 * middle('ours', 'mask'):.2f} % of the time")
    used = middle("ours", "flops") / peak
    print(f"bf16 matmul peak: {peak / 1e9:.0f} GFLOP/s, of which a whole step uses {100 * used:.0f} %")
    print(
        f"peak memory: {middle('ours', 'memory_gb'):.2f} GB; kernels: {found['ours'][0]['with']['kernels']}"
    )


if __name__ == "__main__":
    main()
