"""Descent: networks that come from the reference against independent ones, by aligned similarity."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments import CHECKPOINTS
from experiments.lib.bench import Bench
from experiments.lib.showing import Result, save_picture
from experiments.recovery.kinds_of_net import MAKE, WHOLE, initial, with_weights
from experiments.recovery.owned import OWNER, dense, recipe_of, trained
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.train_on import train_on
from ticket_sig.cells import Cell, Measured
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.models import build_for
from ticket_sig.recovery import Reference, align
from ticket_sig.recovery.descent import FEWEST, Descent, Null, descent
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.training.device import made_with
from ticket_sig.verdict import LOG10_THRESHOLD

TITLE = "Descent: derived networks against independent ones"
STATES = ("dense", "pruned")  # of suspect and reference
PRUNED, TUNED = 0.8, 0.02
FROM_SHIPPED = "as shipped (CIFAR-10): pruned in rounds, trained again"


@dataclass(frozen=True)
class Size:
    """How large the table is at one scale.

    Attributes:
        independent: networks of every architecture, each pair of which is compared; by states.
        owners: networks of every architecture that others are derived from, but of those in full width.
        epochs, epochs_of_whole: of a network's training on digits, and of one in its full width.
    """

    independent: Mapping[str, tuple[int, tuple[str, ...]]]
    owners: int
    epochs: int
    epochs_of_whole: int

    def epochs_for(self, net: str) -> int:
        """Of the training of an independent network."""
        return self.epochs_of_whole if net in WHOLE else self.epochs


_FULL = Size(
    {
        "resnet20": (14, STATES),
        **{name: (14, STATES[:1]) for name in (*MAKE, *WHOLE) if name != "resnet20"},
    },
    owners=3,
    epochs=10,
    epochs_of_whole=3,
)
SIZES = {
    "paper": _FULL,
    "quick": _FULL,
    "smoke": Size({"fully connected": (4, STATES[:1])}, owners=1, epochs=1, epochs_of_whole=1),
}


def cells(bench: Bench) -> list[Cell]:
    """Independent and derived networks, architecture by architecture."""
    return [
        cell
        for net in SIZES[bench.scale.name].independent
        for cell in (*independent_of(bench, net), *derived_of(bench, net))
    ] + [of_shipped(bench)]


def independent_of(bench: Bench, net: str) -> list[Cell]:
    """Every pair of independent networks, one cell for each reference and state."""
    several, states = SIZES[bench.scale.name].independent[net]
    return [
        independent(bench, net, state, first, several) for state in states for first in range(several - 1)
    ]


def independent(bench: Bench, net: str, state: str, first: int, several: int) -> Cell:
    """One reference against all networks behind it."""
    epochs = SIZES[bench.scale.name].epochs_for(net)

    def measure() -> Measured:
        own = network(bench, net, first, epochs, state)
        reference = Reference.of(with_weights(net, own.weights))
        suspects = (network(bench, net, seed, epochs, state) for seed in range(first + 1, several))
        return told([align(one, reference).similarity for one in suspects])

    asked: dict[str, Any] = {"net": net, "state": state, "reference": first, "networks": several}
    return bench.cell("descent", measure, recipe_of(epochs), words=[net, state, str(first)], **asked)


def network(bench: Bench, net: str, seed: int, epochs: int, state: str) -> Ticket:
    """A network trained on digits from a seed of its own; dense, or pruned once."""
    ticket = dense(bench, net, epochs, seed)
    return ticket if state == "dense" else prune_ticket(ticket, PRUNED)


def told(similarities: list[float]) -> Measured:
    """What a cell keeps."""
    rounded = [round(one, 6) for one in similarities]
    return {"similarities": rounded, "made_with": made_with(torch.device("cpu"), "float32")}


def derived_of(bench: Bench, net: str) -> list[Cell]:
    """What is made of each owner's network, in every way."""
    return [
        derived(bench, net, what, owner)
        for owner in range(SIZES[bench.scale.name].owners)
        for what in DERIVED
        if net not in WHOLE
    ]


def derived(bench: Bench, net: str, what: str, owner: int) -> Cell:
    """A network that comes from an owner's, against it."""
    epochs = SIZES[bench.scale.name].epochs

    def measure() -> Measured:
        own = dense(bench, net, epochs, OWNER + owner)
        suspect = DERIVED[what](bench, net, own, epochs)
        begun = time.perf_counter()
        found = told([align(suspect, Reference.of(with_weights(net, own.weights))).similarity])
        return {**found, "seconds": round(time.perf_counter() - begun, 2)}

    asked: dict[str, Any] = {"net": net, "what": what, "owner": owner}
    return bench.cell("descent", measure, recipe_of(epochs), words=[net, what, str(owner)], **asked)


def of_shipped(bench: Bench) -> Cell:
    """The shipped ticket, pruned in rounds and trained again, against its dense network."""

    def measure() -> Measured:
        parent, ticket = (load(CHECKPOINTS / f"resnet20-cifar10{end}").ticket for end in ("-dense", ""))
        reference = Reference.of(build_for("resnet20", parent.weights).eval())
        return told([align(ticket, reference).similarity])

    return bench.cell("descent", measure, recipe_of(1), words=["shipped"], net="shipped")


def tuned(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """Trained on for a tenth of the training."""
    recipe = replace(recipe_of(max(1, epochs // 10), 7), lr=TUNED)
    scene = Scene(data=bench.data("digits"), recipe=recipe, model=initial(net, 7), engine=bench.engine)
    return train_on(own, scene, epochs=None, lr=None)


def trained_again(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """Trained on for as long as before, at the full learning rate."""
    return trained(bench, net, own, epochs, seed=7)


def pruned(bench: Bench, net: str, own: Ticket, epochs: int, rate: float) -> Ticket:
    """Pruned once."""
    return prune_ticket(own, rate)


def pruned_and_trained(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """Pruned, and trained for as long as before."""
    return trained(bench, net, prune_ticket(own, PRUNED), epochs, seed=7)


def noisy(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """With noise."""
    return attack("gaussian-noise", scale=0.1)(own, Scene(seed=7))


def transferred(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """Trained for another task: a fresh classifier, every digit under another number."""
    data = bench.data("digits")
    parts = [replace(part, labels=(7 * part.labels + 3) % 10) for part in (data.train, data.test)]
    fresh = initial(net, 7).state_dict()
    classifier = list(fresh)[-2:]
    weights = {**own.weights, **{name: fresh[name] for name in classifier}}
    other = replace(data, name="digits under other numbers", train=parts[0], test=parts[1])
    scene = Scene(data=other, recipe=recipe_of(epochs, 7), model=initial(net, 7), engine=bench.engine)
    return train_on(Ticket(weights=weights, mask=own.mask), scene, epochs=None, lr=None)


def disguised(bench: Bench, net: str, own: Ticket, epochs: int, kind: str | None, seed: int = 0) -> Ticket:
    """After free attacks."""
    scene = Scene(model=with_weights(net, own.weights), seed=seed)
    return attack("free", kind=kind, size=8)(own, scene)


def tuned_and_disguised(bench: Bench, net: str, own: Ticket, epochs: int) -> Ticket:
    """Trained for as long as before, and free attacks drawn at random then."""
    return disguised(bench, net, trained_again(bench, net, own, epochs), epochs, None, 1)


DERIVED: dict[str, Callable[[Bench, str, Ticket, int], Ticket]] = {
    "fine-tuned for a tenth of the training": tuned,
    "trained on for as long": trained_again,
    "transferred to another task": transferred,
    "noise of 0.1": noisy,
    "pruned, half kept": partial(pruned, rate=0.5),
    "pruned, a fifth kept": partial(pruned, rate=PRUNED),
    "pruned, 5 % kept": partial(pruned, rate=0.95),
    "pruned, a fifth kept, and trained on": pruned_and_trained,
    "channels permuted": partial(disguised, kind="permuted"),
    "free attacks drawn at random": partial(disguised, kind=None),
    "trained on for as long, then free attacks": tuned_and_disguised,
}


def nulls(bench: Bench, net: str) -> list[Null]:
    """The tables of the independent pairs of an architecture that were measured, one for each state."""
    several, states = SIZES[bench.scale.name].independent[net]
    found = []
    for state in states:
        of_state = [independent(bench, net, state, first, several) for first in range(several - 1)]
        pairs = [one for cell in bench.store.found(of_state) for one in cell["similarities"]]
        if len(pairs) >= FEWEST:
            found.append(Null(f"{net} ({state})", tuple(pairs)))
    return found


def similarities(bench: Bench, net: str, what: str) -> list[float]:
    """Those of the owners' networks with what was derived from them."""
    owners = range(SIZES[bench.scale.name].owners)
    several = bench.store.found(derived(bench, net, what, owner) for owner in owners)
    return [one for cell in several for one in cell["similarities"]]


def result(bench: Bench) -> Result:
    """A row for every way to derive a network, and for the independent ones of every state."""
    rows, wrong, lines = list[tuple[object, ...]](), list[str](), 0
    for net in SIZES[bench.scale.name].independent:
        known = nulls(bench, net)
        listed = {what: similarities(bench, net, what) for what in DERIVED}
        if net == "resnet20":
            listed[FROM_SHIPPED] = [
                one for cell in bench.store.found([of_shipped(bench)]) for one in cell["similarities"]
            ]
        for what, found in ((what, found) for what, found in listed.items() if found):
            judged = [least(one, known) for one in found] if known else []
            lines += len(judged)
            wrong += [f"{net}: {what}" for one in judged if one.log10_p >= LOG10_THRESHOLD]
            rows.append((net, what, len(found), *_spread(found), *_least_z(judged)))
        for null in known:
            rows.append((net, f"independent, {_state(null)}", len(null.similarities), *_of_null(null)))
            most = least(max(null.similarities), [null])
            wrong += [f"{null.family}, independent"] if most.log10_p < LOG10_THRESHOLD else []
    columns = "network | the suspect | pairs | similarity, mean | least | most | z, least | p, largest"
    notes = (
        "z: standard deviations above the mean of the independent pairs, of the state in which that is "
        "least; of independent pairs, the largest z among them. p: Student's t, as if similarities were "
        f"normally distributed. `verify --reference` takes p < {format_p(LOG10_THRESHOLD)}.",
        "Every pair of the independent networks is compared, aligned as any suspect is. All networks are "
        "trained on digits but the shipped ones, of CIFAR-10: the ticket, pruned in rounds and trained "
        "again, against the dense network that it comes from. Pruned: once, a fifth kept. Transferred: "
        "all digits under other numbers, with a fresh classifier, for as long as the training. Networks in "
        f"full width are trained for {SIZES[bench.scale.name].epochs_of_whole} epochs, and none is derived "
        "from them.",
    )
    shows = f"on the wrong side: {'; '.join(wrong) or 'none'}, of {lines} derived networks and all pairs"
    return Result(columns, rows, notes, draw=partial(_draw, bench) if lines else None, found=shows)


def least(similarity: float, known: Sequence[Null]) -> Descent:
    """Against the state in which it stands out least."""
    return min((descent(similarity, null) for null in known), key=lambda one: one.z)


def _state(null: Null) -> str:
    return null.family.rpartition(" (")[2].removesuffix(")")


def _spread(found: Sequence[float]) -> tuple[str, str, str]:
    return f"{np.mean(found):.3f}", f"{min(found):.3f}", f"{max(found):.3f}"


def _least_z(judged: Sequence[Descent]) -> tuple[str, str]:
    if not judged:
        return ("", "")
    return f"{min(one.z for one in judged):.1f}", format_p(max(one.log10_p for one in judged))


def _of_null(null: Null) -> tuple[str, ...]:
    most = descent(max(null.similarities), null)
    return (*_spread(null.similarities), f"{most.z:.1f}", format_p(most.log10_p))


def _draw(bench: Bench, path: Path) -> None:
    """Similarities of independent pairs and of derived networks, one panel an architecture."""
    from matplotlib.figure import Figure

    nets = [net for net in SIZES[bench.scale.name].independent if nulls(bench, net)]
    figure = Figure(figsize=(8, 1.2 + 1.4 * len(nets)), layout="constrained")
    bins = list(np.linspace(0, 1, 81))
    for axes, net in zip(np.atleast_1d(figure.subplots(len(nets), 1, sharex=True)), nets, strict=True):
        for null in nulls(bench, net):
            axes.hist(null.similarities, bins, density=True, alpha=0.6, label=f"independent, {_state(null)}")
        derived_ = [one for what in DERIVED for one in similarities(bench, net, what)]
        axes.plot(derived_, np.zeros(len(derived_)), "|", color="black", markersize=24, label="derived")
        axes.set_yticks([])
        axes.set_title(net, fontsize=9, loc="left")
        axes.legend(fontsize=7, loc="upper right", markerscale=0.3)
    figure.axes[-1].set(xlabel="similarity to the reference after alignment", xlim=(0, 1))
    save_picture(path, figure)
