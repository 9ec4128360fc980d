"""Decide whether a claimed signature stands in a model.

Exit code 0: verified; 1: not verified; 2: could not be decided. The verdict rests on the data
modules alone, with a p-value corrected for every place and every message that could have been tried.

Example: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, table


def run(
    model: options.Model,
    claim: Annotated[Path, typer.Option(help="Claim file.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.errors import about
    from ticket_sig.formats import load
    from ticket_sig.verification import verify
    from ticket_sig.verification.statistics import format_p
    from ticket_sig.verification.verdict import LOG10_THRESHOLD

    with about(model):
        verdict = verify(load(model).ticket, Claim.read(claim))
    if as_json:
        print_json({**verdict.to_json(), "model": str(model), "claim": str(claim)})
    else:
        evidence = verdict.evidence
        rows = [
            ("claimed message", evidence["claimed_message"]),
            ("message read", evidence["message"] if evidence["message"] is not None else "cannot be read"),
            ("statistic", verdict.statistic),
            ("p-value", f"{format_p(verdict.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"),
            ("  for one code at one place", format_p(evidence["log10_p_uncorrected"])),
            ("  places to choose from", f"10^{evidence['log10_places_tried']:.1f}"),
            ("  messages to choose from", f"10^{evidence['log10_messages_tried']:.1f}"),
            ("weights kept", f"{evidence['kept']} of {evidence['total']}"),
        ]
        colour = "green" if verdict.verified else "red"
        out.print(verdict.outcome, style=f"bold {colour}")
        out.print(table("", ("evidence", "value"), rows))
        out.print(f"proves: {verdict.proves if verdict.verified else 'nothing'}")
        out.print(f"does not prove: {verdict.does_not_prove}")
    raise typer.Exit(0 if verdict.verified else 1)
