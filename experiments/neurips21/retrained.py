"""The retrainings that several tables share, as cells: intact, locked, forged keys, taught triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.lib.bench import Bench, Trained, plain
from experiments.lib.scales import TRIGGERS, Subject
from ticket_sig.attacks import Scene
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks.key_mask.split import Split, split
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet
from ticket_sig.models import build_for
from ticket_sig.scores import Scored, score
from ticket_sig.training.batches import TRIGGER_BATCH, TriggerBatch
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verification import extract

FORGED_BY = "omp"  # the score of the keys that are forged


def cell(
    bench: Bench,
    name: str,
    subject: Subject,
    measure: Callable[[], Measured],
    *,
    teaching: bool = False,
    **asked: Any,
) -> Cell:
    """A cell on a subject of this scale: what decides it is its ticket, its recipe and what is asked.

    Args:
        teaching: whether its recipe is that of a training with triggers.
    """
    recipe = bench.recipe(subject, asked.get("seed", 0), teaching=teaching)
    about = {"subject": str(subject), "ticket": bench.known(subject).ticket}
    return bench.cell(name, measure, recipe, about=about, words=[str(subject), *plain(asked)], **asked)


def kept_of(bench: Bench, subject: Subject, trained: Trained, **more: Any) -> dict[str, Any]:
    """What a cell keeps of a retraining."""
    return {
        "accuracy": bench.accuracy(trained.weights, subject.arch, subject.dataset),
        "validation": trained.validation[-1],
        "kept": trained.ticket.mask.kept,
        "total": trained.ticket.mask.total,
        "made_with": trained.made_with,
        **more,
    }


def intact(bench: Bench, subject: Subject, seed: int, *, teaching: bool = False) -> Cell:
    """The signed ticket, retrained; with `teaching` for as long as one with triggers."""

    def measure() -> Measured:
        trained = train_intact(bench, subject, seed, teaching=teaching)
        message = extract(trained.ticket, bench.signed(subject).claim).message
        return kept_of(bench, subject, trained, message=message)

    return cell(bench, "intact", subject, measure, seed=seed, teaching=teaching)


def intacts(bench: Bench, subject: Subject) -> list[Cell]:
    """The signed ticket, retrained with every seed."""
    return [intact(bench, subject, seed) for seed in bench.scale.seeds]


def train_intact(bench: Bench, subject: Subject, seed: int, *, teaching: bool = False) -> Trained:
    """Retrains the signed ticket."""
    return bench.train(bench.signed(subject).ticket, bench.recipe(subject, seed, teaching=teaching))


def locked(bench: Bench, subject: Subject, by: str, share: float, seed: int) -> Cell:
    """A locked ticket (scheme 1), retrained without its key."""

    def measure() -> Measured:
        trained = train_locked(bench, subject, by, share, seed)
        key = len(parts_of(bench, subject, by, share, seed).key)
        return kept_of(bench, subject, trained, key=key)

    return cell(bench, "locked", subject, measure, score=by, share=share, seed=seed)


def train_locked(bench: Bench, subject: Subject, by: str, share: float, seed: int) -> Trained:
    """Retrains a locked ticket."""
    return bench.train(parts_of(bench, subject, by, share, seed).locked, bench.recipe(subject, seed))


def parts_of(bench: Bench, subject: Subject, by: str, share: float, seed: int) -> Split:
    """The signed ticket split by a score; exact wherever that is possible."""
    ticket = bench.signed(subject).ticket
    model = build_for(subject.arch, ticket.weights)
    scores = score(by, Scored(ticket=ticket, model=model, seed=seed))
    return split(ticket, share, scores, score=by)


def forged(bench: Bench, subject: Subject, share: float, seed: int) -> Cell:
    """A locked ticket with a random key of the true one's size, retrained."""

    def measure() -> Measured:
        parts = parts_of(bench, subject, FORGED_BY, share, seed)
        ticket = FakeKey(count=len(parts.key))(parts.locked, Scene(seed=seed))
        return kept_of(bench, subject, bench.train(ticket, bench.recipe(subject, seed)))

    return cell(bench, "forged", subject, measure, score=FORGED_BY, share=share, seed=seed)


def taught(
    bench: Bench, subject: Subject, seed: int, batch: int = TRIGGER_BATCH, *, teaching: bool = True
) -> Cell:
    """The signed ticket, retrained with triggers (scheme 3); without `teaching` for as long as others."""

    def measure() -> Measured:
        trained = train_taught(bench, subject, seed, batch, teaching=teaching)
        return kept_of(
            bench,
            subject,
            trained,
            triggers=on_triggers(bench, subject, trained.weights, seed),
            before=on_triggers(bench, subject, bench.signed(subject).ticket.weights, seed),
            message=extract(trained.ticket, bench.signed(subject).claim).message,
        )

    return cell(bench, "taught", subject, measure, teaching=teaching, seed=seed, count=TRIGGERS, batch=batch)


def train_taught(
    bench: Bench, subject: Subject, seed: int, batch: int = TRIGGER_BATCH, *, teaching: bool = True
) -> Trained:
    """Retrains the signed ticket with triggers."""
    triggers = TriggerBatch(triggers_of(bench, subject, seed).split, batch)
    recipe = bench.recipe(subject, seed, teaching=teaching)
    return bench.train(bench.signed(subject).ticket, recipe, triggers=triggers)


def how_taught(bench: Bench, subject: Subject) -> list[object]:
    """What decides a taught network beside its seed: triggers, how many a batch, for how long."""
    return [TRIGGERS, TRIGGER_BATCH, str(bench.recipe(subject, 0, teaching=True).length)]


def triggers_of(bench: Bench, subject: Subject, seed: int) -> TriggerSet:
    """The trigger set of a seed; its secret is no secret, so that the experiment can be repeated."""
    data = bench.data(subject.dataset)
    return TriggerSecret(bytes([seed]) * 32, TRIGGERS, data.size, data.classes).trigger_set()


def on_triggers(bench: Bench, subject: Subject, weights: Mapping[str, Any], seed: int) -> float:
    """Trigger accuracy in %, float32."""
    data, split_ = bench.data(subject.dataset), triggers_of(bench, subject, seed).split
    return accuracy(build_for(subject.arch, weights), split_, data, bench.engine.device, "float32")
