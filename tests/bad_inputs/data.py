"""Data sets that are missing, damaged or of another kind."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.damage import RUN_CODE, RunsCode

from bad_inputs.case import PROOF, Topic
from bad_inputs.inputs import batches, cut_in_half, fixture, images, parquet, search

topic = Topic("data")
_MD5 = "c58f30108f718f92721af3b95e74349a"
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


def _cifar(folder: Path, data: Path | None) -> list[Any]:
    given = ["--data", data] if data else []
    return ["find", "--dataset", "cifar10", *given, "--out", folder / "RUN"]


@topic.case("--data: expected the folder of cifar10, found none", "ticket-sig data cifar10", _URL, _MD5)
def no_folder_given(folder: Path) -> list[Any]:
    return _cifar(folder, None)


@topic.case("--data: expected no folder for digits, found ", "IMAGES; ", "of your own say --dataset images")
def folder_for_digits(folder: Path) -> list[Any]:
    return ["find", "--data", images(folder), "--out", folder / "RUN"]


@topic.case(
    "--data: expected no folder for digits, found gone; for a folder of your own say --dataset images"
)
def folder_for_digits_that_is_not_there(folder: Path) -> list[Any]:
    named = ["--arch", "resnet20", "--dataset", "digits", "--start", "model"]
    return ["train", fixture(folder, "state.pt"), *named, "--data", "gone", "--out", folder / "OUT"]


@topic.case(
    "gone: data folder: expected the folder of cifar10, found none",
    "ticket-sig data",
    _URL,
    _MD5,
)
def missing_folder(folder: Path) -> list[Any]:
    return _cifar(folder, folder / "gone")


@topic.case("OTHER: data folder: expected python batches, *.parquet or", "found notes.txt", _URL, _MD5)
def folder_of_another_kind(folder: Path) -> list[Any]:
    (folder / "OTHER").mkdir()
    (folder / "OTHER" / "notes.txt").touch()
    return _cifar(folder, folder / "OTHER")


@topic.case("cifar-100-python: data folder: expected", "found meta, test, train", _URL, _MD5)
def cifar_100_for_cifar_10(folder: Path) -> list[Any]:
    (folder / "cifar-100-python").mkdir()
    for name in ("meta", "test", "train"):
        (folder / "cifar-100-python" / name).touch()
    return _cifar(folder, folder / "cifar-100-python")


@topic.case("train images: expected cifar10's size [32, 32, 3], found [8, 8, 1]", "IMAGES")
def images_of_another_size(folder: Path) -> list[Any]:
    return _cifar(folder, images(folder))


@topic.case("data_batch_3: file: expected a CIFAR python batch, found none")
def python_batch_missing(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").unlink()
    return _cifar(folder, folder / "CIFAR")


@topic.case("data_batch_3: CIFAR python batch: expected", "damaged")
def python_batch_empty(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").write_bytes(b"")
    return _cifar(folder, folder / "CIFAR")


@topic.case("data_batch_3: CIFAR python batch: expected", "found")
def python_batch_cut_short(folder: Path) -> list[Any]:
    cut_in_half(batches(folder) / "data_batch_3")
    return _cifar(folder, folder / "CIFAR")


@topic.case(
    "data_batch_3: CIFAR python batch: expected a pickle of arrays alone", RUN_CODE, "which was not run"
)
def python_batch_that_would_run_code(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").write_bytes(pickle.dumps({b"data": RunsCode(folder / PROOF)}))
    return _cifar(folder, folder / "CIFAR")


@topic.case("train-00000-of-00001.parquet: columns: expected img or image, and label, found image, category")
def parquet_with_other_columns(folder: Path) -> list[Any]:
    return _cifar(folder, parquet(folder, image=[b""], category=[0]))


@topic.case("train-00000-of-00001.parquet: parquet: expected a whole file, found a damaged one")
def parquet_cut_short(folder: Path) -> list[Any]:
    cut_in_half(parquet(folder, img=[b""], label=[0]) / "train-00000-of-00001.parquet")
    return _cifar(folder, folder / "PARQUET")


@topic.case("train-00000-of-00001.parquet: row 0: image: expected one that can be decoded, found")
def parquet_with_an_image_that_is_none(folder: Path) -> list[Any]:
    return _cifar(folder, parquet(folder, img=[b"not a picture"], label=[0]))


@topic.case("IMAGES: test split: expected a folder test", "found none")
def images_without_a_test_split(folder: Path) -> list[Any]:
    (images(folder) / "test").rename(folder / "IMAGES" / "other")
    return search(folder, data=folder / "IMAGES")


@topic.case("0.png: image: expected one that can be decoded, found")
def image_cut_short(folder: Path) -> list[Any]:
    cut_in_half(images(folder) / "train" / "dark" / "0.png")
    return search(folder, data=folder / "IMAGES")


@topic.case(
    "IMAGES/train: data folder: expected python batches, *.parquet or train/CLASS/ images, found nothing; "
    "passed over: .dark, @eaDir; give --data a folder of train/CLASS/*.png and test/CLASS/*.png"
)
def images_whose_every_class_is_hidden(folder: Path) -> list[Any]:
    for split in images(folder).iterdir():
        (split / "dark").rename(split / ".dark")
        (split / "light").rename(split / "@eaDir")
    return search(folder, data=folder / "IMAGES")


@topic.case("IMAGES/test: classes: expected a folder for each, found nothing; passed over: .dark, .light")
def images_whose_every_class_of_the_test_split_is_hidden(folder: Path) -> list[Any]:
    for path in list((images(folder) / "test").iterdir()):
        path.rename(path.with_name(f".{path.name}"))
    return search(folder, data=folder / "IMAGES")


@topic.case(
    "DATA: data folder: expected python batches, *.parquet", "found nothing; passed over: .git, Thumbs.db"
)
def data_folder_of_nothing_but_hidden_things(folder: Path) -> list[Any]:
    (folder / "DATA" / ".git").mkdir(parents=True)
    (folder / "DATA" / "Thumbs.db").touch()
    return _cifar(folder, folder / "DATA")


@topic.case("0.ppm: image: expected pixels of 8 or 16 bits, found 32 bits (TIFF, mode F); save it as PNG")
def image_of_floating_point_pixels(folder: Path) -> list[Any]:
    Image.new("F", (8, 8)).save(images(folder) / "train" / "dark" / "0.ppm", "TIFF")
    return search(folder, data=folder / "IMAGES")


@topic.case(
    "DATA: configurations: expected one, found default, other; give the folder of one:", "DATA/default"
)
def parquet_of_two_configurations(folder: Path) -> list[Any]:
    for name in ("default", "other"):
        (folder / "DATA" / name).mkdir(parents=True)
        for split in ("train", "test"):
            (folder / "DATA" / name / f"{split}.parquet").touch()
    return _cifar(folder, folder / "DATA")


@topic.case(
    "PARQUET: train split: expected one file, or all the numbered ones of one table, found "
    "train-00000-of-00001.parquet, train.parquet"
)
def parquet_of_a_split_twice(folder: Path) -> list[Any]:
    (parquet(folder, img=[b""], label=[0]) / "train.parquet").touch()
    return _cifar(folder, folder / "PARQUET")


@topic.case("PARQUET: test split: expected test-*.parquet or test/*.parquet, found only train-0")
def parquet_without_a_test_split(folder: Path) -> list[Any]:
    (parquet(folder, img=[b""], label=[0]) / "test-00000-of-00001.parquet").unlink()
    return _cifar(folder, folder / "PARQUET")


@topic.case(
    "data_batch_3: CIFAR python batch: expected data and labels of whole numbers, found 'float' object"
)
def python_batch_with_labels_that_are_no_whole_numbers(folder: Path) -> list[Any]:
    content = {b"data": np.zeros((4, 3072), np.uint8), b"labels": [0, 1, 2, 2.5]}
    (batches(folder) / "data_batch_3").write_bytes(pickle.dumps(content, 5))
    return _cifar(folder, folder / "CIFAR")


@topic.case("0.png: image: expected the first one's height and width [8, 8], found [12000, 12000]")
def very_large_picture_among_small_ones(folder: Path) -> list[Any]:
    Image.new("1", (12000, 12000)).save(images(folder) / "train" / "light" / "0.png")
    return search(folder, data=folder / "IMAGES")


for _name, _target in (("nothing", "gone.png"), ("itself", "9.png")):
    topic.enter(
        f"picture that is a link to {_name}",
        lambda folder, target=_target: [  # type: ignore[misc]
            (images(folder) / "train" / "dark" / "9.png").symlink_to(target),
            *search(folder, data=folder / "IMAGES"),
        ][1:],
        "9.png: file: expected a plain file, found a link to none",
    )


@topic.case("dataset: expected one of digits, cifar10", "found 'mnist'")
def unknown_data_set(folder: Path) -> list[Any]:
    return ["find", "--dataset", "mnist", "--out", folder / "RUN"]


@topic.case("dataset: expected one that can be downloaded (cifar10, cifar100), found 'mnist'")
def data_set_that_cannot_be_downloaded(folder: Path) -> list[Any]:
    return ["data", "mnist", "--out", folder / "DATA"]
