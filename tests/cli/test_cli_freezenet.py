"""A FreezeNet watermark from the command line: written into copies, kept in training, verified."""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import Outcome
from support.disk import content, file_size_limit
from support.shards import FLOATS, weights, write_shards

from ticket_sig import Mask, Ticket, save
from ticket_sig.formats.weights import Shards
from ticket_sig.models import build
from ticket_sig.training import preset

Command = Callable[..., Outcome]
APPLY, VERIFY = ("watermark", "freezenet", "apply"), ("watermark", "freezenet", "verify")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of shards."""
    return write_shards(tmp_path / "model", weights())


def apply(ticket_sig: Command, model: Path, *more: object) -> dict[str, Any]:
    said = ticket_sig(*APPLY, model, *more, "--out", model.with_name("out"), "--json")
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


def next_commands(said: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^next: ticket-sig (.*)$", said, re.MULTILINE)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_shards_are_marked_and_verified_with_the_claim_and_without(
    dtype: str, tmp_path: Path, ticket_sig: Command
) -> None:
    model = write_shards(tmp_path / "model", weights(getattr(torch, dtype)))
    said = ticket_sig(*APPLY, model, "--text", "geheim äöü", "--length", 600, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "length: 600 of 16096 weights, 3.728 %; scale unit" in said.out
    assert "keep it, give away the rest" in said.out and "a.weight" in said.out
    assert stat.S_IMODE((tmp_path / "out" / "claim.json").stat().st_mode) == 0o600
    assert (tmp_path / "out" / "config.json").exists()
    (command,) = next_commands(said.out)
    assert ticket_sig(*command).code == 0
    (tmp_path / "data").write_bytes("geheim äöü".encode())
    for data in (["--text", "geheim äöü"], ["--data-file", tmp_path / "data"]):
        said = ticket_sig(*VERIFY, tmp_path / "out", *data, "--length", 600)
        assert said.code == 0 and "600 of 600 values stand" in said.out and "expected by chance" in said.out
        assert "600 of 16096 parameters, 3.728 %" in said.out and "proves: these weights" in said.out
    assert ticket_sig("verify", tmp_path / "out", "--claim", tmp_path / "out" / "claim.json").code == 0
    said = ticket_sig(*VERIFY, model, "--claim", tmp_path / "out" / "claim.json")
    assert said.code == 1 and "not verified" in said.out and "all must stand" in said.out
    assert ticket_sig(*VERIFY, tmp_path / "out", "--text", "geheim", "--length", 600).code == 1


def test_one_changed_value_is_enough_for_no_verdict(model: Path, ticket_sig: Command) -> None:
    made = apply(ticket_sig, model, "--text", "mine", "--length", 600)
    out = Path(made["marked"])
    tensors = {name: Shards(out).tensor(name).clone() for name in weights()}
    before = Shards(model).tensor("b.weight")
    changed = (tensors["b.weight"] != before).nonzero()[0]
    tensors["b.weight"][tuple(changed)] += 0.01
    safetensors.torch.save_file(tensors, out.with_name("changed.safetensors"))
    said = ticket_sig(*VERIFY, out.with_name("changed.safetensors"), "--claim", made["claim"], "--json")
    verdict = json.loads(said.out)
    assert said.code == 1 and verdict["verdict"] == "not verified" and verdict["log10_p"] < -100
    assert verdict["lacking"] == "1 of 600 values differ, and all must stand"
    tensors["b.weight"][tuple(changed)] = torch.nan
    safetensors.torch.save_file(tensors, out.with_name("changed.safetensors"))
    said = ticket_sig(*VERIFY, out.with_name("changed.safetensors"), "--claim", made["claim"])
    assert said.code == 2 and "b.weight: expected finite numbers, found 1 that are not" in said.err


@pytest.mark.parametrize("scale", ["unit", "layer", "legacy"])
def test_the_report_for_machines_says_what_was_fixed(scale: str, model: Path, ticket_sig: Command) -> None:
    made = apply(ticket_sig, model, "--text", "mine", "--share", 0.05, "--scale", scale)
    assert (made["length"], made["parameters"], made["scale"]) == (805, 16096, scale)
    assert sum(made["places"].values()) == made["matches"] == 805
    assert set(made["places"]) == {"a.weight", "b.weight", "b.bias"}
    assert b"mine".hex() not in json.dumps(made), "the data are for the claim alone"
    asked = [*VERIFY, made["marked"], "--text", "mine", "--share", 0.05]
    said = ticket_sig(*asked, "--scale", scale, "--json")
    assert said.code == 0 and json.loads(said.out)["evidence"]["length"] == 805
    other = "unit" if scale == "layer" else "layer"
    assert ticket_sig(*asked, "--scale", other).code == 1


def test_a_watermark_too_short_for_a_verdict_is_said_so(model: Path, ticket_sig: Command) -> None:
    for length in (0, 3):
        out = model.with_name(f"out{length}")
        said = ticket_sig(*APPLY, model, "--text", "mine", "--length", length, "--out", out)
        assert said.code == 0 and "too short: no verdict can rest on it" in said.out
        assert ticket_sig(*VERIFY, out, "--claim", out / "claim.json").code == 1


def test_a_single_file_becomes_a_folder_that_loads(tmp_path: Path, ticket_sig: Command) -> None:
    safetensors.torch.save_file(weights(), tmp_path / "net.safetensors")
    made = apply(ticket_sig, tmp_path / "net.safetensors", "--text", "mine", "--length", 600)
    names = sorted(file.name for file in Path(made["marked"]).iterdir())
    assert names == ["claim.json", "model.safetensors"]
    shown = json.loads(ticket_sig("inspect", made["marked"], "--json").out)
    assert shown["claim"]["scheme"] == "freezenet"


def test_training_keeps_the_watermark(tmp_path: Path, ticket_sig: Command) -> None:
    network = build("resnet20", 10, 1, seed=0)
    tensors = {name: t.detach() for name, t in network.state_dict().items()}
    dense = {name: torch.ones_like(t, dtype=torch.bool) for name, t in tensors.items() if t.ndim >= 2}
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    bundle = save(Ticket(weights=tensors, mask=Mask(dense), recipe=recipe), tmp_path / "bundle")
    torch.save(tensors, tmp_path / "net.pt")
    options = ["--text", "mine", "--length", 300, "--arch", "resnet20"]
    for source in (bundle, tmp_path / "net.pt"):
        out = tmp_path / f"marked-{source.name}"
        said = ticket_sig(*APPLY, source, *options, "--out", out)
        assert said.code == 0, said.err
        assert "keep it, give away model.safetensors alone" in said.out
        train, check = next_commands(said.out)
        assert ticket_sig(*check).code == 0
        trained = tmp_path / f"trained-{source.name}"
        command = " ".join(train).replace("TRAINED", str(trained)).replace("--data DIR", "--epochs 1")
        command = command.replace("--arch NAME", "--arch resnet20").replace(
            "--dataset NAME", "--dataset digits"
        )
        said = ticket_sig(*command.split())
        assert said.code == 0, said.err
        assert ticket_sig(*VERIFY, trained, "--claim", out / "claim.json").code == 0
        assert ticket_sig(*VERIFY, trained, *options).code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--text, --data-file: expected one of them, found neither"),
        (["--text", "a", "--data-file", "b"], "--text, --data-file: expected one of them, found both"),
        (["--text", "a"], "--length, --share: expected one of them, found neither"),
        (
            ["--text", "a", "--length", 3, "--share", 0.1],
            "--length, --share: expected one of them, found both",
        ),
        (["--text", "", "--length", 3], "watermark: data: expected 1 byte or more, found none"),
        (["--data-file", "gone", "--length", 3], "gone: No such file or directory"),
        (["--text", "a", "--length", 16097], "model: watermark: length: expected 0 to 16096"),
        (["--text", "a", "--length", -1], "length: expected"),
        (["--text", "a", "--share", 1.01], "--share: expected 0 to 1, found 1.01"),
        (["--text", "a", "--share", "nan"], "--share: expected 0 to 1, found nan"),
        (["--text", "a", "--length", 3, "--scale", "huge"], "scale: expected one of unit, layer, legacy"),
        (["--text", "a", "--length", 3, "--arch", "lenet"], "arch: expected one of"),
        (["--text", "a", "--length", 3, "--arch", "vgg16"], "model: layers: expected those of vgg16"),
    ],
)
def test_what_cannot_be_applied_is_one_line_and_writes_nothing(
    options: list[Any], says: str, model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    before = content(tmp_path)
    said = ticket_sig(*APPLY, model, *options, "--out", tmp_path / "out")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err and content(tmp_path) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--text", "a"],
        ["--text", "", "--length", 3],
        ["--text", "a", "--share", 2],
        ["--text", "a", "--length", -1],
        ["--text", "a", "--length", 3, "--scale", "huge"],
        ["--text", "a", "--length", 3, "--arch", "lenet"],
    ],
)
def test_a_wrong_option_is_not_said_to_be_the_models_fault(
    options: list[Any], model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    for verb in ([*APPLY, model, "--out", tmp_path / "out"], [*VERIFY, model]):
        said = ticket_sig(*verb, *options)
        assert said.code == 2 and str(model) not in said.err, said.err


def test_a_copy_does_not_lie_in_the_models_own_folder(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    network = {"a.weight": torch.randn(40, 30)}
    bundle = save(Ticket(weights=network, mask=Mask.full(network)), tmp_path / "bundle")
    before = content(tmp_path)
    for source in (model, bundle):
        said = ticket_sig(*APPLY, source, "--text", "mine", "--length", 600, "--out", source / "marked")
        assert said.code == 2 and "expected one outside the model's own, found one inside" in said.err
    assert content(tmp_path) == before


def test_what_is_there_is_overwritten_only_with_force(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    arguments = [*APPLY, model, "--text", "mine", "--length", 600, "--out", tmp_path / "out"]
    assert ticket_sig(*arguments).code == 0
    before = content(tmp_path)
    said = ticket_sig(*arguments)
    assert said.code == 2 and "choose another or pass --force" in said.err and content(tmp_path) == before
    assert ticket_sig(*arguments, "--force").code == 0
    said = ticket_sig(*APPLY, model, "--text", "mine", "--length", 600, "--out", model, "--force")
    assert said.code == 2 and "expected another than the model's own" in said.err


def test_a_full_disk_leaves_the_earlier_copy_and_nothing_else(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    apply(ticket_sig, model, "--text", "mine", "--length", 600)
    before = content(tmp_path)
    with file_size_limit(4096):
        said = ticket_sig(*APPLY, model, "--text", "b", "--length", 9, "--out", tmp_path / "out", "--force")
    assert said.code == 2 and f"{tmp_path / 'out'}" in said.err and ".partial-" not in said.err
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--text", "a"], "--text: expected no claim, which says it, found --claim"),
        (["--length", 3, "--scale", "unit"], "--length, --scale: expected no claim"),
    ],
)
def test_a_claim_says_all_itself(
    options: list[Any], says: str, model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = apply(ticket_sig, model, "--text", "mine", "--length", 600)["claim"]
    said = ticket_sig(*VERIFY, tmp_path / "out", "--claim", claim, *options)
    assert (said.code, said.out) == (2, "") and says in said.err


def test_a_suspect_that_cannot_be_judged_is_one_line(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = apply(ticket_sig, model, "--text", "mine", "--length", 600)["claim"]
    other = write_shards(tmp_path / "other", {"b.weight": torch.ones(64, 48), "c": torch.ones(3)}, 1)
    said = ticket_sig(*VERIFY, other, "--claim", claim)
    assert (
        said.code == 2 and "other: watermark: a.weight: expected shape [40, 36, 3, 3], found none" in said.err
    )
    (model / "model-00002-of-00003.safetensors").unlink()
    said = ticket_sig(*VERIFY, model, "--claim", claim)
    assert said.code == 2 and "found no model-00002-of-00003.safetensors" in said.err
    value = {**json.loads(Path(claim).read_text()), "scheme": "uchida"}
    Path(claim).write_text(json.dumps(value))
    said = ticket_sig(*VERIFY, tmp_path / "out", "--claim", claim)
    assert said.code == 2 and (
        "claim.json: scheme: expected 'freezenet', found 'uchida'; ticket-sig verify takes any claim"
        in said.err
    )
