"""Every table and figure is measured and shown, at its smallest scale."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.catalogue import BY_NAME_ALONE, RESULTS
from experiments.lib import bench
from ticket_sig.datasets import Dataset, load_dataset


def of(paper: str) -> list[str]:
    """The names of a folder's results."""
    return [n for n, module in RESULTS.items() if module.startswith(f"{paper}.") and n not in BY_NAME_ALONE]


@pytest.fixture
def some_of_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth image: what is measured and shown does not hang on how many there are."""

    def load(name: str, folder: Path | None) -> Dataset:
        whole = load_dataset(name, folder)
        return replace(whole, train=whole.train[::4], test=whole.test[::4])

    monkeypatch.setattr(bench, "load_dataset", load)


def test_every_table_and_figure_of_neurips_21_is_reproduced(
    some_of_the_digits: None, tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    names, arguments = of("neurips21"), ["--scale", "smoke", "--results", tmp_path, "--out"]
    done = experiments(*names, *arguments, tmp_path / "run")
    assert done.code == 0
    for number in range(1, 9):
        assert f"## Table {number}: " in done.out
    for number in range(2, 7):
        assert f"## Figure {number}: " in done.out
    assert "## Attack table: " in done.out and "\n0 of " not in done.out
    results = (tmp_path / "RESULTS.md").read_text()
    assert all(part.strip() in results for part in done.out.split("\n### ")[1:])
    for name in names:
        columns, *rows = csv.reader((tmp_path / "tables" / f"{name}-smoke.csv").open())
        assert all(len(row) == len(columns) for row in rows) and (rows or name == "figure4")
    for name in ("figure2", "figure3", "figure5", "figure6", "table6"):
        assert Image.open(tmp_path / "figures" / f"{name}-smoke.png").width > 300
    # Without the run folder: every cell is read from its file, and none is begun.
    again = experiments("table5", "table6", *arguments, tmp_path / "other", "--minutes", 0)
    assert again.code == 0 and again.out.split("\n### ")[0].strip() in results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paper", "titles"),
    [
        ("freezenet", ("learning", "transfer", "weak", "strong", "signature hit", "proof of work")),
        ("uchida", ("Uchida: ", "Watermarks of dense")),
        ("mpai", ("MPAI-NNW: all methods on digits", "MPAI-NNW: all methods on CIFAR-10")),
        (
            "pol",
            tuple(
                f"Proof-of-learning: {what}" for what in ("spoofs", "each field", "reproduction", "detection")
            ),
        ),
    ],
)
def test_every_experiment_on_dense_networks_and_transcripts_runs(
    paper: str, titles: tuple[str, ...], tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments(*of(paper), "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "\n0 of " not in done.out and "not run" not in done.out
    for title in titles:
        assert f"## FreezeNet: {title}" in done.out or f"## {title}" in done.out
    results = (tmp_path / "results" / "RESULTS.md").read_text()
    assert all(part.strip() in results for part in done.out.split("\n### ")[1:])


@pytest.mark.slow
def test_every_attack_on_every_carrier_is_measured_and_drawn(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    names = ["carriers_matrix", "carriers_utility", "carriers_informed", "carriers_margin"]
    done = experiments(*names, "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "\n0 of " not in done.out and "not run" not in done.out
    rows = list(csv.reader((tmp_path / "results" / "tables" / "carriers_matrix-smoke.csv").open()))
    found = {row[1]: row[3:8] for row in rows}
    assert all("read 1/1, verified 1/1" in text for text in found["none"])
    permuted = found["channels permuted, rescaled"]
    assert ["verified 1/1" in text for text in permuted] == [False, True, False, True, False]
    rows = list(csv.reader((tmp_path / "results" / "tables" / "carriers_informed-smoke.csv").open()))
    left = {(row[1], row[2]): ["verified 1/1" in text for text in row[5:8]] for row in rows}
    assert left["patterns evened out", "none"][:2] == [True, False]
    assert left["prunes the dense parent and retrains it himself", "all"] == [False] * 3
    for name in names[:2]:
        assert Image.open(tmp_path / "results" / "figures" / f"{name}-smoke.png").width > 300


@pytest.mark.slow
def test_a_thief_s_own_code_leaves_the_spread_code_whatever_comes_before_or_after_it(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments("attacks_in_a_row", "--scale", "smoke", "--out", tmp_path)
    assert done.code == 0 and "\n0 of " not in done.out and "not run" not in done.out
    rows = list(csv.reader((tmp_path / "results" / "tables" / "attacks_in_a_row-smoke.csv").open()))
    stands = {row[1]: ["verified 1/1" in text for text in row[4:6]] for row in rows[1:]}
    assert stands["none"] == stands["trigger removal"] == [True, True] and len(stands) == 5
    assert all(marks == [False, True] for words, marks in stands.items() if "own QR code" in words)


def test_experiments_that_had_no_time_say_what_was_not_run(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    said = experiments("all", "--scale", "smoke", "--out", tmp_path, "--minutes", 0).out
    assert said.count("\n### ") + 1 == len(RESULTS) - len(BY_NAME_ALONE)
    assert "not run" in said and "\n0 of " in said
    (left,) = (tmp_path / "results").glob("cells/*/*")  # the search, which every cell is named by
    assert left.name.startswith("found_resnet20-digits-")


@pytest.mark.slow
def test_a_running_server_is_asked_about_ours_and_an_innocent_network(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    pytest.importorskip("mlserver")
    said = experiments("black_box", "--scale", "smoke", "--out", tmp_path, "--results", tmp_path).out
    assert "| resnet20-digits | innocent | 0 of 1 |" in said and "| ours | " in said
