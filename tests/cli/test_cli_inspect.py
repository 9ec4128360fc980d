"""Look at a model file from the command line: layers, history and claim, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from support import taught
from support.command_line import Command, read_json
from support.signed import MESSAGE
from support.tickets import sparse_ticket

from ticket_sig import Ticket, embed, load, save
from ticket_sig.marks.key_mask.split import split
from ticket_sig.marks.trained import claim_triggers


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
    (mark,) = after["claim"]["marks"]
    assert before["claim"] is None and mark["fields"]["message"] == MESSAGE
    assert [entry["step"] for entry in after["history"]] == ["sign"]
    for layer, row in zip(before["layers"], sparse_ticket().mask.table(), strict=True):
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
    assert f"claim: qr-code, '{MESSAGE}', signed 20" in said.out
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


def test_inspect_shows_every_mark_of_a_claim(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    whole: Ticket = load(signed).ticket
    parts = split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask}, score="omp")
    save(parts.locked, tmp_path / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
    code = embed(sparse_ticket(), MESSAGE, secret=b"s").claim
    both = claim_triggers(taught.triggers(), code.subject, code)
    save(whole, tmp_path / "both", claim=both.to_json())
    save(whole, tmp_path / "alone", claim=taught.claim().to_json())
    expected = {
        signed: [f"claim: qr-code, '{MESSAGE}', signed"],
        tmp_path / "locked": ["claim: key-mask, ", " weights by omp"],
        tmp_path / "both": [f"claim: qr-code, '{MESSAGE}'", "claim: trigger-set, 100 images of 10 classes"],
        tmp_path / "alone": ["claim: trigger-set, 100 images of 10 classes, from a secret, signed"],
    }
    for bundle, texts in expected.items():
        said = ticket_sig("inspect", bundle, "--png", tmp_path / "maps.png")
        assert said.code == 0, said.err
        assert all(text in said.out for text in texts), said.out
        assert Image.open(tmp_path / "maps.png").width > 300
        shown = read_json(ticket_sig("inspect", bundle, "--json"))["claim"]["marks"]
        assert len(shown) == said.out.count("claim: ")
