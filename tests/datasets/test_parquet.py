"""Hugging Face parquet folders, as pyarrow and Pillow write them."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset


def random_pixels(rows: int, seed: int = 0, size: int = 32) -> list[np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(rows)]


def encode(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(
    path: Path, images: Sequence[Any], labels: Sequence[Any], image: str = "img", label: str = "label"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({image: list(images), label: list(labels)}), path)
    return path


def cells(pixels: Sequence[np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    return [{"bytes": encode(p), "path": None} for p in pixels]


def write_folder(folder: Path, **columns: str) -> tuple[list[np.ndarray[Any, Any]], list[int]]:
    """A data set in two train files and one test file; returns what the train split holds."""
    pixels, labels = random_pixels(5), [3, 0, 9, 1, 4]
    write_parquet(folder / "train-00000-of-00002.parquet", cells(pixels[:3]), labels[:3], **columns)
    write_parquet(folder / "train-00001-of-00002.parquet", cells(pixels[3:]), labels[3:], **columns)
    write_parquet(folder / "test-00000-of-00001.parquet", cells(random_pixels(2, 1)), [7, 2], **columns)
    return pixels, labels


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [("cifar10", "img", "label"), ("cifar10", "image", "label"), ("cifar100", "img", "fine_label")],
)
def test_a_folder_is_read_as_it_was_written(name: str, image: str, label: str, tmp_path: Path) -> None:
    pixels, labels = write_folder(tmp_path, image=image, label=label)
    data = load_dataset(name, tmp_path)
    assert data.train.labels.tolist() == labels
    assert np.array_equal(data.train.images.numpy(), np.stack(pixels))
    assert data.test.labels.tolist() == [7, 2]


def test_images_as_plain_bytes_and_in_grey_are_read(tmp_path: Path) -> None:
    grey = [p[..., 0] for p in random_pixels(4, size=12)]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", [encode(p) for p in grey], [0, 1, 2, 0])
    data = load_dataset("images", tmp_path)
    assert np.array_equal(data.test.images.numpy()[..., 0], np.stack(grey))
    # The training images are shuffled, each with its label.
    pairs = zip(data.train.images[..., 0].numpy(), data.train.labels.tolist(), strict=True)
    labels = {p.tobytes(): label for p, label in zip(grey, [0, 1, 2, 0], strict=True)}
    assert {p.tobytes(): label for p, label in pairs} == labels
    assert (data.channels, data.classes) == (1, 3)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(random_pixels(1)[0]).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF")
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", [{"bytes": file.getvalue()}], [0])
    found = load_dataset("cifar10", tmp_path).train.images[0].numpy()
    assert np.array_equal(found, np.array(image.convert("RGB")))


def test_a_missing_split_is_named_with_what_is_there(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"test split: expected test-\*\.parquet .*, found only train-0"):
        load_dataset("cifar10", tmp_path)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_folder(tmp_path, label="fine_label")
    with pytest.raises(
        InputError, match=r"train-00000.*columns: expected img or image, and label, found img, fine_label"
    ):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all, but some text"])
def test_a_file_that_is_no_parquet_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: parquet: expected a whole file"):
        load_dataset("cifar10", tmp_path)


_FINE = random_pixels(1)[0]


@pytest.mark.parametrize(
    "cell",
    [
        {"bytes": b""},
        {"bytes": None},
        {"bytes": b"no image"},
        {"bytes": encode(_FINE)[:100]},
        {"bytes": encode(_FINE, "JPEG")[:300]},
        None,
    ],
    ids=["empty", "null", "text", "cut PNG", "cut JPEG", "null cell"],
)
def test_an_image_that_cannot_be_decoded_is_named_by_file_and_row(cell: Any, tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [{"bytes": encode(_FINE)}, cell], [0, 1])
    with pytest.raises(InputError, match=r"train-00001.*row 1: image: expected one that can be decoded"):
        load_dataset("cifar10", tmp_path)


@given(
    where=st.floats(0, 1), bit=st.integers(0, 7), kind=st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "GIF"])
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_flipped_image_is_read_or_refused_but_never_a_crash(
    where: float, bit: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    damaged = bytearray(encode(np.zeros((32, 32, 3), np.uint8), kind))
    damaged[int(where * (len(damaged) - 1))] ^= 1 << bit
    write_parquet(folder / "train-0.parquet", [{"bytes": bytes(damaged)}], [0])
    write_parquet(folder / "test-0.parquet", [{"bytes": encode(_FINE)}], [0])
    try:
        assert load_dataset("cifar10", folder).train.images.shape == (1, 32, 32, 3)
    except InputError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("one_file", [True, False], ids=["in one file", "in two files"])
def test_images_of_several_sizes_are_refused_by_name(one_file: bool, tmp_path: Path) -> None:
    write_folder(tmp_path)
    other = random_pixels(1, size=16)[0]
    first = [{"bytes": encode(_FINE)}] if one_file else []
    write_parquet(
        tmp_path / "train-00001-of-00002.parquet", [*first, {"bytes": encode(other)}], [0] * (len(first) + 1)
    )
    with pytest.raises(
        InputError, match=r"train-00001.*row \d: image: expected the first one's height and width \[32, 32\]"
    ):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_rows_is_refused(split: str, tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = 0 if name == split else 2
        table = pyarrow.table(
            {
                "img": pyarrow.array(
                    cells(random_pixels(rows)), pyarrow.struct([("bytes", pyarrow.binary())])
                ),
                "label": pyarrow.array([0] * rows, pyarrow.int64()),
            }
        )
        pyarrow.parquet.write_table(table, tmp_path / f"{name}-0.parquet")
    with pytest.raises(InputError, match=split):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize(
    "labels", [["cat", "dog"], [0, None], [0.5, 1.5], [[0], [1]], [0, 10], [0, -1]], ids=str
)
def test_labels_that_are_no_classes_are_refused(labels: list[Any], tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", cells(random_pixels(2)), labels)
    with pytest.raises(InputError, match="label"):
        load_dataset("cifar10", tmp_path)


def test_without_pyarrow_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"parquet files.*pyarrow.*pip install 'ticket-sig\[parquet\]'"):
        load_dataset("cifar10", tmp_path)
