"""Decide from the command line whether a mark stands in weights: what is printed, and which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support import taught
from support.command_line import Command, could_not, next_commands, read_json
from support.make_fixtures import FIXTURES
from support.networks import TASK, resnet20, torch_file
from support.shards import weights, write_shards
from support.signed import MESSAGE
from support.tickets import sparse, sparse_ticket

from ticket_sig import embed, load, save
from ticket_sig.files import write_json
from ticket_sig.formats.weights import Shards
from ticket_sig.lottery.prune import prune_dense, prune_ticket
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import write_secret


@pytest.fixture
def innocent(tmp_path: Path) -> Path:
    """A model of the same shapes that nobody signed."""
    path = tmp_path / "innocent.pt"
    torch.save(sparse_ticket(seed=7).weights, path)
    return path


def changed(claim: Path, name: str, fields: dict[str, Any]) -> Path:
    """A copy of a claim with other fields of its only mark."""
    value = json.loads(claim.read_text())
    value["marks"][0]["fields"] |= fields
    write_json(claim.with_name(name), value)
    return claim.with_name(name)


# a code


def test_verify_tells_people_what_it_rests_on(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", signed, "--claim", signed / "claim.json")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("verified\n")
    assert f"\nmessage: {MESSAGE}\n" in said.out and "claimed message" in said.out
    assert "p-value" in said.out and "threshold 1.0e-06" in said.out
    assert "\nproves: " in said.out and "\ndoes not prove: " in said.out
    assert "next: " not in said.out, "nothing is left to ask"


def test_verify_in_json(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", signed, "--claim", signed / "claim.json", "--json")
    value = read_json(said)
    assert said.code == 0
    assert (value["verdict"], value["mark"], value["log10_threshold"]) == ("verified", "qr-code", -6)
    assert value["log10_p"] < -6 and float(value["p_value"]) < 1e-6
    assert (value["model"], value["claim"]) == (str(signed), str(signed / "claim.json"))
    evidence = value["evidence"]
    assert evidence["message_equal"] and evidence["claimed_message"] == MESSAGE
    assert evidence["log10_p_uncorrected"] < value["log10_p"]
    assert {"statistic", "proves"} <= value.keys() and "who wrote it" in value["does_not_prove"]
    assert (value["fidelity"], value["left_to_ask"]) == (None, [])


def test_verify_leaves_with_1_for_an_innocent_model(
    signed: Path, innocent: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("verify", innocent, "--claim", signed / "claim.json")
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith("not verified\n") and "proves: nothing" in said.out
    assert "cannot be read" in said.out and "does not prove: that the network is innocent: " in said.out
    said = ticket_sig("verify", innocent, "--claim", signed / "claim.json", "--json")
    value = read_json(said)
    assert (said.code, value["verdict"]) == (1, "not verified")
    assert value["does_not_prove"].startswith("that the network is innocent"), (
        "nor who wrote a mark not found"
    )


def test_verify_holds_after_pruning(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    torch.save(prune_ticket(load(signed).ticket, 0.1).weights, tmp_path / "stolen.pth")
    shown = [tmp_path / "stolen.pth", "--claim", signed / "claim.json"]
    assert ticket_sig("verify", *shown).code == 0
    assert ticket_sig("extract", *shown).out == f"{MESSAGE}\n"


@pytest.mark.parametrize("verb", ["verify", "extract"])
def test_what_cannot_be_decided_is_exit_code_2(
    verb: str, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = signed / "claim.json"
    could_not(ticket_sig(verb, tmp_path / "none.pt", "--claim", claim), "none.pt", "nothing at this path")
    could_not(
        ticket_sig(verb, signed, "--claim", tmp_path / "none.json"), "none.json", "expected a JSON file"
    )
    could_not(ticket_sig(verb, signed, "--claim", signed / "model.safetensors"), "model.safetensors", "JSON")
    future = tmp_path / "future.json"
    value = json.loads(claim.read_text()) | {"version": 3, "written_by": "ticket_sig 9.9"}
    future.write_text(json.dumps(value))
    could_not(
        ticket_sig(verb, signed, "--claim", future),
        "future.json",
        "version: expected 1 or 2, found 3, written by ticket_sig 9.9",
    )


def test_a_model_without_the_layer_is_not_verified_and_says_nothing(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = signed / "claim.json"
    layer = json.loads(claim.read_text())["marks"][0]["fields"]["placement"]["layer"]
    for tensors, says in (
        ({"other.weight": sparse(40, 40)}, f"layer: expected the claim's {layer}, found none of that name"),
        ({layer: sparse(41, 41, 3, 3)}, "found [41, 41, 3, 3]"),
    ):
        torch.save(tensors, tmp_path / "other.pt")
        said = ticket_sig("verify", tmp_path / "other.pt", "--claim", claim)
        assert (said.code, said.err) == (1, "") and "\nnot found: model: layer" in said.out.replace(
            layer, "layer"
        )
        assert says in said.out and "\nwhat may help: " in said.out
        could_not(ticket_sig("extract", tmp_path / "other.pt", "--claim", claim), says)


def test_a_mark_of_another_package_is_named_with_its_writer(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    value = json.loads((signed / "claim.json").read_text()) | {"written_by": "ticket_sig 9.9"}
    value["marks"][0]["mark"] = "halo"
    (tmp_path / "claim.json").write_text(json.dumps(value))
    could_not(
        ticket_sig("verify", signed, "--claim", tmp_path / "claim.json"),
        "claim.json: claim: mark: expected one of qr-code, ",
        "found 'halo', written by ticket_sig 9.9",
    )


def test_what_no_mark_of_the_claim_needs_is_refused(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ["verify", signed, "--claim", signed / "claim.json"]
    for option in ("--key", "--locked"):
        could_not(
            ticket_sig(*asked, option, "k"),
            f"marks: expected a claim on key-mask, for {option}, found qr-code",
        )
    could_not(
        ticket_sig("ask", *asked[1:], "--triggers", "t"), "marks: expected 'trigger-set', found 'qr-code'"
    )


def test_an_error_in_json_is_on_stdout_too(tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", tmp_path / "none.pt", "--claim", tmp_path / "none.json", "--json")
    assert said.code == 2
    assert said.err == f"ticket-sig: {read_json(said)['error']}\n"


def test_a_mistake_of_ours_does_not_read_as_not_verified(
    signed: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("ticket_sig.verification.white_box.load", broken)
    said = ticket_sig("verify", signed, "--claim", FIXTURES / "bundle-v1-signed" / "claim.json", "--json")
    assert said.code == 2 and "internal error: RuntimeError: broken" in said.err
    assert read_json(said)["verdict"] == "could not verify"


def test_a_claim_of_version_1_is_still_verified(ticket_sig: Command) -> None:
    bundle = FIXTURES / "bundle-v1-signed"
    assert json.loads((bundle / "claim.json").read_text())["version"] == 1
    value = read_json(ticket_sig("verify", bundle, "--claim", bundle / "claim.json", "--json"))
    assert (value["verdict"], value["mark"]) == ("verified", "qr-code")
    assert ticket_sig("extract", bundle).code == 0 and ticket_sig("inspect", bundle).code == 0


# a code beside a trigger set


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A bundle of a network that was taught triggers and carries a code; the secret lies beside it."""
    ticket = load(taught.write_bundle(tmp_path / "taught", taught=True)).ticket
    made = embed(prune_dense(ticket, 0.3), "owner", secret=b"s")
    claim = claim_triggers(taught.triggers(), made.claim.subject, made.claim)
    write_secret(taught.SECRET, tmp_path / "triggers.json")
    return save(made.ticket, tmp_path / "both", claim=claim.to_json())


def test_what_is_left_to_ask_is_said_with_the_command(
    both: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = both / "claim.json"
    said = ticket_sig("verify", both, "--claim", claim)
    assert said.code == 0 and "message: owner\n" in said.out
    assert "not looked at: trigger-set, 100 images of 10 classes, from a secret. Ask" in said.out
    (ask,) = next_commands(said.out, FILE=tmp_path / "triggers.json")
    asked = ticket_sig(*ask)
    assert asked.code == 0 and asked.out.startswith("verified\n") and "of 100 triggers" in asked.out
    value = read_json(ticket_sig("verify", both, "--claim", claim, "--json"))
    assert value["mark"] == "qr-code" and value["left_to_ask"] == [
        "trigger-set, 100 images of 10 classes, from a secret"
    ]
    assert "tried" not in value["evidence"], "a mark that was not looked at costs nothing"
    # Of a bare file nobody knows which network it is.
    (ask,) = next_commands(
        ticket_sig("verify", both / "model.safetensors", "--claim", claim).out,
        FILE=tmp_path / "triggers.json",
    )
    ask[ask.index("--arch") : ask.index("--claim")] = TASK
    assert ticket_sig(*ask).code == 0


def test_a_bundle_without_a_recipe_is_named_in_the_command(both: Path, ticket_sig: Command) -> None:
    head = json.loads((both / "ticket.json").read_text())
    write_json(both / "ticket.json", {name: value for name, value in head.items() if name != "recipe"})
    said = ticket_sig("verify", both, "--claim", both / "claim.json")
    assert said.code == 0 and "--arch NAME --dataset NAME" in said.out, said.err


def test_a_trigger_set_alone_is_not_read_in_weights(both: Path, tmp_path: Path, ticket_sig: Command) -> None:
    write_json(tmp_path / "claim.json", taught.claim().to_json())
    could_not(
        ticket_sig("verify", both, "--claim", tmp_path / "claim.json"),
        "marks: expected one that is read in weights (",
        "found trigger-set; ask the network for its answers: ticket-sig ask MODEL --claim FILE",
    )


# freezenet and uchida


@pytest.fixture(params=["freezenet", "uchida"])
def marked(request: pytest.FixtureRequest, tmp_path: Path, ticket_sig: Command) -> Path:
    """A bundle of a dense network with a mark in its weights."""
    options = {"freezenet": ["--length", 2000], "uchida": ["--message", "mine!"]}[request.param]
    net = torch_file(tmp_path / "net.pt")
    said = ticket_sig("embed", net, "--mark", request.param, *options, "--out", tmp_path / "marked")
    assert said.code == 0, said.err
    return tmp_path / "marked"


def test_another_network_is_not_verified(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    other = torch_file(tmp_path / "other.pt", seed=1)
    said = ticket_sig("verify", other, "--claim", marked / "claim.json", "--json")
    assert said.code == 1 and read_json(said)["verdict"] == "not verified"


def test_accuracy_is_measured_beside_the_mark(marked: Path, tmp_path: Path, ticket_sig: Command) -> None:
    asked = ("verify", marked / "model.safetensors", "--claim", marked / "claim.json")
    named = (*asked, "--arch", "resnet20", "--dataset", "digits")
    said = ticket_sig(*named)
    assert said.code == 0 and "% test accuracy; the claim promises none" in said.out, said.err
    assert 0 < read_json(ticket_sig(*named, "--json"))["fidelity"]["accuracy"] < 100
    could_not(
        ticket_sig(*named, "--data", tmp_path), f"--data: expected no folder for digits, found {tmp_path}"
    )
    for options, says in (
        (("--arch", "resnet20"), "--arch: expected data to measure the accuracy on: --data DIR, or"),
        (("--dataset", "cifar10"), "--dataset: expected data to measure the accuracy on"),
        (("--dataset", "digits"), "names of network and data set, too, found one; name it: --arch"),
        (("--data", tmp_path), "--data: expected the names of network and data set, too, found none"),
        (("--arch", "vgg16", "--dataset", "digits"), "weights do not fit the network"),
    ):
        could_not(ticket_sig(*asked, *options), says)


def test_accuracy_of_many_files_is_measured_as_of_one(
    marked: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    shards = write_shards(tmp_path / "shards", load(marked).ticket.weights)
    asked = ("--claim", marked / "claim.json", "--arch", "resnet20", "--dataset", "digits", "--json")
    one, many = (ticket_sig("verify", model, *asked) for model in (marked, shards))
    assert read_json(many)["fidelity"] == read_json(one)["fidelity"]


def test_only_its_owner_can_read_a_claim(marked: Path) -> None:
    assert (marked / "claim.json").stat().st_mode & 0o077 == 0


@pytest.fixture
def fixed(tmp_path: Path, ticket_sig: Command) -> Iterator[Path]:
    """Many files with 600 fixed values, copied from `model`."""
    model = write_shards(tmp_path / "model", weights())
    asked = ["embed", model, "--mark", "freezenet", "--message", "mine", "--length", 600]
    assert ticket_sig(*asked, "--out", tmp_path / "fixed").code == 0
    yield tmp_path / "fixed"


def test_one_changed_value_is_enough_for_no_verdict(fixed: Path, ticket_sig: Command) -> None:
    tensors = {name: Shards(fixed).tensor(name).clone() for name in weights()}
    before, suspect = weights()["b.weight"], fixed.with_name("changed.safetensors")
    changed = (tensors["b.weight"] != before).nonzero()[0]
    tensors["b.weight"][tuple(changed)] += 0.01
    safetensors.torch.save_file(tensors, suspect)
    said = ticket_sig("verify", suspect, "--claim", fixed / "claim.json", "--json")
    verdict = read_json(said)
    assert said.code == 1 and verdict["verdict"] == "not verified" and verdict["log10_p"] < -100
    assert verdict["lacking"] == "1 of 600 values differ, and all must stand"
    tensors["b.weight"][tuple(changed)] = torch.nan
    safetensors.torch.save_file(tensors, suspect)
    could_not(
        ticket_sig("verify", suspect, "--claim", fixed / "claim.json"),
        "b.weight: expected finite numbers, found 1 that are not",
    )


def test_a_suspect_that_cannot_be_judged_is_one_line(
    fixed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    shown = ["--claim", fixed / "claim.json"]
    other = write_shards(tmp_path / "other", {"b.weight": torch.ones(64, 48), "c": torch.ones(3)}, 1)
    said = ticket_sig("verify", other, *shown)
    assert (said.code, said.err) == (1, "")
    assert "\nnot found: freezenet: a.weight: expected shape [40, 36, 3, 3], found none" in said.out
    could_not(
        ticket_sig("extract", fixed, *shown),
        "marks: expected one that carries bits (qr-code, uchida, nct, spread, mirror)",
    )
    (fixed / "model-00002-of-00003.safetensors").unlink()
    could_not(ticket_sig("verify", fixed, *shown), "found no model-00002-of-00003.safetensors")


def test_claims_that_are_none_or_hostile_are_refused(tmp_path: Path, ticket_sig: Command) -> None:
    marked = tmp_path / "marked"
    asked = ["embed", torch_file(tmp_path / "net.pt"), "--mark", "uchida", "--out", marked]
    assert ticket_sig(*asked).code == 0
    claim = marked / "claim.json"
    name, shape = "layer3.0.conv2.weight", list(resnet20()["layer3.0.conv2.weight"].shape)
    lie = changed(claim, "lie.json", {"key": "no"})
    could_not(ticket_sig("verify", marked, "--claim", lie), "key: expected 64 hexadecimal digits")
    for fields, says in (
        ({"layer": "gone"}, "found under another name"),  # by its shape; under its name the bits are others
        (
            {"shape": [64, 576]},
            f"not found: model: {name}: expected the mark's shape [64, 576], found {shape}",
        ),
    ):
        said = ticket_sig("verify", marked, "--claim", changed(claim, "lie.json", fields))
        assert said.code == 1 and says in said.out, said
    value = json.loads(claim.read_text())
    value["marks"][0]["mark"] = "freezenet"
    (marked / "lie.json").write_text(json.dumps(value))
    could_not(ticket_sig("verify", marked, "--claim", marked / "lie.json"), "manifest: expected")
