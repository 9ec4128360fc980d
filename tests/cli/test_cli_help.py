"""What a newcomer meets first: help with an example for every verb, and one line for a wrong call."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.command_line import Outcome

VERBS = [
    "find",
    "embed",
    "split",
    "unlock",
    "triggers",
    "train",
    "extract",
    "verify",
    "queries",
    "attack",
    "inspect",
    "data",
    "demo",
]
GROUPED = [
    "watermark freezenet apply",
    "watermark freezenet verify",
    "watermark freezenet mine",
    "watermark freezenet check",
    "watermark uchida embed",
    "watermark uchida decode",
]
Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that no option's name is cut."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_help_lists_every_verb(ticket_sig: Command) -> None:
    said = ticket_sig("--help")
    assert said.code == 0
    assert all(re.search(rf"\b{verb}\s+\S", plain(said.out)) for verb in VERBS)


def test_help_of_a_group_lists_its_verbs(ticket_sig: Command) -> None:
    assert re.search(r"\bwatermark\s+\S", plain(ticket_sig("--help").out))
    for words in GROUPED:
        *group, verb = words.split()
        said = ticket_sig(*group, "--help")
        assert said.code == 0
        assert re.search(rf"\b{verb}\s+\S", plain(said.out))


def test_without_a_verb_the_verbs_are_shown(ticket_sig: Command) -> None:
    said = ticket_sig()
    assert said.code == 2
    assert all(verb in said.out + said.err for verb in VERBS)


@pytest.mark.parametrize("verb", [*VERBS, *GROUPED])
def test_every_verb_has_an_example_that_its_own_options_fit(verb: str, ticket_sig: Command) -> None:
    said = ticket_sig(*verb.split(), "--help")
    assert said.code == 0
    help_text = plain(said.out)
    example = re.search(rf"Example: ticket-sig {verb}\b(.*)", help_text)
    assert example, help_text
    options = set(re.findall(r"--[a-z0-9-]+", help_text.replace(example.group(), "")))
    assert set(re.findall(r"--[a-z0-9-]+", example.group(1))) <= options
    assert "--json" in options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sing"], "sing"),
        (["embed"], "model"),
        (["embed", "model.pt", "--out", "x"], "--message"),
        (["embed", "model.pt", "--message", "m"], "--out"),
        (["embed", "model.pt", "--message", "m", "--out", "x", "--version", "41"], "--version"),
        (["embed", "model.pt", "--message", "m", "--out", "x", "--version", "big"], "--version"),
        (["verify", "model.pt"], "--claim"),
        (["extract", "model.pt", "--colour"], "--colour"),
        (["find"], "--out"),
        (["find", "--out", "x", "--rounds", "-1"], "--rounds"),
        (["inspect", "a", "b"], "b"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, ticket_sig: Command
) -> None:
    said = ticket_sig(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ticket-sig: usage: ") and said.err.count("\n") == 1
    assert words in said.err


def test_help_does_not_wait_for_torch() -> None:
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; from ticket_sig.cli.app import main; main(['--help'])"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr
