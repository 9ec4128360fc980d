"""Split a ticket into a locked ticket to hand out and a key to keep (scheme 1).

DIR/locked is the bundle to hand out: without the key it trains to a lower accuracy. DIR/key.safetensors
holds the split-off positions and their weights. `ticket-sig unlock` puts the two together again.

Example: ticket-sig split RUN/ticket --score ewp --share 0.05 --out DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, err, out, print_json

Score = Annotated[
    str,
    typer.Option(
        help="omp, random, random-paths, ewp, betweenness, taylor, hessian or integrated-gradients."
    ),
]
Share = Annotated[float, typer.Option(help="Share of the kept weights that goes into the key.")]
Folder = Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)]
Paths = Annotated[
    int | None,
    typer.Option(
        min=1, help="Walks to sample for ewp and random-paths; ewp is exact without.", show_default=False
    ),
]
Sources = Annotated[
    int | None,
    typer.Option(min=1, help="Sources to sample for betweenness; all without.", show_default=False),
]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.", show_default=False)]
DatasetName = Annotated[
    str | None, typer.Option(help="Data set, where the bundle does not say.", show_default=False)
]
Residual = Annotated[bool, typer.Option(help="Residual connections are edges (the reference code has none).")]
Directed = Annotated[bool, typer.Option(help="Betweenness follows edges forwards only.")]


def run(
    model: options.Model,
    folder: Folder,
    score: Score = "omp",
    share: Share = 0.05,
    data: options.Data = None,
    arch: Arch = None,
    dataset: DatasetName = None,
    paths: Paths = None,
    sources: Sources = None,
    residual: Residual = True,
    directed: Directed = False,
    seed: Annotated[int, typer.Option(help="Of whatever the score draws.")] = 0,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.errors import about
    from ticket_sig.files import read_json, whole_folder
    from ticket_sig.formats import load, save
    from ticket_sig.scores import OF_WEIGHTS_ALONE, SCORES, Scored
    from ticket_sig.scores import score as score_of
    from ticket_sig.signatures import scheme1

    loaded = load(model)
    with about(model):
        network, images = None, None
        if score in SCORES and score not in OF_WEIGHTS_ALONE:
            network, images = options.network_and_data(loaded.ticket, arch, dataset, data)
        asked = Scored(
            ticket=loaded.ticket,
            model=network,
            data=images,
            seed=seed,
            paths=paths,
            sources=sources,
            residual=residual,
            directed=directed,
        )
        claim = read_json(loaded.claim) if loaded.claim else None
        parts = scheme1.split(loaded.ticket, share, score_of(score, asked), score=score, claim=claim)
    with whole_folder(folder, replace=force) as partial:
        save(parts.locked, partial / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
        parts.key.write(partial / "key.safetensors")
    kept = {"kept": loaded.ticket.mask.kept, "locked": parts.locked.mask.kept, "key": len(parts.key)}
    if as_json:
        print_json(
            {"locked": str(folder / "locked"), "key": str(folder / "key.safetensors"), "weights": kept}
        )
        return
    out.print(f"locked: {folder / 'locked'}, {kept['locked']} of {kept['kept']} weights; hand this out")
    out.print(f"key: {folder / 'key.safetensors'}, {kept['key']} weights by {score}; keep this")
    err.print(f"next: ticket-sig unlock {folder / 'locked'} --key {folder / 'key.safetensors'} --out BUNDLE")
