"""The cost of a method whose time and memory are known, measured as a user has it: by a worker, alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.known_methods import Known, evaluation

from ticket_sig.evaluation import cost
from ticket_sig.evaluation.evaluate import evaluate, work
from ticket_sig.evaluation.processes import alone
from ticket_sig.evaluation.settings import begin, secret_of

MEMORY, SECONDS = 200_000_000, 6.0


@pytest.mark.slow
def test_known_time_and_memory_are_recovered_within_a_tenth(tmp_path: Path) -> None:
    method = Known(memory=MEMORY, seconds=SECONDS)
    asked = evaluation(tmp_path / "r", method, payloads=1, trained_payloads=1, parts=("cost",))
    begin(asked.out, asked.settings, {"known": method.options})
    secret_of(asked.out)
    alone(work, asked)
    measured = {path.name for path in (asked.out / "cells").iterdir()}
    report = evaluate(asked)
    assert {path.name for path in (asked.out / "cells").iterdir()} == measured  # nothing was left to do
    injection, detection = (report["methods"]["known"]["cost"][part] for part in ("injection", "detection"))
    assert injection["host_memory"]["mean"] == pytest.approx(MEMORY, rel=0.1)
    assert injection["epoch_seconds"]["mean"] == pytest.approx(SECONDS, rel=0.1)
    assert injection["epochs"]["mean"] == 1.0 and injection["batches"] == 4
    assert injection["device_memory"] is None
    assert detection["host_memory"]["mean"] == pytest.approx(MEMORY, rel=0.1)
    assert detection["seconds"]["mean"] == pytest.approx(SECONDS, rel=0.1)
    assert 0 < injection["inference_seconds"]["mean"] < 1


def test_memory_is_not_known_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_PROCESS", tmp_path / "none")
    with cost.spent(torch.device("cpu")) as took:
        pass
    assert took.host is None and took.device is None and took.seconds > 0
