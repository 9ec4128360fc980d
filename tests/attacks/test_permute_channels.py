"""Permuted and rescaled channels: another file, the same network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.free import victim
from torch import Tensor, nn

from ticket_sig import InputError, Ticket
from ticket_sig.attacks import Scene, attack
from ticket_sig.models import MODELS, build


class Everything(nn.Module):
    """What a user's network may do to its channels, also what does not move along."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.before = nn.BatchNorm2d(12)  # of a block that is normalised first
        self.c1 = nn.Conv2d(12, 12, 3, padding=1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.grouped = nn.Conv2d(12, 16, 1, groups=2)
        self.slopes, self.neighbours = nn.PReLU(16), nn.GroupNorm(4, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, groups=2)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.gain = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.f1, self.norm = nn.Linear(16 * 25, 20), nn.BatchNorm1d(20, affine=False)
        self.f2, self.f3 = nn.Linear(20, 10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.depthwise(F.relu(self.c1(F.relu(self.before(x)))))
        x = self.up(F.max_pool2d(self.neighbours(self.slopes(self.grouped(x))), 2)[:, :, :4, :4])
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3)))))).unsqueeze(2).unsqueeze(3)
        x = torch.cat([self.twice(self.twice(x)), F.silu(x - self.gain)], 1)
        x = F.leaky_relu(self.norm(self.f1(x.flatten(1))))
        return self.f3(F.relu(self.f2(x) + 1.0))  # type: ignore[no-any-return]


def check_same(network: nn.Module, size: int) -> tuple[Ticket, Ticket]:
    ticket = victim(network)
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, size, size, generator=draw, dtype=torch.float64)
    before = network(images).detach()
    after = attack("permute-channels", rescale=1000)(ticket, Scene(model=network))
    network.load_state_dict(after.weights)
    torch.testing.assert_close(
        network(images).detach(), before, rtol=1e-9, atol=1e-9 * float(before.abs().max())
    )
    for name, kept in after.mask.items():
        assert kept.sum() == ticket.mask[name].sum() and torch.equal(kept, after.weights[name] != 0)
    return ticket, after


@pytest.mark.parametrize("arch", [arch for arch in MODELS if arch not in ("resnet50", "vgg16")])
def test_every_layer_is_another_and_every_answer_the_same(arch: str) -> None:
    ticket, after = check_same(build(arch, 10, seed=0), 8)
    for name, kept in ticket.mask.items():
        assert not torch.equal(kept, after.mask[name]), name
        ratio = after.weights[name].abs().max() / ticket.weights[name].abs().max()
        assert not 0.9 < float(ratio) < 1.1, name


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet50", "vgg16"])
def test_the_large_networks_too(arch: str) -> None:
    check_same(build(arch, 10, seed=0), 8)


def test_what_does_not_move_along_stays_and_the_rest_moves() -> None:
    torch.manual_seed(0)
    ticket, after = check_same(Everything(), 8)
    moved = {
        n
        for n, t in ticket.weights.items()
        if not torch.equal(t.sort().values, after.weights[n].sort().values)
    }
    assert {"c1.weight", "depthwise.weight", "stem.weight", "f1.weight", "squeeze.weight"} <= moved
    assert moved.isdisjoint({"slopes.weight", "neighbours.weight", "gain", "twice.weight", "f3.bias"})


class Beside(nn.Module):
    """What a layer reads twice stays, and in both places."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 8, 3), nn.Conv2d(16, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c1(x))
        return self.c3(F.relu(self.c2(torch.cat([x, x], 1)))).mean((2, 3))  # type: ignore[no-any-return]


def test_channels_beside_themselves_stay() -> None:
    ticket, after = check_same(Beside(), 8)
    assert torch.equal(ticket.weights["c1.weight"], after.weights["c1.weight"])


class Functional(nn.Module):
    """Layers as functions, their parameters under any names; one bias is computed, one is of two layers."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in (("k0", (8, 3, 3, 3)), ("k1", (8, 8, 1, 1)), ("k2", (8, 8, 1, 1)), ("w3", (5, 8))):
            self.register_parameter(name, nn.Parameter(torch.randn(shape) / 4))
        self.b0, self.b1, self.gain = (nn.Parameter(torch.randn(8)) for _ in range(3))
        self.twin1, self.twin2 = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.twin2.bias = self.twin1.bias

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.k0, self.b0, padding=1))  # type: ignore[arg-type]
        x = F.relu(F.conv2d(x, self.k1, bias=self.b1))  # type: ignore[arg-type]
        x = F.relu(F.conv2d(x, self.k2, 2 * self.gain))  # type: ignore[arg-type]
        x = F.relu(self.twin2(F.relu(self.twin1(x))))
        return F.linear(x.mean((2, 3)), self.w3)  # type: ignore[arg-type]


def test_a_layer_that_is_a_function_is_moved_with_its_bias_whatever_they_are_called() -> None:
    torch.manual_seed(0)
    ticket, after = check_same(Functional(), 8)
    for name in ("k0", "b0"):
        assert not torch.equal(ticket.weights[name], after.weights[name]), name
    for name in ("b1", "gain", "twin1.bias"):
        assert torch.equal(ticket.weights[name], after.weights[name]), name


def test_without_rescaling_the_values_are_the_same_bit_for_bit() -> None:
    network = build("resnet20", 10, seed=0)
    ticket = victim(network)
    after = attack("permute-channels")(ticket, Scene(model=network))
    for name, tensor in ticket.weights.items():
        assert torch.equal(tensor.flatten().sort().values, after.weights[name].flatten().sort().values)


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(InputError, match="weights"):
        attack("permute-channels")(victim(build("resnet20", 10)), Scene(model=build("vgg16", 10)))
    with pytest.raises(InputError, match=r"rescale: expected .*, found 0.5"):
        attack("permute-channels", rescale=0.5)
