"""The papers' own programs: ours beside them run, and their checkpoints are read as they are."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zxingcpp
from PIL import Image
from support.command_line import Outcome, read_json
from support.documents import ROOT
from support.make_fixtures import FIXTURES, LAYER
from support.reference_code import COLUMN, MASKED, ROW, unwritten, write_checkpoint
from support.user_net import UserNet

from ticket_sig import find, load
from ticket_sig.datasets import load_dataset
from ticket_sig.formats.layouts import is_constant
from ticket_sig.marks.qr_code import qr
from ticket_sig.training import Steps, preset

Command = Callable[..., Outcome]

TICKET, SIGNED = "res20s_cifar10_extreme.pth.tar", "res20s_cifar10_lt_qr/checkpoint.pth.tar"
# A command of the page at its smallest: in place of words of it, and after its verb.
SMOKE = {
    "--dataset cifar10": "--dataset digits",
    " --data DATA/cifar10": "",
    "--preset paper": "--preset demo",
    "--rounds 14": "--rounds 1",
    "--every 100": "--every 4",
    "--modifications all": "--modifications quantization=8",
}
SHORT = {
    "find": "--epochs 1",
    "train": "--epochs 1",
    "evaluate": "--epochs 1 --further 1 --models 1 --payloads 1",
}


def commands_of_the_page() -> list[str]:
    """Ours in the tables of docs/reference-code.md, in order."""
    page = (ROOT / "docs" / "reference-code.md").read_text(encoding="utf-8")
    return [
        found
        for line in page.splitlines()
        if line.startswith("|")
        for found in re.findall(r"`ticket-sig (.*?)`", line)
    ]


def at_its_smallest(command: str) -> list[str]:
    """The words of a command of the page, on digits and one epoch."""
    for words, others in SMOKE.items():
        command = command.replace(words, others)
    verb, _, rest = command.partition(" ")
    return shlex.split(f"{verb} {rest} {SHORT.get(verb, '')}")


@pytest.mark.slow
def test_every_command_beside_one_of_the_papers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticket_sig: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path(TICKET), signed=False)
    write_checkpoint(Path(SIGNED), signed=True)
    shutil.copytree(FIXTURES / "claims-v1" / "trigger-folder", "data/trigger_set")
    commands = commands_of_the_page()
    assert len(commands) >= 19 and {"find", "split", "embed", "extract", "audit", "evaluate"} <= {
        one.split()[0] for one in commands
    }
    for command in commands:
        said = ticket_sig(*at_its_smallest(command))
        assert said.code == 0, f"{command}\n{said.out}{said.err}"


def test_their_code_is_read_at_its_place_and_found_without_it(tmp_path: Path, ticket_sig: Command) -> None:
    checkpoint, png = tmp_path / "checkpoint.pth.tar", tmp_path / "code.png"
    masks = write_checkpoint(checkpoint, signed=True)
    assert (
        unwritten() & qr.encode("signature", 3, "H")[0].data
    ).sum() == 16  # as docs/reference-code.md says
    form = ("--version", 3, "--level", "H")
    said = ticket_sig("extract", checkpoint, "--place", f"{MASKED}:{ROW}:{COLUMN}", *form, "--png", png)
    assert (said.code, said.out) == (0, "signature\n")
    where, proves = said.err.splitlines()
    assert where.startswith(f"{MASKED}.weight, row {ROW}, column {COLUMN}: version 3, level H, data mask ")
    assert proves.startswith("a message read without a claim proves nothing by itself")
    with Image.open(png) as picture:
        assert [one.text for one in zxingcpp.read_barcodes(picture)] == ["signature"]
    torch.save(masks, tmp_path / "masks.pth.tar")  # what `embed_res20s_cifar10.py` saves
    assert ticket_sig("extract", tmp_path / "masks.pth.tar", "--search", *form).out == "signature\n"
    value = read_json(ticket_sig("extract", checkpoint, "--search", *form, "--json"))
    assert (value["mark"], value["message"], value["proves"], value["png"]) == (
        "qr-code",
        "signature",
        "nothing",
        None,
    )
    (found,) = value["found"]
    assert found["placement"] == {"layer": f"{MASKED}.weight", "row": ROW, "column": COLUMN}
    assert 0 < found["symbols_corrected"] < 16 and len(found["module_map"]) == 29


def test_a_checkpoint_of_theirs_is_signed_and_read_without_a_claim(
    tmp_path: Path, ticket_sig: Command
) -> None:
    write_checkpoint(tmp_path / "ticket.pth.tar", signed=False)
    out, form = tmp_path / "signed", ("--version", 3, "--level", "H")
    assert ticket_sig("extract", tmp_path / "ticket.pth.tar", "--search", *form).code == 1
    said = ticket_sig("embed", tmp_path / "ticket.pth.tar", "--message", "signature", *form, "--out", out)
    assert said.code == 0, said.err
    assert ticket_sig("extract", out).out == "signature\n"
    assert ticket_sig("extract", out / "model.safetensors", "--search", *form).out == "signature\n"


def test_a_search_begins_where_their_checkpoint_did(tmp_path: Path) -> None:
    theirs = load(FIXTURES / "neurips21.pth.tar").ticket
    assert theirs.rewind is not None
    initial = {name: t for name, t in theirs.rewind.items() if not is_constant(name)}
    net = UserNet()
    net.load_state_dict(initial)
    recipe = preset("demo", arch="UserNet", dataset="digits", length=Steps(1), rewind=Steps(0), rounds=1)
    ticket = find(recipe, load_dataset("digits"), tmp_path / "run", model=net)
    assert ticket.rewind is not None and LAYER in ticket.mask
    assert all(torch.equal(ticket.rewind[name], t) for name, t in initial.items())
