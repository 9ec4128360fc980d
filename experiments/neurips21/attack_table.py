"""Every attack on the network of schemes 2 and 3: accuracy, what is read, verdicts, trigger answers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.lib.bench import Bench
from experiments.lib.scales import TRIGGERS, Subject
from experiments.lib.showing import NOTHING, Result, summary
from experiments.neurips21.attacked import FORGED, accuracy, attacked, reading
from experiments.neurips21.table4 import epochs_on_other
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks.trigger_set.reading import matches_needed
from ticket_sig.verification.fidelity import EPS_F

TITLE = "Attack table: schemes 2 and 3 under every attack"
PRUNING = (0.05, 0.1, 0.2, 0.3, 0.5)
ADD_ON = (0.005, 0.01, 0.02, 0.05, 0.1)
REMOVAL = {"lr": 0.2, "images": 500}  # of triggers


def attacks(bench: Bench, subject: Subject) -> list[tuple[str, str | None, dict[str, Any]]]:
    """In words, by name, options."""
    short = max(1, bench.recipe(subject, 0).length.count // 2)
    insider = {"message": FORGED, "insider": True}
    after = f"the same, then fine-tuned for {short} epochs"
    removal = {"epochs": short, **REMOVAL}
    other = {"epochs": epochs_on_other(bench, subject), "other": True}
    pruning = [(by, rate) for by in ("magnitude", "random") for rate in PRUNING]
    return [
        (NOTHING, None, {}),
        *((f"{by} {100 * rate:g} %", f"{by}-pruning", {"rate": rate}) for by, rate in pruning),
        *((f"add-on {100 * rate:g} %", "add-on", {"rate": rate}) for rate in ADD_ON),
        ("fake2: noise, 2 % moved", "noise", {"rate": 0.02}),
        ("fake3: another code", "overwrite", {"message": FORGED}),
        ("fake3: another code, place known", "overwrite", insider),
        (after, "overwrite", {**insider, "then": short}),
        ("erase, place known", "erase", {"insider": True}),
        (after, "erase", {"insider": True, "then": short}),
        (f"fine-tuning, {short} epochs, lr 0.02", "fine-tuning", {"epochs": short, "lr": 0.02}),
        (f"fine-tuning, {short} epochs, lr 0.2", "fine-tuning", {"epochs": short, "lr": 0.2}),
        (f"trigger removal, {short} epochs, 500 images", "trigger-removal", removal),
        (f"fine-tuning to {subject.other}", "fine-tuning", other),
    ]


def group(bench: Bench, subject: Subject, name: str | None, options: dict[str, Any]) -> list[Cell]:
    """One attack on the taught network of every seed."""
    return [attacked(bench, subject, "taught", name, seed, **options) for seed in bench.scale.seeds]


def cells(bench: Bench) -> list[Cell]:
    """Every attack; the first seed of all before the second of any."""
    groups = [
        group(bench, subject, name, options)
        for subject in bench.scale.subjects
        for _, name, options in attacks(bench, subject)
    ]
    return [cell for of_seed in zip(*groups, strict=True) for cell in of_seed]


def result(bench: Bench) -> Result:
    """One row an attack."""
    rows: list[tuple[str, ...]] = []
    for subject in bench.scale.subjects:
        needed = matches_needed(TRIGGERS, bench.data(subject.dataset).classes) or TRIGGERS
        for words, name, options in attacks(bench, subject):
            values = bench.store.found(group(bench, subject, name, options))
            lost = [v["before"] - v["accuracy"] for v in values if v["before"] is not None]
            triggers = [v["triggers"] for v in values if v["triggers"] is not None]
            row = (accuracy(values), summary(lost) if lost else "", reading(values))
            answers = summary(triggers) if triggers or not values else "cannot be asked"
            rows.append((str(subject), words, *row, answers, who(values, lost, needed)))
    columns = "network | attack | test % | lost | the code | trigger % | who wins"
    notes = (
        "The network: the signed ticket retrained with triggers, one a seed. `place known`: the thief is "
        "an insider.",
        "Who wins: the owner, as long as the code is verified with any seed or the triggers are "
        f"({needed} of {TRIGGERS} answers, by keyed labels); nobody, where both are gone and more than "
        f"{EPS_F:g} point of accuracy with them; else the thief.",
        "Attacks that change no answer, on every mark: the table of free attacks.",
    )
    return Result(columns, rows, notes, found=wins((row[1], row[-1]) for row in rows))


def who(values: Sequence[Measured], lost: Sequence[float], needed: int) -> str:
    """Who wins, over all seeds."""
    if not values:
        return ""
    stands = {
        "the code": any(value["verdict"] == "verified" for value in values),
        "the triggers": any((value["triggers"] or 0) * TRIGGERS / 100 >= needed for value in values),
    }
    return winner(stands, lost)


def wins(rows: Iterable[tuple[str, str]]) -> str:
    """How often each of them wins, in words; by attack and who wins it."""
    won = Counter(winner.partition(",")[0] for words, winner in rows if winner and words != NOTHING)
    named = ", ".join(f"{name} {times}" for name, times in won.items())
    return f"who wins, of the attacks: {named}" if won else ""


def winner(stands: Mapping[str, bool], lost: Sequence[float]) -> str:
    """The owner by the marks that stand; else nobody, or the thief, by what he lost."""
    if any(stands.values()):
        return f"the owner, by {' and '.join(mark for mark, there in stands.items() if there)}"
    return "nobody" if lost and statistics.mean(lost) > EPS_F else "the thief"
