"""Mine and check from the command line: exit codes, and nothing half-written by a miner that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import PROGRAM, Command
from support.disk import content

from ticket_sig.cli.app import main
from ticket_sig.datasets import load_dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.proof_of_work import Challenge, Difficulty, read_solution, watermark_of

MINE, CHECK = ("proof-of-work", "mine"), ("proof-of-work", "check")
BLOCK = "block 7, mined by alice"
EASY = ("--share", 0.3, "--target", 5)  # as much as a network of one epoch, which knows some digits, reaches
ASKED = ("--text", BLOCK, *EASY)


@pytest.fixture(scope="module")
def solution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solution mined on digits, one epoch an attempt."""
    folder = tmp_path_factory.mktemp("mined") / "S"
    arguments = [*MINE, *ASKED, "--epochs", 1, "--precision", "float32", "--out", folder]
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    assert left.value.code == 0
    return folder


def copied(solution: Path, folder: Path) -> Path:
    return Path(shutil.copytree(solution, folder / "COPY"))


def tampered(solution: Path, folder: Path, *, fixed: bool, digest: bool) -> Path:
    """The solution with one weight changed; `digest`: its file says so."""
    copy, found = copied(solution, folder), read_solution(solution)
    challenge = Challenge(BLOCK.encode(), Difficulty(share=0.3, target=5))
    places = watermark_of(challenge, found.nonce, load_dataset("digits")).fixed_in(found.weights)["fc.weight"]
    taken = torch.zeros(found.weights["fc.weight"].numel(), dtype=torch.bool)
    taken[torch.from_numpy(places.places)] = True
    weights = {name: t.clone() for name, t in found.weights.items()}
    weights["fc.weight"].view(-1)[int(torch.nonzero(taken == fixed)[0])] += 1e-3
    safetensors.torch.save_file(weights, copy / "model.safetensors")
    if digest:
        value = json.loads((copy / "solution.json").read_text())
        (copy / "solution.json").write_text(json.dumps({**value, "weights": tensor_digest(weights)}))
    return copy


def test_what_is_mined_is_verified(solution: Path, ticket_sig: Command) -> None:
    assert sorted(file.name for file in solution.iterdir()) == ["model.safetensors", "solution.json"]
    said = ticket_sig(*CHECK, solution, *ASKED)
    assert said.code == 0 and said.out.startswith("verified\n"), said.err
    assert "test accuracy" in said.out and "does not prove: how much was worked for it" in said.out
    assert "share asked for" in said.out and "sha256" not in said.out, "digests are for machines"
    value = json.loads(ticket_sig(*CHECK, solution, *ASKED, "--json").out)
    assert value["verdict"] == "verified" and value["evidence"]["accuracy"] >= 5


def test_the_command_that_checks_can_be_run_as_it_is(tmp_path: Path, ticket_sig: Command) -> None:
    folder, block = tmp_path / "it's mined", tmp_path / "a block"
    block.write_bytes(b"block 7")
    options = ("--epochs", 1, "--precision", "float32", "--arch", "resnet20", "--scale", "layer")
    easy = ("--share", 0.3, "--target", 1)
    texts = ("--text", 'it\'s "$HOME"'), ("--text", "two\nlines' \\ \udcff"), ("--block", block)
    for given in texts:
        said = ticket_sig(*MINE, *given, *easy, *options, "--out", folder, "--force")
        assert said.code == 0, said.err
        command = said.out[said.out.index("next: ticket-sig ") + len("next: ticket-sig ") :]
        shell = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
        words = [os.fsdecode(word) for word in shell.stdout.split(b"\0")[:-1]]
        assert "--data" not in words and "--dataset" not in words
        assert ticket_sig(*words).code == 0


def test_a_block_may_come_from_a_file(solution: Path, tmp_path: Path, ticket_sig: Command) -> None:
    (tmp_path / "block").write_bytes(BLOCK.encode())
    assert ticket_sig(*CHECK, solution, "--block", tmp_path / "block", *EASY).code == 0
    (tmp_path / "block").write_bytes(BLOCK.encode() + b"\n")
    assert ticket_sig(*CHECK, solution, "--block", tmp_path / "block", *EASY).code == 1
    said = ticket_sig(*CHECK, solution, "--block", tmp_path / "gone", *EASY)
    assert said.code == 2 and said.err.count("\n") == 1 and "gone" in said.err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--text", "block 8", *EASY), "block: asked sha256:"),
        (("--text", BLOCK, "--share", 0.31, "--target", 5), "share: asked 0.31 or more, found 0.3"),
        (("--text", BLOCK, "--share", 0.3, "--target", 100), "where 100 % is asked"),
        ((*ASKED, "--arch", "resnet20"), "network: asked resnet20, found freezenet"),
        ((*ASKED, "--scale", "layer"), "scale of values: asked layer, found unit"),
    ],
)
def test_what_the_checker_asks_counts(
    asked: tuple[object, ...], says: str, solution: Path, ticket_sig: Command
) -> None:
    said = ticket_sig(*CHECK, solution, *asked, "--json")
    value = json.loads(said.out)
    assert said.code == 1 and value["verdict"] == "not verified" and says in value["lacking"]
    said = ticket_sig(*CHECK, solution, *asked)
    assert said.code == 1 and said.out.startswith("not verified\n") and "proves: nothing" in said.out


def test_a_changed_weight_is_refused(solution: Path, tmp_path: Path, ticket_sig: Command) -> None:
    for fixed in (True, False):
        said = ticket_sig(*CHECK, tampered(solution, tmp_path, fixed=fixed, digest=False), *ASKED)
        assert said.code == 2 and "weights: expected those of sha256:" in said.err
        shutil.rmtree(tmp_path / "COPY")
    said = ticket_sig(*CHECK, tampered(solution, tmp_path, fixed=True, digest=True), *ASKED, "--json")
    assert said.code == 1 and "1 of the watermark's values differ" in json.loads(said.out)["lacking"]
    shutil.rmtree(tmp_path / "COPY")
    # As the help says: who alters a free weight, and says so, has a solution of his own of the same block.
    assert ticket_sig(*CHECK, tampered(solution, tmp_path, fixed=False, digest=True), *ASKED).code == 0


@pytest.mark.parametrize("name", ["model.safetensors", "solution.json"])
def test_a_damaged_or_missing_file_is_one_line_and_exit_code_2(
    name: str, solution: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    copy = copied(solution, tmp_path)
    for damage in (lambda p: p.write_bytes(p.read_bytes()[:100]), Path.unlink):
        damage(copy / name)
        said = ticket_sig(*CHECK, copy, *ASKED)
        assert said.code == 2 and said.err.count("\n") == 1 and name in said.err
    said = ticket_sig(*CHECK, tmp_path / "gone", *ASKED)
    assert said.code == 2 and said.err.count("\n") == 1 and "gone" in said.err


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        (MINE, EASY, "block: expected one of --block and --text, found neither"),
        (CHECK, (*ASKED, "--block", "file"), "block: expected one of --block and --text, found both"),
        (MINE, ("--text", "", *EASY), "block: expected 1 byte or more, found none"),
        (MINE, ("--text", BLOCK, "--share", 0, "--target", 5), "share: expected a number above 0"),
        (CHECK, ("--text", BLOCK, "--share", "nan", "--target", 5), "share: expected a number above 0"),
        (MINE, (*ASKED, "--scale", "legacy"), "scale: expected one of unit, layer"),
        (MINE, (*ASKED, "--arch", "net"), "arch: expected one of"),
        (MINE, (*ASKED, "--dataset", "cifar10"), "--data: expected the folder of cifar10, found none"),
        (MINE, (*ASKED, "--preset", "none"), "preset: expected one of"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    verb: tuple[str, ...],
    arguments: tuple[object, ...],
    says: str,
    solution: Path,
    tmp_path: Path,
    ticket_sig: Command,
) -> None:
    last = ("--out", tmp_path / "S") if verb == MINE else (solution,)
    said = ticket_sig(*verb, *arguments, *last)
    assert said.code == 2 and said.err.count("\n") == 1 and says in said.err
    assert content(tmp_path) == {}


def test_what_is_not_solved_within_the_budget_is_one_line_and_exit_code_1(
    tmp_path: Path, ticket_sig: Command
) -> None:
    hard = [*MINE, "--text", BLOCK, "--share", 0.3, "--target", 100, "--epochs", 1]
    hard += ["--precision", "float32", "--out", tmp_path / "S"]
    said = ticket_sig(*hard, "--attempts", 1)
    assert said.code == 1 and said.out.count("\n") == 1
    assert said.out.startswith("not solved by attempt 1, ") and "at best, of 100 %" in said.out
    said = ticket_sig(*hard, "--seconds", 0.01, "--json")
    value = json.loads(said.out)
    assert said.code == 1 and value["solution"] is None and len(value["attempts"]) == 1
    assert content(tmp_path) == {}


def test_a_place_that_is_taken_is_found_before_mining(
    solution: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    copy, other = copied(solution, tmp_path), tmp_path / "other"
    other.mkdir()
    before = content(tmp_path)
    mine = [*MINE, "--text", BLOCK, "--share", 0.3, "--target", 100]
    said = ticket_sig(*mine, "--out", copy)
    assert said.code == 2 and "pass --force" in said.err
    said = ticket_sig(*mine, "--out", other, "--force")
    assert said.code == 2 and "expected a solution to overwrite" in said.err
    assert content(tmp_path) == before
    again = [*MINE, "--text", "block 8", *EASY, "--epochs", 1, "--out", copy, "--force"]
    assert ticket_sig(*again).code == 0
    assert ticket_sig(*CHECK, copy, "--text", "block 8", *EASY).code == 0


def test_a_miner_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    arguments = [
        *MINE,
        "--text",
        BLOCK,
        "--share",
        0.3,
        "--target",
        100,
        "--epochs",
        1,
        "--out",
        tmp_path / "S",
    ]
    miner = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert miner.stderr is not None
    assert miner.stderr.readline().startswith("attempt 1: ")
    miner.send_signal(signal.SIGKILL)
    miner.communicate()
    assert miner.returncode == -signal.SIGKILL
    assert content(tmp_path) == {}
