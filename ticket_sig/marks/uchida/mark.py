"""Uchida: bits taught to the weights of one layer by a regularizer (Uchida et al., ICMR 2017).

    mark = Uchida.on(ticket.weights, bits_of("mine"))
    marked = retrain(ticket, recipe, data, run, start="model", mark=mark)  # or mark.embed(ticket): no data
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
from scipy.stats import norm
from torch import Tensor, nn

from ticket_sig.claim import entry, hexadecimal
from ticket_sig.digests import json_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import shared_prefix
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.statistics import LOG10_SECRETS, corrected, log10_tails
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict
from ticket_sig.watermarks.mark import DTYPES, Model, as_weights, check_dtype, signed

VERSION = 1
KEY_BYTES = 32
STRENGTH = 0.01  # lambda of the paper, section 4.1
MOST_SECRETS = 2**26  # entries of X: half a GiB, and seconds to draw

_STRENGTHS = 2**100
_LONGEST_NAME = 1000
_BLOCK = 1 << 22  # weights that are summed at a time
_CELLS = 52  # bits of a uniform number: the middles of 2^52 cells are exact in float64, and never 0 or 1
_LEAST_MARGIN = 1.0
_SCORE = 16.0
_SMALLEST = 1e-3
_GROWTH = 2.0
_ROUNDS = 40
_PATIENCE = 3

Bits = tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a secret matrix reads in a layer.

    In a network that has nothing to do with the key, every margin is standard normal, and independent of
    the others. Two tests follow: that so many bits are right, and that the margins sum to so much.
    Signs alone do not suffice: 64 bits are all right by chance once in 2^64, as often as a claimant could
    try keys.

    Attributes:
        payload: the claimed bits.
        margins: for each bit how far it stands on the claimed side: its logit, negative where it reads
            otherwise, over the length of the mean filter.
        size: that length, |w_bar|; 0 where there is nothing to be read.
        layers: tensors of the network that the claimant could have chosen.
    """

    payload: Bits
    margins: tuple[float, ...]
    size: float
    layers: int

    @property
    def bits(self) -> Bits:
        """The bits as they are read."""
        return tuple(bit == (margin > 0) for bit, margin in zip(self.payload, self.margins, strict=True))

    @property
    def logits(self) -> tuple[float, ...]:
        """X w_bar of every bit, positive where it reads as claimed."""
        return tuple(self.size * margin for margin in self.margins)

    @property
    def wrong(self) -> int:
        """Bits that do not read as claimed."""
        return sum(margin <= 0 for margin in self.margins)

    @property
    def error_rate(self) -> float:
        """BER: wrong bits over all."""
        return self.wrong / len(self.payload)

    @property
    def log10_p_of_bits(self) -> float:
        """Chance of as many right bits: binomial, each 1/2."""
        return float(log10_tails(len(self.payload), 0.5)[len(self.payload) - self.wrong])

    @property
    def log10_p_of_margins(self) -> float:
        """Chance of margins that sum to as much: their sum over sqrt(bits) is standard normal."""
        score = sum(self.margins) / math.sqrt(len(self.margins))
        return float(norm.logsf(score) / math.log(10))

    @property
    def log10_p_here(self) -> float:
        """Chance to do as well in the better of the two tests, for one key."""
        return corrected(min(self.log10_p_of_bits, self.log10_p_of_margins), math.log10(2))

    @property
    def log10_p(self) -> float:
        """The p-value, corrected for every key and layer that a claimant could have tried."""
        return corrected(self.log10_p_here, LOG10_SECRETS, math.log10(max(1, self.layers)))

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON."""
        message = text_of(self.bits)
        return {
            "bits": digits_of(self.bits),
            **({} if message is None else {"message": message}),
            "wrong_bits": self.wrong,
            "length": len(self.payload),
            "bit_error_rate": self.error_rate,
            "least_margin": min(self.margins),
            "mean_margin": sum(self.margins) / len(self.margins),
            "signed_logits": [float(f"{logit:.6g}") for logit in self.logits],
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "log10_p_of_bits": round(self.log10_p_of_bits, 3),
            "log10_p_of_margins": round(self.log10_p_of_margins, 3),
            "layers": self.layers,
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value alone; the bit error rate is in the evidence."""
        right, mean = len(self.payload) - self.wrong, sum(self.margins) / len(self.margins)
        return Verdict(
            statistic=f"{right} of {len(self.payload)} bits read as claimed, on average by {mean:.2f} "
            "standard deviations of chance",
            log10_p=self.log10_p,
            evidence={"scheme": Uchida.scheme, **self.to_json()},
            proves="these weights were made to carry the claimed bits under the claimed key; no unrelated "
            "network does, whatever key, bits and layer the claimant chose",
            does_not_prove="who put them there, or when: whoever holds the key, or makes one of his own, can "
            "write bits into any network. Compare with a record of the claim from before the dispute, and "
            "measure the accuracy. Not verified clears nobody: filters can be negated before a batch norm",
        )


class Uchida:
    """Bits in the mean filter of one layer, under a key (Uchida et al., 2017, section 3).

    The secret matrix X [bits, M] is standard normal (X_random). It follows from the key and is bound to
    payload, layer and shape: under an unbound matrix whoever has a network could take any key, read bits
    in it, and claim what he read. So the bits cannot be read without knowing them: the claim, with key
    and payload, is needed, and it is a secret to be kept until there is a dispute.

    Args:
        payload: the bits; at least 1, and at most the capacity M, the weights of one filter.
        layer: name of its weights, convolution or linear.
        shape: of its weights, [filters, ...], 2 or more dimensions; M is the product of all but the first.
        key: 32 secret bytes; by default fresh ones.
        strength: h, by which training multiplies the regularizer (the paper's lambda).

    Raises:
        InputError: one of them is out of range, or there are more bits than the capacity.
    """

    scheme: ClassVar[str] = "uchida"

    def __init__(
        self,
        payload: Iterable[bool],
        layer: str,
        shape: Sequence[int],
        *,
        key: bytes | None = None,
        strength: float = STRENGTH,
    ) -> None:
        self.payload: Bits = _checked(payload)
        self.layer, self.shape = layer, tuple(shape)
        self.key = secrets.token_bytes(KEY_BYTES) if key is None else key
        if not isinstance(self.key, bytes) or len(self.key) != KEY_BYTES:
            found = f"{len(self.key)}" if isinstance(self.key, bytes) else f"a {type(self.key).__name__}"
            raise bad_input("watermark", "key", f"{KEY_BYTES} bytes", found)
        if not isinstance(strength, (int, float)) or not 0 < strength < _STRENGTHS:
            raise bad_input("watermark", "strength", "a finite number above 0", repr(strength)[:80])
        self.strength = float(strength)
        if not isinstance(layer, str) or not 0 < len(layer) <= _LONGEST_NAME:
            raise bad_input("watermark", "layer", "the name of a tensor", repr(layer)[:80])
        if not _is_shape(self.shape):
            raise bad_input("watermark", "shape", "2 or more sizes of 1 or more", repr(self.shape)[:80])
        if len(self.payload) > self.capacity:
            expected = f"at least {len(self.payload)} weights in a filter of {layer}, one a bit"
            raise bad_input("watermark", "capacity", expected, str(self.capacity))
        if len(self.payload) * self.capacity > MOST_SECRETS:
            most = f"at most {MOST_SECRETS // self.capacity} bits in a filter of {self.capacity}"
            raise bad_input("watermark", "payload", most, str(len(self.payload)))

    @classmethod
    def on(
        cls,
        weights: Mapping[str, Tensor],
        payload: Iterable[bool],
        layer: str | None = None,
        *,
        key: bytes | None = None,
        strength: float = STRENGTH,
    ) -> Uchida:
        """The watermark for a layer of a network, by default the one that it disturbs least (`layer_for`).

        Raises:
            InputError: no layer of that name or with the capacity; else as the class.
        """
        bits = _checked(payload)
        name = layer if layer is not None else layer_for(weights, len(bits))
        if name not in weights:
            raise bad_input("model", "layer", repr(name)[:80], "none of that name")
        return cls(bits, name, tuple(weights[name].shape), key=key, strength=strength)

    @classmethod
    def make(cls, weights: Mapping[str, Tensor], size: int, secret: bytes) -> Uchida:
        """So many bits that follow from the secret, under it as the key (`Mark.make`)."""
        bits = keyed_words(secret, "uchida payload", size) % 2 == 1
        return cls.on(weights, bits.tolist(), key=secret)

    @property
    def capacity(self) -> int:
        """M, the weights of one filter: how many bits there can be."""
        return math.prod(self.shape[1:])

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the watermark and how it is taught."""
        return json_digest(self.to_json())

    def projection(self) -> NDArray[np.float64]:
        """X, the secret matrix [bits, M]."""
        matrix = np.empty((len(self.payload), self.capacity))
        for index, row in enumerate(self._rows()):
            matrix[index] = row
        return matrix

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the bits written into it, by the least change of this layer's weights.

        Every bit then stands by a margin of max(1, 16 / sqrt(bits)), so that all of them together have
        16 standard deviations (p = 10^-57 for one key; it takes 11 to verify); where that more than
        doubled the mean filter, by a smaller one. Pruned weights stay zero: what a place of the filters
        needs is shared among the kept.

        Raises:
            InputError: no such layer, another shape, weights that are zero or not finite, or too few kept
                ones.
        """
        name = self._name_in(as_weights(ticket.weights).shapes)
        weights = ticket.weights[name].detach()
        mean = mean_filter(self.layer, weights)
        kept = ticket.mask.get(name, torch.ones(self.shape, dtype=torch.bool))
        counts = kept.flatten(1).sum(0).numpy()
        size = float(np.linalg.norm(mean)) or float(weights.double().norm()) / self.shape[0]
        if not size:
            raise bad_input("model", self.layer, "weights other than zero", "none")
        signs = np.where(self.payload, 1.0, -1.0)
        moved = _moved(signs[:, None] * self.projection(), mean / size, np.sqrt(counts) / self.shape[0])
        if moved is None:
            found = f"{int(kept.sum())} of {kept.numel()}, at {np.count_nonzero(counts)} of {self.capacity} "
            raise bad_input(
                "model",
                self.layer,
                f"enough kept weights for {len(signs)} bits",
                found + "places of a filter",
            )
        shift = (moved * size - mean) * self.shape[0] / np.maximum(counts, 1)
        marked = _shifted(weights, kept, shift.reshape(self.shape[1:]))
        if wrong := self.read({self.layer: marked}).wrong:
            found = f"{wrong} bits lost when they are rounded"
            raise bad_input("model", self.layer, "weights that hold the bits", found)
        return signed(ticket, {name: marked})

    def bind(self, model: nn.Module) -> TaughtBits:
        """The regularizer on the parameters of one network (`training/marks.py`).

        Raises:
            InputError: no such layer, another shape, or one that is frozen.
        """
        named = dict(model.named_parameters(remove_duplicate=False))
        # A parameter not yet initialised has no shape.
        sized = {n: p for n, p in named.items() if not isinstance(p, nn.UninitializedParameter)}
        parameter = named[self._name_in({n: tuple(p.shape) for n, p in sized.items()})]
        if not parameter.requires_grad:
            raise bad_input("model", self.layer, "a parameter that is trained", "a frozen one")
        check_dtype(self.layer, parameter.dtype)
        return TaughtBits(parameter, self.projection(), self.payload, self.strength)

    def read(self, model: Model) -> Decoded:
        """Reads the bits; looks at this layer alone.

        Raises:
            InputError: no such layer, another shape or dtype, or NaN or infinities in it.
        """
        weights = as_weights(model)
        tensor = weights.tensor(self._name_in(weights.shapes))
        mean = mean_filter(self.layer, tensor)
        # The margins do not depend on the scale, and so neither overflow nor vanish.
        largest = float(np.abs(mean).max())
        scaled = mean / largest if largest else mean
        length = float(np.linalg.norm(scaled))
        signs = np.where(self.payload, 1.0, -1.0)
        logits = np.array([row @ scaled for row in self._rows()])
        margins = signs * logits / length if length else np.zeros(len(signs))
        shapes, dtypes = weights.shapes, weights.dtypes
        layers = sum(len(s) >= 2 and dtypes[n].is_floating_point for n, s in shapes.items())
        return Decoded(
            payload=self.payload, margins=tuple(margins.tolist()), size=largest * length, layers=layers
        )

    def to_json(self) -> dict[str, Any]:
        """The claim's fields; the key and the payload are secret."""
        return {
            "key": self.key.hex(),
            "payload": digits_of(self.payload),
            "layer": self.layer,
            "shape": list(self.shape),
            "strength": self.strength,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Uchida:
        """Reads the claim's fields.

        Raises:
            InputError: a field is missing, of another type, or out of range.
        """
        strength = value.get("strength")
        if isinstance(strength, bool) or not isinstance(strength, (int, float)):
            raise bad_input("claim", "strength", "a number", repr(strength)[:80])
        return cls(
            bits_from(entry(value, "payload", str)),
            entry(value, "layer", str),
            entry(value, "shape", list),
            key=hexadecimal(value, "key"),
            strength=strength,
        )

    def _rows(self) -> Iterator[NDArray[np.float64]]:
        """X row by row [M], so that reading takes the memory of one."""
        secret = self.key + self._bound_to()
        for index in range(len(self.payload)):
            words = keyed_words(secret, f"uchida row {index}", self.capacity) >> np.uint64(64 - _CELLS)
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

    def _name_in(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """The layer's name in a network, which may be wrapped.

        Raises:
            InputError: it is not there, or has another shape.
        """
        name = self.layer if self.layer in shapes else shared_prefix(shapes) + self.layer
        if name not in shapes:
            raise bad_input("model", "layer", f"the watermark's {self.layer}", "none of that name")
        if shapes[name] != self.shape:
            expected = f"the watermark's shape {list(self.shape)}"
            raise bad_input("model", self.layer, expected, str(list(shapes[name])))
        return name


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
        if self._projection.device != self._parameter.device:
            self._projection = self._projection.to(self._parameter.device)
            self._bits = self._bits.to(self._parameter.device)
        with torch.autocast(self._parameter.device.type, enabled=False):
            mean = self._parameter.mean(0, dtype=torch.float32).flatten()
            # From logits: the logarithm of a sigmoid is infinite from logits of 100 on.
            entropy = F.binary_cross_entropy_with_logits(self._projection @ mean, self._bits, reduction="sum")
            return self._strength * entropy

    def put_back(self) -> None:
        """Nothing: the bits are learnt."""


def layer_for(weights: Mapping[str, Tensor], bits: int) -> str:
    """The layer that bits disturb least: most weights in a filter; of those with as many, most filters.

    The first and the last are left out, where there are others: they are most often replaced.

    Raises:
        InputError: no layer has the capacity.
    """
    layers = [n for n, t in weights.items() if t.ndim >= 2 and t.dtype in DTYPES and t.numel()]
    fit = [n for n in layers[1:-1] or layers if weights[n][0].numel() >= bits]
    if not fit:
        most = max((weights[n][0].numel() for n in layers), default=0)
        raise bad_input("model", "capacity", f"a layer with {bits} weights in a filter, one a bit", str(most))
    return max(fit, key=lambda n: (weights[n][0].numel(), len(weights[n])))


def mean_filter(name: str, weights: Tensor) -> NDArray[np.float64]:
    """w_bar (section 3.3): the mean over output filters, flattened; [M].

    Args:
        name: of the layer, for messages.
        weights: [filters, ...].

    Raises:
        InputError: no weights of a known dtype, or numbers that are not finite in float32.
    """
    check_dtype(name, weights.dtype)
    summed, odd = np.zeros(weights[0].numel()), 0
    for part in torch.split(weights, max(1, _BLOCK // max(1, weights[0].numel()))):
        finite = torch.isfinite(part.float() if part.dtype == torch.float64 else part)
        odd += part.numel() - int(finite.sum())
        summed += part.sum(0, dtype=torch.float64).flatten().cpu().numpy()
    if odd:
        raise bad_input("weights", name, "finite numbers", f"{odd} that are not")
    mean: NDArray[np.float64] = summed / weights.shape[0]
    return mean


def bits_of(text: str) -> Bits:
    """The bits of a text in UTF-8, of every byte the highest first."""
    # What the shell passed that is no UTF-8 stays the bytes it was.
    data = text.encode("utf-8", "surrogateescape")
    return tuple(bool(b) for b in np.unpackbits(np.frombuffer(data, dtype=np.uint8)))


def text_of(bits: Sequence[bool]) -> str | None:
    """The text whose `bits_of` these are; None where they are no UTF-8."""
    if len(bits) % 8:
        return None
    try:
        return np.packbits(np.array(bits, dtype=bool)).tobytes().decode()
    except UnicodeDecodeError:
        return None


def bits_from(digits: str) -> Bits:
    """Reads bits that are written as `0101`.

    Raises:
        InputError: none, more than any layer can hold, or other characters.
    """
    if set(digits) - {"0", "1"}:
        raise bad_input("watermark", "payload", "digits 0 and 1", repr(digits[:40]))
    return _checked([digit == "1" for digit in digits])


def digits_of(bits: Iterable[bool]) -> str:
    """Bits as `0101`."""
    return "".join("01"[bit] for bit in bits)


def random_bits(count: int) -> Bits:
    """So many secret bits."""
    return tuple(bool(secrets.randbits(1)) for _ in range(count))


def _checked(payload: Iterable[bool]) -> Bits:
    """The bits, if they are bits.

    Raises:
        InputError: none, more than any layer can hold, or other values than 0 and 1.
    """
    bits = tuple(payload)
    most = math.isqrt(MOST_SECRETS)  # each takes a row of X, and a filter has as many weights or more
    if not 1 <= len(bits) <= most:
        raise bad_input("watermark", "payload", f"1 to {most} bits", str(len(bits)))
    if odd := [bit for bit in bits if bit not in (0, 1)]:
        raise bad_input("watermark", "payload", "bits, 0 or 1", repr(odd[0])[:80])
    return tuple(bool(bit) for bit in bits)


def _moved(
    rows: NDArray[np.float64], mean: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The mean filter with every bit in it, by the least change of the weights, or None.

    Args:
        rows: X, with the sign of each bit [bits, M].
        mean: of length 1, or all zero [M].
        reach: by how much a change of length 1, shared among the kept weights of a place, moves its mean [M].
    """
    margin = max(_LEAST_MARGIN, _SCORE / math.sqrt(len(rows)))
    pulls = rows * reach
    scale = float(np.square(pulls).sum(1).mean()) or 1.0
    # The little on the diagonal keeps rows apart that pull at too few places.
    gram = pulls @ pulls.T / scale + 1e-9 * np.eye(len(rows))
    while margin > _SMALLEST:
        pulled = np.zeros(len(rows), dtype=bool)
        moved = mean
        for _ in range(_ROUNDS):
            size = float(np.linalg.norm(moved)) or 1.0
            if size > _GROWTH:
                break
            if (rows @ moved >= margin * size).all():
                return moved
            # A longer filter needs more for the same margin: 5 % more, so that this ends.
            shares = _shares(gram, 1.05 * margin * size - rows @ mean, pulled)
            pulled = shares > 0
            moved = mean + reach * (pulls.T @ shares) / scale
        margin *= 0.7
    return None


def _shares(
    gram: NDArray[np.float64], wanted: NDArray[np.float64], pulled: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The shortest change that moves every bit by what is wanted, or more, as shares of the bits' rows.

    Least squares under inequalities: shares are not negative, and 0 for bits that move by themselves. Found
    by block principal pivoting (Portugal, Judice and Vicente, 1994).

    Args:
        gram: products of the rows [bits, bits].
        pulled: which bits to begin with.
    """
    fewest, patience = len(wanted) + 1, _PATIENCE
    shares = np.zeros(len(wanted))
    # Far more than it takes, but where rounding has it run in a ring.
    for _ in range(100 + 10 * len(wanted)):
        shares[:] = 0
        shares[pulled] = np.linalg.solve(gram[np.ix_(pulled, pulled)], wanted[pulled])
        wrong = np.where(pulled, shares < 0, gram @ shares < wanted - 1e-9)
        count = int(wrong.sum())
        if not count:
            break
        patience = _PATIENCE if count < fewest else patience - 1
        fewest = min(fewest, count)
        if patience <= 0:  # one at a time, always the last: this ends (Murty, 1974)
            wrong[: np.flatnonzero(wrong)[-1]] = False
        pulled = pulled ^ wrong
    return shares


def _shifted(weights: Tensor, kept: Tensor, shift: NDArray[np.float64]) -> Tensor:
    """The weights with what is added to every filter where it is kept, in their own dtype."""
    exact = torch.float64 if weights.dtype == torch.float64 else torch.float32
    added = torch.from_numpy(shift).to(weights.device, exact) * kept.to(weights.device)
    return (weights.to(exact) + added).to(weights.dtype)


def _is_shape(value: tuple[object, ...]) -> bool:
    return 2 <= len(value) <= 8 and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**48 for n in value
    )
