"""Image folders: `train/CLASS/*.png` and `test/CLASS/*.png` (or `val/`); classes in alphabetical order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ticket_sig.datasets.data import Split
from ticket_sig.datasets.images import decode
from ticket_sig.errors import bad_input

_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"}
_TEST_NAMES = ("test", "val", "validation")


def is_image_folder(folder: Path) -> bool:
    """Whether a folder has train/ with folders in it."""
    return (folder / "train").is_dir() and any(p.is_dir() for p in (folder / "train").iterdir())


def read_image_folder(folder: Path) -> tuple[Split, Split]:
    """Returns (train, test).

    Raises:
        InputError: no test split, other classes in the two, no images, or images of several sizes.
    """
    test = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise bad_input(folder, "test split", f"a folder {', '.join(_TEST_NAMES)}", "none")
    classes, others = _classes(folder / "train"), _classes(test)
    if classes != others:
        raise bad_input(test, "classes", ", ".join(classes), ", ".join(others))
    return _read_split(folder / "train", classes), _read_split(test, classes)


def _classes(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def _read_split(folder: Path, classes: list[str]) -> Split:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in _ENDINGS
    ]
    if not files:
        raise bad_input(folder, "images", f"files ending in {', '.join(sorted(_ENDINGS))}", "none")
    images = np.stack(list(decode((str(file), file.read_bytes()) for file, _ in files)))
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in files])).shuffled()
