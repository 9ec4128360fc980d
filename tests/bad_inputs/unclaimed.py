"""QR codes that cannot be read without a claim, or are asked for in a way that says two things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.make_fixtures import LAYER

from bad_inputs.case import Topic
from bad_inputs.inputs import fixture

topic = Topic("codes without a claim")
SHAPE = "22x22 kernels"  # of the layer

for _name, _arguments, _says in (
    ("a layer that is not there", ("--place", "conv9:0:0"), f"layer: expected one of the mask's ({LAYER})"),
    (
        "a place outside",
        ("--place", f"{LAYER}:2:0"),
        f"{LAYER}: place: expected room for 21x21 of its {SHAPE}",
    ),
    (
        "a code that does not fit there",
        ("--place", f"{LAYER}:0:0", "--version", 2),
        f"place: expected room for 25x25 of its {SHAPE}, found row 0, column 0",
    ),
    ("a place without a column", ("--place", f"{LAYER}:0"), "place: expected LAYER:ROW:COLUMN, such as "),
    ("a place below 0", ("--place", f"{LAYER}:-1:0"), "place: expected LAYER:ROW:COLUMN, such as "),
    ("an unknown version", ("--search", "--version", 41), "version: expected 1 to 40, found 41"),
    ("an unknown level", ("--place", f"{LAYER}:0:0", "--level", "X"), "level: expected one of L, M, Q, H"),
    (
        "a code larger than all layers",
        ("--search", "--version", 2),
        f"expected one of at least 25x25 {SHAPE[6:]}",
    ),
    (
        "a place and a claim",
        ("--place", f"{LAYER}:0:0", "--claim", "c.json"),
        "--place: expected it alone, found also --claim",
    ),
    (
        "a search and a secret",
        ("--search", "--secret", "own.secret"),
        "--search: expected it alone, found also --secret",
    ),
    (
        "a place and a search",
        ("--place", f"{LAYER}:0:0", "--search"),
        "--place: expected it alone, found also --search",
    ),
    (
        "a level beside a claim",
        ("--level", "H"),
        "--version and --level: expected --place or --search with them",
    ),
):
    topic.enter(
        _name,
        lambda folder, arguments=_arguments: ["extract", fixture(folder, "state.pt"), *arguments],  # type: ignore[misc]
        _says,
    )


@topic.case("no code can be read: at this place", code=1)
def nothing_at_the_place(folder: Path) -> list[Any]:
    return ["extract", fixture(folder, "state.pt"), "--place", f"{LAYER}:1:1"]


@topic.case("no code can be read: at any place of the mask", code=1)
def nothing_anywhere(folder: Path) -> list[Any]:
    return ["extract", fixture(folder, "state.pt"), "--search", "--png", folder / "code.png"]
