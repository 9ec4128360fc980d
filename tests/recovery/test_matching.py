"""Which tensor of a suspect is which layer of the reference, and how it was stored."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from recovery.networks import Depthwise, lived
from recovery.thefts import check_recovered, shipped, small, stolen
from torch import Tensor

from ticket_sig import InputError
from ticket_sig.attacks import Scene, attack
from ticket_sig.recovery import Reference, align
from ticket_sig.recovery.matching import Matched, matched


def told(found: Matched) -> dict[str, int]:
    return {one.what: one.count for one in found.undone}


def hidden(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Modules under numbers, in an order that tells nothing."""
    modules = sorted({name.rpartition(".")[0] for name in weights}, key=lambda path: path[::-1])
    new = {path: f"part{number}" for number, path in enumerate(modules)}
    other = {f"{new[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": t for n, t in weights.items()}
    return dict(sorted(other.items()))


def test_renamed_tensors_of_the_shipped_network_get_their_names_back() -> None:
    of = shipped()
    found = matched(stolen(of, ["renamed", "reordered"]).weights, of.reference)
    assert found.weights.keys() == of.ticket.weights.keys()
    assert all(torch.equal(found.weights[n], t) for n, t in of.ticket.weights.items() if t.ndim)
    assert told(found) == {"renamed": 116} and found.log10_choices > 10


@pytest.mark.parametrize(
    "name, options", [("magnitude-pruning", {"rate": 0.2}), ("gaussian-noise", {"scale": 0.1})]
)
def test_layers_are_found_with_pruning_or_noise_on_top(name: str, options: dict[str, float]) -> None:
    of = shipped()
    theft = attack(name, **options)(of.ticket, Scene(seed=0))
    found = matched(hidden(theft.weights), of.reference)
    assert all(torch.equal(found.weights[n], t) for n, t in theft.weights.items() if t.ndim)


@pytest.mark.parametrize(
    "kind, what",
    [
        ("larger-kernels", "kernels padded"),
        ("fused", "norms fused"),
        ("split-norms", "norms split"),
        ("factored", "linear chain folded"),
        ("transposed", "transposed"),
        ("mirrored", "mirrored"),
    ],
)
def test_storage_is_undone_and_told(kind: str, what: str) -> None:
    of = small("vgg16")
    found = matched(stolen(of, ["renamed", kind]).weights, of.reference)
    assert told(found)[what] > 0
    for name in of.ticket.mask:
        assert torch.equal(found.weights[name] != 0, of.ticket.mask[name])


@pytest.mark.parametrize(
    "kinds", [["larger-kernels", "noisy-split"], ["larger-kernels", "noisy-split", "factored"]]
)
@pytest.mark.parametrize("seed", range(2))
def test_noise_around_larger_kernels_that_cancels_between_copies_hides_no_layer(
    kinds: list[str], seed: int
) -> None:
    of = small("resnet20")
    check_recovered(align(stolen(of, ["renamed", *kinds], seed), of.reference), of)


def test_a_depthwise_layer_that_looks_like_the_first_is_not_taken_for_it() -> None:
    """Of images of one colour both have kernels of one input, and the more there are, the better they fit."""
    network = Depthwise(colours=1)
    ticket = lived(network, density=0.9)
    found = matched(hidden(ticket.weights), Reference.of(network))
    assert all(torch.equal(found.weights[name], t) for name, t in ticket.weights.items() if t.ndim)


def test_a_layer_that_lacks_is_named() -> None:
    of = small("resnet20")
    weights = {n: t for n, t in of.ticket.weights.items() if n != "layer3.0.conv1.weight"}
    weights["other.weight"] = torch.ones(5, 5)
    with pytest.raises(InputError, match=r"layer3\.0\.conv1\.weight: expected a layer of the shape"):
        matched(weights, of.reference)
