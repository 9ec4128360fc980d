"""Models in many safetensors files, and files that no library would write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ticket_sig.formats.weights import DTYPES

INDEX = "model.safetensors.index.json"
FLOATS = ["bfloat16", "float16", "float32", "float64"]
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A small dense model with the buffers of a norm."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (40, 36, 3, 3), "b.weight": (64, 48), "b.bias": (64,), "norm.running_mean": (64,)}
    tensors = {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()}
    return {**tensors, "norm.num_batches_tracked": torch.tensor(7)}


def write_shards(folder: Path, tensors: Mapping[str, Tensor], count: int = 3) -> Path:
    """Writes a folder of shards with its index and configuration."""
    folder.mkdir(parents=True)
    names, index = list(tensors), {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: tensors[name] for name in names[number::count]}
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
        index.update(dict.fromkeys(part, file))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text('{"layers": 2}')
    return folder


def write_packed(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Writes a file whose tensors lie one after the other, wherever that is: most are not aligned."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        ends = [len(data), len(data) + len(content)]
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": ends}
        data += content
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return path


def packed() -> dict[str, Tensor]:
    """Tensors of odd sizes, among them one without entries and one without a shape."""
    tensors = {name: torch.arange(23).to(getattr(torch, name)) for name in FLOATS}
    return {
        "odd": torch.tensor([True, False, True]),
        "none": torch.ones(0, 3),
        "one": torch.tensor(2.5),
    } | tensors
