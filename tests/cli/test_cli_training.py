"""Find, train, data and demo from the command line, on real digits; the accuracy is not the point here."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import zxingcpp
from PIL import Image
from support.command_line import FIND, Command, could_not, next_commands, read_json

from ticket_sig import load
from ticket_sig.datasets import load_dataset
from ticket_sig.training import PRESETS, Steps
from ticket_sig.training.evaluate import weights_accuracy


def test_find_leaves_a_bundle(digits_run: Path) -> None:
    ticket = load(digits_run / "ticket").ticket
    assert ticket.mask.density == 0.5
    assert [entry.step for entry in ticket.history] == ["dense", "prune"]
    assert ticket.rewind is not None
    ticket.mask.check(ticket.weights)


def test_find_again_goes_on_from_where_it_was(digits_run: Path, ticket_sig: Command) -> None:
    before = (digits_run / "ticket" / "model.safetensors").read_bytes()
    said = ticket_sig(*FIND, "--out", digits_run)
    assert said.code == 0
    rows = [line.strip("│").split("│") for line in said.out.splitlines() if line.startswith("│")]
    assert [(row[0].strip(), row[1].strip(), row[2].strip()) for row in rows] == [
        ("dense", "", "100.00"),
        ("prune", "0.5", "50.00"),
    ]
    assert f"ticket: {digits_run / 'ticket'}\n" in said.out and "next: ticket-sig embed" in said.out
    assert "resnet20 on digits" in said.out
    assert (digits_run / "ticket" / "model.safetensors").read_bytes() == before


def test_find_in_json(digits_run: Path, ticket_sig: Command) -> None:
    value = read_json(ticket_sig(*FIND, "--out", digits_run, "--json"))
    assert (value["ticket"], value["density"]) == (str(digits_run / "ticket"), 0.5)
    assert value["pruning_rates"] == {"0.5": 1}
    dense, pruned = value["history"]
    assert dense["step"] == "dense" and 0 <= dense["test"] <= 100
    assert pruned["winning"] in (True, False) and pruned["epochs"] == 1
    assert pruned["made_with"]["torch"] == torch.__version__


def test_find_does_not_mix_two_runs(digits_run: Path, ticket_sig: Command) -> None:
    said = ticket_sig(*FIND, "--seed", 5, "--out", digits_run)
    assert said.code == 2 and said.err.count("\n") == 1
    assert "seed" in said.err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_find_can_be_stopped_and_says_so(ending: signal.Signals, tmp_path: Path) -> None:
    # Where the tests run in the background, Ctrl-C is switched off for them and their children.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from ticket_sig.cli.app import main; main()"
    command = [sys.executable, "-c", code, "find", "--preset", "demo"]
    out = tmp_path / "run"
    running = subprocess.Popen(
        [*command, "--epochs", "500", "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 150  # a machine may be busy
    while not (out / "levels" / "00" / "mask.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(ending)
    _, said = running.communicate(timeout=150)
    assert running.returncode == 130
    assert "stopped" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arch", "lenet"], "arch: expected one of resnet20"),
        (["--dataset", "mnist"], "dataset: expected one of digits"),
        (["--preset", "slow"], "preset: expected one of paper"),
        (["--dataset", "cifar10"], "--data: expected the folder of cifar10"),
        (["--density", "1.5"], "density: expected between 0 and 1, found 1.5"),
        (["--rounds", "1", "--density", "0.5"], "rounds: expected"),
        (["--rate", "0"], "rates: expected"),
        (["--scope", "local"], "scope: expected"),
        (["--device", "abacus"], "device"),
        (["--precision", "int4"], "precision"),
    ],
)
def test_find_refuses_what_it_cannot_do(
    options: list[str], words: str, tmp_path: Path, ticket_sig: Command
) -> None:
    could_not(ticket_sig("find", "--out", tmp_path / "run", *options), words)
    assert not (tmp_path / "run" / "ticket").exists()


def test_a_signed_ticket_is_trained_and_still_signed(
    digits_run: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    signed, trained = tmp_path / "signed", tmp_path / "trained"
    found = ticket_sig(*FIND, "--out", digits_run)
    (embed,) = next_commands(found.out, TEXT="mine", SIGNED=signed)
    train, _ = next_commands(ticket_sig(*embed).out, TRAINED=trained)
    assert train == ["train", str(signed), "--out", str(trained)], "digits need no folder"
    said = ticket_sig(*train)
    assert said.code == 0, said.err
    assert "before: " in said.out and "after: " in said.out and "50.00 % kept" in said.out
    assert f"bundle: {trained}\n" in said.out
    (verify,) = next_commands(said.out)
    assert ticket_sig(*verify).code == 0
    assert {p.name for p in tmp_path.iterdir()} >= {"signed", "trained"}
    assert not (tmp_path / "trained.run").exists()
    assert ticket_sig("extract", trained).out == "mine\n"
    assert ticket_sig("verify", trained, "--claim", signed / "claim.json").code == 0
    history = read_json(ticket_sig("inspect", trained, "--json"))["history"]
    assert [entry["step"] for entry in history] == ["dense", "prune", "sign", "train"]
    assert len({entry["kept"] for entry in history[1:]}) == 1
    shown = ticket_sig("inspect", trained).out
    assert "pruned 1 time" in shown and "train: 50.00 % kept, " in shown

    refused = ticket_sig("train", signed, "--out", trained)
    assert refused.code == 2 and "--force" in refused.err
    value = read_json(ticket_sig("train", signed, "--out", trained, "--force", "--seed", 3, "--json"))
    assert value["bundle"] == str(trained)
    marked = load(signed).ticket
    now = weights_accuracy(
        marked.weights, "resnet20", load_dataset("digits"), precision=marked.recipe["precision"]
    )
    assert (value["before"]["test"], value["after"]["step"]) == (now, "train"), "not that of an earlier step"
    assert load(trained).ticket.recipe["seed"] == 3


def test_a_bare_model_is_trained_with_what_the_command_line_says(
    digits_run: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    bare, out = tmp_path / "bare.pt", tmp_path / "out"
    torch.save(load(digits_run / "ticket").ticket.weights, bare)
    said = ticket_sig("train", bare, "--out", out)
    assert said.code == 2 and "--arch and --dataset" in said.err
    known = ["--arch", "resnet20", "--dataset", "digits", "--epochs", "1"]
    said = ticket_sig("train", bare, "--out", out, *known)
    assert said.code == 2 and "rewind weights" in said.err and "--start model" in said.err
    value = read_json(ticket_sig("train", bare, "--out", out, *known, "--start", "model", "--json"))
    assert 0 < value["before"]["test"] < 100 and value["after"]["step"] == "train"
    made = load(out).ticket
    assert made.mask == load(bare).ticket.mask
    assert made.recipe["lr"] == PRESETS["demo"]["lr"], "the preset that `find` takes for digits"
    said = ticket_sig("train", bare, "--out", tmp_path / "other", *known, "--start", "somewhere")
    assert said.code == 2 and "start: expected one of rewind, model" in said.err


# demo


@pytest.fixture
def short_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch in place of the preset's; all else is the demo's own."""
    monkeypatch.setitem(PRESETS, "demo", {**PRESETS["demo"], "length": Steps(1)})


def test_the_demo_walks_the_whole_path(short_demo: None, tmp_path: Path, ticket_sig: Command) -> None:
    folder = tmp_path / "demo"
    said = ticket_sig("demo", "--message", "this [network] is mine", "--density", 0.5, "--out", folder)
    assert said.code == 0, said.err
    stood = " verified, p = "
    _, signed, pruned, permuted = said.out.partition("\ntest accuracy")[0].split("\n   qr-code:")
    for step in (signed, pruned):
        assert step.count(stood) == 3 and step.count("; message: this [network] is mine\n") == 3
    *hidden, mirror, together = (line for line in permuted.splitlines() if line.startswith((" ", "   ")))
    assert [line.partition(",")[0].strip() for line in hidden] == ["not verified", "spread: not verified"]
    assert f"mirror:{stood}" in mirror and mirror.endswith("; message: this [network] is mine")
    assert together == "   the claim: verified"
    assert "test accuracy: dense " in said.out and "weights before signing" in said.out
    pictures = [Path(line.removeprefix("picture: ")) for line in said.out.splitlines() if "picture: " in line]
    assert len(pictures) == 4
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
    with Image.open(folder / "qr_code.png") as picture:
        (found,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    assert found.text == "this [network] is mine"
    assert ticket_sig("extract", folder / "signed").out == "this [network] is mine\n"
    (following,) = next_commands(said.out)
    assert Path(following[following.index("--reference") + 1]) == folder / "signed" / "reference.safetensors"
    copy = ticket_sig(*following)  # verified in the mirror code alone
    assert copy.code == 0 and copy.out.count("not verified") == 2
    assert (folder / "demo.secret").stat().st_mode & 0o777 == 0o600

    # Again, with what is there: the training is not done twice.
    value = read_json(ticket_sig("demo", "--message", "another", "--density", 0.5, "--out", folder, "--json"))
    assert value["bundle"] == str(folder / "signed")
    assert [value["checks"][name]["verdict"] for name in ("signed", "pruned", "permuted")] == ["verified"] * 3
    assert value["checks"]["pruned"]["evidence"]["marks"][0]["evidence"]["claimed_message"] == "another"
    assert all(Path(path).is_file() for path in value["pictures"])
    assert value["history"][-1]["step"] == "train"


def test_the_demo_refuses_a_message_that_no_mark_holds_before_it_trains(
    tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("demo", "--message", "x" * 65, "--out", tmp_path / "demo")
    could_not(said, "message: expected 1 to 64 bytes in UTF-8, found 65")
    assert not (tmp_path / "demo").exists()


# data


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A loopback server with a small archive; its address."""
    folder = tmp_path / "www"
    folder.mkdir()
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/cifar.tar.gz"
        server.shutdown()
        thread.join()


def test_data_is_fetched_from_a_mirror(mirror: str, tmp_path: Path, ticket_sig: Command) -> None:
    md5 = hashlib.md5((tmp_path / "www" / "cifar.tar.gz").read_bytes(), usedforsecurity=False).hexdigest()
    call = ["data", "cifar10", "--out", tmp_path / "data", "--url", mirror]
    said = ticket_sig(*call)
    could_not(said, "md5")
    said = ticket_sig(*call, "--md5", md5)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    assert said.code == 0 and (folder / "data_batch_1").read_bytes() == b"abc"
    assert f"cifar10: {folder}\n" in said.out
    assert next_commands(said.out) == [
        ["find", "--dataset", "cifar10", "--data", str(folder), "--out", "RUN"]
    ]
    assert read_json(ticket_sig(*call, "--json")) == {"dataset": "cifar10", "data": str(folder)}


def test_data_that_is_not_to_be_had(tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("data", "digits", "--out", tmp_path)
    assert said.code == 2 and "cifar10, cifar100" in said.err


def test_train_keeps_the_precision_of_the_bundle(
    digits_run: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    recipe = json.loads((digits_run / "ticket" / "ticket.json").read_text())["recipe"]
    other = "float32" if recipe["precision"] == "bf16" else "bf16"
    arguments = ["train", digits_run / "ticket", "--out", tmp_path / "one", "--precision", other]
    assert ticket_sig(*arguments).code == 0
    assert ticket_sig("train", tmp_path / "one", "--out", tmp_path / "two").code == 0
    assert load(tmp_path / "two").ticket.recipe["precision"] == other  # type: ignore[index]
