"""Read a message out of a model from the command line: it alone on standard output."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
import zxingcpp
from PIL import Image
from support.command_line import Command, could_not, read_json
from support.networks import torch_file
from support.signed import MESSAGE
from support.tickets import sparse_ticket

from ticket_sig import load


def seen_by_zxing(path: Path) -> str:
    with Image.open(path) as picture:
        (found,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    return found.text


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
    could_not(ticket_sig(verb, signed, "--png", signed / "claim.json" / "picture.png"), "claim.json")


def test_extract_in_json(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    png = tmp_path / "code.png"
    said = ticket_sig("extract", signed, "--png", png, "--json")
    value = read_json(said)
    assert said.code == 0
    assert (value["mark"], value["message"], value["png"]) == ("qr-code", MESSAGE, str(png))
    assert value["matches"] == value["data_modules"] and value["agreement"] == 1
    assert value["symbols_corrected"] == 0 < value["symbols"]
    assert value["log10_p"] < -6
    assert len(value["module_map"]) == len(value["module_map"][0]) == 29
    assert read_json(ticket_sig("extract", signed, "--json"))["png"] is None


def test_extract_finds_nothing_in_an_innocent_model(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    torch.save(sparse_ticket(seed=7).weights, tmp_path / "innocent.pt")
    asked = ("extract", tmp_path / "innocent.pt", "--claim", signed / "claim.json")
    said = ticket_sig(*asked)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("no message can be read") and said.err.count("\n") == 1
    said = ticket_sig(*asked, "--json")
    assert said.code == 1 and read_json(said)["message"] is None


def test_a_text_of_bits_is_no_text_in_another_network(tmp_path: Path, ticket_sig: Command) -> None:
    net, marked = torch_file(tmp_path / "net.pt"), tmp_path / "marked"
    text = "longer than a line of a terminal, or than a cell of a table"
    asked = ["--mark", "uchida", "--message", text]
    assert ticket_sig("embed", net, *asked, "--out", marked).code == 0
    assert ticket_sig("extract", marked).out == f"{text}\n"
    verdict = ticket_sig("verify", marked, "--claim", marked / "claim.json")
    assert f"\nmessage: {text}\n" in verdict.out
    said = ticket_sig("extract", net, "--claim", marked / "claim.json")
    assert (said.code, said.out) == (1, "") and said.err.startswith("no message can be read")
    value = read_json(ticket_sig("extract", net, "--claim", marked / "claim.json", "--json"))
    assert (value["message"], len(value["bits"])) == (None, 8 * len(text))
    could_not(
        ticket_sig("extract", marked, "--png", tmp_path / "code.png"),
        "--png: expected a mark that has a picture, found uchida",
    )
