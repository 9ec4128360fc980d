"""Batch norm, residual and ReLU with the batch innermost: as PyTorch has them, in any shape."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.sparse import norm_relu
from ticket_sig.models.sparse.layout import batch_innermost, is_batch_innermost
from ticket_sig.models.sparse.norm_relu import SparseBatchNorm2d
from ticket_sig.native import library

compiled = library(norm_relu.SOURCE) is not None
needs_kernels = pytest.mark.skipif(not compiled, reason="needs a C compiler")


def layer(channels: int, relu: bool = True) -> NormReLU | SparseBatchNorm2d:
    norm = NormReLU(channels) if relu else SparseBatchNorm2d(channels)
    draw = torch.Generator().manual_seed(channels)
    nn.init.uniform_(norm.weight, 0.5, 2, generator=draw)
    nn.init.normal_(norm.bias, generator=draw)
    if isinstance(norm, NormReLU):
        norm.beside_sparse = True
    return norm


def activation(*shape: int, shift: float = 1.0, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(sum(shape) + seed)
    return batch_innermost((torch.randn(*shape, generator=draw) * 2 + shift).to(dtype))


def near(found: Tensor | None, wanted: Tensor | None, share: float, terms: float = 1.0) -> None:
    """Within a share of the largest value, or of `terms`: the size of what cancels in the sum."""
    assert found is not None and wanted is not None
    slack = share * max(1.0, terms, float(wanted.detach().abs().max()))
    assert float((found.detach().double() - wanted.detach()).abs().max()) <= slack


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 35),
    channels=st.sampled_from([1, 3, 16, 33]),
    height=st.integers(2, 6),
    width=st.integers(1, 7),
    residual=st.booleans(),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_it_is_batch_norm_plus_relu(
    batch: int, channels: int, height: int, width: int, residual: bool, relu: bool, dtype: torch.dtype
) -> None:
    shape, norm = (batch, channels, height, width), layer(channels, relu)
    residual &= relu  # a plain batch norm has none
    reference = nn.BatchNorm2d(channels).double()
    reference.load_state_dict(norm.state_dict())
    given = [activation(*shape, dtype=dtype, seed=s).requires_grad_() for s in range(1 + residual)]
    exact = [t.detach().double().requires_grad_() for t in given]
    wanted = reference(exact[0]) + (exact[1] if residual else 0)
    y, slope = norm(*given), activation(*shape, dtype=dtype, shift=0, seed=7)
    assert is_batch_innermost(y) and y.dtype == dtype
    # Where the exact result is zero to rounding, either side of the ReLU is right.
    passes = (y > 0).double() if relu else torch.ones(shape, dtype=torch.float64)
    (wanted * passes).backward(slope.double())
    y.backward(slope)
    share = 0.02 if dtype == torch.bfloat16 else 1e-4
    near(y, F.relu(wanted) if relu else wanted, share)
    # Of two values that are close by each other, gradients of weight / deviation times the slope cancel.
    deviation = exact[0].detach().var((0, 2, 3), correction=0).add(reference.eps).sqrt()
    near(given[0].grad, exact[0].grad, share, terms=float((reference.weight.detach() / deviation).max()))
    for one, other in zip(given[1:], exact[1:], strict=True):
        near(one.grad, other.grad, share)
    near(norm.weight.grad, reference.weight.grad, share)
    near(norm.bias.grad, reference.bias.grad, share)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        near(getattr(norm, name), getattr(reference, name), 1e-5)
    with torch.no_grad():
        wanted = reference.eval()(exact[0]) + (exact[1] if residual else 0)
        near(norm.eval()(*given), F.relu(wanted) if relu else wanted, share)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    norm, x = layer(16), activation(8, 16, 8, 8, shift=1000.0)
    reference = nn.BatchNorm2d(16).double()
    reference.load_state_dict(norm.state_dict())
    near(norm(x), F.relu(reference(x.double())), 1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(value: float) -> None:
    norm, x = layer(16), activation(4, 16, 8, 8)
    x[1, 3, 2, 2] = value
    y = norm(x)
    assert not torch.isfinite(y[:, 3]).any()
    assert torch.isfinite(y[:, [c for c in range(16) if c != 3]]).all()


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits() -> None:
    def run(threads: int) -> list[Tensor]:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        norm, x = layer(6), activation(17, 6, 8, 9).requires_grad_()
        y = norm(x, activation(17, 6, 8, 9, seed=1))
        y.backward(y.detach())
        assert x.grad is not None and norm.weight.grad is not None
        return [y.detach(), x.grad, norm.weight.grad]

    before = torch.get_num_threads()
    try:
        assert all(torch.equal(a, b) for a, b in zip(run(1), run(4), strict=True))
    finally:
        torch.set_num_threads(before)


def without_bias(norm: nn.BatchNorm2d) -> None:
    norm.bias = None  # type: ignore[assignment]


def cumulative(norm: nn.BatchNorm2d) -> None:
    norm.momentum = None


def untracked(norm: nn.BatchNorm2d) -> None:
    norm.running_mean = norm.running_var = None


def expanded(norm: nn.BatchNorm2d) -> None:
    norm.weight = nn.Parameter(torch.ones(1).expand(6))


def a_slice(norm: nn.BatchNorm2d) -> None:
    norm.running_mean = torch.arange(12.0)[::2]


@pytest.mark.parametrize("change", [without_bias, cumulative, untracked, expanded, a_slice, nn.Module.double])
@pytest.mark.parametrize("training", [True, False])
def test_an_unusual_layer_is_left_to_pytorch(change: Callable[[nn.Module], None], training: bool) -> None:
    norm = layer(6).train(training)
    change(norm)
    plain = copy.deepcopy(norm)
    plain.beside_sparse = False  # type: ignore[assignment]
    x = activation(4, 6, 5, 5).to(norm.weight.dtype)
    y = norm(x, x)
    assert is_batch_innermost(y) and torch.equal(y, plain(x, x))
    for a, b in zip(norm.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b)


def test_a_gradient_in_evaluation_is_pytorch_s() -> None:
    norm, x = layer(6).eval(), activation(4, 6, 5, 5)
    plain = copy.deepcopy(norm)
    plain.beside_sparse = False  # type: ignore[assignment]
    gradients = []
    for one in (norm, plain):
        given = x.clone().requires_grad_()
        one(given).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)
