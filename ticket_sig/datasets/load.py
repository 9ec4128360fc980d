"""Finds out how a data folder is laid out and reads it."""

from __future__ import annotations

from pathlib import Path

from ticket_sig.datasets.cache import cached
from ticket_sig.datasets.channels import repeated
from ticket_sig.datasets.cifar_batches import is_batches_folder, read_batches
from ticket_sig.datasets.data import Dataset, Split
from ticket_sig.datasets.digits import read_digits
from ticket_sig.datasets.entries import listed
from ticket_sig.datasets.image_folder import is_image_folder, read_image_folder
from ticket_sig.datasets.parquet import is_parquet_folder, read_parquet
from ticket_sig.datasets.registry import DATASETS, FREE, DatasetSpec
from ticket_sig.errors import about, bad_input
from ticket_sig.options import one_named


def load_dataset(name: str, folder: Path | str | None = None) -> Dataset:
    """Reads a data set: python batches, Hugging Face parquet or an image folder, whichever it is.

    Args:
        name: as in the registry; `digits` needs no folder.

    Raises:
        InputError: no such data set; a folder for digits; or the folder is missing or of another kind, with
            what to download, from where, and its MD5.
    """
    spec = one_named(DATASETS, "dataset", name)
    if name == FREE and folder is not None:  # whoever names one wants it read
        hint = "for a folder of your own say --dataset images"
        raise bad_input("", "--data", f"no folder for {FREE}", str(folder), hint=hint)
    train, test = _alike(*(read_digits() if name == FREE else _read(name, spec, folder)))
    size = spec.size or tuple(train.images.shape[1:])
    for part, split in (("train", train), ("test", test)):
        if (found := tuple(split.images.shape[1:])) != size:
            raise bad_input(folder, f"{part} images", f"{name}'s size {list(size)}", str(list(found)))
    mean, std = spec.normalisation or ((0.5,) * size[2], (0.5,) * size[2])
    with about(folder or name):
        return Dataset(name, train, test, spec.classes or int(train.labels.max()) + 1, mean, std)


def _alike(train: Split, test: Split) -> tuple[Split, Split]:
    """Both splits in colour, where one of them is."""
    channels = max(train.images.shape[3], test.images.shape[3])
    return repeated(train, channels), repeated(test, channels)


def _read(name: str, spec: DatasetSpec, folder: Path | str | None) -> tuple[Split, Split]:
    hint, expected = _where_to_get(name, spec), f"the folder of {name}"
    if folder is None:
        raise bad_input("", "--data", expected, "none", hint=hint)
    path = Path(folder)
    if not path.is_dir():
        raise bad_input(path, "data folder", expected, "none at this path", hint=hint)
    # A folder that the official archive was unpacked into is as good as the one it holds.
    if spec.archive and (path / spec.archive.folder).is_dir():
        path = path / spec.archive.folder
    columns = (spec.label, *spec.image)
    if is_batches_folder(path, name):
        return cached(path, name, columns, lambda: read_batches(path, name))
    if is_image_folder(path):
        return cached(path, name, columns, lambda: read_image_folder(path))
    if is_parquet_folder(path):
        train, test = cached(path, name, columns, lambda: read_parquet(path, spec.label, spec.image))
        # The published CIFAR files are in no order of class; of others that is not known.
        return (train, test) if spec.archive else (train.shuffled(), test)
    inner = path / "train" if (path / "train").is_dir() else path
    expected = "python batches, *.parquet or train/CLASS/ images"
    raise bad_input(inner, "data folder", expected, listed(inner), hint=hint)


def _where_to_get(name: str, spec: DatasetSpec) -> str:
    if spec.archive is None:
        tables = f"train-*.parquet and test-*.parquet with the columns {spec.image[-1]} and {spec.label}"
        return f"give --data a folder of train/CLASS/*.png and test/CLASS/*.png, or of {tables}"
    return f"run: ticket-sig data {name} --out DIR, or unpack {spec.archive.url} (md5 {spec.archive.md5})"
