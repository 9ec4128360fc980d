"""Proof of work: time to a solution against difficulty, what a reused network is worth, what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from experiments.freezenet import blocks
from experiments.lib.bench import Bench, dense, written_over
from experiments.lib.showing import Result, line, summary
from ticket_sig.cells import Cell, Measured
from ticket_sig.errors import InputError
from ticket_sig.files import write_json
from ticket_sig.proof_of_work import Difficulty, Solution, check, read_solution, watermark_of, write_solution
from ticket_sig.proof_of_work.solution import SOLUTION
from ticket_sig.verdict import Verdict

TITLE = "FreezeNet: proof of work"
_REUSED = ("written", "scaled", "retrained", "beginning")
OfBlock = Callable[[Bench, Difficulty, int], Cell]


def cells(bench: Bench) -> list[Cell]:
    """Every difficulty, block by block: mined, and a reused network; then what is refused."""
    own = blocks.size(bench)
    asked = [(difficulty, block) for block in range(own.blocks) for difficulty in own.difficulties]
    return [*(kind(bench, *one) for kind in (solved, reused) for one in asked), refused(bench)]


def solved(bench: Bench, difficulty: Difficulty, block: int) -> Cell:
    """Mines a block, and checks its solution."""

    def measure() -> Measured:
        found, measured = blocks.mined(bench, difficulty, block)
        if found is None:
            return {**measured, "verified": False}
        begun = time.monotonic()
        verdict = check(found, blocks.challenge_of(difficulty, block), blocks.digits(bench))
        took = round(time.monotonic() - begun, 3)
        return {**measured, "verified": verdict.verified, "check_seconds": took}

    return _cell(bench, "solved", difficulty, block, measure)


def reused(bench: Bench, difficulty: Difficulty, block: int) -> Cell:
    """A trained network without a watermark, handed in for a block; and a new one trained for as long."""
    length, lr = blocks.size(bench).again

    def measure() -> Measured:
        asked, new = blocks.challenge_of(difficulty, block), bench.initial(blocks.ARCH, blocks.DATASET, block)
        mark = watermark_of(asked, blocks.nonce_of(block, 0), blocks.digits(bench))
        old = bench.train(dense(new), blocks.recipe_of(bench, block))
        again = replace(blocks.recipe_of(bench, block), length=length)
        scaled = blocks.scaled_and_written_over(bench, old.weights, mark)
        networks = {
            "written": written_over(old.weights, mark),
            "scaled": scaled,
            "retrained": bench.train(dense(scaled), replace(again, lr=lr), mark=mark).weights,
            "beginning": bench.train(dense(new), again, mark=mark).weights,
        }
        before = bench.accuracy(old.weights, blocks.ARCH, blocks.DATASET)
        measured: dict[str, Any] = {"before": before, "made_with": old.made_with}
        for name, weights in networks.items():
            verdict = check(blocks.handed_in(bench, weights, difficulty, block), asked, blocks.digits(bench))
            measured[name] = {"accuracy": verdict.reading.to_json()["accuracy"], "verified": verdict.verified}
        return measured

    given = {"again": str(length), "lr": lr, "scaled": blocks.SCALED}
    return _cell(bench, "reused", difficulty, block, measure, **given)


def refused(bench: Bench) -> Cell:
    """A solution handed in for what it does not solve, or tampered with; with what is said of it."""
    difficulty = blocks.size(bench).difficulties[-1]

    def measure() -> Measured:
        found, measured = blocks.mined(bench, difficulty, 0)
        said = {} if found is None else _said(bench, found, difficulty)
        return {"said": said, "made_with": measured["made_with"]}

    return _cell(bench, "refused", difficulty, 0, measure)


def _said(bench: Bench, found: Solution, difficulty: Difficulty) -> dict[str, str]:
    own, other = blocks.challenge_of(difficulty, 0), blocks.challenge_of(difficulty, 1)
    places = watermark_of(own, found.nonce, blocks.digits(bench)).fixed_in(found.weights)["fc.weight"].places
    free = next(place for place in range(len(places) + 1) if place not in places)
    renamed = replace(found, block=other.digest)
    its_mark = watermark_of(other, found.nonce, blocks.digits(bench))
    over = replace(renamed, weights=written_over(found.weights, its_mark))
    half = replace(difficulty, share=difficulty.share / 2)
    handed = {
        "as it is, for its own block": (found, own),
        "for another block": (found, other),
        "for another block, under that one's digest": (renamed, other),
        "for another block, under its digest, its watermark written over": (over, other),
        "with another nonce": (replace(found, nonce=blocks.nonce_of(0, blocks.size(bench).most)), own),
        "that states half of the share": (replace(found, difficulty=half), own),
        "with one fixed value changed": (_moved(found, int(places[0])), own),
        "with one other weight changed, and the digest of the weights": (_moved(found, free), own),
    }
    said = {what: _says(check(one, asked, blocks.digits(bench))) for what, (one, asked) in handed.items()}
    folder = bench.run / "mined" / "tampered"
    write_solution(_moved(found, free), folder, replace=folder.exists())
    write_json(folder / SOLUTION, found.to_json())
    try:
        said["with one other weight changed"] = _says(check(read_solution(folder), own, blocks.digits(bench)))
    except InputError as error:
        said["with one other weight changed"] = f"could not verify, `{str(error).split(': ', 1)[1]}`"
    return said


def _moved(found: Solution, place: int) -> Solution:
    """The solution with one weight of the classifier changed a little."""
    tensor = found.weights["fc.weight"].clone()
    tensor.view(-1)[place] += 1e-3
    return replace(found, weights={**found.weights, "fc.weight": tensor})


def _says(verdict: Verdict) -> str:
    return verdict.outcome + (f", `{verdict.lacking}`" if verdict.lacking else "")


def result(bench: Bench) -> Result:
    """Time against difficulty, what a network of no work reaches, and the refusals."""
    rows, own = [], blocks.size(bench)
    seconds: dict[float, dict[float, list[float]]] = {}  # by target, by share
    for difficulty in own.difficulties:
        attempted, old = _of_blocks(bench, solved, difficulty), _of_blocks(bench, reused, difficulty)
        rows.append((difficulty.share, difficulty.target, *_mining(attempted), *_reusing(old)))
        solved_in = [one["seconds"] for one in attempted if one["verified"]]
        seconds.setdefault(difficulty.target, {})[difficulty.share] = solved_in
    lines = [line(f"target {target:g} %", [*took], [*took.values()]) for target, took in seconds.items()]
    columns = "share | target % | solved and verified | attempts | seconds | check, seconds"
    again = (f"and retrained, {own.again[0]} %", f"from the beginning, {own.again[0]} %")
    for network in ("reused: written over %", "scaled up, written over %", *again):
        columns += f" | {network} | verified"
    x, y = "share of the weights that the watermark fixes", "seconds to a solution"
    done = sum(len(took) for of_target in seconds.values() for took in of_target.values())
    found = f"{done} of {len(own.difficulties) * own.blocks} blocks solved and verified"
    return Result(columns, rows, _notes(bench), lines, x, y, limits=own.limits, found=found)


def _of_blocks(bench: Bench, kind: OfBlock, difficulty: Difficulty) -> list[Measured]:
    return bench.store.found(kind(bench, difficulty, block) for block in range(blocks.size(bench).blocks))


def _mining(found: Sequence[Measured]) -> tuple[str, ...]:
    done = [one for one in found if one["verified"]]
    return (
        f"{len(done)} of {len(found)}",
        summary([one["attempts"] for one in done], 1),
        summary([one["seconds"] for one in done], 1),
        summary([one["check_seconds"] for one in done], 2),
    )


def _reusing(found: Sequence[Measured]) -> list[str]:
    texts = []
    for name in _REUSED:
        verified = sum(one[name]["verified"] for one in found)
        texts += [summary([one[name]["accuracy"] for one in found], 1), f"{verified} of {len(found)}"]
    return texts


def _notes(bench: Bench) -> list[str]:
    own = blocks.size(bench)
    said = bench.store.found([refused(bench)])
    before = [one["before"] for one in _of_blocks(bench, reused, own.difficulties[0])]
    return [
        f"{own.blocks} blocks at each difficulty, {own.length} an attempt, {own.most} attempts at most. "
        "Seconds and attempts are of the blocks that were solved; their spread is over blocks.",
        f"Reused: networks trained for {own.length} without a watermark ({summary(before, 1)} %), handed in "
        "for a block. Scaled up: every layer is multiplied before, which the norms undo, so that the values "
        "are too small to matter, and the norms' statistics are taken anew from the training images; no step "
        "of training. Where that is verified, a solution is no proof of work.",
        f"Retrained: from there, {own.again[0]} with the watermark held. Where that is ahead of a new "
        "network that was trained for as long, an old one saves work.",
        *(f"A solution {what}: {why}." for values in said for what, why in values["said"].items()),
    ]


def _cell(
    bench: Bench, name: str, difficulty: Difficulty, block: int, measure: Callable[[], Measured], **asked: Any
) -> Cell:
    """A cell: what decides it is the recipe, the difficulty, the block and its nonces, and what is asked."""
    about = {
        "experiment": f"proof of work, {name}",
        "share": difficulty.share,
        "target": difficulty.target,
        "values": difficulty.scale,
        "block": blocks.block_name(block),
        "nonces": [blocks.nonce_of(block, attempt).hex() for attempt in range(blocks.size(bench).most)],
    }
    words = [f"share {difficulty.share} target {difficulty.target} block {block}"]
    title = f"proof of work {name}"
    return bench.cell(title, measure, blocks.recipe_of(bench), about=about, words=words, **asked)
