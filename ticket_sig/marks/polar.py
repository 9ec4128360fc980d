"""Polar codes: bits that can be read through noise, from soft values of unknown scale.

Sources, all of the IEEE. The code and its transform, here in natural order: Arikan, "Channel polarization"
(Trans. Inf. Theory 55, 2009). Which places carry bits: He et al., "Beta-expansion: a theoretical framework
for fast and recursive construction of polar codes" (GLOBECOM 2017). The decoder: Tal, Vardy, "List decoding
of polar codes" (Trans. Inf. Theory 61, 2015), with costs of paths as in Balatsoukas-Stimming et al. (Trans.
Signal Process. 63, 2015), and whole subtrees in one step as in Hashemi et al. (the same, 65, 2017).

Bits are signs here: 1 for the bit 0, -1 for the bit 1; a product is what XOR is for bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Signs = NDArray[np.int8]

_FRACTION = 40  # bits after the point: far finer than any two places of a code of 2^14 bits differ


def by_reliability(size: int) -> NDArray[np.int64]:
    """The places of a code, the least reliable first, [size].

    A place's weight is the sum of 2^(j/4) over the bits j of its number that are 1 (He et al., with beta =
    2^(1/4)): in integers, so that the order is the same on every platform. No two have the same weight.
    """
    levels = range(size.bit_length() - 1)
    weights = [math.isqrt(math.isqrt(1 << (j + 4 * _FRACTION))) for j in levels]
    places = np.arange(size)
    total = sum(((places >> j & 1) * weight for j, weight in enumerate(weights)), np.zeros_like(places))
    return np.argsort(total, kind="stable")


@lru_cache(maxsize=64)
def _frozen(size: int, bits: int) -> NDArray[np.bool_]:
    frozen = np.zeros(size, dtype=bool)
    frozen[by_reliability(size)[: size - bits]] = True
    frozen.setflags(write=False)
    return frozen


def transformed(signs: Signs) -> Signs:
    """The last axis times the Kronecker power of [[1, 0], [1, 1]], over GF(2); it is its own inverse."""
    signs, half = signs.copy(), 1
    while half < signs.shape[-1]:
        pairs = signs.reshape(*signs.shape[:-1], -1, 2, half)
        pairs[..., 0, :] *= pairs[..., 1, :]
        half *= 2
    return signs


@dataclass(frozen=True)
class PolarCode:
    """A polar code.

    Attributes:
        size: of a code word, a power of 2.
        bits: that it carries, at most `size`.
    """

    size: int
    bits: int

    @property
    def frozen(self) -> NDArray[np.bool_]:
        """The places that carry no bit and are 1 always, [size]."""
        return _frozen(self.size, self.bits)

    def encode(self, signs: Signs) -> Signs:
        """The code words of signs, [..., bits] -> [..., size]."""
        placed = np.ones((*signs.shape[:-1], self.size), dtype=np.int8)
        placed[..., ~self.frozen] = signs
        return transformed(placed)

    def decode(self, soft: Floats, most: int) -> Signs:
        """The likeliest messages, the best first: successive cancellation with a list.

        Args:
            soft: [words, size], log-likelihood ratios, positive for the sign 1. A factor changes nothing: the
                smaller of two stands for their exact combination (min-sum).
            most: paths that are kept of each word, the length of the list.

        Returns:
            [words, at most `most`, bits].
        """
        found, cost, _ = _decoded(soft[:, None], np.zeros((len(soft), 1)), self.frozen, most)
        best = np.argsort(cost, axis=1, kind="stable")
        words: Signs = found[np.arange(len(found))[:, None], best].astype(np.int8)
        return transformed(words)[..., ~self.frozen]


def _decoded(
    soft: Floats, cost: Floats, frozen: NDArray[np.bool_], most: int
) -> tuple[Floats, Floats, NDArray[np.int64] | None]:
    """Decodes a subtree for all paths at once.

    Args:
        soft: [words, paths, n].
        cost: [words, paths], how much of the soft values the path's decisions go against.
        frozen: [n].

    Returns:
        The subtree's code words, [words, new paths, n]; the new paths' costs; and which path each comes
        from, None where they are the old ones.
    """
    words, paths, n = soft.shape
    rows = np.arange(words)[:, None]
    if frozen[:-1].all():  # all equal: the costs of its leaves add up to those of its code word
        plain = cost - np.minimum(soft, 0).sum(axis=-1)
        if frozen[-1]:
            return np.ones((words, paths, n)), plain, None
        both = np.concatenate([plain, cost + np.maximum(soft, 0).sum(axis=-1)], axis=1)
        kept = np.argsort(both, axis=1, kind="stable")[:, :most]
        sign = np.where(kept < paths, 1.0, -1.0)
        return np.repeat(sign[..., None], n, axis=-1), both[rows, kept], kept % paths
    first, second = soft[..., : n // 2], soft[..., n // 2 :]
    weaker = np.copysign(np.minimum(abs(first), abs(second)), first * second)
    left, cost, parents = _decoded(weaker, cost, frozen[: n // 2], most)
    if parents is not None:
        first, second = first[rows, parents], second[rows, parents]
    right, cost, later = _decoded(second + first * left, cost, frozen[n // 2 :], most)
    if later is not None:
        left = left[rows, later]
        parents = later if parents is None else parents[rows, later]
    return np.concatenate([left * right, right], axis=-1), cost, parents
