"""A new mark, attack or score is one file of 30 lines or fewer, and one line (docs/extending.md)."""

from __future__ import annotations

import re

import pytest
from support.extending import EXAMPLES, PAGE, example

from ticket_sig.attacks import ATTACKS, Attack
from ticket_sig.marks import MARKS, Mark
from ticket_sig.scores import SCORES, Score

REGISTRIES = {"MARKS": (MARKS, Mark), "ATTACKS": (ATTACKS, Attack), "SCORES": (SCORES, Score)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_30_lines_or_fewer(name: str) -> None:
    assert len(EXAMPLES[name].splitlines()) <= 30


def test_every_registry_has_a_line_for_its_example() -> None:
    parts = re.split(r"The lines?, in `([A-Z]+)` of", PAGE.read_text())[1:]
    assert {name for name in parts[::2]} == REGISTRIES.keys()
    lines = {
        name: re.findall(r'^"([a-z-]+)": (\w+),$', text, re.MULTILINE)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert sum(map(len, lines.values())) == len(EXAMPLES)
    for registry, found in lines.items():
        known, kind = REGISTRIES[registry]
        for name, made in found:
            assert name not in known and issubclass(getattr(example(name.replace("-", "_")), made), kind)
