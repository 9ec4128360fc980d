"""Encoded images (PNG, JPEG, WebP, ...) to pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ticket_sig.errors import bad_input

Pixels = NDArray[np.uint8]


def decode(encoded: Iterable[tuple[str, bytes]]) -> Iterator[Pixels]:
    """Yields the decoded RGB (or grey) images [height, width, channels]; all must have one size.

    Raises:
        InputError: names the first image that cannot be decoded or has another size.
    """
    shape: tuple[int, ...] | None = None
    for where, data in encoded:
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.array(image if image.mode == "L" else image.convert("RGB"))
        except Exception as error:  # Pillow raises SyntaxError, struct.error and more for damaged files
            raise bad_input(where, "image", "one that can be decoded", str(error).split(" <", 1)[0]) from None
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise bad_input(where, "image", f"the first one's size {list(shape)}", str(list(pixels.shape)))
        yield pixels
