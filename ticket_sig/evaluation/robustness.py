"""Robustness: what detector and decoder say of marked and unmarked networks after a modification.

Source: MPAI-NNW Traceability V1.1 (IEEE 3304). The standard's ratios are over all M (D + 1) networks, each
unmarked one tested once. They hide what a user wants to know: a detector that always says yes has a
false-positive ratio of 1 / (D + 1), and a perfect decoder errs on the unmarked networks. So rates of the
unmarked networks and of the marked ones stand beside them; there an unmarked network is tested with each of
the D keys of its model.

A network that cannot be read after a modification is not detected, and all of its symbols are wrong: that is
a thief's gain. The reason is listed. A modification that cannot be done to a network is none: that network
is left out, and that is listed, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ticket_sig.cells import Cell, Measured, Store
from ticket_sig.errors import InputError
from ticket_sig.evaluation.intervals import error_rate, rate, stat
from ticket_sig.evaluation.method import Method
from ticket_sig.evaluation.networks import Networks
from ticket_sig.evaluation.quality import quality
from ticket_sig.evaluation.settings import Applied
from ticket_sig.ticket import Ticket

Said = Mapping[str, Any]  # what a method says of one network, as JSON
Place = tuple[int, int | None]  # model and payload of a network; None: the unmarked one


def cell(
    networks: Networks, method: Method, model: int, payload: int | None, applied: Applied | None
) -> Cell:
    """One network after one modification: the marked one of a payload, or the unmarked one (None)."""
    tried = list(networks.payloads(method, applied)) if payload is None else [payload]
    own = networks.innocent(method, model) if payload is None else model
    asked = {
        "measured": "robustness",
        "method": method.name,
        "options": dict(method.options),
        "secret": networks.secret_digest(),
        "instances": [[model, one] for one in tried],
        "network": networks.identity(method, own, payload),
        "done": None if applied is None else [applied.name, applied.intensity],
    }
    done = "none" if applied is None else f"{applied.name}-{applied.intensity:g}"
    name = f"{done}-{method.name}-{model}-{'unmarked' if payload is None else payload}"
    return Cell(name, asked, partial(_measure, networks, method, model, payload, applied, tried))


def cells(networks: Networks, method: Method, applied: Applied | None) -> Iterator[Cell]:
    """Every network of a method under one modification, or under none."""
    for model in range(networks.settings.models):
        for payload in (None, *networks.payloads(method, applied)):
            yield cell(networks, method, model, payload, applied)


def _measure(
    networks: Networks,
    method: Method,
    model: int,
    payload: int | None,
    applied: Applied | None,
    tried: Sequence[int],
) -> Measured:
    try:
        network = networks.modified(method, model, payload, applied)
    except InputError as error:
        if applied is None:
            raise
        return {"could_not": str(error)}
    strict = applied is None and payload is not None  # a marked network as it is must be readable
    said = [_said(networks, method, model, one, network, strict) for one in tried]
    return {"said": said, "accuracy": quality(network, networks.task(model, networks.work))["accuracy"]}


def _said(
    networks: Networks, method: Method, model: int, payload: int, network: Ticket, strict: bool
) -> Said:
    try:
        found = networks.instance(method, model, payload).test(
            network, networks.task(model, networks.work / "test")
        )
    except InputError as error:
        if strict:
            raise
        return {"could_not": str(error)}
    log10_p, symbols = found.log10_p, found.symbols
    return {
        "detected": found.detected,
        "log10_p": log10_p if log10_p is not None and math.isfinite(log10_p) else None,
        "errors": None if symbols is None else symbols.errors,
        "symbols": None if symbols is None else len(symbols.claimed),
    }


def about(networks: Networks, store: Store, method: Method) -> dict[str, Any]:
    """Whether a method has a detector and a decoder, and of how many symbols: as its first network shows."""
    first = (store.measured(cell(networks, method, 0, 0, None)) or {})["said"][0]
    symbols = first["symbols"]
    return {"symbols": symbols, "detector": first["detected"] is not None, "decoder": symbols is not None}


def section(networks: Networks, store: Store, method: Method) -> list[dict[str, Any]]:
    """What was measured, for the report: first without a modification."""
    known = about(networks, store, method)
    every = (None, *networks.settings.modifications)
    return [_entry(networks, store, method, applied, known) for applied in every]


def _entry(
    networks: Networks, store: Store, method: Method, applied: Applied | None, known: Said
) -> dict[str, Any]:
    settings = networks.settings
    models, tried = range(settings.models), networks.payloads(method, applied)

    def measured(model: int, payload: int | None, done: Applied | None = applied) -> Measured:
        return store.measured(cell(networks, method, model, payload, done)) or {}

    marked: dict[Place, Measured] = {(m, p): measured(m, p) for m in models for p in tried}
    unmarked: dict[Place, Measured] = {(m, None): measured(m, None) for m in models}
    there = [place for place, found in marked.items() if "said" in found]
    owners = [model for model, _ in there]
    before = [measured(*place, None)["accuracy"] for place in there]
    positives = [_filled(said, known) for found in marked.values() for said in found.get("said", ())]
    negatives = [[_filled(s, known) for s in found.get("said", ())] for found in unmarked.values()]
    return {
        "modification": "none" if applied is None else applied.name,
        "intensity": None if applied is None else applied.intensity,
        "in_range": None if applied is None else applied.in_range(settings.images),
        "detector": detector(positives, negatives) if known["detector"] and there else None,
        "decoder": decoder(positives, negatives) if known["decoder"] and there else None,
        "log10_p": {
            "marked": [said.get("log10_p") for said in positives],
            "unmarked": [said.get("log10_p") for group in negatives for said in group],
        },
        "accuracy": {
            "before": stat(before, owners),
            "after": stat([marked[place]["accuracy"] for place in there], owners),
        },
        "not_measured": [
            *_fewer(len(tried), settings.payloads, method),
            *_reasons({**marked, **unmarked}),
        ],
    }


def _filled(said: Said, known: Said) -> Said:
    """What is said; where nothing is, since the network could not be read, what that comes to."""
    symbols = known["symbols"]
    lost = {"detected": False if known["detector"] else None, "errors": symbols, "symbols": symbols}
    return {**lost, **{name: value for name, value in said.items() if value is not None}}


def _fewer(tried: int, payloads: int, method: Method) -> list[str]:
    """Why fewer payloads of each model are tried than were asked for."""
    why = "it trains" if method.keyed else "a network has one fingerprint"
    return [f"only {tried} of {payloads} payloads: {why}"] if tried < payloads else []


def _reasons(found: Mapping[Place, Measured]) -> list[str]:
    """Why numbers are missing, or are those of networks that could not be read, and of how many networks."""
    told = [_told(measured) for measured in found.values()]
    counts = {reason: sum(reason in one for one in told) for one in told for reason in one}
    return [f"{count} of {len(found)} networks: {reason}" for reason, count in counts.items()]


def _told(measured: Measured) -> list[str]:
    if "could_not" in measured:
        return [measured["could_not"]]
    return [f"could not be read: {said['could_not']}" for said in measured["said"] if "could_not" in said]


def detector(marked: Sequence[Said], unmarked: Sequence[Sequence[Said]]) -> dict[str, Any]:
    """The standard's ratios of a detector, and rates over unmarked and marked networks.

    Args:
        marked: of each marked network.
        unmarked: of each unmarked network, with each key of its model; the standard counts the first one.
    """
    once = [group[0] for group in unmarked if group]
    every = [said for group in unmarked for said in group]
    networks = len(marked) + len(once)
    missed = sum(not said["detected"] for said in marked)
    standard = {
        "false_positive_ratio": sum(bool(s["detected"]) for s in once) / networks if once else None,
        "false_negative_ratio": missed / networks if marked else None,
    }
    return {
        "standard": standard,
        "false_positives": rate(sum(bool(said["detected"]) for said in every), len(every)),
        "false_negatives": rate(missed, len(marked)),
    }


def decoder(marked: Sequence[Said], unmarked: Sequence[Sequence[Said]]) -> dict[str, Any]:
    """The standard's symbol error rate, unmarked networks included, and that of the marked ones.

    Args:
        marked, unmarked: as of `detector`.
    """
    networks = [*marked, *(group[0] for group in unmarked if group)]
    shares = [said["errors"] / said["symbols"] for said in networks if said["symbols"]]
    of_marked = error_rate([s["errors"] for s in marked], [s["symbols"] for s in marked])
    standard = {"symbol_error_rate": sum(shares) / len(shares) if shares else None}
    return {"standard": standard, "marked": of_marked}
