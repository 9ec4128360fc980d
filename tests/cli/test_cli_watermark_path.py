"""A watermark's whole path at the command line: written, trained on, verified, attacked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.command_line import Outcome
from support.shards import write_shards

from ticket_sig import load
from ticket_sig.models import build

Command = Callable[..., Outcome]
TASK = ("--arch", "resnet20", "--dataset", "digits")
WRITE = {
    "freezenet": ("freezenet", "apply", "--text", "a secret text", "--length", 2000),
    "uchida": ("uchida", "embed", "--message", "mine!"),
}


@pytest.fixture(params=WRITE)
def marked(request: pytest.FixtureRequest, tmp_path: Path, ticket_sig: Command) -> Path:
    """A bundle with a watermark."""
    torch.save(build("resnet20", 10, 1, seed=0).state_dict(), tmp_path / "net.pt")
    group, verb, *options = WRITE[request.param]
    said = ticket_sig("watermark", group, verb, tmp_path / "net.pt", *options, "--out", tmp_path / "marked")
    assert said.code == 0, said.err
    return tmp_path / "marked"


def test_a_watermark_outlives_training_with_its_claim(
    marked: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    trained = tmp_path / "trained"
    options = (*TASK, "--preset", "demo", "--epochs", 1, "--start", "model")
    said = ticket_sig("train", marked, *options, "--out", trained)
    assert said.code == 0, said.err
    assert re.search(r"^watermark: .*; verified\nnext: ticket-sig verify ", said.out, re.MULTILINE), said.out
    assert f"next: ticket-sig verify {trained}" in said.out
    said = ticket_sig("verify", trained / "model.safetensors", "--claim", marked / "claim.json")
    assert said.code == 0, said.out
    assert "verified" in said.out and "p-value" in said.out


def test_accuracy_is_measured_beside_a_watermark(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    asked = ("verify", marked / "model.safetensors", "--claim", marked / "claim.json")
    for data in (("--dataset", "digits"), ("--dataset", "digits", "--data", tmp_path)):
        said = ticket_sig(*asked, "--arch", "resnet20", *data)
        assert said.code == 0 and "% test accuracy; the claim promises none" in said.out, said.err
        said = ticket_sig(*asked, "--arch", "resnet20", *data, "--json")
        assert 0 < json.loads(said.out)["fidelity"]["accuracy"] < 100
    for options, says in (
        (("--arch", "resnet20"), "--arch: expected data to measure the accuracy on: --data DIR, or"),
        (("--dataset", "cifar10"), "--dataset: expected data to measure the accuracy on"),
        (("--dataset", "digits"), "--dataset: expected the names of network and data set, too, found none"),
        (("--data", tmp_path), "--data: expected the names of network and data set, too, found none"),
        (("--arch", "vgg16", "--dataset", "digits"), "weights do not fit the network"),
    ):
        said = ticket_sig(*asked, *options)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1) and says in said.err


def test_accuracy_of_many_files_is_not_measured(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    shards = write_shards(tmp_path / "shards", load(marked).ticket.weights)
    asked = ("verify", shards, "--claim", marked / "claim.json")
    assert ticket_sig(*asked).code == 0
    for options in (("--data", tmp_path), ("--dataset", "digits")):
        said = ticket_sig(*asked, *TASK[:2], *options)
        assert said.code == 2 and said.err.count("\n") == 1
        assert f"shards: {options[0]}: expected a model in one file, to measure its accuracy" in said.err


def test_another_network_is_not_verified(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    torch.save(build("resnet20", 10, 1, seed=1).state_dict(), tmp_path / "other.pt")
    said = ticket_sig("verify", tmp_path / "other.pt", "--claim", marked / "claim.json", "--json")
    assert said.code == 1
    assert json.loads(said.out)["verdict"] == "not verified"


def test_an_attack_is_measured_against_the_claim(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    stolen = ("attack", "magnitude-pruning", marked, "--rate", 0.3, *TASK, "--out", tmp_path / "stolen")
    said = ticket_sig(*stolen, "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["owner"]["before"]["verdict"] == "verified"
    assert report["accuracy"]["after"] is not None


def test_only_its_owner_can_read_a_claim(marked: Path) -> None:
    assert (marked / "claim.json").stat().st_mode & 0o077 == 0
