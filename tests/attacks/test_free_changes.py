"""What each free change does to names, widths, kernels and statistics, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.free import changed, check_same, stolen, victim
from torch import Tensor, nn

from ticket_sig import Ticket
from ticket_sig.attacks import Scene
from ticket_sig.attacks.free_attack import Free

# Channels that are more than before.
DUMMIES = {"padded": 1, "zero-neurons": 1, "cliques": 2, "split-neurons": 1, "noisy-split": 1}


@pytest.mark.parametrize("kind", ["renamed", "prefixed"])
@pytest.mark.parametrize("seed", [1, 2])
def test_names_are_others_and_modules_keep_their_tensors_together(kind: str, seed: int) -> None:
    _, ticket, _, _ = stolen("mobilenet")
    done = changed("mobilenet", kind, seed).ticket
    new = dict(zip(ticket.weights, done.weights, strict=True))
    assert not ticket.weights.keys() & done.weights.keys()
    assert all(torch.equal(t, done.weights[new[n]]) for n, t in ticket.weights.items())
    assert list(done.mask) == [new[n] for n in ticket.mask]
    paths = {(old.rpartition(".")[0], name.rpartition(".")[0]) for old, name in new.items()}
    assert len({old for old, _ in paths}) == len({name for _, name in paths}) == len(paths)


def test_another_order_is_that_of_all_tensors() -> None:
    _, ticket, _, _ = stolen("resnet20")
    done = changed("resnet20", "reordered").ticket
    assert set(done.weights) == set(ticket.weights) and list(done.weights) != list(ticket.weights)
    assert set(done.mask) == set(ticket.mask) and list(done.mask) != list(ticket.mask)


@pytest.mark.parametrize(("kind", "copies"), DUMMIES.items())
def test_dummy_neurons_are_as_many_as_asked_for(kind: str, copies: int) -> None:
    network, ticket, _, _ = stolen("perceptron")
    done = Free(kind=kind, share=0.25).carry_out(ticket, Scene(model=network)).ticket
    widths = [len(done.weights[f"layers.{n}.weight"]) for n in (0, 2)]
    assert sum(widths) == 48 + 12 * copies and done.weights["layers.4.weight"].shape == (10, widths[1])


def test_residual_streams_and_concatenations_are_widened_too() -> None:
    network, ticket, _, _ = stolen("densenet")
    done = Free(kind="split-neurons", share=0.9).carry_out(ticket, Scene(model=network))
    check_same("densenet", done)
    more = {n for n, t in done.ticket.weights.items() if t.shape != ticket.weights[n].shape}
    assert {"stem.weight", "block1.1.norm.weight", "block1.1.conv.weight", "classifier.weight"} <= more
    network, ticket, _, _ = stolen("resnet20")
    done = Free(kind="cliques", share=0.9).carry_out(ticket, Scene(model=network))
    check_same("resnet20", done)
    assert len(done.ticket.weights["conv1.weight"]) > 8 and len(done.ticket.weights["fc.weight"]) == 10


def test_split_with_noise_hides_what_the_columns_were() -> None:
    _, ticket, _, _ = stolen("perceptron")
    columns = ticket.weights["layers.2.weight"].T
    plain, noisy = (changed("perceptron", kind).ticket for kind in ("split-neurons", "noisy-split"))

    def alike(found: Ticket) -> int:
        new = F.normalize(found.weights["layers.2.weight"].T[:, : columns.shape[1]], dim=1)
        return int(((new @ F.normalize(columns, dim=1).T).amax(1) > 0.999).sum())

    if plain.weights["layers.2.weight"].shape[0] == len(columns):
        assert alike(noisy) < alike(plain)


def test_a_norm_is_gone_and_another_one_is_there() -> None:
    done = changed("resnet20", "fused").ticket
    assert not any("running_var" in name for name in done.weights) and "conv1.bias" in done.weights
    again = changed("resnet20", "fused+split-norms").ticket
    assert sum("running_var" in name for name in again.weights) == 10


def test_statistics_of_rescaled_channels_are_possible_ones() -> None:
    network, ticket, _, _ = stolen("mobilenet")
    done = Free(kind="rescaled", factor=1e4).carry_out(ticket, Scene(model=network))
    check_same("mobilenet", done)
    variances = [t for n, t in done.ticket.weights.items() if n.endswith("running_var")]
    assert all(float(t.min()) >= 0 for t in variances)


def test_a_factor_is_a_layer_of_its_own() -> None:
    _, ticket, _, _ = stolen("vgg16")
    done = changed("vgg16", "factored").ticket
    [factor] = [n for n in done.weights if n.endswith("_factor.weight")]
    assert done.weights[factor].shape[2:] == (1, 1) and factor in done.mask
    assert len(done.weights) == len(ticket.weights) + 1


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("kind", ["transposed", "mirrored", "rotated"])
def test_turned_networks_answer_to_turned_images_of_their_size_alone(kind: str, size: int) -> None:
    network, ticket, _, _ = stolen("resnet18")
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    done = Free(kind=kind, size=size).carry_out(ticket, Scene(model=network, seed=2))
    assert done.network is not None and done.images is not None
    turned = done.images(images)
    assert not torch.equal(turned, images)
    torch.testing.assert_close(done.network(turned), network(images), rtol=1e-9, atol=1e-9)


class Strided(nn.Module):
    """What prefers a side of the image, beside strides: slices, padding of one side, uneven pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, (3, 2), (2, 1), bias=False)
        self.up, self.f1, self.f2 = nn.ConvTranspose2d(4, 4, 3, 2, 1), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(torch.tanh(self.conv(F.pad(self.pad(x), (1, 0, 0, 0)))))
        return self.f2(self.f1((x[:, :, 1:, ::2] ** 2).mean((2, 3))))  # type: ignore[no-any-return]


def test_what_prefers_a_side_is_turned_along() -> None:
    torch.manual_seed(0)
    network = Strided()
    ticket = victim(network)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for kind in ("transposed", "mirrored", "rotated", "rotated+mirrored+transposed+mirrored"):
        for seed in range(3):
            done = Free(kind=kind, size=8).carry_out(ticket, Scene(model=network, seed=seed))
            assert done.did == tuple(kind.split("+"))
            assert done.network is not None and done.images is not None
            found = done.network(done.images(images))
            torch.testing.assert_close(found, network(images), rtol=1e-9, atol=1e-9)


def test_what_cannot_be_turned_is_named() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 4, 4), nn.Linear(4, 2)
    )
    done = Free(kind="mirrored", size=7).carry_out(victim(network), Scene(model=network))
    assert done.did == ("mirrored: not done: module 1 leaves pixels at one side unread",)
    done = Free(kind="mirrored", size=64).carry_out(victim(network), Scene(model=network))
    assert done.did == ("mirrored: not done: no network for square images of 64 pixels",)


class Counting(nn.Module):
    """Its own code says how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.f1, self.f2 = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(4, 6, 1),
            nn.Linear(6, 4),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c2(F.relu(self.c1(x))[:, 2:6]))
        return self.f2(F.relu(self.f1(x.mean((2, 3)).view(-1, 6))))  # type: ignore[no-any-return]


def test_channels_that_the_code_counts_stay_as_many() -> None:
    torch.manual_seed(0)
    network = Counting()
    ticket = victim(network)
    done = Free(kind="split-neurons", share=0.99).carry_out(ticket, Scene(model=network))
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert done.network is not None
    torch.testing.assert_close(done.network(images), network(images), rtol=1e-9, atol=1e-9)
    assert {n for n, t in done.ticket.weights.items() if t.shape != ticket.weights[n].shape} == {
        "f1.weight", "f1.bias", "f2.weight",
    }  # fmt: skip
