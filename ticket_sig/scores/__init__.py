"""How much each kept weight matters, by name; a new score is one file and one line here."""

from __future__ import annotations

import torch
from torch import Tensor

from ticket_sig.errors import InputError, bad_input
from ticket_sig.scores.betweenness import betweenness
from ticket_sig.scores.chance import chance
from ticket_sig.scores.ewp import ewp
from ticket_sig.scores.hessian import hessian
from ticket_sig.scores.integrated_gradients import integrated_gradients
from ticket_sig.scores.omp import omp
from ticket_sig.scores.random_paths import random_paths
from ticket_sig.scores.scored import Score, Scored
from ticket_sig.scores.taylor import taylor

SCORES: dict[str, Score] = {
    "omp": omp,
    "random": chance,
    "random-paths": random_paths,
    "ewp": ewp,
    "betweenness": betweenness,
    "taylor": taylor,
    "hessian": hessian,
    "integrated-gradients": integrated_gradients,
}
OF_WEIGHTS_ALONE = ("omp", "random")  # these look at neither network nor data


def score(name: str, scored: Scored) -> dict[str, Tensor]:
    """Scores a ticket's weights; float64, by the mask's names, in its order: the higher, the more important.

    Raises:
        InputError: no score of that name, what it needs is missing or does not fit, or its numbers are
            not finite (the layers are named).
    """
    if name not in SCORES:
        raise bad_input("", "score", f"one of {', '.join(SCORES)}", repr(name))
    mask = scored.ticket.mask
    scores = SCORES[name](scored)
    mask.check_shapes(scores, f"score {name}")
    counts = {layer: int((~torch.isfinite(scores[layer])).sum()) for layer in mask}
    if problems := [f"{n}: expected finite numbers, found {k} that are not" for n, k in counts.items() if k]:
        raise InputError(f"score {name}: " + "; ".join(problems))
    return {layer: scores[layer].double() for layer in mask}


__all__ = ["OF_WEIGHTS_ALONE", "SCORES", "Score", "Scored", "score"]
