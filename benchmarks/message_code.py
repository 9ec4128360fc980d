"""What a message needs to be read: our code beside Shannon's bound and no code, and beside commpy's decoder.

    python benchmarks/message_code.py [--frames 2000] [--runs 5] [--small]

What is needed is the sum of z^2 over the bits of the code (the square of the standard deviations of all bits
together), for 99 % of readings to be exact: the carriers pay for the sum, whatever the number of bits. All
bits stand equally strongly, in Gaussian noise. Shannon: 2 ln 2 for each bit of message and CRC. No code: the
message's own bits, each by its sign. A reading counts as exact where the message is in the list; the CRC then
finds it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import numpy as np
import torch
from embed import median_seconds
from scipy.stats import norm

from ticket_sig.marks.message_code import CRC, LIST, MessageCode
from ticket_sig.marks.polar import PolarCode
from ticket_sig.training.device import made_with

EXACT = 0.99
AT_ONCE = 20  # readings that are decoded together
STEPS = 6  # halvings of the range that the need is looked for in


def readings(code: PolarCode, total: float, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random messages and their soft bits, some at a time; the same noise for every total."""
    draw = np.random.default_rng(0)
    for start in range(0, frames, AT_ONCE):
        sent = draw.choice(np.array([-1, 1], dtype=np.int8), (min(AT_ONCE, frames - start), code.bits))
        noise = draw.standard_normal((len(sent), code.size))
        yield sent, math.sqrt(total / code.size) * code.encode(sent) + noise


def enough(code: PolarCode, total: float, frames: int, paths: int) -> bool:
    """Whether so many readings are exact; it stops where too many were not."""
    left = (1 - EXACT) * frames
    for sent, soft in readings(code, total, frames):
        found = (code.decode(soft, paths) == sent[:, None]).all(axis=-1).any(axis=-1)
        left -= np.count_nonzero(~found)
        if left < 0:
            return False
    return True


def needed(code: PolarCode, frames: int, paths: int = LIST) -> float:
    """The least sum of z^2 for so many exact readings, within 2 % and the noise of the draw."""
    low, high = shannon(code.bits), 4 * shannon(code.bits)
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        if enough(code, middle, frames, paths):
            high = middle
        else:
            low = middle
    return math.sqrt(low * high)


def shannon(bits: int) -> float:
    """At a rate near 0."""
    return 2 * math.log(2) * bits


def uncoded(bits: int) -> float:
    """All bits right, each read by its own sign."""
    return float(bits * norm.isf(-math.expm1(math.log(EXACT) / bits)) ** 2)


def print_needs(lengths: list[int], frames: int, runs: int) -> None:
    """What lengths need in codes of several sizes."""
    print(f"sum of z^2 for {EXACT:.0%} exact readings, list of {LIST}, {frames} readings a step:")
    for length in lengths:
        bits = 8 * (length + CRC)
        least = 1 << (2 * bits - 1).bit_length()
        print(f"  {length} bytes: Shannon {shannon(bits):.0f}, no code {uncoded(8 * length):.0f}")
        for size in (least, 2 * least, 4 * least, 8 * least):
            code = PolarCode(size, bits)
            need, noise = needed(code, frames), np.random.default_rng(0).standard_normal((1, size))
            seconds = median_seconds(lambda code=code, noise=noise: code.decode(noise, LIST), runs)
            ours = ", ours" if size == MessageCode(length).size else ""
            ratio = need / shannon(bits)
            print(f"    {size} bits: {need:.0f}, {ratio:.2f} x Shannon, {1000 * seconds:.1f} ms{ours}")


def print_lists(length: int, frames: int, runs: int) -> None:
    """What longer lists gain, and what they cost."""
    size, bits = MessageCode(length).size, 8 * (length + CRC)
    code, noise = PolarCode(size, bits), np.random.default_rng(0).standard_normal((1, size))
    print(f"the same by the length of the list, {length} bytes in {size} bits:")
    for paths in (1, 8, 16, 32, 64):
        seconds = median_seconds(lambda paths=paths: code.decode(noise, paths), runs)
        print(f"  {paths}: {needed(code, frames, paths):.0f}, {1000 * seconds:.1f} ms")


def print_peer(length: int, frames: int, runs: int) -> None:
    """commpy's decoder beside ours, each from soft bits to message: the same places, CRC, list and noise."""
    try:
        import commpy
    except ImportError:
        print("commpy: not installed (pip install commpy)")
        return
    code, draw, paths = MessageCode(length), np.random.default_rng(0), 8
    frozen = PolarCode(code.size, 8 * (length + CRC)).frozen
    peer = commpy.PolarCode(code.size, 8 * length, crc=commpy.CRC.crc32(), frozen=frozen)
    strength = math.sqrt(1.7 * shannon(8 * (length + CRC)) / code.size)
    lost = dict.fromkeys(("ours", f"ours, list of {LIST}", "commpy"), 0)
    for _ in range(frames):
        message = draw.bytes(length)
        soft = strength * code.encode(message) + draw.standard_normal(code.size)
        found = np.packbits(peer.decode(2 * strength * soft, list_size=paths)[0]).tobytes()
        for who, read in zip(lost, (code.decode(soft, paths), code.decode(soft), found), strict=True):
            lost[who] += read != message
    fast = median_seconds(lambda: code.decode(soft, paths), runs)
    slow = median_seconds(lambda: peer.decode(2 * strength * soft, list_size=paths), runs)
    told = ", ".join(f"{who} {count}" for who, count in lost.items())
    print(f"{length} bytes in {code.size} bits, list of {paths}, same noise; wrong of {frames}: {told}")
    print(f"  ours {1000 * fast:.1f} ms, commpy {1000 * slow:.1f} ms, ratio {slow / fast:.1f}")


def main() -> None:
    """Prints the needs, the lists and the peer with hardware and versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="seconds, not minutes; for tests")
    options = parser.parse_args()
    print(made_with(torch.device("cpu"), "float32"))
    frames = 20 if options.small else options.frames
    print_needs([1] if options.small else [1, 8, 9, 32, 64], frames, options.runs)
    print_lists(1 if options.small else 9, frames, options.runs)
    print_peer(1 if options.small else 9, min(frames, 300), options.runs)


if __name__ == "__main__":
    main()
