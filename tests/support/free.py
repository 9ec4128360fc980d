"""Networks that thieves rewrite: of every shape that the kernel graph follows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.recovery.kinds_of_net import DenseNet, MobileNet
from ticket_sig import Mask, Ticket
from ticket_sig.attacks import Scene
from ticket_sig.attacks.attack import Attacked
from ticket_sig.attacks.free_attack import Free
from ticket_sig.models import prunable_names, vgg
from ticket_sig.models.resnet import BasicBlock, ResNet


class Perceptron(nn.Module):
    """Two hidden layers of ReLU and tanh, for images of 8x8 pixels."""

    def __init__(self, classes: int = 10, channels: int = 3, width: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64 * channels, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))  # type: ignore[no-any-return]


class Flattened(nn.Module):
    """A convolution whose image is flattened, as in many tutorials; 8x8 pixels."""

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(8 * 4, 16), nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))  # type: ignore[no-any-return]


def small_vgg16() -> nn.Module:
    """VGG-16 of a sixteenth of its widths."""
    stages = tuple(tuple(width // 16 for width in widths) for widths in vgg._STAGES)
    with mock.patch.object(vgg, "_STAGES", stages):
        return vgg.VGG16(10, 3)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": lambda: ResNet(BasicBlock, (3, 3, 3), (8, 16, 32), 10, 3, padded=True),
    "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2), (8, 16, 24, 32), 10, 3),
    "vgg16": small_vgg16,
    "densenet": lambda: DenseNet(channels=3, growth=4, layers=2),
    "mobilenet": lambda: MobileNet(channels=3, width=6, stride=2),
    "perceptron": Perceptron,
    "flattened": Flattened,
}
# All of them; those of which `make test` takes the others are for `make slow`.
SOME_SLOW = [
    name if name in ("resnet20", "perceptron") else pytest.param(name, marks=pytest.mark.slow)
    for name in NETWORKS
]


def victim(network: nn.Module, seed: int = 0) -> Ticket:
    """A sparse ticket of a network in float64, with batch norms that have seen something.

    The network has its weights then.
    """
    draw = torch.Generator().manual_seed(seed)
    network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            tensors = [module.running_mean, module.running_var, module.weight, module.bias]
            for tensor in (t for t in tensors if t is not None):
                tensor.data.uniform_(0.1, 2, generator=draw)
    weights = {name: t.detach().clone() for name, t in network.state_dict().items()}
    # What is kept can be told from what rounding leaves of a pruned weight in a product of two layers.
    large = {name: weights[name].abs() > 1e-5 for name in prunable_names(network)}
    mask = Mask({n: (torch.rand(weights[n].shape, generator=draw) < 0.5) & large[n] for n in large})
    ticket = Ticket(weights=mask.apply(weights), mask=mask)
    network.load_state_dict(ticket.weights)
    return ticket


@cache
def stolen(name: str) -> tuple[nn.Module, Ticket, Tensor, Tensor]:
    """A network, its ticket, images and its answers to them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name]()
        images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    ticket = victim(network)
    return network, ticket, images, network(images).detach()


def changed(name: str, kind: str, seed: int = 0) -> Attacked:
    network, ticket, _, _ = stolen(name)
    return Free(kind=kind, size=8).carry_out(ticket, Scene(model=network, seed=seed))


def check_same(name: str, done: Attacked) -> None:
    """The same answers, from a network that has the ticket's weights; what is kept is not zero."""
    _, _, images, answers = stolen(name)
    assert done.network is not None and done.images is not None
    found = done.network(done.images(images)).detach()
    torch.testing.assert_close(found, answers, rtol=1e-9, atol=1e-9 * float(answers.abs().max()))
    state = done.network.state_dict()
    assert state.keys() == done.ticket.weights.keys()
    assert all(torch.equal(t, state[n]) for n, t in done.ticket.weights.items())
    assert all(torch.equal(kept, state[n] != 0) for n, kept in done.ticket.mask.items())
