"""Which tensor of a suspect is which of the reference; and how it was stored, undone.

Undone are: names, prefixes and order of tensors; kernels stored larger, with zeros around them; batch norms
fused with their layer, or split from it; a layer written as two; the whole network mirrored or transposed.
Widths stay as the suspect's (`reduction` merges channels).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import log10

import torch
from torch import Tensor

from ticket_sig.errors import InputError, bad_input, some
from ticket_sig.recovery.candidates import SYMMETRIES, Candidate, Slot
from ticket_sig.recovery.known import Known
from ticket_sig.recovery.normed import affine_of
from ticket_sig.recovery.parts import Part, parts_of
from ticket_sig.recovery.reference import UNSIGNED, Reference
from ticket_sig.recovery.undone import Undone
from ticket_sig.recovery.walk import DOUBTFUL, Walk, Walked

_MORE = 64  # layers and batch norms that a suspect may have beyond four times the reference's
_SLIGHT = 1e-4  # of a layer's rows: a bias that rounding left
_WAYS = 10  # times the reference's layers may be looked for, before the first way is taken


@dataclass(frozen=True)
class Matched:
    """A suspect under the reference's names.

    Attributes:
        weights: all tensors of the reference, in the suspect's widths.
        undone: what was done to storage.
        log10_choices: of the parts and symmetries that were compared.
    """

    weights: dict[str, Tensor]
    undone: tuple[Undone, ...]
    log10_choices: float


def matched(weights: Mapping[str, Tensor], reference: Reference, without: Collection[str] = ()) -> Matched:
    """Finds the reference's tensors in a suspect.

    Args:
        weights: of the suspect, finite.
        reference: with a graph.
        without: names of layers (with or without `.weight`) that take no part in choosing: what is in them is
            not looked at, only their shapes.

    Raises:
        InputError: the suspect lacks layers, or has far too many; or several are of the shape of one that
            takes no part, or others read what that one writes, so that it would have to be looked at.
    """
    layers, norms = parts_of(weights)
    known = Known(reference, without)
    if read := known.read_on():
        expected = "no mark in layers that others read, where layers are looked for"
        raise bad_input("reference", "network", expected, some(read, at_most=1), hint=UNSIGNED)
    for found, most, what in (
        (layers, 4 * len(known.layers) + _MORE, "layers"),
        (norms, 4 * known.norms_from(0) + _MORE, "batch norms"),
    ):
        if len(found) > most:
            raise bad_input("suspect", what, f"at most {most}, for this reference", str(len(found)))
    if len(layers) < len(known.layers):
        raise bad_input("suspect", "layers", f"{len(known.layers)}, as the reference", str(len(layers)))
    walked = _walked(layers, norms, known)
    return _Named(weights, reference, known, walked).matched()


def _walked(layers: list[Part], norms: list[Part], known: Known) -> Walked:
    """The walk under the symmetry under which the first kernels of several taps are most alike.

    Where it leads to a layer that is lacking, or hardly alike, other ways are tried: other parts for layers
    before it, then other symmetries. If none leads on, it is the first way that is taken.

    Raises:
        InputError: layers are lacking, whatever the symmetry.
    """
    begun: list[tuple[float, Walk, Iterator[Slot | None]]] = []
    problem: InputError | None = None
    for symmetry in range(SYMMETRIES):
        walk = Walk(layers, norms, known, symmetry)
        steps = walk.steps()
        try:
            spatial = next((slot for slot in steps if slot is not None and slot.spatial), None)
        except InputError as error:
            problem = problem or error
            continue
        begun.append((walk.walked.scores[str(spatial.link.name)] if spatial else 1.0, walk, steps))
        if spatial is None:
            break
    if not begun:
        assert problem is not None
        raise problem
    begun.sort(key=lambda one: -one[0])
    ways = _Ways(layers, norms, known)
    found = next(filter(None, (ways.onward(walk.walked.symmetry) for _, walk, _ in begun)), None)
    if found is None:
        _, found, steps = begun[0]
        for _ in steps:  # goes on behind the first kernels of several taps
            pass
    found.walked.log10_choices += log10(1 + SYMMETRIES)  # one of all, or the first way under the best
    return found.walked


class _Ways:
    """Walks that go back where they lead nowhere: to the last thing that could be another.

    Another part is taken for it, which is one of those that the walk counts; or a batch norm is fused.
    """

    def __init__(self, layers: list[Part], norms: list[Part], known: Known) -> None:
        self._parts, self._known = (layers, norms), known
        self._place = {str(link.name): place for place, link in enumerate(known.graph.links)}
        self._left = _WAYS * len(known.layers)  # layers that may still be looked for

    def onward(self, symmetry: int) -> Walk | None:
        """A walk on which every layer is alike; None where none is found in half of the time that is left."""
        tried = dict[str, set[tuple[Part, ...]]]()
        end = self._left / 2
        while self._left > end:
            walk = Walk(*self._parts, self._known, symmetry, tried)
            if self._leads_on(walk):
                return walk
            # Where a batch norm is lacking, one that was found may be it.
            lacking = walk.lacks_norm and bool(walk.unsure)
            if not (doubts := walk.unsure if lacking else walk.doubts):
                return None
            last = doubts[-1]
            tried = {name: parts for name, parts in tried.items() if self._place[name] <= self._place[last]}
            if lacking:
                tried[last] = {(norm,) for norm in self._parts[1]}  # what is left is that it was fused
            else:
                tried.setdefault(last, set()).add(walk.taken(last))
        return None

    def _leads_on(self, walk: Walk) -> bool:
        """Goes to the end of a walk, or to where it leads nowhere."""
        try:
            for slot in filter(None, walk.steps()):
                self._left -= 1
                name = str(slot.link.name)
                if name not in self._known.marked and walk.walked.scores[name] < DOUBTFUL:
                    return False
        except InputError:
            self._left -= 1
            return False
        return True


class _Named:
    """Gives the parts the reference's names."""

    def __init__(
        self, weights: Mapping[str, Tensor], reference: Reference, known: Known, walked: Walked
    ) -> None:
        self._weights, self._reference, self._known, self._walked = weights, reference, known, walked
        self._new: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        self._used: set[str] = set()
        self._left_out = 0  # biases that have no place in the reference
        # Of layers that have none in the reference, by the name of the batch norm behind them.
        self._biases: dict[str, Tensor] = {}

    def matched(self) -> Matched:
        """All of the reference's tensors."""
        behind = self._norms_behind()
        for name, (candidate, slot) in self._walked.layers.items():
            self._layer(name, candidate, slot, behind.get(name))
        for name, part in self._walked.norms.items():
            self._norm(name, part)
        self._others()
        order = self._reference.ticket.weights
        new = {name: self._new[name] for name in order}
        return Matched(new, tuple(self._undone()), self._walked.log10_choices)

    def _norms_behind(self) -> dict[str, str]:
        """The batch norm that follows a layer in the reference, by the layer's name."""
        links = self._known.graph.links
        read = {tuple(k.tails.flatten().tolist()): str(k.name) for k in links if k.norm}
        behind = {k.name: read.get(tuple(k.heads.flatten().tolist())) for k in links if k.name and not k.norm}
        return {str(name): norm for name, norm in behind.items() if norm is not None}

    def _layer(self, name: str, candidate: Candidate, slot: Slot, behind: str | None) -> None:
        """A layer's weight and bias; one that the reference has not is left to the batch norm behind it."""
        weight, bias = candidate.weight(slot), candidate.bias
        for part in candidate.parts:
            self._used |= set(part.tensors.values())
        if (norm := self._walked.split.get(name)) is not None:
            weight, bias = _folded(weight, bias, norm, slot)
            self._used |= set(norm.tensors.values())
        elif len(candidate.parts) == 1 and not candidate.padded:
            self._call(name, candidate.parts[0], "weight")
        self._new[name] = weight.to(candidate.parts[0].weight.dtype)
        own = self._known.names(name).get("bias")
        if own is not None:
            if bias is None:
                bias = self._known.weights[own].new_zeros(_outputs(weight, slot))
            elif name not in self._walked.split and len(candidate.parts) == 1:
                self._call(own, candidate.parts[0], "bias")
            self._new[own] = bias.to(self._new[name].dtype)
        elif bias is not None and behind is not None:
            self._biases[behind] = bias
        elif bias is not None:
            large = bias.abs().max() > _SLIGHT * weight.double().flatten(1).norm(dim=1).mean()
            self._left_out += int(large)

    def _norm(self, name: str, part: Part | None) -> None:
        """A batch norm as it is, or one that passes on what the layer it was fused with writes."""
        names = self._known.names(name)
        bias = self._biases.get(name)
        if part is None:
            width = self._width_at(name)
            some_value = next(iter(self._new.values()))
            shift = torch.zeros(width, dtype=torch.float64) if bias is None else bias.double()
            values = {
                "weight": torch.ones(width, dtype=torch.float64),
                "bias": shift,
                "running_mean": torch.zeros_like(shift) if "bias" in names else -shift,
                "running_var": torch.full_like(shift, 1 - self._known.eps(name)),
            }
            values = {role: t.to(some_value.dtype) for role, t in values.items()}
        else:
            values = dict(part.values)
            values.setdefault("weight", torch.ones_like(values["running_var"]))
            values.setdefault("bias", torch.zeros_like(values["running_var"]))
            if bias is not None:
                mean = values["running_mean"]
                values["running_mean"] = (mean.double() - bias.double()).to(mean.dtype)
            self._used |= set(part.tensors.values())
            for role, own in names.items():
                if role in part.tensors and (role != "running_mean" or bias is None):
                    self._call(own, part, role)
        self._new |= {own: values[role] for role, own in names.items()}

    def _width_at(self, name: str) -> int:
        """How many channels a batch norm has that is fused: as many as the layers write that it follows."""
        link = next(k for k in self._known.graph.links if k.norm and k.name == name)
        heads = link.tails.flatten()
        for other, (_, slot) in self._walked.layers.items():
            if torch.equal(slot.link.heads.flatten(), heads):
                return _outputs(self._new[other], slot)
        raise bad_input("suspect", name, "a batch norm behind several layers", "none")

    def _others(self) -> None:
        """Tensors that no layer has: under their name, or the first of their shape that is left."""
        left = {name: t for name, t in self._weights.items() if name not in self._used}
        lacking = []
        for name, own in self._reference.ticket.weights.items():
            if name in self._new:
                continue
            fit = [
                n
                for n, t in left.items()
                if t.shape == own.shape and t.dtype.is_floating_point == own.dtype.is_floating_point
            ]
            found = name if name in fit else next(iter(fit), None)
            if found is not None:
                self._new[name] = left.pop(found)
                self._names[name] = found
            elif not own.is_floating_point() and not own.ndim:
                self._new[name] = own  # a counter: the only thing that is not the suspect's
            else:
                lacking.append(name)
        if lacking:
            raise bad_input("suspect", "tensors", "all of the reference", f"none for {some(lacking)}")

    def _call(self, name: str, part: Part, role: str) -> None:
        self._names[name] = part.tensors[role]

    def _undone(self) -> list[Undone]:
        """What was done to storage."""
        walked = self._walked
        candidates = [candidate for candidate, _ in walked.layers.values()]
        turned = "transposed" if walked.symmetry == 4 else "mirrored"
        counts = [
            ("renamed", sum(name != found for name, found in self._names.items()), "tensors"),
            ("kernels padded", sum(c.padded for c in candidates), "layers"),
            ("linear chain folded", sum(len(c.parts) > 1 for c in candidates), "layers"),
            ("norms fused", sum(part is None for part in walked.norms.values()), "layers"),
            ("norms split", len(walked.split), "layers"),
            ("biases left out", self._left_out, "layers"),
            (turned, sum(c.turned for c in candidates), "layers"),
        ]
        return [Undone(what, count, of) for what, count, of in counts if count]


def _outputs(weight: Tensor, slot: Slot) -> int:
    """How many channels a layer of the suspect writes."""
    return int(weight.shape[1 if slot.link.transposed else 0])


def _folded(weight: Tensor, bias: Tensor | None, norm: Part, slot: Slot) -> tuple[Tensor, Tensor]:
    """A layer's weight and bias with the batch norm behind it in them."""
    affine = affine_of(norm.values)
    axis = 1 if slot.link.transposed else 0
    scale = affine.scale.reshape([-1 if n == axis else 1 for n in range(weight.ndim)])
    shift = affine.shift if bias is None else affine.shift + affine.scale * bias.double()
    return weight.double() * scale, shift
