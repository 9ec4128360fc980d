"""The tables of recovery: free attacks, descent, innocents and liars, at their smallest scale."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.lib.calibration import distribution
from experiments.recovery.drawn import Drawn, by_marks, by_networks, of_use
from experiments.recovery.free_table import reasons, told
from experiments.recovery.innocents_aligned import together
from experiments.recovery.kinds_of_net import MAKE, WHOLE, initial
from experiments.shipping import ship_null
from ticket_sig.files import read_json
from ticket_sig.recovery import Reference
from ticket_sig.recovery.descent import Null


def rows(folder: Path, name: str) -> list[list[str]]:
    """The rows of a table, without its head."""
    return list(csv.reader((folder / "results" / "tables" / f"{name}-smoke.csv").open()))[1:]


@pytest.mark.parametrize("name", [*MAKE, *WHOLE])
def test_every_network_of_the_tables_answers_digits_and_can_be_followed(name: str) -> None:
    network = initial(name, 0).eval()
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert Reference.of(network).unread is None


def test_blocks_of_innocents_are_told_together() -> None:
    found = np.log10(np.random.default_rng(0).random((6, 500)))
    whole = distribution(found, 8.0)
    blocks = [{**distribution(part, 8.0), "messages": 8.0} for part in (found[:2], found[2:])]
    told = together(blocks)
    assert told.pop("counts") == whole.pop("counts") and told == pytest.approx(whole)


@pytest.mark.slow
def test_free_attacks_are_undone_and_the_marks_are_found(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments("recovery_table", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "6 of 6 cells measured" in done.out
    assert [row[-1] for row in rows(tmp_path, "recovery_table")] == [""] * 6, "seeds that are not verified"
    found = {(row[1], row[2]): row[3:9] for row in rows(tmp_path, "recovery_table")}
    assert all((one[0], *one[2:4]) == ("0 of 1", "1 of 1", "1 of 1") for one in found.values())
    assert found["renamed", "nothing"][5] == "1 / 1 / -" and found["permuted", "nothing"][5] == "0 / 0 / -"


def test_a_network_of_no_use_is_no_loss_of_a_mark() -> None:
    cell = {"own": 90.0}
    assert of_use(cell, {"accuracy": 45.0}) and not of_use(cell, {"accuracy": 44.0})
    assert not of_use(cell, {"destroyed": "loss"}) and not of_use(cell, {"applies": False})


def test_a_mark_that_was_not_verified_is_in_bold_and_its_draws_are_named() -> None:
    def draw(seed: int, found: bool) -> dict[str, Any]:
        marks = {"spread": {"verified": True, "plain": False}, "qr-code": {"verified": found, "plain": False}}
        return {"seed": seed, "accuracy": 90.0, "similarity": 0.5, "marks": marks}

    cell = {"own": 90.0, "draws": [draw(0, True), draw(1, False), {"seed": 2, "accuracy": 44.0}]}
    drawn, whole = (
        Drawn.of([one], ["spread", "qr-code"]) for one in (cell, {**cell, "draws": [draw(0, True)]})
    )
    assert (str(drawn), str(whole)) == ("**2 / 1 / - of 2** (1 of no use)", "1")
    assert (drawn.lost("qr-code"), drawn.lost("spread")) == ([1], [])
    assert str(Drawn.of([{**cell, "draws": [{"seed": 0, "applies": False}]}], ["spread"])) == ""
    found = {"renamed": {"A": whole}, "padded": {"A": drawn}, "reordered": {"A": whole}}
    assert by_networks(found, ["A"])[2:] == ["| renamed, reordered | 1 |", f"| padded | {drawn} |"]
    assert by_marks(found)[3] == "| padded | 2 | 0 -> 2 of 2 | **0 -> 1 of 2** | 0 -> 0 of 0 | 0.500 |"


@pytest.mark.slow
def test_every_mark_is_read_as_it_stands_and_through_the_reference(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments("free_table", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "10 of 10 cells measured" in done.out and "not run" not in done.out
    found = {row[1]: row[4:10] for row in rows(tmp_path, "free_table")}
    assert found["none"] == ["1 -> 1"] * 6
    hidden = ["0 -> 1"] * 6
    hidden[2] = "1 -> 1"  # the mirror code counts over all channels
    assert found["channels permuted"] == hidden


def test_a_mark_that_is_lost_is_named_with_its_draws() -> None:
    def draw(seed: int, found: bool, **more: str) -> dict[str, Any]:
        return {
            "seed": seed,
            "marks": {"uchida": {"plain": False, "verified": found, "log10_p": 0.0}},
            **more,
        }

    draws = [draw(0, True), draw(1, False), draw(2, False, error="no such layer")]
    assert told("uchida", [one["marks"]["uchida"] for one in draws]) == "0 -> 1"
    assert told("spread", []) == "not run"
    assert reasons({"uchida": draws}) == [("uchida", "seeds 1, 2, 1 of them not aligned")]


@pytest.mark.slow
def test_derived_networks_are_told_from_independent_ones(
    tmp_path: Path, experiments: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = experiments("descent", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "on the wrong side: none, of " in done.out
    of = {row[1]: row[2:] for row in rows(tmp_path, "descent")}
    most = float(of.pop("independent, dense")[3])
    assert all(float(row[2]) > 1.5 * most for row in of.values())
    assert (tmp_path / "results" / "figures" / "descent-smoke.png").exists()
    table, results = tmp_path / "table.json", tmp_path / "results"
    asked = ["ship_null", "--scale", "smoke", "--results", results, "--table", table, "--pairs", 6]
    assert experiments(*asked).code == 0
    assert read_json(table) == {"tables": []}, "a family that no name tells is not shipped"
    monkeypatch.setitem(ship_null.MODELS, "fully connected", initial)
    assert experiments(*asked).code == 0
    [null] = [Null.from_json(one) for one in read_json(table)["tables"]]
    assert null.family == "fully connected (dense)" and len(null.similarities) == 6


@pytest.mark.slow
def test_innocents_are_not_accused_and_a_liar_is_by_the_condition_alone(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments("recovery_innocents", "liar", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "0 of 80 readings of innocents are verified" in done.out
    [row] = rows(tmp_path, "liar")
    assert abs(float(row[2])) < 4 < 10 < float(row[3])
    assert row[4].startswith("verified, ") and (row[5], row[7]) == ("1", "not verified")
