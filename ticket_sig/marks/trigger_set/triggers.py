"""Trigger sets: images that only the owner knows, with labels that nobody could have chosen (scheme 3).

A keyed set is made from a secret of 32 bytes: abstract images, and labels drawn by a keyed pseudo-random
function, so that no claimant can have picked labels that some network gives anyhow. A folder of pictures
serves too (`folder.py`), but its images and labels were somebody's choice.
Sources: NeurIPS'21, section 3.4; Adi et al., USENIX Security 2018, section 4.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ticket_sig.datasets.data import Split
from ticket_sig.digests import json_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, hexadecimal, image_size, whole
from ticket_sig.files import SECRET, check_new, read_json, write_json
from ticket_sig.marks.trigger_set.folder import Arrangement, TriggerFolder
from ticket_sig.prf import keyed_words

FORMAT, FORMAT_VERSION = "ticket_sig triggers", 1
COUNT = 100  # as in the paper
MOST_IMAGES, MOST_SIDE, MOST_CLASSES = 100_000, 1024, 1_000_000
MOST_BYTES = 1 << 28  # of all images of a set
KEYED_CHANNELS, FOLDER_CHANNELS = (1, 2, 3, 4), (1, 3)  # pictures are read as grey or colour
_OCTAVES = ((3, 4), (6, 2), (12, 1))  # cells along a side, weight: large soft shapes under small ones


@dataclass(frozen=True)
class TriggerSet:
    """Images with the labels the owner's network was taught.

    Attributes:
        split: images uint8 [n, height, width, channels] and labels int64 [n].
        classes: number of classes of the network.
        commitment: digest that gives nothing away; what a claim holds of the set.
        keyed: whether images and labels follow from a secret; else somebody chose them.
        arrangement: how the folder was read that they were chosen in; None where they follow from a secret.
    """

    split: Split
    classes: int
    commitment: str
    keyed: bool
    arrangement: Arrangement | None = None

    def __len__(self) -> int:
        return len(self.split)

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.split.images.shape[1:]
        return height, width, channels


@dataclass(frozen=True)
class TriggerSecret:
    """What a keyed trigger set is made from.

    Attributes:
        secret: 32 bytes.
        count, size, classes: number of images; height, width and channels of each; number of classes.

    Raises:
        InputError: a field is out of range.
    """

    secret: bytes
    count: int
    size: tuple[int, int, int]
    classes: int

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise bad_input("triggers", "secret", "32 bytes", str(len(self.secret)))
        check_extent("triggers", self.count, self.size, self.classes, keyed=True)

    @classmethod
    def fresh(cls, size: tuple[int, int, int], classes: int, count: int = COUNT) -> TriggerSecret:
        """A secret from the system's randomness."""
        return cls(secrets.token_bytes(32), count, size, classes)

    def to_json(self) -> dict[str, Any]:
        """The content of the secret's file."""
        own = {**vars(self), "secret": self.secret.hex(), "size": list(self.size)}
        return {"format": FORMAT, "version": FORMAT_VERSION, **own}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TriggerSecret:
        """Reads the content of a secret's file; InputError where it is no such content."""
        where = "triggers"
        check_format(value, where, FORMAT, FORMAT_VERSION)
        secret, size = hexadecimal(value, "secret", where, 32), image_size(value, where)
        return cls(secret, whole(value, "count", where), size, whole(value, "classes", where))

    def trigger_set(self) -> TriggerSet:
        """The images and labels; the same secret gives the same bits everywhere."""
        words = keyed_words(self.secret, f"trigger labels {self.classes}", self.count)
        labels = torch.from_numpy((words % np.uint64(self.classes)).astype(np.int64))
        images = torch.from_numpy(np.stack([self._image(index) for index in range(self.count)]))
        return TriggerSet(Split(images, labels), self.classes, json_digest(self.to_json()), keyed=True)

    def _image(self, index: int) -> NDArray[np.uint8]:
        """Value noise: random grey levels on coarse grids, interpolated, in whole numbers throughout."""
        total = np.zeros(self.size, dtype=np.int64)
        for cells, weight in _OCTAVES:
            label = f"trigger image {index} {cells} {list(self.size)}"
            words = keyed_words(self.secret, label, (cells + 1) ** 2 * self.size[2])
            grid = (words >> np.uint64(48)).astype(np.int64).reshape(cells + 1, cells + 1, self.size[2])
            total += weight * _interpolated(grid, self.size[0], self.size[1])
        low, high = total.min((0, 1)), total.max((0, 1))
        return np.asarray(255 * (total - low) // np.maximum(1, high - low), dtype=np.uint8)


def check_extent(
    where: str, count: int, size: tuple[int, int, int], classes: int, *, keyed: bool = True
) -> None:
    """Checks that a trigger set is no larger than this machine can be asked to make.

    Raises:
        InputError: too few or too many images, classes or channels; or images that are too large, each or
            together; `where` says who asks.
    """
    channels = KEYED_CHANNELS if keyed else FOLDER_CHANNELS
    sides = f"sides of 1 to {MOST_SIDE} and {', '.join(map(str, channels))} channels"
    fits = all(1 <= n <= MOST_SIDE for n in size[:2]) and size[2] in channels
    amount = count * size[0] * size[1] * size[2]
    checks = {
        "count": (1 <= count <= MOST_IMAGES, f"1 to {MOST_IMAGES}", str(count)),
        "size": (fits, sides, str(list(size))),
        "images": (amount <= MOST_BYTES, f"at most {MOST_BYTES >> 20} MiB in all", f"{amount} bytes"),
        "classes": (2 <= classes <= MOST_CLASSES, f"2 to {MOST_CLASSES}", str(classes)),
    }
    for field, (fine, expected, found) in checks.items():
        if not fine:
            raise bad_input(where, field, expected, found)


def write_secret(secret: TriggerSecret, path: Path) -> None:
    """Writes a secret's file, its owner's to read; InputError where it is there: no secret must be lost."""
    check_new(path, what="secret file")
    write_json(path, secret.to_json(), mode=SECRET)


def read_triggers(
    path: Path | str,
    size: tuple[int, int, int],
    classes: int,
    *,
    order: str | None = None,
    fit: str | None = None,
) -> TriggerSet:
    """Reads a trigger set: the file of a secret, or a folder of pictures and labels (`folder.py`).

    Args:
        size: height, width and channels of the network's images.
        classes: number of classes of the network.
        order, fit: of a folder: "string" or "number", "cut" or "scaled"; as Adi et al. have it where the
            labels are in `labels-cifar.txt`, else by number and scaled. A claim says what was chosen.

    Raises:
        InputError: nothing there, damaged, for other images or classes, a label missing or out of range, or
            an order or a fit of a secret.
    """
    path = Path(path)
    if path.is_dir():
        folder = TriggerFolder.find(path, order, fit)
        with about(path):
            check_extent("triggers", len(folder.pictures), size, classes, keyed=False)
        split, commitment = folder.read(size, classes)
        return TriggerSet(split, classes, commitment, keyed=False, arrangement=folder.arrangement)
    value = read_json(path)
    with about(path):
        if (order, fit) != (None, None):
            raise bad_input("triggers", "order and fit", "a folder of pictures", "a file")
        secret = TriggerSecret.from_json(value)
        if (secret.size, secret.classes) != (size, classes):
            found = f"{list(secret.size)} and {secret.classes} classes"
            raise bad_input("triggers", "images", f"{list(size)} and {classes} classes", found)
        return secret.trigger_set()


def _interpolated(grid: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """Bilinear interpolation of [cells + 1, cells + 1, channels] to [height, width, channels], 2^16 = 1."""
    for axis, length in enumerate((height, width)):
        cells = grid.shape[axis] - 1
        where = (np.arange(length) << 8) * cells // max(1, length - 1)
        cell = np.minimum(where >> 8, cells - 1)
        part = (where - (cell << 8)).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        grid = np.take(grid, cell, axis) * (256 - part) + np.take(grid, cell + 1, axis) * part
    return grid
