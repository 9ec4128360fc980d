"""Attack table, free attacks: every mark as it stands after them, and through the owner's reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from experiments.lib.bench import Bench
from experiments.lib.showing import Result, counts
from experiments.recovery.owned import Owned, recipe_of
from experiments.recovery.owners import CARRIERS, CODE, DIGITS, OWNERS, SIZES, THREE, TRIGGERS, owner
from experiments.recovery.recovery_table import accuracy_of, answering, recovered
from ticket_sig.attacks import Attacked, Scene, attack
from ticket_sig.cells import Cell, Measured
from ticket_sig.training.device import made_with

TITLE = "Attack table: free attacks on every mark, read twice"
MARKS = ("qr-code", "spread", "mirror", "key-mask", "freezenet", "uchida", TRIGGERS)
_DUMMIES = "zero-neurons+cliques+split-neurons+noisy-split"
_FLOAT32 = "float32"


@dataclass(frozen=True)
class Theft:
    """What a thief does.

    Attributes:
        words: for the table.
        kind: of the free attack; drawn at random where None, and nothing where empty.
        then: an attack of the registry, with its options, that follows.
    """

    words: str
    kind: str | None
    then: tuple[str, Mapping[str, Any]] | None = None


_PRUNED, _NOISY = ("magnitude-pruning", {"rate": 0.1}), ("gaussian-noise", {"scale": 0.1})
THEFTS = (
    Theft("none", ""),
    Theft("tensors renamed", "renamed"),
    Theft("padded with zero channels", "padded"),
    Theft("batch norms fused", "fused"),
    Theft("channels permuted", "permuted"),
    Theft("channels rescaled", "rescaled"),
    Theft("signs flipped", "flipped-signs"),
    Theft("dummy neurons", _DUMMIES),
    Theft("renamed, then noise 0.1", "renamed", _NOISY),
    Theft("random composition", None),
    Theft("random composition, then magnitude 10 %", None, _PRUNED),
    Theft("random composition, then noise 0.1", None, _NOISY),
)


@dataclass(frozen=True)
class Size:
    """How large the table is at one scale.

    Attributes:
        each, composed: draws of every kind, and of random compositions.
        epochs: of a network's training on digits, each time that it is trained.
    """

    networks: Sequence[str]
    thefts: Sequence[Theft]
    each: int
    composed: int
    epochs: int


_FULL = Size(tuple(OWNERS), THEFTS, each=2, composed=5, epochs=10)
SIZES_OF = {
    "paper": _FULL,
    "quick": _FULL,
    "smoke": Size((DIGITS,), [one for one in THEFTS if one.kind in ("", "permuted")], 1, 1, 1),
}


def cells(bench: Bench) -> list[Cell]:
    """The random compositions of every network, then what is done alone."""
    size = SIZES_OF[bench.scale.name]
    return [
        stolen(bench, network, marks, done)
        for composed in (True, False)
        for network in size.networks
        for done in size.thefts
        if (done.kind is None) is composed
        for marks in OWNERS[network]
    ]


def stolen(bench: Bench, network: str, marks: str, done: Theft) -> Cell:
    """The network of one owner under all draws of one attack."""
    size = SIZES_OF[bench.scale.name]
    draws = 1 if done.kind == "" else size.composed if done.kind is None else size.each

    def measure() -> Measured:
        ours, found = owner(bench, network, marks, size.epochs), list[Measured]()
        bench.engine.progress.begin(f"{network}, {marks}, {done.words}", draws)
        for seed in range(draws):
            found.append(drawn(bench, ours, done, seed))
            bench.engine.progress.advance(seed + 1)
        return {"draws": found, "made_with": made_with(torch.device("cpu"), _FLOAT32)}

    asked: dict[str, Any] = {"network": network, "marks": marks, "kind": done.kind, "draws": draws}
    asked |= {"then": done.then, "sizes": SIZES.get(marks)}
    words = [network, marks, done.words]
    return bench.cell("free", measure, recipe_of(size.epochs), words=words, **asked)


def drawn(bench: Bench, ours: Owned, done: Theft, seed: int) -> dict[str, Any]:
    """One draw: what the thief did, and what is found of the marks; of the first on digits the accuracy."""
    after, scene = Attacked(ours.ticket, network=ours.module), Scene(model=ours.module, seed=seed)
    if done.kind != "":
        after = attack("free", kind=done.kind, size=bench.data(ours.data).size[0]).carry_out(
            ours.ticket, scene
        )
    if done.then is not None:
        name, options = done.then
        after = after._replace(ticket=attack(name, **options)(after.ticket, scene))
    told: dict[str, Any] = {"seed": seed, "did": list(after.did)}
    names = [mark.name for mark in ours.embedded.marks]
    if seed == 0 and ours.data == "digits" and names == CARRIERS.split("+"):
        told["accuracy"] = accuracy_of(bench, ours, after)
    if TRIGGERS in names:
        return {**told, "marks": {TRIGGERS: answered(bench, ours, after)}}
    return told | recovered(ours, after.ticket)


def answered(bench: Bench, ours: Owned, after: Attacked) -> dict[str, Any]:
    """The verdict on the answers of what the thief has; no reference is needed to ask."""
    claim, triggers = ours.embedded.claim, ours.embedded.shown["triggers"]
    found = bench.asked(answering(after), ours.data, claim, triggers)
    return {
        "verified": found.verified,
        "plain": found.verified,
        "log10_p": round(found.log10_p, 2),
        "right": found.reading.agreement,
    }


def result(bench: Bench) -> Result:
    """One row for every network and attack, one column for every mark."""
    size, rows = SIZES_OF[bench.scale.name], list[tuple[object, ...]]()
    lost, readings = list[str](), list[tuple[str, bool]]()
    for network in size.networks:
        for done in size.thefts:
            found = {
                marks: bench.store.measured(stolen(bench, network, marks, done)) for marks in OWNERS[network]
            }
            draws = {marks: one["draws"] for marks, one in found.items() if one is not None}
            if not draws:
                continue
            each = {
                mark: told(mark, [one["marks"][mark] for one in draws.get(marks, ())])
                for marks in OWNERS[network]
                for mark in marks.split("+")
            }
            readings += [
                (mark, read["verified"])
                for several in draws.values()
                for one in several
                for mark, read in one["marks"].items()
            ]
            right = [one["accuracy"] for several in draws.values() for one in several if "accuracy" in one]
            test = f"{right[0]:.2f}" if right else ""
            of = max(map(len, draws.values()))
            rows.append((network, done.words, of, test, *(each.get(mark, "") for mark in MARKS)))
            lost += [f"{mark} ({network}, {done.words}): {why}" for mark, why in reasons(draws)]
    columns = " | ".join(["network", "attack", "draws", "test %", *MARKS])
    notes = (
        "`0 -> 10`: verified in none of the draws as the suspect stands, in 10 as it stands or aligned with "
        "the owner's reference, as `verify --reference` decides on a claim on this mark alone (p < 1e-6, "
        "both readings counted). Empty: no network here has the mark. A trigger set is asked for, and needs "
        "no reference: in how many draws it is verified, and the fewest triggers answered as taught.",
        "Attacks: those of `ticket-sig attack free`. Dummy neurons: zero, cliques, split, split with "
        "cancelling noise, one after the other. A random composition is drawn from all kinds; each draw is "
        "another. Magnitude 10 %: of the weights kept, after the free attack. Noise: of 0.1 standard "
        "deviations of a layer's kept weights.",
        f"Marks and references. {DIGITS}: {CARRIERS.replace('+', ', ')} in one mask, with a fifth kept, "
        "against the network before them; key-mask 5 % by omp, against the locked ticket; freezenet "
        f"{SIZES['freezenet']['length']} values and uchida {SIZES['uchida']['random']} bits in dense "
        "networks, each against the one before it was marked and trained on; "
        f"{SIZES[TRIGGERS]['count']} triggers, {SIZES[TRIGGERS]['batch']} of them in every batch: by default "
        "they are fewer, and digits is too short a training to learn them. "
        f"{CODE}: the QR code against the dense network, key-mask as above. {THREE}: against the ticket "
        "whose mask they were written into. Test %: of the first mark's network, first draw.",
        f"Not verified through the reference: {'; '.join(lost) or 'nothing'}.",
    )
    limits = "One network of each kind, ResNet-20; seeds are the thief's."
    shows = f"verified with the reference, of all draws: {counts(readings)}"
    return Result(columns, rows, notes, limits=limits, found=shows)


def told(mark: str, found: Sequence[Measured]) -> str:
    """Verified as it stands, and through the reference; of triggers, verified and answered."""
    if not found:
        return "not run"
    plain, through = (sum(one[how] for one in found) for how in ("plain", "verified"))
    if mark == TRIGGERS:
        return f"{plain} ({100 * min(one['right'] for one in found):.0f} %)"
    return f"{plain} -> {through}"


def reasons(draws: Mapping[str, Sequence[Measured]]) -> list[tuple[str, str]]:
    """Of every mark that is lost in some draws: in how many, and why where the suspect was not aligned."""
    lost = []
    for marks, several in draws.items():
        for mark in marks.split("+"):
            gone = [one for one in several if not one["marks"][mark]["verified"]]
            if gone:
                unaligned = sum("error" in one for one in gone)
                seeds = ", ".join(str(one["seed"]) for one in gone)
                why = f", {unaligned} of them not aligned" if unaligned else ""
                lost.append((mark, f"seeds {seeds}{why}"))
    return lost
