"""The mask: what it refuses, what it counts, and that a pruned weight is zero and stays zero."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tickets import sparse
from torch import Tensor

from ticket_sig import InputError, Mask

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
shapes = st.lists(st.integers(0, 5), min_size=2, max_size=5).map(tuple)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Up to four tensors of two to five dimensions, empty ones among them, of any density."""
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    found = draw(st.lists(shapes, max_size=4))
    return Mask({f"{i}.weight": torch.rand(s, generator=generator) < density for i, s in enumerate(found)})


def weights_for(mask: Mask, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Dense weights of the mask's shapes, and a bias beside them."""
    draw = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(kept.shape, generator=draw).to(dtype) for name, kept in mask.items()}
    return {**weights, "bias": torch.ones(3, dtype=dtype)}


@settings(deadline=None)
@given(mask=masks())
def test_counts_what_is_kept(mask: Mask) -> None:
    values = [bool(v) for kept in mask.values() for v in kept.flatten()]
    assert (mask.kept, mask.total) == (sum(values), len(values))
    assert mask.density == (sum(values) / len(values) if values else 1.0)
    assert mask.sparsity == 1 - mask.density
    assert f"{mask.kept} of {mask.total} kept" in repr(mask)


@settings(deadline=None)
@given(mask=masks())
def test_the_table_has_a_row_for_every_layer(mask: Mask) -> None:
    rows = mask.table()
    assert [row.name for row in rows] == list(mask)
    for row in rows:
        kept = mask[row.name]
        assert row.shape == tuple(kept.shape)
        assert (row.kept, row.total) == (int(kept.sum()), kept.numel())
        assert row.density == (int(kept.sum()) / kept.numel() if kept.numel() else 1.0)
        kernels = mask.kernel_map(row.name)
        assert (row.kept_kernels, row.kernels) == (int(kernels.sum()), kernels.numel())


@settings(deadline=None)
@given(mask=masks())
def test_a_kernel_is_kept_where_any_of_its_weights_is(mask: Mask) -> None:
    for name, kept in mask.items():
        kernels = mask.kernel_map(name)
        assert kernels.dtype == torch.bool
        expected = [[bool(kept[o, i].any()) for i in range(kept.shape[1])] for o in range(kept.shape[0])]
        assert kernels.tolist() == expected


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.ones(3, 3), r"float32 \[3, 3\]"),
        (torch.ones(3, 3, dtype=torch.uint8), r"uint8 \[3, 3\]"),
        (torch.tensor([[0, 1]]), r"int64 \[1, 2\]"),
        (torch.ones(3, dtype=torch.bool), r"bool \[3\]"),
        (torch.tensor(True), r"bool \[\]"),
        ([[True, False]], "a list"),
        (None, "none"),
    ],
)
def test_refuses_anything_but_boolean_matrices(tensor: object, found: str) -> None:
    with pytest.raises(
        InputError, match=rf"mask: a: expected a boolean tensor of 2 or more dimensions, found {found}"
    ):
        Mask({"a": tensor, "fine": torch.ones(2, 2, dtype=torch.bool)})  # type: ignore[dict-item]


def test_names_every_tensor_that_it_refuses() -> None:
    with pytest.raises(InputError) as refused:
        Mask({"a": torch.ones(2, 2), "fine": torch.ones(2, 2, dtype=torch.bool), "b": torch.ones(2)})
    assert "a: expected" in str(refused.value) and "b: expected" in str(refused.value)
    assert "fine" not in str(refused.value)


def test_what_happens_to_the_callers_tensors_does_not_reach_it() -> None:
    kept = torch.ones(2, 2, dtype=torch.bool)
    tensors = {"a": kept}
    mask = Mask(tensors)
    kept[0, 0] = False
    tensors["b"] = kept
    assert mask.kept == 4 and list(mask) == ["a"]


def test_is_a_mapping_in_the_order_it_came_in() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    mask = Mask({"z": one, "a": ~one})
    assert list(mask) == ["z", "a"] and len(mask) == 2 and "z" in mask and "q" not in mask
    assert torch.equal(mask["a"], ~one)
    with pytest.raises(KeyError):
        mask["q"]


def test_equal_means_the_same_names_shapes_and_values() -> None:
    one = torch.ones(1, 2, dtype=torch.bool)
    mask = Mask({"a": one, "b": one})
    assert mask == Mask({"b": one, "a": one})
    assert mask != Mask({"a": one})
    assert mask != Mask({"a": one, "b": ~one})
    assert mask != Mask({"a": one, "b": one.T})
    assert mask != {"a": one, "b": one}
    with pytest.raises(TypeError):
        hash(mask)


@pytest.mark.parametrize("dtype", FLOATS)
def test_without_a_mask_zeros_are_the_mask(dtype: torch.dtype) -> None:
    weights = {
        "stem.weight": torch.ones(4, 3, 3, 3, dtype=dtype),
        "conv.weight": sparse(5, 4, 3, 3).to(dtype),
        "dead.weight": torch.zeros(3, 4, dtype=dtype),
        "bias": torch.zeros(4, dtype=dtype),
        "steps": torch.zeros(2, 2, dtype=torch.int64),
        "scale": torch.tensor(0.0, dtype=dtype),
    }
    mask = Mask.of_zeros(weights)
    assert list(mask) == ["conv.weight", "dead.weight"]
    assert torch.equal(mask["conv.weight"], weights["conv.weight"] != 0)
    assert not mask["dead.weight"].any()


def test_a_dense_model_is_all_prunable() -> None:
    weights = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(3, 2, 1), "bias": torch.zeros(2)}
    mask = Mask.of_zeros(weights)
    assert list(mask) == ["a.weight", "b.weight"] and mask.density == 1
    assert mask == Mask.full({"a.weight": weights["a.weight"], "b.weight": weights["b.weight"]})


def test_a_model_without_matrices_has_an_empty_mask() -> None:
    mask = Mask.of_zeros({"bias": torch.ones(3), "steps": torch.tensor(1)})
    assert (len(mask), mask.kept, mask.density, mask.table()) == (0, 0, 1.0, [])


@settings(deadline=None)
@given(mask=masks(), seed=st.integers(0, 2**31))
def test_the_intersection_keeps_what_both_keep(mask: Mask, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    other = Mask(
        {name: torch.rand(kept.shape, generator=draw) < 0.5 for name, kept in reversed(list(mask.items()))}
    )
    both = mask & other
    assert list(both) == list(mask)
    assert all(torch.equal(both[name], mask[name] & other[name]) for name in mask)
    assert both == (other & mask)
    assert mask & mask == mask


def test_an_intersection_lists_every_difference() -> None:
    one = torch.ones(1, 2, dtype=torch.bool)
    mask = Mask({"a": one, "b": one, "c": one})
    with pytest.raises(
        InputError, match=r"the other mask: a: expected, not found; b: expected shape \[1, 2\].*\[2, 1\]"
    ):
        mask & Mask({"b": one.T, "c": one})
    with pytest.raises(InputError, match=r"found also x, y"):
        mask & Mask({"a": one, "b": one, "c": one, "y": one, "x": one})


@settings(deadline=None)
@given(mask=masks(), dtype=st.sampled_from(FLOATS))
def test_apply_zeroes_what_is_pruned_and_nothing_else(mask: Mask, dtype: torch.dtype) -> None:
    weights = weights_for(mask, dtype)
    before = {name: w.clone() for name, w in weights.items()}
    out = mask.apply(weights)
    assert list(out) == list(weights)
    for name, w in out.items():
        assert w.dtype == dtype
        kept = mask.get(name, torch.ones(w.shape, dtype=torch.bool))
        assert torch.equal(w[kept], before[name][kept])
        assert not w[~kept].any() and not torch.signbit(w[~kept]).any()
        assert torch.equal(weights[name], before[name])
    mask.check(out)


def test_apply_leaves_no_trace_of_what_was_pruned() -> None:
    """Not even of infinity, which times zero is no number."""
    mask = Mask({"a": torch.tensor([[True, False, False, False]])})
    out = mask.apply({"a": torch.tensor([[-1.0, math.inf, math.nan, -0.0]])})["a"]
    assert out.tolist() == [[-1, 0, 0, 0]]
    assert torch.signbit(out).tolist() == [[True, False, False, False]]


def test_apply_lists_every_tensor_that_does_not_fit() -> None:
    one = torch.ones(1, 2, dtype=torch.bool)
    mask = Mask({"a": one, "b": one, "c": one})
    with pytest.raises(InputError, match=r"a: expected shape \[1, 2\], found \[2\]; c: expected, not found"):
        mask.apply({"a": torch.ones(2), "b": torch.ones(1, 2)})


@settings(deadline=None)
@given(mask=masks(), seed=st.integers(0, 2**31))
def test_check_names_the_tensor_and_the_count(mask: Mask, seed: int) -> None:
    weights = mask.apply(weights_for(mask))
    mask.check(weights)
    draw = torch.Generator().manual_seed(seed)
    wrong = {}
    for name, kept in mask.items():
        spoilt = ~kept & (torch.rand(kept.shape, generator=draw) < 0.5)
        weights[name] = torch.where(spoilt, torch.tensor(1e-30), weights[name])
        wrong[name] = int(spoilt.sum())
    if not any(wrong.values()):
        mask.check(weights)
        return
    with pytest.raises(InputError) as refused:
        mask.check(weights, "model.pt")
    parts = str(refused.value).removeprefix("model.pt: ").split("; ")
    assert parts == [
        f"{name}: expected zeros where pruned, found {count} that are not"
        for name, count in wrong.items()
        if count
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_pruned_weight_that_is_no_number_is_not_zero(bad: float) -> None:
    mask = Mask({"a": torch.tensor([[True, False]])})
    with pytest.raises(InputError, match="a: expected zeros where pruned, found 1 that"):
        mask.check({"a": torch.tensor([[1.0, bad]])})


@settings(deadline=None, max_examples=40)
@given(mask=masks(), dtype=st.sampled_from(FLOATS), channels_last=st.booleans(), steps=st.integers(1, 3))
def test_bound_parameters_stay_zero_where_pruned(
    mask: Mask, dtype: torch.dtype, channels_last: bool, steps: int
) -> None:
    parameters = {name: torch.nn.Parameter(w) for name, w in weights_for(mask, dtype).items()}
    if channels_last:
        for p in parameters.values():
            if p.ndim == 4:
                p.data = p.data.to(memory_format=torch.channels_last)
    hold = mask.bind(parameters)
    mask.check({name: p.detach() for name, p in parameters.items()})
    for _ in range(steps):
        with torch.no_grad():
            for p in parameters.values():
                p.add_(torch.ones_like(p))
        stepped = {name: p.detach().clone() for name, p in parameters.items()}
        hold()
        held = {name: p.detach() for name, p in parameters.items()}
        mask.check(held)
        assert torch.equal(held["bias"], stepped["bias"])
        assert all(torch.equal(held[name][kept], stepped[name][kept]) for name, kept in mask.items())


def test_bind_refuses_parameters_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"parameters: a: expected, not found"):
        Mask({"a": torch.ones(1, 2, dtype=torch.bool)}).bind({})
