"""Every bad input with what the command line answers, by topic.

Each case builds its input in an empty folder and returns the arguments of one command. A new topic is a file
with a `Topic`, and its name in the list below. `python -m bad_inputs`, in tests/, prints the table.
"""

from __future__ import annotations

from importlib import import_module

_FILES = (
    *(
        "model_files",
        "bundles",
        "masks",
        "masks_apart",
        "messages",
        "data",
        "claims",
        "damaged_claims",
        "output",
        "runs",
    ),
    *("embedding", "options", "keys", "attacks", "asking", "servers", "answers", "freezenet", "uchida"),
    *("carriers", "references", "unclaimed"),
    *("proof_of_work", "transcripts", "evaluating", "usage"),
)
CASES = [case for name in _FILES for case in import_module(f"bad_inputs.{name}").topic.cases]
