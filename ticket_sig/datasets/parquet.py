"""Hugging Face parquet folders: `train-*.parquet`, `test-*.parquet` with encoded images and labels."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ticket_sig.datasets.data import Split
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
    images = [image for part, _ in parts for image in part]
    return Split(
        torch.from_numpy(np.stack(images)), torch.from_numpy(np.concatenate([labels for _, labels in parts]))
    )


def _read_file(
    path: Path, label: str
) -> tuple[list[np.ndarray[Any, np.dtype[np.uint8]]], np.ndarray[Any, np.dtype[np.int64]]]:
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
        raise bad_input(
            path, "columns", f"{' or '.join(_IMAGE_COLUMNS)}, and {label}", ", ".join(table.column_names)
        )
    cells = table.column(column).to_pylist()
    return list(
        decode(((f"{path}: row {row}", _bytes(cell)) for row, cell in enumerate(cells)))
    ), table.column(label).to_numpy().astype(np.int64)


def _bytes(cell: Any) -> bytes:
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    return found if isinstance(found, bytes) else b""


def decode(encoded: Iterable[tuple[str, bytes]]) -> Iterable[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Yields the decoded RGB (or grey) images [height, width, channels]; all must have one size.

    Raises:
        InputError: names the first image that cannot be decoded or has another size.
    """
    shape: tuple[int, ...] | None = None
    for where, data in encoded:
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.array(image if image.mode == "L" else image.convert("RGB"))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise bad_input(where, "image", "one that can be decoded", str(error).split(" <", 1)[0]) from None
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise bad_input(where, "image", f"the first one's size {list(shape)}", str(list(pixels.shape)))
        yield pixels
