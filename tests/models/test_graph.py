"""The kernel graph against the network itself: of weights above zero, the output sums over all paths."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig import InputError
from ticket_sig.models import MODELS, build
from ticket_sig.models.graph import KernelGraph, kernel_graph
from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.scores.kernels import from_inputs, magnitudes


def positive(model: nn.Module) -> nn.Module:
    """Weights above zero, in convolutions in the middle only; no biases, norms that change nothing."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 0
            weight = getattr(module, "weight", None)
            if weight is not None and weight.ndim > 1:
                middle = torch.zeros_like(weight)
                middle[(..., *(size // 2 for size in weight.shape[2:]))] = 1
                weight.copy_(middle * (weight.abs() + 0.1) / weight[0].numel() ** 0.5)
            if weight is not None and getattr(module, "bias", None) is not None:
                module.bias.zero_()
    return model


def flow(graph: KernelGraph, model: nn.Module) -> float:
    """Total over all paths of the product of their kernels."""
    weights = {name: model.get_parameter(name).detach() for name in graph.names}
    logs = [magnitudes(link, weights) for link in graph.links]
    return float(from_inputs(graph, logs)[graph.outputs].logsumexp(0).exp())


def check(model: nn.Module, *size: int) -> KernelGraph:
    """Compares the network's own output with the paths of its graph; links must be in topological order."""
    model = positive(model)
    graph = kernel_graph(model)
    output = model(torch.ones(1, *size, dtype=torch.float64)).sum().detach()
    assert flow(graph, model) == pytest.approx(float(output), rel=1e-9)
    left: set[int] = set()
    for link in graph.links:
        left |= set(link.tails.flatten().tolist())
        assert left.isdisjoint(link.heads.flatten().tolist())
    return graph


@pytest.mark.parametrize("arch", MODELS)
def test_every_shipped_network(arch: str) -> None:
    model = build(arch, 10, seed=0)
    graph = check(model, 3, 1, 1)
    layers = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert graph.names == {f"{n}.weight" for n in layers}
    assert (len(graph.inputs), len(graph.outputs)) == (3, 10)


class Everything(nn.Module):
    """What a user's network may do to its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 6, 1)
        self.depthwise = nn.Conv2d(6, 12, 1, groups=6)
        self.grouped = nn.Conv2d(12, 8, 1, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 1, groups=2)
        self.norms = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU6(), nn.Dropout2d(), nn.MaxPool2d(1))
        self.f1 = nn.Linear(2 * (6 + 4) * 4, 8)
        self.f2 = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, check_size: bool = False) -> Tensor:
        if check_size:
            raise ValueError
        x = F.pad((x * self.scale - 0.0).clamp(min=0), (0, 0, 0, 0))
        x = torch.relu_(self.c1(x))
        y = self.up(F.dropout(self.grouped(self.depthwise(x).contiguous()), 0.5, self.training))
        x = self.norms(x).add(y)
        x = torch.cat([x, F.pad(x[:, 1:3, ..., :], (0, 0, 0, 0, 1, 1))], dim=-3)
        x = torch.cat((x, x), 1)
        return self.f2(self.f1(x.view(x.size(0), -1)).unsqueeze(2).squeeze(-1))


def test_a_network_that_does_everything() -> None:
    graph = check(Everything(), 3, 2, 2)
    assert {link.shape for link in graph.links if link.name} == {
        (1, 6, 3),
        (6, 2, 1),
        (2, 4, 6),
        (2, 3, 4),
        (1, 8, 20),
        (1, 5, 8),
    }


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Conv2d(4, 6, 1, groups=2), (4, 1, 1)),
        (nn.Sequential(nn.Conv1d(2, 4, 1), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 3)), (2, 4)),
        (nn.Sequential(nn.Conv3d(1, 4, 1), nn.LeakyReLU(), nn.Conv3d(4, 2, 1)), (1, 1, 1, 1)),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2)), (12,)),
    ],
)
def test_small_networks(model: nn.Module, size: tuple[int, ...]) -> None:
    assert len(check(model, *size).inputs) == size[0]


def test_the_weights_of_all_pixels_of_a_channel_are_one_kernel() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    link = kernel_graph(model).links[1]
    weight = torch.arange(24.0).view(2, 12)
    assert link.kernels(weight)[0, 1, 2].tolist() == [20, 21, 22, 23]
    values = torch.arange(6.0).view(1, 2, 3)
    assert torch.equal(link.spread(values, weight), torch.arange(6.0).view(2, 3).repeat_interleave(4, 1))


def test_values_of_transposed_kernels_reach_their_own_weights() -> None:
    weight = torch.randn(4, 3, 2, 2)
    link = kernel_graph(nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2))).links[0]
    spread = link.spread(link.kernels(weight).sum(3), weight)
    assert torch.equal(spread, weight.sum((2, 3), keepdim=True).expand_as(weight))


class Residual(nn.Module):
    """A block with a projection shortcut, one with an identity, and one that adds what others use, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(4, 4, 1, bias=False) for _ in range(4))
        self.norm = NormReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.a(x), self.b(x).relu())
        x = x + self.c(x)
        y = self.d(x)
        return torch.cat([x + y, y], 1)


def test_a_sum_has_the_nodes_of_the_layers_that_write_it() -> None:
    check(Residual(), 4, 1, 1)
    links = kernel_graph(Residual()).links
    a, b, identity, c, d = links[0], links[1], *sorted(links[2:5], key=lambda k: k.name or "")
    assert [k.name for k in (a, b, c, d)] == ["a.weight", "b.weight", "c.weight", "d.weight"]
    assert torch.equal(a.heads, b.heads) and torch.equal(c.tails, a.heads)
    assert torch.equal(identity.tails.flatten(), a.heads.flatten())
    assert torch.equal(identity.heads.flatten(), c.heads.flatten())
    # y is used twice: the sum of x and y has nodes of its own, and an identity from each.
    own = links[5:]
    assert len(own) == 2 and torch.equal(own[0].heads, own[1].heads)
    assert not torch.isin(own[0].heads, d.heads).any()


def test_without_residual_connections_projections_stay() -> None:
    graph = kernel_graph(build("resnet20-proj", 10), residual=False)
    assert all(link.name for link in graph.links)
    assert "layer2.0.shortcut.0.weight" in graph.names
    gate = _net(lambda x, conv: conv(x).relu() * conv(x).sigmoid())
    assert kernel_graph(gate, residual=False).nodes == 4 + 4


def test_a_weight_that_two_modules_share_is_two_links_of_one_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    assert [link.name for link in check(model, 4).links] == ["0.weight", "0.weight", "2.weight"]


def _net(act: Callable[[Tensor, nn.Module], Tensor]) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return act(x, self.conv)

    return Net()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda x, conv: conv(x) if x.sum() > 0 else x,
            "forward: expected one that torch.fx can trace, found",
        ),
        (lambda x, conv: conv(x).permute(0, 2, 3, 1), "node permute: .* found permute"),
        (lambda x, conv: conv(x).mean(1), "node mean: .* found mean over anything but space"),
        (lambda x, conv: conv(x)[:, 0], r"node getitem: .* found getitem \[slice"),
        (lambda x, conv: torch.cat([conv(x), x], 2), "node cat: .* along anything but channels"),
        (lambda x, conv: conv(conv(x)[:, :2]), "node conv_1: .* found module conv with a weight"),
        (lambda x, conv: conv(x) + conv(x)[:, :2], "node add: .* of 4 and 2 channels"),
        (lambda x, conv: conv(x).view(x.size(0), 2, 2, -1), "node view: .* found view to 4 dimensions"),
        (lambda x, conv: F.conv2d(x, conv.weight.abs()), "node conv2d: .* of a weight that is computed"),
        (lambda x, conv: conv(x) @ conv(x), "node matmul: .* found matmul of 2 tensors"),
        (lambda x, conv: F.glu(conv(x), 1), "node glu: .* found glu"),
        (
            lambda x, conv: x * 2,
            "layers: expected a convolution or linear layer before the output, found none",
        ),
    ],
)
def test_what_cannot_be_followed_is_named(act: Callable[[Tensor, nn.Module], Tensor], message: str) -> None:
    with pytest.raises(InputError, match=f"^network: {message}") as raised:
        kernel_graph(_net(act))
    assert "\n" not in str(raised.value)


def test_a_module_that_cannot_be_followed_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.PixelShuffle(2))
    with pytest.raises(InputError, match=r"node _1: .* found module 1 \(PixelShuffle\)"):
        kernel_graph(model)


class Training(nn.Module):
    """Does something else when it trains, and has a head that only looks on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.conv(x)
        self.head(x)
        return (x, self.head(x)) if self.training else x  # type: ignore[return-value]


def test_the_network_is_followed_as_it_evaluates_and_left_alone() -> None:
    model = Training().train()
    assert kernel_graph(model).names == {"conv.weight"}
    assert model.training and int(model.calls) == 0
