"""Hugging Face parquet folders: `train-*.parquet`, `test-*.parquet` with encoded images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ticket_sig.datasets.data import Split
from ticket_sig.datasets.images import decode
from ticket_sig.errors import bad_input, needs_extra

_IMAGE_COLUMNS = ("img", "image")


def is_parquet_folder(folder: Path) -> bool:
    """Whether a folder holds parquet files."""
    return any(folder.glob("*.parquet"))


def read_parquet(folder: Path, label: str) -> tuple[Split, Split]:
    """Returns (train, test).

    Args:
        label: name of the label column.

    Raises:
        InputError: pyarrow is not installed, a split or a column is missing, a file is damaged,
            or an image cannot be decoded or has another size than the first.
    """
    return _read_split(folder, "train", label), _read_split(folder, "test", label)


def _read_split(folder: Path, split: str, label: str) -> Split:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        found = ", ".join(sorted(p.name for p in folder.glob("*.parquet")))
        raise bad_input(folder, f"{split} split", f"{split}-*.parquet", f"only {found}")
    parts = [_read_file(file, label) for file in files]
    # All files in one go, so that every image of the split is held against the first.
    images = list(decode(cell for cells, _ in parts for cell in cells))
    if not images:
        raise bad_input(folder, f"{split} split", "at least one row", "none")
    labels = np.concatenate([labels for _, labels in parts])
    return Split(torch.from_numpy(np.stack(images)), torch.from_numpy(labels))


def _read_file(path: Path, label: str) -> tuple[list[tuple[str, bytes]], NDArray[np.int64]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise needs_extra("pyarrow", "parquet", "parquet files") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise bad_input(path, "parquet", "a whole file", f"a damaged one ({error})") from None
    column = next((name for name in _IMAGE_COLUMNS if name in table.column_names), None)
    if column is None or label not in table.column_names:
        expected = f"{' or '.join(_IMAGE_COLUMNS)}, and {label}"
        raise bad_input(path, "columns", expected, ", ".join(table.column_names))
    if not pyarrow.types.is_integer(table.schema.field(label).type) or table.column(label).null_count:
        raise bad_input(path, label, "whole numbers", f"{table.schema.field(label).type} or empty cells")
    cells = enumerate(table.column(column).to_pylist())
    encoded = [(f"{path}: row {row}", _bytes(cell)) for row, cell in cells]
    return encoded, table.column(label).to_numpy().astype(np.int64)


def _bytes(cell: Any) -> bytes:
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    return found if isinstance(found, bytes) else b""
