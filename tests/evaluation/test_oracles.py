"""Methods whose figures are known beforehand: what the standard's ratios say of them, and what ours do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from support.known_methods import Known, evaluation

from ticket_sig.evaluation.evaluate import evaluate
from ticket_sig.evaluation.intervals import error_rate, rate, stat
from ticket_sig.evaluation.quality import macro_mean, of_answers

D = 10
NAMES = ("yes", "no", "decoder", "wide")


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """One network, ten keys for each method."""
    known = [
        Known(name="yes", says="yes"),
        Known(name="no", says="no"),
        Known(name="decoder", symbols=8),
        Known(name="wide", symbols=4096, wrong=300),
    ]
    out = tmp_path_factory.mktemp("oracles") / "report"
    report = evaluate(evaluation(out, *known, payloads=D, trained_payloads=D))
    methods: Mapping[str, Any] = json.loads(json.dumps(report))["methods"]
    return methods


def test_a_detector_that_always_says_yes(methods: Mapping[str, Any]) -> None:
    found = methods["yes"]["robustness"][0]["detector"]
    assert found["standard"] == {"false_positive_ratio": 1 / (D + 1), "false_negative_ratio": 0.0}
    assert (found["false_positives"]["rate"], found["false_positives"]["of"]) == (1.0, D)
    assert found["false_negatives"]["count"] == 0


def test_a_detector_that_always_says_no(methods: Mapping[str, Any]) -> None:
    found = methods["no"]["robustness"][0]["detector"]
    assert found["standard"] == {"false_positive_ratio": 0.0, "false_negative_ratio": D / (D + 1)}
    assert found["false_positives"]["rate"] == 0.0 and found["false_negatives"]["rate"] == 1.0


def test_a_perfect_decoder_that_is_half_wrong_on_unmarked_networks(methods: Mapping[str, Any]) -> None:
    found = methods["decoder"]["robustness"][0]["decoder"]
    assert found["standard"]["symbol_error_rate"] == pytest.approx(0.5 / (D + 1))
    assert found["marked"] == {"errors": 0, "symbols": 8 * D, "rate": 0.0, "low": None, "high": None}


def test_4096_symbols_with_300_errors_survive_the_json(methods: Mapping[str, Any]) -> None:
    wide = methods["wide"]
    found = wide["robustness"][0]["decoder"]["marked"]
    assert wide["about"]["symbols"] == 4096
    assert (found["errors"], found["symbols"], found["rate"]) == (300 * D, 4096 * D, 300 / 4096)


def test_what_a_method_has_is_seen(methods: Mapping[str, Any]) -> None:
    assert methods["yes"]["about"]["detector"] and not methods["yes"]["about"]["decoder"]
    assert methods["yes"]["robustness"][0]["decoder"] is None
    assert methods["yes"]["cost"] is None


def test_intervals() -> None:
    found = rate(0, 10)
    assert found is not None and found["low"] == 0.0 and found["high"] == pytest.approx(0.2775, abs=1e-4)
    mean = stat([1.0, 2.0, 3.0])
    assert mean is not None and mean["high"] - 2 == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert stat([2.0]) == {"mean": 2.0, "low": None, "high": None, "n": 1, "values": [2.0]}
    assert stat([]) is rate(0, 0) is error_rate([], []) is None
    of_two = stat([1.0, 3.0, 6.0, 8.0], [0, 0, 1, 1])  # two networks of each model
    assert of_two is not None and (of_two["mean"], of_two["n"], len(of_two["values"])) == (4.5, 2, 4)
    assert of_two["low"] == pytest.approx(4.5 - 12.7062 * 2.5, abs=1e-3)
    errors = error_rate([0, 0, 0, 40], [40, 40, 40, 40])
    assert errors is not None and errors["rate"] == 0.25 and errors["low"] == 0.0
    assert errors["high"] > 0.7  # four networks, not 160 symbols
    alike = error_rate([1, 2], [40, 80])  # to resample them tells nothing
    assert alike == {"errors": 3, "symbols": 120, "rate": 0.025, "low": None, "high": None}


def test_quality_by_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    found = of_answers(labels, np.array([0, 0, 0, 1, 1, 3, 0]), 4)
    assert found["accuracy"] == pytest.approx(100 * 4 / 7)
    assert found["classes"][0] == {"precision": 75.0, "recall": 75.0}
    assert found["classes"][1] == {"precision": 50.0, "recall": 50.0}
    assert found["classes"][2] == {"precision": 0.0, "recall": 0.0}  # never named
    assert found["classes"][3] == {"precision": None, "recall": None}  # without samples
    assert macro_mean(found, "recall") == pytest.approx(125 / 3)
