"""A Merkle tree over the samples of a data set: one digest commits to all (RFC 9162, section 2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split


def merkle_root(data: Dataset) -> str:
    """Root over all samples, those of the train split first, as `sha256:` and 64 hexadecimal digits."""
    return root_of([*_leaves(data.train), *_leaves(data.test)])


def root_of(leaves: Sequence[bytes]) -> str:
    """Root over the hashes of samples, one or more."""
    nodes = list(leaves)
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=False)
        # A node without a partner goes up as it is.
        nodes = [_hash(b"\1" + left + right) for left, right in pairs] + nodes[len(nodes) & ~1 :]
    return f"sha256:{nodes[0].hex()}"


def _leaves(split: Split) -> Iterator[bytes]:
    """A leaf is the hash of 0, the label (8 bytes, little-endian) and the pixels."""
    images, labels = split.images.contiguous().numpy(), split.labels.tolist()
    for image, label in zip(images, labels, strict=True):
        yield leaf(int(label).to_bytes(8, "little", signed=True) + image.tobytes())


def leaf(sample: bytes) -> bytes:
    """The hash of a sample."""
    return _hash(b"\0" + sample)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
