"""Choices that must look like chance to a thief: keyed pseudo-random functions (SHAKE-256, AES-CTR)."""

from __future__ import annotations

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

_WORDS_A_BLOCK = 4  # of 32 bits, in 16 bytes


class Stream:
    """A 32-bit word for every position, each to be had without the others: AES-256 in counter mode.

    The same key and label give the same words on every platform; other labels give unrelated ones.
    """

    def __init__(self, key: bytes, label: str) -> None:
        self._key = _shake(key, label, 32)

    def words(self, start: int, count: int) -> NDArray[np.uint32]:
        """The words of the positions from `start` on."""
        first, skip = divmod(start, _WORDS_A_BLOCK)
        counter = modes.CTR(first.to_bytes(16, "big"))
        zeros = bytes(4 * (count + skip))
        stream = Cipher(algorithms.AES256(self._key), counter).encryptor().update(zeros)
        return np.frombuffer(stream, dtype="<u4")[skip:].astype(np.uint32)

    def of_blocks(self, number: int, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Four words for every block of 16 bytes, [blocks, 4]: the same for equal blocks.

        Args:
            number: another one gives unrelated words.
            blocks: [blocks, 2].
        """
        key = hashlib.shake_256(self._key + b"blocks" + number.to_bytes(8, "big")).digest(32)
        # One block at a time, each under AES by itself: a permutation of all blocks, as good as chance.
        cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
        words = cipher.update(np.ascontiguousarray(blocks, dtype="<u8").tobytes())
        return np.frombuffer(words, dtype="<u4").astype(np.uint32).reshape(-1, _WORDS_A_BLOCK)


def keyed_words(key: bytes, label: str, count: int) -> NDArray[np.uint64]:
    """Returns `count` uniform 64-bit words that nobody without the key can tell from chance.

    The same key and label give the same words on every platform; other labels give unrelated ones.
    """
    return np.frombuffer(_shake(key, label, 8 * count), dtype="<u8").astype(np.uint64)


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


def _shake(key: bytes, label: str, size: int) -> bytes:
    """Bytes that follow from key and label; the key's length first, so that no two pairs are one text."""
    head = len(key).to_bytes(8, "big") + key + label.encode()
    return hashlib.shake_256(head).digest(size)
