"""Scales of channels, measured against a reference and undone where they are a thief's."""

from __future__ import annotations

import pytest
import torch
from recovery.networks import Depthwise, Perceptron, lived
from torch import Tensor, nn

from ticket_sig.models.channels import eps_in, scaled, streams, unscaled
from ticket_sig.models.graph import KernelGraph, kernel_graph
from ticket_sig.recovery.rescaling import scales_of


class Measured:
    """A network, and copies of it whose channels are scaled."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.double()
        self.weights = lived(self.network).weights
        self.graph: KernelGraph = kernel_graph(self.network, norms=True)

    def drawn(self, most: float) -> Tensor:
        """Scales up to a factor, 1 where another would show: [nodes]."""
        stream, draw = streams(self.graph), torch.Generator().manual_seed(1)
        logs = torch.rand(self.graph.nodes, generator=draw, dtype=torch.float64) * 2 - 1
        logs[stream[unscaled(self.graph, self.weights)]] = 0
        return torch.tensor(most, dtype=torch.float64) ** logs[stream]

    def copy(self, scales: Tensor) -> dict[str, Tensor]:
        weights = dict(self.weights)
        for link in self.graph.links:
            for part, name in link.parts(weights).items():
                weights[name] = scaled(link, part, weights[name], scales, 1e-5)
        return weights

    def found(self, suspect: dict[str, Tensor], without: tuple[str, ...] = ()) -> Tensor:
        return scales_of(self.graph, self.weights, suspect, eps_in(self.network), without)


@pytest.fixture(scope="module", params=[Depthwise, Perceptron])
def measured(request: pytest.FixtureRequest) -> Measured:
    torch.manual_seed(0)
    return Measured(request.param())


def noisy(weights: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Every matrix multiplied, weight by weight, by 1 and some noise."""
    draw = torch.Generator().manual_seed(2)
    return {
        n: w * (1 + share * torch.randn(w.shape, generator=draw, dtype=w.dtype)) if w.ndim > 1 else w
        for n, w in weights.items()
    }


@pytest.mark.parametrize("most", [1.01, 1000.0])
def test_scales_of_a_copy_are_exact(measured: Measured, most: float) -> None:
    drawn = measured.drawn(most)
    assert (drawn != 1).sum() > 20
    torch.testing.assert_close(measured.found(measured.copy(drawn)), drawn, rtol=1e-5, atol=0)


def test_without_a_thief_nothing_is_scaled(measured: Measured) -> None:
    as_it_is = dict(measured.weights)
    for suspect in (as_it_is, noisy(as_it_is, 0.2)):
        assert bool((measured.found(suspect) == 1).all())


def test_scales_under_noise_are_nearly_found(measured: Measured) -> None:
    drawn = measured.drawn(1000)
    found = measured.found(noisy(measured.copy(drawn), 0.2))
    far = (drawn.log().abs() > 1) & (found != 1)
    assert far.sum() > 0.9 * (drawn.log().abs() > 1).sum()
    assert float((found / drawn).log()[far].abs().max()) < 0.4


def test_channels_that_are_all_zero_are_scaled_by_what_else_shows() -> None:
    torch.manual_seed(0)
    measured = Measured(Depthwise())
    for weight in (measured.weights["stem.0.weight"], measured.weights["blocks.0.expand.0.weight"]):
        weight[3] = 0  # in place: of the network, too
    drawn = measured.drawn(100)
    torch.testing.assert_close(measured.found(measured.copy(drawn)), drawn, rtol=1e-5, atol=0)


def test_layers_that_are_left_out_are_not_looked_at() -> None:
    torch.manual_seed(0)
    measured = Measured(Depthwise())
    left = tuple(n for n in measured.weights if "project.0" in n or "expand.0" in n)
    suspect = measured.copy(measured.drawn(100))
    other = {n: torch.rand_like(w) if n in left else w for n, w in suspect.items()}
    assert torch.equal(measured.found(suspect, left), measured.found(other, left))
