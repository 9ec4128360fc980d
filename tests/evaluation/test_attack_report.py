"""Who won: accuracy and verdict before and after an attack."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from helpers import TinyNet, sparse_ticket, tiny_data, tiny_recipe

from ticket_sig import Mask, Ticket, embed
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.evaluation.attack_report import AttackReport, Decision, attack_report
from ticket_sig.signatures.scheme2 import Embedded
from ticket_sig.signatures.triggers import TriggerSet
from ticket_sig.training import Steps


@pytest.fixture(scope="module")
def signed() -> Embedded:
    return embed(sparse_ticket(), "owner", key=b"k")


@pytest.fixture(scope="module")
def good() -> Ticket:
    """A tiny network that is right most of the time."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = Mask({"c2.weight": weights["c2.weight"] != 0})
    recipe = tiny_recipe(length=Steps(40), lr=0.05)
    raw = Ticket(weights=weights, mask=mask, recipe=recipe.to_json())
    return FineTuning()(raw, Scene(data=tiny_data(), model=TinyNet()))


def decisions(signed: Embedded, *attacked: Ticket) -> tuple[Decision, ...]:
    return tuple(Decision.of(ticket, signed.claim) for ticket in (signed.ticket, *attacked))


def test_accuracies_are_those_of_the_test_split(good: Ticket) -> None:
    scene = Scene(data=tiny_data(), model=TinyNet())
    ruined = attack("random-pruning", rate=0.9)(good, scene)
    report = attack_report(good, ruined, scene)
    before, after = report.accuracy
    assert before == good.history[-1].test and before is not None and before > 60
    assert after is not None and report.lost == before - after > 1
    assert report.pays and report.outcome == f"the thief pays, at {report.lost:.2f} points of accuracy"
    assert report.kept == (good.mask.kept, ruined.mask.kept)


def test_what_is_left_of_a_trigger_set(good: Ticket) -> None:
    data, scene = tiny_data(), Scene(data=tiny_data(), model=TinyNet())
    known = TriggerSet(data.test, data.classes, "", keyed=False)  # as if the test split had been taught
    report = attack_report(good, good, scene, triggers=known)
    assert report.triggers == report.accuracy
    assert attack_report(good, good, scene).triggers == (None, None)
    assert attack_report(good, good, Scene(), triggers=known).triggers == (None, None)


def test_another_task_has_no_accuracy_before(good: Ticket) -> None:
    other = replace(tiny_data(classes=6), name="other")
    scene = Scene(data=other, model=TinyNet(classes=6))
    report = attack_report(good, FineTuning(epochs=1)(good, scene), scene)
    assert report.accuracy[0] is None and report.accuracy[1] is not None
    assert (report.lost, report.pays) == (None, None)


@pytest.mark.parametrize(
    ("lost", "gone", "outcome"),
    [
        (0.5, False, "the owner wins: the claim is still verified"),
        (5.0, False, "the owner wins: the claim is still verified"),
        (0.5, True, "the thief wins, at 0.50 points of accuracy"),
        (1.0, True, "the thief wins, at 1.00 points of accuracy"),
        (5.0, True, "nobody wins: the claim is gone, and the thief pays, at 5.00 points of accuracy"),
        (None, True, "the claim is gone; accuracy was not measured"),
    ],
)
def test_an_attack_wins_if_the_claim_is_gone_and_the_accuracy_is_not(
    lost: float | None, gone: bool, outcome: str, signed: Embedded
) -> None:
    erased = attack("erase")(signed.ticket, Scene(signature=signed.signature))
    before, after = decisions(signed, erased if gone else signed.ticket)
    accuracy = (90.0, None if lost is None else 90.0 - lost)
    report = AttackReport(accuracy=accuracy, kept=(1, 1), total=2, owner=(before, after))
    assert report.outcome == outcome


def test_a_claim_that_was_never_verified_cannot_be_lost(signed: Embedded) -> None:
    innocent = sparse_ticket(seed=9)
    report = attack_report(innocent, innocent, Scene(), claim=signed.claim)
    assert report.outcome == "nothing to win: not verified before the attack"


def test_two_claims_that_both_stand_are_told(signed: Embedded) -> None:
    other = "a.weight" if signed.signature.placement.layer == "b.weight" else "b.weight"
    forged = Overwrite(message="thief", layer=other).forge(signed.ticket, Scene())
    report = attack_report(signed.ticket, forged.ticket, Scene(), claim=signed.claim, forged=forged.claim)
    assert report.outcome.endswith("the thief's own claim is verified, too: the earlier date decides")
    assert report.forged is not None and report.forged.message == "thief"


def test_what_could_not_be_verified_says_why(signed: Embedded) -> None:
    weights = {"a.weight": torch.eye(4)}
    bare = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    report = attack_report(signed.ticket, bare, Scene(), claim=signed.claim)
    assert report.owner is not None
    assert report.owner[1].outcome == "could not verify" and "layer" in report.owner[1].reason
    assert report.outcome == "the claim is gone; accuracy was not measured"


def test_the_report_is_json(signed: Embedded, good: Ticket) -> None:
    erased = attack("erase")(signed.ticket, Scene(signature=signed.signature))
    value = json.loads(
        json.dumps(attack_report(signed.ticket, erased, Scene(), claim=signed.claim).to_json())
    )
    assert value["accuracy"] == {"before": None, "after": None, "lost": None}
    assert value["kept"]["before"] == value["kept"]["after"] == signed.ticket.mask.kept
    assert value["owner"]["before"]["verdict"] == "verified"
    assert value["owner"]["before"]["message"] == "owner"
    assert value["owner"]["after"]["verdict"] == "not verified"
    assert value["thief_pays"] is None and value["forged"] is None
