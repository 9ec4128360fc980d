"""The standard python batches of CIFAR-10 and CIFAR-100, read without running what is in their pickles.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import io
import operator
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticket_sig.datasets.data import Split
from ticket_sig.errors import bad_input

_FILES = {
    "cifar10": ([f"data_batch_{n}" for n in range(1, 6)], ["test_batch"], b"labels"),
    "cifar100": (["train"], ["test"], b"fine_labels"),
}


def is_batches_folder(folder: Path, name: str) -> bool:
    """Whether a folder holds the python batches of this data set."""
    return name in _FILES and (folder / _FILES[name][1][0]).is_file()


def read_batches(folder: Path, name: str) -> tuple[Split, Split]:
    """Returns (train, test); InputError where a file is missing, cut short, of another kind or holds code."""
    train, test, label = _FILES[name]
    return _read_files(folder, train, label), _read_files(folder, test, label)


def _read_files(folder: Path, names: list[str], label: bytes) -> Split:
    parts = [_read_file(folder / name, label) for name in names]
    return Split(torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))


def _read_file(path: Path, label: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    if not path.is_file():
        raise bad_input(path, "file", "a CIFAR python batch", "none")
    try:
        batch = _ArraysOnly(path.read_bytes()).load()
        images, labels = _array(_entry(batch, b"data")), _whole_numbers(_entry(batch, label))
    except pickle.UnpicklingError as error:
        raise bad_input(path, "CIFAR python batch", "a pickle of arrays alone", str(error)) from None
    except TypeError as error:
        expected = f"data and {label.decode()} of whole numbers"
        raise bad_input(path, "CIFAR python batch", expected, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        found = f"a damaged file ({type(error).__name__}: {error})"
        raise bad_input(path, "CIFAR python batch", f"data and {label.decode()}", found) from None
    if labels.ndim != 1 or images.dtype != np.uint8 or images.shape != (len(labels), 3072):
        expected, found = f"uint8 [{labels.numel()}, 3072]", f"{images.dtype} {list(images.shape)}"
        raise bad_input(path, "data", expected, found)
    return torch.from_numpy(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()), labels


def _entry(batch: Any, key: bytes) -> Any:
    return batch[key] if key in batch else batch[key.decode()]


def _array(found: Any) -> np.ndarray[Any, Any]:
    if not isinstance(found, _Array):
        raise TypeError("data is no array")
    return found.to_numpy()


def _whole_numbers(found: Any) -> torch.Tensor:
    """Labels as a list or an array; those of a list may be numpy's own numbers."""
    if isinstance(found, _Array):
        return torch.from_numpy(found.to_numpy().astype(np.int64))
    if not isinstance(found, (list, tuple)):
        raise TypeError(f"labels are {type(found).__name__}")
    numbers = [
        int(one.to_numpy().item()) if isinstance(one, _Array) else operator.index(one) for one in found
    ]
    return torch.tensor(numbers, dtype=torch.int64)


# What follows stands in for what numpy's pickles name. Each keeps what it is given, and looks at it only once
# the file is read: nothing of numpy sees the file's own types and sizes. Each takes a state (`__setstate__`):
# else the unpickler would set any attributes that a file names, also of these classes.


class _Dtype:
    """Stands in for numpy.dtype: its name, such as u1, and its byte order."""

    def __init__(self, name: Any, *rest: Any) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def code(self) -> str:
        """As numpy writes it, such as |u1; TypeError where it is no type of whole numbers."""
        name, order = (part.decode() if isinstance(part, bytes) else part for part in (self.name, self.order))
        if not re.fullmatch(r"[<>=|][ui][1248]", f"{order}{name}"):
            raise TypeError(f"numbers of type {name}, not whole ones")
        return f"{order}{name}"


class _Array:
    """Stands in for numpy.ndarray, and for the function that makes one to be filled."""

    state: Any = None

    def __init__(self, *rest: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """The array, within the bytes that the file has for it."""
        _, shape, dtype, fortran, raw = self.state
        return np.asarray(np.frombuffer(raw, dtype.code()).reshape(shape, order="F" if fortran else "C"))


class _Scalar(_Array):
    """Stands in for one of numpy's numbers."""

    def __init__(self, dtype: Any, raw: Any) -> None:
        self.state = None, (), dtype, False, raw


class _Buffer(_Array):
    """Stands in for an array as protocol 5 has it; in an order other than C or F it is never looked at."""

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any, *rest: Any) -> None:
        if order in ("C", "F"):
            self.state = None, shape, dtype, order == "F", raw


class _Encoded:
    """Stands in for what protocols below 3 make bytes by: codecs.encode, and `bytes` for none.

    It encodes a text once, however often a file asks for it, so that a small file cannot fill the memory.
    """

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def __setstate__(self, state: Any) -> None:
        raise TypeError("a function has no state")

    def __call__(self, text: Any = "", encoding: Any = None) -> bytes:
        if not isinstance(text, str):
            raise TypeError("bytes of no text")
        if text not in self._known:
            self._known[text] = text.encode("latin1")
        return self._known[text]


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")  # of numpy 1 and 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _ArraysOnly(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        encode = _Encoded()
        self._own = {**_STAND_INS, ("_codecs", "encode"): encode, ("__builtin__", "bytes"): encode}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._own:
            raise pickle.UnpicklingError(f"the code {module}.{name}, which was not run")
        return self._own[module, name]
