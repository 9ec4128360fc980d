"""Spread and mirror code: how sure the verdict is, against what the attacked network is worth."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.carriers import attack_matrix
from experiments.carriers.attack_matrix import OTHER, values_of
from experiments.carriers.carried import ALL, MIRROR, QR, SPREAD
from experiments.lib.bench import Bench
from experiments.lib.showing import NOTHING, Result, save_picture
from ticket_sig.cells import Cell, Measured
from ticket_sig.evaluation.intervals import stat
from ticket_sig.evaluation.plots import COLOURS, MARKERS
from ticket_sig.verdict import LOG10_THRESHOLD

TITLE = "Spread and mirror code: verification against utility"
KINDS = (  # by the first words of an attack
    ("none", ("none",)),
    ("magnitude pruning", ("magnitude", "pruning")),
    ("random pruning", ("random",)),
    ("add-on", ("add-on",)),
    ("quantization, noise", ("quantization", "Gaussian")),
    ("permuted, rescaled", ("channels",)),
    ("fine-tuning", ("fine-tuning",)),
    ("a mark of the thief's own", ("own",)),
)
HEADS = {SPREAD: "spread", MIRROR: "mirror", QR: "QR code"}


def cells(bench: Bench) -> list[Cell]:
    """Those of the matrix."""
    return attack_matrix.cells(bench)


def points(bench: Bench) -> list[tuple[str, list[Measured]]]:
    """Attacks on the network with all three marks, on its own data set."""
    found = values_of(bench, bench.scale.subjects[0], ALL)
    return [(words, values) for words, values in found.items() if values and OTHER not in words]


def result(bench: Bench) -> Result:
    """One row an attack: accuracy and -log10 p of each mark, with their intervals."""
    rows = []
    for words, values in points(bench):
        tails = [_shown([-v["marks"][mark]["log10_p"] for v in values], 1) for mark in HEADS]
        rows.append((words, _shown([v["accuracy"] for v in values], 2), *tails))
    columns = "attack | test % | -log10 p, spread | -log10 p, mirror | -log10 p, QR code"
    notes = (
        "Of the network with all three marks. Mean and interval of 95 % (Student's t over seeds). The broken "
        "line is the threshold of the verdict, the dotted one half of the accuracy above chance: what is to "
        "the right of it is worth stealing, and has to be above the broken one.",
        "Shown as the leaderboard of arXiv 2509.26598 does. The paper has no p-values.",
    )
    return Result(columns, rows, notes, draw=partial(draw, bench=bench), found=_least(bench))


def _half(bench: Bench) -> float | None:
    """Half of the accuracy above chance, in % of the images; None where the network was not measured."""
    whole = [v["accuracy"] for words, of in points(bench) if words == NOTHING for v in of]
    classes = bench.data(bench.scale.subjects[0].dataset).classes
    return (100 / classes + mean(whole)) / 2 if whole else None


def _least(bench: Bench) -> str:
    """How sure the best of the marks is, which decides, after the worst attack that pays."""
    if (half := _half(bench)) is None:
        return ""
    worth = (one for one in points(bench) if mean(v["accuracy"] for v in one[1]) >= half)
    tails, head, words = min(_best(*one) for one in worth)
    return (
        "-log10 p of the best of the three marks, least over the attacks that leave half of the accuracy "
        f"above chance: {tails:.1f} ({head}; {words}), {-LOG10_THRESHOLD:g} needed"
    )


def _best(words: str, values: list[Measured]) -> tuple[float, str, str]:
    """The surest mark after an attack: -log10 p, its name, and the attack."""
    return max(
        (mean(-v["marks"][mark]["log10_p"] for v in values), head, words) for mark, head in HEADS.items()
    )


def _shown(values: list[float], digits: int) -> str:
    found = stat(values)
    assert found is not None
    if found["low"] is None:
        return f"{found['mean']:.{digits}f}"
    return f"{found['mean']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def draw(path: Path, bench: Bench) -> None:
    """A panel for each mark."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.8), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (mark, head) in zip(panels, HEADS.items(), strict=True):
        for words, values in points(bench):
            kind = next(n for n, (_, starts) in enumerate(KINDS) if words.startswith(starts))
            across = stat([value["accuracy"] for value in values])
            up = stat([-value["marks"][mark]["log10_p"] for value in values])
            look: dict[str, Any] = {"color": COLOURS[kind], "marker": MARKERS[kind], "capsize": 2}
            axes.errorbar(*_point(across, up), markersize=6, elinewidth=0.8, **look)
        axes.axhline(-LOG10_THRESHOLD, linestyle="--", color="black", linewidth=0.8)
        if (half := _half(bench)) is not None:
            axes.axvline(half, linestyle=":", color="black", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(-1, 1000)
        axes.set(title=head, xlabel="test accuracy in %")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("-log10 p, corrected")
    for number, (name, _) in enumerate(KINDS):
        panels[0].plot([], [], color=COLOURS[number], marker=MARKERS[number], linestyle="", label=name)
    figure.legend(fontsize=9, ncols=4, loc="outside lower center")
    save_picture(path, figure)


def _point(across: Any, up: Any) -> tuple[list[float], list[float], Any, Any]:
    """x, y and the lengths of their bars, none of a single seed."""
    bars = []
    for found in (up, across):
        low, high = (found["mean"] if found[side] is None else found[side] for side in ("low", "high"))
        bars.append([[max(0.0, found["mean"] - low)], [max(0.0, high - found["mean"])]])
    return [across["mean"]], [up["mean"]], bars[0], bars[1]
