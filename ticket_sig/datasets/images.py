"""Encoded images (PNG, JPEG, WebP, ...) to pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ticket_sig.errors import InputError, bad_input

Pixels = NDArray[np.uint8]
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm"}
_GREY = ("1", "L", "LA")
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose images of Pillow's mode I hold 0 to 65535


def decode(where: str, data: bytes) -> Pixels:
    """The pixels of an image: [height, width, 1] if it is grey, else RGB, [height, width, 3].

    Of 16-bit pixels the high byte is taken; transparency is left out.

    Raises:
        InputError: names an image that cannot be decoded, or whose pixels have another range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, as of an image that is very large
            with Image.open(io.BytesIO(data)) as image:
                pixels = _pixels(image, where)
    except InputError:
        raise
    except Exception as error:  # Pillow raises SyntaxError, struct.error and more for damaged files
        raise bad_input(where, "image", "one that can be decoded", str(error).split(" <", 1)[0]) from None
    return pixels if pixels.ndim == 3 else pixels[..., None]


def decode_all(encoded: Iterable[tuple[str, bytes]]) -> Pixels:
    """One or more images [n, height, width, channels]: grey where all are, else RGB for all.

    Raises:
        InputError: names the first image that cannot be decoded or has another size than the first.
    """
    images: list[Pixels] = []
    for where, data in encoded:
        pixels = decode(where, data)
        size, first = list(pixels.shape[:2]), list((images or [pixels])[0].shape[:2])
        if size != first:
            raise bad_input(where, "image", f"the first one's height and width {first}", str(size))
        images.append(pixels)
    channels = max(pixels.shape[2] for pixels in images)
    return np.stack([np.broadcast_to(pixels, (*pixels.shape[:2], channels)) for pixels in images])


def _pixels(image: Image.Image, where: str) -> Pixels:
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BITS):
        found = f"32 bits ({image.format}, mode {image.mode})"
        raise bad_input(where, "image", "pixels of 8 or 16 bits", found, hint="save it as PNG")
    if image.mode.startswith("I"):
        return (np.array(image) >> 8).astype(np.uint8)
    mode = "L" if image.mode in _GREY else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode))
