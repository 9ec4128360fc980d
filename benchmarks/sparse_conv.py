"""Convolutions of a network's layers, one by one: by kept weights alone, against PyTorch's dense ones.

    python benchmarks/sparse_conv.py [--networks resnet20 resnet18] [--runs 9] [--json]

Ours in float32 and in bfloat16, PyTorch's in both (channels last); forward, gradient of the input, gradient
of the weights; masks drawn at random. Times are medians in milliseconds. The engines take turns in each run,
so that a machine that gets slower does so for all. PyTorch's bfloat16 uses AMX where there is such a thing;
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment shows a processor without.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.models import build
from ticket_sig.models.sparse import Plan, operators
from ticket_sig.models.sparse.layout import batch_innermost
from ticket_sig.native import fingerprint, library
from ticket_sig.training.device import made_with
from ticket_sig.training.memory import keep_freed_memory

DENSITIES = (0.5, 0.25, 0.128, 0.05, 0.02, 0.01)
PARTS = ("forward", "input", "weights")
OURS, DENSE = ("ours float32", "ours bfloat16"), ("dense float32", "dense bfloat16")
Work = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Shape:
    """Of a convolution and of the images it sees."""

    ins: int
    outs: int
    kernel: int
    stride: int
    padding: int
    size: int

    def __str__(self) -> str:
        return f"{self.ins}->{self.outs} {self.kernel}x{self.kernel}/{self.stride} on {self.size}x{self.size}"


def shapes(network: str) -> Counter[Shape]:
    """The convolutions of a network on images of CIFAR's size, and how often it has each."""
    found: Counter[Shape] = Counter()
    model = build(network, 10).eval()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        size = inputs[0].shape[2]
        found[Shape(layer.in_channels, layer.out_channels, kernel, stride, padding, size)] += 1

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return found


def dense(x: Tensor, weight: Tensor, slope: Tensor, shape: Shape) -> Work:
    """PyTorch's three parts."""
    x, weight, slope = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight, slope))
    steps = [shape.stride] * 2, [shape.padding] * 2, [1, 1]

    def backward(*wanted: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            slope, x, weight, None, *steps, False, [0, 0], 1, [*wanted, False]
        )

    return {
        "forward": lambda: F.conv2d(x, weight, None, *steps),
        "input": lambda: backward(True, False),
        "weights": lambda: backward(False, True),
    }


def ours(x: Tensor, weight: Tensor, slope: Tensor, shape: Shape, kept: Tensor) -> Work:
    """The three parts by kept weights alone."""
    plan = Plan.of(kept, shape.stride, shape.padding)
    values = weight.float().flatten()[plan.positions]
    x, slope, given = batch_innermost(x), batch_innermost(slope), (plan.lists, plan.geometry)
    return {
        "forward": lambda: operators._conv2d(x, values, None, *given),
        "input": lambda: operators._input(slope, values, *given, shape.size, shape.size),
        "weights": lambda: operators._values(slope, x, *given),
    }


def clock(works: dict[str, Work], runs: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each part of each engine, run by run."""
    found: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in works}
    for run in range(-2, runs):  # two to warm up
        for name, work in works.items():
            for part in PARTS:
                start = time.perf_counter()
                work[part]()
                taken = (time.perf_counter() - start) * 1e3
                found[name][part] += [taken] if run >= 0 else []
    return found


def measure(shape: Shape, batch: int, density: float, runs: int) -> dict[str, dict[str, Any]]:
    """Median, least and most milliseconds by engine and part."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, shape.ins, shape.size, shape.size, generator=draw)
    weight = torch.randn(shape.outs, shape.ins, shape.kernel, shape.kernel, generator=draw)
    kept = torch.rand(weight.shape, generator=draw) < density
    y = F.conv2d(x[:1], weight, None, shape.stride, shape.padding)
    slope = torch.randn(batch, *y.shape[1:], generator=draw)
    works: dict[str, Work] = {}
    for kind in (torch.float32, torch.bfloat16):
        given = x.to(kind), weight.to(kind), slope.to(kind), shape
        works[f"ours {str(kind)[6:]}"] = ours(*given, kept)
        works[f"dense {str(kind)[6:]}"] = dense(*given)
    return {
        name: {part: (statistics.median(t), min(t), max(t)) for part, t in parts.items()}
        for name, parts in clock(works, runs).items()
    }


def medians(found: dict[str, dict[str, Any]], name: str) -> list[float]:
    return [found[name][part][0] for part in PARTS]


def line(found: dict[str, list[float]]) -> str:
    """Milliseconds by engine, and how many times as fast the faster of ours is as each dense one."""
    total = {name: sum(parts) for name, parts in found.items()}
    each = "; ".join(
        f"{name} {' + '.join(f'{t:.2f}' for t in found[name])} = {total[name]:.2f}" for name in found
    )
    fastest = min(total[name] for name in OURS)
    return f"{each}; ratio {', '.join(f'{total[name] / fastest:.2f} ({name})' for name in DENSE)}"


def main() -> None:
    """Prints a line for each layer and density, and their sum as the network has them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--densities", nargs="+", type=float, default=DENSITIES)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    options = parser.parse_args()
    keep_freed_memory()
    kernels = library(operators.SOURCE)
    told = made_with(
        torch.device("cpu"), "float32, bf16", "torch" if kernels is None else fingerprint(kernels)
    )
    told |= {"ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "")}
    say: Callable[[str], None] = (
        (lambda text: None) if options.json else (lambda text: print(text, flush=True))
    )
    say(f"{told}; batch {options.batch}; medians of {options.runs} in ms: {' + '.join(PARTS)}")
    layers: list[dict[str, Any]] = []
    for network in options.networks:
        for density in options.densities:
            whole: dict[str, list[float]] = {}
            for shape, count in shapes(network).items():
                found = measure(shape, options.batch, density, options.runs)
                layers.append(
                    {"network": network, "count": count, "density": density, **asdict(shape), "ms": found}
                )
                own = {name: medians(found, name) for name in (*OURS, *DENSE)}
                say(f"{network} {density:.1%} {shape}: {line(own)}")
                for name, parts in own.items():
                    before = whole.get(name, [0.0] * 3)
                    whole[name] = [b + count * t for b, t in zip(before, parts, strict=True)]
            say(f"{network} {density:.1%} all its convolutions: {line(whole)}")
    if options.json:
        print(json.dumps({"with": told, "batch": options.batch, "runs": options.runs, "layers": layers}))


if __name__ == "__main__":
    main()
