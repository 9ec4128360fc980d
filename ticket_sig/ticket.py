"""The ticket: rewind weights and a mask, with the recipe and the history that found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input, refuse
from ticket_sig.mask import Mask, differences, memory_of
from ticket_sig.options import fits, in_words, types_of

_SAMPLED = 256  # entries of each tensor that are compared before the whole
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One entry of a ticket's history.

    Attributes:
        step: "dense", "prune" (a round of IMP), "sign", "split" or "train".
        kept, total: weights kept and prunable after this step.
        rate: share of the kept weights that this round pruned.
        winning: whether the retrained ticket was within the tolerance of the dense network.
        accepted: whether the search went on from this round (False: it went back).
        validation, test, triggers: accuracies in %, of the trained weights.
        epochs, seconds: length of the training, and the time it took.
        made_with: versions, device, precision and threads.
    """

    step: str
    kept: int
    total: int
    rate: float | None = None
    winning: bool | None = None
    accepted: bool | None = None
    validation: float | None = None
    test: float | None = None
    triggers: float | None = None
    epochs: float | None = None
    seconds: float | None = None
    made_with: Mapping[str, Any] | None = None

    @property
    def density(self) -> float:
        """kept / total; 1.0 where nothing is prunable."""
        return self.kept / self.total if self.total else 1.0

    @property
    def verdict(self) -> str:
        """What the search made of this round, in words; nothing where it was none of its rounds."""
        if self.winning is None:
            return ""
        return ("wins" if self.winning else "does not win") + (", dropped" if self.accepted is False else "")

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON, density included, empty fields left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"density": round(self.density, 6)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HistoryEntry:
        """Reads an entry, passing over later fields; InputError where one is missing or of another type."""
        hints = types_of(cls)
        required = {f.name for f in fields(cls) if f.default is MISSING}
        given: dict[str, Any] = {n: value.get(n) for n in hints if n in required or n in value}
        for name, found in given.items():
            if found is None or not fits(found, hints[name]):
                raise bad_input("history", name, in_words(hints[name]), repr(found))
        if not 0 <= value["kept"] <= value["total"]:
            raise bad_input("history", "kept", "0 to total", f"{value['kept']} of {value['total']}"[:80])
        return cls(**given)


@dataclass(frozen=True, kw_only=True, repr=False)
class Ticket:
    """A sparse network: what iterative magnitude pruning finds, and what every model file reads as.

    Attributes:
        weights: all tensors of the model by parameter name, zeros where pruned.
        mask: which of them are kept.
        rewind: the same tensors at the rewind step, dense; None where they are not known.
        recipe: how it was trained, as JSON; None where that is not known.
        history: dense training, rounds, signing, retraining, in order.

    Raises:
        InputError: promise 1 is broken, a weight is not finite, or the rewind weights have
            other names or shapes. Everything that is wrong is listed.
    """

    weights: Mapping[str, Tensor]
    mask: Mask
    rewind: Mapping[str, Tensor] | None = None
    recipe: Mapping[str, Any] | None = None
    history: tuple[HistoryEntry, ...] = field(default=())

    def __post_init__(self) -> None:
        check_finite(self.weights, "weights")
        self.mask.check(self.weights)
        if self.rewind is not None:
            check_finite(self.rewind, "rewind weights")
            refuse("rewind weights", differences(self.weights, self.rewind))

    def __repr__(self) -> str:
        rewind = "none" if self.rewind is None else f"{len(self.rewind)} tensors"
        counts = f"rewind {rewind}, {len(self.history)} entries"
        return f"Ticket({len(self.weights)} tensors, {self.mask}, {counts})"

    def rewound(self) -> dict[str, Tensor]:
        """The rewind weights under the mask, where retraining starts; InputError where they are not known."""
        if self.rewind is None:
            hint = "train from the model's weights instead (--start model)"
            raise bad_input("ticket", "rewind weights", "some", "none", hint=hint)
        masked = self.mask.apply(self.rewind)
        # Tied weights are tied when they are rewound, too: the name in the mask speaks for all.
        homes = {memory_of(self.weights[name]): masked[name] for name in self.mask}
        return {name: homes.get(memory_of(self.weights[name]), t) for name, t in masked.items()}

    def mask_for(self, parameters: Mapping[str, Tensor]) -> Mask:
        """The mask over a network's parameters.

        Names that are tied in the weights may be parameters of their own in the network: layers that were
        copied and not trained since. Each then is under the mask.
        """
        homes = {memory_of(self.weights[name]): name for name in self.mask}
        own = {n: home for n, w in self.weights.items() if (home := homes.get(memory_of(w))) is not None}
        apart = {n: home for n, home in own.items() if parameters.get(n) is not parameters.get(home)}
        return Mask({**self.mask, **{n: self.mask[home] for n, home in apart.items() if n in parameters}})

    def last_trained(self) -> HistoryEntry | None:
        """The last entry of the history that has a test accuracy and was not rejected by the search."""
        tested = (e for e in reversed(self.history) if e.test is not None and e.accepted is not False)
        return next(tested, None)

    def pruning_rates(self) -> dict[float, int]:
        """How often each rate was used on the way to this mask (the paper's Table 1)."""
        rates = [entry.rate for entry in self.history if entry.rate is not None and entry.accepted]
        return {rate: rates.count(rate) for rate in sorted(set(rates), reverse=True)}


def ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Tied weights: which names share their memory with an earlier name, {name: first name}."""
    held = dict(tensors)  # alive, so that no memory is used again
    first: dict[object, str] = {}
    return {n: first[memory_of(t)] for n, t in held.items() if first.setdefault(memory_of(t), n) != n}


def tie(tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Makes tied names one tensor again; InputError where one is not there, or the two are not equal."""
    for name, first in tied.items():
        if name not in tensors or first not in tensors or not torch.equal(tensors[name], tensors[first]):
            raise bad_input("", "tied", f"{name} and {first} to be equal", "two that differ, or one alone")
    return {name: tensors[tied.get(name, name)] for name in tensors}


def tie_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Makes one tensor of those that share their memory, and of equal copies (`copies_of`)."""
    tied = ties(tensors)
    copies = copies_of({name: t for name, t in tensors.items() if name not in tied})
    firsts = {name: tied.get(name, name) for name in tensors}
    return {name: tensors[copies.get(first, first)] for name, first in firsts.items()}


def copies_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Which names hold the same matrix as an earlier one, bit for bit: {name: first name}.

    A file of safetensors, or of `.clone()`, keeps tied weights as copies. Two trained layers are never equal,
    so copies are taken as tied: floating-point tensors of 2 or more dimensions. Not those whose weights other
    than zero are all alike: layers that start at zero or one, causal masks and identities are equal without
    being tied. Layers that were copied, and not trained since, are taken as tied, too: a mark then stands in
    both, and they count once; training keeps each under the mask (`Ticket.mask_for`).

    Few entries of each are compared first, so that files that are read in parts are not read whole.
    """
    alike: dict[object, list[str]] = {}
    for name, t in tensors.items():
        if t.ndim >= 2 and t.is_floating_point() and t.numel():
            flat, step = t.reshape(-1), max(1, t.numel() // _SAMPLED)
            sample = flat[::step][:_SAMPLED].clone().view(torch.uint8).numpy().tobytes()
            alike.setdefault((t.dtype, t.shape, sample), []).append(name)
    copies = {}
    for names in alike.values():
        # By digests, so that many tensors that differ in their last entries take no more than one look each.
        first: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            home = first.setdefault(tensor_digest({"": tensors[name]}), name)
            if home != name and _varied(tensors[home]):
                copies[name] = home
    return copies


def _varied(tensor: Tensor) -> bool:
    """Whether a tensor holds two different values other than zero."""
    known = torch.zeros(0)
    for block in torch.split(tensor.reshape(-1), _BLOCK):
        if block.element_size() == 1:  # old versions of torch do not compare floats of 8 bits
            block = block.float()
        known = torch.unique(torch.cat([known, block[block != 0].float()]))
        if len(known) > 1:
            return True
    return False


def retie(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restores weight tying.

    If several names shared a tensor in `old`, and `new` replaced it under one of them, all get the
    replacement.
    """
    changed = {memory_of(old[name]): t for name, t in new.items() if t is not old[name]}
    return {name: changed.get(memory_of(old[name]), t) for name, t in new.items()}


def put_back(
    tensors: Mapping[str, Tensor], where: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns the tensors with other values in some places; those not named pass as they are.

    Args:
        where: boolean, by name, of the tensors' shapes.
        values: by name, one for each place, in order; they take the tensors' dtype.
    """
    put = {n: tensors[n].masked_scatter(w, values[n].to(tensors[n].dtype)) for n, w in where.items()}
    return {**tensors, **put}


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Checks that no floating-point tensor holds NaN or infinity; InputError names each, with the count."""
    problems = []
    for name, tensor in tensors.items():
        tensor = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no sum
        # The sum of a finite tensor can overflow, but a tensor that is not finite never sums to a finite one.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
            count = int((~torch.isfinite(tensor)).sum())
            problems += [f"{name}: expected finite numbers, found {count} that are not"] if count else []
    refuse(where, problems)
