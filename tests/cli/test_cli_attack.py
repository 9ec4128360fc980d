"""Attack from the command line: what is written, what is printed, and what is not given away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import taught
from support.command_line import Command, could_not, plain, read_json
from support.networks import TASK, torch_file
from support.tickets import sparse_ticket
from support.tiny import write_images

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.files import write_json
from ticket_sig.marks.key_mask.split import split
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, write_secret
from ticket_sig.models import build, prunable_names
from ticket_sig.training import preset


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed bundle with rewind weights, as its owner keeps it."""
    made = embed(sparse_ticket(rewind=True), "owner", secret=b"k")
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
    made = embed(ticket, "owner", secret=b"k")
    folder = tmp_path_factory.mktemp("network") / "signed"
    return save(made.ticket, folder, claim=made.claim.to_json())


def outcomes(value: dict[str, Any], mark: str) -> list[str]:
    """Of a mark of the owner's, before and after."""
    return [value["marks"][mark][when]["verdict"] for when in ("before", "after")]


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
    assert ["the owner's qr-code", "verified", "verified"] in rows
    assert ["message read", "owner", "owner"] in rows
    assert "the owner wins: the qr-code is still verified\n" in said.out
    assert f"bundle: {tmp_path / 'out'}\n" in said.out


def test_a_message_that_is_gone_is_said_to_be(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("attack", "random-pruning", signed, "--rate", 0.9, "--out", tmp_path / "out")
    assert re.search(r"message read +│ +owner +│ +cannot be read", said.out), said


def test_in_json_with_its_options(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    value = read_json(
        ticket_sig(
            "attack", "add-on", signed, "--rate", 0.05, "--seed", 3, "--out", tmp_path / "out", "--json"
        )
    )
    assert (value["attack"], value["options"]) == ("add-on", {"rate": 0.05, "scale": 1.0})
    assert value["kept"]["after"] == load(tmp_path / "out").ticket.mask.kept > value["kept"]["before"]
    code = value["marks"]["qr-code"]
    assert code["after"]["log10_p"] >= code["before"]["log10_p"]
    assert (value["winner"], value["outcome"]) == ("owner", "the owner wins: the qr-code is still verified")


def test_a_claim_of_its_own_file_is_taken_for_a_bare_model(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim, model = signed / "claim.json", signed / "model.safetensors"
    without = read_json(
        ticket_sig("attack", "noise", model, "--rate", 0.1, "--out", tmp_path / "a", "--json")
    )
    assert (without["marks"], without["winner"]) == ({}, "not_decided")
    options = ["--claim", claim, "--out", tmp_path / "b", "--json"]
    value = read_json(ticket_sig("attack", "noise", model, "--rate", 0.1, *options))
    assert value["marks"]["qr-code"]["before"]["verdict"] == "verified"


@pytest.mark.parametrize("name", ["erase", "overwrite"])
def test_an_insider_knows_the_place(name: str, signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    options = ["--message", "thief"] if name == "overwrite" else []
    arguments = ["attack", name, signed, *options, "--insider", "--out", tmp_path / "out", "--json"]
    value = read_json(ticket_sig(*arguments))
    assert value["marks"]["qr-code"]["after"]["verdict"] == "not verified"
    assert value["outcome"] == "the claim is gone; accuracy was not measured"
    assert value["winner"] == "not_decided"
    forged = tmp_path / "out" / "claim.json"
    assert forged.exists() == (name == "overwrite")
    if name == "overwrite":
        assert value["forged"]["message"] == "thief"
        assert ticket_sig("verify", tmp_path / "out", "--claim", forged).code == 0


WITHOUT_DATA = ["magnitude-pruning", "random-pruning", "erase", "cast", "add-on", "noise", "overwrite"]
WITHOUT_DATA += ["gaussian-noise", "quantization"]


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_the_example_of_an_attack_runs(
    name: str, signed: Path, tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    example = re.search(r"Example: ticket-sig (.*)", plain(ticket_sig("attack", name, "--help").out))
    assert example
    filled = {"MODEL": signed, "CLAIM": signed / "claim.json", "STOLEN": tmp_path / "out"}
    filled |= {"RATE": 0.1, "MESSAGE": "thief", "SCALE": 0.2, "BITS": 4}
    said = ticket_sig(*(filled.get(word, word) for word in example.group(1).split()))
    assert said.code == 0, said.err


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
    assert value["marks"]["qr-code"]["after"]["verdict"] == "verified"
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
        (["melt"], "No such command 'melt'. Expected one of fine-tuning, "),
        (["add-on"], "Missing option '--rate'"),
        (["erase", "--rate", 0.1], "No such option: --rate"),
        (["erase"], "place of the code: expected the owner's claim, found none; only an insider can erase"),
        (["noise", "--rate", 2], "rate: expected a share between 0 and 1, without both, found 2.0"),
        (
            ["fine-tuning"],
            "data: expected a data set, found none; name network and data set: --arch, --dataset,",
        ),
        (["noise", "--rate", 0.1, "--insider"], "No such option: --insider"),
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
    could_not(said, words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["signed"]


def test_an_insider_needs_a_claim(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    bare = signed / "model.safetensors"
    said = ticket_sig("attack", "erase", bare, "--insider", "--out", tmp_path / "out")
    assert said.code == 2 and "--insider: expected a claim to try: --claim FILE" in said.err


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
    """The bundle of a taught network, its claim on a trigger set: what is judged are answers."""
    ours = taught.write_bundle(tmp_path / "ours", taught=True)
    write_json(tmp_path / "claim.json", taught.claim().to_json())
    write_secret(taught.SECRET, tmp_path / "triggers.json")
    shown = ["--claim", tmp_path / "claim.json"]
    arguments = ["attack", "random-pruning", ours, *shown, "--json"]
    little = [*arguments, "--rate", 0.001, "--out", tmp_path / "a"]
    value = read_json(ticket_sig(*little, "--triggers", tmp_path / "triggers.json"))
    assert outcomes(value, "trigger-set") == ["verified", "verified"]
    assert value["outcome"] == "the owner wins: the trigger-set is still verified"
    much = [*arguments, "--rate", 0.9, "--triggers", tmp_path / "triggers.json", "--out", tmp_path / "b"]
    value = read_json(ticket_sig(*much))
    assert outcomes(value, "trigger-set") == ["verified", "not verified"] and len(value["marks"]) == 1
    value = read_json(ticket_sig(*arguments, "--rate", 0.001, "--out", tmp_path / "c"))
    assert "--triggers" in value["marks"]["trigger-set"]["before"]["reason"]
    write_json(tmp_path / "triggers.json", {**taught.SECRET.to_json(), "secret": "0" * 64})
    said = ticket_sig(*much[:-1], tmp_path / "d")
    assert said.code == 2 and "commitment: expected the claim's" in said.err


def test_a_forged_key_is_judged_by_accuracy(tmp_path: Path, ticket_sig: Command) -> None:
    whole = sparse_ticket(rewind=True)
    parts = split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask})
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
    assert value["outcome"] == f"nothing to win: {expected}" and value["winner"] == "nothing_to_win"
    said = ticket_sig(*arguments[:-1], "--force").out
    assert said.count("not tried (no --key)") == 2 and "could not verify" not in said


def test_a_claim_on_a_key_mask_is_tried_with_its_key(tmp_path: Path, ticket_sig: Command) -> None:
    whole = sparse_ticket()
    scores = {name: whole.weights[name].abs() for name in whole.mask}
    parts = split(whole, 0.1, scores)
    save(whole, tmp_path / "whole", claim=parts.claim.to_json())
    save(parts.locked, tmp_path / "locked")
    parts.key.write(tmp_path / "key.safetensors")
    arguments = ["attack", "magnitude-pruning", tmp_path / "whole", "--rate", 0.2, "--json"]
    shown = ["--key", tmp_path / "key.safetensors", "--locked", tmp_path / "locked"]
    value = read_json(ticket_sig(*arguments, "--out", tmp_path / "a", *shown))
    assert outcomes(value, "key-mask") == ["verified", "verified"]
    value = read_json(ticket_sig(*arguments, "--out", tmp_path / "b"))
    assert outcomes(value, "key-mask") == ["could not verify", "could not verify"]
    assert "--key" in value["marks"]["key-mask"]["after"]["reason"]


@pytest.mark.parametrize("mark", ["freezenet", "uchida"])
def test_marks_of_dense_networks_are_tried_each_by_itself(
    mark: str, tmp_path: Path, ticket_sig: Command
) -> None:
    options = {"freezenet": ["--length", 2000], "uchida": ["--message", "mine!"]}[mark]
    net, bundle, stolen = torch_file(tmp_path / "net.pt"), tmp_path / "marked", tmp_path / "stolen"
    assert ticket_sig("embed", net, "--mark", mark, *options, "--out", bundle).code == 0
    asked = ["attack", "magnitude-pruning", bundle, "--rate", 0.3, *TASK, "--out", stolen, "--json"]
    value = read_json(ticket_sig(*asked))
    assert value["marks"][mark]["before"]["verdict"] == "verified"
    assert value["accuracy"]["after"] is not None
    expected = {"freezenet": ("not verified", {"thief", "nobody"}), "uchida": ("verified", {"owner"})}[mark]
    assert value["marks"][mark]["after"]["verdict"] == expected[0] and value["winner"] in expected[1]


def test_a_mark_of_the_thief_s_own(tmp_path: Path, ticket_sig: Command) -> None:
    stolen = tmp_path / "stolen"
    asked = ["attack", "own-watermark", torch_file(tmp_path / "net.pt"), "--out", stolen, "--json"]
    could_not(ticket_sig(*asked[:-1], "--mark", "key-mask"), "mark: expected one of qr-code, freezenet")
    value = read_json(ticket_sig(*asked, "--mark", "freezenet", "--size", 500))
    assert (value["forged"]["verdict"], value["options"]) == ("verified", {"mark": "freezenet", "size": 500})
    assert ticket_sig("verify", stolen, "--claim", stolen / "claim.json").code == 0
