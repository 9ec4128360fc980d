"""Files and folders that are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ticket_sig.errors import bad_input
from ticket_sig.fields import parse_json

_LONGEST = 1 << 28  # bytes of JSON; a sparse file may have any length
SECRET = 0o600  # the mode of files that only their owner may read
PARTIAL = ".partial-"  # what an interrupted write leaves behind begins with this


def cache_folder() -> Path:
    """$TICKET_SIG_CACHE, else ticket_sig under $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("TICKET_SIG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ticket_sig"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    # Windows cannot open a folder; there a rename is as durable as it gets.
    with contextlib.suppress(PermissionError):
        _sync(path)


@contextlib.contextmanager
def _errors_named(path: Path, partial: Path) -> Iterator[None]:
    """An error of the disk names what the user asked for, not the temporary name."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or partial)
        if error.errno is None or not name.startswith(str(partial)):
            raise
        raise OSError(error.errno, error.strerror, f"{path}{name[len(str(partial)) :]}") from None


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yields a temporary path to write to; it becomes `path` when the block ends without an error.

    Args:
        mode: who may read it; until the block ends nobody but the owner can.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.name}-")
    os.close(fd)
    partial = Path(name)
    try:
        with _errors_named(path, partial):
            yield partial
            partial.chmod(mode)  # mkstemp gives 0600, which nobody else could verify
            _sync(partial)
            partial.replace(path)
            _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def check_new(path: Path, hint: str = "", what: str = "output folder") -> None:
    """Checks that nothing is at a path where something is to be written.

    Raises:
        InputError: the name is taken.
    """
    if os.path.lexists(path):
        raise bad_input(path, what, "a name not taken yet", "one that is", hint=hint)


def write_new(path: Path, data: bytes, what: str, mode: int) -> None:
    """Writes a file that is never put in place of another: a run beside this one may have made that just now.

    Raises:
        InputError: the name is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise bad_input(path, what, "a name not taken yet", "one that is") from None
    try:
        with _errors_named(path, path), os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder; it becomes `path` when the block ends without an error.

    Of a link to a folder, the folder is replaced and the link stays.

    Raises:
        InputError: `path` is there already and `replace` is off, or is not a folder.
    """
    if not (replace and path.is_dir()):
        check_new(path, "choose another or pass --force")
    place = path.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{PARTIAL}{place.name}-"))
    try:
        with _errors_named(path, partial):
            yield partial
            partial.chmod(0o755)
            for file in partial.rglob("*"):
                _sync(file)
            _move(partial, place)
            _sync_folder(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.replace(path)
        return
    # The old folder is kept until the new one stands, so that no crash can lose both.
    old = partial.with_name(f"{partial.name}-old")
    path.replace(old)
    partial.replace(path)
    shutil.rmtree(old)


def clear_partials(folder: Path) -> None:
    """Removes what killed writes left in a folder; call it only while no one else writes there."""
    for leftover in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def write_json(path: Path, value: Mapping[str, Any], mode: int = 0o644) -> None:
    """Writes JSON, whole or not at all; the same value always gives the same bytes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path, mode) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def is_there(path: Path, what: str) -> bool:
    """Whether there is a file; InputError where something else has its name: to open a pipe is to wait."""
    if path.exists() and not path.is_file():
        raise bad_input(path, what, "a file", "something else")
    return path.is_file()


def read_bytes(path: Path, what: str) -> bytes:
    """Returns the bytes of a file; InputError where there are none, or it is no file."""
    found = path.read_bytes() if path.is_file() else None
    if not found:
        raise bad_input(path, what, "a file of bytes", "none" if found is None else "an empty one")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        InputError: missing, too long, not UTF-8, not JSON, or not an object.
    """
    if not path.is_file():
        raise bad_input(path, "file", "a JSON file", "none")
    if (size := path.stat().st_size) > _LONGEST:
        raise bad_input(path, "file", f"at most {_LONGEST} bytes of JSON", str(size))
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
    except (ValueError, RecursionError) as error:
        raise bad_input(path, "JSON", "a whole JSON object", f"text that does not parse ({error})") from None
    if not isinstance(value, dict):
        raise bad_input(path, "JSON", "an object", f"a {type(value).__name__}")
    return value
