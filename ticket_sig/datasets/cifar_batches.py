"""The standard python batches of CIFAR-10 and CIFAR-100, read without running what is in their pickles.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import io
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
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pixels, labels = _entry(batch, b"data"), torch.tensor(_entry(batch, label), dtype=torch.int64)
        if not isinstance(pixels, _Array):
            raise TypeError("data is no array")
        images = pixels.to_numpy()
    except pickle.UnpicklingError as error:
        raise bad_input(path, "CIFAR python batch", "a pickle of arrays alone", str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        found = f"a damaged file ({type(error).__name__}: {error})"
        raise bad_input(path, "CIFAR python batch", f"data and {label.decode()}", found) from None
    if labels.ndim != 1 or images.dtype != np.uint8 or images.shape != (len(labels), 3072):
        expected, found = f"uint8 [{labels.numel()}, 3072]", f"{images.dtype} {list(images.shape)}"
        raise bad_input(path, "data", expected, found)
    return torch.from_numpy(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()), labels


def _entry(batch: Any, key: bytes) -> Any:
    return batch[key] if key in batch else batch[key.decode()]


class _Dtype:
    """Stands in for numpy.dtype: its name alone."""

    def __init__(self, name: Any, *rest: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands in for numpy.ndarray: what it was pickled as, without numpy looking at it."""

    def __init__(self, *rest: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray[Any, Any]:
        _, shape, dtype, fortran, raw = self.state
        if not re.fullmatch(r"[ui][1248]", dtype.name):
            raise TypeError(f"an array of {dtype.name}")
        return np.asarray(np.frombuffer(raw, dtype.name).reshape(shape, order="F" if fortran else "C"))


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"the code {module}.{name}, which was not run")
        return _STAND_INS[module, name]
