"""Damage that files suffer: cut short, a bit flipped; and pickles that would run code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random


class RunsCode:
    """Unpickled without care, it makes a folder: the proof that its code was run."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


RUN_CODE = f"{os.mkdir.__module__}.mkdir"  # what a refusal must name


def flip(data: bytes, bit: int) -> bytes:
    """Returns the bytes with one bit flipped."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def damages(data: bytes, seed: int, flips: int = 150, cuts: int = 50) -> Iterator[tuple[str, bytes]]:
    """Yields what was done, and the damaged bytes: so many cuts and flipped bits, at random places."""
    draw = Random(seed)
    for length in sorted(draw.sample(range(len(data)), min(cuts, len(data)))):
        yield f"cut to {length} of {len(data)} bytes", data[:length]
    for bit in sorted(draw.sample(range(8 * len(data)), min(flips, 8 * len(data)))):
        yield f"bit {bit % 8} of byte {bit // 8} flipped", flip(data, bit)
