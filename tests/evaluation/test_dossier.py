"""The dossier: the four deliverables of NNW-TEC for every method, with the figures of the report in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.evaluated import report

from ticket_sig.errors import InputError
from ticket_sig.evaluation import outputs
from ticket_sig.evaluation.dossier import description, write_dossier
from ticket_sig.evaluation.report import write_report
from ticket_sig.evaluation.tables import robustness
from ticket_sig.marks import MARKS

DELIVERABLES = ("1. Description", "2. Software", "3. Training strategy", "4. Data sets", "5. Figures")


def test_every_method_has_the_four_deliverables_and_its_figures(tmp_path: Path) -> None:
    told = report()
    write_dossier(tmp_path / "dossier.md", told)
    text = (tmp_path / "dossier.md").read_text(encoding="utf-8")
    parts = dict(zip(told["methods"], text.split("\n## ")[1:], strict=False))
    for name, part in parts.items():
        assert part.startswith(f"{name}\n") and all(f"### {one}" in part for one in DELIVERABLES)
        assert robustness(told, name).markdown() in part
        assert told["command"] in part and told["settings"]["data_digest"] in part
    assert "pruned in one shot" in parts["qr-code"] and "pruned in one shot" not in parts["uchida"]


@pytest.mark.parametrize("name", [*MARKS, "mask-fingerprint", "nct"])
def test_every_mark_is_described_with_how_it_is_put_in_and_found(name: str) -> None:
    text = description(name)
    assert "njection" in text or "xtraction" in text or "split" in text
    assert "**Detection.**" in text or "**Matching.**" in text
    assert "10^-6" in text or name == "nct"


def test_a_plug_in_is_not_described_by_a_file_of_its_name() -> None:
    assert "plug-in" in description("own") and "plug-in" in description("../templates/report")


def test_all_outputs_stand_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for drawn in ("write_page", "draw"):  # test_page.py has them
        monkeypatch.setattr(outputs, drawn, lambda path, told: path.touch())
    outputs.write_outputs(tmp_path, report(), dossier=True)
    names = {"report.json", "report.html", "verification-utility.png", "workflow", "dossier.md"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_what_is_not_installed_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.check_installed()
    monkeypatch.setattr(outputs, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"jsonschema.*pip install 'ticket-sig\[evaluation\]'"):
        outputs.check_installed()


def test_a_report_is_read_and_its_outputs_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/evaluation.md says, on a small report."""
    write_report(tmp_path / "REPORT" / "report.json", report("l1-pruning"))
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    exec(page.split("```python\n")[1].split("```")[0])
    assert (tmp_path / "AGAIN" / "report.html").is_file()
