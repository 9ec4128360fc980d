"""`make gpu`, rehearsed on a CPU: what comes back of a machine that is lent for minutes, and goes on."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.command_line import done

from ticket_sig import InputError

ROOT = Path(__file__).parents[1]
_SEARCH = ["find", "--preset=demo", "--epochs=1", "--rounds=2"]


def module(name: str) -> ModuleType:
    """A script of `benchmarks/`, which is no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


packed_run, gpu = module("packed_run"), module("gpu")


def start(out: Path, *options: object, **environment: str) -> subprocess.Popen[str]:
    """The command of `make gpu`, in a process group of its own, where no GPU is seen."""
    command = [
        sys.executable,
        ROOT / "benchmarks/gpu.py",
        "--out",
        out,
        "--run",
        out.parent / "run",
        *options,
    ]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [str(part) for part in command],
        env={**known, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=170)
    return process.returncode, said


def steps(out: Path) -> dict[str, Any]:
    """What the report says of every step; the folder keeps the limits of what comes back."""
    files = list(out.iterdir())
    assert len(files) <= 8 and all(path.is_file() and path.stat().st_size <= 16 << 20 for path in files)
    assert all(re.fullmatch(r"[\w.-]+", path.name, re.ASCII) for path in files)
    found: dict[str, Any] = json.loads((out / "report.json").read_text())["steps"]
    return found


def packed(out: Path) -> set[str]:
    """The names of the files in the packed run."""
    for path in out.glob("run-*-1of1.tgz"):
        with contextlib.suppress(FileNotFoundError), tarfile.open(path) as tar:
            return set(tar.getnames())
    return set()


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def tensors(ticket: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ticket.glob("*.safetensors")}


def kill_in_the_search(out: Path, *options: object) -> str:
    """Kills it once a half-finished level came back; returns what it said until then."""
    process = start(out, "--small", *options)
    wait_for(lambda: packed(out) & {f"levels/0{n}/state.safetensors" for n in (1, 2)}, process)
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def test_killed_in_the_search_it_goes_on_from_what_came_back_with_the_same_bits(tmp_path: Path) -> None:
    first, second = tmp_path / "first/out", tmp_path / "second/out"
    assert "find: " not in kill_in_the_search(first, "--steps", "find")
    found = steps(first)["find"]
    assert found["status"] == "running" and "the run in 1 file(s)" in found["detail"]

    code, said = finish(start(second, "--small", "--steps", "find", "--resume", first))
    assert code == 0 and "find: done: finished; the finished ticket in 1 file(s)" in said
    assert "resumed at step" in (second / "log.txt").read_text()
    assert steps(second).keys() == {"find"} and len(steps(second)["find"]["levels"]) == 3

    done([*_SEARCH, "--out", tmp_path / "whole"])
    packed_run.unpack(second, tmp_path / "back")
    assert tensors(tmp_path / "back/ticket") == tensors(tmp_path / "whole/ticket") != {}


@pytest.mark.slow
def test_killed_in_the_last_step_what_was_done_before_is_in_the_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = kill_in_the_search(out)
    found = steps(out)
    assert found["tests"]["status"] == "not run" and " skipped" in found["tests"]["detail"], "there is no GPU"
    assert found["epoch"]["status"] == "done" and found["epoch"]["seconds"]["captured"] == "needs a GPU"
    assert found["find"]["status"] == "running" and "the run in 1 file(s)" in found["find"]["detail"]
    assert "tests: not run: " in said and "epoch: done: " in said and "find: " not in said
    assert len(json.loads((out / "epoch.json").read_text())["modes"]["eager"]["runs"]) == 2
    assert "eager: " in (out / "log.txt").read_text()


def test_a_signal_ends_the_search_as_the_end_of_its_time_does(tmp_path: Path) -> None:
    process = start(tmp_path / "out", "--small", "--steps", "find", "--", "--epochs", 500)
    wait_for(lambda: packed(tmp_path / "out"), process)
    process.terminate()
    code, said = finish(process)
    assert code == 0 and "find: stopped: its time was up, it goes on with --resume" in said
    assert steps(tmp_path / "out")["find"]["status"] == "stopped"
    assert "stopped; find" in (tmp_path / "out/log.txt").read_text(), "it was asked before it was killed"


@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN); "])
def test_a_process_ends_when_its_time_is_up_and_leaves_what_it_said(deaf: str, tmp_path: Path) -> None:
    report = gpu.Report(tmp_path, 0.1, ["tests"])
    report.say("begun")
    endless = f"import signal, time; {deaf}print('here', flush=True); time.sleep(600)"
    assert gpu.Lease(0.1, report).run(["-c", endless], 0.5)[0] is None
    assert (tmp_path / "log.txt").read_text().startswith("begun\nhere\n")
    assert steps(tmp_path) == {"tests": {"status": "not run", "detail": "not reached"}}


def test_what_needs_a_gpu_is_not_run_without_one(tmp_path: Path) -> None:
    given = {
        "GPU_PYTHON": sys.executable,
        "OUT": tmp_path / "out",
        "RUN": tmp_path / "run",
        "FIND": "--seed 1",
    }
    command = ["make", "--no-print-directory", "gpu", *(f"{name}={value}" for name, value in given.items())]
    known = {**os.environ, "MAKEFLAGS": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    assert done.returncode and done.stdout.count(": not run: no GPU") == 3, done
    assert {found["status"] for found in steps(tmp_path / "out").values()} == {"not run"}
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_missing_package_is_named_in_one_line_and_the_next_step_goes_on(tmp_path: Path) -> None:
    for name in ("pytest", "filelock"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")")
    out = tmp_path / "out"
    code, said = finish(start(out, "--small", "--steps", "tests", "find", PYTHONPATH=str(tmp_path)))
    assert code == 1 and len(said.splitlines()) == 3
    assert "tests: failed: not installed: pytest" in said and "find: failed: not installed: filelock" in said
    assert all(found["status"] == "failed" for found in steps(out).values())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--data", "data folder: expected one that is there, found none"),
        ("--resume", "packed run: expected all parts of run-N-1ofM.tgz, found none"),
    ],
)
def test_a_missing_folder_is_one_line(option: str, words: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    code, said = finish(start(tmp_path / "out", "--small", "--steps", "find", option, nowhere))
    assert code == 1 and f"find: not run: {nowhere}: {words}" in said
    assert words in steps(tmp_path / "out")["find"]["detail"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A search in its second level."""
    contents = {
        "run.json": b"{}",
        "dense/model.safetensors": b"made again",
        "levels/00/mask.safetensors": b"mask",
        "levels/00/state.safetensors": b"left behind by a kill",
        "levels/00/result.json": b"{}",
        "levels/01/state.safetensors": os.urandom(1000),
        "levels/01/.partial-state": b"being written",
    }
    for name, content in contents.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "out").mkdir()
    return tmp_path / "run"


def test_a_packed_run_holds_what_cannot_be_made_again(run: Path, tmp_path: Path) -> None:
    packed_run.pack(run, tmp_path / "out")
    packed_run.unpack(tmp_path / "out", tmp_path / "back")
    back = {
        p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*") if p.is_file()
    }
    kept = {"run.json", "levels/00/mask.safetensors", "levels/00/result.json", "levels/01/state.safetensors"}
    assert back == kept
    assert all((tmp_path / "back" / name).read_bytes() == (run / name).read_bytes() for name in kept)


def test_the_newest_whole_set_of_parts_is_unpacked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_run, "PART_BYTES", 1000)
    out, state = tmp_path / "out", run / "levels/01/state.safetensors"
    packed_run.pack(run, out)
    assert len(list(out.iterdir())) == 2
    earlier, older = state.read_bytes(), {path.name: path.read_bytes() for path in out.iterdir()}
    state.write_bytes(os.urandom(1000))
    packed_run.pack(run, out)
    assert len(list(out.iterdir())) == 2 and not older.keys() & {path.name for path in out.iterdir()}
    # Killed before its second part was written, the set before it still stands.
    sorted(out.iterdir())[1].unlink()
    for name, content in older.items():
        (out / name).write_bytes(content)
    packed_run.unpack(out, tmp_path / "back")
    assert (tmp_path / "back/levels/01/state.safetensors").read_bytes() == earlier


def test_a_run_that_does_not_fit_leaves_what_was_packed_before(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed_run.pack(run, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(packed_run, "PART_BYTES", 100)
    with pytest.raises(InputError, match="size: expected at most 200 bytes, packed, found "):
        packed_run.pack(run, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_part_is_refused_and_makes_no_run_folder(damage: str, run: Path, tmp_path: Path) -> None:
    packed_run.pack(run, tmp_path / "out")
    (part,) = (tmp_path / "out").iterdir()
    whole = bytearray(part.read_bytes())
    middle = len(whole) // 2
    whole[middle] ^= 255
    part.write_bytes({"cut": whole[:middle], "flipped": whole, "text": b"not a tar"}[damage])
    with pytest.raises(InputError, match="packed run: expected a whole one, found a damaged one"):
        packed_run.unpack(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_run_folder_that_is_there_is_not_unpacked_over(run: Path, tmp_path: Path) -> None:
    packed_run.pack(run, tmp_path / "out")
    with pytest.raises(InputError, match="run folder: expected a name not taken yet"):
        packed_run.unpack(tmp_path / "out", run)
