"""Black box: a real MLServer asked about the triggers, serving our networks and innocent ones (scheme 3).

Needs the extra `serving`. Ours are the networks of Table 3; innocent are the shipped ticket, its dense parent
and the locked and intact tickets of Figures 2 and 5, which never saw a trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments import CHECKPOINTS
from experiments.lib.bench import Bench, Trained
from experiments.lib.scales import Subject
from experiments.lib.showing import Result
from experiments.neurips21.figure2 import SCORES
from experiments.neurips21.retrained import (
    cell,
    how_taught,
    train_intact,
    train_locked,
    train_taught,
    triggers_of,
)
from ticket_sig.cells import Cell, Measured
from ticket_sig.formats import load, save
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.serving import serve
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.verification.ask import verify_answers
from ticket_sig.verification.ask.inference_server import Manner, ask_server

TITLE = "Black box: answers of a running server"
MODEL, DECOYS = "suspect", 300


def asked(bench: Bench, subject: Subject, name: str, network: Callable[[], Ticket], seed: int = 0) -> Cell:
    """One network, served and asked about the triggers of a seed."""

    def measure() -> Measured:
        triggers = triggers_of(bench, subject, seed)
        claim = claim_triggers(triggers, bench.known(subject).ticket)
        with TemporaryDirectory() as folder:
            bundle = save(network(), Path(folder) / "bundle")
            with serve({MODEL: bundle}) as url:
                ask = ask_server(url, MODEL, triggers.classes, Manner())
                verdict = verify_answers(claim, triggers, ask, decoys=DECOYS)
        evidence = verdict.reading.to_json()
        return {
            "verdict": verdict.outcome,
            "log10_p": verdict.log10_p,
            **{name: evidence[name] for name in ("matches", "decoy_rate")},
        }

    taught: dict[str, Any] = {"triggers": how_taught(bench, subject)} if name == "taught" else {}
    return cell(bench, "asked", subject, measure, network=name, seed=seed, decoys=DECOYS, **taught)


def ours(bench: Bench, subject: Subject) -> list[Cell]:
    """The taught networks, each about its own triggers."""
    return [
        asked(bench, subject, "taught", later(train_taught, bench, subject, seed), seed)
        for seed in bench.scale.seeds
    ]


def later(train: Callable[..., Trained], *given: Any) -> Callable[[], Ticket]:
    """Trains a network when it is called for."""
    return lambda: train(*given).ticket


def innocent(bench: Bench, subject: Subject) -> list[Cell]:
    """Networks that never saw the triggers of the first seed."""
    networks: dict[str, Callable[[], Ticket]] = {"signed": lambda: bench.signed(subject).ticket}
    if bench.scale.search is None:
        networks["dense"] = lambda: load(CHECKPOINTS / f"{subject}-dense").ticket
    for seed in bench.scale.seeds:
        networks[f"intact {seed}"] = later(train_intact, bench, subject, seed)
    for share in bench.scale.shares:
        for seed in bench.scale.seeds:
            for by in SCORES:
                locked = later(train_locked, bench, subject, by, share, seed)
                networks[f"locked {by} {share} {seed}"] = locked
    return [
        asked(bench, subject, name, network)
        for name, network in list(networks.items())[: bench.scale.innocent]
    ]


def cells(bench: Bench) -> list[Cell]:
    """Ours, then the innocent ones."""
    return [
        one for subject in bench.scale.subjects for one in [*ours(bench, subject), *innocent(bench, subject)]
    ]


def result(bench: Bench) -> Result:
    """How many are verified, and the p-values at the edge."""
    rows = []
    for subject in bench.scale.subjects:
        for name, group in (("ours", ours(bench, subject)), ("innocent", innocent(bench, subject))):
            values = bench.store.found(group)
            if not values:
                rows.append((str(subject), name, "not run", "", ""))
                continue
            verified = sum(value["verdict"] == "verified" for value in values)
            matches = [value["matches"] for value in values]
            edge = (max if name == "ours" else min)(value["log10_p"] for value in values)
            spread = f"{min(matches)} to {max(matches)}"
            rows.append((str(subject), name, f"{verified} of {len(values)}", spread, format_p(edge)))
    columns = "network | networks | verified | triggers answered as claimed | p at the edge"
    notes = (
        "Every network was served by MLServer on the loopback interface and asked about 100 triggers and "
        f"{DECOYS} decoys, by the Open Inference Protocol v2. The innocent networks share our network's "
        "data, and all but the dense one were pruned from it: the nearest that a network without "
        "triggers can be. p at the edge: the largest of ours, the smallest of the innocent.",
    )
    found = ", ".join(f"{network}, {name}: {verified} verified" for network, name, verified, *_ in rows)
    return Result(columns, rows, notes, found=found)
