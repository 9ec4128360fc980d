"""What a walk knows of the channels of a suspect, and how alike the reference's they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.recovery.comparing import alike
from ticket_sig.recovery.normed import Affine, Written, levels_alike


@dataclass(frozen=True)
class Channels:
    """What is known of some channels of the suspect.

    Attributes:
        of: int64 [channels], the reference's channel; -1 where there is none.
        factor: float64 [channels]: its sign; and where it is there again, what it is multiplied by.
        written: the rows that write them, the suspect's and the reference's; None where no single layer does.
    """

    of: Tensor
    factor: Tensor
    written: tuple[Written, Written] | None = None

    @classmethod
    def plain(cls, count: int) -> Channels:
        """Channels that everybody knows."""
        return cls(torch.arange(count), torch.ones(count, dtype=torch.float64))

    @classmethod
    def unknown(cls, count: int) -> Channels:
        """Channels that are none of the reference's, as far as is known."""
        return cls(torch.full((count,), -1), torch.ones(count, dtype=torch.float64))

    def firsts(self) -> tuple[Tensor, Tensor]:
        """Of each known channel of the reference the first of the suspect's: (suspect's, reference's)."""
        at = (self.of >= 0).nonzero()[:, 0].flip(0)
        first = torch.full((int(self.of.max()) + 1 if len(at) else 0,), -1)
        first[self.of[at]] = at  # of several the last one written stays, which is the first
        known = (first >= 0).nonzero()[:, 0]
        return first[known], known

    def scaled(self, by: Tensor) -> Channels:
        """The channels behind something that multiplies each, up to the scale of the first of each."""
        factor = self.factor * by
        at, of = self.firsts()
        size = torch.ones(int(self.of.max()) + 1 if len(at) else 1, dtype=torch.float64)
        size[of] = factor[at].abs()
        size = size[self.of.clamp_min(0)]
        return Channels(self.of, factor / torch.where(size > 0, size, 1))

    def behind(self, ours: Affine, theirs: Affine) -> Channels:
        """The channels behind batch norms."""
        signs = torch.where(self.of >= 0, theirs.scale.sign()[self.of.clamp_min(0)], 1.0)
        return self.scaled(ours.scale * signs)

    def level(self, ours: Affine, theirs: Affine) -> float:
        """How alike what is added to channels is, if these batch norms follow; -1 where that is not known."""
        if self.written is None:
            return -1.0
        at, of = self.firsts()
        signs = self.factor.sign()[at] * ours.scale.sign()[at] * theirs.scale.sign()[of]
        own, other = self.written
        return levels_alike(own.behind(ours)[at] * signs, other.behind(theirs)[of])

    def spread(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
        """How alike the variances are, in units of the rows that write them, -1 to 1; -1 if not known.

        A variance goes with the square of its row, whatever scales the channels have: so that another batch
        norm of a network that was rescaled is told apart, also where training moved means and shifts.
        """
        at, of = self.firsts()
        if self.written is None or not len(at):
            return -1.0
        own, other = (
            values["running_var"].double().clamp_min(1e-300).log() - 2 * rows.lengths.clamp_min(1e-150).log()
            for values, rows in zip((ours, theirs), self.written, strict=True)
        )
        return max(-1.0, 1 - float((own[at] - other[of]).std(correction=0)))

    def sizes(self) -> float:
        """How alike the lengths of the rows are, -1 to 1."""
        assert self.written is not None
        at, of = self.firsts()
        own, other = self.written
        return alike(*(length.clamp_min(1e-300).log() for length in (own.lengths[at], other.lengths[of])))
