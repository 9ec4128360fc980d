"""Reading a key mask: the suspect keeps weights that only the key names (NeurIPS'21, 3.3).

The locked ticket is public, the key is not. A network trained from the locked ticket alone has nothing at
the key's positions; one that has nothing to do with it keeps some of them by chance. Only positions outside
the locked mask are looked at: those within are public, and say nothing of the key.

Chance is not one number. Pruning keeps some taps of the kernels, and some channels, more often than others in
every network, so that a key and an honest mask share more than their densities say. Four null models are
tried, and the verdict rests on the largest p: the suspect keeps positions at random within each layer; each
tap (place in the kernel) of a layer; each of its in-channels; each of its out-channels. A liar may have tried
keys until one fitted; 2^64 are paid for (Bonferroni).

A small p says that a difference is there, not that it is large, and of many weights even a bias that no null
model knows is significant. So a size is demanded, too: kept >= max(0.5 K, E + 0.25 (K - E)), where K is the
size of the key and E the largest count that one of the four null models expects (`SHARE`, `WAY`; a multiple
of E would be out of reach where a layer is dense). Measured on the shipped ResNet-20 with keys of 5 % (omp,
ewp, betweenness, random; suspects dense, and pruned to its density): networks of other seeds keep 11 to 26 %
of the key, at most 2 % of the way from E to K; of the same seed, trained anew, up to 37 %, 10 % of the way;
the whole ticket all of it, and after 30 % more pruning still 68 %, 64 % of the way. The ticket's own dense
network keeps 58 to 93 %, 54 % of the way and more: no size tells that from a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import scipy  # `scipy.optimize` takes time to import, and is imported where it is first used
import torch
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import not_there
from ticket_sig.formats.names import found_elsewhere, json_of, names_in, rows_of
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.mask import described
from ticket_sig.select import lowest
from ticket_sig.statistics import LOG10_SECRETS, corrected
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows, Verdict

SHARE, WAY = 0.5, 0.25  # of the key's weights; from what the most generous null model expects to all
_RULED = 32  # numbers of a column tell a rule, half of them not zero
_LEFT = 0.01  # of the sum of squares: what a rule may leave
_RIDGE, _AT_ONCE = 1e-9, 1 << 22
_MOST_TILT = 60.0  # of the exponent in Chernoff's bound; e^60 is beyond every density that a file can hold
# Null models: along which axes of a layer [out, in, taps] positions are alike.
_ALIKE = {"layer": (0, 1, 2), "tap": (0, 1), "in-channel": (0, 2), "out-channel": (1, 2)}
_Classes = list[tuple[int, float]]

_PROVES = (
    "the network keeps the weights that the claim's key names, far beyond chance: it was made with the key, "
    "not from the locked ticket alone"
)
_DOES_NOT_PROVE = (
    "anything, if the key is younger than the suspect: whoever sees a mask can name its weights, so the "
    "claim must be older; nor who made it, if others hold the dense network that the ticket was pruned "
    "from: masks pruned from one network resemble each other, and those of one seed do a little; nor does "
    "'not verified' clear a network: the locked ticket, and what is trained from it alone, holds nothing of "
    "the key (embed a code before the ticket is split)"
)


@dataclass(frozen=True, kw_only=True)
class KeyReading:
    """What a suspect keeps of a key.

    Attributes:
        key_weights, found: weights of the key, and those that are kept.
        expected: how many an unrelated network keeps, by null model.
        log10_p_by: chance of as many, for one key, by null model.
        kept, total: weights of the suspect.
        found_as: names of the key's layers in the suspect, where they are others.
    """

    key_weights: int
    found: int
    expected: Mapping[str, float]
    log10_p_by: Mapping[str, float]
    kept: int
    total: int
    found_as: Mapping[str, str] = field(default_factory=dict)

    message: ClassVar[None] = None
    symbols: ClassVar[None] = None  # a key has no payload

    @property
    def agreement(self) -> float:
        """Share of the claimed payload that is found, 0 to 1."""
        return self.found / self.key_weights

    @property
    def most_expected(self) -> float:
        """The largest number that is expected by chance, over the null models."""
        return max(self.expected.values())

    @property
    def needed(self) -> int:
        """How many are needed, whatever the p-value."""
        n, most = self.key_weights, self.most_expected
        return math.ceil(max(SHARE * n, most + WAY * (n - most)))

    @property
    def log10_p(self) -> float:
        """The largest p-value of all null models, corrected for 2^64 keys."""
        return corrected(max(self.log10_p_by.values()), LOG10_SECRETS)

    def rows(self) -> Rows:
        """What it rests on, for people."""
        return [
            ("expected by chance, at most", f"{self.most_expected:.1f}"),
            ("needed, whatever the p-value", self.needed),
            ("weights kept", f"{self.kept} of {self.total}"),
            *rows_of(self.found_as),
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "key_weights": self.key_weights,
            "key_weights_kept": self.found,
            "key_weights_needed": self.needed,
            "expected_by_chance": round(self.most_expected, 1),
            "expected_by": {name: round(count, 1) for name, count in self.expected.items()},
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": {name: round(value, 3) for name, value in self.log10_p_by.items()},
            "log10_keys_tried": round(LOG10_SECRETS, 3),
            "kept": self.kept,
            "total": self.total,
            **json_of(self.found_as),
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value and by how much of the key is kept."""
        return Verdict(
            mark="key-mask",
            reading=self,
            statistic=f"{self.found} of {self.key_weights} weights of the key are kept",
            proves=_PROVES,
            does_not_prove=_DOES_NOT_PROVE,
            lacking="" if self.found >= self.needed else f"{self.needed} weights of the key, kept",
            holds_if="holds if the claim is older than the suspect",
        )


def read_key(ticket: Ticket, key: Key, locked: Ticket) -> KeyReading:
    """Counts what a suspect keeps of a key, by its weights, and what each null model expects.

    Raises:
        InputError: the suspect lacks one of the key's layers, has it in another shape, or has several
            tensors that could be it.
    """
    shapes = {name: w.shape for name, w in ticket.weights.items()}
    names = names_in({name: locked.mask[name].shape for name in key.positions}, shapes)
    found, nulls = _counted(ticket, key, locked, names)
    return KeyReading(
        key_weights=len(key),
        found=found,
        expected={name: sum(n * density for n, density in classes) for name, classes in nulls.items()},
        log10_p_by={name: log10_p_overlap(classes, found) for name, classes in nulls.items()},
        kept=ticket.mask.kept,
        total=ticket.mask.total,
        found_as=found_elsewhere(names),
    )


def kept_as(weights: Tensor, count: int) -> Tensor:
    """Reads a mask of at most `count` kept weights off a layer, the largest: boolean, of its shape.

    A number added to every pruned weight hides nothing as long as it is smaller than the weights. A magnitude
    that most of those read share was not trained: it is a buffer's (a causal mask), which every network of
    this kind has, or it was put there. It is no evidence, and such weights are read as pruned. So are
    columns and rows in which each number follows from the two before it.
    """
    sizes = weights.detach().cpu().abs().double().flatten()
    kept = sizes > 0
    if (surplus := int(kept.sum()) - count) > 0:
        inside = kept.nonzero().flatten()
        kept[inside[lowest(sizes[inside], surplus)]] = False
    values, times = np.unique(sizes[kept].numpy(), return_counts=True)
    if len(values) and 2 * int(times.max()) > max(2, int(kept.sum())):
        kept &= sizes != float(values[times.argmax()])
    if not kept.any():
        return kept.view(weights.shape)
    matrix = weights.detach().cpu().flatten(1)
    ruled = _follows_a_rule(matrix)[None] | _follows_a_rule(matrix.T)[:, None]
    return (kept.view(matrix.shape) & ~ruled).view(weights.shape)


def _follows_a_rule(matrix: Tensor) -> Tensor:
    """Which columns of [n, columns] were computed, not trained: x[i] = a x[i - 1] + b x[i - 2]; boolean.

    Such are sinusoids of positions, ramps, windows: buffers that every network of a kind has. Least squares;
    what is left is held against the column alone, so that a thief's large numbers elsewhere hide nothing.
    """
    if len(matrix) < _RULED:
        return torch.zeros(matrix.shape[1], dtype=torch.bool)
    found = []
    for part in torch.split(matrix, max(1, _AT_ONCE // len(matrix)), dim=1):
        part = part.double() / part.double().abs().amax(0).clamp(min=1e-300)
        x, one, two = part[2:], part[1:-1], part[:-2]
        (xx, x1, x2), (s1, s2, s12) = (
            [(a * b).sum(0) for a, b in pairs]
            for pairs in (((x, x), (x, one), (x, two)), ((one, one), (two, two), (one, two)))
        )
        s1, s2 = s1 * (1 + _RIDGE), s2 * (1 + _RIDGE)
        told = (x1**2 * s2 - 2 * x1 * x2 * s12 + x2**2 * s1) / (s1 * s2 - s12**2).clamp(min=1e-300)
        found.append(((x != 0).sum(0) >= _RULED // 2) & (xx - told <= _LEFT * xx))
    return torch.cat(found)


def _counted(
    ticket: Ticket, key: Key, locked: Ticket, names: Mapping[str, str]
) -> tuple[int, dict[str, _Classes]]:
    """The key's weights that a suspect keeps, and (positions of the key, density) by null model.

    Args:
        names: of the key's layers in the suspect.
    """
    found, seen = 0, set[str]()
    nulls: dict[str, _Classes] = {name: [] for name in _ALIKE}
    for name, positions in key.positions.items():
        public = locked.mask[name]
        weights = _layer(ticket, name, names.get(name, name), public)
        kept = kept_as(weights, int(public.sum()) + len(positions))
        digest = tensor_digest({"": weights})
        if digest in seen:  # tied: it counts once
            kept.zero_()
        seen.add(digest)
        in_key = torch.zeros_like(public).flatten().index_fill(0, positions, True).view_as(public)
        found += int((in_key & kept).sum())
        for null, classes in alike(in_key, kept & ~public, ~public).items():
            nulls[null] += classes
    return found, nulls


def _layer(ticket: Ticket, name: str, there: str, public: Tensor) -> Tensor:
    if (weights := ticket.weights.get(there)) is None:
        raise not_there("model", "layer", f"the key's {name}", "none of that name")
    if weights.shape != public.shape or not weights.is_floating_point():
        expected = f"weights {list(public.shape)}, as the locked ticket's"
        raise not_there("model", name, expected, described(weights))
    return weights


def alike(in_key: Tensor, kept: Tensor, outside: Tensor) -> dict[str, _Classes]:
    """What each null model takes of one layer, for `log10_p_overlap`.

    Args:
        in_key, kept, outside: boolean, of the layer's shape: positions that are looked for, those of them and
            others that are kept, and all that there are to choose from.

    Returns:
        By null model, for each class of positions that it takes as alike and in which some are looked for:
        how many are, and the share of all that is kept.
    """
    return {null: _classes(in_key, kept, outside, axes) for null, axes in _ALIKE.items()}


def _classes(in_key: Tensor, kept: Tensor, outside: Tensor, axes: tuple[int, ...]) -> _Classes:
    shape = (*in_key.shape[:2], -1)
    counts = [t.reshape(shape).sum(axes, dtype=torch.float64).flatten() for t in (in_key, kept, outside)]
    there = counts[0] > 0
    numbers, densities = counts[0][there].long(), counts[1][there] / counts[2][there]
    return list(zip(numbers.tolist(), densities.tolist(), strict=True))


def log10_p_overlap(layers: Sequence[tuple[int, float]], found: int) -> float:
    """log10 of the chance that at least `found` of a key's positions are kept in a mask drawn at random.

    Chernoff's bound for the sum over layers; a hypergeometric count is bounded by the binomial one
    (Hoeffding, 1963, theorem 4), so that this is never less than the true chance.

    Args:
        layers: (positions of the key, density of the suspect's mask) of each layer, or part of one.
    """
    numbers, densities = np.array(layers, dtype=np.float64).reshape(-1, 2).T
    if found <= float(numbers @ densities):
        return 0.0
    if found == numbers.sum():
        return float(numbers @ np.log10(densities))

    def exponent(tilt: float) -> float:
        return float(numbers @ np.log1p(densities * math.expm1(tilt))) - tilt * found

    best = scipy.optimize.minimize_scalar(exponent, bounds=(0.0, _MOST_TILT), method="bounded")
    return min(0.0, exponent(float(best.x)) / math.log(10))
