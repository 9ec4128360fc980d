"""A plan names the kept weights, in order, forward and backward; what makes no convolution is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ticket_sig.errors import InputError
from ticket_sig.models.sparse import Plan
from ticket_sig.models.sparse.operators import _positions


def test_positions_are_those_of_the_kept_weights_in_order() -> None:
    kept = torch.tensor([[True, False, True], [False, False, True]])
    weight = torch.arange(6.0).view(2, 3)
    plan = Plan.of(kept)
    assert weight.flatten()[plan.positions].tolist() == [0, 2, 5]
    assert plan.geometry[:4] == (2, 3, 1, 1)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_lists_hold_every_kept_weight_also_in_groups(groups: int) -> None:
    kept = torch.rand(8, 8 // groups, 3, 2, generator=torch.Generator().manual_seed(0)) < 0.3
    plan = Plan.of(kept, stride=2, groups=groups)
    assert _positions(plan.lists, plan.geometry).equal(plan.positions)


def test_backward_a_list_has_the_weights_of_one_residue_of_the_pixel() -> None:
    plan = Plan.of(torch.ones(1, 1, 1, 3, dtype=torch.bool), stride=(1, 2))
    start, channel, tap, source = plan.lists[2 + 6 :].split([3, 3, 3, 3])
    assert start.tolist() == [0, 2, 3]  # even columns of the input see taps 0 and 2, odd ones tap 1
    assert tap.tolist() == source.tolist() == [0, 2, 1]
    assert channel.tolist() == [0, 0, 0]


def test_the_size_of_the_result() -> None:
    plan = Plan.of(torch.ones(1, 1, 3, 5, dtype=torch.bool), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    assert plan.size(9, 12) == (5, 4)


def test_a_plan_does_not_change_with_the_mask_it_was_made_of() -> None:
    kept = torch.ones(2, 2, dtype=torch.bool)
    plan = Plan.of(kept)
    kept.zero_()
    assert plan.positions.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mask", "options", "said"),
    [
        (torch.ones(2, 2), {}, "booleans of 2 or 4 dimensions, found torch.float32"),
        (torch.ones(2, 2, 2) > 0, {}, "found torch.bool of 3"),
        (torch.ones(2, 2, 1, 1) > 0, {"stride": 0}, "stride: expected one or two whole numbers of 1 or more"),
        (torch.ones(2, 2, 1, 1) > 0, {"padding": "same"}, "padding: expected"),
        (torch.ones(2, 2, 1, 1) > 0, {"dilation": (1, 2, 3)}, "dilation: expected"),
        (torch.ones(3, 2, 1, 1) > 0, {"groups": 2}, "groups: expected a divisor of 3 out channels, found 2"),
    ],
)
def test_what_makes_no_convolution_is_refused_in_one_line(
    mask: torch.Tensor, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Plan.of(mask, **options)
