"""Table 4 of NeurIPS'21: locked tickets (5 % keys) and a signed network, trained on another data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, summary
from experiments.neurips21.attacked import attacked, reading
from experiments.neurips21.retrained import cell, parts_of
from ticket_sig.attacks import Scene
from ticket_sig.attacks.report import attack_report
from ticket_sig.attacks.train_on import train_on
from ticket_sig.cells import Cell, Measured
from ticket_sig.digests import tensor_digest

TITLE = "Table 4: tickets taken to another data set"
SHARE = 0.05
UNDER = 3  # points that the paper's locked tickets end under the tickets found on the other data set
SCORES = ("intact", "omp", "ewp", "betweenness")
WHY = "A shorter schedule."
PUBLISHED = {
    "resnet20-cifar10": {"omp": 59.80, "ewp": 60.27, "betweenness": 59.61, "taught": 61.59},
    "resnet20-cifar100": {"omp": 87.66, "ewp": 88.21, "betweenness": 87.22, "taught": 88.21},
}


def transfer(bench: Bench, subject: Subject, by: str, seed: int) -> Cell:
    """A locked ticket (or the intact one), trained on the other data set from its rewind weights."""
    epochs = epochs_on_other(bench, subject)
    asked: dict[str, Any] = {"by": by, "share": SHARE, "other": subject.other, "epochs": epochs}

    def measure() -> Measured:
        signed = bench.signed(subject).ticket
        ticket = signed if by == "intact" else parts_of(bench, subject, by, SHARE, seed).locked
        recipe, kept = bench.recipe(subject, seed), tensor_digest(ticket.mask)
        run = bench.folder_of("transfer", {**asked, "recipe": recipe.to_json(), "mask": kept})
        data = bench.data(subject.other)
        scene = Scene(data=data, recipe=recipe, engine=bench.engine, run=run, seed=seed)
        trained = train_on(ticket, scene, epochs=epochs, lr=None, start="rewind")
        judged = replace(scene, recipe=replace(recipe, precision="float32"))
        return {
            "accuracy": attack_report(ticket, trained, judged).accuracy[1],
            "made_with": dict(trained.history[-1].made_with or {}),
            "images": len(data.train),
        }

    return cell(bench, "transfer", subject, measure, seed=seed, **asked)


def epochs_on_other(bench: Bench, subject: Subject) -> int:
    """As many steps as on the ticket's own data set, where the other is smaller."""
    own, other = (len(bench.data(name).train) for name in (subject.dataset, subject.other))
    length = bench.recipe(subject, 0).length
    return round(length.count * own / other)


def moved(bench: Bench, subject: Subject, seed: int) -> Cell:
    """The network of schemes 2 and 3, fine-tuned to the other data set."""
    epochs = epochs_on_other(bench, subject)
    return attacked(bench, subject, "taught", "fine-tuning", seed, epochs=epochs, other=True)


def cells(bench: Bench) -> list[Cell]:
    """Seed by seed: locked tickets by every score, then the signed network."""
    return [
        one
        for seed in bench.scale.seeds
        for subject in bench.scale.published
        for one in (
            *(transfer(bench, subject, by, seed) for by in SCORES),
            moved(bench, subject, seed),
        )
    ]


def result(bench: Bench) -> Result:
    """Accuracy on the other data set."""
    rows, beside, seeds = list[tuple[object, ...]](), Beside(PUBLISHED, WHY), bench.scale.seeds
    for subject in bench.scale.published:
        paper = PUBLISHED.get(str(subject), {})
        way = f"{subject.arch}, {subject.dataset} to {subject.other}"
        found = found_there(bench, subject)
        for by in SCORES:
            values = bench.store.numbers(transfer(bench, subject, by, seed) for seed in seeds)
            if by in paper:
                beside.number(str(subject), "test %", values, paper[by])
                under = [value < found - UNDER for value in values] if found is not None else []
                beside.said(str(subject), f"more than {UNDER} points under the ticket found there", under)
            name = "intact ticket" if by == "intact" else f"locked, key by {by}"
            rows.append((way, name, summary(values), "", paper.get(by, "")))
        after = bench.store.found(moved(bench, subject, seed) for seed in seeds)
        values = [value["accuracy"] for value in after]
        if paper:
            beside.number(str(subject), "test %", values, paper["taught"])
        rows.append((way, "scheme 3, fine-tuned", summary(values), reading(after), paper.get("taught", "")))
    sizes = ", ".join(f"{s.other} {len(bench.data(s.other).train):,}" for s in bench.scale.published)
    columns = "network | what | ours | the code | paper"
    notes = [
        f"Images trained on: {sizes} (paper: 45,000), for as many steps as on the ticket's own data set.",
        "After the move the classifier is another: the triggers cannot be asked any more, the code can "
        "be read.",
        *(
            _under(bench, subject, found)
            for subject in bench.scale.published
            if (found := found_there(bench, subject)) is not None
        ),
    ]
    return Result(columns, rows, notes, beside=beside)


def found_there(bench: Bench, subject: Subject) -> float | None:
    """Test accuracy of the ticket found on the other data set (Table 1); None where this scale has none."""
    other = Subject(subject.arch, subject.other, subject.dataset)
    return bench.known(other).found.test if other in bench.scale.published else None


def _under(bench: Bench, subject: Subject, found: float) -> str:
    """How far under the ticket found there the intact and the locked tickets end, as a note."""
    ends = []
    for by in SCORES:
        cells = (transfer(bench, subject, by, seed) for seed in bench.scale.seeds)
        ends.append(f"{by} {summary([found - value for value in bench.store.numbers(cells)])}")
    return (
        f"Points under the ticket found on {subject.other} (Table 1, {found:.2f} %), "
        f"{subject.dataset} to {subject.other}: {', '.join(ends)}."
    )
