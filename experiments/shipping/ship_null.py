"""Writes the similarities of independent networks, which `verify --reference` compares with, to the package.

    python -m experiments ship_null

They are those of the measured cells of `descent`: a table for every architecture of the package, and state.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments import FOLDER
from experiments.lib.bench import Bench
from experiments.lib.scales import SCALES
from experiments.recovery.descent_table import SIZES, nulls
from ticket_sig.cells import Store
from ticket_sig.errors import bad_input
from ticket_sig.files import write_json
from ticket_sig.models import MODELS
from ticket_sig.progress import Silent
from ticket_sig.recovery.descent import SHIPPED
from ticket_sig.training.loop import Engine


def options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--scale", choices=SCALES, default="quick", help="of the cells")
    parser.add_argument("--results", type=Path, default=FOLDER, help="where their cells are")
    parser.add_argument("--pairs", type=int, default=90, help="of which there must be so many, or more")
    parser.add_argument("--table", type=Path, default=SHIPPED, help="file to write")


def main(options: argparse.Namespace) -> int:
    """Writes the file."""
    store = Store(options.results / "cells" / options.scale, options.results, Silent())
    bench = Bench(SCALES[options.scale], None, options.results, store, Engine())
    # Those that `verify` can tell by their names.
    families = [net for net in SIZES[options.scale].independent if net in MODELS]
    found = [null for net in families for null in nulls(bench, net)]
    tables = [null.to_json() for null in found if len(null.similarities) >= options.pairs]
    if not tables:
        raise bad_input(store.folder, "cells", f"{options.pairs} pairs of a network or more", "fewer")
    write_json(options.table, {"tables": tables})
    for table in tables:
        print(f"{table['family']}: {len(table['similarities'])} pairs")
    return 0
