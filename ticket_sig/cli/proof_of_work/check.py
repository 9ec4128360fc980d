"""Check a proof of work: is this network accurate enough, and does it carry the watermark of this block?

Exit code 0: verified; 1: not verified; 2: could not be decided. Block, difficulty, network and data are the
checker's own; of the solution nothing is believed. The accuracy is measured on the test images of --data,
which may be others than the miner's: those that he could see can be trained on. The training images must be
the same.

Example: ticket-sig proof-of-work check SOLUTION --text "block 7, alice" --share 0.5 --target 90
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, tell_verdict
from ticket_sig.cli.proof_of_work.mine import ARCH, DATASET, Block, Text
from ticket_sig.errors import about


def run(
    solution: Annotated[Path, typer.Argument(help="Folder that `mine` wrote.")],
    given: dict[str, Any],
    block: Block = None,
    text: Text = None,
    arch: options.NewArch = ARCH,
    dataset: options.NewDataset = DATASET,
    data: options.Data = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.proof_of_work import Challenge, Difficulty, check, read_solution

    challenge = Challenge.of(block, text, Difficulty(**given), arch)
    found, images = read_solution(solution), load_dataset(dataset, data)
    with about(solution):
        verdict = check(found, challenge, images)
    tell_verdict(verdict, None, {"solution": solution}, as_json)
    raise typer.Exit(0 if verdict.verified else 1)
