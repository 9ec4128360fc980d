"""Fidelity F: a network is as accurate as was promised (NeurIPS'21, section 3.2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.datasets.registry import FREE
from ticket_sig.errors import about, bad_input
from ticket_sig.formats import load
from ticket_sig.options import flag
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.subject import Subject
from ticket_sig.verification.ask import Ask

EPS_F = 1.0  # points of accuracy; the paper's
ASKED = 1000  # test images that a server is asked about


@dataclass(frozen=True)
class Fidelity:
    """F, measured.

    Attributes:
        accuracy: test accuracy in %, float32.
        promised: what the claim states; None where it states nothing.
        eps_f: points that it may be under.
    """

    accuracy: float
    promised: float | None = None
    eps_f: float = EPS_F

    @property
    def holds(self) -> bool | None:
        """Whether F holds; None where nothing was promised."""
        return None if self.promised is None else self.accuracy >= self.promised - self.eps_f

    def __str__(self) -> str:
        said = f"{self.accuracy:.2f} % test accuracy"
        if self.promised is None:
            return f"{said}; the claim promises none"
        holds = "holds" if self.holds else "does not hold"
        return f"{said}, {self.promised:.2f} % promised: {holds} (within {self.eps_f:g} points)"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "holds": self.holds}


def fidelity_of_answers(
    ask: Ask, data: Dataset, promised: float | None = None, *, images: int = ASKED, eps_f: float = EPS_F
) -> Fidelity:
    """Measures F by answers to the first images of the test split; none counts as wrong; errors of `ask`."""
    split = data.test[: min(images, len(data.test))]
    answers = ask(split.images.numpy())
    right = sum(a == label for a, label in zip(answers, split.labels.tolist(), strict=True))
    return Fidelity(100 * right / len(split), promised, eps_f)


def fidelity_of_file(
    path: Path,
    claim: Claim,
    *,
    data: Path | None,
    arch: str | None = None,
    dataset: str | None = None,
    mask: Path | None = None,
) -> Fidelity | None:
    """Measures F of a model file; None where no data are given to measure it on.

    Args:
        data: folder of the data set; digits, named as `dataset`, needs none.
        arch, dataset: names of network and data set; the bundle's by default.
        mask: a file of the model's mask, where it lies apart.

    Raises:
        InputError: nobody says which network and data set it is of, or the weights do not fit.
    """
    if data is None and dataset != FREE:
        if named := [flag(n) for n, value in (("arch", arch), ("dataset", dataset)) if value]:
            expected = f"data to measure the accuracy on: --data DIR, or --dataset {FREE}"
            raise bad_input("", ", ".join(named), expected, "none")
        return None
    option = "--data" if data else "--dataset"
    with about(path):
        ticket = load(path, mask).ticket
        network, images = Subject.of(ticket, arch, dataset).names(option)
        right = weights_accuracy(ticket.weights, network, load_dataset(images, data))
        return Fidelity(right, claim.accuracy)
