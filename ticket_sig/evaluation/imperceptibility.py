"""Imperceptibility: how well networks do their task with a mark, beside the same networks without.

Source: MPAI-NNW Traceability V1.1 (IEEE 3304): M unmarked networks and M x D marked ones on one test set. The
differences are paired, marked less unmarked of the same model; intervals are over the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ticket_sig.cells import Cell, Measured, Store
from ticket_sig.errors import bad_input
from ticket_sig.evaluation.intervals import stat
from ticket_sig.evaluation.method import Method, NoRoom
from ticket_sig.evaluation.networks import Networks
from ticket_sig.evaluation.quality import macro_mean, quality


def unmarked_cell(networks: Networks, method: Method, model: int) -> Cell:
    """An unmarked network, and how well it does its task; methods with the same subject share it."""
    asked = {"measured": "quality", "network": networks.identity(method, model, None)}
    return Cell(f"unmarked-{method.subject}-{model}", asked, partial(_unmarked, networks, method, model))


def marked_cell(networks: Networks, method: Method, model: int, payload: int) -> Cell:
    """A marked network, how well it does its task, and the digest of its key and payload.

    Where the network has no room for the mark, the reason alone.
    """
    place = {"method": method.name, "options": dict(method.options), "payload": [model, payload]}
    network = networks.identity(method, model, payload)
    asked = {"measured": "marked", **place, "secret": networks.secret_digest(), "network": network}
    measure = partial(_marked, networks, method, model, payload)
    return Cell(f"marked-{method.name}-{model}-{payload}", asked, measure)


def cells(networks: Networks, method: Method) -> Iterator[Cell]:
    """All networks of a method without a modification; what every part of an evaluation stands on."""
    settings = networks.settings
    innocents = [networks.innocent(method, model) for model in range(settings.models)]
    for model in dict.fromkeys([*range(settings.models), *innocents]):
        yield unmarked_cell(networks, method, model)
    for model in range(settings.models):
        for payload in networks.payloads(method):
            yield marked_cell(networks, method, model, payload)


def no_room(networks: Networks, store: Store, method: Method) -> str | None:
    """Why the method is left out; None where its marks have room in all networks that were tried."""
    reasons = (marked.get("no_room") for *_, marked in _all_marked(networks, store, method))
    reason = next(filter(None, reasons), None)
    return None if reason is None else reason.removeprefix(f"{method.name}: ")  # told beside the name


def check_unlike(networks: Networks, store: Store, method: Method) -> None:
    """Checks that no two of the M x D keys and payloads are alike; else InputError."""
    digests = [marked["instance"] for _, _, marked in _all_marked(networks, store, method)]
    if len(set(digests)) < len(digests):
        found = f"{len(set(digests))} different ones"
        raise bad_input(f"method {method.name}", "keys and payloads", f"{len(digests)}, all different", found)


def section(networks: Networks, store: Store, method: Method) -> dict[str, Any]:
    """What was measured, for the report."""
    models = range(networks.settings.models)
    unmarked = [store.measured(unmarked_cell(networks, method, m)) or {} for m in models]
    marked = _all_marked(networks, store, method)
    owners = [m for m, _, _ in marked]

    def differences(what: str) -> dict[str, Any] | None:
        return stat([_number(found, what) - _number(unmarked[m], what) for m, _, found in marked], owners)

    return {
        "unmarked": [{"model": m, **_shown(unmarked[m])} for m in models],
        "marked": [{"model": m, "payload": p, **_shown(found)} for m, p, found in marked],
        "accuracy": {
            "unmarked": stat([found["accuracy"] for found in unmarked]),
            "marked": stat([found["accuracy"] for _, _, found in marked], owners),
        },
        "difference": differences("accuracy"),
        "precision_difference": differences("precision"),
        "recall_difference": differences("recall"),
    }


def _all_marked(networks: Networks, store: Store, method: Method) -> list[tuple[int, int, Measured]]:
    places = [(m, p) for m in range(networks.settings.models) for p in networks.payloads(method)]
    return [(m, p, store.measured(marked_cell(networks, method, m, p)) or {}) for m, p in places]


def _number(found: Measured, what: str) -> float:
    return float(found[what]) if what == "accuracy" else macro_mean(found, what)


def _shown(found: Measured) -> dict[str, Any]:
    return {name: found[name] for name in ("accuracy", "classes")}


def _unmarked(networks: Networks, method: Method, model: int) -> Measured:
    network = networks.unmarked(model, method.subject)
    return quality(network, networks.task(model, networks.work))


def _marked(networks: Networks, method: Method, model: int, payload: int) -> Measured:
    try:
        instance = networks.instance(method, model, payload)
        network = networks.marked(method, model, payload)
    except NoRoom as error:
        return {"no_room": str(error)}
    return {"instance": instance.digest, **quality(network, networks.task(model, networks.work))}
