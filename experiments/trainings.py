"""The trainings that several tables share, as cells: intact, locked, taught triggers."""

from __future__ import annotations

from collections.abc import Sequence

from bench import Bench
from cells import Cell
from scales import TRIGGER_BATCH, TRIGGERS, Subject

from ticket_sig.models import build_for
from ticket_sig.scores import Scored, score
from ticket_sig.signatures.scheme1 import Split, split
from ticket_sig.signatures.triggers import TriggerSecret, TriggerSet
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verification import extract


def intact(bench: Bench, subject: Subject, seed: int, *, teaching: bool = False) -> Cell:
    """The signed ticket, retrained; with `teaching` for as long as one with triggers."""

    def measure() -> dict[str, object]:
        trained = intact_ticket(bench, subject, seed, teaching=teaching)
        message = extract(trained, bench.signed(subject).claim).message
        return bench.of_training(trained, subject, message=message)

    return bench.cell("intact", subject, measure, seed=seed, teaching=teaching)


def intact_ticket(bench: Bench, subject: Subject, seed: int, *, teaching: bool = False) -> Ticket:
    """The signed ticket, retrained."""
    return bench.train(bench.signed(subject).ticket, bench.recipe(subject, seed, teaching=teaching))


def locked(bench: Bench, subject: Subject, by: str, share: float, seed: int) -> Cell:
    """A locked ticket (scheme 1), retrained without its key."""

    def measure() -> dict[str, object]:
        parts = parts_of(bench, subject, by, share, seed)
        trained = bench.train(parts.locked, bench.recipe(subject, seed))
        return bench.of_training(trained, subject, key=len(parts.key))

    return bench.cell("locked", subject, measure, score=by, share=share, seed=seed)


def parts_of(bench: Bench, subject: Subject, by: str, share: float, seed: int) -> Split:
    """The signed ticket split by a score; exact wherever that is possible."""
    ticket = bench.signed(subject).ticket
    model = build_for(subject.arch, ticket.weights)
    scores = score(by, Scored(ticket=ticket, model=model, seed=seed))
    return split(ticket, share, scores, score=by)


def taught(
    bench: Bench, subject: Subject, seed: int, batch: int = TRIGGER_BATCH, *, teaching: bool = True
) -> Cell:
    """The signed ticket, retrained with triggers (scheme 3); without `teaching` for as long as others."""

    def measure() -> dict[str, object]:
        trained = taught_ticket(bench, subject, seed, batch, teaching=teaching)
        return bench.of_training(
            trained,
            subject,
            triggers=on_triggers(bench, subject, trained, seed),
            before=on_triggers(bench, subject, bench.signed(subject).ticket, seed),
            message=extract(trained, bench.signed(subject).claim).message,
        )

    return bench.cell("taught", subject, measure, teaching=teaching, seed=seed, count=TRIGGERS, batch=batch)


def taught_ticket(
    bench: Bench, subject: Subject, seed: int, batch: int = TRIGGER_BATCH, *, teaching: bool = True
) -> Ticket:
    """The signed ticket, retrained with triggers."""
    triggers = TriggerBatch(triggers_of(bench, subject, seed).split, batch)
    recipe = bench.recipe(subject, seed, teaching=teaching)
    return bench.train(bench.signed(subject).ticket, recipe, triggers)


def how_taught(bench: Bench, subject: Subject) -> list[object]:
    """What decides a taught network beside its seed: triggers, how many a batch, for how long."""
    return [TRIGGERS, TRIGGER_BATCH, str(bench.recipe(subject, 0, teaching=True).length)]


def triggers_of(bench: Bench, subject: Subject, seed: int) -> TriggerSet:
    """The trigger set of a seed; its secret is no secret, so that the experiment can be repeated."""
    data = bench.data(subject.dataset)
    return TriggerSecret(bytes([seed]) * 32, TRIGGERS, data.size, data.classes).trigger_set()


def on_triggers(bench: Bench, subject: Subject, ticket: Ticket, seed: int) -> float:
    """Trigger accuracy in %, float32."""
    data, split_ = bench.data(subject.dataset), triggers_of(bench, subject, seed).split
    model = build_for(subject.arch, ticket.weights)
    return accuracy(model, split_, data, bench.engine.device, "float32")


def measured(bench: Bench, cells: Sequence[Cell], what: str = "accuracy") -> list[float]:
    """One number of every cell that was measured."""
    return [float(values[what]) for values in bench.store.found(cells)]


def seeds_for(bench: Bench, index: int) -> tuple[int, ...]:
    """All seeds for the first of a list, a few for the others."""
    return bench.scale.seeds if index == 0 else bench.few()


def differences(bench: Bench, left: Sequence[Cell], right: Sequence[Cell]) -> list[float]:
    """Accuracy of `left` less that of `right`, cell by cell, where both were measured."""
    found = [[bench.store.measured(cell) for cell in cells] for cells in (left, right)]
    return [a["accuracy"] - b["accuracy"] for a, b in zip(*found, strict=False) if a and b]
