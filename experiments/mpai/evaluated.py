"""What the evaluations share: one cell that holds the report of `ticket-sig evaluate`, and its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.showing import Result
from ticket_sig.cells import Cell, Measured
from ticket_sig.datasets import load_dataset
from ticket_sig.datasets.registry import FREE
from ticket_sig.evaluation.chosen import method_names, methods_named
from ticket_sig.evaluation.evaluate import evaluate
from ticket_sig.evaluation.networks import Evaluation
from ticket_sig.evaluation.plots import draw
from ticket_sig.evaluation.settings import OVERWRITING, PARTS, Settings, further_recipe, modifications_of
from ticket_sig.evaluation.tables import (
    NONE,
    by_modification,
    measured,
    missed,
    of_rate,
    of_stat,
    rule_of_ten,
    verified,
)
from ticket_sig.statistics import format_p
from ticket_sig.training import Steps

_Json = Mapping[str, Any]
WHY = "Few images cannot be as many as the standard asks; what is outside its range is marked."
NETWORKS = ("vgg16-cifar10", "resnet8-cifar10")  # of NNW-TEC
FIRST = ("qr-code", "key-mask", "trigger-set", "freezenet", "uchida", "nct", "mask-fingerprint")


@dataclass(frozen=True)
class Size:
    """How large an evaluation is.

    Attributes:
        models, payloads: M and D; `trained_payloads` of the D where a modification trains.
        epochs: of the initial training; the preset's own where None.
        further: epochs in which a mark is injected; half of the initial ones where None.
    """

    dataset: str
    preset: str
    limits: str
    models: int
    payloads: int
    trained_payloads: int
    intensities: int
    epochs: int | None = None
    further: int | None = None
    methods: tuple[str, ...] = ("all",)
    modifications: str = "all"
    parts: tuple[str, ...] = PARTS


SMOKE = Size(
    "digits",
    "demo",
    "",
    *(1, 1, 1, 1),
    epochs=1,
    further=1,
    methods=("uchida",),
    modifications="quantization",
    parts=("imperceptibility", "robustness"),
)


def evaluated(bench: Bench, size: Size) -> Cell:
    """The report of an evaluation; what it measures stands in RUN, and is found again."""
    recipe = bench.preset(size.preset, "resnet20", size.dataset)
    recipe = recipe if size.epochs is None else replace(recipe, length=Steps(size.epochs))
    names = method_names(size.methods)
    asked = {**vars(size), "methods": list(names), "parts": list(size.parts)}
    del asked["limits"]  # words beside the table

    def measure() -> Measured:
        data, trained = bench.data(size.dataset), bench.native(recipe)
        settings = Settings(
            methods=names,
            recipe=trained,
            further=further_recipe(trained, size.further),
            data_digest=data.digest,
            images=len(data.train),
            models=size.models,
            payloads=size.payloads,
            trained_payloads=size.trained_payloads,
            parts=size.parts,
            modifications=modifications_of(size.modifications, size.intensities),
        )
        evaluation = Evaluation(
            settings=settings,
            out=bench.folder_of("evaluation", asked),
            make_methods=partial(methods_named, names),
            make_data=partial(load_dataset, size.dataset, bench.folder_with(size.dataset)),
            device=str(bench.engine.device),
        )
        workers = 1 if bench.scale.name == "smoke" else torch.get_num_threads()
        return evaluate(evaluation, workers=workers, progress=bench.engine.progress, command=_command(size))

    words = [size.dataset, f"{size.models} networks"]
    return bench.cell("mpai evaluation", measure, recipe, words=words, **asked)


def _command(size: Size) -> str:
    """The same by the command line."""
    words = [f"ticket-sig evaluate {' '.join(size.methods)} --dataset {size.dataset} --preset {size.preset}"]
    words += [f"--{name} {getattr(size, name)}" for name in ("epochs", "further") if getattr(size, name)]
    words += [f"--models {size.models} --payloads {size.payloads} --intensities {size.intensities}"]
    words += [f"--trained-payloads {size.trained_payloads} --modifications {size.modifications}"]
    words += [f"--parts {','.join(size.parts)}"]
    words += [] if size.dataset == FREE else [f"--data DATA/{size.dataset}"]
    return " ".join([*words, "--workers 2 --out REPORT"])


def shown(bench: Bench, size: Size, *later: Size) -> Result:
    """One row a method and modification.

    Args:
        later: evaluations of the same networks, whose rows come after.
    """
    found = {one: bench.store.measured(evaluated(bench, one)) for one in (size, *later)}
    report, *others = found.values()
    columns = (
        "method | modification | intensities | found | false claims | symbols wrong | accuracy, % "
        "| p-value, largest of marked"
    )
    beside = Beside(NETWORKS, WHY)
    if report is None:
        return Result(columns, [], limits=size.limits, beside=beside)
    reports = [report, *filter(None, others)]
    told = [one for one, made in found.items() if made]
    whole = _together(reports)
    notes = (
        f"{size.models} ResNet-20 of {size.dataset}; for each {size.payloads} fresh keys and payloads of a "
        f"method ({size.trained_payloads} where a modification trains)."
        + (" `a / b / c` are three intensities." if size.intensities > 1 else ""),
        *(
            f"{' and '.join(one.methods)}: {one.models} networks, {one.payloads} payloads each; "
            f"{one.intensities} intensity."
            for one in later
            if (one.models, one.trained_payloads) != (size.models, size.trained_payloads)
        ),
        "Found: marked networks in which the detector finds the mark. False claims: networks without it in "
        "which it does. Symbols wrong: of the marked networks. p-value: at the last intensity. A network "
        "that cannot be read counts as not found. * outside the range of the standard.",
        *_payloads(reports),
        *_not_done(reports),
        *_imperceptibility(reports),
        *(line for one in reports for line in _cost(one)),
        rule_of_ten(report),
        *(f"By the command line, with a page to look at: `{_command(one)}`." for one in told),
        "In the picture, methods that are equal are drawn one beside the other, and so above 100 or below 0.",
    )
    _compare(beside, f"resnet20-{size.dataset}", size.models, whole)
    picture = partial(draw, report=whole)
    return Result(columns, list(_rows_of(whole)), notes, draw=picture, limits=size.limits, beside=beside)


def _together(reports: Sequence[_Json]) -> _Json:
    """One report of several that are of the same networks: all methods and modifications."""
    methods: dict[str, _Json] = {}
    for report in reports:
        for name, method in report["methods"].items():
            before = methods[name]["robustness"] if name in methods else []
            methods[name] = {**method, "robustness": [*before, *method["robustness"]]}
    steps = {
        (step["name"], step["intensity"]): step
        for report in reports
        for step in report["settings"]["modifications"]
    }
    settings = {**reports[0]["settings"], "modifications": list(steps.values())}
    return {**reports[0], "settings": settings, "methods": methods}


def _compare(beside: Beside, network: str, models: int, report: _Json) -> None:
    """What the standard asks of an evaluation, and whether it was done: it publishes no numbers."""
    rule = report["task"]["rule_of_ten"]
    beside.said(network, "ten entries a weight", [rule["by_samples"] or rule["by_values"]] * models)
    for method in report["methods"].values():
        for steps in by_modification(report).values():
            done = [one for one in steps if measured(method, one["name"], one["intensity"])]
            inside = [any(one["in_range"] for one in done)] * models
            beside.said(network, "modifications of a method, in range", inside if done else [])


def _rows_of(report: _Json) -> Iterator[tuple[str, ...]]:
    for name, method in report["methods"].items():
        yield from _rows(report, name, method)


def _rows(report: _Json, name: str, method: _Json) -> Iterator[tuple[str, ...]]:
    yield (name, NONE, "", *_entries([measured(method)]))
    for modification, steps in by_modification(report).items():
        each = [(one, measured(method, modification, one["intensity"])) for one in steps]
        there = [(one, entry) for one, entry in each if entry is not None]
        at = " / ".join(f"{one['intensity']:g}{'' if one['in_range'] else ' *'}" for one, _ in there)
        if there:
            found = _entries([entry for _, entry in there])
            yield (name, modification, f"{steps[0]['parameter']} = {at}", *found)


def _entries(entries: Sequence[_Json | None]) -> tuple[str, ...]:
    there = [one for one in entries if one is not None]
    detectors = [one["detector"] for one in there if one["detector"]]
    tails = [p for one in there[-1:] for p in one["log10_p"]["marked"] if p is not None]
    return (
        _each(verified(one).text for one in there),
        _each(of_rate(one["false_positives"]).text for one in detectors),
        _each(of_rate(missed(one, "decoder")).text for one in there),
        _each(of_stat(one["accuracy"]["after"], "{:.1f}").text for one in there),
        format_p(max(tails)) if tails else "",
    )


def _each(texts: Iterable[str]) -> str:
    """The texts of all intensities; nothing where none has one."""
    each = list(texts)
    return " / ".join(text or "-" for text in each) if any(each) else ""


def _payloads(reports: Sequence[_Json]) -> Iterator[str]:
    about = {name: method["about"] for one in reports for name, method in one["methods"].items()}
    told = [f"{name} {one['symbols']} {one['carries']}" for name, one in about.items() if one["symbols"]]
    if told:
        yield f"Payloads: {', '.join(told)}."


def _not_done(reports: Sequence[_Json]) -> Iterator[str]:
    """Why a passive method has no figures of overwriting."""
    passive = [
        name
        for one in reports
        for name, method in one["methods"].items()
        if OVERWRITING in by_modification(one) and method["about"]["family"] == "passive"
    ]
    if passive:
        yield f"Overwriting: not of {', '.join(passive)}, which are passive: they put nothing into a network."


def _imperceptibility(reports: Sequence[_Json]) -> Iterator[str]:
    """Of a method in several reports, which are of the same networks, as the first has it."""
    parts: dict[str, _Json | None] = {}
    for report in reports:
        for name, method in report["methods"].items():
            parts.setdefault(name, method["imperceptibility"])
    told = [f"{name} {of_stat(one['difference'], '{:+.2f}')}" for name, one in parts.items() if one]
    if told:
        yield f"Accuracy, marked minus unmarked, paired, in points (interval of 95 %): {', '.join(told)}."


def _cost(report: _Json) -> Iterator[str]:
    told = []
    for name, method in report["methods"].items():
        if one := method["cost"]:
            detection = of_stat(one["detection"]["seconds"], "{:.3f}")
            told.append(f"{name} {of_stat(one['injection']['epoch_seconds'])} and {detection}")
    if told:
        yield f"Seconds for an epoch of injection, and for a detection (interval of 95 %): {', '.join(told)}."
