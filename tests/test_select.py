"""Exactly so many of the smallest, whatever ties there are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig.select import lowest

numbers = st.one_of(
    st.lists(st.integers(-2, 2).map(float), max_size=40),  # many ties
    st.lists(st.floats(allow_nan=False, width=32), max_size=40),
)


@settings(deadline=None)
@given(scores=numbers, data=st.data())
def test_takes_the_lowest_and_of_equals_the_first(scores: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(scores)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    first = sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]
    assert lowest(torch.tensor(scores, dtype=dtype), count).tolist() == sorted(first)


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf])
def test_where_all_are_equal_the_first_go(value: float) -> None:
    assert lowest(torch.full((9,), value), 4).tolist() == [0, 1, 2, 3]
