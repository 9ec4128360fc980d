"""The dossier that a further technology of NNW-TEC hands in, filled in with the figures of a report.

NNW-TEC V1.0 asks for four deliverables: a description from which an expert can implement the technology,
documented software, training strategy and parameters, and further data sets.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ticket_sig.evaluation import tables
from ticket_sig.evaluation.report import HERE
from ticket_sig.files import whole_file
from ticket_sig.marks import MARKS

_Json = Mapping[str, Any]


def write_dossier(path: Path, report: _Json) -> None:
    """Writes the dossier of every method of a report as Markdown, whole or not at all."""
    text = "\n\n".join(_lines(report))
    with whole_file(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def description(name: str) -> str:
    """How a method works, so that an expert can implement it.

    Of a mark without a text of its own, what the docs of its module say; a plug-in's author describes it.
    """
    path = HERE / "descriptions" / f"{name}.md"
    if path.parent == HERE / "descriptions" and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    module = inspect.getmodule(MARKS.get(name))
    return (module and inspect.getdoc(module)) or f"(Of `{name}`, a plug-in: its author describes it here.)"


def _lines(report: _Json) -> Iterator[str]:
    settings, names = report["settings"], ", ".join(report["methods"])
    yield f"# Dossier for MPAI-NNW Technologies (NNW-TEC): {names}"
    yield (
        "Evaluated by Neural Network Traceability (NNW-NNT V1.1, IEEE 3304) with "
        f"{report['written_by']}: networks: M = {settings['models']}; payloads of each: D = "
        f"{settings['payloads']}, each with a fresh key and payload. Intervals are of 95 %."
    )
    yield from tables.left_out(report)
    for name in report["methods"]:
        yield f"## {name}"
        yield "### 1. Description of the technology"
        yield description(name)
        yield "### 2. Software"
        yield from _software(report, name)
        yield "### 3. Training strategy and parameters"
        yield from _training(report, name)
        yield "### 4. Data sets"
        yield _data(settings)
        yield tables.rule_of_ten(report)
        yield "### 5. Figures"
        yield from _figures(report, name)
    yield "## What the ratios of the standard hide"
    yield "\n".join(f"- **{name}**: {why}" for name, why in tables.hidden(report).items())


def _software(report: _Json, name: str) -> Iterator[str]:
    options = report["methods"][name]["about"]["options"]
    yield f"{_program(name, options)} The figures below come from:"
    yield f"```sh\n{report['command']}\n```"
    yield _bullets(report["made_with"])
    yield (
        f"Options of the method: {json.dumps(options)}." if options else "The method has its default options."
    )


def _program(name: str, options: _Json) -> str:
    if name in MARKS:
        return (
            "`ticket_sig`, a Python package under the MIT licence, with its own tests. A mark is used by the "
            "verbs `embed`, `train`, `extract`, `verify` and `ask`. Each is explained by `--help` and in "
            "docs/guide.md, and what a verdict proves in docs/verdicts.md."
        )
    if "file" in options:
        return (
            f"(`{options['file']}`, a plug-in: its author says here how it is used, and under which licence.)"
        )
    return (
        "`ticket_sig`, a Python package under the MIT licence, with its own tests; the module "
        "`ticket_sig.evaluation.fingerprint`."
    )


def _training(report: _Json, name: str) -> Iterator[str]:
    settings, about = report["settings"], report["methods"][name]["about"]
    yield "Each network is trained with a seed of its own (seed, seed + 1, ...), by this recipe:"
    yield _bullets(tables.of_training(settings["recipe"]))
    if about["subject"] == "ticket":
        pruned = f"{100 * settings['pruned']:g} %"
        yield f"Then the smallest {pruned} of its weights, of all layers together, are pruned in one shot."
    if about["family"] == "passive":
        yield "The method changes no weight and needs no training. The networks are trained on nevertheless."
    elif "file" in about["options"]:
        yield (
            "Then the network is trained on: by `Embedder_one_step`, or as an unmarked one before `Embedder` "
            "puts the mark in. The unmarked networks are trained on as long."
        )
    else:
        yield (
            "Then the mark is put in and the network is trained on with it. The unmarked networks are "
            "trained on as long, so that a difference is due to the mark alone."
        )
    differs = tables.further(settings)
    yield "The further training has the same recipe" + (", with:" if differs else ".")
    if differs:
        yield _bullets(differs)


def _data(settings: _Json) -> str:
    digest = settings["data_digest"].removeprefix("sha256:")
    return (
        f"`{settings['dataset']}` (SHA-256 {digest}); no data set beside it is needed. "
        "Training and testing splits are those of the data set."
    )


def _figures(report: _Json, name: str) -> Iterator[str]:
    method = report["methods"][name]
    if method["imperceptibility"]:
        yield f"**Imperceptibility**\n\n{tables.quality(method).markdown()}"
    if method["robustness"]:
        yield f"**Robustness** (* ratios of the standard)\n\n{tables.robustness(report, name).markdown()}"
    if method["cost"]:
        yield f"**Computational cost**\n\n{tables.costs({**report, 'methods': {name: method}}).markdown()}"


def _bullets(facts: _Json) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {tables.text(value)}" for name, value in facts.items())
