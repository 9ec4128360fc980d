"""What `python -m experiments` cannot do is one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.lib import entry

Experiments = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "experiments: usage: the following arguments are required: NAME, --out\n"),
        ("table1 --out RUN --scale tiny", "table1: usage: argument --scale: invalid choice: 'tiny'"),
        ("table1 --out RUN --minutes nan", "table1: --minutes: expected a finite number, found nan\n"),
        (
            "--out RUN --minutes x table1",
            "experiments: usage: argument --minutes: invalid float",
        ),
        ("table1", "table1: usage: the following arguments are required: --out\n"),
        ("main_path --rounds x --out RUN", "main_path: usage: argument --rounds: invalid int value: 'x'\n"),
        ("table1 --out file/RUN --scale smoke", "file/RUN/results: output: expected a folder to write to, "),
        ("ship_null --results . --table T", "ship_null: cells/quick: cells: expected 90 pairs of a network"),
    ],
)
def test_a_wrong_call_is_one_line(
    words: str, expected: str, tmp_path: Path, experiments: Experiments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = experiments(*words.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert expected in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "RUN/locks"), 2, "table1: RUN/locks: Permission denied\n"),
        (KeyError("accuracy"), 2, "table1: internal error: KeyError: 'accuracy'; TICKET_SIG_DEBUG=1 shows"),
        (KeyboardInterrupt(), 130, "\nstopped; the same command goes on from here\n"),
    ],
)
def test_whatever_happens_is_one_line(
    error: BaseException, code: int, said: str, experiments: Experiments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: object) -> None:
        raise error

    monkeypatch.setattr(entry, "_measure_and_show", fail)
    done = experiments("table1", "--out", "RUN")
    assert done.code == code and done.err.startswith(said)
