"""The scales of the experiments: what is trained on what, for how long, with how many seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ticket_sig.training import Steps

TRIGGERS = 100


@dataclass(frozen=True)
class Subject:
    """A network on a data set, and the other data set of Table 4."""

    arch: str
    dataset: str
    other: str

    def __str__(self) -> str:
        return f"{self.arch}-{self.dataset}"


@dataclass(frozen=True)
class Scale:
    """How large an experiment is done.

    Attributes:
        subjects: what is trained on what.
        limits: what this scale cannot show.
        shares: of keys (Figures 2 and 5).
        seeds: of the trainings.
        further: other subjects, of Tables 1 to 4 and Figure 2 alone.
        innocent: networks that are asked about triggers they never saw.
        search: preset and changes of the search; None = the shipped ticket.
        retraining: length and learning rate of a retraining; None = the recipe's.
        teaching: length of one with triggers, and of the one it is compared with.
        tried: triggers a batch that were tried with the length of `retraining`.
        names: of the results that it has; none = all.
    """

    name: str
    subjects: tuple[Subject, ...]
    limits: str
    shares: tuple[float, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    further: tuple[Subject, ...] = ()
    innocent: int = 20
    search: tuple[str, dict[str, Any]] | None = None
    retraining: tuple[Steps, float] | None = None
    teaching: Steps | None = None
    tried: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[Subject, ...]:
        """All subjects: those of Tables 1 to 4 and Figure 2."""
        return (*self.subjects, *self.further)

    def has(self, name: str) -> bool:
        """Whether it has a result."""
        return not self.names or name in self.names


_PAPER = [
    Subject(arch, dataset, other)
    for arch in ("resnet20", "resnet18")
    for dataset, other in (("cifar10", "cifar100"), ("cifar100", "cifar10"))
]
NETWORKS = tuple(map(str, _PAPER))  # that NeurIPS'21 publishes curves of
_FEW_ROUNDS: dict[str, Any] = {
    "length": Steps(16),
    "rewind": Steps(10),
    "retrain": "rewind",
    "rates": (0.6,),
    "density": 0.03,
}
_OF_TICKETS = tuple(f"table{n}" for n in range(1, 9)) + tuple(f"figure{n}" for n in range(2, 7))
SCALES = {
    "gpu": Scale(
        "gpu",
        tuple(Subject(arch, "cifar10", "cifar100") for arch in ("resnet18", "vgg16")),
        "Large networks in minutes of a GPU: one seed, 16 epochs for the dense network, 6 for each ticket, "
        "pruned in four rounds and rewound late, to epoch 10 of 16.",
        shares=(0.05,),
        seeds=(0,),
        search=("quick", _FEW_ROUNDS),
        names=_OF_TICKETS,
    ),
    "paper": Scale(
        "paper",
        tuple(_PAPER),
        "Needs a GPU and days; all 60,000 images of both data sets.",
        shares=(0.05, 0.02, 0.1, 0.2, 0.3),
        search=("paper", {}),
    ),
    "quick": Scale(
        "quick",
        (_PAPER[0],),
        "ResNet-20 alone: the shipped ticket of CIFAR-10 (12.8 % kept, rewound late, to epoch 24 of 36), and "
        "in Tables 1 to 4 and Figure 2 that of CIFAR-100 (16 % kept); retrained for 4 epochs (with triggers, "
        "6) where the paper takes 182. Accuracies are those of a short schedule, to be compared with each "
        "other and not with the paper's.",
        shares=(0.05, 0.1, 0.2),
        further=(_PAPER[1],),
        retraining=(Steps(4), 0.2),
        teaching=Steps(6),
        tried=(4, 6, 8, 16),
    ),
    "smoke": Scale(
        "smoke",
        (Subject("resnet20", "digits", "digits"),),
        "Shows that the scripts run, and nothing else.",
        shares=(0.05,),
        seeds=(0,),
        innocent=1,
        search=("demo", {"length": Steps(1), "rates": (0.7,), "tolerance": 99.0, "density": 0.3}),
        retraining=(Steps(1), 0.2),
        teaching=Steps(2),
    ),
}


def first_scale(result: str, network: str) -> Scale | None:
    """The scale that a result on a network is run at; of several the first, as `SCALES` lists them."""
    return next(
        (one for one in SCALES.values() if one.has(result) and network in map(str, one.subjects)), None
    )
