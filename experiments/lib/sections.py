"""Tables in Markdown, and RESULTS.md: one section a result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from ticket_sig.files import whole_file

_HEAD = "# Results\n\nEvery section is written by a script in this folder; run it again to write it again.\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def write_section(folder: Path, title: str, body: str) -> str:
    """Writes a section of a folder's RESULTS.md, in the place of one of this title; returns its text."""
    path = folder / "RESULTS.md"
    section = f"## {title}\n\n{body.strip()}\n"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".RESULTS.lock"):  # another process may be writing another section
        old = path.read_text(encoding="utf-8") if path.exists() else _HEAD
        found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", old, flags=re.MULTILINE | re.DOTALL)
        text = old[: found.start()] + section + "\n" + old[found.end() :] if found else f"{old}\n{section}"
        with whole_file(path) as partial:
            partial.write_text(text.rstrip() + "\n", encoding="utf-8")
    return section
