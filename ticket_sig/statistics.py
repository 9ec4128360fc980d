"""How surprising an agreement is: exact tail probabilities and the number of chances a liar had."""

from __future__ import annotations

import math

import numpy as np
import scipy  # `scipy.stats` takes half a second to import, and is imported where it is first used
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp

_TERMS = 1 << 20
_BENTKUS = 3.1787  # 1 / (4 P(N >= sqrt 2)), the least that holds for all sums
LOG10_SECRETS = 64 * math.log10(2)  # keys or secrets that a liar may have tried


def log_orders(taken: int, of: int) -> float:
    """The logarithm (base e) of the number of ways to take so many of some, one after the other."""
    return math.lgamma(of + 1) - math.lgamma(of - taken + 1)


def log10_p_agreement(expected: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """log10 of the chance that an unrelated mask agrees with the expected modules at least as well.

    Fisher's exact test. The unrelated mask keeps as many of these kernels as were found kept, in any
    order (a mask of the same density); then the number of light modules that meet a kept kernel is
    hypergeometric, and with the margins fixed the agreement grows with it.

    Args:
        expected, found: boolean, the same modules; True = light = kept.

    Returns:
        At most 0; 0.0 where nothing can be told (all kept, none kept).
    """
    hits = int(np.count_nonzero(expected & found))
    modules, light, kept = expected.size, int(expected.sum()), int(found.sum())
    return float(min(0.0, scipy.stats.hypergeom.logsf(hits - 1, modules, light, kept) / math.log(10)))


def log10_tails(count: int, chance: float) -> NDArray[np.float64]:
    """log10 of P(X >= k) for k = 0 .. count, X binomial: summed as logarithms, so that no tail is ever 0.

    `binom.logsf` takes the logarithm of a float, and so gives -inf from 1e-308 on.

    Args:
        count: of trials.
        chance: of one, in (0, 1).

    Returns:
        float64 [count + 1], at most 0, finite.
    """
    terms = scipy.stats.binom.logpmf(np.arange(count, -1, -1), count, chance)
    tails: NDArray[np.float64] = np.logaddexp.accumulate(terms)[::-1] / math.log(10)
    return np.minimum(0.0, tails)


def log10_tail(count: int, chance: float, at_least: int) -> float:
    """log10 of P(X >= at_least), X binomial, `at_least` above the mean, in memory of a fixed size.

    Args:
        count: of trials.
        chance: of one, in (0, 1).
    """
    # So many terms on, the next is smaller by more than all that a float64 can hold.
    last = min(count, at_least + _TERMS)
    terms = scipy.stats.binom.logpmf(np.arange(at_least, last + 1), count, chance)
    return float(min(0.0, logsumexp(terms) / math.log(10)))


def log10_of_signs(sigma: float) -> float:
    """log10 of the most that P(sum s a >= sigma sqrt(sum a^2)) can be, s fair and independent signs, any a.

    The smaller of two bounds: Hoeffding (1963), theorem 2, and 3.18 times the tail of the normal
    distribution (Bentkus and Dzindzalieta 2015, theorem 1.1).
    """
    if sigma <= 0:
        return 0.0
    normal = math.log(_BENTKUS) + float(log_ndtr(-sigma))
    return min(0.0, -(sigma**2) / 2 / math.log(10), normal / math.log(10))


def corrected(log10_p: float, *log10_chances: float) -> float:
    """Bonferroni: the chance that any of so many attempts does as well, at most 1."""
    return min(0.0, log10_p + sum(log10_chances))


def format_p(log10_p: float) -> str:
    """A probability for people, also where it is too small for a float: `3.2e-145`; at most 1."""
    if not -math.inf < log10_p < -2:
        return f"{10 ** min(log10_p, 0.0):.2g}"
    exponent = math.floor(log10_p)
    if round(10 ** (log10_p - exponent), 1) == 10:
        exponent += 1
    return f"{10 ** (log10_p - exponent):.1f}e{exponent:+03d}"
