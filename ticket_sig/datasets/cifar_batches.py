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
from ticket_sig.formats.pickled import ENCODE, Noted, Notes, entries_of, name_of

_FILES = {
    "cifar10": ([f"data_batch_{n}" for n in range(1, 6)], ["test_batch"], b"labels"),
    "cifar100": (["train"], ["test"], b"fine_labels"),
}
_CODES = {  # that a batch may name
    *("numpy.dtype", "numpy.ndarray", ENCODE, "builtins.bytes"),
    *(
        f"numpy.{core}.{function}"
        for core in ("core", "_core")  # of numpy 1 and 2
        for function in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    ),
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
        batch = _load(path)
        images, labels = _array(_entry(batch, b"data"), "data is"), _whole_numbers(_entry(batch, label))
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


def _load(path: Path) -> Any:
    notes = Notes(io.BytesIO(path.read_bytes()), encoding="bytes")
    batch = notes.load()
    if others := [code for code in notes.codes if code not in _CODES]:
        raise pickle.UnpicklingError(f"the code {others[0]}, which was not run")
    return batch


def _entry(batch: Any, key: bytes) -> Any:
    entries = entries_of(batch)
    if entries is None:
        raise TypeError(f"a {_kind(batch)}")
    return entries[key] if key in entries else entries[key.decode()]


def _whole_numbers(found: Any) -> torch.Tensor:
    """Labels as a list or an array; those of a list may be numpy's own numbers."""
    if not isinstance(found, (list, tuple)):
        return torch.from_numpy(_array(found, "labels are").astype(np.int64))
    numbers = [
        int(_array(one, "a label is").item()) if isinstance(one, Noted) else operator.index(one)
        for one in found
    ]
    return torch.tensor(numbers, dtype=torch.int64)


def _array(found: Any, what: str) -> np.ndarray[Any, Any]:
    """An array or one of numpy's numbers, within the bytes that the file has for it; TypeError for others."""
    kind, fortran = _kind(found), False
    if kind == "_reconstruct":
        _, shape, dtype, fortran, raw = found.state
    elif kind == "_frombuffer":  # as protocol 5 has it
        raw, dtype, shape, order = found.args[:4]
        fortran = {"C": False, "F": True}[order]
    elif kind == "scalar":
        (dtype, raw), shape = found.args, ()
    else:
        raise TypeError(f"{what} {kind}")
    flat = np.frombuffer(_bytes(raw), _type(dtype))
    return np.asarray(flat.reshape(shape, order="F" if fortran else "C"))


def _kind(found: Any) -> str:
    return (name_of(found) or type(found).__name__).rpartition(".")[2]


def _type(dtype: Any) -> str:
    """As numpy writes it, such as |u1; TypeError where it is no type of whole numbers."""
    if name_of(dtype) != "numpy.dtype":
        raise TypeError("numbers of no type")
    name, order = dtype.args[0], dtype.state[1] if dtype.state else "|"
    name, order = (part.decode() if isinstance(part, bytes) else part for part in (name, order))
    if not re.fullmatch(r"[<>=|][ui][1248]", f"{order}{name}"):
        raise TypeError(f"numbers of type {name}, not whole ones")
    return f"{order}{name}"


def _bytes(raw: Any) -> Any:
    """Bytes; protocols below 3 make them of a text, or of nothing."""
    if not isinstance(raw, Noted):
        return raw
    return raw.args[0].encode("latin1") if raw.code == ENCODE else b""
