"""Who won: accuracy and verdict before and after an attack."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from support import taught
from support.tickets import digits_ticket, sparse_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig import Claim, Mask, Ticket, embed, verify
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.attacks.report import AttackReport, Winner, attack_report, in_words
from ticket_sig.attacks.trial import Decision, Tried
from ticket_sig.datasets import load_dataset
from ticket_sig.marks import CodeMark, claim_of, marks_of, of_kind
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.key_mask.split import Split, split
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.folder import PLAIN
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.training import Steps, preset
from ticket_sig.verification.ask import verify_answers


@pytest.fixture(scope="module")
def signed() -> Embedded:
    return embed(sparse_ticket(), "owner", secret=b"k")


def code(signed: Embedded) -> CodeMark:
    return of_kind(CodeMark, signed.claim)


def without_code(ticket: Ticket, signed: Embedded) -> Ticket:
    return attack("erase")(ticket, Scene(place=code(signed)))


@pytest.fixture(scope="module")
def good() -> Ticket:
    """A tiny network that is right most of the time."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = Mask({"c2.weight": weights["c2.weight"] != 0})
    recipe = tiny_recipe(length=Steps(40), lr=0.05)
    raw = Ticket(weights=weights, mask=mask, recipe=recipe.to_json())
    return FineTuning()(raw, Scene(data=tiny_data(), model=TinyNet()))


def tried(signed: Embedded, attacked: Ticket) -> Tried:
    before, after = (Decision(verify(ticket, signed.claim)) for ticket in (signed.ticket, attacked))
    return Tried(before, after)


def outcomes(report: AttackReport, mark: str) -> tuple[str, str]:
    return report.marks[mark].before.outcome, report.marks[mark].after.outcome


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
        (0.5, False, "the owner wins: the qr-code is still verified"),
        (5.0, False, "the owner wins: the qr-code is still verified"),
        (0.5, True, "the thief wins, at 0.50 points of accuracy"),
        (1.0, True, "the thief wins, at 1.00 points of accuracy"),
        (5.0, True, "nobody wins: the claim is gone, and the thief pays, at 5.00 points of accuracy"),
        (None, True, "the claim is gone; accuracy was not measured"),
        (0.0, True, "the thief wins, at no cost"),
        (-0.83, True, "the thief wins, at no cost"),
    ],
)
def test_an_attack_wins_if_the_claim_is_gone_and_the_accuracy_is_not(
    lost: float | None, gone: bool, outcome: str, signed: Embedded
) -> None:
    owner = tried(signed, without_code(signed.ticket, signed) if gone else signed.ticket)
    accuracy = (90.0, None if lost is None else 90.0 - lost)
    report = AttackReport(accuracy=accuracy, kept=(1, 1), total=2, marks={"qr-code": owner})
    assert report.outcome == outcome


def test_a_claim_that_was_never_verified_cannot_be_lost(signed: Embedded) -> None:
    innocent = sparse_ticket(seed=9)
    report = attack_report(innocent, innocent, Scene(), claim=signed.claim)
    assert report.outcome == "nothing to win: qr-code not verified before the attack"


def test_two_claims_that_both_stand_are_told(signed: Embedded) -> None:
    other = "a.weight" if code(signed).placement.layer == "b.weight" else "b.weight"
    forged = Overwrite(message="thief", layer=other).carry_out(signed.ticket, Scene())
    report = attack_report(signed.ticket, forged.ticket, Scene(), claim=signed.claim, forged=forged.claim)
    assert report.outcome.endswith("the thief's own claim is verified, too: the earlier date decides")
    assert report.forged is not None and report.forged.message == "thief"


# Several marks, and locked tickets


@pytest.fixture(scope="module")
def both(signed: Embedded) -> tuple[Ticket, Claim, TriggerSet]:
    """A ResNet-20 that was taught triggers and, as its claim has it, carries a code in a layer beside it."""
    weights = {n: t.detach().clone() for n, t in taught.network(taught=True).state_dict().items()}
    beside = {n: t for n, t in signed.ticket.weights.items() if n == code(signed).placement.layer}
    mask = Mask({n: signed.ticket.mask[n] for n in beside})
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    ticket = Ticket(weights={**weights, **beside}, mask=mask, recipe=recipe)
    return ticket, claim_triggers(taught.triggers(), "sha256:none", signed.claim), taught.triggers()


def test_a_trigger_set_that_stands_saves_the_owner(
    both: tuple[Ticket, Claim, TriggerSet], signed: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, claim, triggers = both
    asked = {"taught": taught.memoriser, "forgotten": lambda: taught.innocent([0.1] * 10)}
    kinds = iter(["taught", "taught", "taught", "forgotten"])
    monkeypatch.setattr("ticket_sig.attacks.trial.Trial._ask", lambda *_: asked[next(kinds)]())
    erased = without_code(ticket, signed)
    report = attack_report(ticket, erased, Scene(), claim=claim, triggers=triggers)
    assert outcomes(report, "qr-code") == ("verified", "not verified")
    assert report.outcome == "the owner wins: the trigger-set is still verified"
    report = attack_report(ticket, ticket, Scene(), claim=claim, triggers=triggers)
    assert outcomes(report, "trigger-set") == ("verified", "not verified")
    assert report.outcome == "the owner wins: the qr-code is still verified"
    assert (
        json.loads(json.dumps(report.to_json()))["marks"]["trigger-set"]["after"]["verdict"] == "not verified"
    )


def test_nor_is_a_trigger_set_lost_that_nobody_asked_for(
    both: tuple[Ticket, Claim, TriggerSet], signed: Embedded
) -> None:
    ticket, claim, _ = both
    report = attack_report(ticket, without_code(ticket, signed), Scene(), claim=claim)
    assert report.outcome == "the qr-code is gone; the trigger-set could not be tried"
    assert "--triggers" in report.marks["trigger-set"].before.reason


def test_the_thief_wins_when_every_mark_is_gone() -> None:
    gone = Tried(taught_decision(verified=True), taught_decision(verified=False))
    report = AttackReport(
        accuracy=(90.0, 89.5), kept=(1, 1), total=2, marks={"qr-code": gone, "trigger-set": gone}
    )
    assert report.outcome == "the thief wins, at 0.50 points of accuracy"
    stands = Tried(taught_decision(verified=True), taught_decision(verified=True))
    report = replace(report, marks={"qr-code": stands, "trigger-set": stands})
    assert report.outcome == "the owner wins: the qr-code and the trigger-set are still verified"
    never = Tried(taught_decision(verified=False), taught_decision(verified=False))
    report = replace(report, marks={"qr-code": never, "trigger-set": never})
    expected = "qr-code not verified, trigger-set not verified before the attack"
    assert report.outcome == f"nothing to win: {expected}"


@cache
def taught_decision(*, verified: bool) -> Decision:
    ask = taught.memoriser() if verified else taught.innocent([0.1] * 10)
    return Decision(verify_answers(taught.claim(), taught.triggers(), ask, nonce=bytes(32)))


def test_one_of_several_marks_that_stands_saves_the_owner() -> None:
    ticket = digits_ticket()
    first = embed(ticket, mark="uchida", secret=bytes(32), random=256)
    second = embed(first.ticket, mark="freezenet", secret=b"one", length=500)
    third = embed(second.ticket, mark="freezenet", secret=b"two", length=100)
    claim = claim_of([first.mark, second.mark, third.mark], third.ticket.weights)
    pruned = attack("magnitude-pruning", rate=0.7)(third.ticket, Scene())
    report = attack_report(third.ticket, pruned, Scene(), claim=claim)
    assert outcomes(report, "uchida") == ("verified", "verified")
    assert outcomes(report, "freezenet") == outcomes(report, "freezenet 3") == ("verified", "not verified")
    assert report.outcome == "the owner wins: the uchida is still verified"
    tried, alone = report.marks["uchida"].before.verdict, first.mark.read(third.ticket)
    assert tried is not None and tried.log10_p == pytest.approx(alone.log10_p + math.log10(3))


@pytest.mark.parametrize("data", [True, False])
def test_networks_are_asked_with_or_without_data(data: bool) -> None:
    """Triggers alone: nothing is in the mask; the network is what recipe or scene says it is."""
    ours, innocent = (
        Ticket(weights=weights, mask=Mask.of_zeros(weights), recipe=recipe)
        for weights, recipe in (
            (
                {n: t.detach() for n, t in taught.network(taught=known).state_dict().items()},
                preset("demo", arch="resnet20", dataset="digits").to_json(),
            )
            for known in (True, False)
        )
    )
    scene = Scene(data=load_dataset("digits", None) if data else None)
    report = attack_report(ours, innocent, scene, claim=taught.claim(), triggers=taught.triggers())
    assert [*report.marks] == ["trigger-set"]
    assert outcomes(report, "trigger-set") == ("verified", "not verified")
    assert data or report.outcome == "the claim is gone; accuracy was not measured"
    assert (report.accuracy[1] is not None) is data
    again = attack_report(ours, innocent, scene, claim=taught.claim(), triggers=taught.triggers())
    assert again.to_json() == report.to_json(), "the scene's seed decides the decoys"


def test_chosen_triggers_are_not_judged_without_a_control() -> None:
    chosen = replace(taught.triggers(), keyed=False, arrangement=PLAIN)
    claim = claim_triggers(chosen, "sha256:none")
    weights = {n: t.detach() for n, t in taught.network(taught=True).state_dict().items()}
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    ticket = Ticket(weights=weights, mask=Mask.of_zeros(weights), recipe=recipe)
    report = attack_report(ticket, ticket, Scene(), claim=claim, triggers=chosen)
    assert "need a control network" in report.marks["trigger-set"].before.reason
    control = taught.innocent([0.1] * 10)
    report = attack_report(ticket, ticket, Scene(), claim=claim, triggers=chosen, controls=[control])
    assert report.outcome == "the owner wins: the trigger-set is still verified"


def shown_of(parts: Split) -> dict[str, Any]:
    return {"key": parts.key, "locked": parts.locked}


@pytest.mark.parametrize(
    ("reached", "promised", "outcome"),
    [
        (85.0, 90.0, "the owner wins: 85.00 % without the owner's key, 90.00 % promised with it; the locked"),
        (89.5, 90.0, "the thief wins: 89.50 % without the owner's key, 90.00 % promised with it"),
        (
            89.5,
            None,
            "nothing to win: the locked ticket holds no key, before or after, and the claim promises",
        ),
        (None, 90.0, "nothing is decided: the locked ticket holds no key, before or after, and accuracy was"),
    ],
)
def test_a_forged_key_wins_if_it_does_the_key_s_work(
    reached: float | None, promised: float | None, outcome: str
) -> None:
    whole = sparse_ticket(rewind=True)
    parts = split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask})
    forged = attack("fake-key", share=0.1)(parts.locked, Scene())
    claim = replace(parts.claim, accuracy=promised)
    report = attack_report(parts.locked, forged, Scene(), claim=claim, shown=shown_of(parts))
    assert report.locked and outcomes(report, "key-mask") == ("not verified", "not verified")
    assert replace(report, accuracy=(10.0, reached)).outcome.startswith(outcome)


def test_a_whole_ticket_that_was_split_is_not_a_locked_one() -> None:
    whole = sparse_ticket(rewind=True)
    parts = split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask})
    report = attack_report(whole, whole, Scene(), claim=parts.claim, shown=shown_of(parts))
    assert not report.locked and report.winner is Winner.OWNER
    assert report.outcome == "the owner wins: the key-mask is still verified"


def test_nor_is_one_that_carries_a_code() -> None:
    whole = sparse_ticket(rewind=True)
    parts = split(whole, 0.1, {name: whole.weights[name].abs() for name in whole.mask})
    marked = embed(parts.locked, "mine")
    claim = claim_of([*marks_of(parts.claim), marked.mark], marked.ticket.weights)
    report = attack_report(marked.ticket, marked.ticket, Scene(), claim=claim)
    assert not report.locked and report.winner is Winner.OWNER
    found = report.marks["qr-code"].after.verdict
    assert found is not None and found.log10_p == verify(marked.ticket, claim).log10_p


def test_what_could_not_be_verified_says_why(signed: Embedded) -> None:
    weights = {"another.name": torch.eye(4)}
    bare = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    report = attack_report(signed.ticket, bare, Scene(), claim=signed.claim)
    assert outcomes(report, "qr-code") == ("verified", "could not verify")
    assert "layer: expected the claim's a.weight" in report.marks["qr-code"].after.reason
    assert report.outcome == "the claim is gone; accuracy was not measured"


def test_the_report_is_json(signed: Embedded, good: Ticket) -> None:
    erased = without_code(signed.ticket, signed)
    value = json.loads(
        json.dumps(attack_report(signed.ticket, erased, Scene(), claim=signed.claim).to_json())
    )
    assert value["accuracy"] == {"before": None, "after": None, "lost": None}
    assert value["kept"]["before"] == value["kept"]["after"] == signed.ticket.mask.kept
    assert value["marks"]["qr-code"]["before"]["verdict"] == "verified"
    assert value["marks"]["qr-code"]["before"]["message"] == "owner"
    assert value["marks"]["qr-code"]["after"]["verdict"] == "not verified"
    assert value["thief_pays"] is None and value["forged"] is None
    assert value["winner"] == "not_decided" and value["outcome"].startswith("the claim is gone")


def some(before: bool | None, after: bool | None) -> Tried:
    """A claim that was verified, was not, or could not be tried."""
    either = {None: Decision(None, "the key is lost")}
    either |= {verified: taught_decision(verified=verified) for verified in (True, False)}
    return Tried(either[before], either[after])


NEVER = [(False, False)]


@pytest.mark.parametrize(
    ("accuracy", "marks", "more", "winner"),
    [
        ((90.0, 89.0), [(True, False)], {}, Winner.THIEF),
        ((90.0, 88.9), [(True, False)], {}, Winner.NOBODY),
        ((90.0, 88.9), [(True, True)], {}, Winner.OWNER),
        ((90.0, 90.0), [(True, False), (True, True)], {}, Winner.OWNER),
        ((90.0, 90.0), [(True, False), (False, False)], {}, Winner.THIEF),
        ((90.0, 90.0), [(True, False), (None, None)], {}, Winner.NOT_DECIDED),
        ((90.0, 90.0), [(True, None)], {}, Winner.THIEF),
        ((90.0, 90.0), [(False, False)], {}, Winner.NOTHING_TO_WIN),
        ((90.0, 90.0), [(None, None)], {}, Winner.NOTHING_TO_WIN),
        ((None, None), [(True, False)], {}, Winner.NOT_DECIDED),
        ((None, 90.0), [(True, False)], {}, Winner.NOT_DECIDED),
        ((90.0, 90.0), [], {}, Winner.NOT_DECIDED),
        ((10.0, 89.0), NEVER, {"locked": True, "promised": 90.0}, Winner.THIEF),
        ((10.0, 88.9), NEVER, {"locked": True, "promised": 90.0}, Winner.OWNER),
        ((10.0, None), NEVER, {"locked": True, "promised": 90.0}, Winner.NOT_DECIDED),
        ((10.0, 89.0), NEVER, {"locked": True}, Winner.NOTHING_TO_WIN),
    ],
)
def test_the_words_say_who_won_and_nobody_else(
    accuracy: tuple[float | None, float | None],
    marks: list[tuple[bool | None, bool | None]],
    more: dict[str, Any],
    winner: Winner,
) -> None:
    tried = {f"mark {number}": some(*one) for number, one in enumerate(marks)}
    report = AttackReport(accuracy=accuracy, kept=(1, 1), total=2, marks=tried, **more)
    assert report.winner is winner
    assert report.outcome == in_words(report)
    told = json.loads(json.dumps(report.to_json()))
    assert (told["winner"], told["outcome"]) == (winner.name.lower(), report.outcome)
    named = [one for one in Winner if report.outcome.startswith(one.value)]
    assert named == ([] if winner is Winner.NOT_DECIDED else [winner])
