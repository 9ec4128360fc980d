"""Answers of a pruned network on a CPU: ours sparse beside dense PyTorch, `torch.sparse` and onnxruntime.

    python benchmarks/inference.py [--arch resnet20] [--kept 0.128 0.05] [--batch 1 128] [--json FILE]

Images per second and the time of a batch (median and 90th percentile), all in one process and in turn. In
`torch.sparse` a convolution is a product of its weight in CSR and the unfolded image. onnxruntime where it is
installed (with onnx, for the export). Memory that is freed is kept, as in our trainings, for all of them.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sparse_step import drawn_mask
from torch import Tensor, nn

from ticket_sig import sparsify
from ticket_sig.models import build
from ticket_sig.models.sparse.choice import whole
from ticket_sig.training.device import made_with
from ticket_sig.training.memory import keep_freed_memory

Answer = Callable[[Tensor], Any]


class CsrConv2d(nn.Module):
    """A convolution as a product with a matrix in CSR, as users of `torch.sparse` write it."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer, self.matrix = layer, layer.weight.detach().flatten(1).to_sparse_csr()

    def forward(self, x: Tensor) -> Tensor:
        """As `Conv2d`."""
        size, stride, padding = (self.layer.kernel_size, self.layer.stride, self.layer.padding)
        unfolded = F.unfold(x, size, padding=padding, stride=stride)  # type: ignore[arg-type]
        y = self.matrix @ unfolded.permute(1, 0, 2).flatten(1)
        y = y if self.layer.bias is None else y + self.layer.bias[:, None]
        side = [(x.shape[i + 2] + 2 * padding[i] - size[i]) // stride[i] + 1 for i in (0, 1)]
        return y.view(len(y), len(x), *side).transpose(0, 1)


def in_csr(model: nn.Module) -> nn.Module:
    """Every convolution in CSR, in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(module, name, CsrConv2d(child))
    return model


def in_onnxruntime(model: nn.Module, x: Tensor) -> Answer | None:
    """The network in onnxruntime; None where that or onnx is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return None
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"x": images.numpy()})[0])


def answers(arch: str, kept: float, batch: int) -> dict[str, Answer | None]:
    """All engines on one network."""
    model = build(arch, 10, seed=0).eval()
    mask = drawn_mask(model, kept)
    mask.bind(dict(model.named_parameters()))
    x = torch.randn(batch, 3, 32, 32)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sparse = copy.deepcopy(model)
    sparsify(sparse, mask, whole(sparse, mask))

    def bf16(network: nn.Module) -> Answer:
        def ask(images: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return network(images)  # type: ignore[no-any-return]

        return ask

    return {
        "sparse float32": sparse,
        "sparse bf16": bf16(sparse),
        "dense float32": last,
        "dense bf16": bf16(last),
        "torch.sparse CSR": in_csr(copy.deepcopy(model)),
        "onnxruntime": in_onnxruntime(model, x),
    }


@torch.no_grad()
def table(arch: str, kept: float, batch: int, runs: int) -> list[dict[str, Any]]:
    """Measures in turn, and prints a row for each engine."""
    engines, x = answers(arch, kept, batch), torch.randn(batch, 3, 32, 32)
    wanted = engines["dense float32"]
    for name, ask in engines.items():
        if ask is not None and wanted is not None and "bf16" not in name:
            torch.testing.assert_close(ask(x), wanted(x), rtol=1e-3, atol=1e-3, msg=name)
    times: dict[str, list[float]] = {name: [] for name, ask in engines.items() if ask is not None}
    for run in range(runs + 2):
        for name, taken in times.items():
            ask = engines[name]
            assert ask is not None
            start = time.perf_counter()
            ask(x)
            if run >= 2:
                taken.append(time.perf_counter() - start)
    rows, base = [], statistics.median(times["dense float32"])
    for name, taken in times.items():
        middle, slow = statistics.median(taken), sorted(taken)[int(0.9 * len(taken))]
        rows.append({"arch": arch, "kept": kept, "batch": batch, "engine": name, "seconds": taken})
        print(
            f"{arch}, {100 * kept:g} % kept, batch {batch}, {name}: {1e3 * middle:.2f} ms "
            f"(90 %: {1e3 * slow:.2f}), {batch / middle:.0f} images/s, "
            f"{base / middle:.2f} times dense float32",
            flush=True,
        )
    return rows


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--kept", nargs="+", type=float, default=(0.5, 0.25, 0.128, 0.05, 0.02, 0.01))
    parser.add_argument("--batch", nargs="+", type=int, default=(1, 128))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    options = parser.parse_args()
    keep_freed_memory()
    where = made_with(torch.device("cpu"), "float32 and bf16")
    print(where, flush=True)
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        print("onnxruntime: not measured, it is not installed (or onnx is not)")
    rows = [
        row
        for arch in options.arch
        for kept in options.kept
        for batch in options.batch
        for row in table(arch, kept, batch, options.runs)
    ]
    if options.json:
        options.json.write_text(json.dumps({"with": where, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
