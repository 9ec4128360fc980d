"""Uchida from the command line: bits written, decoded and verified, with and without data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import Outcome

from ticket_sig import Mask, Ticket, load, save
from ticket_sig.models import build
from ticket_sig.training import preset

Command = Callable[..., Outcome]
EMBED, DECODE = ("watermark", "uchida", "embed"), ("watermark", "uchida", "decode")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network for digits, as a bundle with its recipe."""
    weights = {n: t.detach() for n, t in build("resnet20", 10, 1, seed=0).state_dict().items()}
    recipe = preset("demo", arch="resnet20", dataset="digits", precision="float32").to_json()
    mask = Mask.full({n: w for n, w in weights.items() if w.ndim >= 2})
    return save(Ticket(weights=weights, mask=mask, recipe=recipe), tmp_path_factory.mktemp("model") / "dense")


def test_a_message_is_written_decoded_and_verified(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    marked = tmp_path / "marked"
    claim = marked / "claim.json"
    said = ticket_sig(*EMBED, model, "--message", "it is mine", "--out", marked)
    assert said.code == 0, said.err
    assert "message: it is mine" in said.out and "bits: 0 of 80 wrong" in said.out
    assert "layer: layer3.0.conv2.weight, 576 weights in a filter" in said.out
    assert "too weak" not in said.out and "keep it" in said.out
    assert f"next: ticket-sig watermark uchida decode SUSPECT --claim {claim}" in said.out
    assert claim.stat().st_mode & 0o077 == 0, "others can read the key"
    assert [p.name for p in tmp_path.iterdir()] == ["marked"]

    said = ticket_sig(*DECODE, marked, "--claim", claim)
    assert said.code == 0 and said.out.startswith("verified\n")
    assert "it is mine" in said.out and "0.0000" in said.out and "proves: these weights" in said.out
    bare = tmp_path / "bare.pt"
    torch.save(load(marked).ticket.weights, bare)
    value = json.loads(ticket_sig(*DECODE, bare, "--claim", claim, "--json").out)
    assert value["verdict"] == "verified" and value["evidence"]["message"] == "it is mine"
    assert value["evidence"]["bit_error_rate"] == 0 and value["log10_p"] < -20
    assert ticket_sig("verify", bare, "--claim", claim).code == 0
    said = ticket_sig(*DECODE, model, "--claim", claim)
    assert said.code == 1 and said.out.startswith("not verified\n") and "proves: nothing" in said.out


def test_bits_are_written_into_the_layer_that_is_named(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    arguments = [*EMBED, model, "--bits", "0110" * 16, "--layer", "layer2.2.conv2.weight", "--json"]
    value = json.loads(ticket_sig(*arguments, "--out", tmp_path / "marked").out)
    assert (value["bits"], value["wrong_bits"], value["verified"]) == ("0110" * 16, 0, True)
    assert (value["layer"], value["capacity"]) == ("layer2.2.conv2.weight", 288)
    assert 0 < value["changed"] < 0.3 and value["before"] is None
    before, after = load(model).ticket.weights, load(tmp_path / "marked").ticket.weights
    assert [n for n in before if not torch.equal(before[n], after[n])] == ["layer2.2.conv2.weight"]
    # 128 bits, and fresh ones each time, where nothing is said.
    drawn = [
        json.loads(ticket_sig(*EMBED, model, "--out", tmp_path / name, "--json").out)["bits"]
        for name in ("one", "two")
    ]
    assert drawn[0] != drawn[1] and {len(bits) for bits in drawn} == {128}


def test_a_narrow_layer_takes_as_many_bits_as_it_holds(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig(*EMBED, model, "--layer", "fc.weight", "--out", tmp_path / "marked")
    assert said.code == 0 and "bits: 0 of 64 wrong" in said.out, said.err


def test_bits_and_message_are_shown_whole(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    text = "a message that is longer than a line of a terminal, and than any cell of a table is"[:60]
    marked = tmp_path / "marked"
    assert ticket_sig(*EMBED, model, "--message", text, "--out", marked).code == 0
    bits = "".join(f"{byte:08b}" for byte in text.encode())
    for verb in (DECODE, ("verify",)):
        said = ticket_sig(*verb, marked, "--claim", marked / "claim.json")
        assert f"\nmessage: {text}\nbits: {bits}\n" in said.out, said.err


def test_a_layer_too_small_says_that_it_proves_nothing(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    arguments = ["--random", 40, "--layer", "fc.weight", "--out", tmp_path / "marked"]
    said = ticket_sig(*EMBED, model, *arguments)
    assert said.code == 0 and "bits: 0 of 40 wrong" in said.out
    assert (
        "too weak to verify: it takes more bits (--random N, up to 64 in this layer), "
        "or a --layer with more weights in a filter\n" in said.out
    )
    assert ticket_sig(*DECODE, tmp_path / "marked", "--claim", tmp_path / "marked" / "claim.json").code == 1


def test_with_data_the_network_is_fine_tuned_and_measured(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked = tmp_path / "marked"
    # The key is drawn anew: under one in six, an epoch of the default strength leaves a bit wrong.
    arguments = [*EMBED, model, "--message", "taught", "--dataset", "digits", "--lr", 0.2, "--strength", 0.05]
    arguments += ["--out", marked]
    said = ticket_sig(*arguments)
    assert said.code == 0, said.err
    assert "before: " in said.out and "after:  " in said.out
    wrong = re.search(r"bits: (\d+) of 48 wrong", said.out)
    assert wrong and int(wrong.group(1)) <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["marked"], "the state is gone"
    ticket = load(marked).ticket
    assert ticket.history[-1].step == "train" and ticket.history[-1].epochs == 1
    assert ticket.recipe is not None and ticket.recipe["lr"] == 0.2
    assert ticket_sig(*DECODE, marked, "--claim", marked / "claim.json").code == 0
    assert 0 < json.loads((marked / "claim.json").read_text())["accuracy"] <= 100
    refused = ticket_sig(*arguments)
    assert refused.code == 2 and "--force" in refused.err


def test_a_stopped_fine_tuning_goes_on_with_its_own_key(
    model: Path, tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked, kept = tmp_path / "marked", tmp_path / "marked.mark.json"
    arguments = [*EMBED, model, "--random", 32, "--dataset", "digits", "--out", marked]

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ticket_sig.lottery.level.train", stopped)
        assert ticket_sig(*arguments).code == 130
    secret = json.loads(kept.read_text())
    assert kept.stat().st_mode & 0o077 == 0 and (tmp_path / "marked.run").is_dir()
    said = ticket_sig(*arguments[:4], "--random", 16, *arguments[6:])
    assert said.code == 2 and "expected the bits, layer and strength that this run was begun with" in said.err
    assert ticket_sig(*arguments).code == 0
    assert json.loads((marked / "claim.json").read_text())["signature"] == secret
    assert not kept.exists() and not (tmp_path / "marked.run").exists()


def test_a_sharded_model_is_decoded_but_not_written_to(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    assert ticket_sig(*EMBED, model, "--out", tmp_path / "marked").code == 0
    weights, shards = load(tmp_path / "marked").ticket.weights, tmp_path / "shards"
    shards.mkdir()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        safetensors.torch.save_file({n: weights[n] for n in held}, shards / file)
    index = {"weight_map": {n: file for file, held in parts.items() for n in held}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    assert ticket_sig(*DECODE, shards, "--claim", tmp_path / "marked" / "claim.json").code == 0
    said = ticket_sig(*EMBED, shards, "--out", tmp_path / "other")
    assert said.code == 2 and said.err.count("\n") == 1 and not (tmp_path / "other").exists()
    assert (
        "shards: model: expected one file, or a bundle, found safetensors files with an index; " in said.err
    )
    assert "merge them into one file" in said.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--message", "a", "--bits", "01"], "payload: expected one of --message, --bits and --random"),
        (["--bits", "012"], "payload: expected digits 0 and 1, found '012'"),
        (["--message", ""], "payload: expected 1 to 8192 bits, found 0"),
        (
            ["--random", "577"],
            "capacity: expected a layer with 577 weights in a filter, one a bit, found 576",
        ),
        (["--random", "0"], "usage: "),
        (["--layer", "conv9"], "model: layer: expected 'conv9', found none of that name"),
        (["--layer", "bn1.weight"], "shape: expected 2 or more sizes of 1 or more"),
        (["--strength", "0", "--dataset", "digits"], "strength: expected a finite number above 0, found 0"),
        (["--strength", "0.1"], "--strength: expected data to fine-tune on"),
        (["--device", "cpu"], "--device: expected data to fine-tune on"),
        (["--checkpoint-every", "5"], "--checkpoint-every: expected data to fine-tune on"),
        (["--epochs", "2"], "--epochs: expected data to fine-tune on: --data DIR, or --dataset digits"),
        (["--lr", "0.1"], "--lr: expected data to fine-tune on"),
        (["--dataset", "cifar10"], "--data: expected the folder of cifar10"),
        (["--dataset", "digits", "--arch", "vgg16"], "weights do not fit the network"),
        (["--dataset", "digits", "--lr", "-1"], "lr: expected more than 0"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    options: list[str], says: str, model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig(*EMBED, model, *options, "--out", tmp_path / "marked")
    assert said.code == 2 and said.err.count("\n") == 1 and says in said.err
    assert not list(tmp_path.iterdir())


def test_claims_that_are_none_or_hostile_are_refused(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked, claim = tmp_path / "marked", tmp_path / "claim.json"
    assert ticket_sig(*EMBED, model, "--out", marked).code == 0
    shutil.copy(marked / "claim.json", claim)
    value = json.loads(claim.read_text())
    for change, says in (
        (
            {"scheme": "freezenet"},
            "claim.json: scheme: expected 'uchida', found 'freezenet'; ticket-sig verify takes any claim",
        ),
        ({"signature": {**value["signature"], "key": "no"}}, "key: expected hexadecimal digits"),
        ({"signature": {**value["signature"], "layer": "gone"}}, "layer: expected the watermark's gone"),
        (
            {"signature": {**value["signature"], "shape": [64, 576]}},
            "layer3.0.conv2.weight: expected the watermark's shape [64, 576], found [64, 64, 3, 3]",
        ),
    ):
        claim.write_text(json.dumps({**value, **change}))
        said = ticket_sig(*DECODE, marked, "--claim", claim)
        assert said.code == 2 and said.err.count("\n") == 1 and says in said.err


@pytest.mark.parametrize("verb", [EMBED, DECODE])
def test_every_verb_has_an_example(
    verb: tuple[str, ...], ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, "200")
    said = ticket_sig(*verb, "--help")
    assert said.code == 0 and f"Example: ticket-sig {' '.join(verb)} " in said.out
