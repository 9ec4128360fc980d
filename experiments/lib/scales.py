"""The scales of the experiments: what is trained on what, for how long, with how many seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ticket_sig.training import Steps

TRIGGERS, TRIGGER_BATCH = 100, 4


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
        seeds: of the trainings; the first rates and shares get all of them, the others the first `few`.
        shares: of keys (Figures 2 and 5).
        innocent: networks that are asked about triggers they never saw.
        search: preset and changes of the search; None = the shipped ticket.
        retraining: length and learning rate of a retraining; None = the recipe's.
        teaching: length of one with triggers, and of the one it is compared with.
        tried: triggers a batch that were tried with the length of `retraining`.
        says: what this scale cannot show.
    """

    name: str
    subjects: tuple[Subject, ...]
    seeds: tuple[int, ...]
    few: int
    shares: tuple[float, ...]
    innocent: int
    search: tuple[str, dict[str, Any]] | None
    retraining: tuple[Steps, float] | None
    teaching: Steps | None
    tried: tuple[int, ...]
    says: str


SCALES = {
    "paper": Scale(
        "paper",
        tuple(
            Subject(arch, dataset, other)
            for arch in ("resnet20", "resnet18")
            for dataset, other in (("cifar10", "cifar100"), ("cifar100", "cifar10"))
        ),
        (0, 1, 2),
        3,
        (0.05, 0.02, 0.1, 0.2, 0.3),
        20,
        ("paper", {}),
        None,
        None,
        (),
        "Needs a GPU and days; all 60,000 images of both data sets.",
    ),
    "quick": Scale(
        "quick",
        (Subject("resnet20", "cifar10", "cifar100"),),
        (0, 1, 2),
        1,
        (0.05, 0.1, 0.2),
        20,
        None,
        (Steps(4), 0.2),
        Steps(6),
        (4, 6, 8, 16),
        "One network on one data set: the shipped ticket (12.8 % kept, rewound late, to epoch 24 of 36), "
        "retrained for 4 epochs (with triggers, 6) where the paper takes 182. Accuracies are those of a "
        "short schedule, to be compared with each other and not with the paper's.",
    ),
    "smoke": Scale(
        "smoke",
        (Subject("resnet20", "digits", "digits"),),
        (0, 1),
        1,
        (0.05, 0.2),
        1,
        ("demo", {"length": Steps(2), "rates": (0.5,), "tolerance": 99.0, "density": 0.2}),
        (Steps(2), 0.2),
        Steps(3),
        (),
        "Shows that the scripts run, and nothing else.",
    ),
}
