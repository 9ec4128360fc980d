"""The evaluation as a list of cells: measured by one process or several, and the report of what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ticket_sig.cells import Cell, Store
from ticket_sig.errors import InputError, bad_input
from ticket_sig.evaluation import cost, imperceptibility, robustness
from ticket_sig.evaluation.method import Method
from ticket_sig.evaluation.networks import Evaluation, Networks
from ticket_sig.evaluation.processes import side_by_side
from ticket_sig.evaluation.report import FORMAT, FORMAT_VERSION
from ticket_sig.evaluation.settings import begin
from ticket_sig.lottery.level import network_of
from ticket_sig.progress import Progress, Silent
from ticket_sig.training.device import made_with, pick_device
from ticket_sig.version import VERSION

IN_PYTHON = "evaluate(...)  # ticket_sig.evaluation.evaluate, in Python"
_MOST_WORKERS = 1000
_PATIENCE = 20.0  # seconds until a cell that another evaluation is at is looked for again


def evaluate(
    evaluation: Evaluation, *, workers: int = 1, progress: Progress | None = None, command: str = IN_PYTHON
) -> dict[str, Any]:
    """Measures what is not measured yet, and returns the report (`report.schema.json`).

    Killed at any point and started again with the same settings it goes on. Two calls, and so two machines
    that share the folder, can work on it side by side. A mark that has no room in the network is left out,
    and the report says why.

    Args:
        workers: processes that work side by side, each with one thread; 1: this process does it.
        command: what to run to get the report again.

    Raises:
        InputError: the folder belongs to other settings; a method cannot be injected or read, or does not
            make the keys and payloads that differ; or no method has room.
    """
    if not 1 <= workers <= _MOST_WORKERS:
        raise bad_input("", "workers", f"1 to {_MOST_WORKERS}", str(workers))
    options = {method.name: dict(method.options) for method in evaluation.make_methods()}
    begin(evaluation.out, evaluation.settings, options, pick_device(evaluation.device).type)
    networks = Networks(evaluation)
    store, told = _store(evaluation), progress or Silent()
    while _missing(store, due := due_cells(networks, store)):
        _measure(evaluation, networks, store, due, workers, told)
    for method in _staying(networks, _left_out(networks, store)):
        imperceptibility.check_unlike(networks, store, method)
    return _report(networks, store, command, workers)


def due_cells(networks: Networks, store: Store) -> list[Cell]:
    """What can be measured now: first the networks that all else stands on, of every method.

    They show which methods have room. Then comes the rest of these.
    """
    first = _once(cell for one in networks.methods.values() for cell in imperceptibility.cells(networks, one))
    return first if _missing(store, first) else cells(networks, _left_out(networks, store))


def cells(networks: Networks, left_out: Mapping[str, str]) -> list[Cell]:
    """All that is measured of the methods that are not left out, in the order in which it is."""
    return _once(_cells(networks, _staying(networks, left_out)))


def _once(cells: Iterable[Cell]) -> list[Cell]:
    """Each cell once, though several methods may share it."""
    return list({cell.file: cell for cell in cells}.values())


def _missing(store: Store, cells: Iterable[Cell]) -> bool:
    return any(store.measured(cell) is None for cell in cells)


def _staying(networks: Networks, left_out: Mapping[str, str]) -> list[Method]:
    return [method for name, method in networks.methods.items() if name not in left_out]


def _left_out(networks: Networks, store: Store) -> dict[str, str]:
    """The methods whose marks have no room, as far as is known, and why; InputError where none stays."""
    found = {name: imperceptibility.no_room(networks, store, one) for name, one in networks.methods.items()}
    left_out = {name: reason for name, reason in found.items() if reason is not None}
    if len(left_out) == len(found):
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    return left_out


def _cells(networks: Networks, methods: Sequence[Method]) -> Iterator[Cell]:
    settings = networks.settings
    for method in methods:
        yield from imperceptibility.cells(networks, method)
        yield from robustness.cells(networks, method, None)
    if "robustness" in settings.parts:
        for applied in settings.modifications:
            for method in methods:
                yield from robustness.cells(networks, method, applied)
    if "cost" in settings.parts:
        for method in methods:
            yield from cost.cells(networks, method)


def _store(evaluation: Evaluation) -> Store:
    return Store(evaluation.out / "cells", evaluation.out / "work", Silent())


def _measure(
    evaluation: Evaluation, networks: Networks, store: Store, due: list[Cell], workers: int, told: Progress
) -> None:
    """One walk through the list; what another process is at is left to it."""
    every = cells(networks, _left_out(networks, store))
    told.begin("evaluation", len(every))
    show = _estimating(store, every, told)
    if workers > 1:
        side_by_side(work, [(evaluation,)] * workers, show)
    else:
        for cell in due:
            store.measure([cell])
            show()
    if _missing(store, due):
        time.sleep(_PATIENCE)


def work(evaluation: Evaluation) -> None:
    """Walks through the list and measures what nobody else is at: the first networks, then the rest."""
    networks, store = Networks(evaluation), _store(evaluation)
    for _ in range(2):
        store.measure(due_cells(networks, store))


def _estimating(store: Store, every: list[Cell], told: Progress) -> Callable[[], None]:
    """Shows how many cells are done, and about how long the others take."""

    def done() -> int:
        return sum((store.folder / cell.file).exists() for cell in every)

    start, before = time.monotonic(), done()

    def show() -> None:
        now = done()
        told.advance(now, _left(time.monotonic() - start, now - before, len(every) - now))

    return show


def _left(seconds: float, done: int, left: int) -> str:
    if not done or not left:
        return ""
    minutes = math.ceil(seconds / done * left / 60)
    return f"about {minutes} min left" if minutes < 120 else f"about {round(minutes / 60)} h left"


def _report(networks: Networks, store: Store, command: str, workers: int) -> dict[str, Any]:
    settings, left_out = networks.settings, _left_out(networks, store)
    made = made_with(networks.engine.device, settings.recipe.precision)
    sections: dict[str, Callable[[Method], Any]] = {
        "imperceptibility": partial(imperceptibility.section, networks, store),
        "robustness": partial(robustness.section, networks, store),
        "cost": partial(cost.section, networks, store),
    }
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_by": f"ticket_sig {VERSION}",
        "made_with": {**made, "threads": 1} if workers > 1 else made,
        "command": command,
        "settings": settings.to_json(),
        "task": _task(networks),
        "methods": {
            method.name: {
                "about": _about(networks, store, method),
                **{part: make(method) if part in settings.parts else None for part, make in sections.items()},
            }
            for method in _staying(networks, left_out)
        },
        "left_out": left_out,
    }


def _about(networks: Networks, store: Store, method: Method) -> dict[str, Any]:
    return {
        "family": "passive" if method.passive else "active",
        "stands_in": method.stands_in,
        "carries": method.carries,
        "subject": method.subject,
        **robustness.about(networks, store, method),
        "options": dict(method.options),
    }


def _task(networks: Networks) -> dict[str, Any]:
    """How large the network is, and whether the data set is ten times larger, as the standard asks."""
    task = networks.task(0, networks.work)
    model = network_of(task.recipe, task.data, task.model, task.engine.device)
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    height, width, channels = task.data.size
    samples = len(task.data.train)
    values = samples * height * width * channels
    enough = {"by_samples": samples >= 10 * weights, "by_values": values >= 10 * weights}
    return {"weights": weights, "rule_of_ten": {"samples": samples, "values": values, **enough}}
