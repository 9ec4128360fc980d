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
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from ticket_sig.digests import json_digest
from ticket_sig.errors import NAMED_AT_MOST, NotThere, bad_input, refuse, some
from ticket_sig.fields import entry, hexadecimal, whole
from ticket_sig.formats.layouts import is_constant
from ticket_sig.formats.names import found_elsewhere, names_in, plain_names
from ticket_sig.formats.patch import Entries
from ticket_sig.formats.weights import InMemory, Weights
from ticket_sig.marks.freezenet.derive import (
    LEGACY,
    MOST,
    SCALES,
    Fixed,
    Manifest,
    check_length,
    derive,
    size_of,
)
from ticket_sig.marks.freezenet.reading import Matches, chances_to_match, matches
from ticket_sig.marks.mark import Mark, Model, as_weights, check_dtype, signed, under_tied_names
from ticket_sig.models import MODELS, build_for
from ticket_sig.models.own import check_bound, parameters_of
from ticket_sig.options import Options, not_blank, one_of, option, within
from ticket_sig.statistics import log10_tail
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_SHOWN = 10  # tensors in a table
_ROUNDINGS = 8  # steps of its type that a weight may be off when it was scaled and scaled back
MOST_VALUES = 1 << 25  # each takes 80 bytes: a claim from outside must not take all memory
MOST_LEGACY = 1 << 28


@dataclass(frozen=True, kw_only=True)
class FreezeNetOptions(Options):
    """What decides a watermark: its data, how many values, and from which weights."""

    message: str | None = option(
        "The data: the bytes of this text; else those of --secret; else 32 fresh ones.",
        default=None,
        check=not_blank,
    )
    length: int | None = option("How many weights are fixed.", default=None)
    share: float | None = option("Their share of all weights, 0 to 1.", default=None, check=within(0, 1))
    scale: str = option(
        "Of the values: unit, on (-1, 1); layer, as each layer's initial weights; or legacy, the stream of "
        "the original code.",
        default="unit",
        check=one_of((*SCALES, LEGACY)),
    )
    arch: str | None = option("Only this network's trainable parameters.", default=None, check=one_of(MODELS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.length is None) == (self.share is None):
            found = "neither" if self.length is None else "both"
            raise bad_input("", "--length, --share", "one of them", found)
        if self.data is not None:
            _check_data(self.data)
        if self.length is not None:
            _check_length(self.length)

    @property
    def data(self) -> bytes | None:
        """The bytes of the message; what the shell passed that is no UTF-8 stays the bytes it was."""
        return None if self.message is None else self.message.encode("utf-8", "surrogateescape")

    @classmethod
    def of_size(cls, size: int) -> FreezeNetOptions:
        """So many values."""
        return cls(length=size)


class Watermark(Mark):
    """Values at places of a network that follow from bytes (Bouvard, 2020).

    Args:
        data: what is signed; not empty.
        length: how many weights are fixed, 0 to the network's N.
        scale: of the values: "unit", "layer" or "legacy" (`derive`).
        manifest: names and shapes of the weights they are drawn from; by default those of the first network
            that it is written into: its trainable parameters, or of a state dict all weights that are no
            buffers. A network that was frozen since, or has other buffers, needs that manifest (its claim).
            A watermark that was never written looks for its values in each network's own.

    Raises:
        InputError: empty data, a length under 0, or an unknown scale.
    """

    name: ClassVar[str] = "freezenet"
    stands_in: ClassVar[str] = "weights"
    carries: ClassVar[str] = "numbers"
    options: ClassVar[type[Options] | None] = FreezeNetOptions
    usual_size: ClassVar[int | None] = 64

    def __init__(
        self, data: bytes, length: int, *, scale: str = "unit", manifest: Manifest | None = None
    ) -> None:
        _check_data(data)
        _check_length(length)
        if scale not in (*SCALES, LEGACY):
            raise bad_input("freezenet", "scale", f"one of {', '.join((*SCALES, LEGACY))}", repr(scale)[:80])
        self.data, self.length, self.scale = data, length, scale
        self._given = self._checked(manifest) if manifest is not None else None
        self.manifest = self._given
        self._derived: tuple[Manifest | None, dict[str, Fixed]] = (None, {})

    @classmethod
    def make(cls, model: Model, options: FreezeNetOptions, secret: bytes | None = None) -> Watermark:
        """A watermark for a network; its data are the message, or the secret, or else 32 fresh bytes.

        Raises:
            InputError: data are given twice, the network is none of `options.arch`, or too small.
        """
        if options.message is not None and secret is not None:
            raise bad_input("", "--message, --secret", "one of them", "both")
        data = options.data if secret is None else secret
        shapes = _manifest_of(as_weights(model), options.arch)
        length = round((options.share or 0) * size_of(shapes)) if options.length is None else options.length
        fresh = secrets.token_bytes(32) if data is None else data
        return cls(fresh, length, scale=options.scale, manifest=shapes)

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
        return self._checked_match(model)

    def read_tied(self, suspect: Model, tied: Mapping[str, str], **needed: Any) -> Matches:
        """The same, where tied names may find fixed tensors: each of them could have been any tensor.

        Which names are tied decides no place and no value: a claimant may choose it when he knows both.
        """
        return self._tied_match(suspect, tied)

    def read_aligned(self, suspect: Model, tied: Mapping[str, str], **needed: Any) -> Matches:
        """The same of a suspect that was aligned: its scales came back up to rounding."""
        return self._tied_match(suspect, tied, _ROUNDINGS)

    def _tied_match(self, suspect: Model, tied: Mapping[str, str], roundings: int = 0) -> Matches:
        bare, model = as_weights(suspect), under_tied_names(suspect, tied)
        found = self._checked_match(model, roundings)
        if model is suspect:
            return found
        own = set(bare.names)
        lacking = sum(name not in own for name in self.fixed_in(model))
        return replace(found, log10_ties=lacking * math.log10(1 + len(own)))

    def _checked_match(self, model: Model, roundings: int = 0) -> Matches:
        found = self._match(model, roundings)
        odd = list(found.odd.items())[:NAMED_AT_MOST]
        refuse("weights", (f"{n}: expected finite numbers, found {count} that are not" for n, count in odd))
        return found

    def fixed_in(self, model: Model) -> Mapping[str, Fixed]:
        """What is fixed in a model file, by its tensors' names there; errors as of `apply`."""
        weights = as_weights(model)
        fixed = self._fixed_in(self._shapes(weights))
        for name in fixed:
            check_dtype(self.name, name, weights.dtypes[name])
        return fixed

    def entries(self, weights: Weights) -> Mapping[str, Entries]:
        """Places and values by tensor: a model in safetensors files is never loaded whole.

        InputError as of `apply`, or where a place is zero: it was pruned, and must not come back.
        """
        self._settle(self._shapes(weights))
        fixed = self.fixed_in(weights)
        matrices = {n: f for n, f in fixed.items() if len(weights.shapes[n]) >= 2}
        _refuse_pruned([n for n, f in matrices.items() if not weights.take(n, f.places).all()])
        return {n: (f.places, torch.from_numpy(f.values)) for n, f in fixed.items()}

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the watermark in it; InputError as of `apply`, or where a place is pruned."""
        self._settle(self._shapes(as_weights(ticket)))
        fixed, mask = self.fixed_in(ticket), ticket.mask
        _check_dtypes({name: ticket.weights[name] for name in fixed})
        places = {name: torch.from_numpy(f.places) for name, f in fixed.items()}
        _refuse_pruned([n for n, p in places.items() if n in mask and not mask[n].take(p).all()])
        written = {name: ticket.weights[name].clone() for name in fixed}
        for name, f in fixed.items():
            _put(written[name], *_held(written[name], f))
        return signed(ticket, written)

    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> RemovableHandle:
        """Writes the watermark now and after every step of an optimizer, until the handle is removed.

        `with watermark.keep(...):` removes it at the end of the block.
        """
        held = self.bind(model)
        return optimizer.register_step_post_hook(lambda *_: held.put_back())

    def bind(self, model: nn.Module) -> HeldValues:
        """Writes the watermark into a network and returns what writes it again (`training/marks.py`)."""
        parameters = _parameters_of(model, self.manifest)
        for name, p in parameters.items():
            check_bound("freezenet", name, p)
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        self._settle(shapes)
        fixed = self._fixed_in(shapes)
        _check_dtypes({name: parameters[name] for name in fixed})
        return HeldValues([(parameters[name], f) for name, f in fixed.items()])

    def to_json(self) -> dict[str, Any]:
        """The claim's fields, also the data; InputError where it was never used, and so has no manifest."""
        if self.manifest is None:
            expected = "names and shapes of a network"
            raise bad_input("freezenet", "manifest", expected, "none", hint="apply it first")
        return self._json(self.manifest)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Watermark:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        manifest = entry(value, "manifest", dict)
        if odd := [name for name, shape in manifest.items() if not _is_shape(shape)]:
            raise bad_input("claim", f"manifest, {odd[0]}", "a shape", repr(manifest[odd[0]])[:80])
        return cls(
            hexadecimal(value, "data"),
            whole(value, "length"),
            scale=entry(value, "scale", str),
            manifest={name: tuple(shape) for name, shape in manifest.items()},
        )

    def __str__(self) -> str:
        return f"{self.name}, {self.length} values, scale {self.scale}"

    def facts(self, before: Model, after: Model) -> Rows:
        """How many values each tensor got, the most first."""
        largest = sorted(self.fixed_in(after).items(), key=lambda item: -len(item[1].places))
        told = [(name, f"{len(f.places)} values up to {f.bound:.4g}") for name, f in largest[:_SHOWN]]
        if rest := largest[_SHOWN:]:
            told.append((f"{len(rest)} more", f"{sum(len(f.places) for _, f in rest)} values"))
        return told

    def carried_by(self) -> Collection[str]:
        """The tensors that its values may lie in."""
        return tuple(self.manifest or ())

    def remedy(self) -> str:
        """More values."""
        return "a larger --length"

    def _json(self, manifest: Manifest | None) -> dict[str, Any]:
        shapes = None if manifest is None else {n: list(s) for n, s in manifest.items()}
        return {"data": self.data.hex(), "length": self.length, "scale": self.scale, "manifest": shapes}

    def _checked(self, manifest: Manifest) -> Manifest:
        """Names and shapes that the places can be drawn from, in order; errors as of `check_length`."""
        check_length(self.length, manifest)
        if self.scale == LEGACY and (total := size_of(manifest)) > MOST_LEGACY:
            expected = f"at most {MOST_LEGACY} parameters, all of which the legacy stream puts in order"
            raise bad_input(self.name, "network", expected, str(total))
        return {name: tuple(manifest[name]) for name in sorted(manifest)}

    def _settle(self, shapes: Manifest) -> None:
        """Takes the manifest of the first network that it is written into, once and for all."""
        if self.manifest is None:
            self.manifest = self._checked(shapes)

    def _shapes(self, weights: Weights) -> Manifest:
        """Shapes of a model file; without a manifest, of what can be fixed in it."""
        if self.manifest is None:
            return _shapes_of(weights)
        # Without the aliases of tensors that share their memory, which would be choices more.
        names = weights.shapes if self.scale == LEGACY else weights.names
        return {name: weights.shapes[name] for name in names}

    def _fixed_in(self, shapes: Manifest) -> dict[str, Fixed]:
        """What is fixed in a network of these shapes, by its own names."""
        manifest = self.manifest or self._checked(shapes)
        names = self._names_in(shapes, manifest)
        if self._derived[0] != manifest:
            drawn = derive(self.data, self.length, manifest, self.scale) if self.length else {}
            self._derived = manifest, drawn
        return {names[name]: f for name, f in self._derived[1].items()}

    def _names_in(self, shapes: Manifest, manifest: Manifest) -> dict[str, str]:
        """The names of a manifest's tensors in a network; names all that it ought to have and has not."""
        names = names_in(manifest, shapes, self.name)
        found = {name: shapes.get(names.get(name, name)) for name in manifest}
        problems = [
            f"{name}: expected shape {list(shape)}, found {'none' if odd is None else list(odd)}"
            for name, shape in manifest.items()
            if (odd := found[name]) != shape
        ]
        if problems:
            # A name from a claim may hold line breaks.
            raise NotThere(" ".join(f"{self.name}: {some(problems, '; ')}".split()))
        # The legacy stream is laid over the tensors in order: another order would be a choice more.
        if self.scale == LEGACY and [names[name] for name in manifest] != sorted(names.values()):
            raise bad_input(
                self.name, "manifest", "its tensors in the order of the network's names", "another"
            )
        return names

    def _match(self, model: Model, roundings: int = 0) -> Matches:
        if isinstance(model, nn.Module):
            weights: Weights = InMemory(_parameters_of(model, self.manifest))
        else:
            weights = as_weights(model)
        fixed = self.fixed_in(weights)
        if isinstance(weights, InMemory):
            _check_dtypes({name: weights.tensor(name) for name in fixed})
        stands, expected, odd = [np.zeros(0, dtype=bool)], 0.0, {}
        manifest = self.manifest or self._checked(self._shapes(weights))
        for name, f in fixed.items():
            values = weights.take(name, f.places).cpu()
            if bad := int((~values.isfinite()).sum()):
                odd[name] = bad
            off = roundings * torch.finfo(values.dtype).eps
            stands.append(matches(values, f.values, off).numpy())
            expected += float(chances_to_match(values, f.bound, off).sum())
        found, p = sum(int(part.sum()) for part in stands), 0.0
        # So far out, several chances make a thinner tail than their mean would (Hoeffding, 1956).
        if 0 < expected < self.length and found >= expected + 1:
            p = log10_tail(self.length, expected / self.length, found)
        return Matches(
            stands=np.concatenate(stands),
            expected=expected,
            log10_p_here=p,
            total=size_of(manifest),
            scale=self.scale,
            tensors=len(list(model.parameters()) if isinstance(model, nn.Module) else weights.names),
            odd=odd,
            found_as=found_elsewhere(self._names_in(self._shapes(weights), manifest)),
            aligned=roundings > 0,
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
    values = torch.from_numpy(fixed.values).to(tensor)
    return tuple(torch.from_numpy(p).to(tensor.device) for p in places), values


def _put(tensor: Tensor, places: tuple[Tensor, ...], values: Tensor) -> None:
    # Tensor.put_ has no deterministic form, and so fails where the user asks for deterministic algorithms.
    tensor[None].index_put_(places, values)


def _refuse_pruned(names: list[str]) -> None:
    if names:
        found = f"pruned weights in {', '.join(names[:NAMED_AT_MOST])}"
        raise bad_input("model", "weights", "a dense network", found, hint="a ticket carries a qr-code")


def _parameters_of(model: nn.Module, manifest: Manifest | None) -> dict[str, Tensor]:
    """The trainable parameters by plain name, tied ones once; for a manifest all, under each name."""
    named = parameters_of(model, remove_duplicate=manifest is None)
    lazy = {name for name, p in named.items() if is_lazy(p)}
    shapes = {name: () if name in lazy else p.shape for name, p in named.items()}
    plain = plain_names(shapes, of_module=True)
    for there, name in plain.items():
        if there in lazy and (named[there].requires_grad if manifest is None else name in manifest):
            raise bad_input("freezenet", name, "a parameter with a shape", "one not yet initialised")
    taken = {name: named[there] for there, name in plain.items() if there not in lazy}
    if manifest is None:
        taken = {name: p for name, p in taken.items() if p.requires_grad}
        _check_dtypes(taken)
    return taken


def _shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Shapes of what can be fixed in a model file: all its weights, tied ones once, no buffers of norms."""
    return {
        name: shape
        for name, shape in weights.shapes.items()
        if name not in weights.copies
        and weights.dtypes[name].is_floating_point
        and name.rpartition(".")[2] not in _BUFFERS
        and not is_constant(name)
    }


def _check_data(data: object) -> None:
    if not isinstance(data, bytes) or not data:
        found = "none" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise bad_input("freezenet", "data", "1 byte or more", found)


def _check_length(length: object) -> None:
    if isinstance(length, bool) or not isinstance(length, int):
        raise bad_input("freezenet", "length", "a whole number of 0 or more", repr(length)[:80])
    if not 0 <= length < MOST:
        found = "a negative one" if length < 0 else "one of more than 63 bits"
        raise bad_input("freezenet", "length", "a whole number of 0 or more", found)
    if length > MOST_VALUES:
        raise bad_input("freezenet", "length", f"at most {MOST_VALUES}", str(length))


def _manifest_of(weights: Weights, arch: str | None) -> Manifest:
    """What places are drawn from: of `arch` the trainable parameters, else all weights but buffers."""
    if arch is None:
        return _shapes_of(weights)
    # Shapes alone decide: one number stands for all of a tensor.
    shapes = {name: torch.zeros(()).expand(shape) for name, shape in weights.shapes.items()}
    network = build_for(arch, shapes)
    return {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}


def _check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        check_dtype("freezenet", name, tensor.dtype)
        if tensor.is_meta or tensor.layout != torch.strided:
            raise bad_input("freezenet", name, "a dense tensor in memory", "one without values or sparse")


def _is_shape(value: object) -> bool:
    # Bounded, so that a hostile claim cannot have numbers of thousands of digits multiplied.
    if not isinstance(value, list):
        return False
    return len(value) <= 64 and all(type(n) is int and 0 <= n < 2**48 for n in value)
