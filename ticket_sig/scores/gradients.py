"""What the scores that take gradients share: the network with the ticket's weights, and its loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.models.own import in_short, logits_of
from ticket_sig.options import one_or_more, option
from ticket_sig.scores.scored import Score, Scored
from ticket_sig.training.batches import Normaliser, generator

_CHUNK = 64
_CPU = torch.device("cpu")


class Losses:
    """Cross-entropy of a copy of the network on images of the train split, in chunks that bound the memory.

    The copy evaluates: batch norm uses the running statistics and does not change them, dropout is off, and
    the kernels in C, which have no second derivative, are not used. The loss of an image then depends on no
    other, so that chunks add up to the mean over all. In float32, on the CPU.

    Args:
        images: how many are drawn, at most.

    Attributes:
        weights: the masked parameters of the copy, in the mask's order.

    Raises:
        InputError: no network, no data, or the two and the ticket do not fit each other.
    """

    def __init__(self, scored: Scored, images: int) -> None:
        ticket, data = scored.ticket, scored.dataset()
        self._model = scored.network().to(_CPU, torch.float32).eval().requires_grad_(False)
        self._model.load_state_dict(weights_for(self._model.state_dict(), ticket.weights))
        parameters = dict(self._model.named_parameters())
        if lacking := [name for name in ticket.mask if name not in parameters]:
            raise bad_input("mask", "names", "parameters of the network", ", ".join(lacking))
        self.weights = [parameters[name].requires_grad_() for name in ticket.mask]
        order = torch.randperm(len(data.train), generator=generator(scored.seed, "images of a score"))
        self._images = data.train[order[:images]]
        self._normalise = Normaliser(data, _CPU)

    def sum(self, derive: Callable[[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
        """Sum of what `derive` makes of each chunk's part of the loss; float64, one tensor a weight."""
        total = [torch.zeros(w.shape, dtype=torch.float64) for w in self.weights]
        for loss in self._losses():
            for part, new in zip(total, derive(loss), strict=True):
                part += new
        return total

    def gradient(self) -> list[Tensor]:
        """dL/dw; float64, one tensor a weight."""
        return self.sum(lambda loss: torch.autograd.grad(loss, self.weights, materialize_grads=True))

    def _losses(self) -> Iterator[Tensor]:
        for start in range(0, len(self._images), _CHUNK):
            part = self._images[start : start + _CHUNK]
            logits = _logits(self._model, self._normalise(part.images.permute(0, 3, 1, 2)))
            if logits.ndim != 2 or int(part.labels.max()) >= logits.shape[1]:
                expected = f"[images, classes], more than {int(part.labels.max())} of them"
                raise bad_input("network", "output", expected, str(list(logits.shape)))
            yield F.cross_entropy(logits, part.labels, reduction="sum") / len(self._images)


@dataclass(frozen=True, kw_only=True)
class GradientScore(Score):
    """|w * s|, s what a score takes from the derivatives of the loss at all masked weights."""

    uses = frozenset({"network", "data", "seed"})
    images: int = option(
        "Images of the train split to take gradients of, at most.", default=512, check=one_or_more
    )

    @abstractmethod
    def slopes(self, losses: Losses) -> list[Tensor]:
        """What each masked weight is multiplied by; float64, in the order of `losses.weights`."""

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        losses = Losses(scored, self.images)
        values = [w.detach().clone() for w in losses.weights]  # some slopes are taken at other weights
        pairs = zip(values, self.slopes(losses), strict=True)
        return dict(zip(scored.ticket.mask, [(w * slope).abs() for w, slope in pairs], strict=True))


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    try:
        answer = model(images)
    except Exception as error:  # it is the user's own code
        expected = f"a network for images {list(images.shape[1:])}"
        raise bad_input("data", "images", expected, in_short(error)) from None
    return answer if isinstance(answer, Tensor) else logits_of(answer, len(images))
