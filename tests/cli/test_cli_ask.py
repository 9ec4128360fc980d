"""Make triggers, ask a network for labels, and judge its answers, from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import taught
from support.command_line import Command, could_not, next_commands
from support.fake_server import fake_server
from support.tickets import sparse_ticket

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.files import write_json
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import read_triggers


@pytest.fixture
def shown(tmp_path: Path) -> list[object]:
    """The options that show the claim and its triggers."""
    return taught.shown_in(tmp_path)


# triggers


def test_triggers_writes_a_secret_that_only_its_owner_can_read(tmp_path: Path, ticket_sig: Command) -> None:
    out, png = tmp_path / "triggers.json", tmp_path / "sheet.png"
    said = ticket_sig("triggers", "--dataset", "digits", "--out", out, "--png", png)
    assert (said.code, said.err) == (0, "")
    assert "100 images of 8 x 8 x 1, 10 classes" in said.out and "from 53 answers" in said.out
    assert out.stat().st_mode & 0o777 == png.stat().st_mode & 0o777 == 0o600
    assert len(read_triggers(out, (8, 8, 1), 10)) == 100
    with Image.open(png) as sheet:
        assert sheet.size[0] >= 10 * 64
    assert json.loads(out.read_text())["secret"] not in said.out
    could_not(ticket_sig("triggers", "--dataset", "digits", "--out", out), "triggers.json", "not taken yet")


def test_triggers_of_any_size(tmp_path: Path, ticket_sig: Command) -> None:
    size = ["--size", 16, 12, 3, "--classes", 7, "--count", 60]
    said = ticket_sig("triggers", *size, "--out", tmp_path / "t.json", "--json")
    made = json.loads(said.out)
    triggers = read_triggers(tmp_path / "t.json", (16, 12, 3), 7)
    assert (len(triggers), triggers.commitment) == (60, made["commitment"])
    assert made["needed"] < 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "images"], "images: expected --dataset, or --size H W C and --classes N"),
        (["--size", 8, 8, 1], "images: expected --dataset, or --size H W C and --classes N"),
        (["--dataset", "mnist"], "dataset: expected one of digits"),
        (["--dataset", "digits", "--count", 0], "triggers: count: expected 1 to 100000, found 0"),
        (["--dataset", "digits", "--count", 20], "count: expected enough to verify, found 20 of 10 classes"),
        (["--size", 8, 8, 9, "--classes", 4], "triggers: size: expected sides"),
        (["--size", 8, 8, 1, "--classes", 1], "triggers: classes: expected 2 to"),
    ],
)
def test_triggers_that_could_never_serve(
    arguments: list[object], words: str, tmp_path: Path, ticket_sig: Command
) -> None:
    could_not(ticket_sig("triggers", *arguments, "--out", tmp_path / "t.json"), words)
    assert list(tmp_path.iterdir()) == []


# queries and ask --answers


def test_pictures_are_handed_over_and_their_answers_judged(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ("queries", *shown, "--decoys", 100)
    told = ticket_sig(*asked, "--out", tmp_path / "by hand")
    said = ticket_sig(*asked, "--out", tmp_path / "out", "--json")
    assert json.loads(said.out)["count"] == 200
    pictures = sorted(Path(json.loads(said.out)["pictures"]).iterdir())
    pixels = np.stack([np.array(Image.open(picture)) for picture in pictures])[..., None]
    for right, code in ((1.0, 0), (0.0, 1)):
        labels = taught.memoriser(right)(pixels)
        lines = [f"{picture.name},{label}" for picture, label in zip(pictures, labels, strict=True)]
        (tmp_path / "answers.csv").write_text("\n".join(lines))
        asked = ["--answers", tmp_path / "answers.csv", "--queries", json.loads(said.out)["queries"]]
        verdict = ticket_sig("ask", *shown, *asked)
        assert verdict.code == code
        matches = re.search(r"(\d+) of 100 triggers", verdict.out)
        assert matches and (int(matches[1]) == 100) is (code == 0)
    (command,) = next_commands(told.out, **{"TABLE.csv": tmp_path / "answers.csv"})
    assert ticket_sig(*command).code == 1, "no trigger is answered as claimed"


# ask


@pytest.mark.parametrize(("known", "code"), [(True, 0), (False, 1)])
def test_a_model_file_is_asked_as_a_black_box(
    known: bool, code: int, shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    bundle = taught.write_bundle(tmp_path / "bundle", taught=known)
    said = ticket_sig("ask", bundle, *shown)
    assert said.code == code
    assert said.out.startswith("verified\n" if known else "not verified\n")
    left = "who taught them" if known else "that the network is innocent"
    assert f"does not prove: {left}" in said.out and "10^19.3" in said.out
    weights = bundle / "model.safetensors"
    could_not(
        ticket_sig("ask", weights, *shown),
        "the names of network and data set, too, found none; name them: --arch,",
    )
    named = ticket_sig("ask", weights, *shown, "--arch", "resnet20", "--dataset", "digits", "--json")
    assert named.code == code and json.loads(named.out)["model"] == str(weights)


def test_a_network_of_this_machine_may_be_sparse(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    whole = load(taught.write_bundle(tmp_path / "whole", taught=True)).ticket
    weights = {n: torch.where(w.abs() < 0.01, 0, w) if w.ndim == 4 else w for n, w in whole.weights.items()}
    pruned = Ticket(weights=weights, mask=Mask.of_zeros(weights), recipe=whole.recipe)
    save(pruned, tmp_path / "pruned")
    dense, sparse = (ticket_sig("ask", tmp_path / "pruned", *shown, *how) for how in ([], ["--sparse", "on"]))
    assert (dense.code, sparse.code, dense.err) == (0, 0, "")
    assert "sparse layers: 19" in sparse.err
    answered = [re.search(r"(\d+) of 100 triggers", said.out) for said in (dense, sparse)]
    assert answered[0] and answered[1] and answered[0][1] == answered[1][1]
    could_not(ticket_sig("ask", tmp_path / "pruned", *shown, "--sparse", "yes"), "--sparse: expected one of")


def test_a_server_is_asked_with_a_token_that_is_not_on_the_command_line(
    shown: list[object], ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_TOKEN", "t0ken")
    with fake_server() as server:
        server.metadata["inputs"][0] |= {"datatype": "FP32", "shape": [-1, 1, 8, 8]}
        server.to_pixels = lambda tensor: ((tensor * 0.3757 + 0.3054) * 255).round().astype(np.uint8)
        asked = ["--url", server.url, "--model", "mine", "--dataset", "digits", "--token-env", "OUR_TOKEN"]
        said = ticket_sig("ask", *asked, *shown, "--rate", 1000, "--batch", 50, "--timeout", 5)
    assert said.code == 0 and "t0ken" not in said.out + said.err
    assert {headers["Authorization"] for _, _, headers, _ in server.requests} == {"Bearer t0ken"}
    assert len(server.asked) == 8 + 8, "triggers and decoys, and the test split of digits"
    assert "fidelity: " in said.out and "% test accuracy; the claim promises none" in said.out


def test_a_server_that_is_asked_twice_sees_the_same_images(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    """What two askings with other decoys have in common would be the trigger set."""
    record = tmp_path / "record.json"
    sent = []
    with fake_server() as server:
        asked = ["--url", server.url, "--model", "mine", "--batch", 400, *shown]
        for more in (["--queries", record], ["--queries", record, "--decoys", 100], []):
            server.requests.clear()
            said = ticket_sig("ask", *asked, *more, "--json")
            assert said.code == 0, said.err
            sent.append(server.asked[0]["inputs"][0]["data"])
            nonce = json.loads(record.read_text())["nonce"]
            assert nonce not in said.out
    assert sent[0] == sent[1] != sent[2]
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_record_serves_a_model_file_too(shown: list[object], tmp_path: Path, ticket_sig: Command) -> None:
    bundle, record = taught.write_bundle(tmp_path / "bundle", taught=True), tmp_path / "record.json"
    said = [ticket_sig("ask", bundle, *shown, "--queries", record, "--json") for _ in range(2)]
    first, again = (json.loads(one.out)["evidence"] for one in said)
    assert first == again
    record.write_text("{}")
    could_not(ticket_sig("ask", bundle, *shown, "--queries", record), "queries: format: expected")


@pytest.fixture
def chosen(tmp_path: Path) -> list[object]:
    """A claim of a folder: the pictures and labels of the taught network's triggers, chosen by somebody."""
    (tmp_path / "folder" / "pics").mkdir(parents=True)
    split = taught.triggers().split
    for number, pixels in enumerate(split.images.numpy(), 1):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "folder" / "pics" / f"{number}.png")
    (tmp_path / "folder" / "labels.txt").write_text("\n".join(map(str, split.labels.tolist())))
    triggers = read_triggers(tmp_path / "folder", (8, 8, 1), 10)
    write_json(tmp_path / "claim.json", claim_triggers(triggers, "sha256:none").to_json())
    return ["--claim", tmp_path / "claim.json", "--triggers", tmp_path / "folder"]


def test_chosen_triggers_need_a_control_network(
    chosen: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    ours = taught.write_bundle(tmp_path / "ours", taught=True)
    other = taught.write_bundle(tmp_path / "other", taught=False)
    could_not(ticket_sig("ask", ours, *chosen), "chosen triggers need a control network: --control MODEL")
    said = ticket_sig("ask", ours, *chosen, "--control", other)
    assert said.code == 0 and "beside the best control" in said.out, said.err
    assert "dated before the suspect" in said.out
    said = ticket_sig("ask", ours, *chosen, "--control", other, "--control", ours, "--json")
    assert said.code == 1 and json.loads(said.out)["evidence"]["control_matches"][1] > 90
    could_not(ticket_sig("ask", ours, *chosen, "--control", tmp_path / "gone"), "gone: model: expected")


def test_a_server_and_answers_by_hand_are_held_against_controls_too(
    chosen: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    control = ["--control", taught.write_bundle(tmp_path / "other", taught=False)]
    with fake_server() as server:
        asked = ["--url", server.url, "--model", "mine", *chosen]
        could_not(ticket_sig("ask", *asked), "chosen triggers need a control network")
        assert server.requests == []
        assert ticket_sig("ask", *asked, *control).code == 0
    assert ticket_sig("queries", *chosen, "--out", tmp_path / "out", "--decoys", 100).code == 0
    (tmp_path / "answers.csv").write_text("".join(f"{number:04d}.png,0\n" for number in range(1, 201)))
    asked = ["--answers", tmp_path / "answers.csv", "--queries", tmp_path / "out" / "queries.json", *chosen]
    could_not(ticket_sig("ask", *asked), "chosen triggers need a control network")
    assert ticket_sig("ask", *asked, *control).code == 1


def test_accuracy_is_measured_on_the_data_set_of_the_recipe(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    bundle = taught.write_bundle(tmp_path / "bundle", taught=True)
    assert json.loads(ticket_sig("ask", bundle, *shown, "--json").out)["fidelity"] is None
    said = ticket_sig("ask", bundle, *shown, "--dataset", "digits", "--json")
    assert 0 < json.loads(said.out)["fidelity"]["accuracy"] < 100
    said = ticket_sig("ask", bundle, *shown, "--data", tmp_path)
    could_not(said, "--data: expected no folder for digits")  # which the recipe names
    asked = ["--url", "http://127.0.0.1:1", "--model", "m", "--data", tmp_path]
    could_not(ticket_sig("ask", *asked, *shown), "--data: expected the name of the data set, too, found none")
    asked = ["--answers", tmp_path / "a.csv", "--data", tmp_path]
    could_not(ticket_sig("ask", *asked, *shown), "--data: expected a suspect that can be asked about them")


def test_a_claim_without_a_trigger_set_is_refused(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    signed = embed(sparse_ticket(), "owner", secret=b"s")
    save(signed.ticket, tmp_path / "signed", claim=signed.claim.to_json())
    asked = ["ask", tmp_path / "signed", "--claim", tmp_path / "signed" / "claim.json", *shown[2:]]
    could_not(ticket_sig(*asked), "claim.json: claim: marks: expected 'trigger-set', found 'qr-code'")
    # A key is shown to `verify`.
    for option in ("--key", "--locked"):
        could_not(ticket_sig("ask", tmp_path / "signed", *shown, option, "k"), f"No such option: {option}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "suspect: expected one of a model, --url and --answers, found none"),
        (["M", "--url", "http://127.0.0.1:1", "--model", "m"], "found a model and --url"),
        (["--url", "http://127.0.0.1:1"], "--model: expected the model's name on the server, found none"),
        (
            ["--answers", "a.csv"],
            "--queries: expected a path, found none; the record that `ticket-sig queries --out DIR` wrote",
        ),
        (["--url", "http://127.0.0.1:1", "--model", "m", "--token-env", "UNSET_"], "--token-env: expected"),
        (["--url", "http://127.0.0.1:1", "--model", "m", "--decoys", 9], "decoys: expected 100 to 100000"),
        (["--url", "http://127.0.0.1:1", "--model", "m", "--retries", 0], "m: server: expected an answer"),
        (["M"], "M: model: expected a bundle, "),
        (["--url", "U", "--model", "m", "--sparse", "on"], "--sparse: expected a model or a control to ask"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(
    arguments: list[object], words: str, shown: list[object], ticket_sig: Command
) -> None:
    could_not(ticket_sig("ask", *arguments, *shown), words)


def test_the_secret_is_asked_for_where_the_claim_needs_it(
    shown: list[object], tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ["--url", "http://127.0.0.1:1", "--model", "m"]
    could_not(
        ticket_sig("ask", *asked, *shown[:2]), "--triggers: expected a path", "does not hold the secret"
    )
    secret = json.loads((tmp_path / "triggers.json").read_text())
    write_json(tmp_path / "triggers.json", {**secret, "secret": "0" * 64})
    could_not(ticket_sig("ask", *asked, *shown), "commitment: expected the claim's")
