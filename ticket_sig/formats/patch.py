"""Copies of safetensors models with other values in single entries: one pass, never loaded whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.formats.bundle import CLAIM
from ticket_sig.formats.folder import ONE
from ticket_sig.formats.weights import Shards
from ticket_sig.mask import dtype_name
from ticket_sig.progress import Progress, Silent

# A copy is given away: only what readers of models need, or what goes with every model, is in it.
_TAKEN = (".json", ".txt", ".md", ".model", ".py", ".jinja")
_TAKEN_NAMES = ("license", "notice", "readme")
# Whatever else their names say, such files hold the weights as they were.
_HOLDS_WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz", ".h5", ".msgpack", ".onnx", ".gguf"),
    ".index.json",
)
_CHUNK = 1 << 22

Entries = tuple[NDArray[np.int64], Tensor]  # places of a tensor's C-order flattening, ascending; their values


def copy_files(
    weights: Shards, folder: Path, changed: Mapping[str, Entries], progress: Progress | None = None
) -> None:
    """Copies safetensors files into a folder, with other values in some entries; all else bit for bit.

    A single file becomes `model.safetensors`, under which name readers look for it. Takes memory in
    proportion to the number of entries.

    Args:
        changed: places and values by tensor name; values are rounded to the tensor's own dtype. Copies
            of a tensor (tied weights) get the same.
        progress: counts the files' bytes.

    Raises:
        InputError: a tensor to be changed is of 8-bit floats, which are too coarse for values.
        OSError: the disk is full.
    """
    progress = progress or Silent()
    changed = {**changed, **{n: changed[first] for n, first in weights.copies.items() if first in changed}}
    progress.begin("weights", sum(file.stat().st_size for file in weights.files))
    buffer, done = bytearray(_CHUNK), 0
    for file in weights.files:
        positions, values = _bytes_to_write(weights, file, changed)
        target, start = folder / (file.name if weights.folder else ONE), 0
        with file.open("rb") as read, target.open("wb") as write:
            while size := read.readinto(buffer):
                first, last = np.searchsorted(positions, (start, start + size))
                np.frombuffer(buffer, dtype=np.uint8)[positions[first:last] - start] = values[first:last]
                write.write(memoryview(buffer)[:size])
                start, done = start + size, done + size
                progress.advance(done)


def other_files(weights: Shards) -> tuple[list[Path], list[str]]:
    """What belongs beside the weights in a copy of a model folder: its index, configuration, tokenizer.

    A copy is meant to be given away. Taken are text files of the kinds that models come with, by their
    names; not a file that only its owner may read, our own files (claims, keys, tickets), JSON that does not
    parse, other files of weights, or hidden ones.

    Returns:
        Files to copy; and names of what to leave, hidden files aside.

    Raises:
        InputError: a file is a link that leads out of the folder: what it leads to was hardly meant to be
            given away. In a download cache, links of `snapshots/REVISION` may lead to `blobs`.
    """
    path = weights.folder
    if path is None:
        return [], []
    taken: list[Path] = []
    left: list[Path] = []
    for file in sorted(path.iterdir()):
        if file in weights.files or file.name.startswith("."):
            continue
        index = file == weights.index  # without it no copy could be read
        (taken if index or _may_be_given_away(file) else left).append(file)
    _check_links(path, [*weights.files, *taken])
    return taken, [file.name for file in left]


def _may_be_given_away(file: Path) -> bool:
    name = file.name.lower()
    known = name.endswith(_TAKEN) or name.startswith(_TAKEN_NAMES)
    if not known or name == CLAIM or name.endswith(_HOLDS_WEIGHTS):
        return False
    if not file.is_file() or not file.stat().st_mode & 0o077:
        return False
    return not name.endswith(".json") or not _may_be_ours(file)


def _may_be_ours(file: Path) -> bool:
    """Whether JSON is of a format of ours, as far as can be told: what was cut may be."""
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return True
    return isinstance(value, dict) and str(value.get("format")).startswith("ticket_sig")


def _check_links(path: Path, files: Sequence[Path]) -> None:
    home = path.resolve()
    homes = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    for file in files:
        if not any(file.resolve().is_relative_to(h) for h in homes):
            hint = "copy the folder with what its links lead to"
            raise bad_input(file, "file", "one of its folder", "a link that leads out of it", hint=hint)


def _bytes_to_write(
    weights: Shards, file: Path, changed: Mapping[str, Entries]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Positions in a file, ascending, and the bytes that belong there."""
    positions, values = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint8)]
    here = [(weights.stored[name], *entries) for name, entries in changed.items()]
    if odd := [n for n in changed if weights.stored[n].dtype != weights.dtypes[n]]:
        expected, found = "floats of 16 bits or more", dtype_name(weights.stored[odd[0]].dtype)
        hint = "save the model as bfloat16 or float32 first"
        raise bad_input(weights.stored[odd[0]].file, odd[0], expected, found, hint=hint)
    for one, places, new in sorted((o for o in here if o[0].file == file), key=lambda o: o[0].start):
        starts = one.start + places * one.dtype.itemsize
        positions.append((starts[:, None] + np.arange(one.dtype.itemsize)).reshape(-1))
        values.append(new.to(one.dtype).contiguous().view(torch.uint8).numpy())
    return np.concatenate(positions), np.concatenate(values)
