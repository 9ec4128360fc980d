"""Holding the number of kept weights while a code is written: which weights come back, and which go.

The nearest first: the light kernels of the code, then the rest of the layer, then all other layers. No
module of the code changes. The function patterns count as the rest of the layer: emptied or filled
before it, the three finders would show. Source: NeurIPS'21, section 3.4, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.marks.qr_code.qr import Bits
from ticket_sig.prf import keyed_words
from ticket_sig.select import lowest
from ticket_sig.ticket import Ticket

Scores = NDArray[np.float64]


def appeal(ticket: Ticket, name: str, key: bytes) -> Scores:
    """How welcome each weight of a layer is back, [out, in, kernel size], in [0, 1).

    By rewind magnitude, or by the key where that is not known. Algorithm 2 takes a random position;
    a large rewind weight costs no more accuracy and outlives more pruning.
    """
    shape = (*ticket.mask[name].shape[:2], -1)
    if ticket.rewind is None:
        return (keyed_words(key, f"position {name}", ticket.mask[name].numel()) / 2.0**64).reshape(shape)
    sizes = _magnitudes(ticket.rewind[name])
    return np.asarray(sizes / (1 + sizes.max(initial=0.0)))


def add_weights(
    count: int, ticket: Ticket, kept: Mapping[str, Bits], place: Placement, code: qr.QRCode, key: bytes
) -> None:
    """Puts back `count` pruned weights, in place.

    First in light kernels, those with the fewest weights first: a kernel that must be seen should
    not hang on one weight. Then by appeal alone.

    Args:
        kept: masks by layer, [out, in, kernel size].

    Raises:
        InputError: not that many weights are pruned.
    """
    name, layer = place.layer, kept[place.layer]
    preferred = appeal(ticket, name, key)
    # Within a kernel the best position is rank 0; it would join as many weights as the kernel has now,
    # the second best one more: [0, 1, 1] kept with preference [.9, .1, .2] -> occupancy [2, -, -].
    rank = np.where(layer, np.inf, -preferred).argsort(-1).argsort(-1)
    occupancy = layer.sum(-1, dtype=np.int64)[..., None] + rank
    carriers, rest = _zones(layer, place, code)
    for scores, zone in ((occupancy - preferred, carriers), (-preferred, rest)):
        count = _switch(count, True, kept, {name: scores}, {name: zone & ~layer})
    if count:
        free = {other: ~k for other, k in kept.items() if other != name}
        count = _switch(count, True, kept, {other: -appeal(ticket, other, key) for other in free}, free)
    if count:
        hint = "the model is too dense to be signed at its number of weights; prune it first (--prune 0.8), "
        hint += "or give its mask where that lies in another file (--mask FILE)"
        expected = f"{count} more, to put back as many as the code removes"
        raise bad_input("mask", "pruned weights", expected, "none left", hint=hint)


def remove_weights(
    count: int, ticket: Ticket, kept: Mapping[str, Bits], place: Placement, code: qr.QRCode
) -> None:
    """Removes `count` kept weights, the smallest first, in place; InputError where not that many can go."""
    name, layer = place.layer, kept[place.layer]
    sizes = _magnitudes(ticket.weights[name])
    # A light kernel keeps its largest weight, and so stays light.
    largest = np.where(layer, sizes, -1).argmax(-1)[..., None] == np.arange(layer.shape[-1])
    carriers, rest = _zones(layer, place, code)
    for zone in (carriers & ~largest, rest):
        count = _switch(count, False, kept, {name: sizes}, {name: zone & layer})
    if count:
        free = {other: k.copy() for other, k in kept.items() if other != name}
        others = {other: _magnitudes(ticket.weights[other]) for other in free}
        count = _switch(count, False, kept, others, free)
    if count:
        hint = "the model is too sparse for this code; choose a smaller version"
        expected = f"{count} more, to make room for those the code adds"
        raise bad_input("mask", "kept weights", expected, "none left", hint=hint)


def _magnitudes(weights: Tensor) -> Scores:
    return np.asarray(weights.reshape(*weights.shape[:2], -1).abs().double().numpy())


def _zones(layer: Bits, place: Placement, code: qr.QRCode) -> tuple[Bits, Bits]:
    """Boolean [out, in, kernel size] each: the light data kernels, and all kernels without a data module."""
    carriers, rest = np.zeros_like(layer), np.ones_like(layer)
    place.cut(carriers, code.light.shape[0])[...] = (code.data & code.light)[..., None]
    place.cut(rest, code.light.shape[0])[...] = ~code.data[..., None]
    return carriers, rest


def _switch(
    count: int, on: bool, kept: Mapping[str, Bits], scores: Mapping[str, Scores], free: Mapping[str, Bits]
) -> int:
    """Switches up to `count` free weights, the lowest scores first; returns how many are left to do."""
    if not (count and free):
        return count
    spots = {name: f.reshape(-1).nonzero()[0] for name, f in free.items()}
    ranked = np.concatenate([scores[name].reshape(-1)[where] for name, where in spots.items()])
    chosen = lowest(torch.from_numpy(ranked), min(count, len(ranked))).numpy()
    start = 0
    for name, where in spots.items():
        mine = chosen[(chosen >= start) & (chosen < start + len(where))] - start
        kept[name].reshape(-1)[where[mine]] = on
        start += len(where)
    return count - len(chosen)
