"""The report of an evaluation as a file: JSON that answers to the schema of the package.

Page, workflows and dossier are made from it alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticket_sig.errors import bad_input, needs_extra
from ticket_sig.fields import SHOWN, check_format
from ticket_sig.files import read_json, write_json

FORMAT, FORMAT_VERSION = "ticket_sig evaluation", 1
EXTRA = "evaluation"  # of setup.cfg
HERE = Path(__file__).parent


def schema(name: str = "report") -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of the package: of the report, or of `workflow` metadata."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def check_schema(value: Mapping[str, Any], where: object, name: str = "report") -> None:
    """Checks a JSON object against a schema of the package.

    Raises:
        InputError: it does not answer to it (names the deepest field that is wrong), or jsonschema is not
            installed.
    """
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ImportError:
        raise needs_extra("jsonschema", EXTRA, "the report of an evaluation") from None
    wrong = best_match(Draft202012Validator(schema(name)).iter_errors(value))
    if wrong is not None:
        field = ".".join(map(str, wrong.absolute_path)) or name
        rule = f"{wrong.validator} {json.dumps(wrong.validator_value)}"
        raise bad_input(where, field, rule[:SHOWN], json.dumps(wrong.instance)[:SHOWN])


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report, whole or not at all; InputError where it does not answer to the schema."""
    check_schema(report, path)
    write_json(path, report)


def read_report(path: Path) -> dict[str, Any]:
    """Reads a report.

    Raises:
        InputError: missing, damaged, of another format or version, or not as the schema says.
    """
    report = read_json(path)
    check_format(report, path, FORMAT, FORMAT_VERSION)
    check_schema(report, path)
    return report
