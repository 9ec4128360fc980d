"""How much of a FreezeNet watermark stands in a network, and how surprising that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.formats.names import json_of, rows_of
from ticket_sig.marks.freezenet.derive import LEGACY, SCALES
from ticket_sig.statistics import LOG10_SECRETS, corrected
from ticket_sig.verdict import Rows, Symbols, Verdict


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How much of a watermark stands in a network.

    Attributes:
        stands: boolean [length], which values stand.
        expected: how many would, at most, if the data had nothing to do with the network.
        log10_p_here: chance of as many, for one watermark.
        total: N, the weights that a watermark could have fixed.
        scale: of its values.
        tensors: of the network, which a claimant could have named or left out.
        odd: tensors with NaN or infinities at fixed places, with their count.
        found_as: names of fixed tensors in the network, where they are others.
        aligned: whether the network was aligned with a reference before: not all values come back whole.
        log10_ties: of the tensors that a claimant could have had stand for those that tied names alone find.
    """

    stands: NDArray[np.bool_]
    expected: float
    log10_p_here: float
    total: int
    scale: str
    tensors: int
    odd: Mapping[str, int]
    found_as: Mapping[str, str] = field(default_factory=dict)
    aligned: bool = False
    log10_ties: float = 0.0

    @property
    def found(self) -> int:
        """How many values stand."""
        return int(self.stands.sum())

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.stands)

    @property
    def whole(self) -> bool:
        """Whether every value stands: the paper's rule. An empty watermark stands everywhere."""
        return self.found == self.length

    @property
    def log10_p(self) -> float:
        """The p-value, corrected for all that a claimant could have tried.

        2^64 times data and manifest, as each of them gives other places; every length and scale. The legacy
        stream is not bound to the manifest: under one that is looked up, tensors named or left out move the
        places, and every choice of them counts. Tied names are in no stream, and are paid for, too.
        """
        choices = self.log10_ties
        choices += self.tensors * math.log10(2) if self.scale == LEGACY else 0.0
        lengths, scales = math.log10(self.total + 1), math.log10(len(SCALES) + 1)
        return corrected(self.log10_p_here, LOG10_SECRETS, lengths, scales, choices)

    @property
    def message(self) -> None:
        """The values say nothing: the data are in the claim."""

    @property
    def agreement(self) -> float:
        """Share of the values that stand; an empty watermark stands everywhere."""
        return self.found / self.length if self.length else 1.0

    @property
    def symbols(self) -> Symbols:
        """For each value 1, and what is read: 1 where it stands, 0 where the weight is another number."""
        return Symbols((1,) * self.length, tuple(self.stands.astype(int).tolist()))

    def rows(self) -> Rows:
        """What is expected, and how long the watermark is."""
        share = 100 * self.length / self.total
        return [
            ("expected by chance", f"{self.expected:.3g}"),
            ("length", f"{self.length} of {self.total} parameters, {share:.4g} %"),
            ("scale", self.scale),
            *rows_of(self.found_as),
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "matches": self.found,
            "length": self.length,
            "scale": self.scale,
            "share": self.length / self.total,
            "expected_by_chance": self.expected,
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "parameters": self.total,
            **json_of(self.found_as),
        }

    def verdict(self) -> Verdict:
        """Verified where every value stands and no unrelated network would have as many.

        After an alignment, as many as no unrelated network would have are enough.
        """
        differ = 0 if self.aligned else self.length - self.found
        # 32 bits are searched in minutes: a thief finds data of his own that give the owner's values.
        other = "that the data are those that were signed: of scale legacy, others give the same values; "
        return Verdict(
            mark="freezenet",
            reading=self,
            statistic=f"{self.found} of {self.length} values stand",
            proves="these weights were made to carry the claimed data; no unrelated network does, "
            "whatever data, tensors and length the claimant chose",
            does_not_prove=f"{other if self.scale == LEGACY else ''}"
            "who put them there, or when: whoever knows the data can apply them to any "
            "network. Compare with a record of the claim from before the dispute, and measure the accuracy",
            lacking=f"{differ} of {self.length} values differ, and all must stand" if differ else "",
        )


def matches(weights: Tensor, values: NDArray[np.float32], rounding: float = 0.0) -> Tensor:
    """Which weights stand for their values, boolean [n]: two-sided, and never NaN.

    The policy for every dtype: a weight stands if it is exactly the value, or the value rounded to
    bfloat16, to float16, or to one after the other, each as the weight's own dtype holds it. So a network
    that was cast to half precision verifies, and so does one that was cast and cast back.

    Args:
        weights: [n], of one of `DTYPES`.
        values: [n].
        rounding: by which share of a value a weight may be off, where it was scaled and scaled back.
    """
    exact = torch.from_numpy(values)
    rounded = (exact, exact.bfloat16(), exact.half(), exact.half().bfloat16())
    same = torch.stack([weights == value.to(weights.dtype) for value in rounded]).any(0)
    if not rounding:
        return same
    return same | ((weights.double() - exact.double()).abs() <= rounding * exact.double().abs())


def chances_to_match(weights: Tensor, bound: float, rounding: float = 0.0) -> NDArray[np.float64]:
    """For each weight at most the chance that it `matches` a value that has nothing to do with it.

    Values are uniform on 2^24 cells of (-bound, bound); a weight that half precision can hold is met by all
    that round to it.
    """
    w = weights.to(torch.float64)
    # Zero is met by all that float16 rounds to it.
    size = w.abs().nan_to_num(0.0, 0.0, 0.0).clamp(min=2.0**-25).numpy()
    in_bf16 = (w.bfloat16().double() == w).numpy()
    in_half = (w.half().double() == w).numpy()
    cells = in_bf16 * _spacing(size, 7, -126) + in_half * _spacing(size, 10, -14)
    chances = 2.0**-23 + cells / (2 * bound) + in_bf16 * 2.0**-24 + in_half * 2.0**-24
    chances += (
        rounding / (1 - rounding**2) * size / bound
    )  # values of w / (1 + rounding) to w / (1 - rounding)
    reachable = size <= bound * (1 + max(2.0**-7, rounding)) + 2.0**-24  # the smallest step of float16
    return np.where(reachable, np.minimum(1.0, chances), 0.0)


def _spacing(size: NDArray[np.float64], digits: int, lowest: int) -> NDArray[np.float64]:
    """Distance of neighbours at these sizes, of a format with so many binary digits behind the point."""
    exponent = np.frexp(size)[1] - 1
    distance: NDArray[np.float64] = np.exp2(np.maximum(exponent, lowest) - float(digits))
    return distance
