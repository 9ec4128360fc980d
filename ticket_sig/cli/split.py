"""Split a ticket into a locked ticket to hand out and a key to keep (key mask).

DIR/locked is the bundle to hand out: without the key it trains to a lower accuracy where the score tells
which weights matter (omp, ewp, betweenness); a random key of 5 % costs little. DIR/key.safetensors holds the
split-off positions and their weights. `ticket-sig unlock` puts the two together again.

A locked ticket, or a network trained from it alone, holds nothing of the key and cannot be verified by it:
sign the ticket first (`embed`). DIR must not be there yet: a key that is lost cannot be made again.

Example: ticket-sig split RUN/ticket --score ewp --share 0.05 --out DIR
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import JsonFlag, err, out, print_json, printable, tell_next

Score = Annotated[str, typer.Option(help="What the key's weights are chosen by: {}.")]
Share = Annotated[float, typer.Option(help="Share of the kept weights that goes into the key.")]
Seed = Annotated[int | None, typer.Option(help="Of whatever the score draws; 0 without.")]


def run(
    model: options.Model,
    folder: options.Folder,
    given: dict[str, Any],
    score: Score = "omp",
    share: Share = 0.05,
    mask: options.MaskFile = None,
    data: options.Data = None,
    arch: options.Arch = None,
    dataset: options.DatasetName = None,
    seed: Seed = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.formats.bundle import CLAIM
    from ticket_sig.formats.folder import folder_of
    from ticket_sig.marks.key_mask.by_score import split_file

    looked_at = {"arch": arch, "dataset": dataset, "data": data, "seed": seed}
    parts, error, lowest = split_file(model, folder, share, score, given, looked_at, mask)
    locked, key = folder / "locked", folder / "key.safetensors"
    left, taken = parts.locked.mask.kept, len(parts.key)
    own_claim = folder_of(model) / CLAIM
    if as_json:
        kept_back = {
            "claim_kept_back": {"marks": parts.kept_back, "claim": own_claim if parts.kept_back else None}
        }
        sampled = {} if error is None else {"error_bound": error, "lowest_score_of_key": lowest}
        weights = {"kept": left + taken, "locked": left, "key": taken}
        print_json({"locked": locked, "key": key, "weights": weights, **sampled, **kept_back})
        return
    if error is not None:
        out.print(
            f"{score}: every sampled value is within {error:.4g} of the exact one (95 %, all at once); the "
            f"lowest in the key is {lowest:.4g}"
        )
    out.print(f"locked: {locked}, {left} of {left + taken} weights; hand this out")
    out.print(f"key: {key}, {taken} weights by {score}; keep this")
    if parts.kept_back:
        named = ", ".join(parts.kept_back)
        out.print(printable(f"the claim of the {named} is not in the locked bundle; keep {own_claim}"))
    tell_next("unlock", locked, "--key", key, "--out", "BUNDLE", where=err)


def command() -> Callable[..., None]:
    """The verb with the options of every score."""
    from ticket_sig.scores import SCORES

    return with_options(run, SCORES, chooser="score")
