"""How a QR code is read, written once more from the standard."""

from __future__ import annotations

import numpy as np


def reading_order(data: np.ndarray) -> np.ndarray:
    """Flat indices of a QR code's data modules in the order of their bits (ISO/IEC 18004, 7.7.3)."""
    n, order, upwards = len(data), [], True
    for right in [*range(n - 1, 6, -2), 5, 3, 1]:
        for row in range(n - 1, -1, -1) if upwards else range(n):
            order += [row * n + column for column in (right, right - 1) if data[row, column]]
        upwards = not upwards
    return np.array(order)
