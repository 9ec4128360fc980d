"""Promise 2 on the real program: killed with SIGKILL and started again, it ends with the same bytes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.command_line import PROGRAM, done

_FIND = ["find", "--dataset=digits", "--arch=resnet20", "--preset=demo", "--rounds=1", "--epochs=2"]
_STEPS = 2 * 2 * 18  # two trainings of two epochs of 18 batches
_FILES = ("mask.safetensors", "rewind.safetensors", "model.safetensors")


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *_FIND, "--out", str(run), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=170)
    assert process.returncode == 0, said


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / "ticket" / name).read_bytes() for name in _FILES}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("whole") / "run"
    done([*_FIND, "--out", run])
    return contents(run)


def state_of(run: Path) -> set[tuple[str, int, int]]:
    """Tells one moment of a run from another: its whole files, with their times."""
    seen = set()
    for folder, _, names in os.walk(run):
        for path in (Path(folder) / name for name in names if not name.startswith(".")):
            with contextlib.suppress(FileNotFoundError):  # removed in this very moment
                found = path.stat()
                seen.add((str(path), found.st_ino, found.st_mtime_ns))
    return seen


def kill_after(process: subprocess.Popen[str], run: Path, changes: int, pause: float) -> bool:
    """Kills the process a pause after so many changes in its folder; False if it was done before."""
    state = state_of(run)
    while changes and process.poll() is None:
        now = state_of(run)
        changes -= now != state
        state = now
        time.sleep(0.004)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kill_and_finish(run: Path, moments: Sequence[tuple[int, float]]) -> int:
    """Returns how many of the kills hit a running process."""
    hits = sum(kill_after(start(run, "--checkpoint-every", "0"), run, *moment) for moment in moments)
    finish(start(run, "--checkpoint-every", "0"))
    return hits


def test_killed_it_ends_with_the_same_bytes(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    # After a quarter of the changes: even where several come between two looks, much is still to be done.
    assert kill_and_finish(tmp_path / "run", [(_STEPS // 4, 0.01)]) == 1
    assert contents(tmp_path / "run") == uninterrupted


@pytest.mark.slow
def test_killed_five_times_it_ends_with_the_same_bytes(
    uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    seed = int(os.environ.get("TICKET_SIG_KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"TICKET_SIG_KILL_SEED={seed} repeats these kills")
    draw = random.Random(seed)
    # On average the last kill comes after three quarters of the work; each step is one change.
    moments = [(draw.randint(0, 3 * _STEPS // 10), draw.uniform(0, 0.03)) for _ in range(5)]
    assert kill_and_finish(tmp_path / "run", moments) >= 3
    assert contents(tmp_path / "run") == uninterrupted
