"""Watermarks of dense networks under the attacks that tickets stand under: what is read, and what it costs.

python experiments/watermark_attacks.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import uchida
from bench import Bench
from cells import Cell, Measured
from command import main
from freezenets import cell
from showing import Result

from ticket_sig.attacks import Scene, attack, carry_out
from ticket_sig.digests import tensor_digest
from ticket_sig.models import build
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.training.device import made_with
from ticket_sig.verification import verify
from ticket_sig.watermarks import Mark, Uchida, Watermark, claim_of
from ticket_sig.watermarks.derive import size_of

TITLE = "Watermarks of dense networks under attack"
ARCH, SHARE = "resnet20", 0.01
MARKS = ("freezenet", "uchida")
OWN = "the thief's own mark"
ATTACKS: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    ("none", None, {}),
    ("cast to bfloat16", "cast", {}),
    *(
        (f"{by} pruning {100 * rate:g} %", f"{by}-pruning", {"rate": rate})
        for by in ("magnitude", "random")
        for rate in (0.1, 0.3)
    ),
    ("magnitude pruning 50 %", "magnitude-pruning", {"rate": 0.5}),
    ("fine-tuning, lr 0.02", "fine-tuning", {"lr": 0.02}),
    ("fine-tuning, lr 0.2", "fine-tuning", {"lr": 0.2}),
    ("the thief's own mark written over it", OWN, {}),
    ("the same, then fine-tuned, lr 0.02", OWN, {"lr": 0.02}),
)


def cells(bench: Bench) -> list[Cell]:
    """Every attack on every mark."""
    return [attacked(bench, scheme, name, options) for scheme in MARKS for _, name, options in ATTACKS]


def attacked(bench: Bench, scheme: str, name: str | None, options: dict[str, Any]) -> Cell:
    """A network that was fine-tuned with a mark, under an attack."""
    length = str(uchida.size(bench).again[0])
    asked = {"scheme": scheme, "attack": name, **options, "share": SHARE, "length": length}
    asked["start"] = uchida.how_started(bench, ARCH)

    def measure() -> Measured:
        mark = mark_of(bench, scheme, "owner")
        ticket = owned(bench, mark)
        after = CARRIED_OUT.get(name or "none", from_registry)(bench, ticket, scheme, name, options)
        claim = claim_of(mark, ticket.weights)
        verdict = verify(after, claim)
        return {
            "before": uchida.accuracy(bench, ARCH, ticket.weights),
            "accuracy": uchida.accuracy(bench, ARCH, after.weights),
            "statistic": verdict.statistic,
            "log10_p": verdict.log10_p,
            "verified": verdict.verified,
            "made_with": made_with(bench.engine.device, "float32"),
        }

    return cell(bench, "watermark attack", measure, recipe=uchida.recipe_of(bench, ARCH), **asked)


def mark_of(bench: Bench, scheme: str, whose: str) -> Mark:
    """A mark; its key is no secret, so that it can be repeated."""
    key = hashlib.sha256(f"Watermark attacks, {scheme}, {whose}".encode()).digest()
    if scheme == Uchida.scheme:
        payload = [bool(byte & 1) for byte in hashlib.sha512(key).digest()]
        return Uchida.on(uchida.initial(bench, ARCH), payload, key=key)
    data = bench.data(uchida.size(bench).dataset)
    model = build(ARCH, data.classes, data.channels)
    manifest = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return Watermark(key, round(SHARE * size_of(manifest)), manifest=manifest)


def owned(bench: Bench, mark: Mark) -> Ticket:
    """The network fine-tuned with the mark."""
    return uchida.fine_tuned(bench, uchida.start(bench, ARCH), uchida.recipe_of(bench, ARCH), mark)


def from_registry(
    bench: Bench, ticket: Ticket, scheme: str, name: str | None, options: dict[str, Any]
) -> Ticket:
    """An attack of the package's registry."""
    assert name is not None
    given = {"scheme": scheme, "attack": name, **options, "weights": tensor_digest(ticket.weights)}
    if name == "fine-tuning":
        options = {"epochs": uchida.size(bench).again[0].count, **options}
    scene = Scene(
        data=bench.data(uchida.size(bench).dataset),
        recipe=uchida.recipe_of(bench, ARCH),
        engine=bench.engine,
        run=bench.folder_of("watermark", given),
    )
    return carry_out(attack(name, **options), ticket, scene)[0]


def cast(bench: Bench, ticket: Ticket, scheme: str, name: str | None, options: dict[str, Any]) -> Ticket:
    """The network rounded to bfloat16."""
    rounded = {n: t.bfloat16().to(t.dtype) if t.is_floating_point() else t for n, t in ticket.weights.items()}
    return replace(ticket, weights=rounded)


def overwritten(
    bench: Bench, ticket: Ticket, scheme: str, name: str | None, options: dict[str, Any]
) -> Ticket:
    """A mark of the same scheme written over it; the thief knows the scheme, and not the owner's key."""
    after = mark_of(bench, scheme, "thief").embed(ticket)
    return from_registry(bench, after, scheme, "fine-tuning", options) if options else after


CARRIED_OUT: dict[str, Callable[..., Ticket]] = {
    "none": lambda bench, ticket, *_: ticket,
    "cast": cast,
    OWN: overwritten,
}


def result(bench: Bench) -> Result:
    """One row an attack."""
    rows = []
    for scheme in MARKS:
        for words, name, options in ATTACKS:
            found = bench.store.measured(attacked(bench, scheme, name, options))
            if found is None:
                rows.append((scheme, words, "not run", "", "", "", ""))
                continue
            lost = f"{found['before'] - found['accuracy']:.2f}"
            said = "verified" if found["verified"] else "not verified"
            p = format_p(found["log10_p"])
            rows.append((scheme, words, f"{found['accuracy']:.2f}", lost, found["statistic"], p, said))
    notes = [
        f"{ARCH}, fine-tuned with the mark for {uchida.size(bench).again[0]} from trained weights; FreezeNet "
        f"over a share of {SHARE}, Uchida 64 bits. One network and one key each: no spread.",
        "FreezeNet is verified where every value stands: it is a seal, broken by any training that does not "
        "hold it. The p-value says what is left.",
        "A mark of the thief's own, written over the owner's, verifies too: an earlier record decides.",
    ]
    columns = ("mark", "attack", "test %", "lost", "what is read", "p", "verdict")
    return Result(columns, rows, notes, recipe=uchida.recipe_of(bench, ARCH), says=uchida.size(bench).says)


if __name__ == "__main__":
    main(sys.modules[__name__])
