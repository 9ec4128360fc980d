"""Where a code goes: the region of all kernel maps that is the most like it (NeurIPS'21, Algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.qr import Bits

_TILE = 128  # side of a tile that keeps its transform in the cache
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


@dataclass(frozen=True)
class PlacedCode:
    """A message as a code at its place in a model.

    Attributes:
        version, level, data_mask: of the QR code.
        placement: of its first module.
        shape: of the layer.
        eci: whether the code has the header that says UTF-8.
    """

    message: str
    version: int
    level: str
    data_mask: int
    placement: Placement
    shape: tuple[int, ...]
    eci: bool = False

    def code(self) -> qr.QRCode:
        """The code as it should be read; InputError where the message does not fit version and level."""
        return qr.encode(self.message, self.version, self.level, self.eci)[self.data_mask]


def best_placement(maps: Mapping[str, Bits], codes: Sequence[qr.QRCode]) -> tuple[Placement, qr.QRCode]:
    """Returns the placement and the data mask whose data modules agree with the kernel maps most.

    Every position in every map large enough is compared with every code, by correlation with
    fast Fourier transforms: time grows with the size of the maps, not with that of the code.
    Of equals the first wins: first layer, first data mask, first row, first column.

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
        expected = f"one of at least {side}x{side} kernels"
        raise bad_input("", "kernel maps", expected, f"{largest}x{largest} at the largest")
    spots = [(*spot, name, code) for name, m in room.items() for spot, code in _best_spots(m, codes)]
    _, row, column, name, code = max(spots, key=lambda spot: spot[0])
    return Placement(name, row, column), code


def best_code(kernels: Bits, codes: Sequence[qr.QRCode], place: Placement) -> qr.QRCode:
    """The code that agrees with the kernel map most at one place; InputError where it is not in the map."""
    n, (rows, columns) = qr.side(codes[0].version), kernels.shape
    if not (0 <= place.row <= rows - n and 0 <= place.column <= columns - n):
        found = f"row {place.row}, column {place.column}"
        raise bad_input(place.layer, "place", f"room for {n}x{n} of its {rows}x{columns} kernels", found)
    region = place.cut(kernels, n)
    return max(codes, key=lambda code: int(np.count_nonzero((region == code.light) & code.data)))


def count_placements(shapes: Sequence[tuple[int, int]], side: int) -> int:
    """How many positions a code of this side has in kernel maps of these shapes."""
    return sum(max(0, rows - side + 1) * max(0, columns - side + 1) for rows, columns in shapes)


def _best_spots(kernels: Bits, codes: Sequence[qr.QRCode]) -> list[tuple[tuple[int, int, int], qr.QRCode]]:
    """For each code the (agreeing data modules, row, column) of its best place in one map.

    Correlation by overlap and save: the map is cut into tiles that overlap by one code, and every
    tile is transformed once for all codes.
    """
    side = codes[0].light.shape[0]
    tile = [scipy.fft.next_fast_len(min(n, max(_TILE, 4 * side)), real=True) for n in kernels.shape]
    step = [n - side + 1 for n in tile]
    places = [n - side + 1 for n in kernels.shape]
    wanted = np.stack([np.where(code.light, np.float32(1), np.float32(-1)) * code.data for code in codes])
    spectra = scipy.fft.rfft2(wanted, s=tile).conj()
    best = [(-math.inf, 0, 0)] * len(codes)
    for top in range(0, places[0], step[0]):
        tiles = scipy.fft.rfft2(_tiles(kernels[top : top + tile[0]], tile, step[1], places[1]))
        rows = min(step[0], places[0] - top)
        for index, spectrum in enumerate(spectra):
            strip = scipy.fft.irfft2(tiles * spectrum, s=tile)[:, :rows, : step[1]]
            # [tiles, rows, step] side by side -> [rows, places]: agreements minus disagreements.
            strip = strip.transpose(1, 0, 2).reshape(rows, -1)[:, : places[1]].round()
            spot = int(strip.argmax())
            if strip.flat[spot] > best[index][0]:
                best[index] = float(strip.flat[spot]), top + spot // places[1], spot % places[1]
    return [
        ((int(excess + code.data.sum()) // 2, row, column), code)
        for (excess, row, column), code in zip(best, codes, strict=True)
    ]


def _tiles(strip: Bits, tile: Sequence[int], step: int, places: int) -> NDArray[np.float32]:
    """Cuts a strip of a map into overlapping tiles [n, *tile]: +1 kept, -1 pruned, 0 beyond the edge."""
    count = -(-places // step)
    padded = np.zeros((tile[0], (count - 1) * step + tile[1]), dtype=np.float32)
    padded[: strip.shape[0], : strip.shape[1]] = np.where(strip, 1, -1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, tile[1], axis=1)[:, ::step]
    return np.ascontiguousarray(windows.transpose(1, 0, 2))
