"""A wrong call is one line that names what would be right; so is one of a verb or option of before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest
from support.command_line import Command, could_not, help_of, options_in

from ticket_sig.attacks import ATTACKS
from ticket_sig.cli import app
from ticket_sig.marks import MARKS
from ticket_sig.options import Options, flag, options_of
from ticket_sig.scores import SCORES

EMBEDDABLE = {name: kind.options for name, kind in MARKS.items() if kind.options}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sing"], "No such command 'sing'"),
        (["sing"], "Expected one of find, embed, split, "),
        (["embed"], "model"),
        (["embed", "model.pt", "--message", "m"], "--out"),
        (["embed", "model.pt", "--message", "m", "--out", "x", "--version", "big"], "--version"),
        (["verify", "model.pt"], "--claim"),
        (["extract", "model.pt", "--colour"], "--colour"),
        (
            ["extract", "model.pt", "--colour"],
            "one of --claim, --mask, --place, --search, --version, --level, --png, --json, --secret, --help",
        ),
        (["find"], "--out"),
        (["find", "--out", "x", "--rounds", "-1"], "--rounds"),
        (["inspect", "a", "b"], "b"),
        (["attack", "noise", "model.pt", "--out", "x"], "--rate"),
        (["proof-of-work", "dig"], "Expected one of mine, check"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, ticket_sig: Command
) -> None:
    could_not(ticket_sig(*arguments), "ticket-sig: usage: ", words)


def test_an_option_that_the_mark_requires_is_named(ticket_sig: Command) -> None:
    could_not(
        ticket_sig("embed", "model.pt", "--out", "x"),
        "--message: expected a text, found none; qr-code needs it",
    )
    could_not(ticket_sig("embed", "m.pt", "--mark", "freezenet", "--out", "x"), "--length, --share")
    for name in ("key-mask", "trigger-set", "halo"):
        said = ticket_sig("embed", "model.pt", "--mark", name, "--out", "x")
        could_not(said, f"mark: expected one of {', '.join(EMBEDDABLE)}, found '{name}'")


# options of another mark, score or attack


def of_others(name: str, kinds: dict[str, type[Options]]) -> list[str]:
    """Names of options that others have, and this one has not."""
    own = {one.name for one in options_of(kinds[name])}
    return sorted({one.name for kind in kinds.values() for one in options_of(kind)} - own)


@pytest.mark.parametrize("name", EMBEDDABLE)
def test_an_option_of_another_mark_is_refused(name: str, tmp_path: Path, ticket_sig: Command) -> None:
    own = ", ".join(one.name for one in options_of(EMBEDDABLE[name]))
    assert of_others(name, EMBEDDABLE)
    for other in of_others(name, EMBEDDABLE):
        said = ticket_sig("embed", "model.pt", "--mark", name, flag(other), 1, "--out", tmp_path / "x")
        could_not(said, f"{name}: expected options among {own}, found {other}")


@pytest.mark.parametrize("name", SCORES)
def test_an_option_of_another_score_is_refused(name: str, tmp_path: Path, ticket_sig: Command) -> None:
    assert of_others(name, dict(SCORES))
    for other in of_others(name, dict(SCORES)):
        users = [n for n, kind in SCORES.items() if other in {one.name for one in options_of(kind)}]
        value = [] if get_type_hints(SCORES[users[0]])[other] is bool else [1]
        said = ticket_sig("split", "model.pt", "--score", name, flag(other), *value, "--out", tmp_path / "x")
        could_not(said, f"{flag(other)}: expected a score that uses it ({', '.join(users)}), found '{name}'")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_option_of_another_attack_is_refused(name: str, tmp_path: Path, ticket_sig: Command) -> None:
    own = {flag(one.name) for one in options_of(ATTACKS[name])}
    others = [flag(other) for other in of_others(name, dict(ATTACKS))]
    for other in [*others, *([] if ATTACKS[name].of_insiders else ["--insider"])]:
        said = ticket_sig("attack", name, "model.pt", other, 1, "--out", tmp_path / "x")
        could_not(said, f"No such option: {other}", "Expected one of --out, ")
        assert own <= set(re.findall(r"--[a-z-]+", said.err.partition("Expected one of")[2]))


# what version 0.1 called it


def check_named(now: str, ticket_sig: Command) -> None:
    """That verbs, options and marks which an answer names are there."""
    verbs = re.findall(r"^│ ([a-z-]+)\s", help_of(ticket_sig), re.MULTILINE)
    named = [word for word in re.findall(r"[a-z-]+", now) if word in verbs]
    assert named and now.startswith(named[0]), now
    command = [named[0]]
    if named[0] in ("attack", "proof-of-work"):
        command.append(now.split()[1])
    assert set(re.findall(r"--[a-z-]+", now)) <= options_in(help_of(ticket_sig, *command)), now
    for group, members in re.findall(r"(proof-of-work) ([a-z|]+)", now):
        assert all(f"│ {member} " in help_of(ticket_sig, group) for member in members.split("|"))
    for marks in re.findall(r"--mark ([a-z|-]+)", now):
        assert set(marks.split("|")) <= EMBEDDABLE.keys()


@pytest.mark.usefixtures("wide_terminal")
@pytest.mark.parametrize("words", app._OLD_VERBS, ids=" ".join)
def test_an_old_verb_is_answered_with_the_new_one(words: tuple[str, ...], ticket_sig: Command) -> None:
    for more in ([], ["model.pt", "--out", "x", "--json"]):
        said = ticket_sig(*words, *more)
        assert said.code == 2 and said.err.count("\n") == 1
        head, _, now = said.err.removesuffix("\n").partition(" no longer a verb; use ticket-sig ")
        assert head == f"ticket-sig: usage: {' '.join(words)}:"
        check_named(now, ticket_sig)


OLD_OPTIONS = [(verb, option) for verb, options in app._OLD_OPTIONS.items() for option in options]


@pytest.mark.usefixtures("wide_terminal")
@pytest.mark.parametrize(("verb", "option"), OLD_OPTIONS, ids=" ".join)
def test_an_old_option_is_answered_with_the_new_one(verb: str, option: str, ticket_sig: Command) -> None:
    called = [verb, "own-watermark"] if verb == "attack" else [verb]
    for given in ([option, "x"], [f"{option}=x"]):
        said = ticket_sig(*called, "model.pt", *given)
        could_not(said)
        head, _, now = said.err.removesuffix("\n").partition(" no longer an option; use ticket-sig ")
        assert head == f"ticket-sig: usage: {option}:", said.err
        check_named(now, ticket_sig)


def test_what_the_old_freezenet_and_uchida_verbs_took_is_answered(ticket_sig: Command) -> None:
    """Whoever moves to the new verb, and keeps the old options, is told the new names."""
    for option, now in (("--text", "--message"), ("--data-file", "--secret"), ("--key", "--secret")):
        said = ticket_sig("embed", "model.pt", "--mark", "freezenet", option, "x", "--out", "y")
        could_not(said, f"{option}: no longer an option; use ticket-sig embed {now}")
