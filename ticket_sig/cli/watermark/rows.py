"""What a verdict on a watermark rests on, as the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ticket_sig.verdict import Verdict


def watermark_rows(verdict: Verdict) -> Sequence[tuple[str, object]]:
    """The statistic, what is lacking, the p-value, and all evidence that is one number or one line."""
    from ticket_sig.statistics import format_p
    from ticket_sig.verdict import LOG10_THRESHOLD

    p_value = f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"
    rows: list[tuple[str, object]] = [("statistic", verdict.statistic), ("p-value", p_value)]
    if verdict.lacking:
        rows.append(("lacking", verdict.lacking))
    plain = {name: value for name, value in verdict.evidence.items() if isinstance(value, (str, int, float))}
    rows += [(name.replace("_", " "), _short(value)) for name, value in plain.items() if "log10" not in name]
    return rows


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
