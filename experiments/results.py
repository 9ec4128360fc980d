"""What the experiments share: their command line, cards, and RESULTS.md, one section a result."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ticket_sig.files import whole_file

_HEAD = "# Results\n\nEvery section is written by a script in this folder; run it again to write it again.\n"


def command(description: str | None) -> argparse.ArgumentParser:
    """The command line that the experiments share."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=layout)
    parser.add_argument("--data", help="folder of the data set; digits needs none")
    parser.add_argument("--out", type=Path, required=True, help="run folder; resumes")
    parser.add_argument("--smoke", action="store_true", help="digits, in seconds")
    return parser


def write_card(bundle: Path, text: str) -> None:
    """Writes a bundle's card."""
    with whole_file(bundle / "README.md") as partial:
        partial.write_text(text.strip() + "\n", encoding="utf-8")


def write_section(path: Path, title: str, body: str) -> str:
    """Writes a section, in the place of one with the same title; returns its text."""
    section = f"## {title}\n\n{body.strip()}\n"
    old = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", old, flags=re.MULTILINE | re.DOTALL)
    text = old[: found.start()] + section + "\n" + old[found.end() :] if found else f"{old}\n{section}"
    with whole_file(path) as partial:
        partial.write_text(text.rstrip() + "\n", encoding="utf-8")
    return section
