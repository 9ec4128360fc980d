"""Checking a solution: is it of this challenge, does every value stand, and is it accurate enough?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ticket_sig.datasets import Dataset
from ticket_sig.marks.freezenet.reading import Matches
from ticket_sig.proof_of_work.challenge import Challenge, Difficulty, watermark_of
from ticket_sig.proof_of_work.solution import FORMAT, SHOWN, Solution, check_fit
from ticket_sig.ticket import check_finite
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.verdict import Rows, Symbols, Verdict

_PROVES = (
    "this network was made to carry the block's watermark, and is accurate enough on the checker's images"
)
_DOES_NOT_PROVE = (
    "how much was worked for it: a small share can be written over any trained network; test images that the "
    "miner could see can be trained on; and unless the block names its miner, anyone can alter this network "
    "into a solution of his own"
)


@dataclass(frozen=True)
class Work:
    """What was measured of a solution, as far as the check went.

    Attributes:
        asked: what the checker asks for, as JSON.
        matches: how much of the watermark stands; None: not looked at.
        accuracy: test accuracy in %, float32; None: not measured.
        lacking: what fails, in words.
    """

    asked: Mapping[str, Any]
    matches: Matches | None = None
    accuracy: float | None = None
    lacking: str = ""

    @property
    def message(self) -> None:
        """A proof of work says nothing."""

    @property
    def agreement(self) -> float:
        """Share of the watermark's values that stand."""
        return self.matches.agreement if self.matches else 0.0

    @property
    def log10_p(self) -> float:
        """The p-value of the watermark."""
        return self.matches.log10_p if self.matches else 0.0

    @property
    def symbols(self) -> Symbols | None:
        """The values of the watermark; None: not looked at."""
        return self.matches.symbols if self.matches else None

    def rows(self) -> Rows:
        """Watermark and accuracy, beside what was asked for."""
        return [
            *(self.matches.rows() if self.matches else ()),
            ("share asked for", f"{100 * self.asked['share_asked']:g} %"),
            *([] if self.accuracy is None else [("test accuracy", f"{self.accuracy:.2f} %")]),
            ("test accuracy asked for", f"{self.asked['target']:g} %"),
        ]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        right = {} if self.accuracy is None else {"accuracy": self.accuracy}
        return {**self.asked, **(self.matches.to_json() if self.matches else {}), **right}

    def verdict(self) -> Verdict:
        """Verified where nothing is lacking, and no unrelated network would carry the watermark."""
        m, right = self.matches, "" if self.accuracy is None else f", {self.accuracy:.2f} % test accuracy"
        values = f"{m.found} of {m.length} values stand{right}" if m else "nothing was measured"
        return Verdict(
            mark=FORMAT,
            reading=self,
            statistic=values,
            proves=_PROVES,
            does_not_prove=_DOES_NOT_PROVE,
            lacking=self.lacking,
        )


def check(
    solution: Solution, challenge: Challenge, data: Dataset, *, device: torch.device | None = None
) -> Verdict:
    """Decides whether a solution solves a challenge; what it proves, and what not, stands above.

    In this order, and no further than what fails: it is for this block, network, training images and
    scale of values, at no smaller share; every value of its watermark stands; and it reaches the target on
    the test split, measured here in float32. Another device may classify an image at the border otherwise.

    Args:
        data: the checker's own.
        device: to measure the accuracy on, by default the CPU.

    Raises:
        InputError: it could not be decided: the weights do not fit the network, or are not finite.
    """
    asked, share, target = challenge.of_data(data), challenge.difficulty.share, challenge.difficulty.target
    work = Work({**asked, "nonce": solution.nonce.hex(), "share_asked": share, "target": target})
    if lacking := _of_another_challenge(solution, asked, challenge.difficulty):
        return replace(work, lacking=lacking).verdict()
    check_fit(solution.weights, challenge.arch, data.classes, data.channels)
    check_finite(solution.weights, "weights")
    mark = watermark_of(challenge, solution.nonce, data, solution.difficulty.share)
    work = replace(work, matches=(found := mark.read(solution.weights)))
    if not found.whole:
        differ = f"{found.length - found.found} of the watermark's values differ, and all must stand"
        return replace(work, lacking=differ).verdict()
    right = weights_accuracy(solution.weights, challenge.arch, data, device)
    lacking = f"{right:.2f} % test accuracy, where {target:g} % is asked" if right < target else ""
    return replace(work, accuracy=right, lacking=lacking).verdict()


def _of_another_challenge(solution: Solution, asked: Mapping[str, str], difficulty: Difficulty) -> str:
    """Where a solution is not of this challenge, and how, in words."""
    given, words = solution.difficulty, []
    for what, ours, theirs in (
        ("block", asked["block"], solution.block),
        ("network", asked["arch"], solution.arch),
        ("training images", asked["train"], solution.train),
        ("scale of values", difficulty.scale, given.scale),
    ):
        if ours != theirs:
            words.append(f"{what}: asked {ours[:SHOWN]}, found {theirs[:SHOWN]}")
    if given.share < difficulty.share:
        words.append(f"share: asked {difficulty.share:g} or more, found {given.share:g}")
    return "; ".join(words)
