"""Proof-of-learning: every spoof before our audit, and before the paper's protocol."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.showing import Result
from experiments.pol.paper_protocol import THRESHOLDS, accepted, looks_initial, reproduce
from experiments.pol.recordings import NETWORKS, OTHERS, SIZES, Runs, recipe_of, recorded, run_of
from ticket_sig.cells import Cell, Measured
from ticket_sig.errors import InputError
from ticket_sig.transcripts import Choice, Transcript, audit
from ticket_sig.transcripts.spoofs import Scene, spoof

TITLE = "Proof-of-learning: spoofs"
HONEST = "honest"
BENT = {  # Zhang's attacks
    "bent-data, attack 1": {"attack": 1, "steps": 1},
    "bent-data, attack 2": {"attack": 2},
    "bent-data, attack 3": {"attack": 3},
}
BLINDFOLD = "blindfold"
WHY = "Short trainings at a higher learning rate, with larger errors than the thresholds are for."
# What is known to pass the protocol.
KNOWN = {HONEST: "honest runs", **dict.fromkeys(("forged-momentum", "nan", *BENT), "known spoofs")}
STRETCHED = ("infinitesimal", BLINDFOLD)
OF_SEARCHES = ("mask", "pruning")
CHECKS = {  # by words of the reason
    "training again": "what training on from",
    "start of a level": "before any step",
    "mask": "mask of level",
    "steps": "boundar",
    "search": "levels|of the end|of level",
}


def cells(bench: Bench) -> list[Cell]:
    """Every spoof and an honest run, run by run."""
    return [
        forged(bench, runs, name, seed)
        for runs in SIZES[bench.scale.name]
        for seed in range(runs.seeds)
        for name in (HONEST, *runs.spoofs, *(BENT if seed < runs.bent else ()))
    ]


def forged(bench: Bench, runs: Runs, name: str, seed: int) -> Cell:
    """One spoof of one run."""
    rounds = int(name in OF_SEARCHES)
    recipe = recipe_of(bench, runs, seed, rounds=rounds)

    def measure() -> Measured:
        honest, _ = recorded(bench, recipe, runs.segment)
        other, stolen = recorded(bench, recipe_of(bench, runs, seed + OTHERS), runs.segment)
        with tempfile.TemporaryDirectory() as folder:
            transcript = honest
            if name != HONEST:
                data = bench.data(runs.dataset)
                scene = Scene(stolen=stolen, other=other, data=data, engine=bench.engine, seed=seed)
                options = {"segments": runs.stretched} if name in STRETCHED else BENT.get(name, {})
                spoof(name.partition(",")[0], **options)(honest, Path(folder) / "forged", scene)
                transcript = Transcript.open(Path(folder) / "forged")
            measured = {**ours(bench, transcript), "paper": papers(bench, transcript)}
            if name == BLINDFOLD:
                measured["top"] = of_largest(bench, transcript)
        return {**measured, "made_with": dict(honest.manifest.stack)}

    asked: dict[str, Any] = {"dataset": runs.dataset, "spoof": name, "seed": seed, "segment": runs.segment}
    return bench.cell("pol spoof", measure, recipe, **asked)


def ours(bench: Bench, transcript: Transcript) -> dict[str, Any]:
    """What our audit says, all segments trained again."""
    begun = time.monotonic()
    try:
        found = audit(transcript, bench.data(transcript.manifest.data["name"]), engine=bench.engine)
    except InputError as error:
        return {"outcome": "could not", "check": check_of(str(error)), "wrong": 0, "suspected": 0}
    return {
        "outcome": found.outcome,
        "check": check_of(found.reasons[0]) if found.reasons else "",
        "wrong": len(found.errors),
        "suspected": len(found.suspected),
        "segments": found.segments,
        "seconds": round(time.monotonic() - begun, 1),
    }


def check_of(reason: str) -> str:
    """Which check a reason comes from."""
    return next((name for name, words in CHECKS.items() if re.search(words, reason)), "another")


def papers(bench: Bench, transcript: Transcript) -> dict[str, Any]:
    """What the paper's protocol says: initial weights, and the largest error of any segment in each norm."""
    run, step = run_of(bench, transcript), transcript.levels[0].steps[0]
    seeds = range(OTHERS + 1, OTHERS + 6)
    fresh = [bench.initial(run.recipe.arch, run.recipe.dataset, seed) for seed in seeds]
    segments = list(reproduce(transcript, run))
    return {
        "initial": looks_initial(transcript.state(0, step).parameters, fresh),
        "errors": {n: largest([one.errors[n] for one in segments]) for n in THRESHOLDS},
    }


def of_largest(bench: Bench, transcript: Transcript) -> dict[str, Any]:
    """What both say who train the largest update of each epoch again (Q = 1), and nothing else."""
    segments = list(reproduce(transcript, run_of(bench, transcript), top=1))
    data = bench.data(transcript.manifest.data["name"])
    return {
        "errors": {n: largest([one.errors[n] for one in segments]) for n in THRESHOLDS},
        "outcome": audit(transcript, data, Choice(top=1), engine=bench.engine).outcome,
    }


def largest(values: Sequence[float]) -> float | None:
    """The largest value; None where one is no number, as JSON has none for it."""
    return None if any(value != value for value in values) else max(values)


def result(bench: Bench) -> Result:
    """One row a spoof and data set."""
    rows, blind, valid, beside = [], list[str](), dict[bool, list[bool]](), Beside(NETWORKS, WHY)
    for runs in SIZES[bench.scale.name]:
        honest = bench.store.found(forged(bench, runs, HONEST, seed) for seed in range(runs.seeds))
        calibrated = {n: max((one["paper"]["errors"][n] for one in honest), default=0.0) for n in THRESHOLDS}
        for name in (HONEST, *runs.spoofs, *BENT):
            found = bench.store.found(forged(bench, runs, name, seed) for seed in range(runs.seeds))
            valid.setdefault(name == HONEST, []).extend(one["outcome"] == "valid" for one in found)
            if name in KNOWN:
                passes = [accepted(_numbers(one["paper"]["errors"]), THRESHOLDS) for one in found]
                beside.said(f"resnet20-{runs.dataset}", f"{KNOWN[name]} pass their thresholds", passes)
            if found:
                rows.append((runs.dataset, name, *_row(found, calibrated)))
            if found and name == BLINDFOLD:
                blind.append(f"{runs.dataset}: {_of_largest(found, calibrated)}")
    columns = (
        "data | spoof | our audit: valid | found by | suspected by detectors | paper: initial weights pass "
        "| passes 1000 / 10 / 0.1 / 0.01 | passes calibrated thresholds | its largest l2, linf"
    )
    sizes = "; ".join(
        f"{runs.dataset}: ResNet-20, {runs.seeds} times {runs.length}, {runs.segment} steps a segment"
        for runs in SIZES[bench.scale.name]
    )
    notes = (
        f"{sizes}. Everything is trained again in both protocols. Each spoof writes a whole new chain that "
        "fits; the stolen model is that of an independent run of the same recipe.",
        "The paper's protocol compares parameters alone, with crops that it draws itself, as they are not "
        "recorded. Calibrated thresholds are the largest errors of honest runs of the same data set. As in "
        "the authors' code, NaN is above no threshold.",
        "`mask` and `pruning` are of searches with one round; the paper's protocol knows no masks.",
        *(
            f"`{BLINDFOLD}`, where the largest update of each epoch alone is trained again: {one}"
            for one in blind
        ),
    )
    true, false = (f"{sum(which)} of {len(which)}" for which in (valid[True], valid[False]))
    return Result(
        columns,
        rows,
        notes,
        limits=_LIMITS.get(bench.scale.name, ""),
        beside=beside,
        found=f"our audit calls valid {true} honest runs and {false} spoofs",
    )


_LIMITS = {
    "paper": "Short trainings on digits; the authors train ResNet-20 for 200 epochs.",
    "quick": "Short trainings: 3 epochs of digits, 100 steps of CIFAR-10.",
}


def _of_largest(found: Sequence[Measured], calibrated: Mapping[str, float]) -> str:
    errors = [_numbers(one["top"]["errors"]) for one in found]
    passes, close = (sum(accepted(one, limit) for one in errors) for limit in (THRESHOLDS, calibrated))
    valid = sum(one["top"]["outcome"] == "valid" for one in found)
    return (
        f"the paper's protocol (Q = 1) passes {passes} of {len(found)}, with calibrated thresholds {close}; "
        f"our audit with `--top-q 1` says valid of {valid}. Draw the segments (`--segments`): nobody can "
        "foresee them."
    )


def _numbers(errors: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in errors.items()}


def _row(found: Sequence[Measured], calibrated: Mapping[str, float]) -> tuple[str, ...]:
    papers = [one["paper"] for one in found]
    errors = [_numbers(one["errors"]) for one in papers]

    def count(passes: Sequence[bool]) -> str:
        return f"{sum(passes)} of {len(passes)}"

    checks = Counter(one["check"] for one in found if one["check"])
    return (
        count([one["outcome"] == "valid" for one in found]),
        ", ".join(name if times == len(found) else f"{name} ({times})" for name, times in checks.items()),
        count([one["suspected"] > 0 for one in found]),
        count([one["initial"] for one in papers]),
        count([accepted(one, THRESHOLDS) for one in errors]),
        count([accepted(one, calibrated) for one in errors]),
        ", ".join(f"{statistics.mean(one[name] for one in errors):.3g}" for name in ("l2", "linf")),
    )
