"""Proof of work without a challenge or a solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bad_inputs.case import Topic

topic = Topic("watermark")


@topic.case("block: expected one of --block and --text, found neither")
def a_challenge_without_a_block(folder: Path) -> list[Any]:
    return ["proof-of-work", "mine", "--share", 0.5, "--target", 90, "--out", folder / "OUT"]


@topic.case("SOLUTION/solution.json: file: expected a JSON file, found none")
def a_solution_that_is_none(folder: Path) -> list[Any]:
    (folder / "SOLUTION").mkdir()
    return [
        "proof-of-work",
        "check",
        folder / "SOLUTION",
        "--text",
        "block 7",
        "--share",
        0.5,
        "--target",
        90,
    ]
