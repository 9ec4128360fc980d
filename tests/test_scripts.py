"""The scripts beside the package run, at their smallest scale, and print what they promise."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ticket_sig.formats import load

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: object) -> str:
    """Runs a script of the repository; returns what it printed."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_main_path_writes_its_section_and_its_pictures(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "RESULTS.md").write_text("# Results\n\n## Another\n\nstays\n")
    arguments = ["--smoke", "--out", tmp_path / "run", "--results", results]
    said = run("experiments/main_path.py", *arguments)
    written = (results / "RESULTS.md").read_text()
    assert said.strip() in written and "stays" in written
    assert "| 0 % |" in said and "`signature`" in said and "verified" in said
    for name in ("kernel_map-digits.png", "accuracy-digits.png"):
        assert Image.open(results / "figures" / name).width > 300
    # Again: everything is read from the run folder, and the section stands once.
    assert run("experiments/main_path.py", *arguments) == said
    assert (results / "RESULTS.md").read_text() == written


def test_a_shipped_ticket_s_card_holds_what_is_measured_of_it(tmp_path: Path) -> None:
    shipped = tmp_path / "checkpoints"
    arguments = ["--smoke", "--out", tmp_path / "run", "--checkpoints", shipped]
    said = run("experiments/ship_ticket.py", *arguments)
    signed, dense = shipped / "resnet20-digits", shipped / "resnet20-digits-dense"
    card = (signed / "README.md").read_text()
    assert said.strip() == card.strip()
    assert "`signature`, scheme 2, 29x29, version 3, level H" in card and "0.5 x 3" in card
    assert "| rates | [0.2, 0.1, 0.05, 0.01] | [0.5] |" in card, "what differs from the paper"
    assert "ship_ticket.py --data DIR --out RUN --recipe smoke" in card
    assert "no longer wins) | not searched |" in card, "a search down to a density tries no more than that"
    assert "rates" not in (dense / "README.md").read_text().split("## What differs")[1]
    assert load(dense).ticket.mask.density == 1 and load(dense).claim is None
    assert load(signed).ticket.mask.density <= 0.2
    said = run("experiments/evaluate_checkpoints.py", "--checkpoints", shipped)
    assert said.count(", equal") == 2 and "`signature` verified" in said

    # A card that claims more is found out, and so is a bundle without one.
    (dense / "README.md").write_text("| test accuracy (float32) | 99.99 % |\n")
    command = [sys.executable, ROOT / "experiments/evaluate_checkpoints.py", "--checkpoints", shipped]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "NOT EQUAL" in done.stdout
    (dense / "README.md").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "README.md: card: expected a line" in done.stderr


@pytest.mark.parametrize("script", ["main_path", "fidelity", "ship_ticket"])
def test_an_experiment_without_its_data_says_so_in_one_line(script: str, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / f"experiments/{script}.py", "--out", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{script}: --data: expected the folder of cifar10, found none")


def test_every_table_and_figure_is_reproduced_at_its_smallest_scale(tmp_path: Path) -> None:
    arguments = ["--scale", "smoke", "--out", tmp_path / "run", "--results", tmp_path]
    said = run("experiments/reproduce.py", *arguments)
    for number in range(1, 9):
        assert f"## Table {number}: " in said
    for number in range(2, 7):
        assert f"## Figure {number}: " in said
    assert "## Attack table: " in said and "\n0 of " not in said
    for title in ("FreezeNet: learning", "FreezeNet: proof of work", "Uchida: ", "Watermarks of dense"):
        assert f"## {title}" in said
    results = (tmp_path / "RESULTS.md").read_text()
    assert all(part.strip() in results for part in said.split("\n## ")[1:])
    names = [f"table{n}" for n in range(1, 9)] + [f"figure{n}" for n in range(2, 7)] + ["attack_table"]
    for name in names:
        columns, *rows = csv.reader((tmp_path / "tables" / f"{name}-smoke.csv").open())
        assert all(len(row) == len(columns) for row in rows) and (rows or name == "figure4")
    for name in ("figure2", "figure3", "figure5", "figure6", "table6"):
        assert Image.open(tmp_path / "figures" / f"{name}-smoke.png").width > 300
    # Another process, without the run folder: every cell is read from its file, and nothing is trained.
    again = run(
        "experiments/reproduce.py",
        "table5",
        "figure2",
        *arguments[:2],
        "--out",
        tmp_path / "other",
        "--results",
        tmp_path,
        "--minutes",
        0,
    )
    assert again.split("\n## ")[0].strip() in results


def test_an_experiment_that_had_no_time_says_what_was_not_run(tmp_path: Path) -> None:
    arguments = ["--scale", "smoke", "--out", tmp_path / "run", "--results", tmp_path, "--minutes", 0]
    said = run("experiments/table6.py", *arguments)
    assert "not run" in said and "0 of " in said


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "experiments/reproduce.py", "table9", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "expected names of figure2, " in done.stderr


def test_a_running_server_is_asked_about_ours_and_an_innocent_network(tmp_path: Path) -> None:
    pytest.importorskip("mlserver")
    said = run(
        "experiments/black_box.py", "--scale", "smoke", "--out", tmp_path / "run", "--results", tmp_path
    )
    assert "| resnet20-digits | innocent | 0 of 1 |" in said and "| ours | " in said


def test_fidelity_puts_the_two_precisions_side_by_side(tmp_path: Path) -> None:
    arguments = ["--smoke", "--out", tmp_path / "run", "--results", tmp_path]
    said = run("experiments/fidelity.py", *arguments)
    assert said.strip() in (tmp_path / "RESULTS.md").read_text()
    assert "| float32 | " in said and "| bf16 | " in said and "bf16 - float32: " in said


def test_the_training_benchmark_prints_ours_beside_the_peers() -> None:
    said = run("benchmarks/train_step.py", "--small", "--runs", 1, "--steps", 1)
    assert "ratio" in said and "peer" in said and "matmul peak" in said and "mask enforcement" in said


def test_the_epoch_benchmark_runs_without_a_gpu() -> None:
    said = run("benchmarks/gpu_epoch.py", "--device", "cpu", "--modes", "eager", "captured", "--images", 256)
    assert "floor: " in said and "eager: " in said and "captured: not run, needs a GPU" in said


def test_path_scores_are_measured_against_networkx_and_the_loop() -> None:
    said = run("benchmarks/path_scores.py", "--small", "--runs", 1)
    assert "betweenness: exact" in said and "networkx" in said and "rank correlation" in said


def test_the_signing_benchmark_prints_ours_beside_the_peers() -> None:
    said = run("benchmarks/embed.py", "--small", "--runs", 1)
    assert "ratio" in said and "loop over positions" in said and "torch" in said


def test_a_watermark_in_files_is_measured_beside_loading_them() -> None:
    said = run("benchmarks/freezenet.py", "--smoke", "--runs", 1)
    assert "verified" in said and "ratio" in said and "private" in said
