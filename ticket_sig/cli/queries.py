"""Write the pictures to ask a suspect about, where it can only be asked by hand (trigger set).

DIR/queries holds triggers and fresh decoys as PNGs in an order that says nothing: hand that folder over.
DIR/queries.json, which tells them apart, stays with the verifier. The answers come back as a table of lines
FILE,LABEL and go to `ticket-sig ask --answers TABLE --queries DIR/queries.json`. The table may have a header,
commas, semicolons or tabs, folders before the names, and blanks where nothing was answered.

Show the same suspect no second folder: what two have in common is the trigger set. A set is spent once two
were shown, and once its verdict is published.

Example: ticket-sig queries --claim SIGNED/claim.json --triggers triggers.json --out DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, tell_next


def run(
    claim: options.ClaimFile,
    triggers: Annotated[Path, typer.Option(help="The secret's file, or a folder of triggers.")],
    folder: options.Folder,
    decoys: Annotated[int, typer.Option(help="Unrelated images to ask about beside the triggers.")] = 300,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.marks.trigger_set.record import prepare
    from ticket_sig.verification.ask.answers_file import PICTURES, RECORD, write_queries
    from ticket_sig.verification.ask.asking import triggers_of

    read = Claim.read(claim)
    queries = prepare(read, triggers_of(read, triggers), decoys)
    write_queries(queries, folder)
    if as_json:
        paths = {"pictures": folder / PICTURES, "queries": folder / RECORD}
        print_json({**paths, "count": len(queries), "decoys": decoys, "claim": claim})
        return
    if queries.triggers.arrangement:
        out.print(f"trigger folder: {queries.triggers.arrangement}")
    out.print(f"pictures: {folder / PICTURES}, {len(queries)} of them; hand these over")
    out.print(f"record: {folder / RECORD}; keep it")
    shown = ("--queries", folder / RECORD, "--triggers", triggers, "--claim", claim)
    tell_next("ask", "--answers", "TABLE.csv", *shown)
