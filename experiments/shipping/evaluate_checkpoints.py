"""Measures every shipped bundle on the real test set and holds it against its card.

    python -m experiments evaluate_checkpoints --data DATA

Exit code 1 where an accuracy differs from the card's by more than 0.01 points, or a signature is not
verified.
"""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path
from typing import Any

from experiments import CHECKPOINTS
from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.errors import bad_input
from ticket_sig.formats import load
from ticket_sig.formats.load import Loaded
from ticket_sig.marks.secret import Secret
from ticket_sig.training.device import pick_device
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.verification import verify

TOLERANCE = 0.01
_ACCURACY = re.compile(r"^\| test accuracy \(float32\) \| ([\d.]+) % \|$", re.MULTILINE)


def on_card(bundle: Path) -> float:
    """The accuracy (%) that a bundle's card gives."""
    card = bundle / "README.md"
    found = _ACCURACY.search(card.read_text(encoding="utf-8") if card.exists() else "")
    if not found:
        raise bad_input(card, "card", "a line 'test accuracy (float32)'", "none")
    return float(found.group(1))


def check(bundle: Path, loaded: Loaded, data: Dataset) -> bool:
    """Prints one line; says whether the bundle is what its card says."""
    recipe = loaded.ticket.recipe or {}
    measured = weights_accuracy(loaded.ticket.weights, str(recipe.get("arch")), data, pick_device())
    said = on_card(bundle)
    fine = round(abs(measured - said), 6) <= TOLERANCE
    line = f"{bundle.name}: card {said:.2f} %, measured {measured:.2f} %, {'equal' if fine else 'NOT EQUAL'}"
    if loaded.claim:
        kept = bundle.with_name(f"{bundle.name}.secret")  # shipped beside it, where a mark needs one
        shown: dict[str, Any] = {"secret": Secret.read(kept)} if kept.exists() else {}
        verdict = verify(loaded.ticket, Claim.read(loaded.claim), **shown)
        fine &= verdict.outcome == "verified"
        line += f"; signature `{verdict.reading.message}` {verdict.outcome}"
    print(line, flush=True)
    return fine


def options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--data", type=Path, help="folder of the data sets, one folder each")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)


def main(options: argparse.Namespace) -> int:
    """Checks every bundle of the folder; returns the exit code."""
    bundles = sorted(path.parent for path in options.checkpoints.glob("*/ticket.json"))
    if not bundles:
        raise bad_input(options.checkpoints, "checkpoints", "bundles", "none")

    @functools.cache
    def data(name: str) -> Dataset:
        return load_dataset(name, options.data / name if options.data and name != "digits" else None)

    fine = True
    for bundle in bundles:
        loaded = load(bundle)
        fine &= check(bundle, loaded, data(str((loaded.ticket.recipe or {}).get("dataset"))))
    return 0 if fine else 1
