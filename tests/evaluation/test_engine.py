"""An evaluation as a whole: what is shared, kept and gone on with, and what each part says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.known_methods import Known, KnownInstance, evaluation
from support.tiny import tiny_data

from ticket_sig import InputError, Ticket
from ticket_sig.cells import Cell, Store
from ticket_sig.evaluation import imperceptibility, robustness
from ticket_sig.evaluation import networks as networks_module
from ticket_sig.evaluation.evaluate import cells, evaluate
from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.evaluation.networks import Evaluation, Networks
from ticket_sig.evaluation.report import check_schema
from ticket_sig.evaluation.settings import Applied, begin
from ticket_sig.evaluation.tables import summary
from ticket_sig.progress import Silent


class Watched:
    """Progress that is kept."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.details: list[str] = []

    def begin(self, label: str, total: int) -> None:
        self.total = total

    def advance(self, done: int, detail: str = "") -> None:
        self.done.append(done)
        self.details.append(detail)

    def note(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Two networks; an active method, one that is passive, and one that few networks can be read with."""
    return evaluation(
        tmp_path_factory.mktemp("engine") / "report",
        Known(name="active", symbols=16),
        Known(name="passive", passive=True),
        Known(name="shy", symbols=4, unreadable=0.3),
        models=2,
        modifications=(Applied("l1-pruning", 50), Applied("quantization", 40), Applied("fine-tuning", 0.5)),
    )


@pytest.fixture(scope="module")
def report(asked: Evaluation) -> dict[str, Any]:
    return evaluate(asked, command="ticket-sig evaluate active")


def entry(report: Mapping[str, Any], method: str, modification: str) -> dict[str, Any]:
    found = (e for e in report["methods"][method]["robustness"] if e["modification"] == modification)
    return next(found)


def test_the_report_answers_to_the_schema(report: dict[str, Any]) -> None:
    check_schema(report, "report")
    assert report["settings"]["models"] == 2 and report["command"] == "ticket-sig evaluate active"


def test_nothing_is_trained_or_measured_twice(
    asked: Evaluation, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(networks_module, "find", refuse)
    monkeypatch.setattr(EvaluationTask, "trained_further", refuse)
    monkeypatch.setattr(robustness, "quality", refuse)
    assert evaluate(asked, command="ticket-sig evaluate active") == report


def test_methods_share_the_unmarked_networks(asked: Evaluation, report: dict[str, Any]) -> None:
    work = asked.out / "work"
    bundles = [path.name.rsplit("-", 1)[0] for path in work.iterdir() if (path / "ticket.json").exists()]
    # Two of each model; of the passive method nothing is trained beside them.
    assert bundles.count("dense") == bundles.count("unmarked") == 2
    assert bundles.count("marked-active") == bundles.count("marked-shy") == 4
    assert "marked-passive" not in bundles
    # Fine-tuned: the unmarked ones, and of each active method one payload of each model.
    assert bundles.count("fine-tuning") == 6
    assert not list(work.glob("*.run"))


def test_only_some_payloads_are_trained(report: dict[str, Any]) -> None:
    found = entry(report, "active", "fine-tuning")
    assert found["detector"]["false_negatives"]["of"] == found["detector"]["false_positives"]["of"] == 2
    assert found["not_measured"] == ["only 1 of 2 payloads: it trains"]
    assert entry(report, "active", "l1-pruning")["detector"]["false_negatives"]["of"] == 4


def test_outside_the_range_of_the_standard_is_stamped(report: dict[str, Any]) -> None:
    assert entry(report, "active", "quantization")["in_range"] is False
    assert entry(report, "active", "l1-pruning")["in_range"] is True
    assert entry(report, "active", "none")["in_range"] is None


def test_a_passive_method_costs_no_accuracy_and_is_tried_on_another_network(report: dict[str, Any]) -> None:
    found = report["methods"]["passive"]
    assert found["about"]["family"] == "passive"
    assert found["imperceptibility"]["difference"]["values"] == [0.0] * 4
    said = entry(report, "passive", "none")["detector"]
    assert said["false_negatives"]["rate"] == said["false_positives"]["rate"] == 0.0


def test_differences_are_those_of_one_model(asked: Evaluation, report: dict[str, Any]) -> None:
    accuracies = {"unmarked-dense-0": 90, "unmarked-dense-1": 50}
    accuracies |= {"marked-active-0-0": 91, "marked-active-0-1": 93}
    accuracies |= {"marked-active-1-0": 50, "marked-active-1-1": 48}

    class Measured(Store):
        def measured(self, cell: Cell) -> Mapping[str, Any]:
            found = accuracies[cell.name]
            return {"accuracy": found, "classes": [{"precision": found / 2, "recall": 0}]}

    networks, store = Networks(asked), Measured(asked.out, asked.out, Silent())
    told = imperceptibility.section(networks, store, networks.methods["active"])
    assert told["difference"]["values"] == [1, 3, 0, -2]
    assert told["precision_difference"]["values"] == [0.5, 1.5, 0, -1]
    assert (told["difference"]["mean"], told["difference"]["n"]) == (0.5, 2)  # of two models


def test_what_cannot_be_read_after_a_modification_is_lost_and_says_why(report: dict[str, Any]) -> None:
    assert entry(report, "shy", "none")["detector"]["false_negatives"]["rate"] == 0.0
    found = entry(report, "shy", "l1-pruning")
    assert found["detector"]["false_negatives"]["rate"] == 1.0
    assert found["detector"]["false_positives"]["rate"] == 0.0
    assert found["decoder"]["marked"]["errors"] == found["decoder"]["marked"]["symbols"] == 16
    assert found["log10_p"]["marked"] == [None] * 4
    assert found["not_measured"] == ["6 of 6 networks: could not be read: known: too many zeros"]


def test_a_modification_that_cannot_be_done_is_none(tmp_path: Path) -> None:
    done = (Applied("overwriting", 2),)
    report = evaluate(evaluation(tmp_path / "r", Known(name="p", passive=True), modifications=done))
    found = entry(report, "p", "overwriting")
    assert found["detector"] is found["accuracy"]["after"] is None
    told = [line for line in found["not_measured"] if line.endswith("found p, which is passive")]
    assert len(told) == 1 and told[0].startswith("2 of 2 networks: overwriting: ")


def test_a_further_mark_is_written_over_those_before_and_all_are_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected, inject = list[str](), KnownInstance.inject

    def noted(self: KnownInstance, network: Ticket, task: EvaluationTask) -> Ticket:
        injected.append(self.digest)
        return inject(self, network, task)

    monkeypatch.setattr(KnownInstance, "inject", noted)
    networks = Networks(evaluation(tmp_path / "r", Known()))
    method = networks.methods["known"]
    for payload, own in ((0, 1), (None, 0)):
        injected.clear()
        two, three = (networks.modified(method, 0, payload, Applied("overwriting", w)) for w in (2, 3))
        assert len(injected) == len(set(injected)) == own + 3
        assert [float(one.weights["f1.bias"][0]) * 2**30 for one in (two, three)] == [
            int(digest[:5], 16) for digest in injected[-2:]
        ]


def test_a_method_without_a_key_has_one_instance_of_a_network(tmp_path: Path) -> None:
    known = Known(name="mask", passive=True, keyed=False)
    report = evaluate(evaluation(tmp_path / "r", known, models=2, parts=("robustness",)))
    found = entry(report, "mask", "none")
    assert found["detector"]["false_negatives"]["of"] == found["detector"]["false_positives"]["of"] == 2
    assert found["not_measured"] == ["only 1 of 2 payloads: a network has one fingerprint"]


def test_the_rule_of_ten_is_computed_both_ways(report: dict[str, Any]) -> None:
    task = report["task"]
    assert task["weights"] == 36 + 8 + 296 + 108 + 52
    samples = {"samples": 72, "values": 72 * 64, "by_samples": False, "by_values": False}
    assert task["rule_of_ten"] == samples


def test_keys_that_are_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="method known: keys and payloads: expected 2, all different, found 1"
    ):
        evaluate(evaluation(tmp_path / "r", Known(alike=True)))


def test_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, calls = evaluation(tmp_path / "r", Known()), 0

    def interrupted(self: KnownInstance, network: Ticket, task: EvaluationTask) -> Ticket:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return KnownInstance.plain(self, network, task)

    monkeypatch.setattr(KnownInstance, "plain", KnownInstance.inject, raising=False)
    monkeypatch.setattr(KnownInstance, "inject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked)
    begun = {path: path.read_bytes() for path in (asked.out / "cells").iterdir()}
    watched = Watched()
    evaluate(asked, progress=watched)
    assert len(begun) == 2 and all(path.read_bytes() == kept for path, kept in begun.items())
    assert calls == 3  # what was injected is injected no more
    assert watched.done[-1] == watched.total and watched.done[0] >= 2
    assert any(detail.startswith("about ") for detail in watched.details)


def test_what_cannot_be_marked_or_read_as_it_is_stops_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known: too many zeros"):
        evaluate(evaluation(tmp_path / "r", Known(unreadable=-1.0)))
    with pytest.raises(InputError, match="workers: expected 1 to 1000, found 0"):
        evaluate(evaluation(tmp_path / "r", Known()), workers=0)


def test_other_settings_and_another_secret_are_other_cells(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", Known())
    for out, asked in {"a": first, "b": replace(first, out=tmp_path / "b")}.items():
        begin(tmp_path / out, asked.settings, {})
    other = replace(first, make_data=partial(tiny_data, seed=1))
    one, secret, data = (
        {cell.file for cell in cells(Networks(asked), {})}
        for asked in (first, replace(first, out=tmp_path / "b"), other)
    )
    assert not one & data
    assert {name.rsplit("-", 1)[0] for name in one & secret} == {"unmarked-dense-0"}


def test_a_method_without_room_is_left_out_unless_it_is_the_only_one(tmp_path: Path) -> None:
    large, steps = Known(name="large", large=True), (Applied("quantization", 8),)
    told = evaluate(evaluation(tmp_path / "both", Known(), large, modifications=steps))
    check_schema(told, "report")
    assert list(told["methods"]) == ["known"] and told["left_out"] == {"large": "room: expected 9, found 8"}
    assert "Left out: large: room: expected 9, found 8." in summary(told).notes
    with pytest.raises(InputError, match=r"^large: room: expected 9, found 8$"):
        evaluate(evaluation(tmp_path / "alone", large))
