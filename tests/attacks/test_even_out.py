"""Evening out: patterns of kept taps and their mirror images, as often as each other."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from support.tickets import sparse, sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.attacks import Scene, attack


def differences(kept: Tensor) -> list[int]:
    """By how much each pattern of a layer is more frequent than its image."""
    found = Counter(tuple(map(tuple, kernel.tolist())) for kernel in kept.flatten(0, 1).int())
    return [count - found[tuple(row[::-1] for row in pattern)] for pattern, count in found.items()]


def test_patterns_are_as_frequent_as_their_images_and_coins_decide_what_is_left() -> None:
    ticket = sparse_ticket()
    after = attack("even-out")(ticket, Scene())
    assert max(differences(ticket.mask["a.weight"])) > 1
    for name in ("a.weight", "small.weight"):
        assert max(map(abs, differences(after.mask[name]))) == 1
        old, new = ticket.weights[name].flatten(0, 1), after.weights[name].flatten(0, 1)
        mirrored = (new != old).flatten(1).any(1)
        assert 0 < int(mirrored.sum()) < len(old) / 2
        assert torch.equal(new[mirrored], old[mirrored].flip(-1))
    assert torch.equal(after.weights["b.weight"], ticket.weights["b.weight"])
    signs = [
        torch.tensor(differences(attack("even-out")(ticket, Scene(seed=n)).mask["a.weight"])) for n in (1, 2)
    ]
    assert signs[0].shape != signs[1].shape or not torch.equal(*signs)


def test_the_cheapest_kernels_are_mirrored_first() -> None:
    weights = torch.zeros(1, 7, 3, 3)
    weights[0, :, 1, 0] = torch.tensor([5.0, 1.0, -2.0, 4.0, 3.0, 0.0, 0.0])
    weights[0, 5, 1, 2] = weights[0, 6, 1, 1] = 9.0
    ticket = Ticket(weights={"w": weights}, mask=Mask({"w": weights != 0}))
    after = attack("even-out")(ticket, Scene())
    assert after.weights["w"][0, :, 1, 0].tolist() == [5, 0, 0, 4, 3, 0, 0]
    assert after.weights["w"][0, :, 1, 2].tolist() == [0, 1, -2, 0, 0, 9, 0]


def test_without_a_width_there_is_nothing_to_mirror() -> None:
    flat = {"w": sparse(8, 8), "v": sparse(8, 8, 1, 1)}
    with pytest.raises(InputError, match="layers: expected kernels with a width, found none"):
        attack("even-out")(Ticket(weights=flat, mask=Mask.of_zeros(flat)), Scene())
