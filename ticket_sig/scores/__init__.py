"""How much each kept weight matters, by name; a new score is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ticket_sig.errors import refuse
from ticket_sig.options import made, one_named
from ticket_sig.scores.betweenness import Betweenness
from ticket_sig.scores.chance import Chance
from ticket_sig.scores.ewp import EdgeWeightProduct
from ticket_sig.scores.hessian import Hessian
from ticket_sig.scores.integrated_gradients import IntegratedGradients
from ticket_sig.scores.omp import Magnitude
from ticket_sig.scores.random_paths import RandomPaths
from ticket_sig.scores.scored import Score, Scored
from ticket_sig.scores.taylor import Taylor

SCORES: Mapping[str, type[Score]] = {
    "omp": Magnitude,
    "random": Chance,
    "random-paths": RandomPaths,
    "ewp": EdgeWeightProduct,
    "betweenness": Betweenness,
    "taylor": Taylor,
    "hessian": Hessian,
    "integrated-gradients": IntegratedGradients,
}


def make(name: str, /, **options: Any) -> Score:
    """The score of that name; InputError where none has it, or an option is unknown, lacking or wrong."""
    return made(one_named(SCORES, "score", name), f"score {name}", options)


def score(name: str, scored: Scored, /, **options: Any) -> dict[str, Tensor]:
    """Scores a ticket's weights; float64, by the mask's names, in its order: the higher, the more important.

    Raises:
        InputError: as of `make`; what the score needs is missing or does not fit, or its numbers are not
            finite (the layers are named).
    """
    mask, scores = scored.ticket.mask, make(name, **options)(scored)
    mask.check_shapes(scores, f"score {name}")
    counts = {layer: int((~torch.isfinite(scores[layer])).sum()) for layer in mask}
    problems = (f"{n}: expected finite numbers, found {k} that are not" for n, k in counts.items() if k)
    refuse(f"score {name}", problems)
    return {layer: scores[layer].double() for layer in mask}


__all__ = ["SCORES", "Score", "Scored", "make", "score"]
