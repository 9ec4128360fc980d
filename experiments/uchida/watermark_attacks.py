"""Watermarks of dense networks under attack: what is read, what it costs, and whose mark is verified then."""

from __future__ import annotations

from typing import Any

from experiments.lib.bench import Bench, no_secret
from experiments.lib.showing import NOTHING, Result, counts
from experiments.uchida import bits_by_fine_tuning as uchida
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.own_watermark import OwnWatermark, sized
from ticket_sig.cells import Cell, Measured
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import Mark, claim_of, marks_of
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict
from ticket_sig.verification import verify
from ticket_sig.verification.fidelity import EPS_F

TITLE = "Watermarks of dense networks under attack"
ARCH = "resnet20"
MARKS = {"freezenet": 2700, "uchida": 64}  # values, a hundredth of the network; bits
OWN, HELD = "own-watermark", "own-watermark, held"
ATTACKS: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    (NOTHING, None, {}),
    ("cast to bfloat16", "cast", {"precision": "bf16"}),
    ("filters negated, norms with them", "sign-flip", {}),
    ("magnitude pruning 10 %", "magnitude-pruning", {"rate": 0.1}),
    ("magnitude pruning 30 %", "magnitude-pruning", {"rate": 0.3}),
    ("magnitude pruning 50 %", "magnitude-pruning", {"rate": 0.5}),
    ("random pruning 10 %", "random-pruning", {"rate": 0.1}),
    ("fine-tuning, lr 0.02", "fine-tuning", {"lr": 0.02}),
    ("fine-tuning, lr 0.2", "fine-tuning", {"lr": 0.2}),
    ("the thief's own mark written over it", OWN, {}),
    ("the same, then fine-tuned with it, lr 0.02", HELD, {}),
)


def cells(bench: Bench) -> list[Cell]:
    """The network without a mark, and every attack on every mark."""
    attacks = [attacked(bench, scheme, name, options) for scheme in MARKS for _, name, options in ATTACKS]
    return [uchida.control(bench, ARCH), *attacks]


def attacked(bench: Bench, scheme: str, name: str | None, options: dict[str, Any]) -> Cell:
    """A network that was fine-tuned with a mark, under an attack."""
    asked = {"scheme": scheme, "size": MARKS[scheme], "attack": name, **options}
    asked |= {"length": str(uchida.size(bench).again[0]), "start": uchida.how_started(bench, ARCH)}

    def measure() -> Measured:
        mark = mark_of(bench, scheme)
        owned = uchida.fine_tuned(bench, ARCH, mark)
        after, thief = carried_out(bench, owned.ticket, scheme, name, options)
        trained = after.history[-1].made_with if after.history else None
        return {
            "before": uchida.accuracy(bench, ARCH, owned.weights),
            "accuracy": uchida.accuracy(bench, ARCH, after.weights),
            "owner": told(verify(after, claim_of([mark], owned.weights))),
            "thief": told(verify(after, claim_of([thief], after.weights))) if thief else None,
            "made_with": dict(trained or owned.made_with),
        }

    return bench.cell("watermark attack", measure, uchida.recipe_of(bench, ARCH), **asked)


def mark_of(bench: Bench, scheme: str) -> Mark:
    """The owner's mark."""
    secret = no_secret(f"Watermark attacks, {scheme}")
    return sized(scheme, MARKS[scheme], bench.initial(ARCH, uchida.size(bench).dataset), secret).mark


def carried_out(
    bench: Bench, ticket: Ticket, scheme: str, name: str | None, options: dict[str, Any]
) -> tuple[Ticket, Mark | None]:
    """The attacked network, and the thief's mark where he writes one."""
    if name is None:
        return ticket, None
    given = {"attack": name, **options, "weights": tensor_digest(ticket.weights)}
    scene = Scene(
        data=bench.data(uchida.size(bench).dataset),
        recipe=uchida.recipe_of(bench, ARCH),
        engine=bench.engine,
        run=bench.folder_of("watermark", given),
    )
    if name in (OWN, HELD):
        forged = OwnWatermark(mark=scheme, size=MARKS[scheme]).carry_out(ticket, scene)
        assert forged.claim is not None
        [mark] = marks_of(forged.claim)
        if name == OWN:
            return forged.ticket, mark
        return bench.train(forged.ticket, uchida.recipe_of(bench, ARCH), mark=mark).ticket, mark
    if name == "fine-tuning":
        options = {"epochs": uchida.size(bench).again[0].count, **options}
    return attack(name, **options)(ticket, scene), None


def told(verdict: Verdict) -> dict[str, Any]:
    """What a cell keeps of a verdict."""
    return {"statistic": verdict.statistic, "log10_p": verdict.log10_p, "verified": verdict.verified}


def result(bench: Bench) -> Result:
    """One row an attack."""
    rows: list[tuple[object, ...]] = []
    for scheme in MARKS:
        for words, name, options in ATTACKS:
            found = bench.store.measured(attacked(bench, scheme, name, options))
            rows.append((scheme, words, *(row(found) if found else ("not run", *[""] * 5))))
    length, control = uchida.size(bench).again[0], bench.store.measured(uchida.control(bench, ARCH))
    unmarked = f"{control['accuracy']:.2f} %" if control else "not run"
    notes = [
        f"{ARCH}, fine-tuned with the mark for {length} from trained weights; without a mark the same "
        f"fine-tuning reaches {unmarked}. FreezeNet fixes {MARKS['freezenet']} values, Uchida "
        f"{MARKS['uchida']} bits. The thief knows the scheme, and not the owner's secret.",
        "FreezeNet is verified only where every value stands: any training that does not hold the values "
        "breaks it. The p-value says what is left.",
        f"Who wins: the owner, where the mark is verified; nobody, where it is gone and more than {EPS_F:g} "
        "point of accuracy with it; else the thief. Where both marks are verified, the older claim decides.",
        "Negated filters are the same network: a thief needs neither secret nor data for it. To bring the "
        "filters into one sign before they are read would undo it, but not other scales of theirs.",
    ]
    columns = "mark | attack | test % | lost | the owner's | p | the thief's | who wins"
    limits = f"One network, fine-tuned for {length} in all trainings here; no error bars."
    won = counts((str(row[0]), row[-1] == "the owner") for row in rows if row[1] != NOTHING)
    return Result(columns, rows, notes, limits=limits, found=f"attacks in which the owner wins: {won}")


def row(found: Measured) -> tuple[str, ...]:
    """Accuracy, verdicts and winner of one attack."""
    lost, owner, thief = found["before"] - found["accuracy"], found["owner"], found["thief"]
    forged = ("verified" if thief["verified"] else "not verified") if thief else ""
    winner = "the owner" if owner["verified"] else "nobody" if lost > EPS_F else "the thief"
    p = format_p(owner["log10_p"])
    return f"{found['accuracy']:.2f}", f"{lost:.2f}", owner["statistic"], p, forged, winner
