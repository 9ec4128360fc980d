"""The tables and figures of the papers, and what else is measured here: `python -m experiments --help`."""

from pathlib import Path

FOLDER = Path(__file__).parent
CHECKPOINTS = FOLDER.parent / "checkpoints"
