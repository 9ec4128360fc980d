"""Recovery: what a thief changed for free, undone with the reference, network by network."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from experiments.lib.bench import Bench
from experiments.lib.showing import Result, counts
from experiments.recovery.drawn import ORDER, Drawn, by_marks, by_networks
from experiments.recovery.kinds_of_net import MAKE
from experiments.recovery.owned import Owned, marks_of_net, owned, recipe_of
from experiments.recovery.owners import CARRIERS, THREE, owner
from ticket_sig.attacks import Attacked, Scene, attack
from ticket_sig.attacks.free import KINDS
from ticket_sig.attacks.train_on import train_on
from ticket_sig.cells import Cell, Measured
from ticket_sig.datasets import Dataset
from ticket_sig.errors import InputError
from ticket_sig.formats.layouts import weights_for
from ticket_sig.marks import Mark
from ticket_sig.recovery import Aligned, align
from ticket_sig.ticket import Ticket
from ticket_sig.training.device import made_with
from ticket_sig.training.evaluate import accuracy
from ticket_sig.verification.decide import decide
from ticket_sig.verification.through import READINGS

TITLE = "Recovery: free attacks undone with the reference"
RANDOM = "random composition"
NOTHING, RATE, NOISE, TUNED = "nothing", 0.2, 0.1, 0.02
PRUNED, NOISY, TRAINED = "pruning 20 %", "noise 0.1", "fine-tuning"
_FLOAT32 = "float32"
_IMAGES = 200  # of the test split that accuracies are measured on


@dataclass(frozen=True)
class Draws:
    """How often one network is attacked.

    Attributes:
        each: draws of every kind alone.
        composed: random compositions, and as many followed by each further step.
        block: draws of one cell.
    """

    each: int
    composed: int
    block: int


@dataclass(frozen=True)
class Size:
    """How large the table is at one scale.

    Attributes:
        epochs: of a network's training on digits, before it is pruned and again after it is marked.
        kinds: tried alone.
    """

    nets: dict[str, Draws]
    epochs: int
    kinds: Sequence[str] = tuple(KINDS)


_FULL = Size(
    {THREE: Draws(10, 200, 50), **{name: Draws(10, 200, 50) for name in MAKE}, "resnet18": Draws(1, 10, 5)},
    epochs=10,
)
SIZES = {
    "paper": _FULL,
    "quick": _FULL,
    "smoke": Size({"fully connected": Draws(1, 1, 1)}, epochs=1, kinds=("renamed", "permuted")),
}


def attacks(bench: Bench, net: str) -> list[tuple[str, str, int]]:
    """Kind of free attack, what follows it, and the draws; the most telling first."""
    size = SIZES[bench.scale.name]
    draws = size.nets[net]
    further = [PRUNED, NOISY, *([] if net == THREE else [TRAINED])]
    return [
        *((RANDOM, then, draws.composed) for then in (NOTHING, *further)),
        *((kind, NOTHING, draws.each) for kind in size.kinds),
    ]


def of_attack(bench: Bench, net: str, kind: str, then: str, draws: int) -> list[Cell]:
    """One attack on one network, block by block."""
    block = SIZES[bench.scale.name].nets[net].block
    return [
        of_block(bench, net, kind, then, range(first, min(first + block, draws)))
        for first in range(0, draws, block)
    ]


def of_block(bench: Bench, net: str, kind: str, then: str, draws: range) -> Cell:
    """Some draws of one attack on one network."""
    epochs = SIZES[bench.scale.name].epochs

    def measure() -> Measured:
        ours, found = _owner(bench, net, epochs), list[Measured]()
        bench.engine.progress.begin(f"{net}, {kind}, {then}", len(draws))
        for number, seed in enumerate(draws, 1):
            found.append(drawn(bench, ours, kind, then, seed, epochs))
            bench.engine.progress.advance(number)
        own = accuracy_of(bench, ours, Attacked(ours.ticket, network=ours.module))
        return {"draws": found, "own": own, "made_with": made_with(torch.device("cpu"), _FLOAT32)}

    asked: dict[str, Any] = {
        "net": net,
        "kind": kind,
        "then": then,
        "first": draws.start,
        "draws": len(draws),
    }
    words = [net, kind, *([] if then == NOTHING else [then]), str(draws.start)]
    return bench.cell("recovery", measure, recipe_of(epochs), words=words, marks=marks_of_net(net), **asked)


def _owner(bench: Bench, net: str, epochs: int) -> Owned:
    return owner(bench, net, CARRIERS, epochs) if net == THREE else owned(bench, net, epochs)


def cells(bench: Bench) -> list[Cell]:
    """First blocks of everything, then the second ones."""
    several = [
        of_attack(bench, net, *attacked)
        for net in SIZES[bench.scale.name].nets
        for attacked in attacks(bench, net)
    ]
    return [cell for blocks in zip_longest(*several) for cell in blocks if cell is not None]


def drawn(bench: Bench, ours: Owned, kind: str, then: str, seed: int, epochs: int) -> dict[str, Any]:
    """One draw: what the thief did, and what is found of the marks."""
    free = attack("free", kind=None if kind == RANDOM else kind, size=bench.data(ours.data).size[0])
    done = free.carry_out(ours.ticket, Scene(model=ours.module, seed=seed))
    told: dict[str, Any] = {"seed": seed, "did": list(done.did)}
    if any(": not done: " in text for text in done.did):
        return {**told, "applies": False}
    try:
        done = followed(bench, done, then, seed, epochs)
    except InputError as error:  # rescaled channels can make the thief's own training diverge
        return {**told, "destroyed": str(error)}
    told["accuracy"] = accuracy_of(bench, ours, done)
    return told | recovered(ours, done.ticket)


def followed(bench: Bench, done: Attacked, then: str, seed: int, epochs: int) -> Attacked:
    """The disguised network after the thief's next step."""
    scene = Scene(seed=seed)
    if then == PRUNED:
        return done._replace(ticket=attack("magnitude-pruning", rate=RATE)(done.ticket, scene))
    if then == NOISY:
        return done._replace(ticket=attack("gaussian-noise", scale=NOISE)(done.ticket, scene))
    if then == TRAINED:
        recipe = replace(recipe_of(max(1, epochs // 10), seed), crop=0)
        data = turned(bench.data("digits"), done)
        scene = Scene(data=data, recipe=recipe, model=done.network, engine=bench.engine, seed=seed)
        return done._replace(ticket=train_on(done.ticket, scene, epochs=None, lr=TUNED))
    return done


def turned(data: Dataset, done: Attacked) -> Dataset:
    """The data as the disguised network takes them."""
    if done.images is None:
        return data
    parts = [
        replace(part, images=done.images(part.images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous())
        for part in (data.train, data.test)
    ]
    return replace(data, train=parts[0], test=parts[1])


def accuracy_of(bench: Bench, ours: Owned, done: Attacked) -> float:
    """Test accuracy in % of what the thief has then."""
    data = bench.data(ours.data)
    return accuracy(answering(done), data.test[:_IMAGES], data, torch.device("cpu"), _FLOAT32)


def answering(done: Attacked) -> nn.Module:
    """The thief's network with the weights of his ticket; it takes images as they are."""
    network = copy.deepcopy(done.network)
    assert network is not None
    network.load_state_dict(weights_for(network.state_dict(), done.ticket.weights))
    whole = done._replace(network=network).answering
    assert whole is not None
    return whole.eval()


def recovered(ours: Owned, suspect: Ticket) -> dict[str, Any]:
    """What is found of every mark, as `verify` decides with the reference of a claim on it alone."""
    begun = time.perf_counter()
    try:
        aligned: Aligned | Exception = align(suspect, ours.reference)
    except Exception as error:  # also a fault of the alignment itself is a mark that is not found
        aligned = error
    seconds = time.perf_counter() - begun
    marks = {mark.name: of_mark(ours, mark, suspect, aligned) for mark in ours.embedded.marks}
    told: dict[str, Any] = {"seconds": round(seconds, 2), "marks": marks}
    if isinstance(aligned, Exception):
        return {**told, "error": repr(aligned)[:200]}
    undone = [str(one) for one in aligned.undone]
    return {**told, "undone": undone, "similarity": round(aligned.similarity, 4)}


def of_mark(ours: Owned, mark: Mark, suspect: Ticket, aligned: Aligned | Exception) -> dict[str, Any]:
    """Whether a mark is verified: as the suspect stands, else aligned."""
    read = partial(decide, [mark], claim=ours.embedded.claim, shown=shown(ours, mark), readings=READINGS)
    try:
        plain = read(suspect=lambda _: suspect)
        log10_p, stands = plain.log10_p, plain.verified
    except InputError:
        log10_p, stands = 0.0, False
    if stands or isinstance(aligned, Exception):
        return {"verified": stands, "plain": stands, "log10_p": round(log10_p, 2)}
    try:
        through = read(suspect=lambda _: aligned.ticket, aligned=True)
    except InputError:
        return {"verified": False, "plain": False, "log10_p": round(log10_p, 2)}
    return {"verified": through.verified, "plain": False, "log10_p": round(through.log10_p, 2)}


def shown(ours: Owned, mark: Mark) -> dict[str, Any]:
    """What the owner shows for a mark."""
    return {name: one for name, one in ours.embedded.shown.items() if name in mark.needs}


def result(bench: Bench) -> Result:
    """One row for every network and attack in the CSV; attacks by networks, and by marks, on the page."""
    size, rows, found = SIZES[bench.scale.name], list[tuple[object, ...]](), dict[str, dict[str, Drawn]]()
    for net in size.nets:
        for kind, then, draws in attacks(bench, net):
            values = bench.store.found(of_attack(bench, net, kind, then, draws))
            if values:
                drawn = Drawn.of(values, marks_of_net(net).split("+"))
                rows.append((net, kind, then, *_row(drawn)))
                found.setdefault(kind if then == NOTHING else f"{kind}, then {then}", {})[net] = drawn
    columns = "network | free attack | then | of no use | test % | spread | qr-code | mirror | "
    columns += "without the reference | similarity | seconds, mean / longest | seeds not verified"
    tuned = max(1, size.epochs // 10)
    notes = (
        "Draws that are of use to the thief, through the unsigned reference, each mark as if it were claimed "
        f"alone. A plain number: all marks are verified in all of them. **Bold**: {' / '.join(ORDER)} "
        "verified, of the draws. Of no use: his network has less than half of the owner's accuracy, or its "
        "training diverged. Empty: the attack does not apply, or was not tried.",
        "The second table has all networks together that have room for a mark: verified as the suspect "
        "stands -> with the reference. Similarity: of the aligned suspect to the reference, lowest; 0 where "
        "one could not be aligned.",
        "The CSV has every network and attack: the draws of no use, the thief's test accuracy (on "
        f"{_IMAGES} images, lowest and mean), every mark with the reference, {' / '.join(ORDER)} without it, "
        "and the seeds of the draws in which a mark is not verified, so that they can be done again.",
        f"Then: {100 * RATE:.0f} % of the kept weights pruned by magnitude over all layers; Gaussian "
        f"noise of {NOISE:g} standard deviations of a layer's kept weights; {tuned} epochs of "
        f"fine-tuning, a tenth of the training, at a learning rate of {TUNED:g}. All of this after the "
        "free attack, so that it meets rescaled channels.",
        "The networks are trained on digits, pruned once by 80 %, marked, and trained again; the "
        "reference is the one before the marks. The shipped one (`checkpoints/resnet20-cifar10-spread`) was "
        "retrained on CIFAR-10 from the weights that its reference, the ticket whose mask the marks were "
        "written into, was rewound to; it is not fine-tuned.",
    )
    limits = "Networks for digits are small; ResNet-18 in its full width is drawn few times, for its time."
    readings = (
        (name, mark["verified"])
        for one in (drawn for nets in found.values() for drawn in nets.values())
        for draw in one.used
        for name, mark in draw["marks"].items()
    )
    shows = f"verified with the reference, of all draws of use: {counts(readings)}"
    found = dict(sorted(found.items(), key=lambda one: not one[0].startswith(RANDOM)))
    shown = [*by_networks(found, list(size.nets)), "", *by_marks(found)] if rows else []
    return Result(columns, rows, notes, shown=shown, limits=limits, found=shows)


def _row(drawn: Drawn) -> tuple[object, ...]:
    """What the CSV says of it."""
    if not (every := drawn.useless + (of := len(drawn.used))):
        return ("does not apply", *[""] * 8)
    if not of:
        return (f"{every} of {every}", *[""] * 8)
    has = [name in drawn.marks for name in ORDER]
    in_order = [
        f"{drawn.verified(name)} of {of}" if there else "" for name, there in zip(ORDER, has, strict=True)
    ]
    without = [
        str(drawn.verified(name, "plain")) if there else "-" for name, there in zip(ORDER, has, strict=True)
    ]
    right = [one["accuracy"] for one in drawn.used if "accuracy" in one]
    test = f"{min(right):.1f}, {sum(right) / len(right):.1f}" if right else ""
    least = min(one.get("similarity", 0.0) for one in drawn.used)
    seconds = [one["seconds"] for one in drawn.used]
    times = f"{sum(seconds) / of:.1f} / {max(seconds):.1f}"
    lost = {name: ", ".join(map(str, drawn.lost(name))) for name in ORDER if name in drawn.marks}
    seeds = "; ".join(f"{name} {numbers}" for name, numbers in lost.items() if numbers)
    return f"{drawn.useless} of {every}", test, *in_order, " / ".join(without), f"{least:.3f}", times, seeds
