"""What several verbs are tried on; bundles of digits are made once, and never written to."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
from support.command_line import FIND, done
from support.signed import MESSAGE
from support.tickets import sparse_ticket

from ticket_sig import embed, save


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits: one round of one epoch, half of the weights pruned."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    done([*FIND, "--out", folder])
    return folder


@pytest.fixture(scope="session")
def digits_signed(digits_run: Path) -> Path:
    """Its ticket, signed with the message `mine`."""
    folder = digits_run.with_name("signed")
    done(["embed", digits_run / "ticket", "--message", "mine", "--out", folder])
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A pruned model as a user has it: a bare safetensors file."""
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(sparse_ticket().weights), path)
    return path


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A bundle that is signed with a code."""
    made = embed(sparse_ticket(), MESSAGE, secret=b"s")
    return save(made.ticket, tmp_path / "signed", claim=made.claim.to_json())


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that no option's name is cut."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
