"""The command of a table or figure, and of all of them.

    python experiments/table6.py --scale quick --data DIR --out RUN

A table lists its cells (`cells.py`) and says what they show; trainings are shared between tables. Resumable
at every step: finished cells stand in `experiments/cells/`, half-finished trainings in RUN. The same command
in a second process works on the same list.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path

from bench import Bench
from cells import Store
from results import command, run
from scales import SCALES
from showing import Experiment, write

from ticket_sig.cli.output import progress
from ticket_sig.training.device import pick_device
from ticket_sig.training.loop import Engine

HERE = Path(__file__).parent


def main(experiment: Experiment) -> None:
    """The command of one table or figure."""
    name = Path(experiment.__file__).stem
    run(lambda: reproduce(experiment.__doc__, [name]))


def reproduce(description: str | None, names: Sequence[str]) -> None:
    """Measures and writes tables and figures; of several those that the command line names, or all."""
    parser = command(description, smoke=False)
    if len(names) > 1:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--scale", choices=SCALES, default="quick")
    where = "where RESULTS.md, cells, tables and figures go; for smoke RUN/results, else this folder"
    parser.add_argument("--results", type=Path, help=where)
    parser.add_argument(
        "--minutes", type=float, help="begin no cell after so many; what was measured is shown"
    )
    options = parser.parse_args()
    if unknown := set(getattr(options, "names", ())) - set(names):
        parser.error(f"expected names of {', '.join(names)}, found {', '.join(sorted(unknown))}")
    scale = SCALES[options.scale]
    results = options.results or (options.out / "results" if scale.name == "smoke" else HERE)
    results.mkdir(parents=True, exist_ok=True)
    deadline = None if options.minutes is None else time.time() + 60 * options.minutes
    experiments = [importlib.import_module(name) for name in getattr(options, "names", None) or names]
    with progress() as bars:
        store = Store(results / "cells" / scale.name, options.out, bars)
        engine = Engine(device=pick_device(), progress=bars)
        bench = Bench(scale, Path(options.data) if options.data else None, options.out, store, engine)
        store.measure([cell for module in experiments for cell in module.cells(bench)], deadline)
    for module in experiments:
        print(write(module, module.result(bench), bench, results))
