"""Download a data set from its official address or a mirror; goes on where it broke off.

Example: ticket-sig data cifar10 --out data
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli.output import JsonFlag, out, print_json, progress, tell_next


def run(
    dataset: Annotated[str, typer.Argument(help="cifar10 or cifar100.")],
    folder: Annotated[Path, typer.Option("--out", help="Where to put it.")],
    url: Annotated[str | None, typer.Option(help="A mirror of the archive.")] = None,
    md5: Annotated[str | None, typer.Option(help="MD5 of a mirror's archive that differs.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets.download import download

    with progress() as bars:
        started = False

        def show(done: int, total: int | None) -> None:
            nonlocal started
            if not started:
                bars.begin(dataset, total or 0)
                started = True
            bars.advance(done, f"{done / 1e6:.1f} MB")

        found = download(dataset, folder, url=url, md5=md5, progress=show)
    if as_json:
        print_json({"dataset": dataset, "data": found})
        return
    out.print(f"{dataset}: {found}")
    tell_next("find", "--dataset", dataset, "--data", found, "--out", "RUN")
