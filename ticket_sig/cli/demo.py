"""The whole path on real handwritten digits in minutes: find, sign, retrain, read back, prune, read again.

Example: ticket-sig demo --message "this network is mine" --out demo
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, printable

if TYPE_CHECKING:
    from ticket_sig.claim import Claim
    from ticket_sig.marks.embed import Embedded
    from ticket_sig.ticket import Ticket

_ATTACK = 0.1


def run(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder of the run, the bundle and the pictures.")
    ] = Path("ticket-sig-demo"),
    message: Annotated[str, typer.Option(help="What to sign with.")] = "signature",
    density: Annotated[float, typer.Option(help="Share of the weights to keep.")] = 0.2,
    seed: options.Seed = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.formats import save
    from ticket_sig.lottery import find, retrain
    from ticket_sig.lottery.prune import prune_ticket
    from ticket_sig.marks.embed import embed
    from ticket_sig.training.recipe import preset

    def say(text: str, head: str = "") -> None:
        if not as_json:
            out.print(head, style="bold", end=": " if head and text else "")
            out.print(text)

    data = load_dataset("digits")
    recipe = preset("demo", arch="resnet20", dataset="digits", density=density, **options.changes(seed=seed))
    with options.engine("cpu", 20) as engine:
        say(head="1. find a ticket", text="ResNet-20 on handwritten digits, magnitude pruning with rewinding")
        ticket = find(recipe, data, folder / "run", engine=engine)
        say(head="2. sign it", text="with a QR code in a kernel map")
        embedded = embed(ticket, message)
        say(head="3. retrain it", text="from the rewind weights, under the signed mask")
        with TemporaryDirectory() as state:
            signed = retrain(embedded.ticket, recipe, data, state, engine=engine)
    save(signed, folder / "signed", claim=embedded.claim.to_json(), replace=True)
    say(head="4. read the signature back", text="")
    checks = {"signed": _check(signed, embedded.claim, say)}
    say(head=f"5. prune {100 * _ATTACK:.0f} % more", text="as a thief would, and read again")
    pruned = prune_ticket(signed, _ATTACK)
    checks["pruned"] = _check(pruned, embedded.claim, say)
    paths = _draw(folder, ticket, signed, pruned, embedded)
    if as_json:
        history = [entry.to_json() for entry in signed.history]
        print_json({"bundle": folder / "signed", "checks": checks, "pictures": paths, "history": history})
        return
    before, after = ticket.history[-1], signed.history[-1]
    tested = [("dense", ticket.history[0]), ("ticket", before), ("signed ticket", after)]
    say("\ntest accuracy: " + ", ".join(f"{name} {entry.test:.2f} %" for name, entry in tested))
    say(f"kept: {before.kept} of {before.total} weights before signing, {after.kept} after")
    say(f"bundle: {folder / 'signed'}")
    for path in paths:
        say(f"picture: {path}")


def _check(ticket: Ticket, claim: Claim, say: Callable[[str], None]) -> dict[str, Any]:
    from ticket_sig.statistics import format_p
    from ticket_sig.verification import verify

    verdict = verify(ticket, claim)
    message = verdict.reading.message
    say(f"   message: {printable(message) if message is not None else 'cannot be read'}")
    say(f"   {verdict.statistic}, p = {format_p(verdict.log10_p)}: {verdict.outcome}")
    return verdict.to_json()


def _draw(folder: Path, ticket: Ticket, signed: Ticket, pruned: Ticket, embedded: Embedded) -> list[Path]:
    from ticket_sig import pictures
    from ticket_sig.marks import CodeMark

    mark = embedded.mark
    assert isinstance(mark, CodeMark)
    maps, code, damaged, accuracy = (
        folder / f"{n}.png" for n in ("kernel_map", "qr_code", "qr_code_pruned", "accuracy")
    )
    pictures.before_and_after(maps, ticket.mask, signed.mask, mark.frame())
    mark.draw(mark.read(signed), code)
    reading = mark.read(pruned)
    title = f"after pruning {100 * _ATTACK:.0f} % more: {int(reading.wrong.sum())} modules wrong (red)"
    pictures.codes(damaged, [(reading.light, reading.wrong, title)])
    pictures.accuracy_over_rounds(accuracy, signed.history)
    return [maps, code, damaged, accuracy]
