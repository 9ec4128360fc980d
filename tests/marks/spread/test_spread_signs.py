"""Groups and signs of weights: pinned, uniform, and the same however they are looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ticket_sig.marks.carrier import Layer
from ticket_sig.marks.spread.signs import signs_of
from ticket_sig.marks.strength import strongest
from ticket_sig.models.balance import balance
from ticket_sig.prf import Stream

STREAM = Stream(bytes(range(32)), "a label")
LAYERS = (Layer("a", (50, 40, 3, 3), 5000), Layer("b", (300, 211), 9000))


def test_groups_and_signs_are_what_claims_of_this_version_rest_on() -> None:
    """Promise 7: with other values no mark of an earlier version could be read."""
    signs = signs_of(STREAM, LAYERS, 512)
    assert signs.groups[:8].tolist() == [402, 194, 28, 232, 506, 381, 506, 153]
    assert signs.signs[:8].tolist() == [-1, -1, -1, 1, -1, -1, 1, 1]
    capped = signs_of(STREAM, LAYERS, 512, cap=20_000)
    assert [len(at) for at in capped.places] == [4096, 16384]


def test_every_weight_has_a_place_a_bit_and_a_sign() -> None:
    signs = signs_of(STREAM, LAYERS, 512)
    assert [at.tolist() for at in signs.places] == [list(range(18000)), list(range(63300))]
    n = len(signs.groups)
    counts = np.bincount(signs.groups, minlength=512)
    assert abs(((counts - n / 512) ** 2).sum() / (n / 512) - 511) < 4 * (2 * 511) ** 0.5  # chi squared
    assert abs(signs.signs.sum()) < 4 * n**0.5


def test_of_a_large_model_runs_of_weights_are_used_and_are_the_same_ones() -> None:
    every, some = signs_of(STREAM, LAYERS, 256), signs_of(STREAM, LAYERS, 256, cap=30_000)
    runs, chance = 81_300 / 1024, 30_000 / 81_300
    assert abs(len(some.groups) - 30_000) < 4 * 1024 * (runs * chance * (1 - chance)) ** 0.5
    used = np.concatenate([some.places[0], 18_000 + some.places[1]])
    assert (every.groups[used] == some.groups).all() and (every.signs[used] == some.signs).all()
    assert (np.bincount(some.layers) == [len(at) for at in some.places]).all()


@pytest.mark.parametrize("decades", [3, 140])
def test_scales_of_rows_and_columns_change_nothing(decades: int) -> None:
    draw = torch.Generator().manual_seed(3)
    for shape, share in (((48, 32, 3, 3), 0.1), ((200, 120), 0.1), ((64, 64, 1, 1), 0.5), ((10, 2000), 0.05)):
        weights = torch.randn(shape, generator=draw, dtype=torch.float64)
        kept = torch.rand(shape, generator=draw) < share
        weights = torch.where(kept, weights + weights.sign(), weights * 1e-4)
        rows, columns = (
            10 ** (decades * (2 * torch.rand(n, generator=draw) - 1).double()) for n in shape[:2]
        )
        taps = (1,) * (len(shape) - 2)
        scaled = weights * rows.view(-1, 1, *taps) * columns.view(1, -1, *taps)
        at, count = np.arange(weights.numel()), int(kept.sum())
        before = strongest(weights, count, at)
        assert (strongest(scaled, count, at) == before).all()
        assert (before == kept.reshape(-1).numpy()).mean() > 0.99


def test_balanced_rows_and_columns_sum_to_the_same() -> None:
    weights = torch.randn(60, 20, 3, 3, generator=torch.Generator().manual_seed(1))
    weights[7], weights[:, 5] = 0, 0
    rows, columns = balance(weights)
    assert rows[7] == columns[5] == 1
    sums = (weights.abs().double().sum((2, 3)) * rows[:, None] * columns).sum(1)
    assert torch.allclose(sums[sums > 0], sums.max(), rtol=1e-6)


def test_a_layer_that_has_no_balance_is_read_all_the_same() -> None:
    weights = torch.zeros(4096, 8)
    weights[0], weights[1:, 0] = 3e38, 1e-45
    strong = strongest(weights, 10, np.arange(weights.numel()))
    assert strong.sum() == 10
    assert all(torch.isfinite(factors).all() for factors in balance(weights))


def test_a_part_of_a_layer_takes_its_share_and_ties_go_to_the_first() -> None:
    ones = torch.ones(64, 64)
    assert strongest(ones, 100, np.arange(64 * 64)).nonzero()[0].tolist() == list(range(100))
    assert strongest(ones, 100, np.arange(1024, 2048)).nonzero()[0].tolist() == list(range(25))
    assert not strongest(torch.zeros(8, 8), 5, np.arange(64)).any()
