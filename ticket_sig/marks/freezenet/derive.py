"""From bytes to weights: which entries of a network a FreezeNet watermark fixes, and at which values.

The full SHA-256 digest of the data is expanded by SHAKE-256 in two streams, one for indices and one for
values, both bound to version, scale, length and manifest. `legacy_stream` is the original's: the
lowest 32 bits of the digest seed numpy's Mersenne Twister, so that two data that collide in these
give the same watermark.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.prf import keyed_places, keyed_words

VERSION = 1
SCALES = ("unit", "layer")
LEGACY = "legacy"
_BITS = 24  # of a value: as many as float32 holds exactly
MOST = 2**63  # numbers from here on are no int64, and Python writes none of thousands of digits

Manifest = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fixed:
    """What a watermark fixes of one tensor.

    Attributes:
        places: int64 [n], ascending, of the tensor's C-order flattening.
        values: float32 [n].
        bound: values are uniform on (-bound, bound).
    """

    places: NDArray[np.int64]
    values: NDArray[np.float32]
    bound: float


def size_of(manifest: Manifest) -> int:
    """N, the number of weights that can be fixed."""
    return sum(math.prod(shape) for shape in manifest.values())


def check_length(length: int, manifest: Manifest) -> None:
    """Refuses no weights, more than 63 bits can count, and a length under 0 or above N (InputError)."""
    total = size_of(manifest)
    if not total:
        hint = "of a frozen network, read the watermark by its claim"
        raise bad_input("freezenet", "network", "trainable parameters", "none", hint=hint)
    if total >= MOST:
        raise bad_input("freezenet", "network", "fewer than 2^63 parameters", "more")
    if not 0 <= length <= total:
        found = str(length) if abs(length) < MOST else "one of more than 63 bits"
        raise bad_input("freezenet", "length", f"0 to {total}, the network's parameters", found)


def derive(data: bytes, length: int, manifest: Manifest, scale: str = "unit") -> dict[str, Fixed]:
    """Returns what the watermark fixes, by tensor; tensors of which nothing is fixed are left out.

    The tensors are taken in order of their names (code points) and laid end to end; `length` of the N
    places are drawn without replacement and paired in ascending order with the values. Takes memory in
    proportion to `length`, but for the legacy stream, which takes it in proportion to N.

    Args:
        data: any bytes but none at all.
        length: 0 to N.
        manifest: shape by tensor name.
        scale: "unit": uniform on (-1, 1), as in the paper; "layer": on (-b, b) with b the bound of the
            tensor's own initial weights (`initial_bounds`); "legacy": `legacy_stream`.

    Raises:
        InputError: as `check_length`.
    """
    check_length(length, manifest)
    manifest = {name: tuple(manifest[name]) for name in sorted(manifest)}
    if scale == LEGACY:
        indices, values = legacy_stream(data, length, size_of(manifest))
    else:
        indices, values = _stream(data, length, manifest, scale)
    bounds = initial_bounds(manifest) if scale == "layer" else dict.fromkeys(manifest, 1.0)
    sizes = [math.prod(shape) for shape in manifest.values()]
    cuts = np.searchsorted(indices, np.cumsum([0, *sizes]))
    fixed, start = {}, 0
    for (name, bound), size, first, last in zip(bounds.items(), sizes, cuts[:-1], cuts[1:], strict=True):
        if last > first:
            scaled = (values[first:last].astype(np.float64) * bound).astype(np.float32)
            fixed[name] = Fixed(indices[first:last] - start, scaled, bound)
        start += size
    return fixed


def initial_bounds(manifest: Manifest) -> dict[str, float]:
    """The bound of the uniform distribution that each tensor begins with, as far as shapes tell.

    Weights of two and more dimensions: sqrt(6 / fan in) (He et al., 2015); a bias beside one:
    1 / sqrt(fan in), as PyTorch has it; all others, such as the scales of a norm, which begin at 1: 1.
    """

    def bound(name: str, shape: tuple[int, ...]) -> float:
        beside = manifest.get(f"{name.removesuffix('bias')}weight", ()) if name.endswith("bias") else ()
        if len(shape) >= 2:
            return math.sqrt(6 / max(1, math.prod(shape[1:])))
        return 1 / math.sqrt(max(1, math.prod(beside[1:]))) if len(beside) >= 2 else 1.0

    return {name: bound(name, shape) for name, shape in manifest.items()}


def legacy_stream(data: bytes, length: int, total: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices (ascending) and values of the original numpy code (Bouvard, 2020).

    Two MT19937 generators with one seed, the SHA-256 digest modulo 2^32: one chooses without
    replacement, the other is uniform on [-1, 1). Its indices count the original's tensors in the order of
    its own network; ours count them by name.
    """
    seed = int.from_bytes(hashlib.sha256(data).digest(), "big") % 2**32
    indices = np.random.RandomState(seed).choice(total, length, replace=False)
    values = np.random.RandomState(seed).uniform(-1, 1, length).astype(np.float32)
    return np.sort(indices).astype(np.int64), values


def _stream(
    data: bytes, length: int, manifest: Manifest, scale: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    bound_to = {"version": VERSION, "scale": scale, "length": length, "manifest": list(manifest.items())}
    head = json.dumps(bound_to, separators=(",", ":")).encode()
    key = hashlib.sha256(data).digest() + hashlib.sha256(head).digest()
    indices = keyed_places(key, "freezenet indices", length, size_of(manifest))
    # The middles of 2^24 equal cells: never 0 and never beyond 1, each exact in float32.
    cells = (keyed_words(key, "freezenet values", length) >> np.uint64(64 - _BITS)).astype(np.int64)
    return indices, ((2 * cells + 1 - 2**_BITS) / 2**_BITS).astype(np.float32)
