"""Training steps on a CPU that leave pruned weights out, beside dense ones and the paper code's pipeline.

    python benchmarks/sparse_step.py [--arch resnet20] [--kept 0.128 0.05] [--json FILE] [--figure FILE]

A step is all of it: crops, forward, backward, the optimizer. Each is measured in a process of its own, in
turn, on the same made-up images; masks are drawn at random. The peer is that of `train_step.py`. A processor
that multiplies bfloat16 matrices (AMX) has the dense network several times as fast; the variable
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before the command shows one that does not. `sparse_conv.py` measures
layer by layer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from train_step import BATCH, made_up, peer

from ticket_sig.mask import Mask
from ticket_sig.models import build, prunable_names
from ticket_sig.models.sparse.choice import whole
from ticket_sig.models.sparse.layers import as_sparse
from ticket_sig.training import preset
from ticket_sig.training.device import made_with
from ticket_sig.training.loop import Engine, Run

KEPT = (0.5, 0.25, 0.128, 0.05, 0.02, 0.01)
ENGINES = {
    "sparse bf16": "bf16",
    "sparse float32": "float32",
    "dense bf16": "bf16",
    "dense float32": "float32",
    "peer": "",
}
WARM_UP = 3


def drawn_mask(model: torch.nn.Module, kept: float) -> Mask:
    """A mask that keeps a share of the weights, drawn at random."""
    draw, weights = torch.Generator().manual_seed(0), dict(model.named_parameters())
    return Mask({n: torch.rand(weights[n].shape, generator=draw) < kept for n in prunable_names(model)})


def measure(engine: str, arch: str, kept: float, steps: int, images: int) -> dict[str, Any]:
    """Seconds of a step, images per second, peak memory; in this process."""
    if engine == "peer":
        speed = peer(made_up((steps + 14) * BATCH), steps, arch)["images_per_second"]
        return {"step": BATCH / speed, **memory()}
    data, precision = made_up(images), ENGINES[engine]
    recipe = preset("paper", arch=arch, dataset="made up", precision=precision)
    model, sparse = build(arch, 10, seed=0), engine.startswith("sparse")
    mask = drawn_mask(model, kept)
    ours = Engine(sparse=sparse)
    ours.prepare(model, precision)
    with as_sparse(model, mask, whole(model, mask) if sparse else ()):
        trained_with = ours.prepare(model, precision)
        run, times = Run(model, data, recipe, ours, mask), []
        for _ in range(WARM_UP + steps):
            start = time.perf_counter()
            run.advance()
            times.append(time.perf_counter() - start)
    return {"step": statistics.median(times[WARM_UP:]), **memory(), "kernels": trained_with["kernels"]}


def memory() -> dict[str, float]:
    """Peak memory of this process."""
    return {"memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def apart(engine: str, arch: str, kept: float, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a process of its own."""
    only = json.dumps([engine, arch, kept, options.steps, options.images])
    command = [sys.executable, __file__, "--only", only]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"arch": arch, "engine": engine, "kept": kept, **found}


def grouped(measured: list[dict[str, Any]]) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """The runs of each network, engine and share that is kept."""
    found: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for one in measured:
        found.setdefault((one["arch"], one["engine"], one["kept"]), []).append(one)
    return found


def report(measured: list[dict[str, Any]]) -> None:
    """A row for each; ratios are taken run by run, since a machine's speed changes from minute to minute."""
    found = grouped(measured)
    for (arch, engine, kept), results in found.items():
        steps = [1e3 * one["step"] for one in results]
        ratios = []
        for other in ENGINES:
            pairs = list(zip(found.get((arch, other, 1.0), []), results, strict=False))
            if pairs and other != engine:
                ratios.append(
                    f"{statistics.median(a['step'] / b['step'] for a, b in pairs):.2f} times {other}"
                )
        middle, memory = statistics.median(steps), max(one["memory_gb"] for one in results)
        print(
            f"{arch}, {engine}, {100 * kept:g} % kept: {middle:.1f} ms a step ({min(steps):.1f} to "
            f"{max(steps):.1f}, n = {len(steps)}), {1e3 * BATCH / middle:.0f} images/s, {memory:.2f} GB; "
            + ", ".join(ratios)
        )


def draw(measured: list[dict[str, Any]], path: Path) -> None:
    """Step time over the share that is kept, axes for each network."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    archs, found = list(dict.fromkeys(one["arch"] for one in measured)), grouped(measured)
    figure = Figure(figsize=(5 * len(archs), 3.9), layout="constrained")
    for axes, arch in zip(figure.subplots(1, len(archs), squeeze=False)[0], archs, strict=True):
        for colour, engine in enumerate(ENGINES):
            own = {k: runs for (a, e, k), runs in found.items() if (a, e) == (arch, engine)}
            times = {k: 1e3 * statistics.median(one["step"] for one in runs) for k, runs in own.items()}
            if engine.startswith("sparse"):
                shares = sorted(times)
                axes.plot([100 * k for k in shares], [times[k] for k in shares], marker="o", label=engine)
            elif times:
                axes.axhline(times[1.0], label=engine, linestyle="--", color=f"C{colour}")
        axes.set(xscale="log", yscale="log", xlabel="weights kept (%)", ylabel="a step (ms)", title=arch)
        axes.set_xticks([100 * k for k in KEPT], [f"{100 * k:g}" for k in KEPT])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, ncols=3, loc="outside lower center")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--kept", nargs="+", type=float, default=KEPT)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=20 * BATCH, help="of the made-up data set")
    parser.add_argument("--json", type=Path, help="file for all that was measured; what is there is added to")
    parser.add_argument("--figure", type=Path, help="file for the picture")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*json.loads(options.only))))
        return
    where = made_with(torch.device("cpu"), "bf16 and float32")
    where["ONEDNN_MAX_CPU_ISA"] = os.environ.get("ONEDNN_MAX_CPU_ISA", "all that the processor has")
    print(where, flush=True)
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    if kept.get("with", where) != where:
        sys.exit(f"{options.json}: with: expected {where}, found {kept['with']}; choose another file")
    measured = kept.get("measured", [])
    for _ in range(options.runs):
        for arch in options.arch:
            for engine in options.engines:
                for share in options.kept if engine.startswith("sparse") else (1.0,):
                    measured.append(apart(engine, arch, share, options))
                    if options.json:
                        options.json.write_text(
                            json.dumps({"with": where, "measured": measured}, indent=1) + "\n"
                        )
    report(measured)
    if options.figure:
        draw(measured, options.figure)


if __name__ == "__main__":
    main()
