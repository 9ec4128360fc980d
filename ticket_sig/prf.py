"""Choices that must look like chance to a thief: a keyed pseudo-random function (SHAKE-256)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def keyed_words(key: bytes, label: str, count: int) -> NDArray[np.uint64]:
    """Returns `count` uniform 64-bit words that nobody without the key can tell from chance.

    The same key and label give the same words on every platform; other labels give unrelated ones.
    """
    head = len(key).to_bytes(8, "big") + key + label.encode()
    return np.frombuffer(hashlib.shake_256(head).digest(8 * count), dtype="<u8").astype(np.uint64)
