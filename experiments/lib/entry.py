"""The command line: results by name, measured and shown at one scale; or a program with its own options.

    python -m experiments table6 figure2 --scale quick --data DATA --out RUN
    python -m experiments all --scale smoke --out RUN
    python -m experiments ship_ticket --smoke --out RUN --checkpoints DIR

A result lists its cells (`ticket_sig.cells`) and says what they show. Every step resumes: finished cells
stand in `experiments/cells/`, finished and half-finished trainings in RUN. The same command in a second
process works on the same list.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from experiments import FOLDER
from experiments.catalogue import BY_NAME_ALONE, PROGRAMS, RESULTS, in_a_line, module_of
from experiments.lib.bench import Bench
from experiments.lib.scales import SCALES
from experiments.lib.showing import write
from ticket_sig.cells import Store
from ticket_sig.cli.leaving import INTERRUPTED, leaving, one_line, say
from ticket_sig.cli.output import progress
from ticket_sig.errors import InputError, bad_input
from ticket_sig.files import make_folder
from ticket_sig.training.device import pick_device
from ticket_sig.training.loop import Engine

_ALL = "all"


def main(arguments: Sequence[str]) -> int:
    """Runs what the command line names; returns the exit code. Bad input is one line, and exit code 2."""
    with leaving():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "experiments"
    try:
        return _run_program(*arguments) if name in PROGRAMS else _show_results(arguments)
    except KeyboardInterrupt:
        say("\nstopped; the same command goes on from here")
        return INTERRUPTED
    except Exception as error:
        say(f"{name}: {' '.join(one_line(error).split())}")
        return 2


def run_options(parser: argparse.ArgumentParser, *, smoke: bool = True, results: bool = False) -> None:
    """Declares the options of whatever trains; without `smoke` where there are scales."""
    parser.add_argument("--data", help="folder of the data set, or of one folder each; digits needs none")
    parser.add_argument("--out", type=Path, required=True, help="run folder; resumes")
    if smoke:
        parser.add_argument("--smoke", action="store_true", help="digits, in seconds")
    if results:
        parser.add_argument("--results", type=Path, default=FOLDER, help="where RESULTS.md and figures go")


@contextmanager
def this_machine() -> Iterator[Engine]:
    """Trains on the best device that there is, and shows progress on stderr."""
    with progress() as bars:
        yield Engine(device=pick_device(), progress=bars)


def _run_program(name: str, *arguments: str) -> int:
    program = module_of(name)
    parser = _parser(f" {name}", program.__doc__)
    program.options(parser)
    return program.main(parser.parse_args(arguments)) or 0


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuses the command line."""
        raise InputError(f"usage: {message}")


def _parser(name: str, description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    prog = f"python -m experiments{name}"
    return _Parser(prog, description=description, epilog=epilog, formatter_class=layout)


def _listed(title: str, names: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {name:21} {in_a_line(name)}" for name in names)])


def _show_results(arguments: Sequence[str]) -> int:
    """Measures the results that are named, and writes what they show."""
    all_of_them = f"results, by name ({_ALL}: every one but {', '.join(BY_NAME_ALONE)})"
    programs = _listed("programs, each with options of its own (NAME --help)", tuple(PROGRAMS))
    parser = _parser("", __doc__, f"{_listed(all_of_them, tuple(RESULTS))}\n\n{programs}")
    parser.add_argument("names", nargs="+", metavar="NAME", help="see below")
    run_options(parser, smoke=False)
    sizes = "paper: as published; quick: hours on two cores, by default; gpu: minutes; smoke: does it run"
    parser.add_argument("--scale", choices=SCALES, default="quick", help=sizes)
    where = "where RESULTS.md, cells, tables and figures go; for smoke RUN/results, else experiments/"
    parser.add_argument("--results", type=Path, help=where)
    latest = "begin no cell after so many; what was measured is shown"
    parser.add_argument("--minutes", type=float, help=latest)
    options = parser.parse_args(arguments)
    if options.minutes is not None and not math.isfinite(options.minutes):
        raise bad_input("", "--minutes", "a finite number", str(options.minutes))
    if unknown := set(options.names) - {*RESULTS, _ALL}:
        raise _unknown(sorted(unknown)[0])
    _measure_and_show(options)
    return 0


def _unknown(name: str) -> InputError:
    close = get_close_matches(name, [*RESULTS, *PROGRAMS, _ALL], 1)
    hint = f"did you mean {close[0]}?" if close else "python -m experiments --help lists them"
    return bad_input("", "name", "a result or a program", repr(name), hint=hint)


def _measure_and_show(options: argparse.Namespace) -> None:
    scale = SCALES[options.scale]
    every = [name for name in scale.names or RESULTS if name not in BY_NAME_ALONE]
    names = [name for given in options.names for name in (every if given == _ALL else [given])]
    if lacking := [name for name in names if not scale.has(name)]:
        raise bad_input("", "name", f"one of {', '.join(scale.names)} at scale {scale.name}", lacking[0])
    results = options.results or (options.out / "results" if scale.name == "smoke" else FOLDER)
    make_folder(results)
    deadline = None if options.minutes is None else time.time() + 60 * options.minutes
    experiments = {name: module_of(name) for name in names}
    with this_machine() as engine:
        store = Store(results / "cells" / scale.name, options.out, engine.progress)
        bench = Bench(scale, Path(options.data) if options.data else None, options.out, store, engine)
        store.measure([cell for module in experiments.values() for cell in module.cells(bench)], deadline)
    for name, module in experiments.items():
        print(write(name, module, bench, results))
