"""The cost of a method whose time and memory are known, measured as a user has it: by a worker, alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.known_methods import Known, evaluation

from ticket_sig import InputError
from ticket_sig.evaluation.evaluate import evaluate
from ticket_sig.evaluation.processes import alone

MEMORY, SECONDS = 200_000_000, 0.6


def test_known_time_and_memory_are_recovered_within_a_tenth(tmp_path: Path) -> None:
    method = Known(memory=MEMORY, seconds=SECONDS)
    asked = evaluation(tmp_path / "r", method, payloads=1, trained_payloads=1, parts=("cost",))
    cost = evaluate(asked)["methods"]["known"]["cost"]
    assert cost["injection"]["host_memory"]["mean"] == pytest.approx(MEMORY, rel=0.1)
    assert cost["injection"]["epoch_seconds"]["mean"] == pytest.approx(SECONDS, rel=0.1)
    assert cost["injection"]["epochs"]["mean"] == 1.0 and cost["injection"]["batches"] == 4
    assert cost["injection"]["device_memory"] is None
    assert cost["detection"]["host_memory"]["mean"] == pytest.approx(MEMORY, rel=0.1)
    assert cost["detection"]["seconds"]["mean"] == pytest.approx(SECONDS, rel=0.1)
    assert 0 < cost["injection"]["inference_seconds"]["mean"] < 1


def test_what_a_process_refuses_is_said_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="models: expected 1 or more"):
        alone(refusing)


def refusing() -> None:
    evaluation(Path("nowhere"), Known(), models=0)
