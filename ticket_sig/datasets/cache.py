"""Decoded images, kept as a safetensors file: decoding CIFAR takes seconds, reading it back none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ticket_sig.datasets.data import Split, by_name
from ticket_sig.datasets.entries import files_below
from ticket_sig.digests import short_digest, tensor_digest
from ticket_sig.errors import InputError
from ticket_sig.files import cache_folder
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors

_FORMAT = 2  # 1 counted hidden folders as classes, and had 16-bit grey images white


def cached(
    folder: Path, name: str, columns: Sequence[str], read: Callable[[], tuple[Split, Split]]
) -> tuple[Split, Split]:
    """Returns read(), or what it returned the last time for the same unchanged files and names of columns.

    A cache that was damaged is made again; a cache that cannot be read or written is done without.
    """
    digest = _fingerprint(folder, name, columns)
    try:
        file = cache_folder() / f"{name}-{digest}.safetensors"
    except OSError:
        return read()
    with contextlib.suppress(InputError, KeyError, OSError):
        found = read_safetensors(file)
        if read_metadata(file).get("ticket_sig") == tensor_digest(found):
            train, test = (Split(found[f"{s}.images"], found[f"{s}.labels"]) for s in ("train", "test"))
            return train, test
    train, test = read()
    with contextlib.suppress(OSError):
        parts = by_name(train, test)
        write_safetensors(file, parts, tensor_digest(parts))
    return train, test


def _fingerprint(folder: Path, name: str, columns: Sequence[str]) -> str:
    # A link to nothing is no error here: it may be no part of the data, and `read_entry` names it if it is.
    found = {str(path.relative_to(folder)): path for path in files_below(folder)}
    states = {name: path.stat() if path.exists() else path.lstat() for name, path in found.items()}
    files = {file: [state.st_size, state.st_mtime_ns] for file, state in states.items()}
    read_as = {"format": _FORMAT, "name": name, "columns": list(columns)}
    return short_digest({**read_as, "folder": str(folder.resolve()), "files": files}, 16)
