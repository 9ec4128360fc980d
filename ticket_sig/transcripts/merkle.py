"""A Merkle tree over the samples of a data set: one digest commits to all (RFC 9162, section 2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.errors import bad_input


def merkle_root(data: Dataset) -> str:
    """Root over all samples, those of the train split first, as `sha256:` and 64 hexadecimal digits."""
    return root_of([*leaves(data.train), *leaves(data.test)])


def root_of(hashes: Sequence[bytes]) -> str:
    """Root over the hashes of samples, one or more."""
    nodes = list(hashes)
    while len(nodes) > 1:
        nodes = _above(nodes)
    return f"sha256:{nodes[0].hex()}"


def proof_of(hashes: Sequence[bytes], numbers: Collection[int]) -> list[bytes]:
    """What it takes beside the samples of these numbers to compute the root (`root_from`): no node twice.

    Args:
        hashes: of all samples.
    """
    nodes, proof = list(hashes), list[bytes]()
    for missing in _missing(numbers, len(hashes)):
        proof += [nodes[i] for i in missing]
        nodes = _above(nodes)
    return proof


def root_from(hashes: Mapping[int, bytes], proof: Sequence[bytes] | NDArray[np.uint8], count: int) -> str:
    """The root over `count` samples, from the hashes of one or more, by number, and the proof of these.

    Args:
        proof: nodes, as bytes or as rows.

    Raises:
        InputError: the proof has more or fewer nodes.
    """
    nodes, given = dict(hashes), iter(proof)
    levels = _missing(hashes, count)
    if len(proof) != (wanted := sum(map(len, levels))):
        expected = f"{wanted} nodes, for {len(hashes)} of {count} samples"
        raise bad_input("", "proof", expected, str(len(proof)))
    for missing in levels:
        nodes |= {i: bytes(next(given)) for i in missing}
        halves = {i >> 1: (nodes[i & ~1], nodes.get(i | 1)) for i in nodes}
        nodes = {i: left if right is None else _parent(left, right) for i, (left, right) in halves.items()}
    return f"sha256:{nodes[0].hex()}"


def _missing(numbers: Collection[int], count: int) -> list[list[int]]:
    """The nodes of each level, leaves first, that cannot be computed and that are a partner of one that can.

    Args:
        numbers: of the samples that are known, of `count`.
    """
    levels, known = list[list[int]](), set(numbers)
    while count > 1:
        levels.append(sorted({i ^ 1 for i in known} - known - {count}))  # the last one may have no partner
        known, count = {i >> 1 for i in known}, (count + 1) // 2
    return levels


def _above(nodes: Sequence[bytes]) -> list[bytes]:
    """The next level of the tree; a node without a partner goes up as it is."""
    pairs = zip(nodes[::2], nodes[1::2], strict=False)
    return [*(_parent(left, right) for left, right in pairs), *nodes[len(nodes) & ~1 :]]


def _parent(left: bytes, right: bytes) -> bytes:
    return _hash(b"\1" + left + right)


def leaves(split: Split) -> Iterator[bytes]:
    """The hash of each sample: of 0, the label (8 bytes, little-endian) and the pixels."""
    images, labels = split.images.contiguous().numpy(), split.labels.tolist()
    for image, label in zip(images, labels, strict=True):
        yield leaf(int(label).to_bytes(8, "little", signed=True) + image.tobytes())


def leaf(sample: bytes) -> bytes:
    """The hash of a sample."""
    return _hash(b"\0" + sample)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
