"""Digests: equal for equal content, different for any other, and never different from version to version."""

from __future__ import annotations

import hashlib
import json
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ticket_sig.digests import json_digest, tensor_digest

BASE = {
    "b.weight": torch.arange(24, dtype=torch.float32).view(2, 3, 2, 2),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float64),
    "kept": torch.tensor([[True, False]]),
    "steps": torch.tensor(7),
    "half": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    "empty": torch.empty(0, 3),
}


def test_the_order_of_names_and_the_layout_in_memory_do_not_matter() -> None:
    weight = BASE["b.weight"]
    same = {
        **dict(reversed(BASE.items())),
        "b.weight": torch.nn.Parameter(weight.to(memory_format=torch.channels_last)),
        "half": torch.stack([BASE["half"], BASE["half"]], 1)[:, 0],
    }
    assert tensor_digest(same) == tensor_digest(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"b.weight": BASE["b.weight"].view(3, 2, 2, 2)},
        {"b.weight": BASE["b.weight"].double()},
        {"b.weight": BASE["b.weight"].view(torch.int32)},
        {"b.weight": BASE["b.weight"].flip(0)},
        {"a.bias": torch.tensor([1.5, math.nextafter(-2.0, 0)], dtype=torch.float64)},
        {"kept": torch.tensor([[True, True]])},
        {"steps": torch.tensor([7])},
        {"empty": torch.empty(3, 0)},
        {"more": torch.empty(0)},
    ],
)
def test_any_other_content_has_another_digest(change: dict[str, Tensor]) -> None:
    assert tensor_digest({**BASE, **change}) != tensor_digest(BASE)


def test_a_name_is_content() -> None:
    one, two = torch.ones(2), torch.zeros(2)
    digests = {
        tensor_digest(t)
        for t in ({"a": one, "b": two}, {"a": two, "b": one}, {"a": one}, {"ab": one}, {"a\n": one}, {})
    }
    assert len(digests) == 6


def test_the_digest_of_tensors_is_the_documented_one() -> None:
    """Bundles and claims of old versions hold it: it must never change."""
    head = json.dumps(["w", "torch.float32", [2, 1]]).encode()
    text = b"ticket_sig tensors 1\n" + head + b"\n" + struct.pack("<2f", 0.5, -3.0)
    expected = f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert tensor_digest({"w": torch.tensor([[0.5], [-3.0]])}) == expected


def test_the_digest_of_json_is_the_documented_one() -> None:
    text = '{"a":[1,null],"b":"\\u043a"}'
    expected = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert json_digest({"b": "к", "a": [1, None]}) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(value=st.dictionaries(st.text(), values, max_size=4))
def test_the_order_of_keys_does_not_matter_to_json(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert json_digest(turned) == json_digest(value) == json_digest(json.loads(json.dumps(value)))
    assert json_digest({**value, "one more": 1}) != json_digest(value)


def test_what_is_no_json_number_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_digest({"loss": math.nan})
