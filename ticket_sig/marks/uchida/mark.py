"""Uchida: bits taught to the weights of one layer by a regularizer (Uchida et al., ICMR 2017).

    mark = Uchida.on(ticket.weights, bits_of("mine"))
    marked = retrain(ticket, recipe, data, run, start="model", marks=[mark])  # or mark.embed(ticket): no data
    mark.read(marked.weights).verdict()

The bits are read off the mean filter: nothing but a secret matrix X finds them, and other orders of the
filters, or another scale of the layer, change nothing. They are gone, at no cost to the thief, once its input
channels are put in another order, or filters before a batch norm are negated or scaled one by one, which the
norm undoes.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ticket_sig.errors import bad_input
from ticket_sig.fields import entry, hexadecimal, number
from ticket_sig.formats.names import found_elsewhere
from ticket_sig.formats.weights import InMemory, Weights, tensors_of
from ticket_sig.marks.bits import Bits, digits_of
from ticket_sig.marks.mark import (
    DTYPES,
    Mark,
    Model,
    as_weights,
    check_dtype,
    claimed_layer,
    claimed_layers,
    matrices_of,
    signed,
)
from ticket_sig.marks.payload import (
    BITS,
    MOST_BITS,
    PayloadOptions,
    bits_from,
    checked_bits,
    random_bits,
)
from ticket_sig.marks.uchida.least_change import moved_mean, shifted
from ticket_sig.marks.uchida.reading import Decoded
from ticket_sig.models.own import check_bound, parameters_of
from ticket_sig.options import Options, option, positive
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows

VERSION = 1
SECRET_BYTES = 32
STRENGTH = 0.01  # lambda of the paper, section 4.1
MOST_ENTRIES = MOST_BITS**2  # of the secret matrix: half a GiB, and seconds to draw

_STRENGTHS = 2.0**100
_LONGEST_NAME = 1000
_BLOCK = 1 << 22  # weights that are summed at a time
_CELLS = 52  # bits of a uniform number: the middles of 2^52 cells are exact in float64, and never 0 or 1


@dataclass(frozen=True, kw_only=True)
class UchidaOptions(PayloadOptions):
    """What decides the payload, and where it goes."""

    layer: str | None = option(
        "Name of its weights; by default those with most weights in a filter, and most filters, first and "
        "last tensor of the file left out.",
        default=None,
    )
    strength: float = option(
        "Weight of the regularizer beside the loss, where it is trained on.", default=STRENGTH, check=positive
    )


class Uchida(Mark):
    """Bits in the mean filter of one layer, under a secret (Uchida et al., 2017, section 3).

    The secret matrix X [bits, M] is standard normal (X_random). It follows from the secret and is bound to
    payload, layer and shape: under an unbound matrix whoever has a network could take any secret, read bits
    in it, and claim what he read. So the bits cannot be read without knowing them: the claim, with secret
    and payload, is needed, and it is a secret to be kept until there is a dispute.

    Args:
        payload: the bits; at least 1, and at most the capacity M, the weights of one filter.
        layer: name of its weights, convolution or linear.
        shape: of its weights, [filters, ...], 2 or more dimensions; M is the product of all but the first.
        secret: 32 bytes; by default fresh ones.
        strength: h, by which training multiplies the regularizer (the paper's lambda).

    Raises:
        InputError: one of them is out of range, or there are more bits than the capacity.
    """

    name: ClassVar[str] = "uchida"
    stands_in: ClassVar[str] = "weights"
    carries: ClassVar[str] = "bits"
    options: ClassVar[type[Options] | None] = UchidaOptions
    usual_size: ClassVar[int | None] = 64

    def __init__(
        self,
        payload: Iterable[bool],
        layer: str,
        shape: Sequence[int],
        *,
        secret: bytes | None = None,
        strength: float = STRENGTH,
    ) -> None:
        self.payload: Bits = checked_bits(payload)
        self.layer, self.shape = layer, tuple(shape)
        self.secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        if not isinstance(self.secret, bytes) or len(self.secret) != SECRET_BYTES:
            found = (
                f"{len(self.secret)}" if isinstance(self.secret, bytes) else f"a {type(self.secret).__name__}"
            )
            raise bad_input("uchida", "secret", f"{SECRET_BYTES} bytes", found)
        if not isinstance(strength, (int, float)) or not 0 < strength < _STRENGTHS:
            raise bad_input("uchida", "strength", "a finite number above 0", repr(strength)[:80])
        self.strength = float(strength)
        if not isinstance(layer, str) or not 0 < len(layer) <= _LONGEST_NAME:
            raise bad_input("uchida", "layer", "the name of a tensor", repr(layer)[:80])
        # Bounded, so that a hostile claim cannot have large numbers multiplied.
        if not (2 <= len(self.shape) <= 8 and all(type(n) is int and 0 < n < 2**48 for n in self.shape)):
            raise bad_input("uchida", "shape", "2 or more sizes of 1 or more", repr(self.shape)[:80])
        if len(self.payload) > self.capacity:
            expected = f"at least {len(self.payload)} weights in a filter of {layer}, one a bit"
            raise bad_input("uchida", "capacity", expected, str(self.capacity))
        if len(self.payload) * self.capacity > MOST_ENTRIES:
            most = f"at most {MOST_ENTRIES // self.capacity} bits in a filter of {self.capacity}"
            raise bad_input("uchida", "payload", most, str(len(self.payload)))

    @classmethod
    def on(
        cls,
        weights: Mapping[str, Tensor],
        payload: Iterable[bool],
        layer: str | None = None,
        *,
        secret: bytes | None = None,
        strength: float = STRENGTH,
    ) -> Uchida:
        """The watermark for a layer of a network, by default the one that it disturbs least (`layer_for`).

        InputError where there is no layer of that name; else errors as of the class and of `layer_for`.
        """
        bits = checked_bits(payload)
        name = layer if layer is not None else layer_for(weights, len(bits))
        if name not in weights:
            raise bad_input("model", "layer", repr(name)[:80], "none of that name")
        return cls(bits, name, tuple(weights[name].shape), secret=secret, strength=strength)

    @classmethod
    def make(cls, model: Model, options: UchidaOptions, secret: bytes | None = None) -> Uchida:
        """The watermark for a network; random bits follow from the secret, by which X is drawn, too.

        InputError where the secret has another length than 32 bytes; else errors as of `on`.
        """
        tensors = tensors_of(as_weights(model))
        secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        if len(secret) != SECRET_BYTES:
            raise bad_input("", "--secret", f"{SECRET_BYTES} bytes for uchida", str(len(secret)))
        payload = options.payload()
        if payload is None:
            count = options.random or _default_length(tensors, options.layer)
            payload = random_bits(secret, cls.name, count)
        return cls.on(tensors, payload, options.layer, secret=secret, strength=options.strength)

    @property
    def capacity(self) -> int:
        """M, the weights of one filter: how many bits there can be."""
        return math.prod(self.shape[1:])

    def projection(self) -> NDArray[np.float64]:
        """X, the secret matrix [bits, M]."""
        matrix = np.empty((len(self.payload), self.capacity))
        for index, row in enumerate(self._rows()):
            matrix[index] = row
        return matrix

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the bits written into it, by the least change of this layer's weights.

        Every bit then stands by a margin of max(1, 16 / sqrt(bits)), so that all of them together have
        16 standard deviations (p = 10^-57 for one secret; it takes 11 to verify). If reaching that margin
        would more than double the norm of the mean filter, the margin is lowered (x 0.7) until it does not.
        Pruned weights stay zero: what a place of the filters needs is shared among the kept.

        Raises:
            InputError: no such layer, another shape, weights that are zero or not finite, or too few kept
                ones.
        """
        name = claimed_layer(as_weights(ticket), self.layer, self.shape)
        weights = ticket.weights[name].detach()
        mean = mean_filter(self.layer, weights)
        kept = ticket.mask.get(name, torch.ones(self.shape, dtype=torch.bool))
        counts = kept.flatten(1).sum(0).numpy()
        size = float(np.linalg.norm(mean)) or float(weights.double().norm()) / self.shape[0]
        if not size:
            raise bad_input("model", self.layer, "weights other than zero", "none")
        signs = np.where(self.payload, 1.0, -1.0)
        moved = moved_mean(signs[:, None] * self.projection(), mean / size, np.sqrt(counts) / self.shape[0])
        if moved is None:
            at = f"{np.count_nonzero(counts)} of {self.capacity} places of a filter"
            found = f"{int(kept.sum())} of {kept.numel()}, at {at}"
            raise bad_input("model", self.layer, f"enough kept weights for {len(signs)} bits", found)
        shift = (moved * size - mean) * self.shape[0] / np.maximum(counts, 1)
        marked = shifted(weights, kept, shift.reshape(self.shape[1:]))
        if wrong := self.read({self.layer: marked}).wrong:
            found = f"{wrong} bits lost when they are rounded"
            raise bad_input("model", self.layer, "weights that hold the bits", found)
        return signed(ticket, {name: marked})

    def bind(self, model: nn.Module) -> TaughtBits:
        """The regularizer on a network; InputError where the layer is missing, frozen or of another shape."""
        # A parameter not yet initialised has no shape.
        named = {n: p for n, p in parameters_of(model).items() if not is_lazy(p)}
        parameter = named[claimed_layer(InMemory(named), self.layer, self.shape)]
        check_bound("model", self.layer, parameter)
        if not parameter.requires_grad:
            raise bad_input("model", self.layer, "a parameter that is trained", "a frozen one")
        check_dtype(self.name, self.layer, parameter.dtype)
        return TaughtBits(parameter, self.projection(), self.payload, self.strength)

    def read(self, suspect: Model) -> Decoded:
        """Reads the bits in the claimed layer; if none has its name, in that of its shape that fits best.

        InputError for none of that shape or several of that name, another dtype, or NaN.
        """
        weights = as_weights(suspect)
        found = (self._read(weights, name) for name in claimed_layers(weights, self.layer, self.shape))
        return min(found, key=lambda reading: reading.log10_p)

    def _read(self, weights: Weights, name: str) -> Decoded:
        """Reads the bits in this layer of a network."""
        mean = mean_filter(self.layer, weights.tensor(name))
        # The margins do not depend on the scale, and so neither overflow nor vanish.
        largest = float(np.abs(mean).max())
        scaled = mean / largest if largest else mean
        length = float(np.linalg.norm(scaled))
        signs = np.where(self.payload, 1.0, -1.0)
        logits = np.array([row @ scaled for row in self._rows()])
        margins = signs * logits / length if length else np.zeros(len(signs))
        return Decoded(
            payload=self.payload,
            right=tuple((margins > 0).tolist()),
            margins=tuple(margins.tolist()),
            size=largest * length,
            layers=len(matrices_of(weights)),
            found_as=found_elsewhere({self.layer: name}),
        )

    def to_json(self) -> dict[str, Any]:
        """The claim's fields; secret and payload are not for others."""
        return {
            "key": self.secret.hex(),
            "payload": digits_of(self.payload),
            "layer": self.layer,
            "shape": list(self.shape),
            "strength": self.strength,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Uchida:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        return cls(
            bits_from(entry(value, "payload", str)),
            entry(value, "layer", str),
            entry(value, "shape", list),
            secret=hexadecimal(value, "key", length=SECRET_BYTES),
            strength=number(value, "strength", _STRENGTHS),
        )

    def __str__(self) -> str:
        return f"{self.name}, {len(self.payload)} bits in {self.layer}"

    def facts(self, before: Model, after: Model) -> Rows:
        """The layer, and by how much it changed."""
        name = claimed_layer(as_weights(before), self.layer, self.shape)
        old, new = (as_weights(model).tensor(name).double() for model in (before, after))
        changed = float((new - old).norm() / old.norm())
        return [
            ("layer", f"{self.layer}, {self.capacity} weights in a filter"),
            ("changed by", f"{100 * changed:.1f} %"),
        ]

    def remedy(self) -> str:
        """By what bits that are too weak would stand out more."""
        more = f"more bits (--random N, up to {self.capacity} in this layer), or "
        ways = more if len(self.payload) < self.capacity else ""
        return f"{ways}a --layer with more weights in a filter; or train it on with a larger --strength"

    def _rows(self) -> Iterator[NDArray[np.float64]]:
        """X row by row [M], so that reading takes the memory of one."""
        bound = self.secret + self._bound_to()
        for index in range(len(self.payload)):
            words = keyed_words(bound, f"uchida row {index}", self.capacity) >> np.uint64(64 - _CELLS)
            row: NDArray[np.float64] = ndtri((2 * words + 1).astype(np.float64) / 2.0 ** (_CELLS + 1))
            yield row

    def _bound_to(self) -> bytes:
        """Digest of all that X belongs to; lengths before the parts, so that no two lists are one text."""
        parts = (str(VERSION), self.layer, repr(self.shape), digits_of(self.payload))
        digest = hashlib.sha256(b"ticket_sig uchida")
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.digest()


class TaughtBits:
    """The regularizer of section 3.3 on one parameter."""

    def __init__(
        self, parameter: Tensor, projection: NDArray[np.float64], payload: Bits, strength: float
    ) -> None:
        self._parameter, self._strength = parameter, strength
        self._projection = torch.from_numpy(projection.astype(np.float32)).to(parameter.device)
        self._bits = torch.tensor(payload, dtype=torch.float32, device=parameter.device)

    def penalty(self) -> Tensor:
        """h times the sum over bits of their cross-entropy, equation 4; float32, a scalar."""
        device = self._parameter.device
        self._projection, self._bits = self._projection.to(device), self._bits.to(device)
        with torch.autocast(device.type, enabled=False):
            mean = self._parameter.mean(0, dtype=torch.float32).flatten()
            # From logits: the logarithm of a sigmoid is infinite from logits of 100 on.
            entropy = F.binary_cross_entropy_with_logits(self._projection @ mean, self._bits, reduction="sum")
            return self._strength * entropy

    def put_back(self) -> None:
        """Nothing: the bits are learnt."""


def layer_for(weights: Mapping[str, Tensor], bits: int) -> str:
    """The layer that bits disturb least: most weights in a filter; of those with as many, most filters.

    The first and the last are left out, where there are others: they are most often replaced. InputError
    where no layer has the capacity.
    """
    layers = [n for n, t in weights.items() if t.ndim >= 2 and t.dtype in DTYPES and t.numel()]
    fit = [n for n in layers[1:-1] or layers if weights[n][0].numel() >= bits]
    if not fit:
        most = max((weights[n][0].numel() for n in layers), default=0)
        raise bad_input("model", "capacity", f"a layer with {bits} weights in a filter, one a bit", str(most))
    return max(fit, key=lambda n: (weights[n][0].numel(), len(weights[n])))


def mean_filter(name: str, weights: Tensor) -> NDArray[np.float64]:
    """w_bar (section 3.3): the mean of weights [filters, ...] over output filters, flattened; [M].

    InputError, which names the layer, where their dtype can carry no mark or one is not finite in float32.
    """
    check_dtype("uchida", name, weights.dtype)
    summed, odd = np.zeros(weights[0].numel()), 0
    for part in torch.split(weights, max(1, _BLOCK // max(1, weights[0].numel()))):
        finite = torch.isfinite(part.float() if part.dtype == torch.float64 else part)
        odd += part.numel() - int(finite.sum())
        summed += part.sum(0, dtype=torch.float64).flatten().cpu().numpy()
    if odd:
        raise bad_input("weights", name, "finite numbers", f"{odd} that are not")
    mean: NDArray[np.float64] = summed / weights.shape[0]
    return mean


def _default_length(weights: Mapping[str, Tensor], layer: str | None) -> int:
    """As many bits as the layer can hold, up to `BITS`."""
    name = layer_for(weights, 1) if layer is None else layer
    return max(1, min(BITS, weights[name][0].numel() if name in weights else 1))
