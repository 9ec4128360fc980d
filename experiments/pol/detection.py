"""Proof-of-learning: one forged jump among 100 segments, before detectors and before drawn segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from experiments.lib.bench import Bench
from experiments.lib.showing import Line, Result
from experiments.pol.recordings import OTHERS, Runs, recipe_of, recorded
from ticket_sig.cells import Cell, Measured
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.batches import batches_per_epoch, generator
from ticket_sig.transcripts import Choice, Transcript
from ticket_sig.transcripts.choice import chance_missed
from ticket_sig.transcripts.detectors import Seen, look, suspects
from ticket_sig.transcripts.spoofs.spoof import between
from ticket_sig.transcripts.transcript import Segment

TITLE = "Proof-of-learning: detection of forged segments"
FORGED = (1, 5, 10)
REPLAYED = (1, 5, 10, 20, 40, 60, 80, 100)


@dataclass(frozen=True)
class Size:
    """How large the experiment is done at one scale: draws of jumps and of audits, and how far jumps go."""

    runs: Runs
    jumps: int
    audits: int
    shares: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)


_HUNDRED = Runs("digits", "demo", Steps(300, "it"), 3, 2)
SIZES = {
    "paper": Size(_HUNDRED, 100, 1000),
    "quick": Size(_HUNDRED, 100, 1000),
    "smoke": Size(Runs("digits", "demo", Steps(10, "it"), 1, 2), 3, 5, (1.0,)),
}


def cells(bench: Bench) -> list[Cell]:
    """Jumps of every length, and audits that draw segments."""
    return [*(jumps(bench, share) for share in SIZES[bench.scale.name].shares), drawn(bench)]


def jumps(bench: Bench, share: float) -> Cell:
    """Jumps from one run towards another, at segments that are drawn."""
    size = SIZES[bench.scale.name]
    recipe = recipe_of(bench, size.runs)

    def measure() -> Measured:
        mine, _ = recorded(bench, recipe, size.runs.segment)
        theirs, _ = recorded(bench, recipe_of(bench, size.runs, OTHERS), size.runs.segment)
        training, _ = bench.data(recipe.dataset).hold_out(recipe.validation)
        per_epoch = batches_per_epoch(len(training), recipe.batch_size)
        seen = [list(_seen(one, recipe, per_epoch)) for one in (mine, theirs)]
        draw, found = generator(0, "jumps", share), 0
        for _ in range(size.jumps):
            number = int(torch.randint(1, len(seen[0]), (), generator=draw))
            segment = seen[0][number].segment
            before, after, landed = (
                one.state(0, step)
                for one, step in ((mine, segment.first), (mine, segment.last), (theirs, segment.last))
            )
            jump = look(
                segment,
                before,
                between(after, landed, share, landed if share == 1 else after),
                recipe,
                per_epoch,
            )
            rest = seen[int(share == 1)][number + 1 :]  # of a shorter jump, what follows is not trained
            found += segment in suspects([*seen[0][:number], jump, *rest])
        false = sum(len(suspects(one)) for one in seen)
        segments = sum(map(len, seen))
        counts = {"found": found, "draws": size.jumps, "false": false, "segments": segments}
        return {**counts, "made_with": dict(mine.manifest.stack)}

    asked: dict[str, Any] = {"segment": size.runs.segment, "share": share, "draws": size.jumps}
    return bench.cell("pol jumps", measure, recipe, **asked)


def _seen(transcript: Transcript, recipe: Recipe, per_epoch: int) -> Iterator[Seen]:
    level = transcript.levels[0]
    states = (transcript.state(0, step) for step in level.steps)
    for segment, (before, after) in zip(level.segments(), pairwise(states), strict=True):
        yield look(segment, before, after, recipe, per_epoch)


def drawn(bench: Bench) -> Cell:
    """How often audits of m segments catch one of b forged ones, over seeds; the segments are 100."""
    audits = SIZES[bench.scale.name].audits

    def measure() -> Measured:
        segments = [Segment(0, n, n + 1) for n in range(100)]

        def caught(forged: int, replayed: int) -> float:
            wrong = set(segments[7 : 7 + forged])
            choices = (Choice(number=replayed, seed=f"beacon {n}".encode()) for n in range(audits))
            return sum(bool(wrong & {*one.chosen(segments, {}, "head", 1)}) for one in choices) / audits

        return {str(b): {str(m): caught(b, m) for m in REPLAYED} for b in FORGED}

    return bench.cell("pol drawn", measure, recipe_of(bench, SIZES[bench.scale.name].runs), audits=audits)


def result(bench: Bench) -> Result:
    """Jumps by their length; a picture of drawn segments against the formula."""
    size, rows, lines = SIZES[bench.scale.name], [], list[Line]()
    for share in size.shares:
        if (one := bench.store.measured(jumps(bench, share))) is not None:
            rows.append((f"{100 * share:g} %", *_counts(one)))
    shares: dict[str, Any] = dict(bench.store.measured(drawn(bench)) or {})
    for b in FORGED:
        formula = [1 - chance_missed(100, m, b) for m in REPLAYED]
        if shares:
            lines.append(Line(f"{b} forged", REPLAYED, [shares[str(b)][str(m)] for m in REPLAYED]))
        lines.append(Line(f"{b} forged, 1 - C(N - b, m) / C(N, m)", REPLAYED, formula, published=True))
    columns = "way to the other run | jumps suspected by the detectors | honest segments suspected"
    notes = (
        f"One segment of {size.runs.segment} steps ends on the way to another run of the same recipe; all "
        "the way means with that run's momentum, too. Which segment is drawn. What is suspected is trained "
        "again, and so found.",
        f"The picture: the share of {size.audits} audits that train a forged one again, when m of 100 "
        "segments are drawn.",
    )
    x, y = "segments trained again, of 100", "share of audits that catch one"
    found = "jumps suspected by detectors, by their length: " + ", ".join(f"{a} {b}" for a, b, _ in rows)
    return Result(columns, rows, notes, lines, x, y, limits="Digits alone.", found=found)


def _counts(one: Measured) -> tuple[str, str]:
    return f"{one['found']} of {one['draws']}", f"{one['false']} of {one['segments']}"
