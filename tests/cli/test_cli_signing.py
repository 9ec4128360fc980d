"""Sign, read, verify and look, from the command line: what is printed, what is written, which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import zxingcpp
from PIL import Image
from support.command_line import Outcome
from support.make_fixtures import FIXTURES
from support.tickets import sparse, sparse_ticket

from ticket_sig import load, save
from ticket_sig.lottery.prune import prune_ticket

MESSAGE = "owner@example.org"
Command = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A pruned model as a user has it: a bare safetensors file."""
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(sparse_ticket().weights), path)
    return path


@pytest.fixture
def signed(model: Path, tmp_path: Path, ticket_sig: Command) -> Path:
    """The bundle of that model, signed."""
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "signed")
    assert said.code == 0, said.err
    return tmp_path / "signed"


@pytest.fixture
def innocent(tmp_path: Path) -> Path:
    """A model of the same shapes that nobody signed."""
    path = tmp_path / "innocent.pt"
    torch.save(sparse_ticket(seed=7).weights, path)
    return path


def read_json(said: Outcome) -> dict[str, Any]:
    """The one JSON object on stdout."""
    value = json.loads(said.out)
    assert isinstance(value, dict)
    return value


def could_not(said: Outcome, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr with these words."""
    assert (said.code, said.out) == (2, ""), said
    assert said.err.startswith("ticket-sig: ") and said.err.count("\n") == 1
    assert all(word in said.err for word in words), said.err


def seen_by_zxing(path: Path) -> str:
    with Image.open(path) as picture:
        (found,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    return found.text


# embed


def test_embed_says_what_it_wrote_and_where(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "out")
    kept = sparse_ticket().mask.kept
    assert (said.code, said.err) == (0, "")
    assert f"message: {MESSAGE}\n" in said.out
    assert f"kept: {kept} of {sparse_ticket().mask.total}, as before" in said.out
    claim = json.loads((tmp_path / "out" / "claim.json").read_text())
    place = claim["signature"]["placement"]
    assert f"place: {place['layer']}, row {place['row']}, column {place['column']}" in said.out
    assert f"bundle: {tmp_path / 'out'}" in said.out and "next: ticket-sig train" in said.out


def test_embed_in_json(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "out", "--json")
    value, before = read_json(said), sparse_ticket().mask
    assert said.code == 0
    assert value["bundle"] == str(tmp_path / "out")
    assert (value["kept"], value["density"]) == (before.kept, before.density)
    assert value["claim"] == json.loads((tmp_path / "out" / "claim.json").read_text())
    assert value["claim"]["signature"]["message"] == MESSAGE
    after = load(tmp_path / "out").ticket.mask
    assert value["weights_moved"] == sum(int((after[n] & ~before[n]).sum()) for n in before) > 0


def test_embed_takes_version_level_and_layer(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    choice = ["--version", 4, "--level", "Q", "--layer", "b.weight"]
    said = ticket_sig("embed", model, "--message", "m", "--out", tmp_path / "out", *choice, "--json")
    signature = read_json(said)["claim"]["signature"]
    assert (signature["qr"]["version"], signature["qr"]["level"]) == (4, "Q")
    assert signature["placement"]["layer"] == "b.weight"


def test_embed_prunes_a_dense_model_first_when_told(tmp_path: Path, ticket_sig: Command) -> None:
    weights = {"a.weight": sparse(40, 40, 3, 3, density=1)}
    torch.save(weights, tmp_path / "dense.pt")
    call = ["embed", tmp_path / "dense.pt", "--message", "m", "--out", tmp_path / "out"]
    could_not(ticket_sig(*call), "pruned weights", "--prune 0.8")
    assert not (tmp_path / "out").exists()
    said = ticket_sig(*call, "--prune", 0.8, "--json")
    assert read_json(said)["kept"] == 40 * 40 * 9 - round(0.8 * 40 * 40 * 9)
    could_not(
        ticket_sig(*call, "--prune", 1.5, "--force"), "rate: expected a share between 0 and 1, found 1.5"
    )


def test_embed_overwrites_only_when_told(model: Path, signed: Path, ticket_sig: Command) -> None:
    call = ["embed", model, "--message", "another", "--out", signed]
    before = (signed / "claim.json").read_bytes()
    could_not(ticket_sig(*call), str(signed), "--force")
    assert (signed / "claim.json").read_bytes() == before
    assert ticket_sig(*call, "--force").code == 0
    assert ticket_sig("extract", signed).out == "another\n"


def test_a_refused_embed_leaves_nothing_behind(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    there = set(tmp_path.iterdir())
    call = ["embed", model, "--out", tmp_path / "out"]
    could_not(ticket_sig(*call, "--message", "m" * 500), "message: expected at most 64 bytes at level H")
    could_not(ticket_sig(*call, "--message", ""), "message: expected at least one character")
    could_not(ticket_sig(*call, "--message", "\udcff\udcfe"), "message")
    could_not(ticket_sig(*call, "--message", "m", "--level", "Z"), "QR level")
    could_not(ticket_sig(*call, "--message", "m", "--layer", "none"), "layer", "a.weight, b.weight")
    could_not(ticket_sig(*call, "--message", "m", "--layer", "small.weight"), "8x8 at the largest")
    assert set(tmp_path.iterdir()) == there


MESSAGES = [
    "ключ 🔑",
    "[bold]owner[/bold]",
    "[/] [/x]",
    "a\\[b]",
    "two\nlines",
    "THE 2021 OWNER",
    "  spaces  ",
    "-x",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_any_message_is_shown_and_read_as_it_is(
    message: str, model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig(
        "embed", model, f"--message={message}", "--out", tmp_path / "out", "--layer", "a.weight"
    )
    assert said.code == 0
    shown = message.replace("\n", "\\n")  # a line break could forge a line of the output
    assert f"message: {shown}\n" in said.out
    assert ticket_sig("extract", tmp_path / "out").out == f"{message}\n"
    looked = ticket_sig("inspect", tmp_path / "out")
    assert looked.code == 0 and repr(message) in looked.out
    verdict = ticket_sig("verify", tmp_path / "out", "--claim", tmp_path / "out" / "claim.json")
    assert verdict.code == 0
    # Both the claimed message and the one that was read.
    assert verdict.out.count(shown.strip()) >= 2


def test_a_path_is_shown_as_it_is(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    bundle = tmp_path / "my [red] run"
    said = ticket_sig("embed", model, "--message", "m", "--out", bundle)
    assert f"bundle: {bundle}\n" in said.out
    assert str(bundle) in ticket_sig("inspect", bundle).out.replace("\n", "")


# extract


def test_extract_prints_the_message_and_nothing_else(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("extract", signed)
    assert (said.code, said.out) == (0, f"{MESSAGE}\n")
    assert "data modules agree" in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch under state_dict"])
def test_extract_reads_bare_weights_with_a_claim(
    kind: str, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    weights = {name: w.clone() for name, w in load(signed).ticket.weights.items()}
    suspect = tmp_path / "suspect"
    if kind == "safetensors":
        safetensors.torch.save_file(weights, suspect)
    else:
        torch.save({"state_dict": weights} if "under" in kind else weights, suspect)
    could_not(ticket_sig("extract", suspect), "claim: expected a claim.json", "--claim FILE")
    assert ticket_sig("extract", suspect, "--claim", signed / "claim.json").out == f"{MESSAGE}\n"
    assert ticket_sig("verify", suspect, "--claim", signed / "claim.json").code == 0


def test_extract_draws_a_code_that_others_read(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("extract", signed, "--png", tmp_path / "code.png")
    assert (said.code, said.out) == (0, f"{MESSAGE}\n")
    assert seen_by_zxing(tmp_path / "code.png") == MESSAGE


@pytest.mark.parametrize("verb", ["extract", "inspect"])
def test_a_picture_may_go_into_a_new_folder(
    verb: str, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    assert ticket_sig(verb, signed, "--png", tmp_path / "new" / "picture.png").code == 0
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["picture.png"]


@pytest.mark.parametrize("verb", ["extract", "inspect"])
def test_a_picture_that_cannot_be_written_is_one_line(verb: str, signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig(verb, signed, "--png", signed / "claim.json" / "picture.png")
    could_not(said, "claim.json")


def test_extract_in_json(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    png = tmp_path / "code.png"
    said = ticket_sig("extract", signed, "--png", png, "--json")
    value = read_json(said)
    assert said.code == 0
    assert (value["message"], value["png"]) == (MESSAGE, str(png))
    assert value["matches"] == value["data_modules"] and value["agreement"] == 1
    assert value["symbols_corrected"] == 0 < value["symbols"]
    assert value["log10_p"] < -6
    assert len(value["module_map"]) == len(value["module_map"][0]) == 29
    assert read_json(ticket_sig("extract", signed, "--json"))["png"] is None


def test_extract_finds_nothing_in_an_innocent_model(
    signed: Path, innocent: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("extract", innocent, "--claim", signed / "claim.json")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("no message can be read") and said.err.count("\n") == 1
    said = ticket_sig("extract", innocent, "--claim", signed / "claim.json", "--json")
    assert said.code == 1 and read_json(said)["message"] is None


# verify


def test_verify_tells_people_what_it_rests_on(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", signed, "--claim", signed / "claim.json")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("verified\n")
    assert said.out.count(MESSAGE) == 2
    assert "p-value" in said.out and "threshold 1.0e-06" in said.out
    assert "\nproves: " in said.out and "\ndoes not prove: " in said.out


def test_verify_in_json(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", signed, "--claim", signed / "claim.json", "--json")
    value = read_json(said)
    assert said.code == 0
    assert (value["verdict"], value["log10_threshold"]) == ("verified", -6)
    assert value["log10_p"] < -6 and float(value["p_value"]) < 1e-6
    assert (value["model"], value["claim"]) == (str(signed), str(signed / "claim.json"))
    evidence = value["evidence"]
    assert evidence["message_equal"] and evidence["claimed_message"] == MESSAGE
    assert evidence["log10_p_uncorrected"] < value["log10_p"]
    assert {"statistic", "proves", "does_not_prove"} <= value.keys()


def test_verify_leaves_with_1_for_an_innocent_model(
    signed: Path, innocent: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("verify", innocent, "--claim", signed / "claim.json")
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith("not verified\n") and "proves: nothing" in said.out
    assert "cannot be read" in said.out
    said = ticket_sig("verify", innocent, "--claim", signed / "claim.json", "--json")
    assert said.code == 1 and read_json(said)["verdict"] == "not verified"


def test_verify_holds_after_pruning(tmp_path: Path, ticket_sig: Command) -> None:
    save(sparse_ticket(rewind=True), tmp_path / "ticket")
    bundle = tmp_path / "signed"
    ticket_sig("embed", tmp_path / "ticket", "--message", MESSAGE, "--out", bundle, "--layer", "a.weight")
    torch.save(prune_ticket(load(bundle).ticket, 0.1).weights, tmp_path / "stolen.pth")
    assert ticket_sig("verify", tmp_path / "stolen.pth", "--claim", bundle / "claim.json").code == 0
    assert (
        ticket_sig("extract", tmp_path / "stolen.pth", "--claim", bundle / "claim.json").out == f"{MESSAGE}\n"
    )


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
    future.write_text(json.dumps({**json.loads(claim.read_text()), "version": 2}))
    could_not(ticket_sig(verb, signed, "--claim", future), "future.json", "version: expected 1, found 2")
    torch.save({"other.weight": sparse(40, 40)}, tmp_path / "other.pt")
    could_not(ticket_sig(verb, tmp_path / "other.pt", "--claim", claim), "layer: expected the claim's")
    layer = json.loads(claim.read_text())["signature"]["placement"]["layer"]
    torch.save({layer: sparse(41, 41, 3, 3)}, tmp_path / "shape.pt")
    could_not(ticket_sig(verb, tmp_path / "shape.pt", "--claim", claim), layer, "found [41, 41, 3, 3]")


def test_an_error_in_json_is_on_stdout_too(tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("verify", tmp_path / "none.pt", "--claim", tmp_path / "none.json", "--json")
    assert said.code == 2
    assert said.err == f"ticket-sig: {read_json(said)['error']}\n"


# inspect


def test_inspect_shows_every_layer(model: Path, ticket_sig: Command) -> None:
    said = ticket_sig("inspect", model)
    assert (said.code, said.err) == (0, "")
    mask = sparse_ticket().mask
    for row in mask.table():
        (line,) = [text for text in said.out.splitlines() if f" {row.name} " in text]
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        assert cells[1:3] == ["x".join(map(str, row.shape)), str(row.kept)]
        assert cells[3] == f"{100 * row.density:.2f}"
    assert f"{mask.kept}" in said.out and "safetensors" in said.out


def test_signing_leaves_the_density_unchanged(model: Path, signed: Path, ticket_sig: Command) -> None:
    before, after = (read_json(ticket_sig("inspect", path, "--json")) for path in (model, signed))
    assert (before["kept"], before["total"], before["density"]) == (
        after["kept"],
        after["total"],
        after["density"],
    )
    assert [(x["name"], x["total"], x["shape"]) for x in before["layers"]] == [
        (x["name"], x["total"], x["shape"]) for x in after["layers"]
    ]
    assert (before["kind"], after["kind"]) == ("safetensors", "bundle")
    assert before["claim"] is None and after["claim"]["signature"]["message"] == MESSAGE
    assert [entry["step"] for entry in after["history"]] == ["sign"]
    mask = sparse_ticket().mask
    for layer, row in zip(before["layers"], mask.table(), strict=True):
        assert layer == {
            "name": row.name,
            "shape": list(row.shape),
            "kept": row.kept,
            "total": row.total,
            "kept_kernels": row.kept_kernels,
            "kernels": row.kernels,
            "density": row.density,
        }


def test_inspect_shows_claim_and_history(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("inspect", signed, "--png", tmp_path / "maps.png")
    assert f"claim: scheme 2: QR code in a kernel map, '{MESSAGE}', signed 20" in said.out
    assert "sign: " in said.out and f"picture: {tmp_path / 'maps.png'}" in said.out
    with Image.open(tmp_path / "maps.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"bias": torch.ones(3)}, id="no layer"),
        pytest.param({"a.weight": torch.ones(0, 4), "bias": torch.ones(3)}, id="an empty layer"),
        pytest.param({"a.weight": torch.zeros(4, 4)}, id="a dead layer"),
    ],
)
def test_inspect_shows_unusual_models(
    weights: dict[str, torch.Tensor], tmp_path: Path, ticket_sig: Command
) -> None:
    torch.save(weights, tmp_path / "unusual.pt")
    assert ticket_sig("inspect", tmp_path / "unusual.pt").code == 0
    assert read_json(ticket_sig("inspect", tmp_path / "unusual.pt", "--json"))["kind"] == "torch"
    said = ticket_sig("inspect", tmp_path / "unusual.pt", "--png", tmp_path / "maps.png")
    assert said.code == 0 or (said.code == 2 and said.err.count("\n") == 1)


def test_embed_with_a_key_gives_the_same_bits(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"secret")
    for name in ("one", "two"):
        assert ticket_sig("embed", model, "--message", "m", "--key", key, "--out", tmp_path / name).code == 0
    for file in ("model.safetensors", "mask.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_claim_cannot_move_the_cursor(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    out = tmp_path / "signed"
    assert ticket_sig("embed", model, "--message", "a\x1b[2Jb", "--out", out).code == 0
    for arguments in (["inspect", out], ["verify", out, "--claim", out / "claim.json"]):
        said = ticket_sig(*arguments)
        assert "\x1b" not in said.out + said.err and said.code == 0


def test_verify_says_whether_this_is_the_file_that_was_signed(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    out = tmp_path / "signed"
    ticket_sig("embed", model, "--message", "m", "--out", out)
    said = ticket_sig("verify", out / "model.safetensors", "--claim", out / "claim.json", "--json")
    assert json.loads(said.out)["evidence"]["model_as_signed"] is True


def test_a_mistake_of_ours_does_not_read_as_not_verified(
    model: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("ticket_sig.formats.load", broken)
    said = ticket_sig("verify", model, "--claim", FIXTURES / "bundle-v1-signed" / "claim.json", "--json")
    assert said.code == 2 and "internal error: RuntimeError: broken" in said.err
    assert json.loads(said.out)["verdict"] == "could not verify"
