"""What a newcomer meets first: help with an example for every verb, and completion in a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import make_dataclass
from pathlib import Path

import pytest
from support.command_line import Command, help_of, options_in

from ticket_sig import InputError
from ticket_sig.attacks import ATTACKS
from ticket_sig.cli import embed
from ticket_sig.cli.declared import with_options
from ticket_sig.marks import MARKS
from ticket_sig.options import Options, flag, option, options_of
from ticket_sig.scores import SCORES
from ticket_sig.transcripts.spoofs import SPOOFS
from ticket_sig.version import VERSION

VERBS = [
    "find",
    "embed",
    "split",
    "unlock",
    "triggers",
    "train",
    "extract",
    "verify",
    "ask",
    "queries",
    "attack",
    "evaluate",
    "keygen",
    "open",
    "audit",
    "forge",
    "proof-of-work",
    "inspect",
    "data",
    "demo",
]
GROUPS = {"attack": list(ATTACKS), "forge": list(SPOOFS), "proof-of-work": ["mine", "check"]}
COMMANDS = [
    *(verb for verb in VERBS if verb not in GROUPS),
    *(f"{group} {name}" for group, names in GROUPS.items() for name in names),
]
pytestmark = pytest.mark.usefixtures("wide_terminal")


def flags(kind: type[Options]) -> set[str]:
    return {flag(one.name) for one in options_of(kind)}


def test_help_lists_every_verb(ticket_sig: Command) -> None:
    listed = re.findall(r"^│ ([a-z][a-z-]+)\s+\S", help_of(ticket_sig), re.MULTILINE)
    assert listed == VERBS


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_lists_its_verbs(group: str, ticket_sig: Command) -> None:
    listed = re.findall(r"^│ ([a-z][a-z-]+)\s+\S", help_of(ticket_sig, group), re.MULTILINE)
    assert listed == GROUPS[group]


@pytest.mark.parametrize("words", [[], ["attack"], ["forge"], ["proof-of-work"]])
def test_without_a_verb_the_verbs_are_shown(words: list[str], ticket_sig: Command) -> None:
    said = ticket_sig(*words)
    assert said.code == 2
    assert all(verb in said.out + said.err for verb in (GROUPS[words[0]] if words else VERBS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_verb_has_an_example_that_its_own_options_fit(command: str, ticket_sig: Command) -> None:
    text = help_of(ticket_sig, *command.split())
    example = re.search(rf"Example: ticket-sig {command}\b(.*)", text)
    assert example, text
    options = options_in(text)
    assert set(re.findall(r"--[a-z0-9-]+", example.group(1))) <= options
    assert "--json" in options


def test_the_example_of_all_attacks_fits_the_one_that_it_names(ticket_sig: Command) -> None:
    example = re.search(r"Example: ticket-sig attack (\S+)(.*)", help_of(ticket_sig, "attack"))
    assert example
    given = set(re.findall(r"--[a-z0-9-]+", example.group(2)))
    assert given <= options_in(help_of(ticket_sig, "attack", example.group(1)))


def test_verify_has_no_options_of_asking(ticket_sig: Command) -> None:
    options = options_in(help_of(ticket_sig, "verify"))
    assert len(options - {"--transcript", "--audit"}) <= 11 and "--claim" in options
    assert not options & {"--triggers", "--url", "--answers", "--control", "--rate"}


def test_the_options_of_ask_stand_by_their_use(ticket_sig: Command) -> None:
    text = help_of(ticket_sig, "ask")
    panels = {title: box for title, box in re.findall(r"╭─ ([\w ]+?) ─+╮(.*?)╰─", text, re.DOTALL)}
    assert {"--triggers", "--url", "--model", "--answers"} <= options_in(panels["Whom to ask"])
    assert {"--rate", "--batch", "--timeout", "--retries", "--token-env"} <= options_in(panels["Server"])
    assert options_in(panels["Statistics"]) == {"--control", "--queries", "--decoys"}


COMMON = {"--out", "--claim", "--key", "--locked", "--triggers", "--control", "--data", "--dataset", "--arch"}
COMMON |= {
    "--secret",
    "--mask",
    "--seed",
    "--device",
    "--checkpoint-every",
    "--sparse",
    "--force",
    "--json",
    "--help",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_help_of_an_attack_shows_its_own_options_alone(name: str, ticket_sig: Command) -> None:
    text, kind = help_of(ticket_sig, "attack", name), ATTACKS[name]
    insider = {"--insider"} if kind.of_insiders else set()
    assert options_in(text) == COMMON | flags(kind) | insider
    shown = " ".join(re.sub(r"[│\s]+", " ", text).split())
    assert all(one.metadata["help"] in shown for one in options_of(kind))


def test_embed_shows_every_option_of_every_mark(ticket_sig: Command) -> None:
    text = help_of(ticket_sig, "embed")
    embeddable = {name: kind.options for name, kind in MARKS.items() if kind.options}
    assert set().union(*map(flags, embeddable.values())) <= options_in(text)
    assert f"Kind of the mark: {', '.join(embeddable)}." in text
    assert "spread, mirror: Text to write, 1 to 64" in " ".join(re.sub(r"[│\s]+", " ", text).split())


def test_split_shows_every_option_of_every_score(ticket_sig: Command) -> None:
    text = help_of(ticket_sig, "split")
    assert set().union(*map(flags, SCORES.values())) <= options_in(text)
    assert ", ".join(SCORES) in text


def in_a_shell(folder: Path, line: str, **environment: str) -> str:
    """What a line prints in bash, with `ticket-sig` on the path."""
    script = folder / "bin" / "ticket-sig"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!{sys.executable}\nfrom ticket_sig.cli.app import main\nmain()\n")
    script.chmod(0o755)
    here = {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        # One command alone would take the place of the shell, which completion has to find.
        ["bash", "--norc", "-c", f"{line}; true"],
        env={**os.environ, **here, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_the_version(tmp_path: Path, ticket_sig: Command) -> None:
    assert ticket_sig("--version") == (0, f"ticket-sig {VERSION}\n", "")
    assert in_a_shell(tmp_path, "ticket-sig --version") == f"ticket-sig {VERSION}\n"


# `embed`, `split`, `verify` and `attack` have their options from registries, which take time to import.
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["inspect", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; from ticket_sig.cli.app import main; main({arguments})"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr


def test_the_script_for_completion_is_printed(tmp_path: Path) -> None:
    for line in ("ticket-sig --show-completion", "ticket-sig --show-completion bash"):
        script = in_a_shell(tmp_path, line)
        assert "_TICKET_SIG_COMPLETE=complete_bash" in script and "complete -o default" in script


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("att", "attack"),
        ("attack noise --ra", "--rate"),
    ],
)
def test_a_shell_completes(words: str, offered: str, tmp_path: Path) -> None:
    ask = 'eval "$(ticket-sig --show-completion)"; '
    ask += f"COMP_WORDS=(ticket-sig {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
    ask += "_ticket_sig_completion ticket-sig; printf '%s\\n' \"${COMPREPLY[@]}\""
    assert in_a_shell(tmp_path, ask).split() == [offered]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("embed --me", "--message"),
        ("attack no", "noise"),
        ("proof-of-work mine --tar", "--target"),
    ],
)
def test_a_shell_is_answered_with_what_completes_the_word(
    words: str, offered: str, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ticket-sig"])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "", raising=False)  # or it is `python -m ...`
    asked = {"_TICKET_SIG_COMPLETE": "complete_bash", "COMP_WORDS": f"ticket-sig {words}"}
    for name, value in {**asked, "COMP_CWORD": str(len(words.split()))}.items():
        monkeypatch.setenv(name, value)
    assert ticket_sig() == (0, f"{offered}\n", "")


@pytest.mark.parametrize(("name", "kind"), [("length", float), ("bundle", str)])
def test_an_option_that_would_hide_another_is_refused(name: str, kind: type) -> None:
    """Of another type than a mark's of that name, or with the name of one of the verb's own."""
    fields = [(name, kind | None, option("", default=None))]
    made = make_dataclass("Made", fields, bases=(Options,), frozen=True, kw_only=True)
    marks = {mark: kind.options for mark, kind in MARKS.items() if kind.options}
    with pytest.raises(InputError, match=f"^option {name} of .*; rename the option$"):
        with_options(embed.run, {**marks, "made": made}, chooser="mark")
