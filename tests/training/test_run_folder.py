"""A run folder belongs to one recipe and to one process at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ticket_sig import InputError
from ticket_sig.training.run_folder import remove_run, run_folder

_IDENTITY: dict[str, Any] = {
    "recipe": {"lr": 0.1, "rates": [0.2, 0.1], "sgd": {"wd": 1e-4}},
    "data": "sha256:1",
}
_HOLDS = """
import json, pathlib, sys
from ticket_sig.training.run_folder import run_folder
with run_folder(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _HOLDS, str(folder), json.dumps(_IDENTITY)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_in_use_is_refused_until_its_process_is_gone_however_it_went(
    tmp_path: Path, other_process: Callable[[Path], subprocess.Popen[str]]
) -> None:
    process = other_process(tmp_path / "run")
    with (
        pytest.raises(InputError, match="run: run folder: expected one that no process works in"),
        run_folder(tmp_path / "run", _IDENTITY),
    ):
        pass
    process.kill()  # SIGKILL: it has no chance to clean up
    process.wait()
    with run_folder(tmp_path / "run", _IDENTITY) as folder:
        assert folder == tmp_path / "run"


def test_a_folder_in_use_by_this_process_is_refused_and_then_free(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match="one that is in use")
    with run_folder(tmp_path, _IDENTITY), refused, run_folder(tmp_path, _IDENTITY):
        pass
    with run_folder(tmp_path, _IDENTITY):
        pass


def test_the_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), run_folder(tmp_path, _IDENTITY):
        raise RuntimeError
    with run_folder(tmp_path, _IDENTITY):
        pass


@pytest.mark.parametrize("existing", [False, True])
def test_a_new_or_empty_folder_is_taken_and_known_again(existing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    if existing:
        folder.mkdir(parents=True)
    for _ in range(2):
        with run_folder(folder, _IDENTITY):
            pass


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"recipe": {"lr": 0.2, "rates": [0.2, 0.1], "sgd": {"wd": 1e-4}}},
            ["recipe.lr: expected 0.1, found 0.2"],
        ),
        ({"recipe": {"lr": 0.1, "rates": [0.2], "sgd": {"wd": 1e-4}}}, ["recipe.rates"]),
        ({"recipe": {"lr": 0.1, "rates": [0.2, 0.1], "sgd": {"wd": 0.0}}}, ["recipe.sgd.wd"]),
        ({"recipe": {"lr": 0.1, "rates": [0.2, 0.1]}, "data": "sha256:2"}, ["recipe.sgd.wd", "data"]),
        ({"start": "sha256:3"}, ["start: expected None, found 'sha256:3'"]),
        (
            {"recipe": {"lr": 0.2, "rates": [], "sgd": {"wd": 0.0}}},
            ["recipe.lr", "recipe.rates", "recipe.sgd.wd"],
        ),
    ],
)
def test_another_runs_folder_is_refused_naming_every_field_that_differs(
    changed: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    with run_folder(tmp_path, _IDENTITY):
        pass
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with (
        pytest.raises(InputError, match=r"belongs to another run.*choose another folder") as refused,
        run_folder(tmp_path, _IDENTITY | changed),
    ):
        pass
    assert all(field in str(refused.value) for field in named)
    assert str(refused.value).count(": expected") == len(named)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_of_something_else_and_a_file_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    for path, found in ((tmp_path / "letters", "other files"), (tmp_path / "letters" / "a.txt", "a file")):
        with (
            pytest.raises(InputError, match=f"run folder: expected .*found {found}"),
            run_folder(path, _IDENTITY),
        ):
            pass
    assert [p.name for p in (tmp_path / "letters").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    with run_folder(tmp_path, _IDENTITY):
        pass
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json: JSON: expected"), run_folder(tmp_path, _IDENTITY):
        pass


def test_what_killed_writes_left_behind_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    with run_folder(tmp_path, _IDENTITY):
        pass
    level = tmp_path / "levels" / "00"
    for folder in (tmp_path, level):
        (folder / ".partial-half").mkdir(parents=True)
        (folder / ".partial-half" / "model.safetensors").write_text("half")
        (folder / ".partial-model.safetensors-abc").write_text("half")
        (folder / "model.safetensors").write_text("whole")
    with run_folder(tmp_path, _IDENTITY):
        left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.name != ".lock"}
    assert left == {"run.json", "model.safetensors", "levels", "levels/00", "levels/00/model.safetensors"}


def test_another_machine_is_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    for threads in (2, 2, 4):
        with run_folder(tmp_path, _IDENTITY, {"threads": threads, "torch": "2.13.0"}, notes.append):
            pass
    assert notes == ["this run was begun with threads 2, not 4: its bits will be others"]


def test_a_run_folder_on_another_disk_is_removed_with_the_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "out.run").symlink_to(tmp_path / "disk" / "run")
    remove_run(tmp_path / "out.run")
    assert [path.name for path in tmp_path.rglob("*")] == ["disk"]
