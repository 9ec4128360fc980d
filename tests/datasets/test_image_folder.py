"""Image folders: train/CLASS/ and test/CLASS/ of any image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny import write_images

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset


def test_every_image_is_there_once_with_its_label(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", ("dog", "ant", "cat"), each=4)
    data = load_dataset("images", folder)
    assert (data.classes, data.channels) == (3, 3)
    for part, split in (("train", data.train), ("test", data.test)):
        found = {(int(y), x.numpy().tobytes()) for x, y in zip(split.images, split.labels, strict=True)}
        wanted = {
            (label, np.array(Image.open(file)).tobytes())
            for label, name in enumerate(["ant", "cat", "dog"])
            for file in (folder / part / name).iterdir()
        }
        assert found == wanted and len(split) == len(wanted) == 12


def test_the_order_is_the_same_always_and_mixes_the_classes(tmp_path: Path) -> None:
    first = load_dataset("images", write_images(tmp_path / "one", each=20))
    second = load_dataset("images", write_images(tmp_path / "two", each=20))
    assert first.digest == second.digest
    _, validation = first.hold_out(0.25)
    assert validation.labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_the_test_split_has_one_of_three_names(name: str, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    (folder / "test").rename(folder / name)
    assert len(load_dataset("images", folder).test) == 6


def test_cifar10_as_an_image_folder(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", tuple("abcdefghij"), each=1, size=32)
    assert load_dataset("cifar10", folder).classes == 10


@pytest.mark.parametrize("ending", ["png", "PNG", "jpg", "bmp", "webp"])
def test_usual_image_files_are_read_and_others_passed_over(ending: str, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    picture = Image.open(folder / "train" / "cat" / "0.png")
    picture.save(folder / "train" / "cat" / f"more.{ending}")
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / "notes.txt").write_text("not a class")
    assert len(load_dataset("images", folder).train) == 7


def test_a_missing_test_split_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    (folder / "test").rename(folder / "other")
    with pytest.raises(InputError, match="data: test split: expected a folder test, val, validation"):
        load_dataset("images", folder)


def test_other_classes_in_the_two_splits_are_refused_with_both(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    (folder / "test" / "dog").rename(folder / "test" / "wolf")
    with pytest.raises(InputError, match="test: classes: expected cat, dog, found cat, wolf"):
        load_dataset("images", folder)


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", each=0)
    with pytest.raises(InputError, match=r"train: images: expected files ending in .*\.png.*, found none"):
        load_dataset("images", folder)


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "size"])
def test_an_image_that_cannot_be_used_is_named(kind: str, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    bad = folder / "train" / "dog" / "1.png"
    whole = bad.read_bytes()
    if kind == "size":
        Image.new("RGB", (8, 9)).save(bad)
    else:
        bad.write_bytes({"text": b"no image", "empty": b"", "cut": whole[: len(whole) // 2]}[kind])
    with pytest.raises(InputError, match=r"train/\w+/\d.png: image: expected"):
        load_dataset("images", folder)
