"""A message through noise: what is read, what never is, and that old messages stay readable."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ticket_sig import InputError
from ticket_sig.marks.message_code import MessageCode

MESSAGES = [b"x", b"2022 AAA", bytes(range(9)), bytes(range(32)), bytes(range(64))]


def soft_of(message: bytes, total: float, seed: int) -> NDArray[np.float64]:
    """A code through Gaussian noise; the sum of z^2 is `total`."""
    code = MessageCode(len(message))
    noise = np.random.default_rng(seed).normal(size=code.size)
    return math.sqrt(total / code.size) * code.encode(message) + noise


@pytest.mark.parametrize(
    ("message", "size", "digest"),
    [
        (MESSAGES[0], 256, "2b526e3c9e694e85"),
        (MESSAGES[1], 512, "5893d8e8d7ffb73e"),
        (MESSAGES[2], 512, "bed6d5cfa6a67de5"),
        (MESSAGES[3], 2048, "ad954b61c00f30d4"),
        (MESSAGES[4], 4096, "46a28c53e8daf80a"),
    ],
)
def test_the_code_is_the_same_for_ever(message: bytes, size: int, digest: str) -> None:
    """What an old version wrote is still read (promise 7)."""
    code = MessageCode(len(message)).encode(message)
    assert code.shape == (size,) and MessageCode(len(message)).size == size
    assert hashlib.sha256(np.packbits(code < 0).tobytes()).hexdigest()[:16] == digest


def test_every_message_of_a_byte_and_of_every_length_is_read_without_noise() -> None:
    for message in [bytes([i]) for i in range(256)] + [bytes(range(7, 7 + n)) for n in range(1, 65)]:
        code = MessageCode(len(message))
        signs = code.encode(message)
        assert set(np.unique(signs)) <= {-1, 1}
        assert code.decode(signs.astype(float)) == message


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_read_through_noise_in_which_many_bits_are_wrong(message: bytes) -> None:
    code = MessageCode(len(message))
    total = 2.2 * 2 * math.log(2) * 8 * (len(message) + 4)
    for seed in range(10):
        soft = soft_of(message, total, seed)
        assert (soft * code.encode(message) < 0).mean() > 0.1
        assert code.decode(soft) == message


def test_bits_of_which_nothing_is_known_are_no_error() -> None:
    message = MESSAGES[1]
    soft = soft_of(message, 900.0, 0)
    soft[np.random.default_rng(1).random(len(soft)) < 0.5] = 0.0
    assert MessageCode(8).decode(soft) == message


@pytest.mark.parametrize("factor", [1e-300, 0.01, 3.0, 1e305])
def test_the_unit_of_the_soft_bits_does_not_matter(factor: float) -> None:
    soft = soft_of(MESSAGES[1], 400.0, 2)
    assert MessageCode(8).decode(factor * soft) == MESSAGES[1]


def test_noise_is_never_a_message() -> None:
    draw = np.random.default_rng(6)
    for length, count in ((1, 120), (8, 80)):
        code = MessageCode(length)
        assert not any(code.decode(draw.normal(size=code.size)) for _ in range(count))


def test_a_message_that_is_too_weak_is_none_rather_than_another() -> None:
    found = [MessageCode(8).decode(soft_of(MESSAGES[1], 130.0, seed)) for seed in range(40)]
    assert found.count(None) > 20 and set(found) <= {None, MESSAGES[1]}


def test_nothing_at_all_is_no_message() -> None:
    assert MessageCode(8).decode(np.zeros(MessageCode(8).size)) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_soft_bits_that_are_no_numbers_are_refused(bad: float) -> None:
    soft = soft_of(MESSAGES[1], 400.0, 3)
    soft[5] = bad
    with pytest.raises(InputError, match="soft bits: expected finite numbers, found"):
        MessageCode(8).decode(soft)


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="soft bits: expected 512, found"):
        MessageCode(8).decode(np.ones(511))
    with pytest.raises(InputError, match="message: expected 8 bytes, found 7"):
        MessageCode(8).encode(b"2022 AA")
    with pytest.raises(InputError, match="message: expected 1 byte or more, found 0"):
        MessageCode(0)


def test_another_encoder_writes_the_same_bits() -> None:
    commpy = pytest.importorskip("commpy")
    for message in MESSAGES:
        code = MessageCode(len(message))
        peer = commpy.PolarCode(code.size, 8 * len(message), crc=commpy.CRC.crc32(), frozen=code.polar.frozen)
        bits = np.unpackbits(np.frombuffer(message, dtype=np.uint8))
        assert (peer.encode(bits) == (code.encode(message) < 0)).all()


def test_another_decoder_reads_as_much_from_a_list_as_long() -> None:
    commpy = pytest.importorskip("commpy")
    message, code, total = MESSAGES[0], MessageCode(1), 75.0
    peer = commpy.PolarCode(code.size, 8, crc=commpy.CRC.crc32(), frozen=code.polar.frozen)
    ours = theirs = both = 0
    for seed in range(40):
        soft = soft_of(message, total, seed)
        found = peer.decode(2 * math.sqrt(total / code.size) * soft, list_size=8)[0]
        right, peers = code.decode(soft, paths=8) == message, np.packbits(found).tobytes() == message
        ours, theirs, both = ours + right, theirs + peers, both + (right and peers)
    assert 20 < ours < 40 and abs(ours - theirs) <= 4 and both > min(ours, theirs) - 4
