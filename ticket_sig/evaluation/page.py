"""The report as one page of HTML: it needs no network, no script and no file beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ticket_sig.errors import needs_extra
from ticket_sig.evaluation import plots, tables
from ticket_sig.evaluation.report import EXTRA, HERE
from ticket_sig.files import whole_file

if TYPE_CHECKING:
    from jinja2 import Environment

_Json = Mapping[str, Any]


def write_page(path: Path, report: _Json) -> None:
    """Writes the page of a report, whole or not at all.

    Raises:
        InputError: jinja2 or matplotlib is not installed.
    """
    text = render(report)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def render(report: _Json) -> str:
    """The page of a report; whatever stands in the report is text there, and no HTML."""
    from markupsafe import Markup

    environment = _environment()
    environment.filters["firm"] = _firm
    environment.filters["drawing"] = lambda panel: Markup(panel.svg)  # ours: matplotlib wrote it
    return environment.get_template("report.html.jinja").render(
        report=report,
        settings=report["settings"],
        styles=plots.styles(report),
        summary=tables.summary(report),
        symbols=tables.symbol_errors(report),
        costs=tables.costs(report),
        verification=plots.verification(report),
        errors={kind: plots.errors(report, kind) for kind in ("detector", "decoder")},
        methods=[_method(report, name) for name in report["methods"]],
        hidden=tables.hidden(report),
        rule_of_ten=tables.rule_of_ten(report),
        facts=_facts(report),
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise needs_extra("jinja2", EXTRA, "the page of an evaluation") from None
    loader = FileSystemLoader(HERE / "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _firm(text: str) -> str:
    """A text in which `S = 0.2` and `95 %` stay on one line."""
    return re.sub(r" (?=[=%])|(?<= =) ", "\u00a0", text)


def _method(report: _Json, name: str) -> dict[str, Any]:
    """What the page says of one method."""
    method = report["methods"][name]
    about, told = method["about"], method["imperceptibility"]
    symbols = about["symbols"]
    carries = f"{symbols} {about['carries']}" if symbols else about["carries"]
    return {
        "name": name,
        "facts": {
            "family": about["family"],
            "stands in": about["stands_in"],
            "carries": carries,
            "tried on": "pruned networks" if about["subject"] == "ticket" else "dense networks",
            "has": " and ".join(kind for kind in ("detector", "decoder") if about[kind]),
            **{f"option {name}": tables.text(value) for name, value in about["options"].items()},
        },
        "passive": about["family"] == "passive",
        "quality": told and tables.quality(method),
        "classes": told and tables.classes(method),
        "robustness": tables.robustness(report, name),
    }


def _facts(report: _Json) -> dict[str, dict[str, str]]:
    """Settings, recipes, versions and hardware."""
    settings = report["settings"]
    plain = {name: value for name, value in settings.items() if not isinstance(value, (dict, list))}
    lists = {name: ", ".join(settings[name]) for name in ("methods", "parts")}
    lists["modifications"] = ", ".join(f"{s['name']}={s['intensity']:g}" for s in settings["modifications"])
    groups = {
        "Settings": {**plain, **lists},
        "Initial training": tables.of_training(settings["recipe"]),
        "Further training, what differs": tables.further(settings) or {"": "nothing"},
        "Made with": {"written_by": report["written_by"], **report["made_with"]},
    }
    return {
        title: {name.replace("_", " "): tables.text(value) for name, value in group.items()}
        for title, group in groups.items()
    }
