"""A run folder belongs to one recipe: another is refused, field by field, and so is a second process."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.fields import entry
from ticket_sig.files import PARTIAL, clear_partials, make_folder, read_json, write_json

_IDENTITY = "run.json"
_LOCK = ".lock"


@contextlib.contextmanager
def run_folder(
    path: Path,
    identity: Mapping[str, Any],
    begun_with: Mapping[str, Any] | None = None,
    note: Callable[[str], None] = print,
) -> Iterator[Path]:
    """Opens or creates a run folder, for one process at a time.

    Args:
        identity: all that decides the bits of the run, as JSON with nested fields.
        begun_with: versions and hardware; where they changed since the run began, the same bits
            are not to be had, and `note` is told so.

    Raises:
        InputError: the folder is in use, belongs to another run (the fields that differ are
            named), or holds something else.
    """
    if path.exists() and not (path / _IDENTITY).exists() and _holds_other_files(path):
        raise bad_input(path, "run folder", f"a new one, or one with {_IDENTITY}", "other files")
    make_folder(path)
    # The operating system drops this lock when the process dies, however it dies.
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise bad_input(path, "run folder", "one that no process works in", "one that is in use") from None
    try:
        now = begun_with or {}
        before = _check_identity(path, identity, now)
        for name, value in now.items():
            if name in before and before[name] != value:
                changed = f"{name} {before[name]}, not {value}"
                note(f"this run was begun with {changed}: its bits will be others")
        for folder in (path, path / "level", *(path / "levels").glob("*")):
            clear_partials(folder)
        yield path
    finally:
        lock.release()


def remove_run(path: Path) -> None:
    """Removes a run folder that has served; where it is a link, also what that leads to."""
    shutil.rmtree(path.resolve())
    if path.is_symlink():
        path.unlink()


def begun_with(path: Path) -> dict[str, Any] | None:
    """Versions and hardware that the run of a folder was begun with; None where none was begun there.

    Raises:
        InputError: the file that says so is damaged.
    """
    if not (path / _IDENTITY).exists():
        return None
    return dict(
        entry({"begun_with": {}, **read_json(path / _IDENTITY)}, "begun_with", dict, path / _IDENTITY)
    )


def _check_identity(path: Path, identity: Mapping[str, Any], begun_with: Mapping[str, Any]) -> dict[str, Any]:
    record = {"format": "ticket_sig run", "version": 1, "digest": json_digest(identity), **identity}
    if not (path / _IDENTITY).exists():
        write_json(path / _IDENTITY, {**record, "begun_with": begun_with})
    kept = read_json(path / _IDENTITY)
    before = kept.pop("begun_with", {})
    if differ := differences(kept, record):
        raise InputError(f"{path}: belongs to another run: " + "; ".join(differ) + "; choose another folder")
    return dict(before)


def differences(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The fields in which what a folder was begun with is not what is wanted now, those of a recipe first."""
    found, now = _flat(kept), _flat(wanted)
    return [
        f"{name}: expected {found.get(name)!r}, found {now.get(name)!r}"
        for name in sorted(found.keys() | now.keys(), key=lambda n: (not n.startswith("recipe."), n))
        if name != "digest" and found.get(name) != now.get(name)
    ]


def _holds_other_files(path: Path) -> bool:
    if not path.is_dir():
        raise bad_input(path, "run folder", "a folder", "a file")
    # A run that was killed in its first moment leaves these.
    return any(p.name != _LOCK and not p.name.startswith(PARTIAL) for p in path.iterdir())


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, v in value.items():
        flat |= _flat(v, f"{prefix}{name}.") if isinstance(v, Mapping) else {f"{prefix}{name}": v}
    return flat
