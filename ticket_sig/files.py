"""Files and folders that are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ticket_sig.errors import bad_input
from ticket_sig.fields import parse_json

_LONGEST = 1 << 28  # bytes of JSON; a sparse file may have any length
SECRET = 0o600  # the mode of files that only their owner may read
PARTIAL = ".partial-"  # what an interrupted write leaves behind begins with this
_READ_ONLY = "output: expected a folder that can be written, found a read-only one"
_A_FILE = "output: expected a folder to write to, found a file"
_NO_FILE = "output: expected the name of a file, found a device, a pipe or a socket"
_ROUND = "output: expected the name of a file, found a link that leads round in a circle"
_WRONG_NAMES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _READ_ONLY),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), _A_FILE),
    errno.EISDIR: "output: expected the name of a file, found a folder",
}
_T = TypeVar("_T")


def cache_folder() -> Path:
    """$TICKET_SIG_CACHE, else ticket_sig under $XDG_CACHE_HOME or ~/.cache.

    Raises:
        OSError: none of them is set, and the user has no home, as in a container.
    """
    if own := os.environ.get("TICKET_SIG_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ticket_sig"
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from None


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
def _errors_named(path: Path, partial: Path | None = None) -> Iterator[None]:
    """An error of the disk names what the user asked for, and says what is wrong with that name.

    Args:
        partial: the temporary name; errors of what lies elsewhere stay as they are. None: all are named.
    """
    try:
        yield
    except OSError as error:
        name = str(error.filename or partial)
        if error.errno is None or not (partial is None or name.startswith(str(partial))):
            raise
        inner = "" if partial is None else name[len(str(partial)) :]
        wrong = _WRONG_NAMES.get(error.errno, error.strerror)
        raise OSError(error.errno, wrong, f"{path}{inner}") from None


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where there is none; an error says what is wrong with its name."""
    with _errors_named(path):
        path.mkdir(parents=True, exist_ok=True)


def _partial(place: Path, path: Path, make: Callable[..., _T]) -> _T:
    """What `tempfile` makes beside a place that is to be written; errors name the path that was asked for."""
    with _errors_named(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        return make(dir=place.parent, prefix=f"{PARTIAL}{place.name}-")


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yields a temporary path to write to; it becomes `path` when the block ends without an error.

    Of a link, the file that it leads to is replaced and the link stays, as in a folder (`whole_folder`).

    Args:
        mode: who may read it; until the block ends nobody but the owner can.

    Raises:
        OSError: the disk is full, or no file can have this name; what has it already stays as it is.
    """
    _check_replaceable(path)
    place = Path(os.path.realpath(path))
    fd, name = _partial(place, path, tempfile.mkstemp)
    os.close(fd)
    partial = Path(name)
    try:
        with _errors_named(path, partial):
            yield partial
            partial.chmod(mode)  # mkstemp gives 0600, which nobody else could verify
            _sync(partial)
            partial.replace(place)
            _sync_folder(place.parent)
    finally:
        partial.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """A rename puts a file in place of anything: for root, also of /dev/null."""
    if path.is_dir():
        raise OSError(errno.EISDIR, _WRONG_NAMES[errno.EISDIR], str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, _NO_FILE, str(path))
    if Path(os.path.realpath(path)).is_symlink():
        raise OSError(errno.ELOOP, _ROUND, str(path))


def check_new(path: Path, hint: str = "", what: str = "output folder") -> None:
    """Checks that nothing is at a path where something is to be written, and that it can be.

    Raises:
        InputError: the name is taken.
        OSError: nothing can be made there: better said before the work than after it.
    """
    if os.path.lexists(path):
        raise bad_input(path, what, "a name not taken yet", "one that is", hint=hint)
    check_room(path)


def check_room(path: Path) -> None:
    """Checks that something can be made at a path, as far as that is known before; OSError where not."""
    above = next(folder for folder in Path(os.path.realpath(path)).parents if folder.exists())
    if not above.is_dir():
        raise OSError(errno.ENOTDIR, _A_FILE, str(path))
    if not os.access(above, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, _READ_ONLY, str(path))


def write_new(path: Path, data: bytes, what: str, mode: int) -> None:
    """Writes a file that is never put in place of another: a run beside this one may have made that just now.

    Raises:
        InputError: the name is taken.
    """
    with _errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _errors_named(path):
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
    partial = Path(_partial(place, path, tempfile.mkdtemp))
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
    try:
        path.replace(old)
        partial.replace(path)
    finally:  # also of Ctrl-C between the two
        if not path.exists():
            old.replace(path)
        elif old.exists():
            shutil.rmtree(old)


def is_unused(folder: Path) -> bool:
    """Whether a folder is empty or not there; what a killed write left does not count."""
    return not folder.exists() or all(one.name.startswith(PARTIAL) for one in folder.iterdir())


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
    if not path.is_file():
        raise bad_input(path, what, "a file of bytes", no_file(path))
    if not (found := path.read_bytes()):
        raise bad_input(path, what, "a file of bytes", "an empty one")
    return found


def no_file(path: Path) -> str:
    """What is found where no file is, for a message."""
    return "a folder" if path.is_dir() else "none"


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        InputError: missing, too long, not UTF-8, not JSON, or not an object.
    """
    if not path.is_file():
        raise bad_input(path, "file", "a JSON file", no_file(path))
    if (size := path.stat().st_size) > _LONGEST:
        raise bad_input(path, "file", f"at most {_LONGEST} bytes of JSON", str(size))
    if not size:
        raise bad_input(path, "JSON", "a whole JSON object", "an empty file")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
    except UnicodeDecodeError:
        raise bad_input(path, "JSON", "a whole JSON object", "a file that is no text in UTF-8") from None
    try:
        value = parse_json(text)
        json.dumps(value, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
    except (ValueError, RecursionError) as error:
        raise bad_input(path, "JSON", "a whole JSON object", f"text that does not parse ({error})") from None
    if not isinstance(value, dict):
        raise bad_input(path, "JSON", "an object", f"a {type(value).__name__}")
    return value
