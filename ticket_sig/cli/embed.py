"""Write a message into the mask of a pruned model, as a QR code in one layer's kernel map.

The model needs no known architecture; the number of kept weights stays what it was. The bundle
holds model.safetensors, which loads into the model's own module, and claim.json, which a verifier
needs. Train it next, so that the network recovers from the changed mask.

Example: ticket-sig embed RUN/ticket --message "owner@example.org" --out SIGNED
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, print_json, printable

if TYPE_CHECKING:
    from ticket_sig.signatures.scheme2 import Embedded

_SEEN = 0.3  # difference of kernel densities that shows in a picture of the kernel map


def run(
    model: options.Model,
    message: Annotated[str, typer.Option(help="Any text that fits.", show_default=False)],
    bundle: Annotated[Path, typer.Option("--out", help="Bundle to write.", show_default=False)],
    version: Annotated[
        int | None,
        typer.Option(min=1, max=40, help="Size of the code; the smallest by default.", show_default=False),
    ] = None,
    level: Annotated[str, typer.Option(help="Error correction: L, M, Q or H.")] = "H",
    layer: Annotated[
        str | None, typer.Option(help="Layer to take; the most similar by default.", show_default=False)
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(help="First prune this share by magnitude (for dense models).", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="File of secret bytes; the same key gives the same bits. Random by default.",
            show_default=False,
        ),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.errors import about
    from ticket_sig.formats import load, save
    from ticket_sig.lottery.prune import prune_dense
    from ticket_sig.signatures.scheme2 import embed

    with about(model):
        ticket = load(model).ticket
        if prune is not None:
            ticket = prune_dense(ticket, prune)
        embedded = embed(
            ticket, message, version=version, level=level, layer=layer, key=key.read_bytes() if key else None
        )
    save(embedded.ticket, bundle, claim=embedded.claim.to_json(), replace=force)
    _report(embedded, bundle, as_json)


def _report(embedded: Embedded, bundle: Path, as_json: bool) -> None:
    mask, signature = embedded.ticket.mask, embedded.signature
    if as_json:
        claim = embedded.claim.to_json()
        print_json(
            {
                "bundle": str(bundle),
                "kept": mask.kept,
                "density": mask.density,
                "weights_moved": embedded.changed,
                "claim": claim,
            }
        )
        return
    place = signature.placement
    out.print(f"message: {printable(signature.message)}")
    out.print(
        f"QR code: version {signature.version}, level {signature.level}, data mask {signature.data_mask}"
    )
    out.print(f"place: {place.layer}, row {place.row}, column {place.column}")
    out.print(f"kept: {mask.kept} of {mask.total}, as before; {embedded.changed} weights moved")
    inside, outside = embedded.kernel_density
    out.print(
        f"kernels kept: {100 * inside:.0f} % in the code, {100 * outside:.0f} % in the rest of its layer"
    )
    if abs(inside - outside) > _SEEN:
        out.print("the place stands out to the eye; a ticket with about half of the kernels kept hides it")
    out.print(f"bundle: {bundle}\nnext: ticket-sig train {bundle} --data DIR --out TRAINED")
