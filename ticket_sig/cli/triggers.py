"""Make the secret of a trigger set: abstract images with labels that nobody could have chosen (trigger set).

The file holds 32 random bytes, from which images and labels follow; only its owner may read it. Teach the
set to a network, have the claim dated, and show the file to nobody but a verifier. It serves one dispute: it
is spent once a suspect was asked twice with other decoys, or once a verdict is published.

Example: ticket-sig triggers --dataset cifar10 --out triggers.json --png triggers.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli.output import JsonFlag, out, print_json


def run(
    secret: Annotated[Path, typer.Option("--out", help="File to write, mode 0600.")],
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the network: its size of images and classes.")
    ] = None,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="Height, width and channels, where the data set does not say.", metavar="H W C"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, where the data set does not say.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of images.")] = 100,
    png: Annotated[Path | None, typer.Option(help="Draw the images with their labels; as secret.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import DATASETS
    from ticket_sig.errors import bad_input
    from ticket_sig.marks.trigger_set.reading import matches_needed
    from ticket_sig.marks.trigger_set.triggers import TriggerSecret, write_secret
    from ticket_sig.pictures import write_sheet

    if dataset is not None and dataset not in DATASETS:
        raise bad_input("", "dataset", f"one of {', '.join(DATASETS)}", repr(dataset))
    if dataset:
        size, classes = size or DATASETS[dataset].size, classes or DATASETS[dataset].classes
    if size is None or classes is None:
        raise bad_input("", "images", "--dataset, or --size H W C and --classes N", "too few of them")
    made = TriggerSecret.fresh(size, classes, count)
    needed = matches_needed(count, classes)
    if needed is None:
        hint = "with fewer classes it takes more of them: --count"
        raise bad_input("triggers", "count", "enough to verify", f"{count} of {classes} classes", hint=hint)
    triggers = made.trigger_set()
    write_secret(made, secret)
    if png:
        write_sheet(triggers, png)
    if as_json:
        facts = {"count": count, "size": list(size), "classes": classes, "needed": needed}
        paths = {"triggers": secret, "png": png}
        print_json({**paths, "commitment": triggers.commitment, **facts})
        return
    out.print(f"triggers: {count} images of {size[0]} x {size[1]} x {size[2]}, {classes} classes")
    out.print(f"verifies from {needed} answers as claimed\nsecret: {secret}; keep it")
    if png:
        out.print(f"picture: {png}")
