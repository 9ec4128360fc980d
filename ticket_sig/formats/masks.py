"""Pruning masks as files hold them: which entries are masks, of which weights, and whether they fit.

Beside their weights: `torch.nn.utils.prune` (`X_orig` + `X_mask`, or `X` + `X_mask`) and `parametrize`
(`parametrizations.X.original` + `parametrizations.X.0.mask`), `X.mask`, open_lth's `mask_X___weight`. Apart
from them: under any of these names, or under those of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.errors import refuse
from ticket_sig.formats.names import names_in
from ticket_sig.ticket import ties

_PARAMETRIZED = re.compile(
    r"(?P<layer>.*\.|)parametrizations\.(?P<name>\w+)\.(?:original|\d+\.(?P<mask>\w*mask))"
)


@dataclass(frozen=True)
class GivenMask:
    """A mask as it was found: the name of its entry, of its weight, its values, and the file or key."""

    entry: str
    weight: str
    mask: Tensor
    where: object


def may_hold_masks(names: Iterable[str]) -> bool:
    """Whether names of a file may be of masks beside their weights."""
    listed = set(names)
    return _alone(listed) or any(
        name.endswith("_orig")
        or _PARAMETRIZED.fullmatch(name)
        or ((weight := weight_of(name)) is not None and (weight in listed or is_surely_mask(name)))
        for name in listed
    )


def _alone(names: Collection[str]) -> bool:
    """Whether masks stand for the network, without weights beside them (the NeurIPS'21 code's)."""
    return bool(names) and all(name.endswith("_mask") for name in names)


def weight_of(entry: str) -> str | None:
    """The weight that an entry would be the mask of, by its name; None where that is no mask's."""
    if found := _PARAMETRIZED.fullmatch(entry):
        return f"{found['layer']}{found['name']}" if found["mask"] else None
    layer, _, last = entry.rpartition(".")
    if last.endswith("_mask"):
        return entry.removesuffix("_mask")
    if last.startswith("mask_"):  # open_lth
        rest = last.removeprefix("mask_").replace("___", ".")
        return f"{layer}.{rest}" if layer else rest
    if last == "mask" and layer:
        return layer if layer.endswith(("weight", "bias")) else f"{layer}.weight"
    return None


def is_surely_mask(entry: str) -> bool:
    """Whether the name alone tells that an entry is the mask of a weight, not a buffer of the model."""
    if weight_of(entry) is None:
        return False
    last = entry.rpartition(".")[2]
    named = (last.startswith("mask_") and "___" in last) or last in ("weight_mask", "bias_mask")
    of_one = f".{entry}".endswith((".weight.mask", ".bias.mask"))
    return named or of_one or bool(_PARAMETRIZED.fullmatch(entry))


def _plain_of(entry: str) -> str:
    """The plain name of a weight that stands beside its mask: X for X_orig."""
    found = _PARAMETRIZED.fullmatch(entry)
    return f"{found['layer']}{found['name']}" if found and not found["mask"] else entry.removesuffix("_orig")


def masks_beside(state: Mapping[str, Tensor], where: object) -> list[GivenMask]:
    """The pruning masks among the entries of a state dict, each with the weight that it is of.

    Raises:
        InputError: the weight of a mask is not there, or the mask of a weight `X_orig`.
    """
    masks = _masks_among(state)
    if _alone(state):
        return [GivenMask(entry, weight, state[entry], where) for entry, weight in masks.items()]
    shapes = {_plain_of(name): t.shape for name, t in state.items() if name not in masks}
    # open_lth keeps them outside the module that they mask.
    outside = {weight: state[entry].shape for entry, weight in masks.items() if weight not in shapes}
    elsewhere = names_in(outside, shapes, where)
    lost = [
        f"{weight}: expected beside {entry}, not found"
        for entry, weight in masks.items()
        if weight in outside and weight not in elsewhere
    ]
    of = {entry: elsewhere.get(weight, weight) for entry, weight in masks.items()}
    pruned = [n.removesuffix("_orig") for n in state if masks and n.endswith("_orig")]
    masked = set(of.values())
    # Spectral normalisation has an X_orig too, with an X_u beside it.
    unmasked = [n for n in pruned if n not in masked and f"{n}_u" not in state]
    refuse(where, lost + [f"{n}_mask: expected beside {n}_orig, not found" for n in unmasked])
    return [GivenMask(entry, weight, state[entry], where) for entry, weight in of.items()]


def _masks_among(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Which entries are pruning masks, and of which weights by their names: {entry: weight}.

    Others called mask are buffers of the model. An entry is a mask where its name says so, where all entries
    are called so, or where it could be the mask of a weight beside it (`_could_be`).
    """
    alone, homes = _alone(state), {_plain_of(name): name for name in state}
    claimed = {entry: weight for entry in state if (weight := weight_of(entry)) is not None}
    sure = {
        entry
        for entry, weight in claimed.items()
        if alone or is_surely_mask(entry) or homes.get(weight, weight) != weight
    }
    beside = {weight: state[home] for weight, home in homes.items() if home not in sure}
    return {
        entry: weight
        for entry, weight in claimed.items()
        if entry in sure or (weight in beside and _could_be(state[entry], beside[weight]))
    }


def _could_be(mask: Tensor, weight: Tensor) -> bool:
    """Whether a buffer may be the pruning mask of a weight: it holds 0 and 1 alone, in the weight's shape.

    Where the weight is not zero under it, it may be a mask of places instead, causal or of a window, of a
    weight that is itself a map of places (token mixing): such a mask is alike along its diagonals.
    """
    if mask.shape != weight.shape or not _is_0_or_1(mask):
        return False
    matrix = mask.squeeze()
    of_places = matrix.ndim == 2 and torch.equal(matrix[1:, 1:], matrix[:-1, :-1])
    return not of_places or not weight[mask == 0].any()


def merged(state: Mapping[str, Tensor], masks: list[GivenMask]) -> dict[str, Tensor]:
    """Every tensor under its plain name, in the file's order; a mask without weights stands for them."""
    masked, entries = {one.weight for one in masks}, {one.entry: one for one in masks}
    there = {_plain_of(name) for name in state if name not in entries}
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if (one := entries.get(name)) is None:
            weights[plain if (plain := _plain_of(name)) in masked else name] = tensor
        elif one.weight not in there:
            weights[one.weight] = tensor.float()
    return weights


def masks_apart(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: object) -> list[GivenMask]:
    """Masks that lie apart from their weights, each with the weight that it is of; all others are refused."""
    named = {entry: entry if entry in weights else weight_of(entry) or entry for entry in masks}
    shapes = {name: w.shape for name, w in weights.items()}
    found = names_in({named[entry]: mask.shape for entry, mask in masks.items()}, shapes, where)
    lost = [entry for entry, name in named.items() if name not in found and name not in weights]
    refuse(where, (f"{name}: expected a tensor of the model of that name, found none" for name in lost))
    return [GivenMask(entry, found.get(name, name), masks[entry], where) for entry, name in named.items()]


def checked_masks(masks: list[GivenMask], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks as booleans, each by the first name of its weight.

    Raises:
        InputError: other values than 0 and 1, another shape, or two masks of one weight that differ.
    """
    tied, kept, known = ties(weights), dict[str, Tensor](), dict[str, GivenMask]()
    for where in dict.fromkeys(one.where for one in masks):
        problems = []
        for one in (one for one in masks if one.where == where):
            name, shape = tied.get(one.weight, one.weight), weights[one.weight].shape
            if not _is_0_or_1(one.mask):
                other = int(((one.mask != 0) & (one.mask != 1)).sum())
                problems.append(f"{one.entry}: expected 0 and 1 only, found {other} other values")
            if one.mask.shape != shape:
                problems.append(f"{one.entry}: expected shape {list(shape)}, found {list(one.mask.shape)}")
            elif not torch.equal(kept.setdefault(name, one.mask != 0), one.mask != 0):
                first = known[name]
                problems.append(f"{one.entry}: expected the mask that {first.entry} is, found another")
            known.setdefault(name, one)
        refuse(where, problems)
    return kept


def _is_0_or_1(mask: Tensor) -> bool:
    return bool(((mask == 0) | (mask == 1)).all())
