"""Case 6: scanners and microscopes write pictures of 16 bits a pixel, and some programs of 32."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset
from ticket_sig.datasets.images import decode

DEEP = np.random.default_rng(0).integers(0, 2**16, (8, 8), dtype=np.uint16)


def file_of(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png_of_16_bits(pixels: np.ndarray, colour: int) -> bytes:
    """A PNG of big-endian 16-bit samples: colour type 0 is grey, 2 RGB, 4 grey with alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


GREY = {
    "PNG": png_of_16_bits(DEEP, 0),
    "PNG of Pillow": file_of(Image.fromarray(DEEP), "PNG"),
    "PGM": b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes(),
    "TIFF": file_of(Image.fromarray(DEEP), "TIFF"),
    "PNG with alpha": png_of_16_bits(np.stack([DEEP, DEEP[::-1]], 2), 4),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_pixels_of_16_bits_keep_their_high_byte_and_one_channel(kind: str) -> None:
    assert np.array_equal(decode("0.png", GREY[kind])[..., 0], DEEP >> 8)


def test_colour_pixels_of_16_bits_keep_their_high_bytes() -> None:
    pixels = np.stack([DEEP, DEEP.T, DEEP[::-1]], 2)
    assert np.array_equal(decode("0.png", png_of_16_bits(pixels, 2)), pixels >> 8)


def test_a_data_set_of_them_is_grey_and_beside_8_bits_they_are_as_bright(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "deep.png").write_bytes(GREY["PNG"])
        Image.fromarray((DEEP >> 8).astype(np.uint8)).save(tmp_path / split / "a" / "plain.png")
    images = load_dataset("images", tmp_path).train.images.numpy()
    assert images.shape == (2, 8, 8, 1) and np.array_equal(images[0], images[1])


@pytest.mark.parametrize(
    ("pixels", "mode"), [(DEEP.astype(np.float32) / 2**16, "F"), (DEEP.astype(np.int32), "I")], ids=["F", "I"]
)
def test_pixels_of_32_bits_whose_range_nobody_says_are_refused(pixels: np.ndarray, mode: str) -> None:
    content = file_of(Image.fromarray(pixels), "TIFF")
    says = rf"0\.tiff: image: expected pixels of 8 or 16 bits, found 32 bits \(TIFF, mode {mode}\)"
    with pytest.raises(InputError, match=says):
        decode("0.tiff", content)
