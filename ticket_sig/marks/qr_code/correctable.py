"""Which of many blocks a Reed-Solomon code can correct: 64 blocks in one machine word.

A search reads a block at every place of a model under every data mask, and nearly all of them are no
codewords. So one bit of 64 blocks lies in one word, and the arithmetic of the field is done with AND and XOR,
on all blocks at once: syndromes, the error locator (Berlekamp and Massey, without divisions), and a count of
its roots (Chien). What passes is decoded by `qr.decode`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
Words = NDArray[np.uint64]  # [8, ...], the lowest bit of the elements first

_NONE, _ALL = np.uint64(0), np.uint64(2**64 - 1)
_REDUCED = (0, 2, 3, 4)  # x^8 = 1 + x^2 + x^3 + x^4: ISO/IEC 18004, section 7.5.2


def correctable(blocks: Bits, flips: Bits, data: int) -> Bits:
    """Which blocks are codewords with no more errors than can be corrected; boolean [patterns, count].

    Args:
        blocks: the bits of each block, [8 * symbols, count].
        flips: patterns that may have flipped them, [8 * symbols, patterns]; each is tried.
        data: symbols of data; those of correction follow.
    """
    symbols, count = len(blocks) // 8, blocks.shape[1]
    correction = symbols - data
    # Syndromes are linear: those of a flipped block are its own and those of the pattern, added.
    read = _syndromes(_packed(np.pad(blocks, ((0, 0), (0, -count % 64)))), correction)
    flipped = _syndromes(np.where(flips, _ALL, _NONE), correction)
    both = flipped[..., None] ^ read[:, :, None]
    locator, errors = _locators(both.reshape(8, correction, -1))
    found: Bits = (errors <= correction // 2) & (errors == _roots(locator, symbols))
    return found.reshape(flips.shape[1], -1)[:, :count]


def _syndromes(bits: Words, count: int) -> Words:
    """The values of blocks, as polynomials, at the first powers of alpha: [8, count, words].

    Args:
        bits: [8 * symbols, words].
    """
    powers = _constants(np.arange(count))
    values = np.zeros((8, count, bits.shape[1]), dtype=np.uint64)
    for symbol in bits.reshape(-1, 8, bits.shape[1])[:, ::-1]:  # the highest bit comes first
        values = _times(powers, values) ^ symbol[:, None]
    return values


def _locators(syndromes: Words) -> tuple[Words, NDArray[np.int8]]:
    """The shortest recurrence of the syndromes of each block: its polynomial, and its degree.

    The polynomial [8, degrees, words] is cut off above the number of errors that can be corrected.
    """
    _, count, words = syndromes.shape
    locator = np.zeros((8, count // 2 + 1, words), dtype=np.uint64)
    locator[0, 0] = _ALL
    older, scale = locator, locator[:, :1]
    degree = np.zeros(64 * words, dtype=np.int8)
    for step in range(count):
        terms = min(step + 1, locator.shape[1])
        known = syndromes[:, step - terms + 1 : step + 1][:, ::-1]
        wrong = np.bitwise_xor.reduce(_times(locator[:, :terms], known), axis=1, keepdims=True)
        older = np.concatenate([np.zeros_like(older[:, :1]), older[:, :-1]], axis=1)
        grows = np.bitwise_or.reduce(wrong[:, 0], axis=0) & _packed(2 * degree <= step)
        next_one = _times(scale, locator) ^ _times(wrong, older)
        older, scale = older ^ (older ^ locator) & grows, scale ^ (scale ^ wrong) & grows
        degree = np.where(_unpacked(grows), step + 1 - degree, degree).astype(np.int8)
        locator = next_one
    return locator, degree


def _roots(locator: Words, symbols: int) -> NDArray[np.int16]:
    """At how many symbols of each block its locator says that there is an error."""
    steps, count = _constants(-np.arange(locator.shape[1])), np.zeros(64 * locator.shape[2], dtype=np.int16)
    for _ in range(symbols):
        value = np.bitwise_xor.reduce(locator, axis=1)
        count += ~_unpacked(np.bitwise_or.reduce(value, axis=0))
        locator = _times(steps, locator)
    return count


def _times(a: Words, b: Words) -> Words:
    """The products of elements, [8, ...]."""
    product = np.zeros((15, *np.broadcast_shapes(a.shape[1:], b.shape[1:])), dtype=np.uint64)
    for power in range(8):
        product[power : power + 8] ^= a[power] & b
    for above in (15, 11):  # what is reduced reaches up to the power 10 again
        high = product[8:above].copy()
        product[8:above] = 0
        for lower in _REDUCED:
            product[lower : lower + len(high)] ^= high
    return product[:8]


def _powers() -> NDArray[np.int_]:
    """All powers of alpha, which is x."""
    values = [1]
    while len(values) < 255:
        carried = values[-1] >> 7
        values.append(values[-1] << 1 & 255 ^ sum(carried << lower for lower in _REDUCED))
    return np.array(values)


_POWERS = _powers()


def _constants(powers: NDArray[np.int_]) -> Words:
    """Powers of alpha, each the same for all blocks: [8, powers, 1]."""
    bits = _POWERS[powers % 255] >> np.arange(8)[:, None] & 1
    return np.where(bits, _ALL, _NONE)[..., None]


def _packed(bits: Bits) -> Words:
    """Bits [..., 64 * words] as words [..., words]."""
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")).view(np.uint64)


def _unpacked(words: Words) -> Bits:
    """Words [words] as bits [64 * words]."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(bool)
