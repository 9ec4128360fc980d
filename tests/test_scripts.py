"""The scripts beside the package run, at their smallest scale, and print what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

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


def test_the_benchmark_prints_ours_beside_the_peers() -> None:
    said = run("benchmarks/embed.py", "--small", "--runs", 1)
    assert "ratio" in said and "loop over positions" in said and "torch" in said
