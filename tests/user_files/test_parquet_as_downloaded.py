"""Case 19: a data set was downloaded whole from the hub; its tables lie in folders and have many names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from support.command_line import Command, could_not

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset

HASH = "a9f3b1c2d4e5f607"
LAYOUTS = {
    "as numbered": "{}-00000-of-00001.parquet",
    "with a hash": f"{{}}-00000-of-00001-{HASH}.parquet",
    "without a number": "{}.parquet",
    "the data set's name first": "cifar10-{}.parquet",
    "plain_text": "plain_text/{}-00000-of-00001.parquet",
    "data": f"data/{{}}-00000-of-00001-{HASH}.parquet",
    "a folder for each split": "{}/0000.parquet",
    "a folder and a name for each split": "{0}/{0}-00000-of-00001.parquet",
    "converted by the hub": "default/{}/0000.parquet",
    "two folders down": "repository/data/{}-00000-of-00001.parquet",
    "written by Spark": "{}/part-00000-0a1b2c3d-c000.snappy.parquet",
}


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(path: Path, labels: Sequence[int], label: str = "label") -> None:
    """A table of pictures, as red as their labels say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"img": [{"bytes": png(one)} for one in labels], label: list(labels)})
    pyarrow.parquet.write_table(table, path)


def splits(folder: Path, pattern: str, test: str = "test", tests: Sequence[int] = (3, 4)) -> Path:
    """A folder in a layout, with what a clone or a download leaves beside the tables."""
    write(folder / pattern.format("train"), [0, 1, 2])
    write(folder / pattern.format(test), tests)
    (folder / "README.md").write_text("as the hub has it")
    (folder / ".gitattributes").touch()
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "train.parquet").touch()
    return folder


@pytest.mark.parametrize("pattern", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_of_the_hub_is_read(pattern: str, tmp_path: Path) -> None:
    data = load_dataset("cifar10", splits(tmp_path / "data", pattern))
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 2], [3, 4])
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["{}-{:05}-of-00012.parquet", "default/{}/{:04}.parquet", "{}-{}.parquet"])
def test_the_parts_of_a_split_are_all_read(name: str, tmp_path: Path) -> None:
    for part in range(12):
        write(tmp_path / name.format("train", part), [part % 10])
        write(tmp_path / name.format("test", part), [part % 10])
    assert sorted(load_dataset("cifar10", tmp_path).train.labels.tolist()) == sorted(
        n % 10 for n in range(12)
    )


@pytest.mark.parametrize("pattern", ["{}.parquet", "default/{}/0000.parquet"])
@pytest.mark.parametrize("name", ["validation", "val"])
def test_validation_is_the_test_split_where_there_is_no_other(
    name: str, pattern: str, tmp_path: Path
) -> None:
    splits(tmp_path, pattern, test=name)
    assert load_dataset("cifar10", tmp_path).test.labels.tolist() == [3, 4]
    write(tmp_path / pattern.format("test"), [5])
    assert load_dataset("cifar10", tmp_path).test.labels.tolist() == [5]


def test_a_data_set_of_a_user_s_own_is_read_from_the_same_layouts(tmp_path: Path) -> None:
    for pattern in ("plain_text/{}-00000-of-00001.parquet", "default/{}/0000.parquet"):
        data = load_dataset("images", splits(tmp_path / pattern[:5], pattern, tests=[2]))
        assert (sorted(data.train.labels.tolist()), data.size) == ([0, 1, 2], (32, 32, 3))


def test_tables_in_the_folder_itself_come_before_those_of_folders_below(tmp_path: Path) -> None:
    splits(tmp_path, "{}.parquet")
    write(tmp_path / "older" / "train.parquet", [9])
    assert load_dataset("cifar10", tmp_path).train.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "pattern", ["{}/train-00000-of-00001.parquet", "{}/train/0000.parquet", "{}-train.parquet"]
)
def test_of_several_configurations_none_is_guessed(pattern: str, tmp_path: Path) -> None:
    for name in ("cropped_digits", "full_numbers"):
        write(tmp_path / pattern.format(name), [0])
        write(tmp_path / pattern.format(name).replace("train", "test"), [1])
    says = "configurations: expected one, found cropped_digits, full_numbers"
    with pytest.raises(InputError, match=says) as refused:
        load_dataset("cifar10", tmp_path)
    if "/" in pattern:
        assert str(refused.value).endswith(f"give the folder of one: {tmp_path / 'cropped_digits'}")
        assert load_dataset("cifar10", tmp_path / "cropped_digits").train.labels.tolist() == [0]


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002.parquet"],
        ["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
        ["train-00000-of-00001-aaaa.parquet", "train-00000-of-00001-bbbb.parquet"],
        ["train-00000-of-00001.parquet", "train.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "train-00000-of-00001.parquet"],
        ["train-clean.parquet", "train-noisy.parquet"],
    ],
    ids=["one of two", "the second missing", "two uploads", "twice", "of two and of one", "no numbers"],
)
def test_parts_that_are_missing_or_there_twice_are_refused(names: list[str], tmp_path: Path) -> None:
    splits(tmp_path, "{}-00000-of-00001.parquet")
    (tmp_path / "train-00000-of-00001.parquet").unlink()
    for name in names:
        write(tmp_path / name, [0, 1])
    with pytest.raises(
        InputError, match="train split: expected one file, or all the numbered ones"
    ) as refused:
        load_dataset("cifar10", tmp_path)
    assert all(name in str(refused.value) for name in names)


def test_the_command_line_says_which_folder_to_give(tmp_path: Path, ticket_sig: Command) -> None:
    for name in ("default", "other"):
        splits(tmp_path / "data" / name, "{}/0000.parquet")
    given = ["find", "--dataset", "cifar10", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    could_not(ticket_sig(*given), "data: configurations: expected one, found default, other; give the folder")


def test_the_label_column_of_another_data_set_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    for split in ("train", "test"):
        path = tmp_path / "cifar100" / f"{split}-00000-of-00001.parquet"
        write(path, [7, 8], label="fine_label")
    assert load_dataset("cifar100", tmp_path).train.labels.tolist() == [7, 8]
    with pytest.raises(InputError, match=r"columns: expected img or image, and label, found img, fine_label"):
        load_dataset("cifar10", tmp_path)


def test_pixels_are_those_of_the_tables_row_by_row(tmp_path: Path) -> None:
    splits(tmp_path, "default/{}/0000.parquet")
    images = load_dataset("cifar10", tmp_path).test.images.numpy()
    assert np.array_equal(images[:, 5, 5], [[3, 0, 0], [4, 0, 0]])
