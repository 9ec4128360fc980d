"""Channels that hold the same are merged, and no others."""

from __future__ import annotations

import pytest
import torch
from recovery.thefts import answers, small, stolen
from torch import Tensor

from ticket_sig.models.resized import resized
from ticket_sig.recovery.reduction import reduced


def merged(network: str, kind: str) -> tuple[dict[str, Tensor], int]:
    of = small(network)
    theft = stolen(of, [kind])
    fewer, undone = reduced(theft.weights, of.reference)
    assert of.reference.model is not None
    with torch.no_grad():
        found = resized(of.reference.model, fewer)(of.images)
    torch.testing.assert_close(found, of.answers)
    return fewer, sum(one.count for one in undone)


@pytest.mark.parametrize("network", ["resnet18", "vgg16", "densenet", "mobilenet", "perceptron"])
def test_split_neurons_are_merged_also_with_noise_that_cancels(network: str) -> None:
    for kind in ("split-neurons", "noisy-split"):
        fewer, count = merged(network, kind)
        assert count > 0
        assert {n: t.shape for n, t in fewer.items()} == {
            n: t.shape for n, t in small(network).ticket.weights.items()
        }


def test_of_a_clique_nothing_is_left() -> None:
    fewer, count = merged("perceptron", "cliques")
    wide = fewer["layers.4.weight"]
    assert count and int((wide != 0).any(0).sum()) == 24 == wide.shape[1]


def test_a_network_of_the_references_widths_stays_as_it_is() -> None:
    of = small("vgg16")
    theft = stolen(of, ["permuted"])
    fewer, undone = reduced(theft.weights, of.reference)
    assert not undone and all(fewer[n] is t for n, t in theft.weights.items())
    assert torch.equal(answers(of.network(), theft, of.images).argmax(1), of.answers.argmax(1))
