"""Weights that are read in parts: a model in memory, or safetensors files of any size, never loaded whole."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import InputError, bad_input
from ticket_sig.files import read_json
from ticket_sig.formats.layouts import shared_prefix
from ticket_sig.formats.safetensors_file import check_safetensors

INDEX = "model.safetensors.index.json"
_ONE = "model.safetensors"


class Weights(Protocol):
    """The tensors of a model by plain parameter name, tied ones under their first."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor."""

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """Type of every tensor."""

    def tensor(self, name: str) -> Tensor:
        """One whole tensor."""

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """The entries of one tensor at these places of its C-order flattening, 1-D, in its own dtype."""


class InMemory:
    """A state dict; tensors that are one object count once."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        first = {id(t): name for name, t in reversed(list(tensors.items()))}
        self._tensors = {name: t for name, t in tensors.items() if first[id(t)] == name}
        self.shapes = {name: tuple(t.shape) for name, t in self._tensors.items()}
        self.dtypes = {name: t.dtype for name, t in self._tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """One whole tensor."""
        return self._tensors[name].detach()

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """Entries of one tensor."""
        tensor = self.tensor(name)
        return tensor.take(torch.from_numpy(places).to(tensor.device))


class Shards:
    """Safetensors files, mapped into memory: reading takes the pages that are looked at.

    Args:
        path: a file; or a folder with `model.safetensors`, or with `model.safetensors.index.json` and
            the shards that it names.

    Raises:
        InputError: a file is missing or damaged, or the index and its shards differ; each is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = _files(path)
        self._home: dict[str, tuple[Path, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        stored: dict[str, Path] = {}
        for file in self.files:
            check_safetensors(file)
            with safetensors.safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - no Mapping
                    if name in stored:
                        raise bad_input(
                            file, name, "a tensor of one file", f"one of {stored[name].name}, too"
                        )
                    stored[name] = file
        _check_index(path, stored)
        prefix = shared_prefix(stored)
        for name, file in stored.items():
            self._home[name.removeprefix(prefix)] = file, name
        for name in sorted(self._home):
            part = self.tensor(name)
            self.shapes[name], self.dtypes[name] = tuple(part.shape), part.dtype

    def tensor(self, name: str) -> Tensor:
        """One whole tensor, mapped: nothing is read before it is looked at."""
        file, stored = self._home[name]
        return self._open(file).get_tensor(stored)  # type: ignore[no-any-return,no-untyped-call]

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """Entries of one tensor."""
        return self.tensor(name).reshape(-1)[torch.from_numpy(places)]

    def home(self, name: str) -> tuple[Path, str]:
        """The file that holds a tensor, and its name there."""
        return self._home[name]

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a few open files, closed with the object
    def _open(self, file: Path) -> safetensors.safe_open:
        return safetensors.safe_open(file, framework="pt")


def is_safetensors(path: Path) -> bool:
    """Whether a path can be read as `Shards`: a safetensors file, or a folder with a model in them."""
    if path.is_dir():
        return (path / INDEX).is_file() or (path / _ONE).is_file()
    return path.suffix == ".safetensors"


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if not (path / INDEX).is_file():
        return [path / _ONE]
    names = sorted(set(_index(path).values()))
    if missing := [name for name in names if not (path / name).is_file()]:
        raise bad_input(path / INDEX, "shards", f"{len(names)} files", f"no {', '.join(missing)}")
    return [path / name for name in names]


def _index(path: Path) -> dict[str, str]:
    found = read_json(path / INDEX).get("weight_map")
    if not isinstance(found, dict) or not all(_is_file_name(name) for name in found.values()) or not found:
        raise bad_input(path / INDEX, "weight_map", "file names by tensor", repr(found)[:80])
    return found


def _is_file_name(name: object) -> bool:
    # An index from outside must not lead out of its folder.
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\\" not in name


def _check_index(path: Path, stored: Mapping[str, Path]) -> None:
    if not path.is_dir() or not (path / INDEX).is_file():
        return
    wanted = _index(path)
    lost = [f"{n}: expected in {f}, not found" for n, f in wanted.items() if n not in stored]
    moved = [
        f"{n}: expected in {f}, found in {stored[n].name}"
        for n, f in wanted.items()
        if n in stored and stored[n].name != f
    ]
    if problems := lost + moved:
        raise InputError(f"{path / INDEX}: " + "; ".join(problems[:20]), named=True)
