"""A small classifier: from the parameters of one bit to the bit.

It has one hidden layer and no biases: v tanh(W x). So it is odd, and says 1 of about half of all vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import softplus

from ticket_sig.errors import bad_input
from ticket_sig.prf import keyed_words

HIDDEN, MOST_HIDDEN = 64, 256
LEAST_LOGIT = 1.0  # on the right side, when it is trained: no other machine reads a bit otherwise

_STEPS, _RATE = 300, 0.02
_NOISE, _PRUNED = 1.0, 0.95  # the most of each in training
_BYTES = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class Classifier:
    """Its weights.

    Attributes:
        inner: W, float32 [inputs, hidden].
        outer: v, float32 [hidden].
    """

    inner: NDArray[np.float32]
    outer: NDArray[np.float32]

    def logits(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """One of each vector, [bits]; positive where it says 1.

        Args:
            vectors: [bits, inputs].
        """
        logits: NDArray[np.float64] = np.tanh(vectors @ self.inner) @ self.outer
        return logits

    def to_bytes(self) -> bytes:
        """W in C order, then v; little-endian float32."""
        return b"".join(part.astype(_BYTES).tobytes() for part in (self.inner, self.outer))

    @classmethod
    def from_bytes(cls, data: bytes, inputs: int) -> Classifier:
        """The classifier of bytes; their number tells its size.

        Raises:
            InputError: they are of no classifier with so many inputs, or hold numbers that are not finite.
        """
        size = (inputs + 1) * _BYTES.itemsize
        hidden, rest = divmod(len(data), size)
        if rest or not 1 <= hidden <= MOST_HIDDEN:
            expected = f"{size} bytes for each of 1 to {MOST_HIDDEN} hidden units"
            raise bad_input("nct", "classifier", expected, f"{len(data)} bytes")
        values = np.frombuffer(data, dtype=_BYTES).astype(np.float32)
        if not np.isfinite(values).all():
            found = f"{int((~np.isfinite(values)).sum())} that are not"
            raise bad_input("nct", "classifier", "finite numbers", found)
        return cls(values[:-hidden].reshape(inputs, hidden), values[-hidden:])


def trained(vectors: NDArray[np.float64], labels: NDArray[np.bool_], hidden: int, key: bytes) -> Classifier:
    """The classifier that says these labels of these vectors, also when they are disturbed.

    In training each vector gets noise of up to one standard deviation; in every second step its smallest
    entries are zero besides, up to 95 % of them. The key decides all that looks like chance.

    Args:
        vectors: [bits, inputs], entries of variance 1.
        labels: [bits].
        hidden: units of the hidden layer.

    Raises:
        InputError: it does not learn all of them.
    """
    inputs = vectors.shape[1]
    words = keyed_words(key, "nct classifier", (inputs + 1) * hidden + 1)
    start = torch.from_numpy(ndtri(((words[:-1] >> np.uint64(12)) + 0.5) / 2.0**52))
    inner = (start[:-hidden].view(inputs, hidden) / math.sqrt(inputs)).requires_grad_()
    outer = (start[-hidden:] / math.sqrt(hidden)).requires_grad_()
    clean, signs = torch.from_numpy(vectors), torch.from_numpy(np.where(labels, 1.0, -1.0))
    rng = torch.Generator().manual_seed(int(words[-1] >> np.uint64(1)))
    optimizer = torch.optim.Adam([inner, outer], lr=_RATE)
    with torch.enable_grad():
        for step in range(_STEPS):
            disturbed = _disturbed(clean, step % 2 == 1, rng)
            loss = softplus(-signs * ((disturbed @ inner).tanh() @ outer)).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    made = Classifier(inner.detach().float().numpy(), outer.detach().float().numpy())
    if (made.logits(vectors) * signs.numpy() < LEAST_LOGIT).any():
        hint = "take fewer bits, more parameters for each (--per-bit), or more --hidden units"
        expected = f"one that learns all {len(labels)} bits"
        raise bad_input("nct", "classifier", expected, "one that does not", hint=hint)
    return made


def _disturbed(vectors: Tensor, prune: bool, rng: torch.Generator) -> Tensor:
    """Vectors as a thief may leave them, of the length that they had."""
    count, inputs = vectors.shape

    def uniform() -> Tensor:
        return torch.rand(count, 1, generator=rng, dtype=vectors.dtype)

    noise = torch.randn(vectors.shape, generator=rng, dtype=vectors.dtype)
    moved = vectors + _NOISE * uniform() * noise
    if prune:
        gone = moved.abs().argsort(1).argsort(1) < _PRUNED * uniform() * inputs
        moved = moved.masked_fill(gone, 0.0)
    length: Tensor = moved.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return moved / length * math.sqrt(inputs)
