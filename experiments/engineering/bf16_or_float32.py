"""Does bf16 train as float32 does? The dense network, the same schedule, several seeds of each.

    python -m experiments fidelity --data DIR --epochs 6 --seeds 3 --out RUN
    python -m experiments fidelity --smoke --out RUN

Resumable. Writes its section of RESULTS.md (in experiments/, or --results) and prints it.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import ticket_sig
from experiments.lib.document import Section, write_section
from experiments.lib.entry import run_options, this_machine
from experiments.lib.sections import table
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.errors import bad_input
from ticket_sig.ticket import HistoryEntry
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.loop import Engine

PRECISIONS = ("float32", "bf16")
Runs = dict[str, list[HistoryEntry]]


def measure(recipes: dict[str, list[Recipe]], data: Dataset, out: Path, engine: Engine) -> Runs:
    """The dense network of every recipe, by precision."""
    return {
        precision: [
            ticket_sig.find(recipe, data, out / f"{precision}-{recipe.seed}", engine=engine).history[0]
            for recipe in group
        ]
        for precision, group in recipes.items()
    }


def report(found: Runs) -> list[str]:
    """The table of its section."""
    tests = test_accuracies(found)
    first = found["bf16"][0]
    columns = ("precision", "test % of each seed", "mean", "standard deviation", "seconds an epoch")
    rows = [
        (
            precision,
            ", ".join(f"{value:.2f}" for value in values),
            f"{statistics.mean(values):.2f}",
            f"{statistics.stdev(values):.2f}",
            f"{seconds_an_epoch(found[precision]):.1f}",
        )
        for precision, values in tests.items()
    ]
    return [
        *table(columns, rows),
        "",
        f"bf16 - float32: {gap(tests):+.2f} points, {len(tests['bf16'])} seeds from 0, {first.epochs} epochs "
        f"each; the standard error of this difference, seed by seed, is {standard_error(tests):.2f} points. "
        f"Of the first three seeds alone: {gap({p: values[:3] for p, values in tests.items()}):+.2f} points.",
    ]


def test_accuracies(found: Runs) -> dict[str, list[float]]:
    """In %, by precision."""
    return {precision: [entry.test or 0.0 for entry in entries] for precision, entries in found.items()}


def gap(tests: dict[str, list[float]]) -> float:
    """The mean of bf16 less that of float32."""
    return statistics.mean(tests["bf16"]) - statistics.mean(tests["float32"])


def seconds_an_epoch(entries: list[HistoryEntry]) -> float:
    """The median over seeds."""
    return statistics.median((entry.seconds or 0.0) / (entry.epochs or 1) for entry in entries)


def standard_error(tests: dict[str, list[float]]) -> float:
    """Of the mean difference; runs of one seed share their start and their batches."""
    differences: list[float] = [a - b for a, b in zip(*tests.values(), strict=True)]
    return statistics.stdev(differences) / math.sqrt(len(differences))


def options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    run_options(parser, results=True)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--epochs", type=int, help="in place of the preset's")
    parser.add_argument("--seeds", type=int, default=3)


def main(options: argparse.Namespace) -> None:
    """Runs every seed in both precisions and writes the section."""
    if options.smoke:
        options.dataset, options.preset, options.epochs, options.seeds = "digits", "demo", 2, 2
    if options.seeds < 2:
        raise bad_input("", "--seeds", "2 or more, for a spread", str(options.seeds))
    data = load_dataset(options.dataset, options.data)
    changes: dict[str, Any] = {"length": Steps(options.epochs)} if options.epochs else {}
    fixed = {"arch": "resnet20", "dataset": data.name, "rounds": 0, **changes}
    recipes = {
        precision: [
            preset(options.preset, precision=precision, seed=seed, **fixed) for seed in range(options.seeds)
        ]
        for precision in PRECISIONS
    }
    with this_machine() as engine:
        found = measure(recipes, data, options.out, engine)
    title = f"Fidelity: bf16 and float32, ResNet-20 on {data.name}"
    tests = test_accuracies(found)
    section = Section(
        f"fidelity-{data.name}",
        title,
        ["measured", f"{options.seeds} seeds", f"bf16 - float32: {gap(tests):+.2f} points"],
        report(found),
        recipes=[recipe.to_json() for group in recipes.values() for recipe in group],
        stacks=[entry.made_with for group in found.values() for entry in group if entry.made_with],
    )
    print(write_section(options.results, section))
