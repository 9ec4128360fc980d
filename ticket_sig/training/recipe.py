"""The recipe: every choice that decides the bits of a ticket, and the papers' choices by name."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ticket_sig.datasets.registry import FREE
from ticket_sig.errors import bad_input, refuse
from ticket_sig.options import fits, in_words, one_named, types_of, unicode_text
from ticket_sig.training.steps import Steps

SCHEDULES = ("step", "one-cycle")
SCOPES = ("global", "layerwise", "random")
PRECISIONS = ("float32", "bf16")
RETRAIN = ("start", "rewind")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a ticket is found. The defaults are the paper's (NeurIPS'21, section 4).

    Attributes:
        arch, dataset, seed: what is trained, on what, from which random numbers.
        length, batch_size: of one training.
        lr, momentum, nesterov, weight_decay, label_smoothing: of SGD and its loss.
        schedule: "step" (times gamma at each milestone) or "one-cycle" (linear up to `lr` over the
            share `warmup` of the length, then down to zero along a cosine).
        crop, flip: random crop after padding by so many pixels; random horizontal flip.
        validation: share of the train split that is held out; decides who wins.
        precision: "float32", or "bf16" autocast with float32 weights.
        rewind: where the weights are put back to after pruning.
        retrain: "start" goes through the whole schedule again from the rewind weights, as the
            paper's code does; "rewind" goes on at the rewind step (Frankle et al., 2020).
        scope: "global" or "layerwise" magnitude, or "random" pruning.
        rates: shares of the kept weights to prune; the search takes them in turn.
        rounds, density: a fixed number of rounds at the first rate, or rounds until this density;
            neither = search for the extreme ticket.
        tolerance: points of accuracy under the dense network that still win.
        exclude: further tensors to leave dense, `*` stands for anything.

    Raises:
        InputError: a field is out of range.
    """

    arch: str
    dataset: str
    seed: int = 0
    length: Steps = Steps(182)
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    schedule: str = "step"
    milestones: tuple[Steps, ...] = (Steps(91), Steps(136))
    gamma: float = 0.1
    warmup: float = 0.0
    crop: int = 4
    flip: bool = True
    validation: float = 0.1
    precision: str = "float32"
    rewind: Steps = Steps(3)
    retrain: str = "start"
    scope: str = "global"
    rates: tuple[float, ...] = (0.2, 0.1, 0.05, 0.01)
    rounds: int | None = None
    density: float | None = None
    tolerance: float = 1.0
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hints = types_of(type(self)).items()
        self._refuse({name: in_words(hint) for name, hint in hints if not fits(getattr(self, name), hint)})
        if self.rounds is not None and self.density is not None:
            raise bad_input("recipe", "rounds", "none beside a density", f"{self.rounds} and {self.density}")
        limits = {
            "length": (self.length.count >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "seed": (-(2**63) <= self.seed < 2**64, "a number of 64 bits"),
            "lr": (0 < self.lr <= sys.float_info.max, "more than 0"),
            "momentum": (0 <= self.momentum < 1, "0 or more, less than 1"),
            "nesterov": (not self.nesterov or self.momentum > 0, "momentum with it"),
            "weight_decay": (0 <= self.weight_decay <= sys.float_info.max, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 or more, less than 1"),
            "schedule": (self.schedule in SCHEDULES, " or ".join(SCHEDULES)),
            "gamma": (0 < self.gamma <= 1, "more than 0, at most 1"),
            "warmup": (0 <= self.warmup < 1, "0 or more, less than 1"),
            "crop": (self.crop >= 0, "0 or more"),
            "validation": (0 <= self.validation < 1, "0 or more, less than 1"),
            "precision": (self.precision in PRECISIONS, " or ".join(PRECISIONS)),
            "retrain": (self.retrain in RETRAIN, " or ".join(RETRAIN)),
            "scope": (self.scope in SCOPES, " or ".join(SCOPES)),
            "rates": (self.rates and all(0 < r < 1 for r in self.rates), "shares between 0 and 1"),
            "rounds": (self.rounds is None or self.rounds >= 0, "0 or more"),
            "density": (self.density is None or 0 < self.density < 1, "between 0 and 1"),
            "tolerance": (0 <= self.tolerance < 100, "0 or more, less than 100"),
        }
        self._refuse({name: expected for name, (fine, expected) in limits.items() if not fine})
        for pattern in self.exclude:
            unicode_text("exclude", pattern)

    def _refuse(self, wrong: Mapping[str, str]) -> None:
        refuse("recipe", (f"{n}: expected {e}, found {getattr(self, n)!r}" for n, e in wrong.items()))

    @property
    def extreme(self) -> bool:
        """Whether the extreme ticket is searched: accuracy decides, then, which mask is tried next."""
        return self.rounds is None and self.density is None

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON, defaults included."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """Reads a recipe; InputError where a field is unknown, missing, of another type or out of range."""
        known = {f.name: str(f.type) for f in fields(cls)}
        problems = [f"{name}: expected, not found" for name in ("arch", "dataset") if name not in value]
        refuse("recipe", problems + [f"{name}: found, not expected" for name in value if name not in known])
        return cls(**{name: _typed(v, known[name]) for name, v in value.items()})

    def learning_rate(self, step: int, per_epoch: int) -> float:
        """The learning rate of one iteration, counted from 0."""
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(step >= m.iterations(per_epoch) for m in self.milestones)
        total = self.length.iterations(per_epoch)
        rise = self.warmup * total
        if step < rise:
            return self.lr * (step + 1) / (rise + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Steps) else value


def _typed(value: Any, kind: str) -> Any:
    """A value from JSON, which has no tuples and no steps; the recipe refuses other types."""
    if isinstance(value, list) and kind.startswith("tuple["):
        return tuple(_typed(v, kind.removeprefix("tuple[")) for v in value)
    return Steps.parse(value) if isinstance(value, str) and kind.startswith("Steps") else value


_ONE_CYCLE: dict[str, Any] = dict(
    schedule="one-cycle", milestones=(), nesterov=True, weight_decay=5e-4, warmup=0.25, rewind=Steps(1)
)

PRESETS: dict[str, dict[str, Any]] = {
    # NeurIPS'21, section 4: the defaults above.
    "paper": {},
    # github.com/facebookresearch/open_lth, cifar_resnet_20; rewinding as in Frankle et al., 2020. There all
    # 50,000 images are trained on; here a tenth is held out, as in every preset.
    "open-lth": dict(
        length=Steps(160),
        milestones=(Steps(80), Steps(120)),
        rewind=Steps(2000, "it"),
        retrain="rewind",
        rates=(0.2,),
    ),
    # CIFAR on a CPU in minutes a round.
    "quick": dict(_ONE_CYCLE, length=Steps(12), lr=0.2),
    # Digits on two cores in seconds a round.
    "demo": dict(_ONE_CYCLE, length=Steps(20), batch_size=64, lr=0.4, crop=1, flip=False, validation=0.2),
}


def default_preset(dataset: str) -> str:
    """The preset of a training on a data set, where none is named."""
    return "demo" if dataset == FREE else "quick"


def preset(name: str, *, arch: str, dataset: str, **changes: Any) -> Recipe:
    """A preset with some fields changed; InputError where none has that name, or a field is out of range."""
    recipe = Recipe(arch=arch, dataset=dataset, **one_named(PRESETS, "preset", name))
    if name == "paper" and arch == "resnet50":
        recipe = replace(recipe, weight_decay=5e-4)
    return replace(recipe, **changes)
