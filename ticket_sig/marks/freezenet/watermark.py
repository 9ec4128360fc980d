"""FreezeNet: a watermark of fixed weights, kept in after every step of training (Bouvard, 2020).

    watermark = Watermark(b"Some block information", 4096)
    watermark.apply(model)
    with watermark.keep(model, optimizer):
        ...  # train
    watermark.verify(model)

Anyone who knows the data knows the places: as a proof of work the data are public, as a proof of ownership
they must hold enough secret bytes, and be kept until there is a dispute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ticket_sig.claim import entry, hexadecimal
from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.layouts import is_constant, shared_prefix
from ticket_sig.formats.weights import InMemory, Weights
from ticket_sig.statistics import LOG10_SECRETS, corrected, log10_tail
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict
from ticket_sig.watermarks.derive import LEGACY, MOST, SCALES, Fixed, Manifest, check_length, derive, size_of
from ticket_sig.watermarks.mark import Model, as_weights, check_dtype, signed

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_NAMED_AT_MOST = 8
MOST_VALUES = 1 << 25  # each takes 80 bytes: a claim from outside must not take all memory
MOST_LEGACY = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How much of a watermark stands in a network.

    Attributes:
        found, length: values that stand, of all.
        expected: how many would, at most, if the data had nothing to do with the network.
        log10_p_here: chance of as many, for one watermark.
        total: N, the weights that a watermark could have fixed.
        scale: of its values.
        tensors: of the network, which a claimant could have named or left out.
        odd: tensors with NaN or infinities at fixed places, with their count.
    """

    found: int
    length: int
    expected: float
    log10_p_here: float
    total: int
    scale: str
    tensors: int
    odd: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether every value stands: the paper's rule. An empty watermark stands everywhere."""
        return self.found == self.length

    @property
    def log10_p(self) -> float:
        """The p-value, corrected for all that a claimant could have tried.

        2^64 times data and manifest, as each of them gives other places; every length and scale. The legacy
        stream is not bound to the manifest: under one that is looked up, tensors named or left out move the
        places, and every choice of them counts.
        """
        choices = self.tensors * math.log10(2) if self.scale == LEGACY else 0.0
        lengths, scales = math.log10(self.total + 1), math.log10(len(SCALES) + 1)
        return corrected(self.log10_p_here, LOG10_SECRETS, lengths, scales, choices)

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON."""
        return {
            "matches": self.found,
            "length": self.length,
            "scale": self.scale,
            "share": self.length / self.total,
            "expected_by_chance": self.expected,
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "parameters": self.total,
        }

    def verdict(self) -> Verdict:
        """Verified where every value stands and no unrelated network would have as many."""
        differ = self.length - self.found
        # 32 bits are searched in minutes: a thief finds data of his own that give the owner's values.
        other = "that the data are those that were signed: of scale legacy, others give the same values; "
        return Verdict(
            statistic=f"{self.found} of {self.length} values stand",
            log10_p=self.log10_p,
            evidence={"scheme": Watermark.scheme, **self.to_json()},
            proves="these weights were made to carry the claimed data; no unrelated network does, "
            "whatever data, tensors and length the claimant chose",
            does_not_prove=f"{other if self.scale == LEGACY else ''}"
            "who put them there, or when: whoever knows the data can apply them to any "
            "network. Compare with a record of the claim from before the dispute, and measure the accuracy",
            lacking=f"{differ} of {self.length} values differ, and all must stand" if differ else "",
        )


class Watermark:
    """Values at places of a network that follow from bytes (Bouvard, 2020).

    Args:
        data: what is signed; not empty.
        length: how many weights are fixed, 0 to the network's N.
        scale: of the values: "unit", "layer" or "legacy" (`derive`).
        manifest: names and shapes of the weights they are drawn from; by default those of the first network
            that it meets: its trainable parameters, or of a state dict all weights that are no buffers. A
            network that was frozen since, or has other buffers, needs the manifest of the first (its claim).

    Raises:
        InputError: empty data, a length under 0, or an unknown scale.
    """

    scheme: ClassVar[str] = "freezenet"

    def __init__(
        self, data: bytes, length: int, *, scale: str = "unit", manifest: Manifest | None = None
    ) -> None:
        if not isinstance(data, bytes) or not data:
            found = "none" if isinstance(data, bytes) else f"a {type(data).__name__}"
            raise bad_input("watermark", "data", "1 byte or more", found)
        if isinstance(length, bool) or not isinstance(length, int):
            raise bad_input("watermark", "length", "a whole number of 0 or more", repr(length)[:80])
        if not 0 <= length < MOST:
            found = "a negative one" if length < 0 else "one of more than 63 bits"
            raise bad_input("watermark", "length", "a whole number of 0 or more", found)
        if length > MOST_VALUES:
            raise bad_input("watermark", "length", f"at most {MOST_VALUES}", str(length))
        if scale not in (*SCALES, LEGACY):
            raise bad_input("watermark", "scale", f"one of {', '.join((*SCALES, LEGACY))}", repr(scale)[:80])
        self.data, self.length, self.scale = data, length, scale
        self.manifest: Manifest | None = None
        self._given: Manifest | None = None
        self._fixed: dict[str, Fixed] = {}
        if manifest is not None:
            self._settle(manifest)
            self._given = self.manifest

    @classmethod
    def make(cls, weights: Mapping[str, Tensor], size: int, secret: bytes) -> Watermark:
        """A watermark of this length for a network, its data the secret (`Mark.make`)."""
        return cls(secret, size, manifest=_shapes_of(as_weights(weights)))

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the watermark; of the manifest, where it was given.

        Not of one that it took from its first network: a training that is started again with the same
        watermark must be known as the same.
        """
        return json_digest(self._json(self._given))

    def apply(self, model: nn.Module) -> None:
        """Writes the watermark into a network, in place.

        Raises:
            InputError: no trainable parameters, fewer than the length, parameters that cannot hold the
                values, or other names or shapes than the watermark was first used with; each is named.
        """
        self.bind(model).put_back()

    def verify(self, model: Model) -> bool:
        """Whether every value stands, each as its tensor's dtype holds it (see `matches`). NaN never does.

        The paper's rule, and no proof by itself: an empty watermark stands everywhere, and a short one in
        many networks. `read(model).verdict()` has the p-value.
        """
        return self._match(model).whole

    def read(self, model: Model) -> Matches:
        """Counts the values that stand, and how surprising that is.

        Reads no more than the fixed places: NaN elsewhere is not seen.

        Raises:
            InputError: NaN or infinities at fixed places; else as `apply`.
        """
        found = self._match(model)
        if found.odd:
            named = [
                f"{n}: expected finite numbers, found {count} that are not" for n, count in found.odd.items()
            ]
            raise InputError("weights: " + "; ".join(named[:_NAMED_AT_MOST]))
        return found

    def fixed_in(self, model: Mapping[str, Tensor] | Weights) -> Mapping[str, Fixed]:
        """What is fixed in a model file, by tensor; `apply_to_files` writes it.

        Raises:
            InputError: as `apply`.
        """
        weights = as_weights(model)
        shapes = weights.shapes if self.manifest is not None else _shapes_of(weights)
        if self.scale == LEGACY:
            shapes = dict(shapes)  # without the aliases of tied tensors, which would be choices more
        fixed = self._fixed_in(shapes)
        for name in fixed:
            check_dtype(name, weights.dtypes[name])
        return fixed

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the watermark written into it.

        Raises:
            InputError: as `apply`; or it is sparse where a value belongs.
        """
        fixed = self.fixed_in(ticket.weights)
        sparse = [
            n
            for n, f in fixed.items()
            if n in ticket.mask and not ticket.mask[n].take(_tensor(f.places)).all()
        ]
        if sparse:
            found = f"pruned weights in {', '.join(sparse[:_NAMED_AT_MOST])}"
            raise bad_input(
                "model", "weights", "a dense network", found, hint="a ticket is signed by `embed`"
            )
        written = {name: ticket.weights[name].clone() for name in fixed}
        for name, f in fixed.items():
            _put(written[name], *_held(written[name], f))
        return signed(ticket, written)

    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> RemovableHandle:
        """Writes the watermark now and after every step of an optimizer, until the handle is removed.

        Returns:
            The hook's handle; `with watermark.keep(...):` removes it at the end of the block.
        """
        held = self.bind(model)
        return optimizer.register_step_post_hook(lambda *_: held.put_back())

    def bind(self, model: nn.Module) -> HeldValues:
        """Writes the watermark into a network and returns what writes it again (`training/marks.py`)."""
        parameters = _parameters_of(model, self.manifest)
        fixed = self._fixed_in({name: tuple(p.shape) for name, p in parameters.items()})
        return HeldValues([(parameters[name], f) for name, f in fixed.items()])

    def to_json(self) -> dict[str, Any]:
        """The claim's fields: the data too, so that who has the claim can find the values.

        Raises:
            InputError: the watermark was never used, and its manifest is not known.
        """
        if self.manifest is None:
            raise bad_input(
                "watermark", "manifest", "names and shapes of a network", "none", hint="apply it first"
            )
        return self._json(self.manifest)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Watermark:
        """Reads the claim's fields.

        Raises:
            InputError: a field is missing, of another type, or out of range.
        """
        manifest = entry(value, "manifest", dict)
        if odd := [name for name, shape in manifest.items() if not _is_shape(shape)]:
            raise bad_input("claim", f"manifest, {odd[0]}", "a shape", repr(manifest[odd[0]])[:80])
        return cls(
            hexadecimal(value, "data"),
            entry(value, "length", int),
            scale=entry(value, "scale", str),
            manifest={name: tuple(shape) for name, shape in manifest.items()},
        )

    def _json(self, manifest: Manifest | None) -> dict[str, Any]:
        shapes = None if manifest is None else {n: list(s) for n, s in manifest.items()}
        return {"data": self.data.hex(), "length": self.length, "scale": self.scale, "manifest": shapes}

    def _settle(self, manifest: Manifest) -> None:
        """Takes the names and shapes that the places are drawn from, once and for all.

        Raises:
            InputError: as `check_length`.
        """
        check_length(self.length, manifest)
        if self.scale == LEGACY and (total := size_of(manifest)) > MOST_LEGACY:
            expected = f"at most {MOST_LEGACY} parameters, all of which the legacy stream puts in order"
            raise bad_input("watermark", "network", expected, str(total))
        self.manifest = {name: tuple(manifest[name]) for name in sorted(manifest)}

    def _fixed_in(self, shapes: Manifest) -> dict[str, Fixed]:
        """What is fixed in a network of these shapes.

        Raises:
            InputError: it has not the tensors that the places were drawn from; all are named.
        """
        if self.manifest is None:
            self._settle(shapes)
        assert self.manifest is not None
        problems = [
            f"{name}: expected shape {list(shape)}, found {list(shapes[name]) if name in shapes else 'none'}"
            for name, shape in self.manifest.items()
            if shapes.get(name) != shape
        ]
        if problems:
            more = f" and {len(problems) - _NAMED_AT_MOST} more" if len(problems) > _NAMED_AT_MOST else ""
            # A name from a claim may hold line breaks.
            raise InputError(" ".join(f"watermark: {'; '.join(problems[:_NAMED_AT_MOST])}{more}".split()))
        if self.length and not self._fixed:
            self._fixed = derive(self.data, self.length, self.manifest, self.scale)
        return self._fixed

    def _match(self, model: Model) -> Matches:
        tensors = _parameters_of(model, self.manifest) if isinstance(model, nn.Module) else model
        weights = as_weights(tensors)
        fixed = self.fixed_in(weights)
        if isinstance(weights, InMemory):
            _check_dtypes({name: weights.tensor(name) for name in fixed})
        found, expected, odd = 0, 0.0, {}
        for name, f in fixed.items():
            values = weights.take(name, f.places).cpu()
            if bad := int((~values.isfinite()).sum()):
                odd[name] = bad
            found += int(matches(values, f.values).sum())
            expected += float(chances_to_match(values, f.bound).sum())
        p = 0.0
        # So far out, several chances make a thinner tail than their mean would (Hoeffding, 1956).
        if 0 < expected < self.length and found >= expected + 1:
            p = log10_tail(self.length, expected / self.length, found)
        assert self.manifest is not None
        return Matches(
            found=found,
            length=self.length,
            expected=expected,
            log10_p_here=p,
            total=size_of(self.manifest),
            scale=self.scale,
            tensors=len(list(model.parameters()) if isinstance(model, nn.Module) else weights.shapes),
            odd=odd,
        )


class HeldValues:
    """A watermark's values at their places in the parameters of one network."""

    def __init__(self, fixed: list[tuple[Tensor, Fixed]]) -> None:
        self._fixed = fixed
        self._held = [_held(parameter, f) for parameter, f in fixed]
        self.put_back()

    def penalty(self) -> None:
        """None: the values are not learnt."""

    @torch.no_grad()
    def put_back(self) -> None:
        """Writes the values, in each parameter's dtype and on its device."""
        for index, (parameter, f) in enumerate(self._fixed):
            values = self._held[index][1]
            if (values.device, values.dtype) != (parameter.device, parameter.dtype):
                self._held[index] = _held(parameter, f)
            _put(parameter, *self._held[index])


def _held(tensor: Tensor, fixed: Fixed) -> tuple[tuple[Tensor, ...], Tensor]:
    """What `_put` takes: places by dimension, after one of size 1, and values as the tensor holds them."""
    places = np.unravel_index(fixed.places, (1, *tensor.shape))
    return tuple(_tensor(p).to(tensor.device) for p in places), _tensor(fixed.values).to(tensor)


def _put(tensor: Tensor, places: tuple[Tensor, ...], values: Tensor) -> None:
    # Tensor.put_ has no deterministic form, and so fails where the user asks for deterministic algorithms.
    tensor[None].index_put_(places, values)


def matches(weights: Tensor, values: NDArray[np.float32]) -> Tensor:
    """Which weights stand for their values, boolean [n]: two-sided, and never NaN.

    The policy for every dtype: a weight stands if it is exactly the value, or the value rounded to
    bfloat16, to float16, or to one after the other, each as the weight's own dtype holds it. So a network
    that was cast to half precision verifies, and so does one that was cast and cast back.

    Args:
        weights: [n], of one of `DTYPES`.
        values: [n].
    """
    exact = _tensor(values)
    rounded = (exact, exact.bfloat16(), exact.half(), exact.half().bfloat16())
    stands = torch.zeros(len(exact), dtype=torch.bool)
    for value in rounded:
        stands |= weights == value.to(weights.dtype)
    return stands


def chances_to_match(weights: Tensor, bound: float) -> NDArray[np.float64]:
    """For each weight at most the chance that it `matches` a value that has nothing to do with it.

    Values are uniform on 2^24 cells of (-bound, bound); a weight that half precision can hold is met by all
    that round to it.
    """
    w = weights.to(torch.float64)
    # Zero is met by all that float16 rounds to it.
    size = w.abs().nan_to_num(0.0, 0.0, 0.0).clamp(min=2.0**-25).numpy()
    in_bf16 = (w.bfloat16().double() == w).numpy()
    in_half = (w.half().double() == w).numpy()
    cells = in_bf16 * _spacing(size, 7, -126) + in_half * _spacing(size, 10, -14)
    chances = 2.0**-23 + cells / (2 * bound) + in_bf16 * 2.0**-24 + in_half * 2.0**-24
    reachable = size <= bound * (1 + 2.0**-7) + 2.0**-24  # the smallest step of float16
    return np.where(reachable, np.minimum(1.0, chances), 0.0)


def _spacing(size: NDArray[np.float64], digits: int, lowest: int) -> NDArray[np.float64]:
    """Distance of neighbours at these sizes, of a format with so many binary digits behind the point."""
    exponent = np.frexp(size)[1] - 1
    distance: NDArray[np.float64] = np.exp2(np.maximum(exponent, lowest) - float(digits))
    return distance


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)


def _parameters_of(model: nn.Module, manifest: Manifest | None) -> dict[str, Tensor]:
    """The trainable parameters by plain name, tied ones once; or those of a manifest, frozen or not."""
    named = dict(model.named_parameters())
    prefix = shared_prefix(named)
    plain = {name.removeprefix(prefix): p for name, p in named.items()}
    taken: dict[str, Tensor] = {
        n: p for n, p in plain.items() if (p.requires_grad if manifest is None else n in manifest)
    }
    if lazy := [n for n, p in taken.items() if isinstance(p, nn.UninitializedParameter)]:
        raise bad_input("watermark", lazy[0], "a parameter with a shape", "one not yet initialised")
    _check_dtypes(taken)
    return taken


def _shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Shapes of what can be fixed in a model file: all its weights, without the buffers of norms."""
    return {
        name: shape
        for name, shape in weights.shapes.items()
        if weights.dtypes[name].is_floating_point
        and name.rpartition(".")[2] not in _BUFFERS
        and not is_constant(name)
    }


def _check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        check_dtype(name, tensor.dtype)
        if tensor.is_meta or tensor.layout != torch.strided:
            raise bad_input("watermark", name, "a dense tensor in memory", "one without values or sparse")


def _is_shape(value: object) -> bool:
    # Bounded, so that a hostile claim cannot have numbers of thousands of digits multiplied.
    if not isinstance(value, list) or len(value) > 64:
        return False
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in value)
