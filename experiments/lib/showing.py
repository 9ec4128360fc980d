"""How a result is shown: a table with ours beside the paper's, picture, CSV and a section of RESULTS.md."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.lib.bench import Bench
from experiments.lib.sections import table, write_section
from ticket_sig.cells import Cell
from ticket_sig.files import whole_file
from ticket_sig.training import Recipe

_CURVE = 50  # so many points are a curve, and have no marks of their own


@dataclass(frozen=True)
class Line:
    """One line of a picture: what is plotted over what, with the spread over seeds."""

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    spread: Sequence[float] = ()
    published: bool = False


@dataclass(frozen=True)
class Result:
    """What an experiment shows.

    Attributes:
        columns: heads of the table, parted by " | ".
        rows: of the table, ours beside the paper's.
        notes: what it says and where it differs, and why.
        lines, x, y: of the picture; or `draw`, which writes it.
        recipe: of the trainings, where there are any.
        limits: what this scale cannot show; overrides `Scale.limits`.
        spread: what the mean and the standard deviation are taken over (`seeds`).
    """

    columns: str
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    lines: Sequence[Line] = ()
    x: str = ""
    y: str = "test accuracy in %"
    draw: Callable[[Path], None] | None = None
    recipe: Recipe | None = None
    limits: str = ""
    spread: str = "seeds"


class Experiment(Protocol):
    """A module of `catalogue.RESULTS`: one table or figure."""

    TITLE: str

    def cells(self, bench: Bench) -> list[Cell]:
        """What is to be measured, the most telling first."""

    def result(self, bench: Bench) -> Result:
        """What the measured cells show."""


def not_run(bench: Bench, published: Iterable[str]) -> str:
    """What the paper has and this scale has not, as a note."""
    missing = [name for name in published if name not in map(str, bench.scale.subjects)]
    return f"Not run at this scale: {', '.join(dict.fromkeys(missing)) or 'nothing'}."


def summary(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, with their number."""
    if not values:
        return "not run"
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1)"
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.{digits}f} ± {spread:.{digits}f} ({len(values)})"


def line(label: str, x: Sequence[Any], values: Sequence[Sequence[float]], published: bool = False) -> Line:
    """A line of the points that were measured."""
    points = [(at, found) for at, found in zip(x, values, strict=True) if found]
    return Line(
        label,
        [at for at, _ in points],
        [statistics.mean(found) for _, found in points],
        [statistics.stdev(found) if len(found) > 1 else 0.0 for _, found in points],
        published,
    )


def write(name: str, experiment: Experiment, bench: Bench, folder: Path) -> str:
    """Writes table, picture and section of one experiment; returns the section."""
    result, name = experiment.result(bench), f"{name}-{bench.scale.name}"
    columns = result.columns.split(" | ")
    with whole_file(folder / "tables" / f"{name}.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *result.rows])
    picture = folder / "figures" / f"{name}.png"
    if result.draw is not None:
        result.draw(picture)
    elif result.lines:
        plot(picture, experiment.TITLE, result)
    drawn = result.draw is not None or bool(result.lines)
    body = [
        *table(columns, result.rows),
        "",
        *(f"- {note}" for note in result.notes),
        "",
        *([f"![{experiment.TITLE}](figures/{name}.png)", ""] if drawn else []),
        f"Scale {bench.scale.name}: {result.limits or bench.scale.limits}",
        *_made_how(experiment, bench, result),
    ]
    return write_section(folder, f"{experiment.TITLE} (scale {bench.scale.name})", "\n".join(body))


def _made_how(experiment: Experiment, bench: Bench, result: Result) -> list[str]:
    cells = {cell.file: cell for cell in experiment.cells(bench)}.values()
    if not cells:
        return []
    measured = bench.store.found(cells)
    made = dict.fromkeys(json.dumps(m["made_with"]) for m in measured if m.get("made_with"))
    recipe = [f"Recipe (seed 0): `{json.dumps(result.recipe.to_json())}`", ""] if result.recipe else []
    how = [f"`{text}`" for text in made]
    said = (
        f"{len(measured)} of {len(cells)} cells measured. Mean ± standard deviation (number of "
        f"{result.spread}); accuracies are of the test split, float32, of the last epoch."
    )
    return ["", *recipe, said, *(["", "Made with:", "", *how] if how else [])]


def plot(path: Path, title: str, result: Result) -> None:
    """Draws lines with error bars, ours solid and the paper's dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for one in result.lines:
        style: dict[str, Any] = {"marker": "o", "capsize": 3}
        if one.published:
            style = {"linestyle": "--", "alpha": 0.6, "marker": "x"}
        if len(one.x) > _CURVE:
            style["marker"] = ""
        axes.errorbar(one.x, one.mean, yerr=one.spread or None, label=one.label, **style)
    axes.set(title=title, xlabel=result.x, ylabel=result.y)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, ncols=2, loc="outside lower center")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
