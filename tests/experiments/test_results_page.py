"""What is judged of a result is computed from what was measured; a section is written alone, in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.catalogue import NOTES
from experiments.lib.document import Section, sections_of, write_section
from experiments.lib.judging import Beside

A, B = "resnet20-cifar10", "resnet18-cifar100"


@pytest.mark.parametrize(
    ("ours", "published", "outcome"),
    [
        ([90.0], 90.9, "reproduced"),  # within a point
        ([90.0], 91.1, "differs"),
        ([88.0, 90.0, 92.0], 94.0, "reproduced"),  # in the interval of three seeds
        ([89.9, 90.0, 90.1], 94.0, "differs"),
    ],
)
def test_a_number_agrees_within_a_point_or_in_the_interval(
    ours: list[float], published: float, outcome: str
) -> None:
    beside = Beside([A], "too short")
    beside.number(A, "test %", ours, published)
    said, _, _, rest = beside.judged("table1", 3, 3)
    assert said == outcome and ("too short" in rest) == (outcome == "differs")


def test_a_network_or_a_cell_that_was_not_run_makes_it_a_part_and_is_named_with_what_it_needs() -> None:
    beside = Beside([A, B, "resnet50-cifar10"])
    beside.number(A, "test %", [90.0, 90.2], 90.0)
    beside.number(B, "test %", [], 70.0)
    beside.said(A, "decodes", [True, False])
    outcome, on, near, rest = beside.judged("table1", 2, 4)
    assert (outcome, on) == ("in part", f"{A}; seeds: 2")
    assert near == "test %: 1 of 1 (+0.1); decodes: 0 of 1"
    assert f"{B} (`--scale paper`); resnet50-cifar10 (no scale has it)" in rest and "2 of 4 cells" in rest
    assert Beside([A]).judged("table1", 0, 4)[0] == "not run"
    assert all(all(Beside([A]).judged("table1", measured, asked)) for measured, asked in ((0, 0), (2, 2)))
    assert Beside().judged("descent", 4, 4, "all verified")[::2] == ["measured", "all verified"]


@pytest.mark.parametrize(("result", "scale"), [("table2", "quick"), ("table6", "paper")])
def test_the_least_demanding_scale_that_has_a_network_is_named(result: str, scale: str) -> None:
    *_, rest = Beside(["resnet20-cifar100"]).judged(result, 1, 1)
    assert rest == f"Not run here: resnet20-cifar100 (`--scale {scale}`)."


def test_what_is_said_of_a_whole_source_stands_under_its_head_once(tmp_path: Path) -> None:
    for name in ("freezenet_weak-quick", "freezenet_hit-quick"):
        write_section(tmp_path, Section(name, f"Of {name}", ["in part", "on it"], ["A table."]))
    (head, note), text = next(iter(NOTES.items())), (tmp_path / "RESULTS.md").read_text()
    assert text.count(note) == 1 and f"## {head}\n\n{note}\n\n" in text
    assert not any(note in section for section in sections_of(text).values())


def test_a_section_goes_into_its_place_and_what_nobody_uses_any_more_goes(tmp_path: Path) -> None:
    def section(name: str, length: str) -> Section:
        recipes: list[dict[str, Any]] = [
            {"arch": "a", "dataset": "b", "length": length, "seed": seed} for seed in (0, 1)
        ]
        return Section(name, f"Of {name}", ["in part", "on it"], ["A table."], recipes=recipes)

    for name, length in (("uchida-quick", "1ep"), ("table6-quick", "2ep"), ("table1-quick", "2ep")):
        told = write_section(tmp_path, section(name, length))
    text, page = (tmp_path / "RESULTS.md").read_text(), (tmp_path / "docs" / "results.md").read_text()
    assert list(sections_of(text)) == ["table1-quick", "table6-quick", "uchida-quick"] and told in text
    assert text.count("\n- <a id=") == 2 and "seeds 0, 1" in text
    assert text.index("## NeurIPS'21") < text.index("Of table6") < text.index("## Uchida")
    assert "| [Of table6-quick](../RESULTS.md#table6-quick) | **in part** |  | on it |  |  |" in page
    assert "| `table2` | not run |" in page
    write_section(tmp_path, section("uchida-quick", "2ep"))
    assert (tmp_path / "RESULTS.md").read_text().count("\n- <a id=") == 1
