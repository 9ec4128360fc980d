"""Sparse layers are the dense ones but for rounding; swapped in place and back, and nothing else changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import TinyNet
from torch import Tensor, nn

from ticket_sig import InputError, Mask, sparsify
from ticket_sig.models import build, prunable_names
from ticket_sig.models.sparse.layers import SparseConv2d, SparseLinear, as_sparse, densify, sparse_layers
from ticket_sig.models.sparse.layout import batch_innermost, is_batch_innermost


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def pruned(model: nn.Module, density: float = 0.3) -> Mask:
    """A mask over every matrix of a network, whose weights it prunes."""
    draw = torch.Generator().manual_seed(1)
    weights = {n: p for n, p in model.named_parameters() if p.ndim > 1}
    mask = Mask({n: torch.rand(p.shape, generator=draw) < density for n, p in weights.items()})
    mask.bind(dict(model.named_parameters()))
    return mask


def compared(layer: nn.Module, x: Tensor, limit: float = 1e-5) -> None:
    """A layer sparse and dense on the same input: result and gradients, relative to the largest value."""
    mask, wanted = pruned(layer), []
    inputs = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
    for one in inputs:
        layer.zero_grad()
        y = layer(one)
        slope = drawn(*y.shape)
        y.backward(slope)
        found = [y, one.grad, *(p.grad for p in layer.parameters())]
        wanted.append([t.detach().clone() for t in found if t is not None])
        sparsify(layer, mask)
    (kept,) = mask.values()
    wanted[0][2] *= kept
    assert bool((wanted[1][2][~kept] == 0).all()), "what is pruned gets no gradient at all"
    for dense, sparse in zip(*wanted, strict=True):
        assert sparse.shape == dense.shape
        assert float((sparse - dense).abs().max()) <= limit * max(1.0, float(dense.abs().max()))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 19),
    groups=st.sampled_from([1, 1, 2]),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1)]),
    stride=st.integers(1, 2),
    padding=st.sampled_from([0, 1, (1, 2), "valid"]),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    layout=st.sampled_from(["contiguous", "channels_last", "batch_innermost", "strided", "expanded"]),
)
def test_a_convolution_is_the_dense_one(
    batch: int,
    groups: int,
    kernel: tuple[int, int],
    stride: int,
    padding: Any,
    dilation: int,
    bias: bool,
    layout: str,
) -> None:
    layer = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias)
    x = drawn(batch, 4, 11, 10)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "batch_innermost":
        x = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    elif layout == "strided":
        x = drawn(batch, 8, 11, 20)[:, ::2, :, ::2]
    elif layout == "expanded":
        x = drawn(1, 4, 11, 1).expand(batch, 4, 11, 10)
    compared(layer, x)


def test_zeros_that_are_alike_on_both_sides_are_padding() -> None:
    compared(nn.Conv2d(3, 5, (3, 5), padding="same"), drawn(2, 3, 7, 8))
    compared(nn.Conv2d(3, 5, 3), drawn(3, 7, 8))  # one image, without a batch


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7), (2, 1, 3, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_the_dense_one(shape: tuple[int, ...], bias: bool) -> None:
    compared(nn.Linear(7, 4, bias), drawn(*shape))


@pytest.mark.parametrize("arch", ["resnet20", "freezenet"])
@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_the_dense_one_in_its_own_layout(arch: str, training: bool) -> None:
    model = build(arch, 4, seed=0).double().train(training)
    mask = pruned(model)
    dense = copy.deepcopy(model)
    kept, others = dict(mask), {}
    mask = Mask({n: kept[n] for n in prunable_names(model)})
    sparsify(model, mask, [n for n in kept if "fc" not in n])
    x = drawn(3, 3, 16, 16).double()
    for one in (model, dense):
        one(x).square().sum().backward()
    others = dict(dense.named_parameters())
    for name, p in model.named_parameters():
        if p.ndim > 1:  # a bias before a batch norm has no gradient but rounding
            wanted = others[name].grad * mask[name] if name in mask else others[name].grad
            torch.testing.assert_close(p.grad, wanted, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.parametrize("arch", ["resnet20", "resnet20-proj"])
@pytest.mark.parametrize("bf16", [True, False])
def test_activations_keep_their_layout_from_the_first_layer_to_the_last(arch: str, bf16: bool) -> None:
    model, lost = build(arch, 4, seed=0), list[str]()
    sparsify(model, pruned(model), [n for n, p in model.named_parameters() if p.ndim == 4])
    for name, module in model.named_modules():

        def look(_: nn.Module, given: tuple[Tensor, ...], y: Tensor, name: str = name) -> None:
            if y.ndim == 4 and not is_batch_innermost(y):
                lost.append(name)
            if y.requires_grad and y.ndim == 4:
                y.register_hook(lambda g: None if is_batch_innermost(g) else lost.append(f"gradient {name}"))

        module.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model(drawn(5, 3, 16, 16)).float().sum().backward()
    assert [name for name in lost if "layer3" not in name] == []  # behind it are the mean and the classifier


def test_a_network_is_swapped_in_place_and_back() -> None:
    model, seen = TinyNet(), list[str]()
    mask = pruned(model)
    model.c2.register_forward_hook(lambda *_: seen.append("c2"))
    before = {name: (id(p), p._version) for name, p in model.named_parameters()}
    modules, state = list(model.modules()), list(model.state_dict())
    assert sparsify(model, mask, ["c2.weight", "f1.weight"]) is model
    assert sparse_layers(model) == ("c2.weight", "f1.weight")
    assert isinstance(model.c2, SparseConv2d) and isinstance(model.f1, SparseLinear)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    assert {name: (id(p), p._version) for name, p in model.named_parameters()} == before
    assert list(model.state_dict()) == state
    model(drawn(2, 1, 8, 8))
    assert seen == ["c2"]
    densify(model)
    assert {type(m) for m in model.modules()} == {TinyNet, nn.Conv2d, nn.BatchNorm2d, nn.Dropout, nn.Linear}
    assert vars(model.c2).keys() == vars(TinyNet().c2).keys()


class Tied(nn.Module):
    """One module in two places, and one weight in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.b, self.c.weight = self.a, self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_tied_weights_and_wrappers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model, x = Tied(), drawn(2, 3, 6, 6)
    mask = pruned(model)
    model(x).square().sum().backward()
    gradient, expected = model.a.weight.grad, model(x)
    model.a.weight.grad = None
    wrapped = sparsify(wrap(model), mask)
    assert set(sparse_layers(wrapped)) == {"a.weight", "c.weight"}
    torch.testing.assert_close(wrapped(x), expected)
    wrapped(x).square().sum().backward()
    assert gradient is not None
    torch.testing.assert_close(model.a.weight.grad, gradient * mask["a.weight"])


def test_what_it_cannot_take_is_named_once_and_left_dense() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, (2, 3), padding="same"),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(2),
        nn.Conv1d(4, 4, 3),
    )
    mask, told, x = pruned(model), list[str](), drawn(2, 4, 9, 9)
    expected = model(x)
    sparsify(model, mask, note=told.append)
    assert sparse_layers(model) == ("3.weight",)
    assert told == [
        "left dense: 0.weight (depth-wise); 1.weight (padding circular); "
        "2.weight (padding not the same on both sides); 5.weight (a Conv1d)"
    ]
    torch.testing.assert_close(model(x), expected)


def test_a_layer_of_which_nothing_is_kept_is_left_dense() -> None:
    model = TinyNet()
    mask = Mask({"c2.weight": torch.zeros(8, 4, 3, 3, dtype=torch.bool), "f1.weight": torch.ones(12, 8) > 0})
    with pytest.warns(UserWarning, match=r"^left dense: c2\.weight \(nothing is kept\)$"):
        sparsify(model, mask)
    assert sparse_layers(model) == ()


def state_of(model: nn.Module) -> list[Any]:
    """All that `sparsify` changes."""
    return [(type(m), sorted(vars(m)), getattr(m, "beside_sparse", None)) for m in model.modules()]


@pytest.mark.parametrize("sparse", [False, True])
def test_after_a_block_or_an_error_a_network_is_as_sparse_as_before(sparse: bool) -> None:
    model = build("resnet20", 4, seed=0).eval()
    mask, x = pruned(model), drawn(2, 3, 8, 8)
    first, *_, last = prunable_names(model)
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    if sparse:
        sparsify(model, mask, [first])
    found, answer = state_of(model), model(x)
    with as_sparse(model, mask, [last]):
        assert sparse_layers(model) == (last,)
        with as_sparse(model, mask, []):
            assert sparse_layers(model) == (last,)
    assert state_of(model) == found and torch.equal(model(x), answer)

    def interrupt(_: str) -> None:
        assert sparse_layers(model) == (last,)
        raise KeyboardInterrupt

    model.add_module("depthwise", depthwise)
    found = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        sparsify(model, mask, [last, "depthwise.weight"], note=interrupt)
    assert state_of(model) == found and torch.equal(model(x), answer)


def test_without_a_mask_zeros_are_what_is_pruned() -> None:
    model = TinyNet()
    pruned(model.c2)
    assert sparse_layers(sparsify(model)) == ("c2.weight",)


@pytest.mark.parametrize(
    ("mask", "layers", "words"),
    [
        (
            {"c2.weight": (8, 4, 3, 2)},
            None,
            r"c2\.weight: expected shape \[8, 4, 3, 2\], found \[8, 4, 3, 3\]",
        ),
        ({"c9.weight": (8, 4, 3, 3)}, None, r"parameters: c9\.weight: expected, not found"),
        ({}, ["c9.weight"], r"model: layers: expected weights of layers that it has, found c9\.weight"),
    ],
)
def test_what_does_not_fit_is_refused(
    mask: dict[str, tuple[int, ...]], layers: list[str] | None, words: str
) -> None:
    model = TinyNet()
    with pytest.raises(InputError, match=words):
        sparsify(model, Mask({n: torch.ones(s, dtype=torch.bool) for n, s in mask.items()}), layers)
    assert sparse_layers(model) == ()


def test_it_is_copied_pickled_and_laid_out_anew() -> None:
    model, x = TinyNet(), drawn(4, 1, 8, 8)
    sparsify(model, pruned(model))
    expected = model(x)
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert sparse_layers(one) == sparse_layers(model)
        torch.testing.assert_close(one(x), expected, rtol=0, atol=0)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    model(x).sum().backward()
    assert model.c2.weight.grad is not None
    assert model.c2.weight.grad.stride() == model.c2.weight.stride()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(value: float) -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1)
    sparsify(layer, Mask({"weight": torch.ones(4, 3, 3, 3, dtype=torch.bool).tril()}))
    x = drawn(2, 3, 6, 6)
    x[1, 0, 2, 2] = value
    assert not torch.isfinite(layer(x)[1, 0]).all()


def test_under_autocast_it_answers_in_bf16_and_sums_in_float32() -> None:
    layer, x = nn.Conv2d(16, 8, 3, bias=False), drawn(4, 16, 9, 9)
    mask = pruned(layer)
    exact = F.conv2d(x.bfloat16().double(), layer.weight.double())
    sparsify(layer, mask)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    assert float((y.double() - exact).detach().abs().max()) <= 2**-8 * float(exact.detach().abs().max())


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, padding=1), nn.Linear(5, 6)])
@pytest.mark.parametrize("batch", [(3,), ()])
def test_what_follows_may_change_the_result_in_place(layer: nn.Module, batch: tuple[int, ...]) -> None:
    x = drawn(*batch, 4, 5, 5)
    compared(nn.Sequential(layer, nn.ReLU(inplace=True)), x)


@pytest.mark.parametrize(
    ("way", "stays"), [("nothing", False), ("new optimizer", True), ("masked momentum", True), ("hold", True)]
)
def test_under_sgd_a_pruned_weight_stays_zero_where_its_momentum_is_or_the_mask_is_held(
    way: str, stays: bool
) -> None:
    model, x = TinyNet(), drawn(4, 1, 8, 8)

    def fresh() -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)

    def step(optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step(optimizer := fresh())
    mask = Mask({"c2.weight": drawn(8, 4, 3, 3) > 0})
    hold = mask.bind(dict(model.named_parameters()))
    sparsify(model, mask)
    if way == "new optimizer":
        optimizer = fresh()
    elif way == "masked momentum":
        optimizer.state[model.c2.weight]["momentum_buffer"] *= mask["c2.weight"]
    for _ in range(2):
        step(optimizer)
        if way == "hold":
            hold()
    assert bool((model.c2.weight[~mask["c2.weight"]] == 0).all()) == stays


POOLINGS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d((3, 2), stride=1, padding=1, ceil_mode=True),
    nn.AvgPool2d(3, stride=2, padding=1),
    nn.AdaptiveAvgPool2d((3, 2)),
    nn.AdaptiveAvgPool2d(1),
]


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_keeps_the_layout_both_ways(pooling: nn.Module, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 1), copy.deepcopy(pooling))
    sparsify(model, pruned(model))
    x = drawn(5, 6, 9, 8).to(dtype)
    inner = batch_innermost(x).requires_grad_()
    y = model[1](inner)
    (slope,) = torch.autograd.grad(y.float().square().sum(), inner)
    assert is_batch_innermost(y)
    assert is_batch_innermost(slope) or y.shape[2:] == (1, 1)  # the same for all pixels: no memory at all
    torch.testing.assert_close(y, pooling(x))
    assert torch.equal(model[1](x), pooling(x))  # in another layout
    densify(model)
    assert type(model[1]) is type(pooling)


def test_pooling_that_says_where_the_largest_are_still_does() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2, return_indices=True))
    x = drawn(3, 1, 4, 4)
    mask = pruned(model)
    wanted = model(x)
    for one, other in zip(sparsify(model, mask)(x), wanted, strict=True):
        torch.testing.assert_close(one, other)


class WithMatrix(nn.Module):
    """A matrix that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(drawn(4, 4))


def test_a_pruned_weight_of_no_layer_or_of_a_script_is_named() -> None:
    script = torch.jit.script(nn.Linear(4, 4))
    model, told = nn.Sequential(WithMatrix(), nn.Linear(4, 4), script), list[str]()
    sparsify(model, pruned(model), note=told.append)
    assert sparse_layers(model) == ("1.weight",)
    assert told == ["left dense: 2.weight (a RecursiveScriptModule); 0.matrix (no layer's weight)"]


def test_pruning_by_pytorch_is_to_be_made_permanent() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    torch.nn.utils.prune.random_unstructured(model[0], "weight", 0.5)  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match=r"^model: 0\.weight: .* make the pruning permanent: "):
        sparsify(model)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (
            torch.ones(2, 3, 6, 6, dtype=torch.uint8),
            r"floating-point numbers in a plain tensor, found .*uint8",
        ),
        (torch.ones(2, 3, 6, 6).to_sparse(), r"floating-point numbers in a plain tensor, found .*sparse_coo"),
        (torch.ones(2, 3, 6, 6).to_mkldnn(), r"floating-point numbers in a plain tensor, found .*mkldnn"),
        (torch.ones(2, 4, 6, 6), r"\[batch, 3, height, width\], found \[2, 4, 6, 6\]"),
    ],
)
def test_an_input_that_cannot_be_taken_is_refused_in_one_line(x: Tensor, words: str) -> None:
    layer = nn.Conv2d(3, 4, 3)
    sparsify(layer, pruned(layer))
    with pytest.raises(InputError, match=f"^input of a sparse layer: expected {words}"):
        layer(x)


def test_rows_of_another_width_are_refused_in_one_line() -> None:
    layer = nn.Linear(8, 3)
    sparsify(layer, pruned(layer))
    with pytest.raises(InputError, match=r"^input of a sparse layer: expected \[batch, 8, .* found \[4, 6, "):
        layer(drawn(4, 6))
