"""Which tensor of a suspect is which layer of the reference, and how it was stored."""

from __future__ import annotations

import pytest
import torch
from recovery.thefts import shipped, small, stolen

from ticket_sig import InputError
from ticket_sig.attacks import Scene, attack
from ticket_sig.recovery.matching import Matched, matched


def told(found: Matched) -> dict[str, int]:
    return {one.what: one.count for one in found.undone}


def test_renamed_tensors_of_the_shipped_network_get_their_names_back() -> None:
    of = shipped()
    found = matched(stolen(of, ["renamed", "reordered"]).weights, of.reference)
    assert list(found.weights) == list(of.ticket.weights)
    assert all(torch.equal(found.weights[n], t) for n, t in of.ticket.weights.items() if t.ndim)
    assert told(found) == {"renamed": 116} and found.log10_choices > 10


@pytest.mark.parametrize(
    "name, options", [("magnitude-pruning", {"rate": 0.2}), ("gaussian-noise", {"scale": 0.1})]
)
def test_layers_are_found_with_pruning_or_noise_on_top(name: str, options: dict[str, float]) -> None:
    of = shipped()
    theft = attack(name, of.ticket, Scene(seed=0), **options).ticket
    modules = sorted({n.rpartition(".")[0] for n in theft.weights}, key=lambda path: path[::-1])
    new = {path: f"part{n}" for n, path in enumerate(modules)}
    hidden = {f"{new[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": t for n, t in theft.weights.items()}
    found = matched(dict(sorted(hidden.items())), of.reference)
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


def test_a_layer_that_lacks_is_named() -> None:
    of = small("resnet20")
    weights = {n: t for n, t in of.ticket.weights.items() if n != "layer3.0.conv1.weight"}
    weights["other.weight"] = torch.ones(5, 5)
    with pytest.raises(InputError, match=r"layer3\.0\.conv1\.weight: expected a layer of the shape"):
        matched(weights, of.reference)
