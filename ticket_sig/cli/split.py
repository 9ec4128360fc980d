"""Split a ticket into a locked ticket to hand out and a key to keep (scheme 1).

DIR/locked is the bundle to hand out: without the key it trains to a lower accuracy where the score tells
which weights matter (omp, ewp, betweenness); a random key of 5 % costs little. DIR/key.safetensors holds the
split-off positions and their weights. `ticket-sig unlock` puts the two together again.

A locked ticket, or a network trained from it alone, holds nothing of the key and cannot be verified by it:
sign the ticket first (`embed`). DIR must not be there yet: a key that is lost cannot be made again.

Example: ticket-sig split RUN/ticket --score ewp --share 0.05 --out DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, err, out, print_json

if TYPE_CHECKING:
    from torch import nn

    from ticket_sig.datasets import Dataset
    from ticket_sig.scores import Scored
    from ticket_sig.signatures.scheme1 import Split
    from ticket_sig.ticket import Ticket

_GRADIENTS = ("taylor", "hessian", "integrated-gradients")
_GRAPH = ("random-paths", "ewp", "betweenness")
_USED_BY = {
    "--paths": ("random-paths", "ewp"),
    "--sources": ("betweenness",),
    "--no-residual": _GRAPH,
    "--directed": ("betweenness",),
    "--arch": (*_GRAPH, *_GRADIENTS),
    "--data": _GRADIENTS,
    "--dataset": _GRADIENTS,
    "--seed": ("random", *_GRAPH, *_GRADIENTS),
}

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
Seed = Annotated[int | None, typer.Option(help="Of whatever the score draws; 0 without.", show_default=False)]


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
    seed: Seed = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.errors import about, bad_input
    from ticket_sig.files import read_json, whole_folder
    from ticket_sig.formats import load, save
    from ticket_sig.scores import Scored
    from ticket_sig.scores import score as score_of
    from ticket_sig.signatures import scheme1

    given: dict[str, object] = {
        "--paths": paths,
        "--sources": sources,
        "--arch": arch,
        "--data": data,
        "--dataset": dataset,
    }
    given |= {"--seed": seed, "--no-residual": None if residual else True, "--directed": directed or None}
    _check_used(score, [name for name, value in given.items() if value is not None])
    if folder.exists():
        hint = "choose another; a key is never overwritten"
        raise bad_input(folder, "output folder", "a name not taken yet", "one that is", hint=hint)
    loaded = load(model)
    with about(model):
        if loaded.sealed:
            raise bad_input(
                "", "sealed part", "none, to be split", "one: it is locked", hint="unlock it first"
            )
        network, images = _network_and_data(score, loaded.ticket, arch, dataset, data)
        asked = Scored(
            ticket=loaded.ticket,
            model=network,
            data=images,
            seed=seed or 0,
            paths=paths,
            sources=sources,
            residual=residual,
            directed=directed,
        )
        scores = score_of(score, asked)
        claim = read_json(loaded.claim) if loaded.claim else None
        parts = scheme1.split(loaded.ticket, share, scores, score=score, claim=claim)
    with whole_folder(folder) as partial:
        save(parts.locked, partial / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
        parts.key.write(partial / "key.safetensors")
    lowest = min(float(scores[n].flatten()[where].min()) for n, where in parts.key.positions.items())
    _report(parts, folder, score, _error_of(asked), lowest, as_json)


def _check_used(score: str, given: Sequence[str]) -> None:
    """Refuses options that the score does not look at: whoever gave one expects it to matter."""
    from ticket_sig.errors import bad_input
    from ticket_sig.scores import SCORES

    if score not in SCORES:
        return  # which is said where it is asked for
    if unused := [name for name in given if score not in _USED_BY[name]]:
        users = ", ".join(_USED_BY[unused[0]])
        raise bad_input("", unused[0], f"a score that uses it ({users})", repr(score))


def _network_and_data(
    score: str, ticket: Ticket, arch: str | None, dataset: str | None, data: Path | None
) -> tuple[nn.Module | None, Dataset | None]:
    from ticket_sig.scores import OF_WEIGHTS_ALONE, SCORES

    if score in OF_WEIGHTS_ALONE or score not in SCORES:
        return None, None
    return options.network_and_data(ticket, arch, dataset, data)


def _error_of(asked: Scored) -> float | None:
    """How far off sampled scores can be; None where none were sampled, or that is not known."""
    from ticket_sig.scores.betweenness import sampling_error

    return None if asked.sources is None else sampling_error(asked)


def _report(
    parts: Split, folder: Path, score: str, error: float | None, lowest: float, as_json: bool
) -> None:
    locked, key = folder / "locked", folder / "key.safetensors"
    left, taken = parts.locked.mask.kept, len(parts.key)
    kept = left + taken
    if as_json:
        sampled = {} if error is None else {"error_bound": error, "lowest_score_of_key": lowest}
        weights = {"kept": kept, "locked": left, "key": taken}
        print_json({"locked": str(locked), "key": str(key), "weights": weights, **sampled})
        return
    if error is not None:
        out.print(
            f"{score}: every sampled value is within {error:.4g} of the exact one (95 %, all at once); the "
            f"lowest in the key is {lowest:.4g}"
        )
    out.print(f"locked: {locked}, {left} of {kept} weights; hand this out")
    out.print(f"key: {key}, {taken} weights by {score}; keep this")
    err.print(f"next: ticket-sig unlock {locked} --key {key} --out BUNDLE")
