"""What inspect and train say of a bundle, whatever its scheme; every command they print runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import Outcome, done

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def folder(digits_run: Path, digits_signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of digits (`ticket`), signed (`signed`), locked (`DIR/locked`), and a secret of triggers."""
    folder = tmp_path_factory.mktemp("marks")
    (folder / "ticket").symlink_to(digits_run / "ticket")
    (folder / "signed").symlink_to(digits_signed)
    done(["split", folder / "ticket", "--out", folder / "DIR"])
    done(["triggers", "--dataset", "digits", "--count", 40, "--out", folder / "triggers.json"])
    return folder


def train(ticket_sig: Command, model: Path, out: Path, *more: object) -> str:
    said = ticket_sig("train", model, "--epochs", 1, "--out", out, *more)
    assert said.code == 0, said.err
    return said.out


def printed(said: str) -> list[list[str]]:
    """The commands after `next:`."""
    return [shlex.split(command) for command in re.findall(r"^next: ticket-sig (.*)$", said, re.MULTILINE)]


@pytest.mark.parametrize(
    ("model", "more", "commands"),
    [
        ("ticket", False, 0),
        ("ticket", True, 1),
        ("signed", False, 1),
        ("signed", True, 2),
        ("DIR/locked", False, 0),
    ],
)
def test_the_next_command_that_train_prints_runs(
    model: str, more: bool, commands: int, folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    options = ["--triggers", folder / "triggers.json"] if more else []
    said = train(ticket_sig, folder / model, tmp_path / "out", *options)
    assert len(printed(said)) == commands
    for arguments in printed(said):
        assert ticket_sig(*arguments).code in (0, 1)
    assert ("too few were learnt: more --epochs" in said) is more, "one epoch teaches no triggers"


def test_inspect_shows_every_scheme(folder: Path, tmp_path: Path, ticket_sig: Command) -> None:
    train(ticket_sig, folder / "signed", tmp_path / "both", "--triggers", folder / "triggers.json")
    train(ticket_sig, folder / "ticket", tmp_path / "alone", "--triggers", folder / "triggers.json")
    expected = {
        folder / "signed": ["scheme 2: QR code in a kernel map, 'mine'"],
        folder / "DIR" / "locked": ["scheme 1: key mask, ", " weights by omp"],
        tmp_path / "both": ["scheme 3: trigger set, 40 images of 10 classes, from a secret", "'mine'"],
        tmp_path / "alone": ["scheme 3: trigger set, 40 images"],
    }
    for bundle, texts in expected.items():
        said = ticket_sig("inspect", bundle, "--png", tmp_path / "maps.png")
        assert said.code == 0, said.err
        assert all(text in said.out for text in texts), said.out
        assert Image.open(tmp_path / "maps.png").width > 300
        claim = json.loads(ticket_sig("inspect", bundle, "--json").out)["claim"]
        assert texts[0].startswith(claim["scheme"])
