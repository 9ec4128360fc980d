"""What every data set must be, whatever it was read from, and how a folder's kind is found."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import Command, could_not
from support.tiny import tiny_data, write_images
from torch import Tensor

from ticket_sig import InputError
from ticket_sig.datasets import DATASETS, Dataset, DatasetSpec, load_dataset
from ticket_sig.datasets.data import Split

_IMAGES = torch.zeros(3, 8, 8, 1, dtype=torch.uint8)
_LABELS = torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (_IMAGES.float(), _LABELS, r"expected uint8 images .* found torch.float32 \[3, 8, 8, 1\]"),
        (_IMAGES[..., 0], _LABELS, r"found torch.uint8 \[3, 8, 8\] and 3"),
        (_IMAGES, _LABELS[:2], "and 2"),
        (_IMAGES[:0], _LABELS[:0], "and 0"),
        (_IMAGES, _LABELS + 1, "expected 0 to 2, found 1 to 3"),
        (_IMAGES, _LABELS - 1, "expected 0 to 2, found -1 to 1"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_that_cannot_be_is_refused_by_name(
    part: str, images: Tensor, labels: Tensor, message: str
) -> None:
    fine = Split(_IMAGES, _LABELS)
    splits = {"train": fine, "test": fine} | {part: Split(images, labels)}
    with pytest.raises(InputError, match=f"own: {part}.*{message}"):
        Dataset("own", splits["train"], splits["test"], 3, (0.5,), (0.5,))


@given(images=st.integers(8, 200), share=st.floats(0, 0.9))
@settings(deadline=None, max_examples=25)
def test_what_is_held_out_and_what_is_left_are_the_train_split(images: int, share: float) -> None:
    data = tiny_data(images)
    training, validation = data.hold_out(share)
    assert len(validation) == round(share * len(data.train))
    assert torch.equal(torch.cat([training.images, validation.images]), data.train.images)
    assert torch.equal(torch.cat([training.labels, validation.labels]), data.train.labels)


def test_the_digest_tells_any_change_of_an_image_or_a_label() -> None:
    data = tiny_data()
    assert data.digest == tiny_data().digest
    seen = {data.digest}
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            changed = tiny_data()
            tensor = getattr(getattr(changed, part), kind).view(-1)
            tensor[-1] = tensor[-1] ^ 1
            seen.add(changed.digest)
    assert len(seen) == 5


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"dataset: expected one of digits, cifar10.*found 'mnist'"):
        load_dataset("mnist")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("given_folder", ["none", "missing", "empty", "other", "file"])
def test_a_missing_data_set_says_what_to_download_from_where_and_its_md5(
    name: str, given_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing here")
    (tmp_path / "file").write_text("not a folder")
    archive = DATASETS[name].archive
    assert archive is not None
    with pytest.raises(InputError) as refused:
        load_dataset(name, None if given_folder == "none" else tmp_path / given_folder)
    message = str(refused.value)
    assert archive.url in message and archive.md5 in message and f"ticket-sig data {name}" in message
    assert given_folder == "none" or str(tmp_path / given_folder) in message
    assert given_folder != "other" or "notes.txt" in message


def test_a_missing_image_folder_says_how_it_is_laid_out() -> None:
    with pytest.raises(InputError, match=r"train/CLASS/.*test/CLASS/"):
        load_dataset("images")


def test_images_of_another_size_than_the_data_set_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", size=16)
    with pytest.raises(InputError, match=r"train images: expected cifar10's size \[32, 32, 3\], found \[16"):
        load_dataset("cifar10", folder)


def test_more_classes_than_the_data_set_are_refused_with_the_folder(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", tuple(f"class{n:02d}" for n in range(11)), each=1, size=32)
    with pytest.raises(InputError, match=r"data: cifar10: train labels: expected 0 to 9, found 0 to 10"):
        load_dataset("cifar10", folder)


def test_one_line_of_the_registry_is_a_data_set_of_a_user_s_own(
    tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/extending.md has it: what is not said comes from the folder."""
    monkeypatch.setitem(DATASETS, "flowers", DatasetSpec())
    monkeypatch.setitem(
        DATASETS, "sized", DatasetSpec(classes=5, size=(8, 8, 3), normalisation=((0.1,) * 3, (0.2,) * 3))
    )
    folder = write_images(tmp_path / "data", ("rose", "tulip", "aster"), each=2)
    data = load_dataset("flowers", folder)
    assert (data.classes, data.size, data.mean, data.std) == (3, (8, 8, 3), (0.5,) * 3, (0.5,) * 3)
    data = load_dataset("sized", folder)
    assert (data.classes, data.mean, data.std) == (5, (0.1,) * 3, (0.2,) * 3)
    said = ticket_sig("triggers", "--dataset", "sized", "--out", tmp_path / "triggers.json")
    assert "100 images of 8 x 8 x 3, 5 classes" in said.out
    could_not(
        ticket_sig("find", "--dataset", "flowers", "--out", tmp_path / "run"), "flowers", "train/CLASS/*.png"
    )


def test_columns_of_a_table_are_named_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "mine", DatasetSpec(label="kind", image=("photo",)))
    image = (write_images(tmp_path / "images", each=1) / "train" / "cat" / "0.png").read_bytes()
    for split in ("train", "test"):
        table = pyarrow.table({"photo": [image, image], "image": [b"", b""], "kind": [1, 0], "label": [5, 5]})
        pyarrow.parquet.write_table(table, tmp_path / f"{split}.parquet")
    assert load_dataset("mine", tmp_path).test.labels.tolist() == [1, 0]
    # The cache of one spec does not answer for another.
    monkeypatch.setitem(DATASETS, "mine", DatasetSpec(label="label", image=("photo",)))
    assert load_dataset("mine", tmp_path).test.labels.tolist() == [5, 5]
