"""Weights that are read in parts: a model in memory, or safetensors files of any size, never loaded whole."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import InputError, bad_input, some
from ticket_sig.fields import SHOWN
from ticket_sig.formats.dense import read_as
from ticket_sig.formats.folder import files_of
from ticket_sig.formats.kinds import other_kind
from ticket_sig.formats.names import names_in, plain_names
from ticket_sig.formats.safetensors_file import check_safetensors, looks_like_safetensors
from ticket_sig.ticket import copies_of, ties

DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    **({"F8_E8M0": torch.float8_e8m0fnu} if hasattr(torch, "float8_e8m0fnu") else {}),  # from torch 2.7 on
}
_WINDOW = 1 << 24  # bytes that are mapped at a time: mapped pages count as memory that the process uses
_FEW = 128  # places of a window; for more of them the system does well to read what lies between, too
_MOST_DIMENSIONS, _MOST_ENTRIES = 64, 2**48  # more is beyond what torch can take
_T = TypeVar("_T")


class Weights(Protocol):
    """The tensors of a model by plain parameter name."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor; of those that share their memory, the first name alone is listed."""

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors, of tied ones each."""

    @property
    def copies(self) -> Mapping[str, str]:
        """Tied weights, in memory or as equal copies: {name: first name}."""

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """Type of every tensor."""

    def tensor(self, name: str) -> Tensor:
        """One whole tensor."""

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """The entries of one tensor at these places of its C-order flattening, 1-D, in its own dtype."""


class InMemory:
    """A state dict; tensors that are one in memory are listed once, and found under each of their names.

    Floats of 8 bits are read as float32.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors, self.copies = dict(tensors), ties(tensors)
        self.names = list(tensors)
        listed = [name for name in tensors if name not in self.copies]
        self.shapes = _ByName(listed, lambda name: tuple(self._tensors[name].shape))
        self.dtypes = _ByName(listed, lambda name: read_as(self._tensors[name].dtype))

    def tensor(self, name: str) -> Tensor:
        """One whole tensor."""
        return self._tensors[name].detach().to(self.dtypes[name])

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """Entries of one tensor."""
        tensor = self.tensor(name)
        return tensor.take(torch.from_numpy(places).to(tensor.device))


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies; `start` is that of its first byte in the file."""

    file: Path
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def count(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)


class Shards:
    """Safetensors files that are read in parts; opening them takes their headers alone.

    Args:
        path: a file, an index, or the folder of a model (`files_of`).

    Attributes:
        files: that hold tensors.
        folder: that they lie in; None for a file that was named itself.
        index: that names them, if one does.
        stored: where each tensor lies, and as what; floats of 8 bits are read as float32.

    Raises:
        InputError: a file is missing or damaged, or the index and its shards differ; each is named.
    """

    def __init__(self, path: Path) -> None:
        found = files_of(path)
        self.files, self.folder, self.index = found.files, found.folder, found.index
        stored = found.merged(_header)
        plain = plain_names({name: stored[name].shape for name in sorted(stored)})
        self.stored = {name: stored[there] for there, name in plain.items()}
        self.names = list(self.stored)
        self.shapes = {name: one.shape for name, one in self.stored.items()}
        self.dtypes = {name: read_as(one.dtype) for name, one in self.stored.items()}

    @cached_property
    def copies(self) -> Mapping[str, str]:
        """Equal copies, as files keep tied weights; few entries are read, but of those that may be copies."""
        return copies_of(_ByName(self.shapes, self._mapped))

    def tensor(self, name: str) -> Tensor:
        """One whole tensor, mapped: nothing is read before it is looked at, and writing changes no file.

        Floats of 8 bits are read whole.
        """
        return self._mapped(name).to(self.dtypes[name])

    def _mapped(self, name: str) -> Tensor:
        """One whole tensor in the type that it is stored as."""
        one = self.stored[name]
        if not one.count:
            return torch.empty(one.shape, dtype=one.dtype)
        skipped = one.start % mmap.ALLOCATIONGRANULARITY
        size = skipped + one.count * one.dtype.itemsize
        with one.file.open("rb") as file:
            part = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY, offset=one.start - skipped)
        flat = torch.frombuffer(part, dtype=one.dtype, count=one.count, offset=skipped)
        return flat.reshape(one.shape)

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """Entries of one tensor. Takes memory in proportion to the number of places.

        Raises:
            IndexError: a place that the tensor has not.
        """
        one = self.stored[name]
        if len(places) and (places.min() < 0 or places.max() >= one.count):
            raise IndexError(f"{name} has {one.count} entries; asked for {places.min()} to {places.max()}")
        size = one.dtype.itemsize
        order = np.argsort(places, kind="stable")
        found = np.empty((len(places), size), dtype=np.uint8)
        found[order] = _read_entries(one.file, one.start + places[order] * size, size)
        return torch.from_numpy(found.reshape(-1)).view(one.dtype).to(self.dtypes[name])


class Renamed:
    """Weights in which some tensors are found under further names: {further name: its name there}."""

    def __init__(self, weights: Weights, names: Mapping[str, str]) -> None:
        self._weights, self._names = weights, names
        self.shapes = _ByName(weights.shapes, lambda name: weights.shapes[names.get(name, name)])
        self.dtypes = _ByName(weights.dtypes, lambda name: weights.dtypes[names.get(name, name)])
        self.names = [*weights.names, *names]
        self.copies = {
            **weights.copies,
            **{n: weights.copies.get(there, there) for n, there in names.items()},
        }

    def tensor(self, name: str) -> Tensor:
        """One whole tensor."""
        return self._weights.tensor(self._names.get(name, name))

    def take(self, name: str, places: NDArray[np.int64]) -> Tensor:
        """Entries of one tensor."""
        return self._weights.take(self._names.get(name, name), places)


def find_in(weights: Weights, claimed: Mapping[str, Sequence[int] | None]) -> dict[str, str]:
    """The names under which weights have claimed tensors; as `names_in`, tied names among them."""
    if all(name in weights.shapes for name in claimed):
        return {name: name for name in claimed}
    return names_in(claimed, {name: weights.shapes[name] for name in weights.names})


def is_safetensors(path: Path) -> bool:
    """Whether a path can be read as `Shards`: a safetensors file, or a model in them, by their content."""
    if not path.exists():
        return False
    try:
        return all(map(_is_one, files_of(path).files))
    except InputError:  # `load` says why
        return False


def _is_one(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return looks_like_safetensors(file.read(16))


def tensors_of(weights: Weights) -> Mapping[str, Tensor]:
    """The tensors by name, each of them read when it is asked for."""
    return _ByName(weights.shapes, weights.tensor)


class _ByName(Mapping[str, _T]):
    """Values that are made when they are asked for; there may be more names than are listed."""

    def __init__(self, listed: Collection[str], value: Callable[[str], _T]) -> None:
        self._listed, self._value = listed, value

    def __getitem__(self, name: str) -> _T:
        return self._value(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def _read_entries(path: Path, positions: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Reads `size` bytes at each of these positions, ascending, of a file: uint8 [len(positions), size]."""
    found = np.empty((len(positions), size), dtype=np.uint8)
    within = np.arange(size)
    first = 0
    with path.open("rb") as file:
        length = file.seek(0, 2)
        while first < len(positions):
            base = int(positions[first]) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
            last = int(np.searchsorted(positions, base + _WINDOW - size, "right"))
            part = min(_WINDOW, length - base)
            with mmap.mmap(file.fileno(), part, access=mmap.ACCESS_READ, offset=base) as window:
                if last - first < _FEW and hasattr(window, "madvise"):
                    window.madvise(mmap.MADV_RANDOM)
                view = np.frombuffer(window, dtype=np.uint8)
                try:
                    found[first:last] = view[(positions[first:last] - base)[:, None] + within]
                finally:
                    del view  # a window in use cannot be closed
            first = last
    return found


def _header(path: Path) -> dict[str, Stored]:
    """Where the tensors of a file lie; InputError where it is damaged, or torch has no such type or shape."""
    if path.is_file() and not _is_one(path):
        raise other_kind(path, "a safetensors file")
    check_safetensors(path)  # that offsets, shapes and the length of the file fit together
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    types = {name: one["dtype"] for name, one in header.items()}
    if odd := [f"{name[:SHOWN]}: {kind}" for name, kind in types.items() if kind not in DTYPES]:
        raise bad_input(path, "types", f"among {', '.join(DTYPES)}", some(odd))
    stored = {}
    for name, one in header.items():
        start, shape = 8 + length + one["data_offsets"][0], tuple(one["shape"])
        # An empty tensor may be of any sizes, as far as the length of the file goes.
        entries = math.prod(size or 1 for size in shape[:_MOST_DIMENSIONS])
        if len(shape) > _MOST_DIMENSIONS or entries >= _MOST_ENTRIES:
            most = f"at most {_MOST_DIMENSIONS} dimensions, sizes of fewer than 2^48 entries"
            raise bad_input(path, f"shape of {name[:SHOWN]}", most, repr(one["shape"])[:SHOWN])
        stored[name] = Stored(path, start, shape, DTYPES[types[name]])
    return stored
