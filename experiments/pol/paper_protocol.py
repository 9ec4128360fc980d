"""The verifier of Jia et al., S&P 2021, as a baseline: no part of the package, as tolerance admits forgeries.

What it does not look at is left out here, too: optimizer, buffers, masks, losses. As in the authors' code, an
error that is no number is not above a threshold, hyper-parameters are the prover's, and the random numbers of
the augmentation are not recorded: the verifier draws others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import kstest
from torch import Tensor

from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.training.batches import Batches, generator
from ticket_sig.training.loop import Run
from ticket_sig.transcripts.choice import Choice
from ticket_sig.transcripts.replay import replay
from ticket_sig.transcripts.spoofs.bent_data import BENT
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Segment, Transcript

THRESHOLDS = {"l1": 1000.0, "l2": 10.0, "linf": 0.1, "cos": 0.01}  # that the attacks' papers work against
SIGNIFICANCE = 0.01  # of the test of the initial weights


@dataclass(frozen=True)
class Reproduced:
    """One segment as the verifier trained it: distance of the end from the recorded one, and the update."""

    segment: Segment
    errors: Mapping[str, float]
    update: Mapping[str, float]


class Redrawn(Batches):
    """The recorded order of the images, with crops and flips that the verifier draws.

    Attributes:
        bent: images that the prover hands in for a step, as `BentData` leaves them.
    """

    bent: Mapping[str, Tensor] = {}

    def begin(self, step: int) -> tuple[int, int]:
        """Remembers the step."""
        self._step = str(step)
        return super().begin(step)

    def take(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """The prover's images, where he hands some in."""
        images, labels = super().take(rows)
        return self.bent.get(self._step, images), labels

    def _draw_epoch(self, epoch: int) -> tuple[Tensor, ...]:
        order, *augmentation = super()._draw_epoch(epoch)
        draw = generator(self._recipe.seed, "another machine", epoch)
        shuffled = torch.randperm(len(order), generator=draw)
        return (order, *(drawn[shuffled] for drawn in augmentation))


def reproduce(transcript: Transcript, run: Run, top: int | None = None) -> Iterator[Reproduced]:
    """Trains segments of the last level again.

    Args:
        run: a training by the manifest's recipe.
        top: so many of each epoch, those of the largest updates; all of them by default.
    """
    training, _ = run.data.hold_out(run.recipe.validation)
    batches = run.iteration.batches = Redrawn(training, run.data, run.recipe, run.engine.device)
    if (transcript.folder / BENT).exists():
        batches.bent = read_safetensors(transcript.folder / BENT)
    segments = transcript.levels[-1].segments()
    ends = {one: [transcript.state(one.level, step) for step in (one.first, one.last)] for one in segments}
    updates = {one: distances(*ends[one])["l2"] for one in segments}
    for segment in Choice(top=top).chosen(segments, updates, "", run.per_epoch):
        start, end = ends[segment]
        again = replay(run, start, segment.first, segment.last)
        yield Reproduced(segment, distances(again, end), distances(start, end))


def distances(one: State, other: State) -> dict[str, float]:
    """The paper's four distances between the parameters of two states."""
    return distances_of(*([s.parameters[name] for name in one.parameters] for s in (one, other)))


def distances_of(one: Sequence[Tensor], other: Sequence[Tensor]) -> dict[str, float]:
    """The same of lists of tensors."""
    left, right = (torch.cat([t.double().flatten() for t in tensors]) for tensors in (one, other))
    off = left - right
    cosine = torch.nn.functional.cosine_similarity(left, right, dim=0)
    norms = {"l1": off.norm(1), "l2": off.norm(), "linf": off.norm(torch.inf), "cos": 1 - cosine}
    return {name: float(value) for name, value in norms.items()}


def accepted(errors: Mapping[str, float], thresholds: Mapping[str, float]) -> bool:
    """Whether no error is above its threshold."""
    return not any(errors[name] > threshold for name, threshold in thresholds.items())


def looks_initial(weights: Mapping[str, Tensor], fresh: Sequence[Mapping[str, Tensor]]) -> bool:
    """Whether no tensor is told from newly initialised ones by a Kolmogorov-Smirnov test.

    The level is divided by the number of tensors: without that, honest networks are rejected by chance.

    Args:
        fresh: state dicts of networks with other seeds.
    """
    names = [name for name, t in weights.items() if t.is_floating_point()]
    return all(
        _p(weights[name], torch.cat([one[name].flatten() for one in fresh])) >= SIGNIFICANCE / len(names)
        for name in names
    )


def _p(tensor: Tensor, reference: Tensor) -> float:
    """The p-value of one tensor; where all initial values are one value, it is 1 or 0."""
    if bool((reference == reference[0]).all()):
        return float(bool((tensor == reference[0]).all()))
    return float(kstest(tensor.flatten().numpy(), reference.numpy(), method="asymp").pvalue)
