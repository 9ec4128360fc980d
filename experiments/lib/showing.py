"""How a result is shown: a table with ours beside the paper's, picture, CSV and a section of RESULTS.md."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments.lib.bench import Bench
from experiments.lib.document import Section, write_section
from experiments.lib.judging import Beside
from experiments.lib.sections import table
from ticket_sig.cells import Cell
from ticket_sig.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTHING = "none"  # the row of a network that nobody attacked
_CURVE = 50  # so many points are a curve, and have no marks of their own


@dataclass(frozen=True)
class Line:
    """One line of a picture, with its spread over seeds; lines of different data sets are in panels."""

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    spread: Sequence[float] = ()
    published: bool = False
    panel: str = ""


@dataclass(frozen=True)
class Result:
    """What an experiment shows.

    Attributes:
        columns: heads of the table, parted by " | ".
        rows: of the table, ours beside the paper's.
        shown: in Markdown, in place of the table of all rows, which the CSV has.
        notes: what the table alone does not say.
        lines, x, y: of the picture; or `draw`, which writes it.
        limits: what this scale cannot show; where they are not those of the scale itself.
        spread: what the mean and the standard deviation are taken over (`seeds`).
        beside: what the source says.
        found: what the cells show, in a sentence, where it is not the source's.
    """

    columns: str
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    lines: Sequence[Line] = ()
    x: str = ""
    y: str = "test accuracy in %"
    draw: Callable[[Path], None] | None = None
    shown: Sequence[str] = ()
    limits: str = ""
    spread: str = "seeds"
    beside: Beside = field(default_factory=Beside)
    found: str = ""


class Experiment(Protocol):
    """A module of `catalogue.RESULTS`: one table or figure."""

    TITLE: str

    def cells(self, bench: Bench) -> list[Cell]:
        """What is to be measured, the most telling first."""

    def result(self, bench: Bench) -> Result:
        """What the measured cells show."""


def summary(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, with their number."""
    if not values:
        return "not run"
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1)"
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.{digits}f} ± {spread:.{digits}f} ({len(values)})"


def counts(found: Iterable[tuple[str, bool]]) -> str:
    """How many of how many, name by name: `spread 3 of 4, mirror 1 of 4`."""
    named = dict[str, list[bool]]()
    for name, holds in found:
        named.setdefault(name, []).append(holds)
    return ", ".join(f"{name} {sum(each)} of {len(each)}" for name, each in named.items())


def line(
    label: str,
    x: Sequence[Any],
    values: Sequence[Sequence[float]],
    published: bool = False,
    panel: str = "",
) -> Line:
    """A line of the points that were measured."""
    points = [(at, found) for at, found in zip(x, values, strict=True) if found]
    return Line(
        label,
        [at for at, _ in points],
        [statistics.mean(found) for _, found in points],
        [statistics.stdev(found) if len(found) > 1 else 0.0 for _, found in points],
        published,
        panel,
    )


def write(name: str, experiment: Experiment, bench: Bench, folder: Path) -> str:
    """Writes table, picture and section of one experiment; returns the section."""
    result, at = experiment.result(bench), f"{name}-{bench.scale.name}"
    columns = result.columns.split(" | ")
    with whole_file(folder / "tables" / f"{at}.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *result.rows])
    picture = folder / "figures" / f"{at}.png"
    if drawn := result.draw is not None:
        result.draw(picture)
    elif drawn := any(line.x for line in result.lines):
        plot(picture, experiment.TITLE, result)
    cells = {cell.file: cell for cell in experiment.cells(bench)}.values()
    measured = [(cell, found) for cell in cells if (found := bench.store.measured(cell)) is not None]
    section = Section(
        at,
        f"{experiment.TITLE} (scale {bench.scale.name})",
        result.beside.judged(name, len(measured), len(cells), result.found),
        [
            *_table(result, at),
            "",
            *(f"- {note}" for note in [*result.notes, *_of_this_scale(bench, result)]),
            *(["", f"![{experiment.TITLE}](figures/{at}.png)"] if drawn else []),
        ],
        f"{len(measured)} of {len(cells)} cells measured." if cells else "",
        [cell.asked["recipe"] for cell, _ in measured],
        [found["made_with"] for _, found in measured if found.get("made_with")],
    )
    return write_section(folder, section)


def _table(result: Result, at: str) -> list[str]:
    if result.shown:
        return [*result.shown, "", f"[All rows](tables/{at}.csv), as CSV."]
    return table(result.columns.split(" | "), result.rows) if result.rows else []


def _of_this_scale(bench: Bench, result: Result) -> list[str]:
    limits = [f"Scale {bench.scale.name}: {result.limits}"] if result.limits else []
    return limits + ([f"Spreads are over {result.spread}."] if result.spread != "seeds" else [])


def plot(path: Path, title: str, result: Result) -> None:
    """Draws lines with error bars, ours solid and the paper's dashed, panel by panel."""
    from matplotlib.figure import Figure

    panels = dict[str, list[Line]]()
    for one in (line for line in result.lines if line.x):
        panels.setdefault(one.panel, []).append(one)
    figure = Figure(figsize=(1.6 + 4.8 * len(panels), 4.8), layout="constrained")
    figure.suptitle(title)
    for axes, (panel, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _plotted(axes, lines)
        axes.set(title=panel if len(panels) > 1 else "", xlabel=result.x, ylabel=result.y)
    save_picture(path, figure)


def _plotted(axes: Axes, lines: Sequence[Line]) -> None:
    """One panel, with the key to its own lines under it."""
    for one in lines:
        style: dict[str, Any] = {"marker": "o", "capsize": 3}
        if one.published:
            style = {"linestyle": "--", "alpha": 0.6, "marker": "x"}
        if len(one.x) > _CURVE:
            style["marker"] = ""
        axes.errorbar(one.x, one.mean, yerr=one.spread or None, label=one.label, **style)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def save_picture(path: Path, figure: Figure) -> None:
    """Writes a picture, whole or not at all."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
