"""Sparse layers: a pruned network retrained without its pruned weights, beside the same one, dense."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from experiments.carriers.carried import UNSIGNED, Carried, interval, network
from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, summary
from ticket_sig.cells import Cell, Measured

TITLE = "Sparse layers: accuracy of networks that were trained with them"
WAYS = {False: "dense", True: "sparse"}


def retrained(bench: Bench, subject: Subject, seed: int, sparse: bool) -> Cell:
    """One network, all its layers dense or sparse."""

    def measure() -> Measured:
        # In a folder of its own: what decides a training's bits is not in the recipe alone.
        engine, run = replace(bench.engine, sparse=sparse), bench.run / "sparse" if sparse else bench.run
        bench.signed(subject)  # found once: the copy trains the ticket that the cells are of
        own = copy(bench)
        own.engine, own.run = engine, run
        ticket = network(own, subject, Carried(UNSIGNED, seed))
        right = bench.accuracy(ticket.weights, subject.arch, subject.dataset)
        kept = 100 * ticket.mask.density
        return {"accuracy": right, "kept": kept, "made_with": ticket.history[-1].made_with}

    about = {"subject": str(subject), "ticket": bench.known(subject).ticket}
    recipe = bench.recipe(subject, seed)
    return bench.cell(
        "layers", measure, recipe, about=about, words=[WAYS[sparse], f"seed {seed}"], sparse=sparse
    )


def cells(bench: Bench) -> list[Cell]:
    """Each seed both ways."""
    return [
        retrained(bench, subject, seed, sparse)
        for seed in bench.scale.seeds
        for subject in bench.scale.subjects
        for sparse in WAYS
    ]


def result(bench: Bench) -> Result:
    """One row for each way."""
    rows: list[tuple[object, ...]] = []
    for subject in bench.scale.subjects:
        dense = [retrained(bench, subject, seed, False) for seed in bench.scale.seeds]
        for sparse, words in WAYS.items():
            of_row = [retrained(bench, subject, seed, sparse) for seed in bench.scale.seeds]
            kept = summary([one["kept"] for one in bench.store.found(of_row)])
            right = summary(bench.store.numbers(of_row))
            rows.append((subject, words, kept, right, interval(bench.store.differences(of_row, dense))))
    columns = "network | layers | kept % | test % | difference to dense [95 %]"
    notes = (
        "The shipped dense parent, pruned once, and retrained under its mask from the same weights, with the "
        "same batches. Sparse: all layers that something is pruned of, and the first convolution "
        "(`Engine(sparse=True)`). Results of a step differ by rounding.",
    )
    found = "; ".join(f"{network}, {words}: {right} %" for network, words, _, right, _ in rows)
    return Result(columns, rows, notes, found=found)
