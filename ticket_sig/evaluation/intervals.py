"""Numbers of a report with their intervals of 95 %, as JSON: means, rates, and errors of decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # `scipy.stats` takes half a second to import, and is imported where it is first used

_LEVEL = 0.95
_RESAMPLES = 9999


def stat(values: Sequence[float], models: Sequence[int] | None = None) -> dict[str, Any] | None:
    """Mean with the interval of Student's t; no interval of a single value, and nothing of none.

    Args:
        models: of each value, where several values are of one. They share its networks, and a difference its
            unmarked one: so the interval is over the means of the models, and `n` is how many there are.
    """
    if not values:
        return None
    groups: dict[int, list[float]] = {}
    for model, value in zip(range(len(values)) if models is None else models, values, strict=True):
        groups.setdefault(model, []).append(value)
    means = [float(np.mean(group)) for group in groups.values()]
    mean, n, low, high = float(np.mean(means)), len(means), None, None
    if n > 1:
        half = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, n - 1) * np.std(means, ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "n": n, "values": list(map(float, values))}


def rate(count: int, of: int) -> dict[str, Any] | None:
    """How many of how many, with Wilson's interval; nothing where there are none."""
    if not of:
        return None
    interval = scipy.stats.binomtest(count, of).proportion_ci(_LEVEL, method="wilson")
    low, high = max(0.0, float(interval.low)), min(1.0, float(interval.high))
    return {"count": count, "of": of, "rate": count / of, "low": low, "high": high}


def error_rate(errors: Sequence[int], symbols: Sequence[int]) -> dict[str, Any] | None:
    """Errors over all symbols of some networks; the interval is a bootstrap over the networks (percentiles).

    Symbols of one network fail together, so that an interval over symbols would be too narrow. Where all
    networks have the same share, as a single one has, there is none: no resample would differ. The resamples
    are always the same, so that a report can be made again.
    """
    total = sum(symbols)
    if not total:
        return None
    low, high = None, None
    if len({e / s for e, s in zip(errors, symbols, strict=True) if s}) > 1:
        found = scipy.stats.bootstrap(
            (errors, symbols),
            lambda e, s, axis: e.sum(axis) / s.sum(axis),
            paired=True,
            vectorized=True,
            confidence_level=_LEVEL,
            n_resamples=_RESAMPLES,
            method="percentile",
            random_state=np.random.RandomState(0),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    value = {"errors": sum(errors), "symbols": total, "rate": sum(errors) / total}
    return {**value, "low": low, "high": high}
