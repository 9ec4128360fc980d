"""White box verification of scheme 1: the suspect keeps weights that only the key names (NeurIPS'21, 3.3).

The locked ticket is public, the key is not. A network trained from the locked ticket alone has nothing at
the key's positions; one that has nothing to do with it keeps some of them by chance, as many as its density
says. The more it keeps, the surer that it was made from the unlocked ticket.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.optimize import minimize_scalar

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.signatures.scheme1 import Key, mark_of
from ticket_sig.ticket import Ticket
from ticket_sig.verification.verdict import Verdict

_MOST_TILT = 60.0  # of the exponent in Chernoff's bound; e^60 is beyond every density that a file can hold


def verify_key(ticket: Ticket, claim: Claim, key: Key) -> Verdict:
    """Decides whether a network was made from the unlocked ticket of a claim.

    Raises:
        InputError: the key is not the claim's, or the model lacks one of its layers.
    """
    mark = mark_of(claim)
    mark.check(key)
    layers = []
    for name, positions in key.positions.items():
        weights = ticket.weights.get(name)
        if weights is None:
            raise bad_input("model", "layer", f"the key's {name}", "none of that name")
        if int(positions[-1]) >= weights.numel() or int(positions[0]) < 0:
            expected = f"more than {int(positions[-1])} weights, as the key's positions say"
            raise bad_input("model", name, expected, str(weights.numel()))
        kept = weights.flatten() != 0
        layers.append((len(positions), int(kept[positions].sum()), float(kept.double().mean())))
    found, count = sum(layer[1] for layer in layers), len(key)
    return Verdict(
        statistic=f"{found} of {count} weights of the key are kept",
        log10_p=log10_p_overlap([(n, density) for n, _, density in layers], found),
        evidence={
            "scheme": claim.scheme,
            "key_weights": count,
            "key_weights_kept": found,
            "expected_by_chance": round(sum(n * density for n, _, density in layers), 1),
            "model_as_signed": tensor_digest(ticket.weights) == claim.subject,
            "kept": ticket.mask.kept,
            "total": ticket.mask.total,
        },
        proves="the network keeps the weights that the claim's key names, far beyond chance: it was made "
        "with the key, not from the locked ticket alone",
        does_not_prove="anything, if the key is younger than the suspect, for whoever sees a mask can name "
        "its weights: the claim must have been dated before; nor who made it, if others pruned the same "
        "network",
    )


def log10_p_overlap(layers: Sequence[tuple[int, float]], found: int) -> float:
    """log10 of the chance that at least `found` of a key's positions are kept in a mask drawn at random.

    Chernoff's bound for the sum over layers; a hypergeometric count is bounded by the binomial one
    (Hoeffding, 1963, theorem 4), so that this is never less than the true chance.

    Args:
        layers: (positions of the key, density of the suspect's mask) of each layer.
    """
    count = sum(n for n, _ in layers)
    if found <= sum(n * density for n, density in layers):
        return 0.0
    if found == count:
        return sum(n * math.log10(density) for n, density in layers)

    def exponent(tilt: float) -> float:
        return sum(n * math.log1p(density * math.expm1(tilt)) for n, density in layers) - tilt * found

    best = minimize_scalar(exponent, bounds=(0.0, _MOST_TILT), method="bounded")
    return min(0.0, exponent(float(best.x)) / math.log(10))
