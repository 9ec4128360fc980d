"""Convolutions by kept weights are dense ones with zeros: results and gradients, in any shape and layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ticket_sig import native
from ticket_sig.errors import InputError
from ticket_sig.models.sparse import Plan, operators, sparse_conv2d

compiled = native.library(operators.SOURCE) is not None
needs_kernels = pytest.mark.skipif(not compiled, reason="needs a C compiler")

# Errors relative to the norm: of sums in float32; of results rounded to bfloat16.
CLOSE = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 6e-3}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "NCHW": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "batch innermost": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "a slice": lambda x: torch.stack((x, x), 4).repeat_interleave(2, 1)[:, ::2, :, :, 0],
}


@contextlib.contextmanager
def on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def some_kept(*shape: int, density: float) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < density


def both(
    x: Tensor, kept: Tensor, steps: tuple[Any, ...] = (1, 1, 1, 1), bias: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients of input, kept weights and bias: ours, and PyTorch's in double precision."""
    plan = Plan.of(kept, *steps)
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight = (drawn(*kept.shape, seed=2) * kept).double()
    own = [x.detach().requires_grad_(), weight.flatten()[plan.positions].to(exact).requires_grad_()]
    reference = [x.detach().double().requires_grad_(), weight.requires_grad_()]
    if bias is not None:
        own.append(bias.detach().requires_grad_())
        reference.append(bias.detach().double().requires_grad_())
    y = sparse_conv2d(own[0], own[1], plan, *own[2:])
    expected = F.conv2d(*reference[:2], reference[2] if bias is not None else None, *steps)
    slope = drawn(*y.shape, seed=3, dtype=x.dtype)
    gradients = torch.autograd.grad(y, own, slope)
    dx, dweight, *others = torch.autograd.grad(expected, reference, slope.double())
    return [y, *gradients], [expected, dx, dweight.flatten()[plan.positions], *others]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one.double() - other).norm() <= tolerance * other.norm()


@needs_kernels
@settings(max_examples=60, deadline=None)
@given(
    batch=st.sampled_from([1, 2, 5, 16, 17, 33, 64, 70]),
    groups=st.sampled_from([1, 1, 2, 3]),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    beyond=st.tuples(st.integers(0, 6), st.integers(0, 10)),
    density=st.sampled_from([0, 0.03, 0.2, 1]),
    dtype=st.sampled_from(list(CLOSE)),
    layout=st.sampled_from(list(LAYOUTS)),
    threads=st.integers(1, 3),
)
def test_it_is_a_dense_convolution_with_zeros(
    batch: int,
    groups: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    beyond: tuple[int, int],
    density: float,
    dtype: torch.dtype,
    layout: str,
    threads: int,
) -> None:
    size = [d * (k - 1) + 1 + b for d, k, b in zip(dilation, kernel, beyond, strict=True)]
    x = LAYOUTS[layout](drawn(batch, channels[1] * groups, *size, dtype=dtype))
    kept = some_kept(channels[0] * groups, channels[1], *kernel, density=density)
    bias = drawn(len(kept), dtype=torch.float64).to(operators._exact(x)) if batch % 2 else None
    with on_threads(threads):
        found, expected = both(x, kept, (stride, padding, dilation, groups), bias)
    assert_close(found, expected, CLOSE[dtype])


@needs_kernels
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(
    ("outs", "ins", "size", "kernel", "stride"),
    [(64, 48, 8, 3, 1), (32, 16, 16, 3, 2), (16, 40, 16, 1, 2), (70, 300, 1, 1, 1)],
)
def test_the_layers_of_networks(
    outs: int, ins: int, size: int, kernel: int, stride: int, dtype: torch.dtype
) -> None:
    """Large enough for several blocks of channels, bands of rows and blocks of the batch."""
    x = LAYOUTS["batch innermost"](drawn(130, ins, size, size, dtype=dtype))
    kept = some_kept(outs, ins, kernel, kernel, density=0.1)
    found, expected = both(x, kept, (stride, kernel // 2, 1, 1))
    assert_close(found, expected, CLOSE[dtype])


@needs_kernels
@pytest.mark.parametrize("dtype", CLOSE)
def test_results_written_past_the_caches_are_the_same(dtype: torch.dtype) -> None:
    x = LAYOUTS["batch innermost"](drawn(64, 4, 32, 32, dtype=dtype))
    kept = some_kept(32, 4, 1, 1, density=0.5)
    found, expected = both(x, kept, (1, 0, 1, 1))
    assert found[0].numel() * found[0].element_size() > 3 << 20
    assert_close(found, expected, CLOSE[dtype])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_batch_is_innermost_in_results_and_in_gradients(layout: str) -> None:
    x = LAYOUTS[layout](drawn(3, 2, 5, 5)).requires_grad_()
    plan = Plan.of(torch.ones(4, 2, 3, 3, dtype=torch.bool), 2, 1)
    y = sparse_conv2d(x, drawn(72), plan)
    dx = torch.ops.ticket_sig.sparse_conv2d_input(y, drawn(72), plan.lists, plan.geometry, 5, 5)
    assert y.stride() == (1, 27, 9, 3) and dx.stride() == (1, 75, 15, 3)


@needs_kernels
def test_as_many_threads_give_the_same_bits_and_results_do_not_depend_on_how_many() -> None:
    x = LAYOUTS["batch innermost"](drawn(96, 16, 12, 12))
    kept = some_kept(16, 16, 3, 3, density=0.2)
    runs = []
    for threads in (3, 3, 1):
        with on_threads(threads):
            runs.append(both(x, kept)[0])
    assert all(one.equal(other) for one, other in zip(runs[0], runs[1], strict=True))
    assert all(one.equal(other) for one, other in zip(runs[0][:2], runs[2][:2], strict=True))


@needs_kernels
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_what_is_not_finite_spreads_by_kept_weights_alone(odd: float, batch: int, dtype: torch.dtype) -> None:
    x = drawn(batch, 2, 4, 5, dtype=dtype)
    x[-1, 0, 0, 0] = odd  # row -1 of image 1 is what a kernel might read beyond a row of image 0
    kept = torch.zeros(3, 2, 3, 3, dtype=torch.bool)
    kept[0, 0] = kept[1, 1] = True  # the first sees it, the second another channel, the third nothing
    (y, _, dvalues), _ = both(x, kept)
    affected = torch.zeros(4, 5, dtype=torch.bool)
    affected[:2, :2] = True
    assert (~y[-1, 0].isfinite()).equal(affected)
    assert y[:-1].isfinite().all() and y[:, 1:].isfinite().all()
    taps = dvalues.view(2, 3, 3)
    assert (~taps[0].isfinite()).sum() == 4 and taps[1].isfinite().all()  # the taps that reach the corner
    assert odd != torch.inf or not taps.isnan().any()


@needs_kernels
def test_bfloat16_is_rounded_to_the_nearest_and_a_nan_stays_one() -> None:
    x = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, torch.nan, -0.0, 1e-30]).view(-1, 1, 1, 1)
    identity = sparse_conv2d(torch.ones_like(x).bfloat16(), torch.ones(1), Plan.of(torch.ones(1, 1) > 0))
    assert identity.dtype == torch.bfloat16
    for bias in x.flatten():
        y = sparse_conv2d(
            torch.zeros(33, 1, 1, 1).bfloat16(), torch.ones(1), Plan.of(torch.ones(1, 1) > 0), bias[None]
        )
        assert y.isnan().all() if bias.isnan() else (y == bias.bfloat16()).all()


def test_a_layer_wholly_pruned_gives_its_bias() -> None:
    x = drawn(5, 3, 4, 4).requires_grad_()
    values = torch.empty(0, requires_grad=True)
    y = sparse_conv2d(x, values, Plan.of(torch.zeros(2, 3, 3, 3) > 0, padding=1), torch.tensor([1.0, -2.0]))
    dx, dvalues = torch.autograd.grad(y.sum(), (x, values))
    assert (y[:, 0] == 1).all() and (y[:, 1] == -2).all() and not dx.any() and dvalues.shape == (0,)


def test_a_batch_of_none() -> None:
    values = torch.ones(4, requires_grad=True)
    y = sparse_conv2d(torch.empty(0, 2, 3, 3), values, Plan.of(torch.ones(2, 2) > 0))
    assert y.shape == (0, 2, 3, 3)
    assert not torch.autograd.grad(y.sum(), values)[0].any()


def test_an_expanded_gradient_is_taken() -> None:
    x, kept = drawn(4, 2, 5, 5).requires_grad_(), some_kept(3, 2, 3, 3, density=0.5)
    plan = Plan.of(kept)
    weight = drawn(*kept.shape) * kept
    sparse_conv2d(x, weight.flatten()[plan.positions], plan).sum().backward()  # type: ignore[no-untyped-call]
    assert_close([x.grad], [torch.nn.grad.conv2d_input(x.shape, weight, torch.ones(4, 3, 3, 3))], 1e-5)  # type: ignore[list-item]


def small(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Plan, Tensor]:
    plan = Plan.of(some_kept(4, 2, 3, 2, density=0.4), (2, 1), (1, 0), (1, 2), 2)
    x = drawn(3, 4, 5, 6, dtype=dtype).requires_grad_()
    values = drawn(len(plan.positions), seed=1, dtype=dtype).requires_grad_()
    return x, values, plan, drawn(4, seed=2, dtype=dtype).requires_grad_()


def test_gradients_and_their_gradients_are_right_to_double_precision() -> None:
    x, values, plan, bias = small()
    assert torch.autograd.gradcheck(
        lambda *given: sparse_conv2d(*given[:2], plan, given[2]), (x, values, bias)
    )
    assert torch.autograd.gradgradcheck(lambda *given: sparse_conv2d(*given, plan), (x, values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pytorch_finds_the_operators_sound(dtype: torch.dtype) -> None:
    x, values, plan, bias = small(dtype)
    y = sparse_conv2d(x, values, plan).detach().requires_grad_()
    given = plan.lists, plan.geometry
    torch.library.opcheck(torch.ops.ticket_sig.sparse_conv2d, (x, values, bias, *given))
    torch.library.opcheck(torch.ops.ticket_sig.sparse_conv2d_input, (y, values, *given, 5, 6))
    torch.library.opcheck(torch.ops.ticket_sig.sparse_conv2d_values, (y, x, *given))


def test_without_a_compiler_pytorch_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(5, 4, 7, 6)
    kept, steps = some_kept(6, 2, 3, 3, density=0.4), (2, 1, 1, 2)
    monkeypatch.setattr(operators, "library", lambda source: None)
    found, expected = both(x, kept, steps, drawn(6))
    assert_close(found, expected, 1e-5)


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("without", ["-mno-avx512f", "-mno-avx"])
def test_smaller_vectors_give_the_same(without: str, monkeypatch: pytest.MonkeyPatch, own_cache: Any) -> None:
    monkeypatch.setenv("CC", f"cc {without}")
    native.library.cache_clear()
    assert native.library(operators.SOURCE) is not None
    for dtype, tolerance in CLOSE.items():
        for batch in (3, 70):
            assert_close(
                *both(drawn(batch, 5, 9, 9, dtype=dtype), some_kept(6, 5, 3, 3, density=0.3)), tolerance
            )
    native.library.cache_clear()


@needs_kernels
@pytest.mark.slow
def test_very_wide_rows_are_packed_for_few_images_at_once() -> None:
    """For 64 images at once these would take 8 GB, and more numbers than an offset can name."""
    x, kept = drawn(1, 1, 1001, 33000), torch.ones(1, 1, 2, 1, dtype=torch.bool)
    y = sparse_conv2d(x.expand(64, -1, -1, -1), torch.ones(2), Plan.of(kept, dilation=(1000, 1)))
    assert torch.equal(y, (x[:, :, :1] + x[:, :, 1000:]).expand_as(y))


@needs_kernels
def test_very_many_channels_are_packed_for_few_images_at_once() -> None:
    """For all 64 images a tile of them would take more than a thread may."""
    kept = torch.ones(1, 900_000, dtype=torch.bool)
    y = sparse_conv2d(torch.ones(1, 1, 1, 1).expand(64, 900_000, 1, 1), torch.ones(900_000), Plan.of(kept))
    assert torch.equal(y, torch.full((64, 1, 1, 1), 900_000.0))


@pytest.mark.parametrize(
    "change", [Tensor.long, lambda t: t[:-1], lambda t: t[:3], lambda t: t.repeat(2)[::2]]
)
def test_lists_of_no_plan_are_refused_before_the_kernels_read_them(
    change: Callable[[Tensor], Tensor],
) -> None:
    plan = Plan.of(torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"^lists of a sparse layer: expected those of a plan, found "):
        torch.ops.ticket_sig.sparse_conv2d(
            torch.ones(1, 2, 3, 3), torch.ones(4), None, change(plan.lists), plan.geometry
        )


@needs_kernels
@pytest.mark.parametrize(
    ("place", "value"), [(0, 1), (1, 9), (2, 3), (3, 2), (4, -1), (7, 1), (11, 5), (13, 2), (17, 2), (24, 4)]
)
def test_lists_with_a_number_out_of_range_are_refused(place: int, value: int) -> None:
    plan = Plan.of(torch.ones(2, 2, dtype=torch.bool))
    lists, x, y = plan.lists.clone(), torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
    lists[place] = value
    ops, given = torch.ops.ticket_sig, (lists, plan.geometry)
    with pytest.raises(InputError, match=r"^lists of a sparse layer: expected those of a plan, found "):
        ops.sparse_conv2d(x, torch.ones(4), None, *given)
    with pytest.raises(InputError, match=r"^lists of a sparse layer"):
        ops.sparse_conv2d_input(y, torch.ones(4), *given, 3, 3)
    with pytest.raises(InputError, match=r"^lists of a sparse layer"):
        ops.sparse_conv2d_values(y, x, *given)


def test_tensors_on_several_devices_are_refused() -> None:
    x, values, plan, bias = (t.detach() if isinstance(t, Tensor) else t for t in small(torch.float32))
    ops, given, y = torch.ops.ticket_sig, (plan.lists, plan.geometry), sparse_conv2d(x, values, plan)
    calls: list[tuple[str, Callable[[], Tensor]]] = [
        ("values", lambda: sparse_conv2d(x, values.to("meta"), plan)),
        ("values", lambda: ops.sparse_conv2d(x.to("meta"), values, None, *given)),
        ("bias", lambda: sparse_conv2d(x, values, plan, bias.to("meta"))),
        ("values", lambda: ops.sparse_conv2d_input(y, values.to("meta"), *given, 5, 6)),
        ("gradient", lambda: ops.sparse_conv2d_values(y, x.to("meta"), *given)),
        ("lists", lambda: ops.sparse_conv2d(x, values, None, plan.lists.to("meta"), plan.geometry)),
    ]
    for field, call in calls:
        with pytest.raises(InputError, match=f"^{field} of a sparse layer: expected .* meta"):
            call()


def test_an_image_without_pixels_or_with_other_channels_is_refused_by_each_operator() -> None:
    plan, x, y = (
        Plan.of(torch.ones(2, 3, 1, 1) > 0, padding=1),
        torch.ones(2, 3, 5, 0),
        torch.ones(2, 2, 7, 2),
    )
    ops, given = torch.ops.ticket_sig, (plan.lists, plan.geometry)
    for call in (
        lambda: sparse_conv2d(x, torch.ones(6), plan),
        lambda: ops.sparse_conv2d_input(y, torch.ones(6), *given, 5, 0),
        lambda: ops.sparse_conv2d_values(y, x, *given),
    ):
        with pytest.raises(InputError, match=r"no smaller than the kernel, found 5 x 0$"):
            call()
    with pytest.raises(InputError, match=r"expected \[batch, 3, height, width\], found \[2, 1, 5, 5\]$"):
        ops.sparse_conv2d_values(torch.ones(2, 2, 7, 7), torch.ones(2, 1, 5, 5), *given)


def test_evaluation_keeps_nothing_for_a_gradient() -> None:
    x, values, plan, _ = small(torch.float32)
    with torch.no_grad():
        assert sparse_conv2d(x, values, plan).grad_fn is None


def test_backward_keeps_only_what_it_needs() -> None:
    x, values, plan, _ = small(torch.float32)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        sparse_conv2d(x, values.detach(), plan)
    assert [t.shape for t in kept] == [values.shape]


def test_autocast_has_it_compute_in_bfloat16() -> None:
    x, values, plan, _ = small(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert sparse_conv2d(x, values, plan).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("x", "values", "said"),
    [
        (
            torch.ones(1, 3, 5, 5),
            torch.ones(2),
            "input of a sparse layer: expected .batch, 1, height, width.",
        ),
        (torch.ones(1, 5, 5), torch.ones(2), "input of a sparse layer: expected .batch, 1, height, width."),
        (torch.ones(1, 1, 2, 2), torch.ones(2), "an image that is no smaller than the kernel, found 2 x 2"),
        (
            torch.ones(1, 1, 5, 5),
            torch.ones(3),
            "values of a sparse layer: expected .*shape .2. on cpu, found .*shape .3. on cpu",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(x: Tensor, values: Tensor, said: str) -> None:
    kept = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    kept[0, 0, 0, :2] = True
    with pytest.raises(InputError, match=said):
        sparse_conv2d(x, values, Plan.of(kept))
