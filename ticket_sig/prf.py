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


def keyed_places(key: bytes, label: str, count: int, total: int) -> NDArray[np.int64]:
    """Returns `count` of range(total) without replacement, ascending; every choice is equally likely."""
    if 2 * count > total:  # what is left out is the smaller part
        kept = np.ones(total, dtype=bool)
        kept[keyed_places(key, label, total - count, total)] = False
        return np.flatnonzero(kept)
    fair = 2**64 - 2**64 % total  # words from here on would favour the lower indices
    words = count + count // 2 + 64
    while True:
        drawn = keyed_words(key, label, words)
        if fair < 2**64:
            drawn = drawn[drawn < np.uint64(fair)]
        indices = (drawn % np.uint64(total)).astype(np.int64)
        first = np.sort(np.unique(indices, return_index=True)[1])
        if len(first) >= count:
            return np.sort(indices[first[:count]])
        words *= 2
