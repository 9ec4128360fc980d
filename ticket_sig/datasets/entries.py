"""What a folder holds, without what systems and programs leave in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ticket_sig.errors import bad_input

MOST_BYTES = 2**26  # of a picture, or of a file of labels
_SHOWN = 5  # names in a message
_DEEPEST = 2  # folders below a data folder: train/CLASS/, default/train/
# Of Windows, macOS, Linux file systems, and network storage; compared in lower case.
_OF_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "lost+found", "__pycache__"),
    *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a system's own: it is no part of a data set."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def visible(folder: Path) -> list[Path]:
    """The files and folders in a folder, by name; hidden ones and those of systems are passed over."""
    shown = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return sorted(shown, key=lambda path: path.name)


def files_below(folder: Path, deepest: int = _DEEPEST) -> Iterator[Path]:
    """The files in a folder and in those below it, `deepest` folders down; hidden ones are passed over."""
    with os.scandir(folder) as entries:
        # Of a link that leads to itself, `is_dir` raises.
        shown = ((one.name, Path(one).is_dir() if one.is_symlink() else one.is_dir()) for one in entries)
        listed = sorted(entry for entry in shown if not is_hidden(entry[0]))
    for name, is_folder in listed:
        if not is_folder:
            yield folder / name
        elif deepest:
            yield from files_below(folder / name, deepest - 1)


def read_entry(path: Path) -> bytes:
    """The content of a file that a folder of strangers may have.

    Raises:
        InputError: it is no plain file (reading a device or a pipe may never end), or of more than
            `MOST_BYTES` bytes.
    """
    if not path.is_file():
        found = "a link to none" if path.is_symlink() and not path.exists() else "another kind"
        raise bad_input(path, "file", "a plain file", found)
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise bad_input(path, "file", f"at most {MOST_BYTES} bytes", str(path.stat().st_size))
    return data


def listed(folder: Path) -> str:
    """The first names in a folder, for a message; those passed over if that is all."""
    if shown := visible(folder):
        return ", ".join(path.name for path in shown[:_SHOWN])
    hidden = sorted(path.name for path in folder.iterdir())
    return f"nothing; passed over: {', '.join(hidden[:_SHOWN])}" if hidden else "nothing"
