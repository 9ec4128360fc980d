"""The verb `evaluate`: the folder that it writes, and that it belongs to one evaluation."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from support import evaluated
from support.command_line import Command, could_not, read_json

from ticket_sig.cli import evaluate, output
from ticket_sig.errors import InputError
from ticket_sig.evaluation.networks import Evaluation, Networks

SMALL = ("--models", 1, "--payloads", 1, "--epochs", 1, "--further", 1)
PARTS = ("--parts", "imperceptibility,robustness", "--intensities", 1)
ASKED = ("evaluate", "uchida", *SMALL, *PARTS, "--modifications", "quantization=8,gaussian-noise")


def test_a_mark_is_evaluated_and_the_folder_is_its_own(tmp_path: Path, ticket_sig: Command) -> None:
    out = tmp_path / "report"
    report = read_json(ticket_sig(*ASKED, "--out", out, "--standard", "nnw-tec", "--json"))
    assert report == json.loads((out / "report.json").read_text())
    done = [entry["modification"] for entry in report["methods"]["uchida"]["robustness"]]
    assert done == ["none", "quantization", "gaussian-noise"]
    assert "--modifications quantization=8,gaussian-noise" in report["command"]
    assert (out / "report.html").exists() and (out / "dossier.md").exists()
    assert list((out / "workflow").glob("*.json"))
    assert stat.S_IMODE((out / "secret.json").stat().st_mode) == 0o600
    # For people, and nothing is measured again: the same command goes on.
    cells = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    told = ticket_sig(*ASKED, "--out", out, "--standard", "nnw-tec")
    assert told.code == 0 and "uchida" in told.out and "report.html" in told.out
    assert "ten entries a weight" in told.out and "too few" in told.out
    assert cells == {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    could_not(ticket_sig(*ASKED, "--out", out, "--seed", 1), "settings", "seed: expected 0, found 1", "--out")


def test_its_trainings_may_have_sparse_layers(
    tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(asked: Evaluation, command: str, **_: object) -> None:
        raise InputError(f"{Networks(asked).engine.sparse}, {command}")

    monkeypatch.setattr("ticket_sig.evaluation.evaluate.evaluate", told)
    said = ticket_sig(*ASKED, "--out", tmp_path / "report", "--sparse", "on")
    could_not(said, "True, ticket-sig evaluate", "--sparse on")
    could_not(
        ticket_sig(*ASKED, "--out", tmp_path / "report", "--sparse", "yes"), "--sparse: expected one of"
    )


def test_no_name_of_a_method_is_cut_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.out, "_width", 60)
    told = evaluated.report("l1-pruning")
    evaluate._tell(told, Path("OUT"), as_json=False)
    assert (text := capsys.readouterr().out).count("Summary") > 1
    assert all(name in text for name in told["methods"]) and "…" not in text
