"""The report as a file: valid by the schema, whole or not there, refused in one line where damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.evaluated import report

from ticket_sig.errors import InputError
from ticket_sig.evaluation.report import read_report, schema, write_report


@pytest.mark.parametrize("name", ["report", "workflow"])
def test_the_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", report())
    assert read_report(tmp_path / "report.json") == report()


def test_a_payload_of_4096_symbols_with_300_errors_survives(tmp_path: Path) -> None:
    told = report()
    marked = told["methods"]["freezenet"]["robustness"][0]["decoder"]["marked"]
    marked |= {"errors": 300, "symbols": 4096, "rate": 300 / 4096}
    write_report(tmp_path / "report.json", told)
    found = read_report(tmp_path / "report.json")["methods"]["freezenet"]["robustness"][0]["decoder"][
        "marked"
    ]
    assert (found["errors"], found["symbols"]) == (300, 4096)


Damage = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda told: told.update(format="another"), "format"),
        (lambda told: told.update(version=2), "version"),
        (lambda told: told.pop("settings"), "settings"),
        (lambda told: told.update(methods={}), "methods"),
        (lambda told: told["settings"].update(models=0), "settings.models"),
        (lambda told: told["methods"]["uchida"]["cost"].update(detection=3), "methods.uchida.cost"),
        (lambda told: told["methods"]["uchida"]["robustness"][0].update(accuracy=None), "accuracy"),
    ],
)
def test_a_damaged_report_is_one_line(damage: Damage, named: str, tmp_path: Path) -> None:
    told = report()
    damage(told)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(told))
    with pytest.raises(InputError) as refused:
        read_report(path)
    message = str(refused.value)
    assert message.startswith(str(path)) and named in message and "\n" not in message


def test_a_report_that_the_schema_refuses_is_not_written(tmp_path: Path) -> None:
    told = report()
    told["settings"]["pruned"] = math.inf
    with pytest.raises(InputError, match=r"settings\.pruned"):
        write_report(tmp_path / "report.json", told)
    assert list(tmp_path.iterdir()) == []
