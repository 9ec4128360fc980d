"""The p-values against exact enumeration: every mask, every order, counted one by one."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from ticket_sig.statistics import corrected, format_p, log10_p_agreement, log10_tail, log10_tails

bits = st.lists(st.booleans(), min_size=1, max_size=10).map(np.array)


def by_counting(expected: np.ndarray, found: np.ndarray) -> float:
    """The share of all masks with as many kept kernels that agree with the expected one as well or better."""
    agreements = []
    for kept in combinations(range(len(found)), int(found.sum())):
        mask = np.isin(np.arange(len(found)), kept)
        agreements.append(int((mask == expected).sum()))
    return float(np.mean(np.array(agreements) >= int((found == expected).sum())))


@settings(deadline=None, max_examples=100)
@given(expected=bits, data=st.data())
def test_is_the_share_of_masks_that_agree_as_well(expected: np.ndarray, data: st.DataObject) -> None:
    found = np.array(data.draw(st.lists(st.booleans(), min_size=len(expected), max_size=len(expected))))
    assert 10 ** log10_p_agreement(expected, found) == pytest.approx(by_counting(expected, found), rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(20, 3000),
    light=st.floats(0.1, 0.9),
    kept=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_fishers_exact_test(size: int, light: float, kept: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    expected, found = draw.random(size) < light, draw.random(size) < kept
    table = [
        [int((expected & found).sum()), int((expected & ~found).sum())],
        [int((~expected & found).sum()), int((~expected & ~found).sum())],
    ]
    exact = fisher_exact(table, alternative="greater").pvalue
    assert log10_p_agreement(expected, found) == pytest.approx(math.log10(exact), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 2000), kept=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_nothing_can_be_told_where_all_or_none_are_kept(size: int, kept: bool, seed: int) -> None:
    expected = np.random.default_rng(seed).random(size) < 0.5
    assert log10_p_agreement(expected, np.full(size, kept)) == 0.0


def test_a_perfect_code_is_one_mask_of_all() -> None:
    expected = np.arange(600) % 2 == 0
    exact = -math.log10(math.comb(600, 300))
    assert log10_p_agreement(expected, expected) == pytest.approx(exact, rel=1e-9)
    assert log10_p_agreement(expected, ~expected) == 0.0


def test_stays_finite_for_the_largest_code() -> None:
    expected = np.random.default_rng(0).random(29_648) < 0.5
    assert -10_000 < log10_p_agreement(expected, expected) < -8_000


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(2, 800),
    kept=st.floats(0.2, 0.8),
    noise=st.floats(0, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_more_damage_is_never_better_evidence(size: int, kept: float, noise: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    expected = draw.random(size) < kept
    damaged = expected ^ (draw.random(size) < noise)
    right = (damaged == expected).nonzero()[0]
    assume(len(right))
    more = damaged.copy()
    more[draw.choice(right)] ^= True
    assert log10_p_agreement(expected, more) >= log10_p_agreement(expected, damaged) - 1e-9


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 80), chance=st.floats(0.01, 0.99))
def test_binomial_tails_are_those_of_scipy(count: int, chance: float) -> None:
    expected = binom.logsf(np.arange(-1, count), count, chance) / math.log(10)
    assert log10_tails(count, chance) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "classes"), [(110, 1000), (330, 10), (1000, 1000), (100_000, 1_000_000)])
def test_binomial_tails_stay_finite_where_floats_end(count: int, classes: int) -> None:
    tails = log10_tails(count, 1 / classes)
    assert len(tails) == count + 1 and np.isfinite(tails).all()
    assert tails[-1] == pytest.approx(-count * math.log10(classes)) and (np.diff(tails) <= 0).all()


@settings(deadline=None, max_examples=50)
@given(p=st.floats(-400, 0), chances=st.lists(st.floats(0, 300), max_size=3))
def test_every_chance_a_liar_had_costs(p: float, chances: list[float]) -> None:
    assert corrected(p, *chances) == pytest.approx(min(0.0, p + math.fsum(chances)), abs=1e-9)


@pytest.mark.parametrize(
    ("log10_p", "text"),
    [
        (0.0, "1"),
        (math.log10(0.5), "0.5"),
        (math.log10(0.034), "0.034"),
        (-6.0, "1.0e-06"),
        (math.log10(3.2e-7), "3.2e-07"),
        (math.log10(3.2) - 145, "3.2e-145"),
        (-1234.5, "3.2e-1235"),
        (math.log10(9.99e-8), "1.0e-07"),
        (-math.inf, "0"),
        (math.nan, "nan"),
        (400.0, "1"),
    ],
)
def test_a_probability_is_written_for_people(log10_p: float, text: str) -> None:
    assert format_p(log10_p) == text


@settings(deadline=None)
@given(log10_p=st.floats(-5000, 0))
def test_a_written_probability_is_the_probability(log10_p: float) -> None:
    text = format_p(log10_p)
    digits, _, exponent = text.partition("e")
    assert 0 < float(digits) < 10
    assert math.log10(float(digits)) + int(exponent or 0) == pytest.approx(log10_p, abs=0.03)


@pytest.mark.parametrize(("count", "chance"), [(50, 0.1), (4096, 1e-5), (300, 0.9)])
def test_one_tail_is_that_of_all_tails(count: int, chance: float) -> None:
    tails = log10_tails(count, chance)
    for at_least in range(math.ceil(count * chance) + 1, count + 1, 7):
        assert log10_tail(count, chance, at_least) == pytest.approx(tails[at_least], rel=1e-9, abs=1e-9)
