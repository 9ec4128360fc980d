"""The benchmarks run, at their smallest scale, and print what they promise."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script within this process, which has torch already; returns what it printed."""

    def run(script: str, *arguments: object) -> str:
        monkeypatch.syspath_prepend(FOLDER)  # as for a script; one imports from another
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(FOLDER / script), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_the_training_benchmark_prints_ours_beside_the_peers(benchmark: Callable[..., str]) -> None:
    said = benchmark("train_step.py", "--small", "--runs", 1, "--steps", 1)
    assert "ratio" in said and "peer" in said and "matmul peak" in said and "mask enforcement" in said


def test_convolutions_are_measured_layer_by_layer_against_dense_ones(benchmark: Callable[..., str]) -> None:
    said = benchmark(
        "sparse_conv.py", "--networks", "resnet20", "--densities", 0.1, "--batch", 2, "--runs", 1
    )
    assert "10.0% 32->64 3x3/2 on 16x16: ours float32" in said and "all its convolutions" in said


@pytest.mark.slow
def test_sparse_steps_are_measured_beside_dense_ones_and_the_peer(
    benchmark: Callable[..., str], tmp_path: Path
) -> None:
    files = ("--json", tmp_path / "steps.json", "--figure", tmp_path / "steps.png")
    size = ("--runs", 1, "--steps", 1, "--images", 256)
    said = benchmark("sparse_step.py", "--arch", "resnet20", "--kept", 0.05, *size, *files)
    assert "sparse bf16, 5 % kept" in said and "times dense bf16" in said and "times peer" in said
    assert all(path.stat().st_size for path in files[1::2])


@pytest.mark.slow
def test_a_search_is_timed_with_sparse_layers_and_without(benchmark: Callable[..., str]) -> None:
    said = benchmark("sparse_search.py", "--epochs", 1, "--kept", 0.3)
    assert " 25.00% " in said and "whole search: " in said


def test_answers_are_measured_beside_dense_ones_and_csr(
    benchmark: Callable[..., str], tmp_path: Path
) -> None:
    size = ("--kept", 0.05, "--batch", 2, "--runs", 1, "--json", tmp_path / "answers.json")
    said = benchmark("inference.py", "--arch", "resnet20", *size)
    assert "sparse bf16" in said and "torch.sparse CSR" in said and "times dense float32" in said


def test_the_epoch_benchmark_runs_without_a_gpu(benchmark: Callable[..., str]) -> None:
    said = benchmark("gpu_epoch.py", "--device", "cpu", "--modes", "eager", "captured", "--images", 256)
    assert "floor: " in said and "eager: " in said and "captured: not run, needs a GPU" in said


def test_recovery_is_timed_against_its_bound(benchmark: Callable[..., str]) -> None:
    said = benchmark("recovery.py", "--arch", "resnet20", "--draws", 1, "--epochs", 1, "--threads", 1)
    assert "resnet20, 20 % pruned: median " in said and "of 1 draws, bound 10" in said


def test_path_scores_are_measured_against_networkx_and_the_loop(benchmark: Callable[..., str]) -> None:
    said = benchmark("path_scores.py", "--small", "--runs", 1)
    assert "betweenness: exact" in said and "networkx" in said and "rank correlation" in said


def test_the_signing_benchmark_prints_ours_beside_the_peers(benchmark: Callable[..., str]) -> None:
    said = benchmark("embed.py", "--small", "--runs", 1)
    assert "ratio" in said and "loop over positions" in said and "torch" in said


@pytest.mark.slow
def test_a_watermark_in_files_is_measured_beside_loading_them(benchmark: Callable[..., str]) -> None:
    said = benchmark("freezenet.py", "--smoke", "--runs", 1)
    assert "verified" in said and "ratio" in said and "private" in said


@pytest.mark.slow
def test_the_message_code_is_measured_beside_its_bounds_and_a_peer(benchmark: Callable[..., str]) -> None:
    said = benchmark("message_code.py", "--small", "--runs", 1)
    assert "x Shannon" in said and "no code" in said and "ours" in said and "commpy" in said


@pytest.mark.slow
def test_marks_in_the_mask_are_measured_beside_a_plain_one_and_their_bounds(
    benchmark: Callable[..., str],
) -> None:
    said = benchmark("carriers.py", "--small", "--runs", 1)
    steps = {tuple(line.split()[:2]) for line in said.splitlines()}
    marks = ("qr-code", "spread", "mirror", "qr-code+spread+mirror")
    assert steps >= {(mark, step) for mark in marks for step in ("embed", "read")} | {(marks[-1], "large")}
    assert "peer, in memory" in said and "imports alone" in said and "bound" in said
