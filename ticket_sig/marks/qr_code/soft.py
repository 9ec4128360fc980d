"""Soft decoding of a block of a QR code: the codeword that the trusted modules speak for.

A block is a Reed-Solomon codeword, and so a word of a linear code over single bits, too. The modules that
are trusted most and decide a codeword alone (in a pruned network the light ones nearly do: pruning only
darkens) are taken as read, and the rest follows; then one or two of them at a time are doubted, as long as
the codeword comes nearer to what is read. Source: ordered statistics decoding, Fossorier and Lin 1995.
Forney's generalised minimum distance (1966) erases whole symbols, which gains next to nothing here: nearly
every symbol has dark modules.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from reedsolo import RSCodec
from scipy.special import gammaln, logsumexp

Bits = NDArray[np.bool_]

WRONG = 2.0**-32  # the most codewords that may fit unrelated modules as well
_TURNS = 8  # at most; more are only taken where nothing stands
_POLYNOMIAL = 0x1D  # of the field, without its highest bit: ISO/IEC 18004, section 7.5.2


def nearest(read: Bits, trust: NDArray[np.float64], data: int) -> bytes | None:
    """The codeword that modules of a block speak for; None where they speak for none.

    It is returned only if of all the other codewords less than `WRONG` would be expected to fit as well:
    to miss no more ones among the read zeros, and no more zeros among the read ones. That counts every
    codeword, and so whatever was tried on the way; the modules are taken as unrelated to the code.

    Args:
        read: the bits, [8 * symbols].
        trust: how much it takes to believe that a bit is wrong, at least 0, [8 * symbols].
        data: symbols of data; those of correction follow.
    """
    order = np.argsort(-trust, kind="stable")
    rows, pivots = _reduced(_generator(len(read) // 8, data)[:, order])
    ordered, weight = read[order], trust[order].astype(np.float32)
    word = np.bitwise_xor.reduce(rows[ordered[pivots]], axis=0, initial=False)
    for _ in range(_TURNS):
        if (better := _better(word, rows, ordered, weight)) is None:
            break
        word = better
    found = np.empty_like(read)
    found[order] = word
    if _log_fitting(read, found) + 8 * data * np.log(2) > np.log(WRONG):
        return None
    return np.packbits(found).tobytes()


def _better(word: Bits, rows: Bits, read: Bits, weight: NDArray[np.float32]) -> Bits | None:
    """The best of all words one or two rows away; None where none is better.

    A row r changes the distance sum w (word ^ read) by r * s, with s = w where both agree and -w where they
    do not; two rows r, q by (r + q) s - 2 r q s: one product of matrices for all pairs.
    """
    signs = np.where(word == read, weight, -weight)
    numbers = rows.astype(np.float32)
    one = numbers @ signs
    change = one[:, None] + one - 2 * (numbers * signs) @ numbers.T
    np.fill_diagonal(change, one)
    first, second = divmod(int(change.argmin()), len(rows))
    if change[first, second] > -1e-3 * max(1.0, float(weight.max(initial=0))):
        return None
    word = word ^ rows[first]
    return word if first == second else word ^ rows[second]


def _log_fitting(read: Bits, word: Bits) -> float:
    """Natural logarithm of the share of all words that fit what is read as well as this one, at most.

    Fitting as well means a pair (misses among zeros, misses among ones) that is not more likely by chance:
    the area of such pairs is a union of at most n + 1 rectangles.
    """
    balls = sum(_log_ball(int(part.sum()), int((part & (word != read)).sum())) for part in (read, ~read))
    return float(balls + np.log(len(read) + 1) - len(read) * np.log(2))


def _log_ball(count: int, misses: int) -> float:
    """Logarithm of the number of words of so many bits with at most so many ones."""
    k = np.arange(misses + 1)
    return float(logsumexp(gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1)))


def _reduced(generator: Bits) -> tuple[Bits, NDArray[np.intp]]:
    """Reduced rows, and the columns that they are the unit matrix of: the first independent ones."""
    count, n = generator.shape
    rows = np.packbits(generator, axis=1, bitorder="little")
    pivots: list[int] = []
    for column in range(n):
        bits = rows[:, column >> 3] >> (column & 7) & 1
        done = len(pivots)
        if done == count:
            break
        below = bits[done:].argmax() + done
        if not bits[below]:
            continue
        swapped = [done, int(below)]
        rows[swapped], bits[swapped] = rows[swapped[::-1]], bits[swapped[::-1]]
        bits[done] = 0
        rows[bits.view(bool)] ^= rows[done]
        pivots.append(column)
    unpacked = np.unpackbits(rows, axis=1, count=n, bitorder="little").view(bool)
    return unpacked, np.array(pivots, dtype=np.intp)


@lru_cache(maxsize=8)
def _generator(symbols: int, data: int) -> Bits:
    """The words of single bits of data, [8 * data, 8 * symbols]."""
    codec = RSCodec(symbols - data)
    ones = np.eye(data, dtype=np.uint8)
    words = np.array([list(codec.encode(one.tobytes())) for one in ones], dtype=np.uint8)
    powers: list[NDArray[np.uint8]] = [words]
    for _ in range(7):
        powers.append((powers[-1] << 1 ^ (powers[-1] >> 7) * _POLYNOMIAL).astype(np.uint8))
    stacked = np.stack(powers[::-1], axis=1).reshape(8 * data, symbols)  # the highest bit first
    return np.unpackbits(stacked, axis=1).view(bool)
