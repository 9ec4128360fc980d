"""Decide whether a claimed mark stands in a model's weights.

Exit code 0: verified; 1: not verified; 2: could not be decided. Of a code the verdict rests on the data
modules alone, with a p-value corrected for every place and every message that could have been tried; of other
marks on as much. Where the claim is of several marks, the best of them counts, and their number is paid for.

A claim on a key mask needs its key (--key), and the locked ticket that was handed out with it: the folder
that the claim lies in, or --locked DIR. With --data the accuracy is measured, too, and held against the one
that the claim promises (fidelity). Models in many safetensors files are never loaded whole for freezenet and
uchida.

A trigger set is not read in the weights: `ticket-sig ask` asks the network for its answers.

Example: ticket-sig verify SUSPECT.safetensors --claim SIGNED/claim.json
"""

from __future__ import annotations

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, tell_next, tell_verdict


def run(
    model: options.Model,
    claim: options.ClaimFile,
    key: options.KeyFile = None,
    locked: options.Locked = None,
    data: options.Data = None,
    dataset: options.DatasetName = None,
    arch: options.Arch = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.marks import marks_of
    from ticket_sig.verification.fidelity import fidelity_of_file
    from ticket_sig.verification.white_box import verify_file

    claimed = Claim.read(claim)
    verdict = verify_file(model, claimed, options.needed(key, locked))
    accuracy = fidelity_of_file(model, claimed, data=data, arch=arch, dataset=dataset)
    left = [str(mark) for mark in marks_of(claimed) if mark.stands_in == "answers"]
    tell_verdict(verdict, accuracy, {"model": model, "claim": claim, "left_to_ask": left}, as_json)
    if left and not as_json:
        out.print(f"not looked at: {'; '.join(left)}. Ask the network, which may prove more:")
        named = options.names_for(model, arch, dataset)
        tell_next("ask", model, *named, "--claim", claim, "--triggers", "FILE")
    raise typer.Exit(0 if verdict.verified else 1)
