"""Whole inputs to damage, and what damages them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from support import taught
from support.command_line import done
from support.damage import flip
from support.make_fixtures import FIXTURES
from torch import Tensor

from ticket_sig.digests import tensor_digest


def fixture(folder: Path, name: str) -> Path:
    """A copy of a fixture, to be damaged."""
    source, target = FIXTURES / name, folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir()
        for file in source.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    else:
        target.write_bytes(source.read_bytes())
    return target


def plain(folder: Path, name: str, state: dict[str, Tensor]) -> Path:
    """A .safetensors file of any tensors."""
    safetensors.torch.save_file(state, folder / name)
    return folder / name


def bundle(folder: Path, **files: dict[str, Tensor]) -> Path:
    """A bundle of any tensors, with the right digests."""
    path = folder / "BUNDLE"
    path.mkdir()
    for name, tensors in files.items():
        safetensors.torch.save_file(tensors, path / f"{name}.safetensors")
    digests = {f"{name}.safetensors": tensor_digest(tensors) for name, tensors in files.items()}
    head = {"format": "ticket_sig ticket", "version": 1, "history": [], "digests": digests}
    (path / "ticket.json").write_text(json.dumps(head))
    return path


def claim(folder: Path, **changes: Any) -> Path:
    """The claim of the signed fixture with other fields; `placement` and `qr` change single entries."""
    value = json.loads((FIXTURES / "bundle-v1-signed" / "claim.json").read_text())
    for part in ("placement", "qr"):
        value["signature"][part] |= changes.pop(part, {})
    if "message" in changes:
        value["signature"]["message"] = changes.pop("message")
    (folder / "claim.json").write_text(json.dumps(value | changes))
    return folder / "claim.json"


def edit_json(path: Path, **changes: Any) -> None:
    """Changes fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_mark(path: Path, **changes: Any) -> Path:
    """Changes fields of the first mark of a claim."""
    value = json.loads(path.read_text())
    value["marks"][0]["fields"] |= changes
    path.write_text(json.dumps(value))
    return path


def images(folder: Path, size: int = 8) -> Path:
    """A small image folder of two classes."""
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("dark", "light"):
            (folder / "IMAGES" / part / name).mkdir(parents=True)
            for index in range(4):
                pixels = draw.integers(0, 128, (size, size), dtype=np.uint8) + (128 if name == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / "IMAGES" / part / name / f"{index}.png"
                )
    return folder / "IMAGES"


def batches(folder: Path) -> Path:
    """CIFAR-10's python batches, with 4 images each."""
    (folder / "CIFAR").mkdir()
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        content = {b"data": np.zeros((4, 3072), dtype=np.uint8), b"labels": [0, 1, 2, 3]}
        (folder / "CIFAR" / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder / "CIFAR"


def parquet(folder: Path, **columns: list[Any]) -> Path:
    """A Hugging Face folder with these columns."""
    import pyarrow
    import pyarrow.parquet

    (folder / "PARQUET").mkdir()
    for part in ("train", "test"):
        file = folder / "PARQUET" / f"{part}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return folder / "PARQUET"


def search(folder: Path, *more: Any, data: Path | None = None) -> list[Any]:
    """A `find` that takes a second on a small image folder."""
    data = data or images(folder)
    recipe = ["--dataset", "images", "--preset", "demo", "--epochs", 1, "--precision", "float32"]
    return ["find", *recipe, "--data", data, "--out", folder / "RUN", *more]


def embed(folder: Path, model: Path, *more: Any, message: str = "owner-1") -> list[Any]:
    """The arguments of `embed`."""
    return ["embed", model, "--message", message, "--out", folder / "SIGNED", *more]


def cut_in_half(path: Path) -> Path:
    """Leaves the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def flip_after(path: Path, mark: bytes, bit: int = 0) -> Path:
    """Flips a bit of the byte after a mark."""
    data = path.read_bytes()
    path.write_bytes(flip(data, 8 * (data.index(mark) + len(mark)) + bit))
    return path


def shown(folder: Path) -> list[Any]:
    """The options that show a claim on a trigger set, and the set."""
    (folder / "claim.json").write_text(json.dumps(taught.claim().to_json()))
    (folder / "triggers.json").write_text(json.dumps(taught.SECRET.to_json()))
    return ["--claim", folder / "claim.json", "--triggers", folder / "triggers.json"]


def marked(folder: Path, mark: str, *options: Any) -> Path:
    """The claim of a small network with a mark in its weights."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (40, 30), "b.weight": (6, 40)}
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    model = plain(folder, "owner.pt", weights)
    done(["embed", model, "--mark", mark, *options, "--out", folder / "MARKED"])
    return folder / "MARKED" / "claim.json"


def verify(folder: Path, path: Path, verb: str = "verify", model: str = "state.pt") -> list[Any]:
    return [verb, fixture(folder, model), "--claim", path]
