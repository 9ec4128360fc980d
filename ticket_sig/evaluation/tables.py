"""What a report says, as tables: for the page, the dossier and a text alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ticket_sig.statistics import format_p

NONE = "none"  # the entry of a report that stands for no modification
MIB = 2**20
# Fields of a recipe that decide nothing here: networks are trained once, and pruned in one shot or not.
_OF_SEARCH = {"rewind", "retrain", "scope", "rates", "rounds", "density", "tolerance", "exclude"}

_Json = Mapping[str, Any]


class Cell(NamedTuple):
    """One number of a table.

    Attributes:
        text: the number.
        interval: its interval of 95 %, empty where there is none.
        share: 0 to 1, of what can be shown as a bar.
    """

    text: str = ""
    interval: str = ""
    share: float | None = None

    def __str__(self) -> str:
        """`-0.21 (-0.40 to -0.02)`."""
        return f"{self.text} ({self.interval})" if self.interval else self.text


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        title: what it shows.
        columns: heads; the first column names the row.
        rows: as long as `columns`.
        notes: sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table in Markdown, its notes below it."""
        lines = [self.columns, tuple("---" for _ in self.columns)]
        lines += [tuple(str(cell).replace("|", "\\|") for cell in row) for row in self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([table, *self.notes])


def text(value: Any) -> str:
    """A fact as it is read: `yes`, `none`, `0.2, 0.1`."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(share: float) -> str:
    """A share in %, with one decimal where it has one."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def of_rate(rate: _Json | None, *, rest: bool = False) -> Cell:
    """A `Rate` of a report, or of its rest (found, where those not found are counted)."""
    if rate is None:
        return Cell()
    share, low, high = (rate[name] for name in ("rate", "low", "high"))
    if rest:
        share, low, high = 1 - share, None if high is None else 1 - high, None if low is None else 1 - low
    known = low is not None and high is not None
    return Cell(percent(share), f"{100 * low:.0f} to {100 * high:.0f} %" if known else "", share)


def of_stat(stat: _Json | None, shown: str = "{:.2f}", scale: float = 1) -> Cell:
    """A `Stat` of a report: its mean and its interval, both divided by a scale."""
    if stat is None:
        return Cell()
    low, high = stat["low"], stat["high"]
    known = low is not None and high is not None
    interval = f"{shown.format(low / scale)} to {shown.format(high / scale)}" if known else ""
    return Cell(shown.format(stat["mean"] / scale), interval)


def intensity(step: _Json) -> str:
    """`S = 0.2`."""
    return f"{step['parameter']} = {step['intensity']:g}"


def by_modification(report: _Json) -> dict[str, list[_Json]]:
    """The settings of each modification, the weakest intensity first; none where robustness was left out."""
    settings, found = report["settings"], dict[str, list[_Json]]()
    for step in settings["modifications"] if "robustness" in settings["parts"] else ():
        found.setdefault(step["name"], []).append(step)
    return found


def measured(method: _Json, name: str = NONE, at: float | None = None) -> _Json | None:
    """What was measured of a method under a modification at an intensity; None where nothing was."""
    entries = method["robustness"] or ()
    return next((one for one in entries if (one["modification"], one["intensity"]) == (name, at)), None)


def missed(entry: _Json | None, kind: str) -> _Json | None:
    """How often a marked network is not found (`detector`), or a symbol of one is wrong (`decoder`)."""
    if entry is None or entry[kind] is None:
        return None
    found: _Json | None = entry[kind]["false_negatives" if kind == "detector" else "marked"]
    return found


def verified(entry: _Json | None) -> Cell:
    """Share of the marked networks that are found; without a detector, of the symbols read right."""
    of = missed(entry, "detector")
    return of_rate(missed(entry, "decoder") if of is None else of, rest=True)


def _middle(report: _Json) -> list[_Json]:
    """Of each modification the middle intensity."""
    return [steps[len(steps) // 2] for steps in by_modification(report).values()]


def summary(report: _Json) -> Table:
    """All methods, one a row: what the mark costs, and what is left of it after each modification."""
    steps = _middle(report)
    rows = [
        (
            Cell(name),
            of_stat(method["imperceptibility"] and method["imperceptibility"]["difference"], "{:+.2f}"),
            verified(measured(method)),
            _false_claims(measured(method)),
            *(verified(measured(method, step["name"], step["intensity"])) for step in steps),
        )
        for name, method in report["methods"].items()
    ]
    heads = [f"{step['name']}, {intensity(step)}{'' if step['in_range'] else ' *'}" for step in steps]
    columns = ("method", "accuracy, points", "found", "false claims", *heads)
    return _without_empty(Table("Summary", columns, tuple(rows), _summary_notes(report, steps)))


def left_out(report: _Json) -> tuple[str, ...]:
    """Each method that has no room in the network, and why."""
    return tuple(f"Left out: {name}: {why}." for name, why in report.get("left_out", {}).items())


def _summary_notes(report: _Json, steps: Sequence[_Json]) -> tuple[str, ...]:
    models, payloads, parts = (report["settings"][name] for name in ("models", "payloads", "parts"))
    quality = "Accuracy: marked minus unmarked, paired. " if "imperceptibility" in parts else ""
    found = (
        "Found: marked networks in which the mark is found. False claims: unmarked networks in which it is "
        "found, each tried with all keys of its model. Under a modification: found after it. "
    )
    networks = f"Networks of a method: {models * payloads} marked, {models} unmarked."
    notes = [f"{quality}{found if 'robustness' in parts else ''}{networks}", *left_out(report)]
    blind = [name for name, method in report["methods"].items() if not method["about"]["detector"]]
    if blind:
        notes.append(f"No detector, so symbols read right in place of networks: {', '.join(blind)}.")
    if any(_undone(method, step) for method in report["methods"].values() for step in steps):
        notes.append("No figure: the modification could not be done. The tables of the methods say why.")
    if any(not step["in_range"] for step in steps):
        notes.append("* outside the range of the standard.")
    return tuple(notes)


def _undone(method: _Json, step: _Json) -> bool:
    return not verified(measured(method, step["name"], step["intensity"])).text


def symbol_errors(report: _Json) -> Table:
    """Symbols read wrong of marked networks, of each method with a decoder."""
    steps = _middle(report)
    decoders = {name: one for name, one in report["methods"].items() if missed(measured(one), "decoder")}
    rows = [
        (
            Cell(name),
            Cell(f"{method['about']['symbols']} {method['about']['carries']}"),
            of_rate(missed(measured(method), "decoder")),
            *(of_rate(missed(measured(method, s["name"], s["intensity"]), "decoder")) for s in steps),
        )
        for name, method in decoders.items()
    ]
    heads = (f"{step['name']}, {intensity(step)}" for step in steps)
    return _without_empty(
        Table("Symbols read wrong", ("method", "payload", "unmodified", *heads), tuple(rows))
    )


def costs(report: _Json) -> Table:
    """Memory and time of injection (or extraction) and detection (or matching)."""
    columns = (
        "method",
        "epoch, s",
        "epochs",
        "memory, MiB",
        "device memory, MiB",
        "inference, ms",
        "detection, s",
        "detection memory, MiB",
    )
    rows = []
    for name, method in report["methods"].items():
        cost = method["cost"] or {}
        put, got = cost.get("injection") or {}, cost.get("detection") or {}
        rows.append(
            (
                Cell(name),
                of_stat(put.get("epoch_seconds")),
                of_stat(put.get("epochs"), "{:g}"),
                of_stat(put.get("host_memory"), "{:.1f}", MIB),
                of_stat(put.get("device_memory"), "{:.1f}", MIB),
                of_stat(put.get("inference_seconds"), "{:.1f}", 1e-3),
                of_stat(got.get("seconds"), "{:.3f}"),
                of_stat(got.get("host_memory"), "{:.1f}", MIB),
            )
        )
    notes = ["Memory is the peak over what was held before."]
    if any(one["about"]["family"] == "passive" for one in report["methods"].values()):
        notes.append(
            "Of a passive method, injection is extraction of the fingerprint, and detection is matching."
        )
    return _without_empty(Table("Computational cost", columns, tuple(rows), tuple(notes)))


def quality(method: _Json) -> Table:
    """Accuracy, precision and recall of a method's networks, with and without the mark."""
    told = method["imperceptibility"]
    rows = (
        (
            Cell("accuracy"),
            of_stat(told["accuracy"]["unmarked"]),
            of_stat(told["accuracy"]["marked"]),
            of_stat(told["difference"], "{:+.2f}"),
        ),
        *(
            (
                Cell(what),
                *(Cell(f"{_of_classes(told[networks], what):.2f}") for networks in ("unmarked", "marked")),
                of_stat(told[f"{what}_difference"], "{:+.2f}"),
            )
            for what in ("precision", "recall")
        ),
    )
    note = "Precision and recall are means over the classes."
    return Table(
        "Imperceptibility", ("quality, %", "unmarked", "marked", "difference, points"), rows, (note,)
    )


def _of_classes(networks: Sequence[_Json], what: str) -> float:
    """Mean over networks of the mean over the classes that have a number."""
    each = [[row[what] for row in one["classes"] if row[what] is not None] for one in networks]
    return float(np.mean([np.mean(known) for known in each]))


def classes(method: _Json) -> Table:
    """Precision and recall by class, each a mean over networks."""
    told = method["imperceptibility"]
    rows = []
    for index in range(len(told["unmarked"][0]["classes"])):
        row = [Cell(str(index))]
        for kind in ("precision", "recall"):
            for networks in (told["unmarked"], told["marked"]):
                values = [one["classes"][index][kind] for one in networks]
                known = [value for value in values if value is not None]
                row.append(Cell(f"{sum(known) / len(known):.1f}" if known else ""))
        rows.append(tuple(row))
    heads = ("class", "precision, unmarked", "marked", "recall, unmarked", "marked")
    return Table("Precision and recall by class, %", heads, tuple(rows))


def robustness(report: _Json, name: str) -> Table:
    """A method under every modification: our rates beside the standard's ratios."""
    method = report["methods"][name]
    columns = (
        "modification",
        "intensity",
        "found",
        "false claims",
        "false-negative ratio *",
        "false-positive ratio *",
        "symbols wrong",
        "symbol error rate *",
        "p-value, largest of marked",
        "p-value, smallest of unmarked",
        "accuracy, %",
    )
    steps = {(one["name"], one["intensity"]): one for one in report["settings"]["modifications"]}
    rows = []
    for entry in method["robustness"] or ():
        step = steps.get((entry["modification"], entry["intensity"]))
        stamp = "" if entry["in_range"] in (None, True) else "outside the range"
        at = Cell(intensity(step) if step else "", stamp)
        rows.append((Cell(entry["modification"]), at, *_numbers(entry)))
    return _without_empty(Table("Robustness", columns, tuple(rows), _not_measured(method)))


def _not_measured(method: _Json) -> tuple[str, ...]:
    """Each reason once, with the modifications and intensities that it holds for."""
    reasons: dict[str, dict[str, list[float | None]]] = {}
    for entry in method["robustness"] or ():
        for reason in entry["not_measured"]:
            reasons.setdefault(reason, {}).setdefault(entry["modification"], []).append(entry["intensity"])
    return tuple(f"{'; '.join(map(_listed, where.items()))}: {why}" for why, where in reasons.items())


def _listed(where: tuple[str, Iterable[float | None]]) -> str:
    return f"{where[0]} {', '.join(f'{at:g}' for at in where[1] if at is not None)}".rstrip()


def _numbers(entry: _Json) -> Iterator[Cell]:
    detector, decoder = entry["detector"], entry["decoder"]
    said = detector["standard"] if detector else {}
    yield of_rate(missed(entry, "detector"), rest=True)
    yield _false_claims(entry)
    yield _ratio(said.get("false_negative_ratio"))
    yield _ratio(said.get("false_positive_ratio"))
    yield of_rate(missed(entry, "decoder"))
    yield _ratio(decoder["standard"]["symbol_error_rate"] if decoder else None)
    marked, unmarked = (
        [one for one in entry["log10_p"][kind] if one is not None] for kind in ("marked", "unmarked")
    )
    yield Cell(format_p(max(marked)) if marked else "")
    yield Cell(format_p(min(unmarked)) if unmarked else "")
    yield of_stat(entry["accuracy"]["after"], "{:.1f}")


def _false_claims(entry: _Json | None) -> Cell:
    return of_rate(entry["detector"]["false_positives"] if entry and entry["detector"] else None)


def _ratio(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.3f}")


def _without_empty(table: Table) -> Table:
    """The table without columns in which nothing stands."""
    kept = [i for i in range(len(table.columns)) if any(str(row[i]) for row in table.rows)]

    def of(row: Iterable[Any]) -> tuple[Any, ...]:
        cells = tuple(row)
        return tuple(cells[i] for i in kept)

    return Table(table.title, of(table.columns), tuple(of(row) for row in table.rows), table.notes)


def hidden(report: _Json) -> dict[str, str]:
    """What each ratio of the standard hides, in a sentence with the numbers of this report."""
    payloads = report["settings"]["payloads"]
    of = f"M (D + 1) networks, here D = {payloads}"
    all_yes, all_no = 1 / (payloads + 1), payloads / (payloads + 1)
    return {
        "false-positive ratio": (
            f"It is counted over all {of}: a detector that always says yes scores {all_yes:.3f} and not 1. "
            "Our rate of false claims counts unmarked networks alone."
        ),
        "false-negative ratio": (
            f"It is counted over all {of}: a detector that always says no scores {all_no:.3f} and not 1. "
            "Our share of what is found counts marked networks alone."
        ),
        "symbol error rate": (
            "The unmarked networks enter its average, and nothing stands in them: a perfect decoder "
            f"that returns random bits there scores {all_yes / 2:.3f} and not 0. "
            "Our share of wrong symbols counts marked networks alone."
        ),
    }


def of_training(recipe: _Json) -> dict[str, Any]:
    """What counts of a recipe where one network is trained: nothing of a search for tickets."""
    return {name: value for name, value in recipe.items() if name not in _OF_SEARCH}


def further(settings: _Json) -> dict[str, Any]:
    """What the further training has otherwise than the initial one."""
    first, then = (of_training(settings[name]) for name in ("recipe", "further"))
    return {name: value for name, value in then.items() if value != first.get(name)}


def rule_of_ten(report: _Json) -> str:
    """Whether the data set has ten times more entries than the network has weights, counted both ways."""
    task, rule = report["task"], report["task"]["rule_of_ten"]
    ways = [
        f"counted as {way}, {rule[way]:,} entries are {'enough' if rule[f'by_{way}'] else 'too few'}"
        for way in ("samples", "values")
    ]
    weights = f"The network has {task['weights']:,} weights"
    return f"The standard asks for ten entries a weight. {weights}: {'; '.join(ways)}."
