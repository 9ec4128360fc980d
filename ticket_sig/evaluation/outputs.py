"""All that an evaluation leaves for people and machines, in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ticket_sig.errors import needs_extra
from ticket_sig.evaluation.dossier import write_dossier
from ticket_sig.evaluation.page import write_page
from ticket_sig.evaluation.plots import draw
from ticket_sig.evaluation.report import EXTRA, write_report
from ticket_sig.evaluation.workflow import write_workflows


def check_installed() -> None:
    """Checks that what the outputs need is installed, before hours are spent; InputError where it is not."""
    for package in ("jsonschema", "jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise needs_extra(package, EXTRA, "an evaluation")


def write_outputs(folder: Path, report: Mapping[str, Any], *, dossier: bool = False) -> None:
    """Writes report.json, report.html, verification-utility.png, workflow/, and dossier.md where asked for.

    Raises:
        InputError: the report does not answer to the schema, or a package is lacking.
    """
    write_report(folder / "report.json", report)
    write_page(folder / "report.html", report)
    draw(folder / "verification-utility.png", report)
    write_workflows(folder / "workflow", report)
    if dossier:
        write_dossier(folder / "dossier.md", report)
