"""Read the bits of a claim in a model, and decide whether they stand there.

Exit code 0: verified; 1: not verified; 2: could not be decided. The model may be any file, or many
safetensors files, of which one layer alone is read. The claim is needed: without its key nothing can be read.

The verdict rests on the p-value: how often as many bits, or bits that stand out as much, are read in a
network that has nothing to do with the key, times 2^64 keys and every layer that could have been tried.

Example: ticket-sig watermark uchida decode SUSPECT --claim MARKED/claim.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, print_json, print_verdict

if TYPE_CHECKING:
    from ticket_sig.verdict import Verdict


def run(
    model: options.Model,
    claim: Annotated[Path, typer.Option(help="Claim file.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.errors import about, bad_input
    from ticket_sig.formats import open_weights
    from ticket_sig.watermarks import Uchida

    claimed = Claim.read(claim)
    with about(claim):
        if claimed.scheme != Uchida.scheme:
            raise bad_input("claim", "scheme", repr(Uchida.scheme), repr(claimed.scheme))
        mark = Uchida.from_json(claimed.signature)
    with about(model):
        verdict = mark.read(open_weights(model)).verdict()
    if as_json:
        print_json({**verdict.to_json(), "model": str(model), "claim": str(claim)})
    else:
        print_verdict(verdict, _rows(verdict))
    raise typer.Exit(0 if verdict.verified else 1)


def _rows(verdict: Verdict) -> Sequence[tuple[str, object]]:
    from ticket_sig.statistics import format_p
    from ticket_sig.verdict import LOG10_THRESHOLD

    evidence = verdict.evidence
    found = [("message", evidence["message"])] if "message" in evidence else []
    return [
        *found,
        ("bits", evidence["bits"]),
        ("bit error rate", f"{evidence['bit_error_rate']:.4f}"),
        ("statistic", verdict.statistic),
        ("p-value", f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"),
        ("  for one key, by bits alone", format_p(evidence["log10_p_of_bits"])),
        ("  for one key, by their margins", format_p(evidence["log10_p_of_margins"])),
    ]
