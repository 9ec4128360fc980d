"""Retrained networks that carry our marks, one or several, and what a thief leaves of each, as cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from filelock import FileLock

from experiments.lib.bench import Bench, no_secret
from experiments.lib.scales import Subject
from experiments.lib.sturdiest import LEVEL, MESSAGE, VERSION
from experiments.neurips21.retrained import how_taught, triggers_of
from ticket_sig.attacks import Scene, attack
from ticket_sig.cells import Cell, Measured
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError
from ticket_sig.evaluation.intervals import stat
from ticket_sig.marks import MARKS, CodeMark, Mark
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.embed import Embedded, embed
from ticket_sig.marks.mark import verdict_on
from ticket_sig.marks.mask_change import moved
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.models import build_for
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe
from ticket_sig.training.batches import TRIGGER_BATCH, TriggerBatch

_T = TypeVar("_T")
QR, SPREAD, MIRROR, TRIGGERS = "qr-code", "spread", "mirror", "trigger-set"
TWO = f"{SPREAD}+{MIRROR}"
ALL = f"{QR}+{TWO}"  # in the order in which they are written
UNSIGNED = ""
_SHOWN = ("mean", "low", "high")
_TRAINING = ("fine-tuning", "trigger-removal")
RATE = 0.02  # learning rate of who trains on after an attack; fine-tuning by itself takes the recipe's


@dataclass(frozen=True)
class Carried:
    """A network of one seed.

    Attributes:
        marks: names with `+` between them; nothing for the unsigned one.
        seed: of its training and of its owner's secret.
        margin: of its carriers; their own default where None.
        taught: whether it was taught triggers, too (scheme 3).
    """

    marks: str
    seed: int
    margin: float | None = None
    taught: bool = False

    @property
    def names(self) -> list[str]:
        """The marks one by one."""
        return self.marks.split("+") if self.marks else []

    @property
    def asked(self) -> dict[str, Any]:
        """What decides it, as JSON; where no margin is given, what the default is."""
        read = self.names or ALL.split("+")  # of the unsigned one, the marks that others have
        usual = {name: kind.usual_sigma for name in read if issubclass(kind := MARKS[name], Carrier)}
        default = usual if self.margin is None else None
        return {"marks": self.marks, "margin": self.margin, "usual": default, "seed": self.seed}


@dataclass(frozen=True)
class Theft:
    """What a thief does: attacks of the registry, one after the other.

    Attributes:
        steps: name and options of each.
        other: whether he trains for the other data set.
    """

    steps: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    other: bool = False

    def __str__(self) -> str:
        """Its steps, for a cell's name."""
        words = [word for name, options in self.steps for word in (name, *map(str, options.values()))]
        return " ".join([*words, *(["other"] if self.other else [])]) or "as it is"

    @property
    def trains(self) -> bool:
        """Whether any of it is a training."""
        return any(name in _TRAINING for name, _ in self.steps)

    def then(self, epochs: int) -> Theft:
        """The same, and he trains on."""
        return replace(self, steps=(*self.steps, ("fine-tuning", {"epochs": epochs, "lr": RATE})))


AS_IT_IS = Theft()


def theft(name: str, **options: Any) -> Theft:
    """One attack of the registry."""
    return Theft(((name, options),))


def half(bench: Bench, subject: Subject) -> int:
    """Half the epochs of a retraining."""
    return max(1, int(bench.recipe(subject, 0).length.count) // 2)


def unsigned_ticket(bench: Bench, subject: Subject) -> Ticket:
    """The ticket whose mask the marks are written into."""
    ticket = bench.one_shot(subject).unsigned
    assert ticket is not None
    return ticket


@lru_cache(maxsize=32)
def signed(bench: Bench, subject: Subject, carried: Carried) -> Embedded:
    """The ticket of an unsigned mask with the marks written into it, not retrained."""
    ticket = unsigned_ticket(bench, subject)
    given: dict[str, Any] = {} if carried.margin is None else {"margin": carried.margin}
    given |= {"version": VERSION, "level": LEVEL} if QR in carried.names else {}
    secret = no_secret(f"experiment {carried.seed}")
    # Bound to no reference, as the marks of the committed cells are.
    return embed(ticket, MESSAGE, mark=carried.marks, secret=secret, keep_reference=False, **given)


@lru_cache(maxsize=32)
def network(bench: Bench, subject: Subject, carried: Carried) -> Ticket:
    """The same, retrained."""
    marked = bool(carried.marks)
    ticket = signed(bench, subject, carried).ticket if marked else unsigned_ticket(bench, subject)
    triggers = None
    if carried.taught:
        triggers = TriggerBatch(triggers_of(bench, subject, carried.seed).split, TRIGGER_BATCH)
    return bench.train(ticket, recipe_of(bench, subject, carried), triggers=triggers).ticket


def recipe_of(bench: Bench, subject: Subject, carried: Carried) -> Recipe:
    """The recipe of its training."""
    return bench.recipe(subject, carried.seed, teaching=carried.taught)


def stolen_cell(bench: Bench, subject: Subject, carried: Carried, done: Theft = AS_IT_IS) -> Cell:
    """A network after a theft: accuracy, and what is left of each of its marks."""

    def measure() -> Measured:
        before = network(bench, subject, carried)
        after = _stolen(bench, subject, carried, done, before)
        data = subject.other if done.other else subject.dataset
        # Who prunes the dense parent himself has no mark: what is read in it are the owner's of that seed.
        owners = signed(bench, subject, carried if carried.marks else replace(carried, marks=ALL))
        marks = {mark.name: left(mark, after, owners) for mark in owners.marks}
        if carried.taught:
            marks[TRIGGERS] = answered(bench, subject, carried.seed, after)
        return {
            "accuracy": bench.accuracy(after.weights, subject.arch, data),
            "kept": after.mask.kept,
            "total": after.mask.total,
            "marks": marks,
            "made_with": before.history[-1].made_with,
        }

    asked = carried.asked | {
        "steps": [[name, dict(options)] for name, options in done.steps],
        "other": done.other,
    }
    if carried.taught:
        asked["triggers"] = how_taught(bench, subject)
    about = {"subject": str(subject), "ticket": bench.known(subject).ticket}
    names = "+".join([carried.marks or "unsigned", *([TRIGGERS] if carried.taught else [])])
    words, recipe = [names, str(done), f"seed {carried.seed}"], recipe_of(bench, subject, carried)
    return bench.cell("carriers", measure, recipe, about=about, words=words, **asked)


def of_every_seed(bench: Bench, subject: Subject, marks: str, done: Theft = AS_IT_IS) -> list[Cell]:
    """The network of every seed after a theft."""
    return [stolen_cell(bench, subject, Carried(marks, seed), done) for seed in bench.scale.seeds]


def _stolen(bench: Bench, subject: Subject, carried: Carried, done: Theft, ticket: Ticket) -> Ticket:
    """What the thief has after all steps; his trainings stand in RUN."""
    recipe = bench.native(bench.recipe(subject, carried.seed))
    marks = signed(bench, subject, carried).marks if carried.marks else ()
    scene = Scene(
        data=bench.data(subject.other if done.other else subject.dataset) if done.trains else None,
        recipe=recipe,
        engine=bench.engine,
        seed=carried.seed,
        place=next((mark for mark in marks if isinstance(mark, CodeMark)), None),
    )
    for name, options in done.steps:
        given = {"attack": [name, dict(options)], "recipe": recipe.to_json(), "other": done.other}
        run = bench.folder_of("stolen", {**given, "weights": tensor_digest(ticket.weights)})
        with FileLock(run.with_suffix(".lock")):  # another theft may begin with the same training
            ticket = attack(name, **options)(ticket, replace(scene, run=run))
    return ticket


def left(mark: Mark, suspect: Ticket, owners: Embedded) -> dict[str, Any]:
    """What is left of a mark, as one of all that its owner claims."""
    found = verdict_on(mark, suspect, len(owners.marks), owners.shown)
    if isinstance(found, InputError):
        return {"exact": False, "verdict": str(found), "log10_p": 0.0, "sigma": None}
    reading: Any = found.reading
    return {
        "exact": reading.message == MESSAGE,
        "verdict": found.outcome,
        "log10_p": found.log10_p,
        "sigma": getattr(reading, "sigma", None),
    }


def answered(bench: Bench, subject: Subject, seed: int, suspect: Ticket) -> dict[str, Any]:
    """What is left of the triggers of a seed: the verdict on a network's answers."""
    triggers = triggers_of(bench, subject, seed)
    network = build_for(subject.arch, suspect.weights).to(bench.engine.device)
    claim = claim_triggers(triggers, tensor_digest(suspect.weights))
    found = bench.asked(network, subject.dataset, claim, triggers)
    return {"verdict": found.outcome, "log10_p": found.log10_p, "right": found.reading.agreement}


def share_moved(bench: Bench, subject: Subject, carried: Carried) -> float:
    """Share of the kept weights, in %, that the marks moved."""
    ticket = unsigned_ticket(bench, subject)
    return 100 * moved(ticket.mask, signed(bench, subject, carried).ticket.mask) / ticket.mask.kept


def some(bench: Bench, values: Sequence[_T], most: int = 1) -> Sequence[_T]:
    """Rates, strengths and the like; at the smallest scale, which shows that it runs, the first alone."""
    return values[:most] if bench.scale.name == "smoke" else values


def interval(values: Sequence[float]) -> str:
    """Mean with the interval of 95 % (Student's t), and the number of seeds."""
    found = stat(values)
    if found is None:
        return "not run"
    mean, low, high = (None if found[what] is None else f"{found[what]:+.2f}" for what in _SHOWN)
    return f"{mean} ({found['n']})" if low is None else f"{mean} [{low}, {high}] ({found['n']})"


def told(values: Sequence[Measured], mark: str) -> str:
    """What is left of a mark over seeds: read 3/3, verified 3/3 (p < 1e-85), 21.3 sigma."""
    found = [value["marks"][mark] for value in values if mark in value["marks"]]
    if not found:
        return "not run"
    exact = sum(one["exact"] for one in found)
    sigmas = [one["sigma"] for one in found if one["sigma"] is not None]
    mean = f", {sum(sigmas) / len(sigmas):.1f} sigma" if sigmas else ""
    return f"read {exact}/{len(found)}, {verified(found)}{mean}"


def verified(found: Sequence[Measured]) -> str:
    """What is decided of a mark over seeds: verified 3/3 (p < 1e-85)."""
    tails = [one["log10_p"] for one in found if one["verdict"] == "verified"]
    worst = f" (p < 1e{int(max(tails))})" if tails else ""
    return f"verified {len(tails)}/{len(found)}{worst}"
