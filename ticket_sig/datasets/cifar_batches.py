"""The standard python batches of CIFAR-10 and CIFAR-100, read without running what is in their pickles.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import io
import pickle
from importlib import import_module
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
# All that these files are made of; anything else in them is refused. `_codecs.encode` is how
# protocol 2 stores bytes that Python 3 wrote.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}


def is_batches_folder(folder: Path, name: str) -> bool:
    """Whether a folder holds the python batches of this data set."""
    return name in _FILES and (folder / _FILES[name][1][0]).is_file()


def read_batches(folder: Path, name: str) -> tuple[Split, Split]:
    """Returns (train, test).

    Raises:
        InputError: a file is missing, cut short, of another kind, or holds code.
    """
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
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[label], dtype=np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise bad_input(
                path, "data", f"uint8 [{len(labels)}, 3072]", f"{pixels.dtype} {list(pixels.shape)}"
            )
    except pickle.UnpicklingError as error:
        raise bad_input(path, "CIFAR python batch", "a pickle of arrays alone", str(error)) from None
    except (
        KeyError,
        TypeError,
        EOFError,
        IndexError,
        AttributeError,
        ImportError,
        OverflowError,
        MemoryError,
    ) as error:
        found = f"a damaged file ({type(error).__name__}: {error})"
        raise bad_input(path, "CIFAR python batch", f"data and {label.decode()}", found) from None
    return torch.from_numpy(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()), torch.from_numpy(
        labels
    )


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _RECONSTRUCT:
            return np.empty(0).__reduce__()[0]
        if (module, name) in _ALLOWED:
            return getattr(import_module(module), name)
        raise pickle.UnpicklingError(f"the code {module}.{name}, which was not run")
