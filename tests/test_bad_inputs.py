"""Bad input: one line that names it, the right exit code, nothing run and nothing half-written."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import CASES
from bad_inputs.case import PROOF, Case
from bad_inputs.inputs import embed, fixture, search
from support.command_line import PROGRAM, run
from support.disk import content, file_size_limit


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.name}")
def test_bad_input(case: Case, tmp_path: Path) -> None:
    arguments = case.build(tmp_path)
    before = content(tmp_path)

    outcome = run(arguments, case.during(tmp_path))
    said = outcome.err if case.code == 2 else outcome.out + outcome.err
    assert "Traceback" not in outcome.err, outcome.err
    assert outcome.code == case.code, outcome.err
    assert [part for part in case.says if part not in said] == [], said
    if case.code == 2:
        assert outcome.err.startswith("ticket-sig: ")
        assert len(outcome.err.splitlines()) == 1
        assert ".partial-" not in outcome.err, "names a file that the user never sees"
        assert outcome.out == "" or not case.has_verb

    # The same for machines, from the same state.
    machine = run([*arguments, "--json"], case.during(tmp_path))
    answer = json.loads(machine.out)
    assert machine.code == case.code
    assert machine.err == outcome.err or not case.has_verb
    assert ("error" in answer) == (case.code == 2)
    if case.code == 2:
        assert machine.err == f"ticket-sig: {answer['error']}\n"

    assert not (tmp_path / PROOF).exists()
    after = content(tmp_path)
    assert [name for name in after if ".partial-" in name] == []
    if case.resumes:
        assert {name: after[name] for name in before} == before
    else:
        assert after == before


def test_names_of_cases_are_unique() -> None:
    names = [(case.topic, case.name) for case in CASES]
    assert len(set(names)) == len(names)


def test_a_run_goes_on_once_there_is_room(tmp_path: Path) -> None:
    arguments = search(tmp_path, "--rounds", 0)
    assert run(arguments, file_size_limit(4096)).code == 2
    assert run(arguments).code == 0
    assert run(["inspect", tmp_path / "RUN" / "ticket"]).code == 0


def test_a_real_process_answers_the_same(tmp_path: Path) -> None:
    arguments = ["inspect", fixture(tmp_path, "state.pt") / "gone", "--json"]
    command = [*PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == run(arguments)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(("verb", "flag"), [("inspect", []), ("extract", ["--json"])])
def test_a_full_disk_behind_stdout_is_one_line(verb: str, flag: list[str], tmp_path: Path) -> None:
    bundle = fixture(tmp_path, "bundle-v1-signed")
    command = [*PROGRAM, verb, str(bundle), *flag]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("ticket-sig: ")] != []
    assert os.strerror(28) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("verb", "flag"), [("inspect", []), ("extract", []), ("extract", ["--json"])])
def test_a_reader_that_left_is_one_line(verb: str, flag: list[str], tmp_path: Path) -> None:
    """As in `ticket-sig verify ... | head -0`: exit code 1 would read as "not verified"."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*PROGRAM, verb, str(fixture(tmp_path, "bundle-v1-signed")), *flag]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("ticket-sig: ")]
    assert lines == [f"ticket-sig: output: {os.strerror(32)}"]
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("streams", ["2>/dev/full", ">/dev/full 2>&1", "2>&-", ">&- 2>&-"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_where_nobody_can_be_told_the_exit_code_is_the_same(streams: str) -> None:
    """Python leaves with 1 where an error cannot be printed: it would read as "not verified"."""
    wrong = shlex.join([*PROGRAM, "melt", "--json"])
    done = subprocess.run(["sh", "-c", f"{wrong} {streams}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert len(done.stdout.splitlines()) == (streams in ("2>/dev/full", "2>&-"))


def test_a_terminal_without_a_character_stops_nothing(tmp_path: Path) -> None:
    def say(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, *map(str, arguments)]
        latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
        return subprocess.run(
            command, capture_output=True, encoding="latin-1", env=latin, check=False, timeout=120
        )

    done = say(*embed(tmp_path, fixture(tmp_path, "state.pt"), message="é☃"))
    assert (done.returncode, done.stderr) == (0, "")
    assert r"é\u2603" in done.stdout
    bare = say("extract", tmp_path / "SIGNED")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr.startswith("ticket-sig: output: expected an encoding with every character of the mess")
    assert json.loads(say("extract", tmp_path / "SIGNED", "--json").stdout)["message"] == "é☃"


def test_a_truncated_bundle_is_never_taken_for_the_claim_s_model(tmp_path: Path) -> None:
    """A verifier must not read "not verified" out of a damaged file: that is exit 2, not 1."""
    bundle = fixture(tmp_path, "bundle-v1-signed")
    data = (bundle / "model.safetensors").read_bytes()
    for length in (0, 10, 1000, len(data) - 1):
        (bundle / "model.safetensors").write_bytes(data[:length])
        for model in (bundle, bundle / "model.safetensors"):
            assert run(["verify", model, "--claim", bundle / "claim.json"]).code == 2


def test_the_whole_input_is_fine(tmp_path: Path) -> None:
    """The cases damage inputs that work: without the damage the same commands succeed."""
    for name in ("state.safetensors", "state.pt", "state-legacy.pt", "bundle-v1-signed"):
        assert run(["inspect", fixture(tmp_path, name)]).code == 0
    assert run(embed(tmp_path, tmp_path / "state.pt")).code == 0
    assert run(["extract", tmp_path / "SIGNED"]).out == "owner-1\n"
