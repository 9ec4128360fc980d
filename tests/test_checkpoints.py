"""What is shipped in `checkpoints/` is whole, signed as its card says, and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from ticket_sig import load, verify
from ticket_sig.attacks import Scene, attack
from ticket_sig.claim import Claim
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks.secret import Secret

_FOLDER = Path(__file__).parents[1] / "checkpoints"
_BUNDLES = sorted(path.parent for path in _FOLDER.glob("*/ticket.json"))


def test_a_ticket_and_its_dense_parent_are_shipped() -> None:
    assert {bundle.name for bundle in _BUNDLES} >= {"resnet20-cifar10", "resnet20-cifar10-dense"}


@pytest.mark.parametrize("bundle", _BUNDLES, ids=lambda bundle: bundle.name)
def test_a_shipped_bundle_is_whole_and_small(bundle: Path) -> None:
    assert load(bundle).ticket.history[0].test is not None
    assert sum(file.stat().st_size for file in bundle.iterdir()) < 3e6
    assert "| test accuracy (float32) | " in (bundle / "README.md").read_text()


@pytest.mark.parametrize("name", ["resnet20-cifar10", "resnet20-cifar10-extreme", "resnet20-cifar100"])
def test_a_shipped_ticket_is_sparse_and_verified(name: str) -> None:
    loaded = load(_FOLDER / name)
    assert loaded.claim is not None and loaded.ticket.mask.density <= 0.2
    verdict = verify(loaded.ticket, Claim.read(loaded.claim))
    assert verdict.outcome == "verified"
    assert verdict.reading.message == "signature"
    # An innocent network: the dense parent, pruned to as many weights.
    dense = load(_FOLDER / f"{name}-dense").ticket
    rate = 1 - loaded.ticket.mask.density
    assert verify(prune_ticket(dense, rate), Claim.read(loaded.claim)).outcome == "not verified"


def test_the_shipped_ticket_with_three_marks_is_verified_by_each_and_a_permuted_copy_by_one() -> None:
    bundle = _FOLDER / "resnet20-cifar10-spread"
    loaded = load(bundle)
    assert loaded.claim is not None
    claim, secret = Claim.read(loaded.claim), Secret.read(bundle.with_name(f"{bundle.name}.secret"))
    verdict = verify(loaded.ticket, claim, secret=secret)
    assert verdict.outcome == "verified" and verdict.mark == "qr-code + spread + mirror"
    marks = verdict.reading.to_json()["marks"]
    assert [one["verdict"] for one in marks] == ["verified"] * 3
    permuted = attack("permute-channels", rescale=100.0)(loaded.ticket, Scene())
    hidden = verify(permuted, claim, secret=secret)
    marks = hidden.reading.to_json()["marks"]
    assert hidden.verified and [one["verdict"] for one in marks] == [*["not verified"] * 2, "verified"]
    assert verify(load(_FOLDER / "resnet20-cifar10").ticket, claim, secret=secret).outcome == "not verified"
