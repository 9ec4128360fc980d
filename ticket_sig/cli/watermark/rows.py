"""What a verdict on a watermark rests on: the rows of a table, and what is too long for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ticket_sig.verdict import Verdict


def watermark_rows(verdict: Verdict) -> Sequence[tuple[str, object]]:
    """What decides; the rest of the evidence is for machines."""
    from ticket_sig.statistics import format_p
    from ticket_sig.verdict import LOG10_THRESHOLD

    shown: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("log10_p_of_bits", "  for one key, by bits alone", format_p),
        ("log10_p_of_margins", "  for one key, by their margins", format_p),
        ("bit_error_rate", "bit error rate", "{:.4f}".format),
        ("expected_by_chance", "expected by chance", "{:.3g}".format),
        ("parameters", "length", lambda total: _length(verdict.evidence, total)),
        ("share_asked", "share asked for", lambda share: f"{100 * share:g} %"),
        ("accuracy", "test accuracy", "{:.2f} %".format),
        ("target", "test accuracy asked for", "{:g} %".format),
    )
    p_value = f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"
    return [
        ("statistic", verdict.statistic),
        *([("lacking", verdict.lacking)] if verdict.lacking else []),
        ("p-value", p_value),
        *((label, told(verdict.evidence[name])) for name, label, told in shown if name in verdict.evidence),
    ]


def watermark_lines(verdict: Verdict) -> Sequence[str]:
    """The message and the bits as they are read, where there are any; a table would cut them."""
    from ticket_sig.cli.output import printable

    if "bits" not in verdict.evidence:  # a ticket's message stands in its table
        return []
    named = ("message", "bits")
    return [f"{name}: {printable(verdict.evidence[name])}" for name in named if name in verdict.evidence]


def _length(evidence: Mapping[str, Any], total: int) -> str:
    return f"{evidence['length']} of {total} parameters, {100 * evidence['share']:.4g} %"
