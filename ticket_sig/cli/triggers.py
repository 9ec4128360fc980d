"""Make the secret of a trigger set: abstract images with labels that nobody could have chosen (trigger set).

The file holds 32 random bytes, from which images and labels follow; only its owner may read it. Teach the
set to a network, have the claim dated, and show the file to nobody but a verifier. It serves one dispute: it
is spent once a suspect was asked twice with other decoys, or once a verdict is published.

With --folder no secret is made: the verb says how a folder of pictures is read as triggers (`pics/` and one
`labels*.txt`), and draws them with their labels.

Example: ticket-sig triggers --dataset cifar10 --out triggers.json --png triggers.png
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json
from ticket_sig.errors import bad_input

if TYPE_CHECKING:
    from ticket_sig.marks.trigger_set.triggers import TriggerSet

Size = Annotated[
    tuple[int, int, int] | None,
    typer.Option(help="Height, width and channels, where the data set does not say.", metavar="H W C"),
]


def run(
    secret: Annotated[Path | None, typer.Option("--out", help="File to write, mode 0600.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the network: its size of images and classes.")
    ] = None,
    size: Size = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, where the data set does not say.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Number of images; 100 by default.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the images with their labels; as secret.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A folder of pictures to read; no secret is made.")
    ] = None,
    trigger_order: options.TriggerOrder = None,
    trigger_fit: options.TriggerFit = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.marks.trigger_set.triggers import read_triggers
    from ticket_sig.pictures import write_sheet

    if folder:
        _refuse(folder, {"--out": secret, "--count": count})
        extent = _extent(dataset, size, classes)
        triggers, needed = read_triggers(folder, *extent, order=trigger_order, fit=trigger_fit), None
    else:
        _refuse(folder, {"--trigger-order": trigger_order, "--trigger-fit": trigger_fit})
        extent = _extent(dataset, size, classes)
        triggers, needed = _new(secret, *extent, **options.changes(count=count))
    if png:
        write_sheet(triggers, png)
    if as_json:
        facts = {"count": len(triggers), "size": list(triggers.size), "classes": triggers.classes}
        how = vars(triggers.arrangement) if triggers.arrangement else {"needed": needed}
        paths = {"triggers": folder or secret, "png": png}
        print_json({**paths, "commitment": triggers.commitment, **facts, **how})
        return
    shape = " x ".join(map(str, triggers.size))
    out.print(f"triggers: {len(triggers)} images of {shape}, {triggers.classes} classes")
    if folder:
        out.print(f"trigger folder: {triggers.arrangement}")
    else:
        out.print(f"verifies from {needed} answers as claimed\nsecret: {secret}; keep it")
    if png:
        out.print(f"picture: {png}")


def _refuse(folder: Path | None, others: Mapping[str, object]) -> None:
    """Refuses options that have no use: of a secret where a folder is read, or the other way round."""
    if given := [name for name, value in others.items() if value is not None]:
        expected, found = ("a new secret", "--folder") if folder else ("--folder", "none")
        raise bad_input("", ", ".join(given), expected, found)


def _extent(
    dataset: str | None, size: tuple[int, int, int] | None, classes: int | None
) -> tuple[tuple[int, int, int], int]:
    """Size of the images and number of classes."""
    from ticket_sig.datasets import DATASETS

    if dataset is not None and dataset not in DATASETS:
        raise bad_input("", "dataset", f"one of {', '.join(DATASETS)}", repr(dataset))
    if dataset:
        size, classes = size or DATASETS[dataset].size, classes or DATASETS[dataset].classes
    if size is None or classes is None:
        raise bad_input("", "images", "--dataset, or --size H W C and --classes N", "too few of them")
    return size, classes


def _new(
    path: Path | None, size: tuple[int, int, int], classes: int, count: int = 100
) -> tuple[TriggerSet, int]:
    """Writes a new secret; returns its triggers, and how many must be answered as claimed to verify."""
    from ticket_sig.marks.trigger_set.reading import matches_needed
    from ticket_sig.marks.trigger_set.triggers import TriggerSecret, write_secret

    if path is None:
        raise bad_input("", "--out", "a file to write", "none", hint="or read a folder of pictures: --folder")
    made, needed = TriggerSecret.fresh(size, classes, count), matches_needed(count, classes)
    if needed is None:
        hint = "with fewer classes it takes more of them: --count"
        raise bad_input("triggers", "count", "enough to verify", f"{count} of {classes} classes", hint=hint)
    write_secret(made, path)
    return made.trigger_set(), needed
