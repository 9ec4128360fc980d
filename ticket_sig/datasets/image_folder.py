"""Image folders: `train/CLASS/*.png` and `test/CLASS/*.png` (or `val/`); classes in alphabetical order."""

from __future__ import annotations

from pathlib import Path

import torch

from ticket_sig.datasets.data import Split
from ticket_sig.datasets.entries import listed, read_entry, visible
from ticket_sig.datasets.images import ENDINGS, decode_all
from ticket_sig.errors import bad_input

TEST_NAMES = ("test", "val", "validation")  # the first that is there


def is_image_folder(folder: Path) -> bool:
    """Whether a folder has train/ with folders in it that are not hidden."""
    return (folder / "train").is_dir() and any(path.is_dir() for path in visible(folder / "train"))


def read_image_folder(folder: Path) -> tuple[Split, Split]:
    """Returns (train, test); hidden files and folders are passed over.

    Raises:
        InputError: no test split, no classes, others in the two, no images, or images of several sizes.
    """
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise bad_input(folder, "test split", f"a folder {', '.join(TEST_NAMES)}", "none")
    classes, others = _classes(folder / "train"), _classes(test)
    if classes != others:
        raise bad_input(test, "classes", ", ".join(classes), ", ".join(others))
    return _read_split(folder / "train", classes), _read_split(test, classes)


def _classes(folder: Path) -> list[str]:
    if classes := [path.name for path in visible(folder) if path.is_dir()]:
        return classes
    raise bad_input(folder, "classes", "a folder for each", listed(folder))


def _read_split(folder: Path, classes: list[str]) -> Split:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in visible(folder / name)
        if file.suffix.lower() in ENDINGS
    ]
    if not files:
        raise bad_input(folder, "images", f"files ending in {', '.join(sorted(ENDINGS))}", "none")
    images = decode_all((str(file), read_entry(file)) for file, _ in files)
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in files])).shuffled()
