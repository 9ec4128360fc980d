"""The data sets by name; a new one is one entry here, and lies in a folder of the layouts of `load.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """Where a data set is officially to be had, and the MD5 its authors publish."""

    url: str
    md5: str
    folder: str  # what it unpacks to


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is read.

    Attributes:
        classes: None = as many as the folder has.
        size: height, width, channels, as the images must have; None = that of the first image.
        normalisation: mean and standard deviation per channel; None = 0.5 for all.
        label, image: columns in the Hugging Face layout; of several for the image, the first that is there.
        archive: what `ticket-sig data` downloads.
    """

    classes: int | None = None
    size: tuple[int, int, int] | None = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    label: str = "label"
    image: tuple[str, ...] = ("img", "image")
    archive: Archive | None = None


FREE = "digits"  # the data set that needs no folder
_FROM = "https://www.cs.toronto.edu/~kriz"
DATASETS = {
    "digits": DatasetSpec(classes=10, size=(8, 8, 1), normalisation=((0.3054,), (0.3757,))),
    "cifar10": DatasetSpec(
        classes=10,
        size=(32, 32, 3),
        normalisation=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        archive=Archive(
            f"{_FROM}/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py"
        ),
    ),
    "cifar100": DatasetSpec(
        classes=100,
        size=(32, 32, 3),
        normalisation=((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        label="fine_label",
        archive=Archive(
            f"{_FROM}/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100-python"
        ),
    ),
    "images": DatasetSpec(),
}
