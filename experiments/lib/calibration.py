"""Calibration: how p-values of innocents are distributed, told and drawn against uniform ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_1samp, uniform

from experiments.lib.showing import save_picture
from ticket_sig.statistics import LOG10_SECRETS, corrected, format_p
from ticket_sig.verdict import LOG10_THRESHOLD

GRID = tuple(-n / 20 for n in range(141))  # log10 p at which readings are counted


@dataclass(frozen=True)
class Curve:
    """One line of the picture.

    Attributes:
        counts: readings of p or less, at every p of `GRID`.
        readings: in all.
    """

    label: str
    counts: NDArray[np.int64]
    readings: int

    @classmethod
    def of(cls, label: str, secrets: int, several: Sequence[Mapping[str, Any]]) -> Curve:
        """Several distributions of networks, each under so many secrets, as one."""
        counts = np.sum([one["counts"] for one in several], axis=0)
        return cls(label, counts, secrets * sum(one["networks"] for one in several))


def distribution(found: NDArray[np.float64], messages: float) -> dict[str, Any]:
    """What is kept of p-values.

    Args:
        found: log10, [networks, secrets], for one secret and one message.
        messages: log10 of those that could have been chosen from.
    """
    best = float(found.min())
    tests = [ks_1samp(10**row, uniform.cdf, alternative="greater") for row in found]
    return {
        "networks": len(found),
        "accepted": int((found + LOG10_SECRETS + messages < LOG10_THRESHOLD).sum()),
        "smallest": best,
        "corrected": corrected(best, LOG10_SECRETS, messages),
        "counts": [int((found <= at).sum()) for at in GRID],
        "above_uniform": max(float(test.statistic) for test in tests),
        "ks": min(1.0, len(found) * min(float(test.pvalue) for test in tests)),
    }


def shown(kind: Mapping[str, Any]) -> tuple[object, ...]:
    """A distribution, for a table: accepted, smallest p, with all freedom, most above uniform, KS test."""
    smallest, whole = format_p(kind["smallest"]), format_p(kind["corrected"])
    return kind["accepted"], smallest, whole, f"{kind['above_uniform']:.4f}", f"{kind['ks']:.2g}"


def draw(path: Path, panels: Mapping[str, Sequence[Curve]]) -> None:
    """Draws shares of readings with a p-value or less, against it; one panel a mark, by its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    at = 10 ** np.array(GRID)
    for axes, (name, curves) in zip(
        figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True
    ):
        axes.plot(at, at, "k--", label="uniform")
        for one in curves:
            there = one.counts > 0
            axes.plot(at[there], one.counts[there] / one.readings, label=one.label)
        axes.set(title=name, xlabel="p, for one secret and one message", xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="share of readings with this p or less")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), ncols=3, fontsize=8, loc="outside lower center"
    )
    save_picture(path, figure)
