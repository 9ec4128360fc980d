"""Case 7: a few pictures of a colour data set were saved grey, black and white, or with transparency."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from ticket_sig.datasets import load_dataset

GREY = ["L", "LA", "1", "I;16"]


def picture(mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return (
        Image.fromarray(pixels[..., 0]).convert(mode)
        if mode in GREY
        else Image.fromarray(pixels).convert(mode)
    )


def png(mode: str, seed: int = 0) -> bytes:
    file = io.BytesIO()
    picture(mode, seed).save(file, "PNG")
    return file.getvalue()


def write_folder(folder: Path, train: list[str], test: list[str]) -> Path:
    """An image folder of one class, pictures in these modes."""
    for split, modes in (("train", train), ("test", test)):
        (folder / split / "a").mkdir(parents=True)
        for number, mode in enumerate(modes):
            (folder / split / "a" / f"{number}.png").write_bytes(png(mode, number))
    return folder


def write_parquet(folder: Path, train: list[str], test: list[str]) -> Path:
    folder.mkdir()
    for split, modes in (("train", train), ("test", test)):
        cells = [{"bytes": png(mode, number)} for number, mode in enumerate(modes)]
        table = pyarrow.table({"img": cells, "label": [0] * len(cells)})
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    return folder


@pytest.fixture(params=[write_folder, write_parquet], ids=["image folder", "parquet"])
def write(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.mark.parametrize("odd", GREY)
@pytest.mark.parametrize("at", [0, 2])
def test_some_grey_among_colour_become_rgb(write: type, odd: str, at: int, tmp_path: Path) -> None:
    modes = ["RGB"] * 3
    modes[at] = odd
    images = load_dataset("images", write(tmp_path / "data", modes, ["RGB"])).train.images.numpy()
    assert images.shape == (3, 8, 8, 3)
    if odd != "I;16":  # Pillow would make this one white
        expected = {np.array(picture(mode, n).convert("RGB")).tobytes() for n, mode in enumerate(modes)}
        assert {image.tobytes() for image in images} == expected


@pytest.mark.parametrize("mode", GREY)
def test_all_grey_have_one_channel(write: type, mode: str, tmp_path: Path) -> None:
    data = load_dataset("images", write(tmp_path / "data", [mode, "L"], [mode]))
    assert data.size == (8, 8, 1) and data.test.images.shape[3] == 1


@pytest.mark.parametrize("modes", [(["L", "L"], ["RGB"]), (["RGB", "RGB"], ["L"])], ids=["train", "test"])
def test_a_split_that_is_all_grey_becomes_rgb_beside_one_that_is_not(
    write: type, modes: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    data = load_dataset("images", write(tmp_path / "data", *modes))
    assert data.train.images.shape[3] == data.test.images.shape[3] == 3


@pytest.mark.parametrize("mode", ["P", "RGBA", "RGB"])
def test_palettes_and_transparency_are_rgb_as_before(write: type, mode: str, tmp_path: Path) -> None:
    data = load_dataset("images", write(tmp_path / "data", [mode], [mode]))
    assert np.array_equal(data.test.images[0].numpy(), np.array(picture(mode).convert("RGB")))
