"""The parts of a suspect: which of its tensors belong to one layer or batch norm, under any names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ticket_sig.models.graph import PARTS

# What the tensors of a part are called, in PyTorch and elsewhere; the first of each is PyTorch's.
_CALLED = {
    "weight": ("weight", "kernel", "w", "gamma", "scale"),
    "bias": ("bias", "b", "beta", "offset"),
    "running_mean": ("running_mean", "moving_mean", "mean"),
    "running_var": ("running_var", "moving_variance", "moving_var", "variance", "var"),
}
_ROLES = {called: role for role, names in _CALLED.items() for called in names}


@dataclass(frozen=True, eq=False)
class Part:
    """The tensors of one layer, or of one batch norm.

    Attributes:
        name: what their names begin with, or the name of the first.
        tensors: {role: name in the suspect}; roles are `weight`, `bias`, `running_mean` and `running_var`.
        values: the same tensors by role.
    """

    name: str
    tensors: Mapping[str, str]
    values: Mapping[str, Tensor]

    @property
    def is_norm(self) -> bool:
        """Whether it is a batch norm: it has statistics."""
        return "running_var" in self.values

    @property
    def weight(self) -> Tensor:
        """Of a layer: [out, in, ...]."""
        return self.values["weight"]

    @property
    def width(self) -> int:
        """How many channels a batch norm has; of a layer its first dimension."""
        return int(self.values["running_var" if self.is_norm else "weight"].shape[0])


def parts_of(weights: Mapping[str, Tensor]) -> tuple[list[Part], list[Part]]:
    """The layers and the batch norms of a suspect, in the order of its tensors.

    Tensors of one module have a name in common, up to the last dot. Where names tell nothing of the kind, a
    matrix begins a layer, and the vectors behind it are its bias, or a batch norm's. Other tensors (counters,
    weights of other modules) are passed over.
    """
    grouped = defaultdict[str, list[str]](list)
    for name, t in weights.items():
        if t.ndim and t.is_floating_point() and t.numel():
            grouped[name.rpartition(".")[0]].append(name)
    layers, norms = list[Part](), list[Part]()
    for prefix, names in grouped.items():
        known = _by_names(prefix, names, weights)
        for part in [known] if known else _by_order(_counted(names), weights):
            (norms if part.is_norm else layers).append(part)
    return layers, norms


def _by_names(prefix: str, names: list[str], weights: Mapping[str, Tensor]) -> Part | None:
    """One part, where every tensor is called as in a module; else None."""
    roles = {_ROLES.get(name.rpartition(".")[2].lower()): name for name in names}
    if None in roles or len(roles) < len(names):
        return None
    held = {str(role): name for role, name in roles.items()}
    values = {role: weights[name] for role, name in held.items()}
    vectors = [t for role, t in values.items() if role != "weight" or "running_var" in values]
    if "running_var" in values:
        widths = {t.shape for t in vectors}
        one = len(widths) == 1 and vectors[0].ndim == 1
        return Part(prefix, held, values) if one and "running_mean" in values else None
    if "weight" in values and values["weight"].ndim >= 2 and all(_fits(t, values["weight"]) for t in vectors):
        return Part(prefix, held, values)
    return None


def _fits(bias: Tensor, weight: Tensor) -> bool:
    """Whether a vector can be a layer's bias; a transposed convolution's outputs come second."""
    return bias.ndim == 1 and len(bias) in (weight.shape[:2] if weight.ndim > 2 else weight.shape[:1])


def _counted(names: Sequence[str]) -> list[str]:
    """The names in the order of their numbers, where they are sorted as texts and differ in numbers alone."""
    parts = [re.split(r"(\d+)", name) for name in names]
    texts = {tuple(part[::2]) for part in parts}
    if list(names) != sorted(names) or len(texts) > 1:
        return list(names)
    numbers = {name: [n.lstrip("0") for n in re.findall(r"\d+", name)] for name in names}
    return sorted(names, key=lambda name: [(len(n), n) for n in numbers[name]])  # as `int`, of any length


def _by_order(names: Iterable[str], weights: Mapping[str, Tensor]) -> list[Part]:
    """The parts of tensors whose names tell nothing: by their dimensions and their order."""
    parts, vectors = list[Part](), list[str]()

    def close() -> None:
        """Makes parts of the vectors in a row: a bias, if one is over, and batch norms."""
        nonlocal vectors
        last = parts[-1] if parts and not parts[-1].is_norm and "bias" not in parts[-1].tensors else None
        if len(vectors) % 4 == 1 and last is not None and _fits(weights[vectors[0]], last.weight):
            bias, *vectors = vectors
            parts.pop()
            held = {**last.tensors, "bias": bias}
            parts.append(Part(last.name, held, {role: weights[n] for role, n in held.items()}))
        for first in range(0, len(vectors) - 3, 4):
            four = dict(zip(PARTS, vectors[first : first + 4], strict=True))
            values = {role: weights[n] for role, n in four.items()}
            if bool((values["running_var"] >= 0).all()):
                parts.append(Part(four["weight"], four, values))
        vectors = []

    for name in names:
        if weights[name].ndim >= 2:
            close()
            parts.append(Part(name, {"weight": name}, {"weight": weights[name]}))
            continue
        if vectors and weights[name].shape != weights[vectors[-1]].shape:
            close()
        vectors.append(name)
    close()
    return parts
