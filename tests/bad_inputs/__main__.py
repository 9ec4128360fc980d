"""The table of all bad inputs, from what the commands really say.

Usage, in tests/: python -m bad_inputs      prints it as Markdown
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from support.command_line import run

from bad_inputs import CASES


def table() -> str:
    """Runs every case and returns what happened as Markdown; paths are relative to the case's folder."""
    lines = ["| bad input | command | exit | message |", "|---|---|---|---|"]
    for entry in CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            arguments = entry.build(folder)
            outcome = run(arguments, entry.during(folder))
            said = (outcome.err or outcome.out.splitlines()[0]).strip()
            cells = [
                f"{entry.topic}: {entry.name}",
                " ".join(["ticket-sig", *(_quoted(str(a)) for a in arguments)]),
                str(outcome.code),
                said,
            ]
            lines.append("| " + " | ".join(_cell(cell, folder) for cell in cells) + " |")
    return "\n".join(lines)


def _quoted(argument: str) -> str:
    argument = argument.encode("utf-8", "backslashreplace").decode()
    argument = argument if len(argument) < 100 else f"{argument[:8]}... ({len(argument)} characters)"
    return f'"{argument}"' if not argument or " " in argument else argument


def _cell(text: str, folder: Path) -> str:
    text = text.replace(f"{folder}/", "").replace("\n", "<br>").replace("|", "\\|")
    return text


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as cache:
        os.environ["TICKET_SIG_CACHE"] = cache
        sys.stdout.write(table() + "\n")
