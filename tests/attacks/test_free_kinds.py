"""Every free change on every network: other tensors, the same answers."""

from __future__ import annotations

import pytest
import torch
from support.free import SOME_SLOW, changed, check_same, stolen

from ticket_sig.attacks.free import KINDS
from ticket_sig.digests import tensor_digest

# What has nothing to change, and why.
IDLE = {
    ("densenet", "fused"): "no batch norm behind a layer",
    ("perceptron", "fused"): "no batch norm behind a layer",
    ("flattened", "fused"): "no batch norm behind a layer",
    ("perceptron", "larger-kernels"): "no convolution with more than one tap",
    ("flattened", "flipped-signs"): "no channel that may have another scale or sign",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOME_SLOW)
def test_the_answers_stay_and_the_tensors_do_not(name: str, kind: str) -> None:
    _, ticket, _, _ = stolen(name)
    before = tensor_digest(ticket.weights), tensor_digest(ticket.mask)
    done = changed(name, kind)
    check_same(name, done)
    assert (tensor_digest(ticket.weights), tensor_digest(ticket.mask)) == before
    why = IDLE.get((name, kind))
    assert done.did == ((kind,) if why is None else (f"{kind}: not done: {why}",))
    same = list(done.ticket.weights) == list(ticket.weights) and all(
        torch.equal(t, done.ticket.weights[n]) for n, t in ticket.weights.items()
    )
    assert same is (why is not None)
    assert len(done.ticket.mask) >= len(ticket.mask)
