"""Case 5: editors, systems and network storage leave hidden files of their own in data folders."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from support.tiny import write_images

from ticket_sig.datasets import load_dataset
from ticket_sig.marks.trigger_set.triggers import read_triggers

FOLDERS = (".ipynb_checkpoints", ".AppleDouble", "@eaDir", "__MACOSX", "#recycle", "lost+found", ".git")
FILES = (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".0.png.swp", ".gitignore")
JUNK = b"\0\5\26\7junk"


def png(seed: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def litter(folder: Path) -> None:
    """Leaves hidden files and folders in a folder and in those below it, with a picture in each folder."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in FILES:
            (place / name).write_bytes(JUNK)
        for name in FOLDERS:
            (place / name).mkdir()
            (place / name / "0-checkpoint.png").write_bytes(png(7))


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("where", ["train and test", "train", "test"])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "with a picture"])
def test_a_hidden_folder_is_no_class(name: str, where: str, empty: bool, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", each=2)
    for split in where.split(" and "):
        (folder / split / name).mkdir()
        if not empty:
            (folder / split / name / "0-checkpoint.png").write_bytes(png())
    data = load_dataset("images", folder)
    assert (data.classes, len(data.train), len(data.test)) == (2, 4, 4)
    assert data.train.labels.unique().tolist() == [0, 1]


def parquet(folder: Path) -> None:
    folder.mkdir()
    for split in ("train", "test"):
        columns = {"image": [{"bytes": png(seed)} for seed in range(3)], "label": [0, 1, 2]}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{split}-00000-of-00001.parquet")
        # What a Mac writes beside a file on a disk of another system.
        (folder / f"._{split}-00000-of-00001.parquet").write_bytes(JUNK)


@pytest.mark.parametrize("write", [write_images, parquet], ids=["images", "parquet"])
def test_a_folder_full_of_hidden_things_is_read_as_without(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path / "data")
    clean = load_dataset("images", tmp_path / "data")
    litter(tmp_path / "data")
    # Another place, as the cache must not answer.
    assert load_dataset("images", (tmp_path / "data").rename(tmp_path / "moved")).digest == clean.digest


def test_a_hidden_file_more_does_not_have_all_pictures_decoded_anew(tmp_path: Path, own_cache: Path) -> None:
    folder = write_images(tmp_path / "data", each=1)
    load_dataset("images", folder)
    litter(folder)
    load_dataset("images", folder)
    assert len(list(own_cache.glob("images-*"))) == 1


def test_a_trigger_folder_full_of_hidden_things_is_read_as_without(tmp_path: Path) -> None:
    folder = tmp_path / "triggers"
    (folder / "pics").mkdir(parents=True)
    for number in (1, 2, 10):
        (folder / "pics" / f"{number}.png").write_bytes(png(number))
    (folder / "labels-cifar.txt").write_text("1\n2\n3\n")
    (folder / "._labels-cifar.txt").write_bytes(JUNK)
    for order in ("string", "number"):
        clean = read_triggers(folder, (8, 8, 3), 10, order=order)
        if order == "string":
            litter(folder)
        again = read_triggers(folder, (8, 8, 3), 10, order=order)
        assert clean.commitment == again.commitment
        assert torch.equal(clean.split.images, again.split.images)
