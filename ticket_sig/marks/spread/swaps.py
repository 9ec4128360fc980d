"""Which weights change places so that every bit stands by a margin: the cheapest, each layer's count kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ticket_sig.marks.spread.signs import Groups, Signs

Kept = NDArray[np.bool_]
Places = NDArray[np.int32]
Counts = NDArray[np.int64]
_PART = 1 << 18  # weights of an order that are looked at together


def swapped(
    signs: Signs,
    kept: Kept,
    sent: NDArray[np.int8],
    prices: NDArray[np.float32],
    free: Kept,
    margin: float,
) -> Kept | None:
    """The kept weights after the cheapest swaps by which every bit of a code stands by a margin.

    A kept weight on the wrong side goes, or a pruned one on the right side comes: each adds 1 to its bit. Of
    what a bit lacks one half goes and the other comes, and in every layer as many come as go. What goes
    is chosen over all layers together, as magnitude pruning does; what comes, in the layers of what went.

    Args:
        kept: [n].
        sent: the code, 1 or -1, [bits].
        prices: [n], what it costs to remove a kept weight, or to add a pruned one; the lowest are taken.
        free: [n], weights that may be moved.
        margin: standard deviations.

    Returns:
        [n]; None where there is no such way, or more than half of the kept weights would have to move.
    """
    right = signs.signs * sent[signs.groups] > 0
    go, come = (_in_order(prices, free & way) for way in (kept & ~right, right & ~kept))
    kept, left = kept.copy(), int(np.count_nonzero(kept)) // 2
    while (lacking := _lacking(signs, kept, sent, margin)).any():
        gone = _going(signs, go, lacking, come)
        left -= len(gone)
        if not len(gone) or left < 0:
            return None
        kept[gone] = False
        kept[_coming(signs, come, lacking, gone)] = True
        go, come = go[kept[go]], come[~kept[come]]
    return kept


def _in_order(prices: NDArray[np.float32], which: Kept) -> Places:
    """These weights, the cheapest first."""
    found = np.flatnonzero(which).astype(np.int32)  # `signs_of` takes some million weights at most
    return found[np.argsort(prices[found], kind="stable")]


def _lacking(signs: Signs, kept: Kept, sent: NDArray[np.int8], margin: float) -> Counts:
    """How many weights each bit lacks; [bits]."""
    sums, squares = signs.standing(kept)
    return np.maximum(0, np.ceil(margin * np.sqrt(squares) - sent * sums)).astype(np.int64)


def _going(signs: Signs, go: Places, lacking: Counts, come: Places) -> Places:
    """Half of what is lacking, bit by bit; where a bit has not so many, others go to make room."""
    room = np.bincount(signs.layers[come], minlength=len(signs.places))
    taken = _cheapest(signs, go, (lacking + 1) // 2, room)
    short = -(-int(lacking.sum()) // 2) - int(np.count_nonzero(taken))
    if short > 0:
        room -= np.bincount(signs.layers[go[taken]], minlength=len(room))
        others = np.flatnonzero(~taken)
        more = _cheapest(signs, go[others], _no_limit(signs), room)
        taken[others[more][:short]] = True
    return go[taken]


def _coming(signs: Signs, come: Places, lacking: Counts, gone: Places) -> Places:
    """As many in each layer as went: what is lacking first, then others that stand on the right side."""
    lacking = np.maximum(0, lacking - np.bincount(signs.groups[gone], minlength=signs.size))
    room = np.bincount(signs.layers[gone], minlength=len(signs.places))
    taken = _cheapest(signs, come, lacking, room)
    room -= np.bincount(signs.layers[come[taken]], minlength=len(room))
    others = np.flatnonzero(~taken)
    taken[others[_cheapest(signs, come[others], _no_limit(signs), room)]] = True
    return come[taken]


def _cheapest(signs: Signs, order: Places, of_bit: Counts, of_layer: Counts) -> Kept:
    """The first of an order, at most so many of each bit and of each layer; [order]."""
    taken = np.zeros(len(order), dtype=np.bool_)
    of_bit, of_layer = of_bit.copy(), of_layer.copy()
    for start in range(0, len(order), _PART):  # those before leave to those after what they do not take
        part, open_ = order[start : start + _PART], np.arange(len(order[start : start + _PART]))
        while of_bit.any() and of_layer.any():
            bits, layers = signs.groups[part[open_]], signs.layers[part[open_]]
            still = (of_bit[bits] > 0) & (of_layer[layers] > 0)
            open_, bits, layers = open_[still], bits[still], layers[still]
            if not len(open_):
                break
            now = (_rank(bits) < of_bit[bits]) & (_rank(layers) < of_layer[layers])
            taken[start + open_[now]] = True
            of_bit -= np.bincount(bits[now], minlength=len(of_bit))
            of_layer -= np.bincount(layers[now], minlength=len(of_layer))
            open_ = open_[~now]
    return taken


def _rank(labels: Groups) -> Counts:
    """How many before each have its label."""
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    before = np.repeat(counts.cumsum() - counts, counts)
    ranks[np.argsort(labels, kind="stable")] = np.arange(len(labels)) - before
    return ranks


def _no_limit(signs: Signs) -> Counts:
    return np.full(signs.size, len(signs.groups))
