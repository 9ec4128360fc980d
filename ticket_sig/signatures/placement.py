"""Where a code goes: the region of all kernel maps that is the most like it (NeurIPS'21, Algorithm 2)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.signatures import qr

Bits = NDArray[np.bool_]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Placement:
    """Where a code stands: rows are out channels, columns in channels of one layer's kernel map."""

    layer: str
    row: int
    column: int

    def cut(self, kernels: NDArray[_Scalar], side: int) -> NDArray[_Scalar]:
        """The region [side, side, ...] of a kernel map, as a view."""
        return kernels[self.row : self.row + side, self.column : self.column + side]


def best_placement(maps: Mapping[str, Bits], codes: Sequence[qr.QRCode]) -> tuple[Placement, qr.QRCode]:
    """Returns the placement and the data mask whose data modules agree with the kernel maps most.

    Every position in every map large enough is compared with every code, by correlation with
    fast Fourier transforms: time grows with the size of the maps, not with that of the code.
    The first of equals wins.

    Args:
        maps: boolean [out, in] by layer name.
        codes: one message under several data masks, all of one version.

    Raises:
        InputError: no map is as large as the code.
    """
    side = qr.side(codes[0].version)
    room = {name: kernels for name, kernels in maps.items() if min(kernels.shape) >= side}
    if not room:
        largest = max((min(kernels.shape) for kernels in maps.values()), default=0)
        raise _no_room(codes[0], largest)
    best: tuple[int, Placement, qr.QRCode] | None = None
    for name, kernels in room.items():
        for code, agreements in zip(codes, _agreements(kernels, codes), strict=True):
            index = int(agreements.argmax())
            value = round(float(agreements.flat[index]))
            if best is None or value > best[0]:
                row, column = np.unravel_index(index, agreements.shape)
                best = value, Placement(name, int(row), int(column)), code
    assert best is not None
    return best[1], best[2]


def count_placements(shapes: Sequence[tuple[int, int]], side: int) -> int:
    """How many positions a code of this side has in kernel maps of these shapes."""
    return sum(max(0, rows - side + 1) * max(0, columns - side + 1) for rows, columns in shapes)


def _agreements(kernels: Bits, codes: Sequence[qr.QRCode]) -> Iterator[NDArray[np.float32]]:
    """For each code the number of agreeing data modules at every position, as floats within 0.1 of it."""
    shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in kernels.shape)
    side = codes[0].light.shape[0]
    valid = tuple(slice(0, n - side + 1) for n in kernels.shape)
    with scipy.fft.set_workers(os.cpu_count() or 1):
        # +1 kept, -1 pruned keeps the sums small, so that float32 is exact enough for any version.
        signs = np.where(kernels, np.float32(1), np.float32(-1))
        spectrum = scipy.fft.rfft2(signs, s=shape)
        for code in codes:
            wanted = np.where(code.light, np.float32(1), np.float32(-1)) * code.data
            product = spectrum * scipy.fft.rfft2(wanted, s=shape).conj()
            correlation = scipy.fft.irfft2(product, s=shape, overwrite_x=True)[valid]
            yield (correlation + code.data.sum(dtype=np.float32)) / 2


def _no_room(code: qr.QRCode, largest: int) -> Exception:
    version = qr.largest_version(largest)
    side = qr.side(code.version)
    if not version:
        return bad_input(
            "",
            "kernel maps",
            "one of at least 21x21 kernels",
            f"{largest}x{largest} at the largest",
            hint="the model is too small for any QR code",
        )
    fits = qr.capacity(version, code.level)
    return bad_input(
        "",
        "message",
        f"at most {fits} bytes at level {code.level} (version {version} fits the largest layer)",
        f"a code of {side}x{side} modules (version {code.version})",
        hint="shorten the message or choose a lower level",
    )
