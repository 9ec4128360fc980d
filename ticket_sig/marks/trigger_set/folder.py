"""Triggers that somebody chose: a folder of pictures, and a file with one label a line.

Such a folder does not say which label is which picture's, nor what is done with pictures that are larger
than the network's images. The programs of Adi et al. pair line k with the k-th name in the order of strings
(1.jpg, 10.jpg, 100.jpg, 11.jpg), and cut the centre out of a picture. Other folders are read in the order of
the numbers that the pictures are named by, and scaled. A folder is taken for one of Adi et al. if its labels
are in `labels-cifar.txt`: their programs are told this name. The claim says which way the folder was read, so
that every verifier reads the same set.

Sources: Adi et al., USENIX Security 2018, section 4; `helpers/loaders.py` of their code (WatermarkNN).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ticket_sig.datasets.data import Split
from ticket_sig.datasets.entries import read_entry, visible
from ticket_sig.datasets.images import ENDINGS, Pixels, decode
from ticket_sig.errors import bad_input
from ticket_sig.options import Options, one_of, option

ORDERS, FITS = ("string", "number"), ("cut", "scaled")
_LABELS_OF_ADI = "labels-cifar.txt"
_EXAMPLES = {"string": "1, 10, 2", "number": "1, 2, 10"}


@dataclass(frozen=True, kw_only=True)
class Arrangement(Options):
    """How a folder is read: which picture has which label, and which part of a picture is shown."""

    order: str = option("Order of the pictures, whose labels are the lines of a file.", check=one_of(ORDERS))
    fit: str = option("How a picture is made as large as the network's images.", check=one_of(FITS))

    def __str__(self) -> str:
        return f"{self.order} order ({_EXAMPLES[self.order]}), {self.fit}"


OF_ADI = Arrangement(order="string", fit="cut")
PLAIN = Arrangement(order="number", fit="scaled")  # of other folders, and of claims that do not say


@dataclass(frozen=True)
class TriggerFolder:
    """A folder of pictures in the order of their labels.

    Attributes:
        pictures: their files.
        labels: the file of their labels.
        arrangement: how both are read.
    """

    pictures: tuple[Path, ...]
    labels: Path
    arrangement: Arrangement

    @classmethod
    def find(cls, path: Path, order: str | None = None, fit: str | None = None) -> TriggerFolder:
        """Looks for `pics/` and `labels*.txt`; hidden files are passed over.

        Args:
            order, fit: as of `Arrangement`; None: as the name of the label file says.

        Raises:
            InputError: there are no pictures, no labels or several files of them.
        """
        tables = [file for file in visible(path) if file.match("labels*.txt")]
        usual = OF_ADI if [file.name for file in tables] == [_LABELS_OF_ADI] else PLAIN
        given = {name: value for name, value in (("order", order), ("fit", fit)) if value is not None}
        arrangement = replace(usual, **given)
        pictures = _ordered(path / "pics", arrangement.order)
        if not pictures or len(tables) != 1:
            found = f"{len(pictures)} pictures and {len(tables)} label files"
            raise bad_input(path, "trigger folder", "pics/1.jpg, pics/2.jpg, ... and one labels*.txt", found)
        return cls(tuple(pictures), tables[0], arrangement)

    def read(self, size: tuple[int, int, int], classes: int) -> tuple[Split, str]:
        """Returns the images with their labels, and the digest of all that decides them but the size.

        Raises:
            InputError: a picture is damaged or smaller than what is to be cut out of it, or a label is
                missing or out of range.
        """
        labels = _read_labels(self.labels, len(self.pictures), classes)
        made = "1" if self.arrangement == PLAIN else f"2 {self.arrangement.order} {self.arrangement.fit}"
        content = hashlib.sha256(f"ticket_sig trigger folder {made}\n".encode())
        images = []
        for picture, label in zip(self.pictures, labels, strict=True):
            data = read_entry(picture)
            content.update(f"{len(data)} {label}\n".encode() + data)
            images.append(_fitted(data, picture, size, self.arrangement.fit))
        split = Split(torch.from_numpy(np.stack(images)), torch.tensor(labels))
        return split, f"sha256:{content.hexdigest()}"


def _ordered(folder: Path, order: str) -> list[Path]:
    files = visible(folder) if folder.is_dir() else []
    if order == "number":
        numbered = [file for file in files if file.suffix and file.stem.isdecimal()]
        return sorted(numbered, key=lambda file: (int(file.stem), file.name))
    return [file for file in files if file.suffix.lower() in ENDINGS]


def _fitted(data: bytes, where: Path, size: tuple[int, int, int], fit: str) -> Pixels:
    height, width, channels = size
    pixels = decode(str(where), data)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if fit == "scaled":
        return np.array(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(size)
    if image.height < height or image.width < width:
        expected, found = f"at least {height} x {width} pixels to cut out", f"{image.height} x {image.width}"
        raise bad_input(where, "picture", expected, found, hint="scale them: --trigger-fit scaled")
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return np.array(image)[top : top + height, left : left + width].reshape(size)


def _read_labels(path: Path, count: int, classes: int) -> list[int]:
    content = read_entry(path)
    try:
        numbers = [float(word) for word in content.decode().split()]
        labels = [int(number) for number in numbers]
    except (ValueError, OverflowError):
        numbers, labels = [], []
    if not labels or labels != numbers:  # Adi et al. wrote whole numbers as floats
        raise bad_input(path, "labels", "one whole number a line", "something else")
    if len(labels) != count:
        raise bad_input(path, "labels", f"{count}, one for every picture", str(len(labels)))
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise bad_input(path, "labels", f"0 to {classes - 1}", str(wrong[0]))
    return labels
