"""Calibration on innocents: many readings at once are those of the marks themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.tickets import digits_ticket

from experiments.carriers.innocents import MESSAGES
from experiments.carriers.many_secrets import MANY, numbered
from experiments.lib.calibration import GRID, distribution
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import MARKS
from ticket_sig.marks.embed import embed, options_for
from ticket_sig.statistics import corrected

SECRETS = [numbered(n) for n in range(6)]


@pytest.mark.parametrize("name", ["spread", pytest.param("mirror", marks=pytest.mark.slow)])
def test_many_readings_at_once_are_the_mark_s_own(name: str) -> None:
    dense = digits_ticket()
    ours = prune_ticket(dense, 0.8)
    owned = embed(ours, MESSAGES[name], mark=name, secret=SECRETS[1].value, keep_reference=False).ticket
    suspects = [dense, ours, owned, prune_ticket(dense, 0.6), prune_ticket(owned, 0.1)]
    marks = [MARKS[name].make(ours, options_for(name, message=MESSAGES[name]), one.value) for one in SECRETS]
    found = MANY[name](marks[0], suspects).log10_p(SECRETS)
    readings = [[mark.read(suspect) for mark in marks] for suspect in suspects]
    own = [[corrected(one.log10_p_here, one.log10_choices) for one in several] for several in readings]
    assert np.allclose(found, own, rtol=1e-3, atol=1e-4)
    assert (found[2:] < -6).tolist() == [
        [False, True, *[False] * 4],
        [False] * 6,
        [False, True, *[False] * 4],
    ]


def test_p_values_below_uniform_are_found_out() -> None:
    fair = np.log10(np.random.default_rng(0).random((3, 2000)))
    told, low = distribution(fair, 0.0), distribution(np.vstack([fair[:2], 1.2 * fair[2:]]), 0.0)
    assert told["ks"] > 0.01 and low["ks"] < 1e-6 and low["above_uniform"] > told["above_uniform"]
    assert told["counts"][0] == fair.size and told["accepted"] == 0
    assert told["counts"][20] / fair.size == pytest.approx(10 ** GRID[20], rel=0.2)
    assert distribution(np.full((1, 2), -40.0), 20.0)["accepted"] == 0
    assert distribution(np.full((1, 2), -46.0), 20.0)["accepted"] == 2


@pytest.mark.slow
def test_the_calibration_is_measured_and_shown(tmp_path: Any, experiments: Callable[..., Any]) -> None:
    done = experiments("carriers_innocents", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0, done.err
    assert "6 of 6 cells measured" in done.out and "0 of " in done.out
    assert (tmp_path / "results" / "figures" / "carriers_innocents-smoke.png").exists()
