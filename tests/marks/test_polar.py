"""The polar code against its definition, by brute force, and against another's."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from ticket_sig.marks.polar import PolarCode, by_reliability, transformed

Ints = NDArray[np.int64]


def as_bits(signs: NDArray[np.int8]) -> Ints:
    return (1 - signs.astype(np.int64)) // 2


def as_signs(bits: Ints) -> NDArray[np.int8]:
    return (1 - 2 * bits).astype(np.int8)


def all_messages(bits: int) -> NDArray[np.int8]:
    """[2^bits, bits]"""
    return np.array(list(product((1, -1), repeat=bits)), dtype=np.int8)


def cost(words: NDArray[np.int8], soft: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the soft values say against each code word."""
    return np.maximum(-words * soft, 0).sum(axis=-1)


def one_by_one(soft: list[float], frozen: list[bool]) -> list[int]:
    """Arikan's successive cancellation, a bit after the other, by the definition: its code word, in signs."""
    if len(soft) == 1:
        return [1 if frozen[0] or soft[0] >= 0 else -1]
    half = len(soft) // 2
    pairs = list(zip(soft[:half], soft[half:], strict=True))
    left = one_by_one([math.copysign(min(abs(a), abs(b)), a * b) for a, b in pairs], frozen[:half])
    right = one_by_one([b + a * s for (a, b), s in zip(pairs, left, strict=True)], frozen[half:])
    return [a * b for a, b in zip(left, right, strict=True)] + right


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_the_transform_is_the_kronecker_power(size: int) -> None:
    kernel, power = np.array([[1, 0], [1, 1]]), np.eye(1, dtype=int)
    while len(power) < size:
        power = np.kron(power, kernel)
    every = np.array(list(product((0, 1), repeat=size)))[:: max(1, 2**size // 500)]
    assert (as_bits(transformed(as_signs(every))) == every @ power % 2).all()
    assert (transformed(transformed(as_signs(every))) == as_signs(every)).all()


def test_the_order_is_that_of_the_published_weights() -> None:
    # Of 16 places: the sums of 2^(j/4), from He et al.
    assert by_reliability(16).tolist() == [0, 1, 2, 4, 8, 3, 5, 6, 9, 10, 12, 7, 11, 13, 14, 15]
    assert by_reliability(2).tolist() == [0, 1] and by_reliability(1).tolist() == [0]


@pytest.mark.parametrize("size", [64, 1024, 16384])
def test_no_two_places_are_as_reliable_so_that_the_order_is_the_same_for_ever(size: int) -> None:
    levels = size.bit_length() - 1
    weight = (np.arange(size)[:, None] >> np.arange(levels) & 1) @ 2.0 ** (np.arange(levels) / 4)
    in_order = weight[by_reliability(size)]
    assert np.diff(in_order).min() > 1e-9  # the integers are exact to 14 x 2^-40, which is 1.3e-11


@pytest.mark.parametrize(("size", "bits"), [(8, 4), (16, 5), (16, 11), (8, 8), (4, 1)])
def test_a_list_that_holds_every_path_finds_the_likeliest_word(size: int, bits: int) -> None:
    code, words = PolarCode(size, bits), all_messages(bits)
    soft = np.random.default_rng(size + bits).normal(size=(40, size))
    found = code.decode(soft, 2**bits)
    assert found.shape == (40, 2**bits, bits)
    for row, listed in zip(soft, found, strict=True):
        # All messages, in the order of what speaks against them.
        assert cost(code.encode(listed), row) == pytest.approx(np.sort(cost(code.encode(words), row)))
        assert len(np.unique(listed, axis=0)) == 2**bits


@pytest.mark.parametrize(("size", "bits"), [(8, 4), (16, 7), (64, 20), (128, 100)])
def test_a_list_of_one_is_successive_cancellation(size: int, bits: int) -> None:
    code = PolarCode(size, bits)
    soft = np.random.default_rng(size).normal(0.4, 1.0, size=(20, size))
    expected = [one_by_one(row.tolist(), code.frozen.tolist()) for row in soft]
    assert code.encode(code.decode(soft, 1)[:, 0]).tolist() == expected


def test_words_are_decoded_together_as_alone_and_on_any_scale() -> None:
    code, draw = PolarCode(128, 40), np.random.default_rng(3)
    sent = as_signs(draw.integers(0, 2, (10, 40)))
    soft = 0.7 * code.encode(sent) + draw.normal(size=(10, 128))
    together = code.decode(soft, 8)
    assert (code.decode(1024 * soft, 8) == together).all()
    for row, found in zip(soft, together, strict=True):
        assert (code.decode(row[None], 8)[0] == found).all()


def test_a_longer_list_reads_what_a_shorter_one_cannot() -> None:
    code, draw = PolarCode(256, 72), np.random.default_rng(4)
    sent = as_signs(draw.integers(0, 2, (200, 72)))
    soft = 0.85 * code.encode(sent) + draw.normal(size=(200, 256))
    right = [(code.decode(soft, n) == sent[:, None]).all(axis=-1).any(axis=-1).sum() for n in (1, 8, 32)]
    assert right[0] < right[1] < right[2] and right[2] > 150


def test_another_decoder_agrees() -> None:
    """commpy's takes the exact sums where ours takes the smaller of two: mostly the same words."""
    commpy = pytest.importorskip("commpy")
    code, draw = PolarCode(64, 20), np.random.default_rng(5)
    peer = commpy.PolarCode(64, 20, frozen=code.frozen)
    sent = as_signs(draw.integers(0, 2, (40, 20)))
    words = code.encode(sent)
    assert all(
        (peer.encode(as_bits(one)) == as_bits(word)).all() for one, word in zip(sent, words, strict=True)
    )
    soft = 1.3 * words + draw.normal(size=words.shape)
    theirs = np.array([peer.decode(2.6 * row, list_size=8)[0] for row in soft])
    assert (theirs == as_bits(code.decode(soft, 8)[:, 0])).all(axis=-1).mean() > 0.9
