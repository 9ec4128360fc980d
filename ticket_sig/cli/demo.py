"""The whole path on real handwritten digits in minutes: find, sign, retrain, attack, read again.

Signs with a QR code for people to look at, and with a spread and a mirror code all over the mask.

Example: ticket-sig demo --message "this network is mine" --out demo
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, printable, tell_next

if TYPE_CHECKING:
    from ticket_sig.marks.embed import Embedded
    from ticket_sig.ticket import Ticket

_MARKS = "qr-code+spread+mirror"
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
    from ticket_sig.attacks import Scene, attack
    from ticket_sig.formats import save
    from ticket_sig.lottery.prune import prune_ticket

    def say(text: str, head: str = "") -> None:
        if not as_json:
            out.print(head, style="bold", end=": " if head and text else "")
            out.print(text)

    bundle, copy, secret = folder / "signed", folder / "permuted", folder / "demo.secret"
    ticket, signed, embedded = _signed(folder, message, density, seed, say)
    say(head="4. read the signature back", text="")
    checks = {"signed": _check(signed, embedded, say)}
    say(head=f"5. prune {100 * _ATTACK:.0f} % more", text="as a thief would, and read again")
    pruned = prune_ticket(signed, _ATTACK)
    checks["pruned"] = _check(pruned, embedded, say)
    say(head="6. permute the channels", text="of the signed ticket; every answer stays")
    permuted = attack("permute-channels")(signed, Scene())
    save(permuted, copy, replace=True)
    checks["permuted"] = _check(permuted, embedded, say)
    paths = _draw(folder, ticket, signed, pruned, embedded)
    if as_json:
        history = [entry.to_json() for entry in signed.history]
        files = {"bundle": bundle, "permuted": copy, "secret": secret}
        print_json({**files, "checks": checks, "pictures": paths, "history": history})
        return
    before, after = ticket.history[-1], signed.history[-1]
    tested = [("dense", ticket.history[0]), ("ticket", before), ("signed ticket", after)]
    say("\ntest accuracy: " + ", ".join(f"{name} {entry.test:.2f} %" for name, entry in tested))
    say(f"kept: {before.kept} of {before.total} weights before signing, {after.kept} after")
    say(f"bundle: {bundle}")
    say(f"secret: {secret}, for this demonstration; keep yours apart from claim and model")
    for path in paths:
        say(f"picture: {path}")
    known = ["--claim", bundle / "claim.json", "--reference", bundle / "reference.safetensors"]
    tell_next("verify", copy, *known, "--secret", secret)


def _signed(
    folder: Path, message: str, density: float, seed: int | None, say: Callable[..., None]
) -> tuple[Ticket, Ticket, Embedded]:
    """Finds a ticket, signs it and retrains it: the one that was found, the retrained one, and the marks."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.formats import save
    from ticket_sig.lottery import find, retrain
    from ticket_sig.marks.carrier import Payload
    from ticket_sig.marks.embed import embed
    from ticket_sig.marks.secret import read_or_made
    from ticket_sig.training.recipe import preset

    Payload(text=message)  # refused before the search
    data, bundle = load_dataset("digits"), folder / "signed"
    recipe = preset("demo", arch="resnet20", dataset="digits", density=density, **options.changes(seed=seed))
    kept = read_or_made(folder / "demo.secret", bundle / "claim.json")
    with options.engine("cpu", 20) as engine, kept as secret:
        say(head="1. find a ticket", text="ResNet-20 on handwritten digits, magnitude pruning with rewinding")
        ticket = find(recipe, data, folder / "run", engine=engine)
        say(
            head="2. sign it",
            text="a QR code in one kernel map; a spread and a mirror code in all layers",
        )
        embedded = embed(ticket, message, mark=_MARKS, secret=secret)
        say(head="3. retrain it", text="from the rewind weights, under the signed mask")
        with TemporaryDirectory() as state:
            signed = retrain(embedded.ticket, recipe, data, state, engine=engine)
        save(signed, bundle, claim=embedded.claim.to_json(), reference=ticket.weights, replace=True)
    return ticket, signed, embedded


def _check(ticket: Ticket, embedded: Embedded, say: Callable[[str], None]) -> dict[str, Any]:
    from ticket_sig.statistics import format_p
    from ticket_sig.verification import verify
    from ticket_sig.verification.decide import Together

    verdict = verify(ticket, embedded.claim, **embedded.shown)
    assert isinstance(verdict.reading, Together)
    for one in verdict.reading.verdicts:
        message = one.reading.message
        shown = "message cannot be read" if message is None else f"message: {printable(message)}"
        say(f"   {one.mark}: {one.outcome}, p = {format_p(one.log10_p)}; {shown}")
    say(f"   the claim: {verdict.outcome}")
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
