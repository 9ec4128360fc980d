"""A pruned model reads as the same weights and mask, however its file is laid out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tickets import sparse
from support.user_net import UserNet, prune_as_users_do
from torch import Tensor, nn
from torch.nn.utils import prune

from ticket_sig import InputError, Mask
from ticket_sig.formats.layouts import split_layout

State = dict[str, Tensor]
few = settings(deadline=None, max_examples=40)

WRAPPERS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "ordered": OrderedDict,
    **{
        key: lambda state, key=key: {"epoch": 3, "args": None, key: state}
        for key in ("state_dict", "model_state_dict", "model", "net", "weights", "params", "module")
    },
    "twice": lambda state: {"model": {"state_dict": state}},
    "parameters": lambda state: {
        n: nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()
    },
    "ImageNet example": lambda state: {"epoch": 3, "state_dict": state, "best_acc1": torch.tensor(71.5)},
    "with remarks": lambda state: {**state, "epoch": 3, "arch": "resnet"},
}


def plain_state(seed: int = 0) -> State:
    """A state dict with pruned and dense layers, a bias and a counter."""
    return {
        "conv1.weight": torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(seed)),
        "conv2.weight": sparse(5, 6, 2, 2, seed=seed),
        "bn.num_batches_tracked": torch.tensor(7),
        "fc.weight": sparse(7, 5, seed=seed + 1),
        "fc.bias": torch.ones(7),
    }


def prune_layout(state: State, mask: Mask, dtype: torch.dtype = torch.float32) -> State:
    """The same as torch.nn.utils.prune keeps it: X_orig holds what was pruned, too."""
    out = {}
    for name, tensor in state.items():
        if name in mask:
            noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
            out[f"{name}_orig"] = torch.where(mask[name], tensor, noise)
            out[f"{name}_mask"] = mask[name].to(dtype)
        else:
            out[name] = tensor
    return out


def assert_same(found: State, expected: State) -> None:
    """Same names and bits."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("pruned", ["zeros", "masks"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_is_around_a_state_dict_changes_nothing(wrapper: str, pruned: str) -> None:
    state = plain_state()
    expected = Mask.of_zeros(state)
    laid_out = state if pruned == "zeros" else prune_layout(state, expected)
    weights, mask, rewind = split_layout(WRAPPERS[wrapper](laid_out), "file")
    assert_same(weights, state)
    assert mask == expected
    assert rewind is None


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_data_parallel_and_compile_put_before_names_is_taken_off(prefix: str) -> None:
    state = plain_state()
    laid_out = prune_layout(state, Mask.of_zeros(state))
    weights, mask, _ = split_layout({f"{prefix}{name}": t for name, t in laid_out.items()}, "file")
    assert_same(weights, state)
    assert mask == Mask.of_zeros(state)


@few
@given(
    seed=st.integers(0, 2**31),
    density=st.floats(0, 1),
    kind=st.sampled_from(["float", "uint8", "bool", "half"]),
)
def test_a_mask_says_what_is_kept_even_where_a_kept_weight_is_zero(
    seed: int, density: float, kind: str
) -> None:
    state = plain_state(seed)
    draw = torch.Generator().manual_seed(seed)
    names = ("conv2.weight", "fc.weight")
    mask = Mask({name: torch.rand(state[name].shape, generator=draw) < density for name in names})
    content = prune_layout(state, mask, getattr(torch, kind))
    weights, found, _ = split_layout(content, "file")
    assert found == mask
    assert_same(weights, mask.apply(state))


def test_what_was_pruned_does_not_matter() -> None:
    state, mask = plain_state(), Mask.of_zeros(plain_state())
    content = prune_layout(state, mask)
    content["fc.weight_orig"][~mask["fc.weight"]] = float("nan")
    assert_same(split_layout(content, "file")[0], state)


def test_without_a_mask_zeros_are_the_mask_and_dense_layers_are_not_in_it() -> None:
    state = plain_state()
    _, mask, _ = split_layout(state, "file")
    assert list(mask) == ["conv2.weight", "fc.weight"]
    assert all(torch.equal(mask[name], state[name] != 0) for name in mask)


def test_a_dense_model_has_every_matrix_in_its_mask() -> None:
    state = {name: torch.ones_like(t) for name, t in plain_state().items()}
    _, mask, _ = split_layout(state, "file")
    assert list(mask) == ["conv1.weight", "conv2.weight", "fc.weight"]
    assert mask.density == 1


def test_reads_what_pytorch_writes_and_what_its_module_computes_with() -> None:
    torch.manual_seed(0)
    net = UserNet()
    prune_as_users_do(net)
    weights, mask, _ = split_layout(net.state_dict(), "file")
    assert list(mask) == ["layer1.0.conv1.weight"]
    assert torch.equal(weights["layer1.0.conv1.weight"], net.block.weight)
    prune.remove(net.block, "weight")
    assert_same(weights, net.state_dict())


def test_the_pruned_bias_of_pytorchs_tutorial_is_read() -> None:
    torch.manual_seed(0)
    net = UserNet()
    prune_as_users_do(net)
    prune.l1_unstructured(net.fc, name="bias", amount=3)
    weights, mask, _ = split_layout(net.state_dict(), "file")
    assert list(mask) == ["layer1.0.conv1.weight"]
    assert torch.equal(weights["fc.bias"], net.fc.bias)


@pytest.mark.parametrize(
    ("odd", "found"),
    [
        (torch.empty(4, 4, device="meta"), "one without values"),
        (torch.zeros(1).expand(10**6, 10**7), "10000000000000 elements over 4 bytes"),
    ],
)
def test_tensors_that_a_file_can_make_up_are_refused(odd: Tensor, found: str) -> None:
    content = {**plain_state(), "fc.weight": odd}
    with pytest.raises(
        InputError, match=f"file: fc.weight: expected a dense tensor in memory, found {found}"
    ):
        split_layout(content, "file")


def test_nothing_of_the_file_is_changed() -> None:
    content = prune_layout(plain_state(), Mask.of_zeros(plain_state()))
    before = {name: t.clone() for name, t in content.items()}
    split_layout(content, "file")
    assert_same(content, before)


@pytest.mark.parametrize("name", ["causal_mask", "layers.0.attn_mask"])
def test_a_buffer_that_is_called_a_mask_stays_a_buffer(name: str) -> None:
    # Swin's attn_mask holds 0 and -100, the causal mask of many transformers 0 and 1.
    value = -100.0 if "attn" in name else 1.0
    state = {**plain_state(), name: torch.tril(torch.full((6, 6), value))}
    weights, mask, _ = split_layout(state, "file")
    assert_same(weights, state)
    assert name not in mask


def test_masks_alone_stand_for_the_network() -> None:
    mask = Mask.of_zeros(plain_state())
    weights, found, _ = split_layout({f"{name}_mask": t.float() for name, t in mask.items()}, "file")
    assert found == mask
    assert_same(weights, {name: t.float() for name, t in mask.items()})


@pytest.mark.parametrize("key", ["init_weight", "rewind", "rewind_weight"])
@pytest.mark.parametrize("layout", ["plain", "pruned", "module."])
def test_rewind_weights_beside_a_state_dict(key: str, layout: str) -> None:
    state = plain_state() | {"normalize.mean": torch.tensor([0.5])}
    mask = Mask.of_zeros(state)
    early = {name: torch.full_like(t, 3) for name, t in plain_state().items()}
    kept = early
    if layout == "pruned":
        kept = {f"{n}_orig" if n in mask else n: t for n, t in early.items()}
        kept |= {f"{n}_mask": torch.ones(t.shape) for n, t in mask.items()}
    elif layout == "module.":
        kept = {f"module.{name}": t for name, t in early.items()}
    content = {"state_dict": prune_layout(state, mask), key: kept}
    weights, _, rewind = split_layout(content, "file")
    assert_same(weights, state)
    # The code's own rewind weights lack the constants; they never change.
    assert rewind is not None
    assert_same(rewind, early | {"normalize.mean": state["normalize.mean"]})


def test_everything_that_is_wrong_with_the_masks_is_listed() -> None:
    content = {
        "a.weight_orig": torch.ones(3, 4),
        "a.weight_mask": torch.tensor([0.5, 1.0, 0.0, float("nan")]).repeat(3, 1),
        "b.weight_orig": torch.ones(3, 4),
        "b.weight_mask": torch.ones(4, 3),
        "c.weight": torch.ones(2, 2),
        "c.weight_mask": torch.full((2, 2), 2),
    }
    with pytest.raises(InputError) as error:
        split_layout(content, "FILE")
    message = str(error.value)
    assert message.startswith("FILE: ")
    assert "a.weight_mask: expected 0 and 1 only, found 6 other values" in message
    assert "b.weight_mask: expected shape [3, 4], found [4, 3]" in message
    assert "c.weight_mask: expected 0 and 1 only, found 4 other values" in message


def test_a_mask_without_its_weights_is_refused_where_other_weights_are() -> None:
    content = prune_layout(plain_state(), Mask.of_zeros(plain_state()))
    content |= {"gone.weight_mask": torch.ones(3, 3), "lost.weight_mask": torch.ones(3, 3)}
    with pytest.raises(InputError, match=r"^FILE: .*gone\.weight.*lost\.weight"):
        split_layout(content, "FILE")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "nothing"),
        ({"state_dict": {}}, "nothing"),
        ({"epoch": 3, "result": [1]}, "epoch, result"),
        ([torch.ones(2, 2)], "a list"),
        (torch.ones(2, 2), "a Tensor"),
        (None, "a NoneType"),
    ],
)
def test_no_tensors_is_refused_with_what_was_found(content: object, found: str) -> None:
    with pytest.raises(InputError, match=rf"^FILE: content: expected .*found {found}$"):
        split_layout(content, "FILE")


def test_keys_of_any_kind_are_read_past() -> None:
    with pytest.raises(InputError, match="FILE: content"):
        split_layout({1: "a", None: "b", ("x",): {}}, "FILE")
    state = plain_state()
    assert_same(split_layout({"state_dict": {**state, 3: "x"}}, "FILE")[0], state)
