"""Hugging Face parquet folders: tables of encoded images and labels, a file or more for each split.

Tables lie in the folder itself (`train-00000-of-00001.parquet`, `train.parquet`), in a folder for each split
(`train/0000.parquet`), or the same one folder down, as the hub lays them out (`plain_text/`, `data/`,
`default/train/0000.parquet`). What is left of a path without its split is its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ticket_sig.datasets.data import Split
from ticket_sig.datasets.entries import files_below
from ticket_sig.datasets.image_folder import TEST_NAMES
from ticket_sig.datasets.images import decode_all
from ticket_sig.errors import bad_input, needs_extra

_SPLITS = ("train", *TEST_NAMES)
_NUMBERED = re.compile(r"\D*(\d+)(?:-of-(\d+))?(?:[-_.].*)?")  # -00000-of-00002-HASH, 0000, part-0

Tables = dict[str, list[Path]]  # the files of each split


def is_parquet_folder(folder: Path) -> bool:
    """Whether a folder, or one below it, holds parquet files."""
    return any(path.suffix == ".parquet" for path in files_below(folder))


def read_parquet(folder: Path, label: str, image: Sequence[str]) -> tuple[Split, Split]:
    """Returns (train, test); where no file is of a test split, validation is the test split.

    Args:
        label: name of the label column.
        image: names that the column of images may have.

    Raises:
        InputError: pyarrow is not installed, there are several configurations, a split, a file of it or a
            column is missing, a file is damaged, or an image cannot be decoded or has another size.
    """
    tables = _tables(folder)
    test_name = next((name for name in TEST_NAMES if name in tables), "test")
    train, test = (_files(folder, split, tables) for split in ("train", test_name))
    return _read_split(train, label, image), _read_split(test, label, image)


def _tables(folder: Path) -> Tables:
    """The files of the folder's one configuration, by split: its own, or else those of a folder below it."""
    found: dict[str, Tables] = {}
    for path in files_below(folder):
        if path.suffix == ".parquet":
            configuration, split = _place(path.relative_to(folder))
            found.setdefault(configuration, {}).setdefault(split, []).append(path)
    whole = {name: tables for name, tables in found.items() if "train" in tables} or found
    if "" in whole or len(whole) == 1:
        return whole.get("") or next(iter(whole.values()))
    names = sorted(whole)
    hint = f"give the folder of one: {folder / names[0]}" if (folder / names[0]).is_dir() else ""
    raise bad_input(folder, "configurations", "one", ", ".join(names), hint=hint)


def _place(path: Path) -> tuple[str, str]:
    """The configuration and the split that a table's path names; "" where it names none."""
    before, split, _ = _parted(path.stem)
    folders = list(path.parts[:-1])
    if folders and folders[-1] in _SPLITS and split in ("", folders[-1]):
        split = folders.pop()
    return "/".join([*folders, *([before] if before else [])]), split


def _parted(stem: str) -> tuple[str, str, str]:
    """A file's name in three: what stands before its split, the split, the rest; all is rest without one."""
    found = re.fullmatch(rf"(?:(.*?)[-_.])?({'|'.join(_SPLITS)})(?:([-_.].*))?", stem)
    return (found[1] or "", found[2], found[3] or "") if found else ("", "", stem)


def _files(folder: Path, split: str, tables: Tables) -> list[Path]:
    """The files of a split; InputError where there are none, or not all of them."""
    if files := tables.get(split, []):
        _check_whole(files, split)
        return files
    found = ", ".join(str(path.relative_to(folder)) for paths in tables.values() for path in paths)
    raise bad_input(folder, f"{split} split", f"{split}-*.parquet or {split}/*.parquet", f"only {found}")


def _check_whole(files: Sequence[Path], split: str) -> None:
    """Checks that files are the numbered parts of one table, none missing and none there twice."""
    parts = [_NUMBERED.fullmatch(_parted(path.stem)[2]) for path in files]
    numbers = {part[1] for part in parts if part}
    totals = {part[2] and int(part[2]) for part in parts if part} or {None}
    several = len(files) > 1 and len(numbers) < len(files)
    if several or totals not in ({None}, {len(files)}):
        expected = "one file, or all the numbered ones of one table"
        raise bad_input(files[0].parent, f"{split} split", expected, ", ".join(path.name for path in files))


def _read_split(files: Sequence[Path], label: str, image: Sequence[str]) -> Split:
    parts = [_read_file(file, label, image) for file in files]
    # All files in one go, so that every image of the split is held against the first.
    encoded = [cell for cells, _ in parts for cell in cells]
    if not encoded:
        raise bad_input(files[0], "rows", "at least one in all files of the split", "none")
    labels = np.concatenate([labels for _, labels in parts])
    return Split(torch.from_numpy(decode_all(encoded)), torch.from_numpy(labels))


def _read_file(
    path: Path, label: str, image: Sequence[str]
) -> tuple[list[tuple[str, bytes]], NDArray[np.int64]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise needs_extra("pyarrow", "parquet", "parquet files") from None
    try:
        table = pyarrow.parquet.read_table(path, partitioning=None)
    except (pyarrow.ArrowException, OSError) as error:
        raise bad_input(path, "parquet", "a whole file", f"a damaged one ({error})") from None
    column = next((name for name in image if name in table.column_names), None)
    if column is None or label not in table.column_names:
        expected = f"{' or '.join(image)}, and {label}"
        raise bad_input(path, "columns", expected, ", ".join(table.column_names))
    if not pyarrow.types.is_integer(table.schema.field(label).type) or table.column(label).null_count:
        raise bad_input(path, label, "whole numbers", f"{table.schema.field(label).type} or empty cells")
    cells = enumerate(table.column(column).to_pylist())
    encoded = [(f"{path}: row {row}", _bytes(cell)) for row, cell in cells]
    return encoded, table.column(label).to_numpy().astype(np.int64)


def _bytes(cell: Any) -> bytes:
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    return found if isinstance(found, bytes) else b""
