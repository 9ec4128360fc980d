"""Read the bits of a claim in a model, and decide whether they stand there.

Exit code 0: verified; 1: not verified; 2: could not be decided. The model may be any file, or many
safetensors files, of which one layer alone is read. The claim is needed: without its key nothing can be read.

The verdict rests on the p-value: how often as many bits, or bits that stand out as much, are read in a
network that has nothing to do with the key, times 2^64 keys and every layer that could have been tried.

Example: ticket-sig watermark uchida decode SUSPECT --claim MARKED/claim.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, print_json, print_verdict


def run(
    model: options.Model,
    claim: Annotated[Path, typer.Option(help="Claim file.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.cli.watermark.inputs import claimed
    from ticket_sig.cli.watermark.rows import watermark_lines, watermark_rows
    from ticket_sig.errors import about
    from ticket_sig.formats import open_weights
    from ticket_sig.watermarks import Uchida

    mark = claimed(claim, Uchida)
    with about(model):
        verdict = mark.read(open_weights(model)).verdict()
    if as_json:
        print_json({**verdict.to_json(), "model": str(model), "claim": str(claim)})
    else:
        print_verdict(verdict, watermark_rows(verdict), *watermark_lines(verdict))
    raise typer.Exit(0 if verdict.verified else 1)
