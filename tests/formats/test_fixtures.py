"""Files that users have, and that older versions wrote, are read; all of them hold the same network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import Outcome
from support.make_fixtures import FIXTURES, LAYER, MESSAGE, make
from torch import Tensor

from ticket_sig import Claim, embed, load, save, verify

Command = Callable[..., Outcome]

CLAIMS = "claims-v1"  # of other networks: tests/verification/test_old_claims.py
MODELS = sorted({path.name for path in FIXTURES.iterdir() if "-mask" not in path.name} - {CLAIMS})
UNSIGNED = [name for name in MODELS if "signed" not in name]
WITH_REWIND = ["bundle-v1", "bundle-v1-signed", "neurips21.pth.tar"]


def truth() -> dict[str, Tensor]:
    """The network as the safetensors library itself reads it."""
    return safetensors.torch.load_file(FIXTURES / "state.safetensors")


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Same names, dtypes and bits."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def no_constants(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the normalisation that the NeurIPS'21 code has in its networks."""
    return {name: t for name, t in weights.items() if not name.startswith("normalize.")}


@pytest.mark.parametrize("name", UNSIGNED)
def test_every_format_reads_as_the_same_network(name: str) -> None:
    ticket = load(FIXTURES / name).ticket
    assert_same(no_constants(dict(ticket.weights)), truth())
    assert list(ticket.mask) == [LAYER]
    assert torch.equal(ticket.mask[LAYER], truth()[LAYER] != 0)


@pytest.mark.parametrize("name", WITH_REWIND)
def test_rewind_weights_are_read_where_a_format_has_them(name: str) -> None:
    rewind = load(FIXTURES / name).ticket.rewind
    assert rewind is not None
    assert rewind.keys() >= truth().keys()
    assert rewind[LAYER].all()
    known = load(FIXTURES / "bundle-v1").ticket.rewind
    assert known is not None
    if "signed" not in name:
        assert_same(no_constants(dict(rewind)), dict(known))


def test_masks_alone_are_a_network_of_ones_and_zeros() -> None:
    ticket = load(FIXTURES / "neurips21-mask.pth.tar").ticket
    assert list(ticket.weights) == list(ticket.mask) == [LAYER]
    assert torch.equal(ticket.mask[LAYER], truth()[LAYER] != 0)
    assert torch.equal(ticket.weights[LAYER] != 0, ticket.mask[LAYER])


def test_a_bundle_of_version_1_keeps_its_recipe_and_history() -> None:
    ticket = load(FIXTURES / "bundle-v1").ticket
    assert ticket.recipe is not None
    assert (ticket.recipe["arch"], ticket.recipe["dataset"], ticket.recipe["rounds"]) == (
        "resnet20",
        "digits",
        1,
    )
    dense, pruned = ticket.history
    assert (dense.step, dense.density, dense.test) == ("dense", 1.0, 11.5)
    assert (pruned.step, pruned.kept, pruned.rate, pruned.winning, pruned.accepted) == (
        "prune",
        581,
        0.7,
        True,
        True,
    )
    assert ticket.pruning_rates() == {0.7: 1}


def test_a_signed_bundle_of_version_1_verifies(ticket_sig: Command) -> None:
    signed = FIXTURES / "bundle-v1-signed"
    assert ticket_sig("extract", signed).out == f"{MESSAGE}\n"
    assert ticket_sig("verify", signed, "--claim", signed / "claim.json").code == 0
    assert (
        ticket_sig("extract", signed / "model.safetensors", "--claim", signed / "claim.json").out
        == f"{MESSAGE}\n"
    )


@pytest.mark.parametrize("name", [name for name in UNSIGNED if name != "bundle-v1"])
def test_no_unsigned_file_verifies(name: str) -> None:
    claim = Claim.read(FIXTURES / "bundle-v1-signed" / "claim.json")
    assert not verify(load(FIXTURES / name).ticket, claim).verified


@pytest.mark.parametrize("name", [*UNSIGNED, "neurips21-mask.pth.tar"])
def test_every_format_can_be_signed(name: str, tmp_path: Path) -> None:
    loaded = load(FIXTURES / name).ticket
    embedded = embed(loaded, MESSAGE)
    bundle = save(embedded.ticket, tmp_path / "signed", claim=embedded.claim.to_json())
    plain = safetensors.torch.load_file(bundle / "model.safetensors")
    assert {n: t.shape for n, t in plain.items()} == {n: t.shape for n, t in loaded.weights.items()}
    assert int(torch.count_nonzero(plain[LAYER])) == 581
    assert verify(load(bundle / "model.safetensors").ticket, Claim.read(bundle / "claim.json")).verified


def test_the_ending_of_a_name_says_nothing(tmp_path: Path) -> None:
    for name in ("state.safetensors", "state.pt", "state-legacy.pt"):
        shutil.copy(FIXTURES / name, tmp_path / "model.bin")
        assert_same(dict(load(tmp_path / "model.bin").ticket.weights), truth())


def test_the_script_makes_every_fixture_and_leaves_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"of an older version")
    made = {path.name for path in make(tmp_path)}
    assert made | {"state.pt", CLAIMS} == {path.name for path in FIXTURES.iterdir()}
    assert (tmp_path / "state.pt").read_bytes() == b"of an older version"
    assert make(tmp_path) == []


def test_fixtures_stay_small() -> None:
    assert max(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()) < 60_000
