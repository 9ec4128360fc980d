"""Small networks with what channels can go through, and tickets of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig import Mask, Ticket
from ticket_sig.attacks import Scene, attack
from ticket_sig.models import prunable_names
from ticket_sig.models.channels import scaled, streams, unflipped
from ticket_sig.models.graph import kernel_graph


class Concatenating(nn.Module):
    """In the manner of DenseNet: what each layer adds stands beside all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(12), nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(20), nn.Conv2d(20, 8, 3, padding=1, bias=False)
        self.norm3, self.down = nn.BatchNorm2d(28), nn.Conv2d(28, 14, 1, bias=False)
        self.norm4, self.fc = nn.BatchNorm2d(14), nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        x = F.avg_pool2d(self.down(F.relu(self.norm3(x))), 2)
        return self.fc(F.relu(self.norm4(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """A block of MobileNetV2: wide and depthwise between narrow ends without an activation."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(width))
        self.project = nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.depthwise(F.relu(self.expand(x))))
        return x + self.project(y)  # type: ignore[no-any-return]


class Depthwise(nn.Module):
    """In the manner of MobileNet."""

    def __init__(self, colours: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(colours, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10), nn.ReLU()
        )
        self.blocks = nn.Sequential(Inverted(10, 30), Inverted(10, 30))
        self.fc = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Fully connected, with biases; tanh, through which signs pass, behind the second layer."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.f1, self.f2, self.f3 = nn.Linear(3 * 64, 24), nn.Linear(24, 20), nn.Linear(20, 16)
        self.f4 = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.f1(x.flatten(1)))
        return self.f4(F.relu(self.f3(torch.tanh(self.f2(x)))))  # type: ignore[no-any-return]


class Functional(nn.Module):
    """Fully connected; every second layer is a function, whose parameters have names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(24, 3 * 64) / 14), nn.Parameter(torch.randn(24))
        self.w3, self.b3 = nn.Parameter(torch.randn(16, 20) / 4), nn.Parameter(torch.randn(16))
        self.f2, self.f4 = nn.Linear(24, 20), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.f2(F.relu(F.linear(x.flatten(1), self.w1, self.b1)))
        return self.f4(F.relu(F.linear(torch.tanh(x), self.w3, self.b3)))  # type: ignore[no-any-return]


def lived(network: nn.Module, seed: int = 0, density: float = 0.5) -> Ticket:
    """A ticket of a network that now has its weights: pruned, with batch norms that have seen something."""
    draw = torch.Generator().manual_seed(seed)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.data.normal_(0, 0.5, generator=draw)
            module.bias.data.normal_(0, 0.3, generator=draw)
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 2, generator=draw)
    weights = {name: t.detach().clone() for name, t in network.state_dict().items()}
    names = prunable_names(network)
    kept = {n: (torch.rand(weights[n].shape, generator=draw) < density) & (weights[n] != 0) for n in names}
    mask = Mask(kept)
    ticket = Ticket(weights=mask.apply(weights), mask=mask)
    network.load_state_dict(dict(ticket.weights))
    return ticket


def disguised(network: nn.Module, ticket: Ticket, seed: int = 1, rescale: float = 1000.0) -> Ticket:
    """The ticket with channels in another order, rescaled, and with the other sign wherever that is free."""
    after = attack("permute-channels", rescale=rescale)(ticket, Scene(model=network, seed=seed))
    graph = kernel_graph(network, norms=True)
    stream = streams(graph)
    signs = torch.randint(2, (graph.nodes,), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    signs[stream[unflipped(graph, ticket.weights)]] = 1
    weights = dict(after.weights)
    for link in graph.links:
        for part, name in link.parts(weights).items():
            values = scaled(link, part, weights[name].double(), signs[stream], 1e-5)
            weights[name] = values.to(weights[name].dtype)
    return replace(after, weights=weights)


def answers(network: nn.Module, weights: Mapping[str, Tensor]) -> Tensor:
    """What the network says of three images with these weights."""
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    network.load_state_dict(dict(weights))
    with torch.no_grad():
        return network.double().eval()(images)  # type: ignore[no-any-return]
