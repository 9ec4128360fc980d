"""RESULTS.md, by source, each recipe and machine once; and docs/results.md, a line for each section."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments import FOLDER
from experiments.catalogue import NOTES, SOURCES
from experiments.lib.judging import RULES
from experiments.lib.sections import table
from ticket_sig.digests import short_digest
from ticket_sig.files import whole_file

_HEAD = f"""# Results

Each section is written by `python -m experiments NAME`, and stands under its source. [One page]({{page}})
has a line of each. The line under a title says what came out, on what, how much agrees with the source,
and what is missing.

{RULES}\
- `89.32 ± 0.25 (3)`: mean and standard deviation of three seeds, where nothing else is said. `90.72 (1)`:
  of a shipped ticket as it is, or pruned by magnitude, there is one, as nothing is drawn; else one seed
  was run.
- Accuracies are of the test split, float32, of the last epoch. Seconds are wall-clock, other work included.
- Under each table: how many cells were measured, by which [recipes](#recipes) and seeds, and
  [with what](#made-with). Of each cell alone, its file in `cells/` says it.
"""
_PAGE = f"""# Results on one page

Written with [RESULTS.md]({{results}}), where each line leads, by `python -m experiments NAME`
([how](reproducing.md)).

{RULES}"""
_ANCHOR = re.compile(r'^<a id="([\w.-]+)"></a>$', re.M)
_ENTRY = re.compile(r'^- <a id="((?:recipe|stack)-\w+)"></a>.*$', re.M)
_USED = re.compile(r"\(#((?:recipe|stack)-\w+)\)")
_NAMED = {"recipe": ("arch", "dataset", "length"), "stack": ("device", "precision")}
_APART = " · "  # the parts of a section's line in bold


@dataclass(frozen=True)
class Section:
    """A section of RESULTS.md.

    Attributes:
        name: of what writes it, and its scale or data set: `table6-quick`.
        parts: the line in bold (`judging.judged`).
        measured: how much of it was, in words.
        recipes, stacks: that its numbers were made with.
    """

    name: str
    title: str
    parts: Sequence[str]
    lines: Sequence[str]
    measured: str = ""
    recipes: Sequence[Mapping[str, Any]] = ()
    stacks: Sequence[Mapping[str, Any]] = ()

    def text(self) -> str:
        """What stands in RESULTS.md."""
        outcome, *parts = self.parts
        bold = _APART.join([f"**{outcome}**", *parts]).rstrip(_APART)
        body = "\n".join([*self.lines, "", *self._foot()]).strip()
        return f"### {self.title}\n\n{bold}\n\n{body}"

    def made(self) -> dict[str, tuple[str, str]]:
        """Recipes without their seeds, and stacks: by their anchors, in a few words, and as JSON."""
        distinct = dict[str, tuple[str, Mapping[str, Any]]]()
        for recipe in self.recipes:
            unseeded = {name: value for name, value in recipe.items() if name != "seed"}
            distinct[json.dumps(unseeded)] = ("recipe", unseeded)
        distinct |= {json.dumps(stack): ("stack", stack) for stack in self.stacks}
        named = dict[str, tuple[str, str]]()
        for text, (kind, value) in distinct.items():
            short = short_digest(value, 6)
            words = [str(value[name]) for name in _NAMED[kind]]
            named[f"{kind}-{short}"] = (", ".join([*words, short]), text)
        return named

    def _foot(self) -> list[str]:
        """How much was measured, by which recipes and seeds, with what."""
        recipes, stacks = (
            ", ".join(f"[{words}](#{at})" for at, (words, _) in self.made().items() if at.startswith(kind))
            for kind in _NAMED
        )
        seeds = sorted({one["seed"] for one in self.recipes})
        listed = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 3 else ", ".join(map(str, seeds))
        said = [self.measured] if self.measured else []
        said += [f"Recipe {recipes}; seeds {listed}."] if recipes else []
        return [" ".join([*said, *([f"Made with {stacks}."] if stacks else [])])]


def write_section(folder: Path, section: Section) -> str:
    """Writes a section into its place in a RESULTS.md, and its line on the page; returns its text."""
    path = folder / "RESULTS.md"
    page = (FOLDER.parent if folder.resolve() == FOLDER.resolve() else folder) / "docs" / "results.md"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".RESULTS.lock"):  # another process may be writing another section
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        sections = _in_order({**sections_of(old), section.name: section.text()})
        made = {at: f'- <a id="{at}"></a>{words}: `{text}`' for at, (words, text) in section.made().items()}
        entries = {found[1]: found[0] for found in _ENTRY.finditer(old)} | made
        for file, text in (
            (path, _document(sections, entries, os.path.relpath(page, folder))),
            (page, one_page(sections, os.path.relpath(path, page.parent))),
        ):
            with whole_file(file) as partial:
                partial.write_text(text, encoding="utf-8")
    return f"{sections[section.name]}\n"


def sections_of(text: str) -> dict[str, str]:
    """The sections of a RESULTS.md, by name."""
    _, *parts = _ANCHOR.split(text)
    return {at: body.split("\n## ")[0].strip() for at, body in zip(parts[::2], parts[1::2], strict=True)}


def one_page(sections: Mapping[str, str], results: str) -> str:
    """docs/results.md: a row for every section, and for what has none."""
    parts, *_, ours = [_PAGE.format(results=results)], *SOURCES
    for source, names in SOURCES.items():
        rows = []
        for name in dict.fromkeys([*names, *(_name(at) for at in sections if _source(at) == source)]):
            there = [_row(at, text, results) for at, text in sections.items() if _name(at) == name]
            rows += there or [(f"`{name}`", "not run", *[""] * 4)]
        near = "what is found" if source == ours else "agrees with the source"
        head = ("result", "outcome", "scale", "on", near, "what is missing, and why it differs")
        parts.append("\n".join([f"## {source}", "", *table(head, rows), ""]))
    return "\n".join(parts)


def _row(at: str, text: str, results: str) -> Sequence[str]:
    title, _, bold, *_ = text.splitlines()
    words, _, scale = title.removeprefix("### ").removesuffix(")").partition(" (scale ")
    outcome, *parts = bold.split(_APART)
    return (f"[{words}]({results}#{at})", outcome, scale, *parts, *[""] * (3 - len(parts)))


def _document(sections: Mapping[str, str], entries: Mapping[str, str], page: str) -> str:
    parts, last = [_HEAD.format(page=page)], None
    for at, text in sections.items():
        if (source := _source(at)) != last:
            parts += [f"## {source}\n", *([f"{NOTES[source]}\n"] if source in NOTES else [])]
        parts.append(f'<a id="{at}"></a>\n\n{text}\n')
        last = source
    used = dict.fromkeys(_USED.findall("\n".join(sections.values())))
    for kind, title in (("recipe", "Recipes"), ("stack", "Made with")):
        listed = [entries[at] for at in used if at.startswith(kind)]
        parts += [f"## {title}\n", "\n".join([*listed, ""])] if listed else []
    return "\n".join(parts)


def _in_order(sections: Mapping[str, str]) -> dict[str, str]:
    """As the catalogue has them; what it has not, at the end."""
    names = [name for of_source in SOURCES.values() for name in of_source]
    places = {name: place for place, name in enumerate(names)}
    return dict(sorted(sections.items(), key=lambda one: (places.get(_name(one[0]), len(names)), one[0])))


def _name(at: str) -> str:
    return at.partition("-")[0]


def _source(at: str) -> str:
    """The source that a section stands under; the last, which is our own, of what the catalogue has not."""
    return next((source for source, names in SOURCES.items() if _name(at) in names), list(SOURCES)[-1])
