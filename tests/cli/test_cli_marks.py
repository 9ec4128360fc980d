"""What `train` keeps and teaches of the marks in a bundle's claim, stopped and resumed; what it says next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import Command, could_not, done, next_commands, read_json
from support.disk import content
from support.networks import TASK, dense_bundle, torch_file

from ticket_sig import Claim, load, save
from ticket_sig.cli.output import Bars
from ticket_sig.files import read_json as read_json_file

UCHIDA = ("--mark", "uchida", "--message", "taught", "--strength", 0.05)
FREEZENET = ("--mark", "freezenet", "--message", "a secret text", "--length", 200)


@pytest.fixture(scope="module")
def folder(digits_run: Path, digits_signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of digits (`ticket`), signed (`signed`), locked (`DIR/locked`), and a secret of triggers."""
    folder = tmp_path_factory.mktemp("marks")
    (folder / "ticket").symlink_to(digits_run / "ticket")
    (folder / "signed").symlink_to(digits_signed)
    done(["split", folder / "ticket", "--out", folder / "DIR"])
    done(["triggers", "--dataset", "digits", "--count", 40, "--out", folder / "triggers.json"])
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Bytes from which keys follow."""
    (tmp_path / "secret").write_bytes(bytes(32))
    return tmp_path / "secret"


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
    said = ticket_sig("train", folder / model, "--epochs", 1, "--out", tmp_path / "out", *options)
    assert said.code == 0, said.err
    assert len(next_commands(said.out)) == commands
    for arguments in next_commands(said.out):
        assert ticket_sig(*arguments).code in (0, 1)
    assert ("too few were learnt: more --epochs" in said.out) is more, "one epoch teaches no triggers"


@pytest.mark.parametrize("mark", [UCHIDA, FREEZENET], ids=["uchida", "freezenet"])
def test_a_mark_outlives_training_with_its_claim(
    mark: tuple[object, ...], tmp_path: Path, ticket_sig: Command
) -> None:
    net, marked, trained = torch_file(tmp_path / "net.pt"), tmp_path / "marked", tmp_path / "trained"
    assert ticket_sig("embed", net, *mark, "--out", marked).code == 0
    options = (*TASK, "--preset", "demo", "--epochs", 1, "--start", "model")
    said = ticket_sig("train", marked, *options, "--out", trained)
    assert said.code == 0, said.err
    assert f"\n{mark[1]}: " in said.out and "; verified\nnext: ticket-sig verify " in said.out
    (verify,) = next_commands(said.out)
    assert ticket_sig(*verify).code == 0
    said = ticket_sig("verify", trained / "model.safetensors", "--claim", marked / "claim.json")
    assert said.code == 0 and "p-value" in said.out, said.err


def test_bits_are_taught_to_a_network_that_does_not_hold_them(
    secret: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    dense, marked, taught = dense_bundle(tmp_path / "dense"), tmp_path / "marked", tmp_path / "taught"
    assert ticket_sig("embed", dense, *UCHIDA, "--secret", secret, "--out", marked).code == 0
    claim = marked / "claim.json"
    save(load(dense).ticket, tmp_path / "claimed", claim=read_json_file(claim))
    assert ticket_sig("verify", dense, "--claim", claim).code == 1
    asked = ["train", tmp_path / "claimed", "--start", "model", "--epochs", 1, "--lr", 0.2]
    said = ticket_sig(*asked, "--out", taught)
    assert said.code == 0, said.err
    assert "uchida: " in said.out and "; verified\n" in said.out
    assert ticket_sig("verify", taught, "--claim", claim).code == 0
    assert not (tmp_path / "taught.run").exists(), "the state is gone"
    ticket = load(taught).ticket
    assert (ticket.history[-1].step, ticket.history[-1].epochs) == ("train", 1)
    assert ticket.recipe is not None and ticket.recipe["lr"] == 0.2
    promised = Claim.read(taught / "claim.json").accuracy
    assert promised is not None and 0 < promised <= 100
    # The bits are learnt because the claim says so.
    save(load(dense).ticket, tmp_path / "free")
    alone = [asked[0], tmp_path / "free", *asked[2:], "--out", tmp_path / "alone"]
    assert ticket_sig(*alone).code == 0
    assert ticket_sig("verify", tmp_path / "alone", "--claim", claim).code == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "cifar10"], "--data: expected the folder of cifar10"),
        (["--arch", "vgg16"], "weights do not fit the network"),
        (["--lr", "-1"], "lr: expected more than 0"),
        (["--epochs", "0"], "--epochs"),
        (["--device", "abacus"], "device: expected"),
        (["--precision", "int4"], "precision: expected"),
        (["--triggers", "gone"], "gone: "),
    ],
)
def test_a_training_that_cannot_be_is_one_line_and_leaves_nothing(
    options: list[str], says: str, secret: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked = tmp_path / "marked"
    dense = dense_bundle(tmp_path / "dense")
    assert ticket_sig("embed", dense, *UCHIDA, "--secret", secret, "--out", marked).code == 0
    before = content(tmp_path)
    could_not(ticket_sig("train", marked, "--start", "model", *options, "--out", tmp_path / "out"), says)
    assert content(tmp_path) == before


@pytest.mark.parametrize("second", [None, FREEZENET], ids=["one", "two"])
def test_teaching_that_is_stopped_goes_on_to_the_same_bits(
    second: tuple[object, ...] | None,
    secret: Path,
    tmp_path: Path,
    ticket_sig: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marked, out = tmp_path / "marked", tmp_path / "out"
    dense = dense_bundle(tmp_path / "dense")
    assert ticket_sig("embed", dense, *UCHIDA, "--secret", secret, "--out", marked).code == 0
    if second:
        assert ticket_sig("embed", marked, *second, "--out", tmp_path / "both").code == 0
        marked = tmp_path / "both"
    asked = ["train", marked, "--start", "model", "--epochs", 1, "--checkpoint-every", 0, "--out"]
    assert ticket_sig(*asked, tmp_path / "whole").code == 0

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Bars, "advance", stopped)
        said = ticket_sig(*asked, out)
    assert said.code == 130 and "go on from here with the same command" in said.err
    assert not out.exists() and (tmp_path / "out.run").is_dir()
    refused = ticket_sig(*asked, out, "--seed", 5)
    assert refused.code == 2 and "seed" in refused.err, "another run is not mixed with this one"
    assert ticket_sig(*asked, out).code == 0
    assert not (tmp_path / "out.run").exists()
    for file in ("model.safetensors", "mask.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    claimed = [json.loads((bundle / "claim.json").read_text())["marks"] for bundle in (out, marked)]
    assert claimed[0] == claimed[1], "the keys are the bundle's, and not drawn anew"


def test_two_marks_are_kept_and_taught_both(secret: Path, tmp_path: Path, ticket_sig: Command) -> None:
    one, both, trained = tmp_path / "one", tmp_path / "both", tmp_path / "trained"
    dense = dense_bundle(tmp_path / "dense")
    assert ticket_sig("embed", dense, *UCHIDA, "--secret", secret, "--out", one).code == 0
    assert ticket_sig("embed", one, *FREEZENET, "--out", both).code == 0
    # From weights that hold neither: what is kept and taught follows from the claim.
    save(load(dense).ticket, tmp_path / "claimed", claim=read_json_file(both / "claim.json"))
    asked = ["train", tmp_path / "claimed", "--start", "model", "--epochs", 1, "--lr", 0.2]
    value = read_json(ticket_sig(*asked, "--out", trained, "--json"))
    assert [(mark["mark"], mark["verdict"]) for mark in value["marks"]] == [
        ("uchida", "verified"),
        ("freezenet", "verified"),
    ]
    assert [mark.name for mark in Claim.read(trained / "claim.json").marks] == ["uchida", "freezenet"]
    assert ticket_sig("verify", trained, "--claim", both / "claim.json").code == 0


def test_a_code_and_bits_are_kept_through_training(
    folder: Path, secret: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    """One stands in the mask, the other in the weights that it keeps."""
    both, trained = tmp_path / "both", tmp_path / "trained"
    asked = ["embed", folder / "signed", *UCHIDA, "--secret", secret, "--out", both]
    assert ticket_sig(*asked).code == 0
    said = ticket_sig("train", both, "--start", "model", "--epochs", 1, "--out", trained)
    assert said.code == 0, said.err
    value = read_json(ticket_sig("verify", trained, "--claim", trained / "claim.json", "--json"))
    verdicts = {mark["mark"]: mark["verdict"] for mark in value["evidence"]["marks"]}
    assert verdicts == {"qr-code": "verified", "uchida": "verified"}


def test_a_mark_that_cannot_be_read_is_told_after_training(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    """The claim beside a model may be on a layer that it has not: what was trained is not lost for that."""
    claim = json.loads((folder / "signed" / "claim.json").read_text())
    claim["marks"][0]["fields"]["placement"] |= {"layer": "other.weight", "shape": [99, 99, 3, 3]}
    save(load(folder / "signed").ticket, tmp_path / "claimed", claim=claim)
    said = ticket_sig("train", tmp_path / "claimed", "--epochs", 1, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert (
        "qr-code: model: layer: expected the claim's other.weight, found none of that name or shape\n"
        in said.out
    )
    assert load(tmp_path / "out").ticket.history[-1].step == "train"


def test_a_mark_too_weak_to_verify_is_still_claimed_beside_another(
    tmp_path: Path, ticket_sig: Command
) -> None:
    dense, one, both = dense_bundle(tmp_path / "dense"), tmp_path / "one", tmp_path / "both"
    weak = ("--mark", "freezenet", "--message", "a secret text", "--length", 3)
    elsewhere = ("--mark", "uchida", "--bits", "01101", "--layer", "conv1.weight")
    assert "too weak to verify" in ticket_sig("embed", dense, *weak, "--out", one).out
    said = ticket_sig("embed", one, *elsewhere, "--out", both)
    assert said.code == 0 and "no longer claimed" not in said.out
    assert [mark.name for mark in Claim.read(both / "claim.json").marks] == ["freezenet", "uchida"]


def test_a_mark_pays_for_the_others_wherever_it_is_told(
    secret: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    one, both = tmp_path / "one", tmp_path / "both"
    dense = dense_bundle(tmp_path / "dense")
    assert ticket_sig("embed", dense, *UCHIDA, "--secret", secret, "--out", one).code == 0
    embedded = read_json(ticket_sig("embed", one, *FREEZENET, "--out", both, "--json"))
    asked = ["--claim", both / "claim.json", "--json"]
    verified = read_json(ticket_sig("verify", both, *asked))["evidence"]["marks"]
    attacked = read_json(ticket_sig("attack", "cast", both, *asked, "--out", tmp_path / "cast"))["marks"]
    found = {mark["mark"]: mark["log10_p"] for mark in verified}
    assert embedded["log10_p"] == found["freezenet"]
    assert {name: tried["before"]["log10_p"] for name, tried in attacked.items()} == found


def test_a_training_with_a_mark_and_triggers_is_audited_where_both_are_shown(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked, trained, transcript = tmp_path / "marked", tmp_path / "trained", tmp_path / "transcript"
    assert ticket_sig("embed", dense_bundle(tmp_path / "dense"), *FREEZENET, "--out", marked).code == 0
    taught = ["--triggers", folder / "triggers.json", "--trigger-batch", 2]
    recording = ["--transcript", transcript, "--every", 10, "--keep", "1GB"]
    asked = ["train", marked, "--start", "model", "--epochs", 1, *taught, *recording, "--out", trained]
    assert "transcript: the state of every boundary is kept" in ticket_sig(*asked).err
    claim = ["--claim", trained / "claim.json"]
    could_not(ticket_sig("audit", transcript, *taught), "kept: expected what was trained with, 2 of marks")
    could_not(ticket_sig("audit", transcript, *claim, *taught[:2]), "kept: ", "found 2 of other digests")
    said = ticket_sig("audit", transcript, *claim, *taught)
    assert said.code == 0 and said.out.startswith("valid: 2 of 2 segments"), said
    shown = read_json(ticket_sig("inspect", transcript, "--json"))
    assert (shown["steps_trained_at_a_time"], shown["levels"][0]["states"]) == (10, 3)
    assert shown["bytes"] == sum(file.stat().st_size for file in transcript.rglob("*") if file.is_file())
