"""How surprising an agreement is: exact tail probabilities and the number of chances a liar had."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import hypergeom

from ticket_sig.signatures.qr import Bits


def log10_p_agreement(expected: Bits, found: Bits) -> float:
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
    return float(min(0.0, hypergeom.logsf(hits - 1, modules, light, kept) / math.log(10)))


def corrected(log10_p: float, *log10_chances: float) -> float:
    """Bonferroni: the chance that any of so many attempts does as well, at most 1."""
    return min(0.0, log10_p + sum(log10_chances))


def format_p(log10_p: float) -> str:
    """A probability for people, also where it is too small for a float: `3.2e-145`."""
    exponent = math.floor(log10_p)
    if round(10 ** (log10_p - exponent), 1) == 10:
        exponent += 1
    return f"{10 ** (log10_p - exponent):.1f}e{exponent:+03d}" if log10_p < -2 else f"{10**log10_p:.2g}"
