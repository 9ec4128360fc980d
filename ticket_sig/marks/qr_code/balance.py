"""Holding the number of kept weights while a code is written: which weights come back, and which go.

The nearest first: the light kernels of the code, then the rest of the layer, then all other layers. No
module of the code changes. The function patterns count as the rest of the layer: emptied or filled
before it, the three finders would show. Source: NeurIPS'21, section 3.4, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.marks.qr_code.qr import Bits
from ticket_sig.prf import Stream, keyed_places
from ticket_sig.select import lowest
from ticket_sig.ticket import Ticket

Scores = NDArray[np.float64]


def appeal(ticket: Ticket, place: Placement, side: int, key: bytes) -> Scores:
    """How welcome each weight of a region is back, [side, side, kernel size], in [0, 1).

    By rewind magnitude, or by the key where that is not known. Algorithm 2 takes a random position;
    a large rewind weight costs no more accuracy and outlives more pruning.
    """
    name, shape = place.layer, ticket.mask[place.layer].shape
    if ticket.rewind is not None:
        return place.cut(_by_rewind(ticket.rewind[name]), side)
    stream, size = Stream(key, f"position {name}"), shape[2:].numel()
    starts = [(row * shape[1] + place.column) * size for row in range(place.row, place.row + side)]
    words = np.stack([stream.words(start, side * size) for start in starts])
    return words.reshape(side, side, size) / 2.0**32


def add_weights(
    count: int, ticket: Ticket, kept: dict[str, Bits], place: Placement, code: qr.QRCode, key: bytes
) -> None:
    """Puts back `count` pruned weights, in place.

    First in light kernels, those with the fewest weights first: a kernel that must be seen should
    not hang on one weight. Then by rewind magnitude alone, or where that is not known as the key decides.

    Args:
        kept: masks by layer, [out, in, kernel size]; those that cannot be written are copied first.

    Raises:
        InputError: not that many weights are pruned.
    """
    side = code.light.shape[0]
    region, preferred = place.cut(kept[place.layer], side), appeal(ticket, place, side, key)
    # Within a kernel the best position is rank 0; it would join as many weights as the kernel has now,
    # the second best one more: [0, 1, 1] kept with preference [.9, .1, .2] -> occupancy [2, -, -].
    rank = np.where(region, np.inf, -preferred).argsort(-1).argsort(-1)
    occupancy = region.sum(-1, dtype=np.int64)[..., None] + rank
    free = ~region & (code.data & code.light)[..., None]
    count = _switch(count, True, {"": region}, {"": free}, lambda _: (occupancy - preferred)[free])
    for ring in _rings(kept, place):
        if count:
            free_there = {name: ~kept[name] for name in ring}
            _spare(free_there, place, code)
            count = _put_back(count, ticket, kept, free_there, key)
    if count:
        hint = "the model is too dense to be signed at its number of weights; prune it first (--prune 0.8), "
        hint += "or give a mask that prunes it, where that lies in another file (--mask FILE)"
        expected = f"{count} more, to put back as many as the code removes"
        raise bad_input("mask", "pruned weights", expected, "none left", hint=hint)


def remove_weights(
    count: int, ticket: Ticket, kept: dict[str, Bits], place: Placement, code: qr.QRCode
) -> None:
    """Removes `count` kept weights, the smallest first, in place; InputError where not that many can go."""
    side = code.light.shape[0]
    region = place.cut(kept[place.layer], side)
    rows, columns = slice(place.row, place.row + side), slice(place.column, place.column + side)
    sizes = _magnitudes(ticket.weights[place.layer][rows, columns])
    # A light kernel keeps its largest weight, and so stays light.
    largest = np.where(region, sizes, -1).argmax(-1)[..., None] == np.arange(region.shape[-1])
    free = region & ~largest & (code.data & code.light)[..., None]
    count = _switch(count, False, {"": region}, {"": free}, lambda _: sizes[free])
    for ring in _rings(kept, place):
        if count:
            free_there = {name: kept[name].copy() for name in ring}
            _spare(free_there, place, code)
            count = _switch(count, False, kept, free_there, partial(_sizes, ticket.weights, free_there))
    if count:
        smaller = ", or choose a smaller version" if code.version > 1 else ""
        hint = f"the model is too sparse for this code; prune it less{smaller}"
        expected = f"{count} more, to make room for those the code adds"
        raise bad_input("mask", "kept weights", expected, "none left", hint=hint)


def _by_rewind(rewind: Tensor) -> Scores:
    sizes = _magnitudes(rewind)
    return np.asarray(sizes / (1 + sizes.max(initial=0.0)))


def _magnitudes(weights: Tensor) -> Scores:
    return np.asarray(weights.reshape(*weights.shape[:2], -1).abs().double().numpy())


def _sizes(weights: Mapping[str, Tensor], free: Mapping[str, Bits], name: str) -> Scores:
    """Magnitudes of the free weights of a layer."""
    chosen = weights[name].reshape(-1)[torch.from_numpy(free[name].reshape(-1))]
    return np.asarray(chosen.abs().double().numpy())


def _rings(kept: Mapping[str, Bits], place: Placement) -> tuple[list[str], list[str]]:
    """The layers around a code: its own, and all others."""
    return [place.layer], [name for name in kept if name != place.layer]


def _spare(free: Mapping[str, Bits], place: Placement, code: qr.QRCode) -> None:
    """Takes the data modules of the code out of what is free, in place."""
    if place.layer in free:
        place.cut(free[place.layer], code.light.shape[0])[code.data] = False


def _put_back(count: int, ticket: Ticket, kept: dict[str, Bits], free: Mapping[str, Bits], key: bytes) -> int:
    """Puts back up to `count` free weights, by rewind magnitude or by the key; returns how many are left."""
    if (rewind := ticket.rewind) is not None:
        return _switch(count, True, kept, free, lambda name: -_by_rewind(rewind[name])[free[name]])
    if not (total := sum(int(np.count_nonzero(f)) for f in free.values())):
        return count
    chosen = keyed_places(key, f"positions {' '.join(free)}", min(count, total), total)
    _set(kept, free, chosen, True)
    return count - len(chosen)


def _switch(
    count: int,
    on: bool,
    kept: dict[str, Bits],
    free: Mapping[str, Bits],
    scores: Callable[[str], Scores],
) -> int:
    """Switches up to `count` free weights, the lowest scores first; returns how many are left to do.

    Args:
        scores: of the free weights of a layer, in their order.
    """
    ranked = np.concatenate([*(scores(name) for name in free), []])
    chosen = lowest(torch.from_numpy(ranked), min(count, len(ranked))).numpy()
    _set(kept, free, chosen, on)
    return count - len(chosen)


def _set(kept: dict[str, Bits], free: Mapping[str, Bits], chosen: NDArray[np.int64], on: bool) -> None:
    """Sets the chosen of all free weights, given by their numbers among these, ascending."""
    start = 0
    for name, spots in free.items():
        if not kept[name].flags.writeable:
            kept[name] = kept[name].copy()
        # Row by row, so that the free weights of a large layer are never listed.
        ends = start + np.cumsum(np.count_nonzero(spots.reshape(len(spots), -1), axis=1))
        cuts = np.searchsorted(chosen, [start, *ends])
        for row in np.diff(cuts).nonzero()[0]:
            where = np.argwhere(spots[row])
            mine = where[chosen[cuts[row] : cuts[row + 1]] - (ends[row] - len(where))]
            kept[name][(row, *mine.T)] = on
        start = int(ends[-1]) if len(ends) else start
