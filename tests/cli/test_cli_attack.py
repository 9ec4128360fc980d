"""Attack from the command line: what is written, what is printed, and what is not given away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import taught
from support.command_line import Outcome
from support.tickets import sparse_ticket
from support.tiny import write_images
from ticket_sig.signatures import scheme1

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.attacks import ATTACKS
from ticket_sig.files import write_json
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, write_secret
from ticket_sig.models import build, prunable_names
from ticket_sig.training import preset

Command = Callable[..., Outcome]


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed bundle with rewind weights, as its owner keeps it."""
    made = embed(sparse_ticket(rewind=True), "owner", key=b"k")
    return save(made.ticket, tmp_path / "signed", claim=made.claim.to_json())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed, untrained ResNet-20 for images of two classes, 8x8."""
    module = build("resnet20", 2, 3, seed=0)
    weights = dict(module.state_dict())
    draw = torch.Generator().manual_seed(0)
    mask = Mask({n: torch.rand(weights[n].shape, generator=draw) < 0.2 for n in prunable_names(module)})
    recipe = preset("demo", arch="resnet20", dataset="images", batch_size=4, validation=0.0)
    ticket = Ticket(weights=mask.apply(weights), mask=mask, recipe=recipe.to_json())
    made = embed(ticket, "owner", key=b"k")
    folder = tmp_path_factory.mktemp("network") / "signed"
    return save(made.ticket, folder, claim=made.claim.to_json())


def read_json(said: Outcome) -> dict[str, Any]:
    assert said.code == 0, said.err
    value = json.loads(said.out)
    assert isinstance(value, dict)
    return value


def test_the_help_names_every_attack(ticket_sig: Command) -> None:
    said = re.sub(r"\x1b\[[0-9;]*m", "", ticket_sig("attack", "--help").out)
    assert all(re.search(rf"\b{name}\b", said) for name in ATTACKS)


def test_the_bundle_holds_nothing_of_the_owner_s(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("attack", "magnitude-pruning", signed, "--rate", 0.01, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "mask.safetensors",
        "model.safetensors",
        "ticket.json",
    ]
    attacked = load(tmp_path / "out").ticket
    assert attacked.rewind is None and [e.step for e in attacked.history] == ["prune"]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in said.out.splitlines()]
    assert ["the owner's claim", "verified", "verified"] in rows
    assert ["message read", "owner", "owner"] in rows
    assert "the owner wins: the claim is still verified\n" in said.out
    assert f"bundle: {tmp_path / 'out'}\n" in said.out


def test_in_json_with_its_options(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    value = read_json(
        ticket_sig(
            "attack", "add-on", signed, "--rate", 0.05, "--seed", 3, "--out", tmp_path / "out", "--json"
        )
    )
    assert (value["attack"], value["options"]) == ("add-on", {"rate": 0.05, "scale": 1.0})
    assert value["kept"]["after"] == load(tmp_path / "out").ticket.mask.kept > value["kept"]["before"]
    assert value["owner"]["after"]["log10_p"] >= value["owner"]["before"]["log10_p"]


def test_a_claim_of_its_own_file_is_taken_for_a_bare_model(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim, model = signed / "claim.json", signed / "model.safetensors"
    without = read_json(
        ticket_sig("attack", "noise", model, "--rate", 0.1, "--out", tmp_path / "a", "--json")
    )
    assert without["owner"] is None
    options = ["--claim", claim, "--out", tmp_path / "b", "--json"]
    value = read_json(ticket_sig("attack", "noise", model, "--rate", 0.1, *options))
    assert value["owner"]["before"]["verdict"] == "verified"


@pytest.mark.parametrize("name", ["erase", "overwrite"])
def test_an_insider_knows_the_place(name: str, signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    options = ["--message", "thief"] if name == "overwrite" else []
    arguments = ["attack", name, signed, *options, "--insider", "--out", tmp_path / "out", "--json"]
    value = read_json(ticket_sig(*arguments))
    assert value["owner"]["after"]["verdict"] == "not verified"
    assert value["outcome"] == "the claim is gone; accuracy was not measured"
    forged = tmp_path / "out" / "claim.json"
    assert forged.exists() == (name == "overwrite")
    if name == "overwrite":
        assert value["forged"]["message"] == "thief"
        assert ticket_sig("verify", tmp_path / "out", "--claim", forged).code == 0


def test_accuracy_is_measured_where_there_is_data(network: Path, tmp_path: Path, ticket_sig: Command) -> None:
    images = write_images(tmp_path / "images")
    arguments = ["--rate", 0.5, "--data", images, "--out", tmp_path / "out", "--json"]
    value = read_json(ticket_sig("attack", "random-pruning", network, *arguments))
    accuracy = value["accuracy"]
    assert 0 <= accuracy["after"] <= 100 and accuracy["lost"] == accuracy["before"] - accuracy["after"]
    assert value["thief_pays"] == (accuracy["lost"] > 1)


def test_fine_tuning_trains_and_clears_its_state_away(
    network: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    images = write_images(tmp_path / "images", ("cat", "dog", "owl"), each=4)
    (tmp_path / "out.run").mkdir()
    arguments = ["--epochs", 1, "--lr", 0.01, "--data", images, "--out", tmp_path / "out", "--json"]
    value = read_json(ticket_sig("attack", "fine-tuning", network, *arguments))
    assert not (tmp_path / "out.run").exists()
    tuned = load(tmp_path / "out").ticket
    assert tuned.weights["fc.weight"].shape[0] == 3 and value["accuracy"]["before"] is None
    assert value["owner"]["after"]["verdict"] == "verified"
    assert tuned.recipe is not None and tuned.recipe["length"] == "1ep"


def test_state_of_another_training_is_not_cleared_away(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    (tmp_path / "out.run").mkdir()
    (tmp_path / "out.run" / "run.json").write_text("{}")
    said = ticket_sig("attack", "magnitude-pruning", signed, "--rate", 0.1, "--out", tmp_path / "out")
    assert said.code == 0 and (tmp_path / "out.run" / "run.json").exists()


def test_a_bundle_is_overwritten_only_by_force(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    arguments = ["attack", "random-pruning", signed, "--rate", 0.1, "--out", tmp_path / "out"]
    assert ticket_sig(*arguments).code == 0
    said = ticket_sig(*arguments)
    assert (said.code, said.out) == (2, "") and "a name not taken yet" in said.err
    assert ticket_sig(*arguments, "--force").code == 0


def test_the_seed_decides_the_bits(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ["--rate", 0.2, "--seed", seed, "--out", tmp_path / name]
        assert ticket_sig("attack", "noise", signed, *arguments).code == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["melt"], "attack: expected one of fine-tuning, "),
        (["add-on"], "add-on: expected the option rate, found none of that name; give it: --rate"),
        (["erase", "--rate", 0.1], "erase: expected options among share, found rate"),
        (["erase"], "place of the code: expected the owner's signature, found none; "),
        (["noise", "--rate", 2], "rate: expected a share between 0 and 1, found 2.0"),
        (
            ["fine-tuning"],
            "data: expected a data set, found none; name network and data set: --arch, --dataset,",
        ),
        (
            ["noise", "--rate", 0.1, "--insider"],
            "--insider: expected an attack that uses the place (erase, over",
        ),
        (
            ["noise", "--rate", 0.1, "--control", "x"],
            "--control: expected triggers to ask it about: --triggers",
        ),
        (["fine-tuning", "--data", "gone"], "recipe: expected one in the bundle, or --arch and --dataset"),
        (["overwrite", "--message", "x" * 500], "message: expected at most"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    arguments: list[Any], words: str, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("attack", arguments[0], signed, *arguments[1:], "--out", tmp_path / "out")
    assert (said.code, said.out) == (2, ""), said
    assert words in said.err and said.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["signed"]


def test_an_insider_needs_a_claim(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    bare = signed / "model.safetensors"
    said = ticket_sig("attack", "erase", bare, "--insider", "--out", tmp_path / "out")
    assert said.code == 2 and "--insider: expected a claim, which names the place" in said.err


def test_a_forged_key_keeps_the_locked_ticket_s_rewind_weights(tmp_path: Path, ticket_sig: Command) -> None:
    locked = sparse_ticket(rewind=True)
    assert locked.rewind is not None
    locked = replace(locked, rewind=locked.mask.apply(locked.rewind))
    save(locked, tmp_path / "locked")
    said = ticket_sig("attack", "fake-key", tmp_path / "locked", "--share", 0.1, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    forged = load(tmp_path / "out").ticket
    assert forged.rewind is not None and forged.mask.kept > locked.mask.kept


def test_what_is_left_of_a_trigger_set(network: Path, tmp_path: Path, ticket_sig: Command) -> None:
    write_secret(TriggerSecret(bytes(32), 10, (8, 8, 3), 2), tmp_path / "triggers.json")
    arguments = ["attack", "random-pruning", network, "--rate", 0.5, "--triggers", tmp_path / "triggers.json"]
    said = ticket_sig(*arguments, "--out", tmp_path / "out")
    assert said.code == 2 and "data: expected a data set, found none" in said.err
    images = write_images(tmp_path / "images")
    value = read_json(ticket_sig(*arguments, "--data", images, "--out", tmp_path / "out", "--json"))
    assert all(0 <= value["triggers"][when] <= 100 for when in ("before", "after"))


def test_triggers_that_still_stand_are_told(tmp_path: Path, ticket_sig: Command) -> None:
    """The bundle of a taught network, its claim of scheme 3: what is judged are answers."""
    ours = taught.write_bundle(tmp_path / "ours", taught=True)
    write_json(tmp_path / "claim.json", taught.claim().to_json())
    write_secret(taught.SECRET, tmp_path / "triggers.json")
    shown = ["--claim", tmp_path / "claim.json"]
    arguments = ["attack", "random-pruning", ours, *shown, "--json"]
    little = [*arguments, "--rate", 0.001, "--out", tmp_path / "a"]
    value = read_json(ticket_sig(*little, "--triggers", tmp_path / "triggers.json"))
    assert [value["taught"][when]["verdict"] for when in ("before", "after")] == ["verified", "verified"]
    assert value["outcome"] == "the owner wins: the claim is still verified"
    much = [*arguments, "--rate", 0.9, "--triggers", tmp_path / "triggers.json", "--out", tmp_path / "b"]
    value = read_json(ticket_sig(*much))
    assert value["taught"]["after"]["verdict"] == "not verified" and value["owner"] is None
    value = read_json(ticket_sig(*arguments, "--rate", 0.001, "--out", tmp_path / "c"))
    assert "--triggers" in value["taught"]["before"]["reason"]
    write_json(tmp_path / "triggers.json", {**taught.SECRET.to_json(), "secret": "0" * 64})
    said = ticket_sig(*much[:-1], tmp_path / "d")
    assert said.code == 2 and "commitment: expected the claim's" in said.err


def test_a_forged_key_is_judged_by_accuracy(tmp_path: Path, ticket_sig: Command) -> None:
    whole = sparse_ticket(rewind=True)
    parts = scheme1.split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask})
    save(parts.locked, tmp_path / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
    arguments = [
        "attack",
        "fake-key",
        tmp_path / "locked",
        "--share",
        0.1,
        "--out",
        tmp_path / "out",
        "--json",
    ]
    value = read_json(ticket_sig(*arguments))
    expected = "the locked ticket holds no key, before or after, and the claim promises no accuracy"
    assert value["outcome"] == f"nothing to win: {expected}"


def test_a_claim_of_scheme_1_is_tried_with_its_key(tmp_path: Path, ticket_sig: Command) -> None:
    whole = sparse_ticket()
    scores = {name: whole.weights[name].abs() for name in whole.mask}
    parts = scheme1.split(whole, 0.1, scores)
    save(whole, tmp_path / "whole", claim=parts.claim.to_json())
    save(parts.locked, tmp_path / "locked")
    parts.key.write(tmp_path / "key.safetensors")
    arguments = ["attack", "magnitude-pruning", tmp_path / "whole", "--rate", 0.2, "--json"]
    shown = ["--key", tmp_path / "key.safetensors", "--locked", tmp_path / "locked"]
    value = read_json(ticket_sig(*arguments, "--out", tmp_path / "a", *shown))
    assert [value["owner"][when]["verdict"] for when in ("before", "after")] == ["verified", "verified"]
    value = read_json(ticket_sig(*arguments, "--out", tmp_path / "b"))
    assert value["owner"]["after"]["verdict"] == "could not verify"
    assert "--key" in value["owner"]["after"]["reason"]
