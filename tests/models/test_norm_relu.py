"""The fused operation is batch norm, plus, ReLU: in value, gradient and running statistics, in any shape."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ticket_sig.models import build, norm_relu
from ticket_sig.models.norm_relu import NormReLU, fuse
from ticket_sig.native import library

compiled = library(norm_relu._SOURCE) is not None
needs_kernels = pytest.mark.skipif(not compiled, reason="needs a C compiler")


def layer(channels: int) -> NormReLU:
    norm = NormReLU(channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    return norm


def activation(*shape: int, scale: float = 2.0, shift: float = 1.0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale + shift
    return drawn.bfloat16().contiguous(memory_format=torch.channels_last)


def exact(norm: NormReLU, x: Tensor, residual: Tensor | None) -> tuple[nn.BatchNorm2d, Tensor, list[Tensor]]:
    """The same in double precision, by PyTorch: the layer, the result and what gradients it is taken for."""
    reference = nn.BatchNorm2d(x.shape[1]).double()
    reference.load_state_dict(norm.state_dict())
    inputs = [t.detach().double().requires_grad_() for t in (x, residual) if t is not None]
    y = reference(inputs[0])
    return reference, F.relu(y + inputs[1] if residual is not None else y), inputs


@needs_kernels
@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 16, 24, 32, 60, 64, 65, 128, 200]),
    height=st.integers(2, 6),
    width=st.integers(1, 7),
    with_residual=st.booleans(),
    threads=st.integers(1, 3),
)
def test_it_is_batch_norm_plus_relu(
    images: int, channels: int, height: int, width: int, with_residual: bool, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(images, channels, height, width, with_residual)
    finally:
        torch.set_num_threads(before)


def check(images: int, channels: int, height: int, width: int, with_residual: bool) -> None:
    norm = layer(channels)
    x = activation(images, channels, height, width).requires_grad_()
    residual = (
        activation(images, channels, height, width, shift=0).requires_grad_() if with_residual else None
    )
    reference, expected, inputs = exact(norm, x, residual)
    assert fuse(norm)
    y = norm(x, residual)
    slope = activation(images, channels, height, width, scale=1, shift=0)
    y.backward(slope)
    # Where the exact result is zero to rounding, either side of the ReLU is right.
    expected.backward(torch.where((y > 0) == (expected > 0), slope, 0).double())
    unclear = ((y > 0) != (expected > 0)) & (slope != 0)
    close(y, expected, 0.01)
    for name in ("running_mean", "running_var"):
        close(getattr(norm, name), getattr(reference, name), 1e-4)
    assert norm.num_batches_tracked == 1
    if not unclear.any():
        for found, wanted in zip([x, residual], inputs, strict=False):
            assert found is not None
            close(found.grad, wanted.grad, 0.02)
        close(norm.weight.grad, reference.weight.grad, 0.01)
        close(norm.bias.grad, reference.bias.grad, 0.01)


def close(found: Tensor | None, wanted: Tensor | None, share: float) -> None:
    """Equal up to a share of the largest value (and of one, where all are small)."""
    assert found is not None and wanted is not None
    slack = share * max(1.0, float(wanted.detach().abs().max()))
    assert float((found.detach().double() - wanted.detach()).abs().max()) <= slack


@needs_kernels
def test_a_mean_far_from_zero_costs_no_digits() -> None:
    norm, x = layer(16), activation(8, 16, 8, 8, scale=1.0, shift=100.0)
    _, expected, _ = exact(norm, x, None)
    fuse(norm)
    close(norm(x), expected, 0.01)


@needs_kernels
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(value: float) -> None:
    norm, x = layer(16), activation(4, 16, 8, 8)
    x[1, 3, 2, 2] = value
    fuse(norm)
    y = norm(x)
    assert not torch.isfinite(y[:, 3]).any()
    assert torch.isfinite(y[:, [c for c in range(16) if c != 3]]).all()


def without_bias(norm: NormReLU) -> None:
    norm.bias = None  # type: ignore[assignment]


def cumulative(norm: NormReLU) -> None:
    norm.momentum = None


def untracked(norm: NormReLU) -> None:
    norm.running_mean = norm.running_var = None


def in_bf16(norm: NormReLU) -> None:
    norm.bfloat16()


@needs_kernels
@pytest.mark.parametrize("change", [without_bias, cumulative, untracked, in_bf16])
def test_an_unusual_layer_is_left_to_pytorch(change: Callable[[NormReLU], None]) -> None:
    norm, x = layer(16), activation(4, 16, 8, 8)
    change(norm)
    plain = copy.deepcopy(norm)
    fuse(norm)
    assert torch.equal(norm(x), plain(x))
    for a, b in zip(norm.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b)


@needs_kernels
def test_an_empty_batch_is_left_to_pytorch() -> None:
    norm = layer(16)
    fuse(norm)
    assert norm(activation(0, 16, 8, 8)).shape == (0, 16, 8, 8)


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (4, 8, 8, 8), (4, 16, 8)])
def test_what_batch_norm_refuses_is_refused(shape: tuple[int, ...]) -> None:
    norm, x = layer(16), torch.zeros(shape, dtype=torch.bfloat16)
    fuse(norm)
    with pytest.raises((ValueError, RuntimeError)):
        norm(x)
    assert all(torch.isfinite(t).all() for t in norm.buffers())


@needs_kernels
def test_a_second_derivative_is_refused_and_not_forgotten() -> None:
    norm, x = layer(16), activation(4, 16, 8, 8).requires_grad_()
    fuse(norm)
    (slope,) = torch.autograd.grad(norm(x).float().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        slope.float().square().sum().backward()


@needs_kernels
def test_the_same_threads_give_the_same_bits() -> None:
    def run() -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        norm, x = layer(32), activation(16, 32, 8, 8).requires_grad_()
        fuse(norm)
        y = norm(x)
        y.backward(y.detach())
        assert x.grad is not None and norm.weight.grad is not None
        return y.detach(), x.grad, norm.weight.grad

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize(
    "arch",
    ["resnet20", "resnet20-proj", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet50", "vgg16"))],
)
def test_a_network_s_gradient_is_as_near_to_float32_s_as_pytorch_s_own(arch: str) -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.rand(16, 3, 16, 16, generator=draw), torch.arange(16) % 4

    def gradient(fused: bool, bf16: bool = True) -> Tensor:
        model = build(arch, 4, seed=0).to(memory_format=torch.channels_last).train()
        assert bool(fuse(model, fused)) == (fused and compiled)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images).float()
        F.cross_entropy(logits, labels).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    true = gradient(False, bf16=False)
    fused, own = (F.cosine_similarity(gradient(on), true, 0) for on in (True, False))
    assert fused > own - 0.02


def test_all_that_is_not_bf16_training_is_pytorch_s_own() -> None:
    """In float32, and where nothing is trained, fused or not gives the same bits."""
    norm, x = layer(8), torch.randn(2, 8, 4, 4)
    fused = copy.deepcopy(norm)
    fuse(fused)
    for training, dtype in itertools.product((True, False), (torch.float32, torch.bfloat16)):
        if not (training and dtype == torch.bfloat16):
            results = [m.train(training)(x.to(dtype), x.to(dtype)) for m in (norm, fused)]
            assert torch.equal(*results)


def test_the_names_of_tensors_are_those_of_batch_norm() -> None:
    assert NormReLU(4).state_dict().keys() == nn.BatchNorm2d(4).state_dict().keys()
