"""The two commands of the README install what they need, and then do what other tests run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.command_line import Command

ROOT = Path(__file__).parents[1]


def programs(target: str, venv: Path) -> list[list[str]]:
    """What `make TARGET` would run of a new environment, installing included, as words."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target, "PYTHON=python3", f"VENV={venv}"],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.removeprefix(f"{venv}/bin/").split() for line in done.stdout.splitlines()]
    return [words for words in lines if words[0] != "touch"]


def test_make_demo_walks_the_whole_path_and_reads_the_shipped_ticket(
    tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`demo` itself: tests/cli/test_cli_training.py."""
    monkeypatch.chdir(ROOT)
    environment, install, demo, extract = programs("demo", tmp_path / "venv")
    assert environment == ["python3", "-m", "venv", str(tmp_path / "venv")]
    assert install[-4:] == ["--constraint", "constraints.txt", "--editable", '".[all]"']
    assert demo == ["ticket-sig", "demo"]
    assert ticket_sig(*extract[1:])[:2] == (0, "signature\n")


def test_make_test_runs_formatting_lint_types_and_this_suite(tmp_path: Path) -> None:
    _, install, *steps = programs("test", tmp_path / "venv")
    assert install[-1] == '".[dev]"'
    assert [words[0] for words in steps] == ["ruff", "ruff", "mypy", "python"]
    assert steps[-1][1:3] == ["-m", "pytest"] and " ".join(steps[-1]).endswith('-m "not slow"')
