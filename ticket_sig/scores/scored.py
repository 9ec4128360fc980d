"""What a score may look at: the ticket, and where the score asks for them, network and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A ticket whose weights are to be scored, and how.

    Attributes:
        ticket: weights and mask; kept weights are scored.
        model: the network, for scores that follow paths or gradients; its own weights do not matter.
        data: for scores that take gradients; a batch of its train split is looked at.
        seed: of everything that is drawn.
        paths: so many sampled walks in place of the exact sweep; None = exact (of random-paths, which
            has nothing exact, its own number).
        sources: sampled sources of betweenness in place of all; None = exact.
        residual: whether residual connections are edges of the graph (the reference code has none).
        directed: whether betweenness follows edges forwards only (the reference code does not).
        images: how many images of the train split gradients are taken of.
    """

    ticket: Ticket
    model: nn.Module | None = None
    data: Dataset | None = None
    seed: int = 0
    paths: int | None = None
    sources: int | None = None
    residual: bool = True
    directed: bool = False
    images: int = 512

    def network(self) -> nn.Module:
        """The network.

        Raises:
            InputError: none was given.
        """
        if self.model is None:
            raise bad_input(
                "score", "network", "one, to follow its paths", "none", hint="name it: --arch NAME"
            )
        return self.model

    def dataset(self) -> Dataset:
        """The data set.

        Raises:
            InputError: none was given.
        """
        if self.data is None:
            hint = "name it: --dataset, and its folder: --data DIR (digits needs none)"
            raise bad_input("score", "data", "a data set, to take gradients of", "none", hint=hint)
        return self.data


# Float64 tensors of the mask's names and shapes: the higher, the more important. Pruned weights may hold
# anything finite, kept ones never NaN; equal scores are ranked by magnitude by whoever selects.
Score = Callable[[Scored], Mapping[str, Tensor]]
