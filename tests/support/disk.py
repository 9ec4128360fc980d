"""Disks that fail, at the border to the operating system; nothing of ticket_sig is replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can grow over so many bytes while the block runs: a write fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """The kernel takes the data and finds no room when it is flushed (ENOSPC), as with delayed allocation."""

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with patch("os.fsync", fail):
        yield


@contextlib.contextmanager
def read_only() -> Iterator[None]:
    """Nothing new can be made anywhere, as in a folder of somebody else (EACCES), also where root asks."""
    opened = os.open

    def refuse(path: str, *rest: object, **more: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def open_only(path: str, flags: int, *rest: int, **more: int) -> int:
        return refuse(path) if flags & os.O_CREAT else opened(path, flags, *rest, **more)  # type: ignore

    with patch("os.mkdir", refuse), patch("os.open", open_only):
        yield


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: bytes by relative path, None for a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of the user's is known, as in a container for a user of a number alone."""
    for name in ("TICKET_SIG_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
