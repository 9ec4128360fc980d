"""Plots of a report: errors over intensity, and verification against utility, all methods side by side.

A panel is a modification. The page has each panel as SVG of its own, so that it fits a phone; `draw` has them
all in one PNG.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ticket_sig.errors import needs_extra
from ticket_sig.evaluation.report import EXTRA
from ticket_sig.evaluation.tables import by_modification, measured, missed, percent
from ticket_sig.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A panel is drawn with these; on the page they follow its light or dark colours.
_INK, _GRID, _PAPER = "#1c2026", "#d7dbe1", "#fefefe"
# Each with a contrast of 3 or more on a light and on a dark page.
COLOURS = ("#2f7fd1", "#d0621a", "#1f8f55", "#c9407b", "#8466cf", "#0f8a94", "#98743a", "#767d88", "#7d8c12")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*")
_LEGEND = {  # the same markers in a box of 16
    "o": "M8 2a6 6 0 1 0 .01 0z",
    "s": "M3 3h10v10H3z",
    "^": "M8 2l6.5 11h-13z",
    "D": "M8 1.5l6 6.5-6 6.5-6-6.5z",
    "v": "M8 14L1.5 3h13z",
    "P": "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
    "X": "M3 1.5l5 4 5-4L14.5 3l-4 5 4 5-1.5 1.5-5-4-5 4L1.5 13l4-5-4-5z",
    "p": "M8 1.5l6.5 5-2.5 7.5H4L1.5 6.5z",
    "*": "M8 1l1.7 5.3H15l-4.2 3.2 1.5 5.1L8 11.5l-4.3 3.1 1.5-5.1L1 6.3h5.3z",
}

_SIDE_BY_SIDE = 1.8  # points between two methods that are equal, so that both are seen
_NARROWEST = 10  # points of accuracy across a panel: less would show chance alone

_Json = Mapping[str, Any]
Draw = Callable[["Axes", _Json, str], None]


@dataclass(frozen=True)
class Style:
    """How a method looks in every plot.

    Attributes:
        colour: hexadecimal.
        marker: of matplotlib.
        path: the marker in SVG, in a box of 16.
    """

    colour: str
    marker: str
    path: str


@dataclass(frozen=True)
class Panel:
    """A plot of one modification.

    Attributes:
        title: the modification.
        label: what it shows, in words.
        svg: the drawing.
    """

    title: str
    label: str
    svg: str


def styles(report: _Json) -> dict[str, Style]:
    """A look for each method of a report."""
    found = {}
    for index, name in enumerate(report["methods"]):
        marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
        found[name] = Style(COLOURS[index % len(COLOURS)], marker, _LEGEND[marker])
    return found


def verification(report: _Json) -> list[Panel]:
    """Share of marked networks that are found against accuracy, by modification."""
    return [_panel(report, name, "found", _verification, _found_words) for name in by_modification(report)]


def errors(report: _Json, kind: str) -> list[Panel]:
    """Errors over intensity, by modification: marks not found (`detector`) or symbols wrong (`decoder`)."""
    if not any(missed(measured(method), kind) for method in report["methods"].values()):
        return []

    def plot(axis: Axes, told: _Json, name: str) -> None:
        _errors(axis, told, name, kind)

    def words(method: _Json, step: _Json) -> str | None:
        rate = missed(measured(method, step["name"], step["intensity"]), kind)
        return None if rate is None else percent(rate["rate"])

    return [_panel(report, name, kind, plot, words) for name in by_modification(report)]


def draw(path: Path, report: _Json) -> None:
    """Draws verification against utility of all modifications as one PNG; nothing where there are none.

    Raises:
        InputError: matplotlib is not installed.
    """
    names, looks = list(by_modification(report)), styles(report)
    if not names:
        return
    columns = min(4, len(names) + 1)
    rows = math.ceil((len(names) + 1) / columns)  # one more for the legend
    with _figure(3.1 * columns, 2.9 * rows, layout="constrained") as figure:
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, name in zip(axes, names, strict=False):
            _verification(axis, report, name)
            axis.set_title(name, fontsize=10, loc="left", color=_INK)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        for name, look in looks.items():
            axes[len(names)].plot([], [], look.marker, color=look.colour, label=name)
        axes[len(names)].legend(loc="center", frameon=False, fontsize=9, labelcolor=_INK)
        with whole_file(path) as partial:
            figure.savefig(partial, format="png", dpi=144, facecolor="white")


@contextmanager
def _figure(
    width: float, height: float, salt: str = "", layout: Literal["constrained"] | None = None
) -> Iterator[Figure]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise needs_extra("matplotlib", EXTRA, "the plots of an evaluation") from None
    # The same report gives the same bytes; words stay words. The salt keeps names of two drawings apart.
    own = f"ticket_sig {salt}"
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": own, "text.parse_math": False}):
        yield Figure(figsize=(width, height), layout=layout)


def _panel(
    report: _Json, name: str, kind: str, plot: Draw, words: Callable[[_Json, _Json], str | None]
) -> Panel:
    with _figure(3.6, 2.8, salt=f"{kind} {name}") as figure:
        figure.subplots_adjust(left=0.15, right=0.96, bottom=0.17, top=0.97)
        plot(figure.subplots(), report, name)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    strongest = by_modification(report)[name][-1]
    told = {one: words(method, strongest) for one, method in report["methods"].items()}
    each = "; ".join(f"{one} {value}" for one, value in told.items() if value)
    at = f"{strongest['parameter']} = {strongest['intensity']:g}"
    return Panel(name, f"{name}, {at}: {each or 'not measured'}", _inline(drawn.getvalue()))


def _inline(svg: str) -> str:
    """SVG for a page: no head, no style sheet, no names that others have too, colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    for colour, named in ((_INK, "currentColor"), (_GRID, "var(--line)"), (_PAPER, "var(--paper)")):
        svg = svg.replace(colour, named)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)


def _dress(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x, color=_INK, fontsize=9)
    axis.set_ylabel(y, color=_INK, fontsize=9)
    axis.tick_params(colors=_INK, labelsize=8, length=0)
    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_GRID)
    axis.set_ylim(-8, 108)
    axis.set_yticks([0, 25, 50, 75, 100])


def _found(entry: _Json | None) -> tuple[float, float, float] | None:
    """Share in % of what is found, and its interval; of symbols read right where there is no detector."""
    of = missed(entry, "detector") or missed(entry, "decoder")
    if of is None:
        return None
    low, high = (of["rate"] if of[side] is None else of[side] for side in ("low", "high"))
    return 100 - 100 * of["rate"], 100 - 100 * high, 100 - 100 * low


def _found_words(method: _Json, step: _Json) -> str | None:
    entry = measured(method, step["name"], step["intensity"])
    share = _found(entry)
    if entry is None or share is None or entry["accuracy"]["after"] is None:
        return None
    return f"found {percent(share[0] / 100)} at an accuracy of {entry['accuracy']['after']['mean']:.1f} %"


def _entries(method: _Json, steps: Sequence[_Json]) -> Iterator[tuple[int, _Json | None]]:
    """What was measured of a method without a modification (0), and at each intensity of one (1, ...)."""
    each = (measured(method, step["name"], step["intensity"]) for step in steps)
    return enumerate([measured(method), *each])


def _verification(axis: Axes, report: _Json, name: str) -> None:
    """From the unmodified networks (hollow) to the strongest intensity (the largest marker)."""
    steps, looks = by_modification(report)[name], styles(report)
    for place, (one, method) in enumerate(report["methods"].items()):
        found = [(index, entry, _found(entry)) for index, entry in _entries(method, steps)]
        points = [(i, entry["accuracy"]["after"], y) for i, entry, y in found if entry and y]
        points = [(i, x, y) for i, x, y in points if x]
        if not any(i for i, *_ in points):  # the modification could not be done to it
            continue
        colour, shift = looks[one].colour, _SIDE_BY_SIDE * ((len(looks) - 1) / 2 - place)
        axis.plot([x["mean"] for _, x, _ in points], [y[0] + shift for *_, y in points], color=colour, lw=1)
        for index, x, (y, low, high) in points:
            across = [[0.0 if x[side] is None else abs(x[side] - x["mean"])] for side in ("low", "high")]
            beside, up = (x["mean"], y + shift), [[y - low], [high - y]]
            axis.errorbar(*beside, up, across, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.5)
            inside = colour if index else _PAPER
            marker, large = looks[one].marker, 4.5 + index
            axis.plot(*beside, marker, color=colour, mfc=inside, ms=large, zorder=3, clip_on=False)
    _dress(axis, "accuracy, %", "found, %")
    low, high = axis.get_xlim()
    high = min(high, 102)  # an interval of two networks can reach beyond what an accuracy can be
    axis.set_xlim(max(-2, min(low, high - _NARROWEST)), high)


def _errors(axis: Axes, report: _Json, name: str, kind: str) -> None:
    steps = by_modification(report)[name]
    looks = styles(report)
    for index, (one, method) in enumerate(report["methods"].items()):
        found = [(at, missed(entry, kind)) for at, entry in _entries(method, steps)]
        rates = [(at, rate) for at, rate in found if rate]
        shift = 0.05 * (index - (len(looks) - 1) / 2)
        y = [100 * rate["rate"] for _, rate in rates]
        axis.errorbar(
            [at + shift for at, _ in rates],
            y,
            [_reach(rates, "low"), _reach(rates, "high")],
            fmt=looks[one].marker,
            linestyle="-",
            color=looks[one].colour,
            ms=5,
            lw=1.2,
            elinewidth=0.9,
        )
    _dress(
        axis,
        f"{steps[0]['parameter']}, {steps[0]['unit']}",
        "not found, %" if kind == "detector" else "wrong, %",
    )
    ticks = ["none", *(f"{step['intensity']:g}{'' if step['in_range'] else ' *'}" for step in steps)]
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set_xlim(-0.4, len(ticks) - 0.6)


def _reach(rates: Sequence[tuple[int, _Json]], side: str) -> list[float]:
    """How far the intervals reach to a side, in %."""
    return [0.0 if rate[side] is None else 100 * abs(rate[side] - rate["rate"]) for _, rate in rates]
