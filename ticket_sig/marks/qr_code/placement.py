"""Where a code goes: the region of all kernel maps where it is worth most.

The paper takes the most similar region (NeurIPS'21, Algorithm 2: `most_similar`); a mark takes the one where
most of the code outlives pruning (`survival.worths`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.qr import Bits

_TILE = 128  # side of a tile that keeps its transform in the cache
_LOOKED_AT = 1 << 22  # places of one map, about: the best of many millions is hardly better
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Placement:
    """Where a code stands: rows are out channels, columns in channels of one layer's kernel map."""

    layer: str
    row: int
    column: int

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Reads `LAYER:ROW:COLUMN`; InputError where it is none."""
        layer, *numbers = text.rsplit(":", 2)
        if not (layer and len(numbers) == 2 and all(one.isascii() and one.isdigit() for one in numbers)):
            raise bad_input("", "place", "LAYER:ROW:COLUMN, such as layer2.1.conv1:2:3", repr(text))
        return cls(layer, *map(int, numbers))

    def check(self, side: int, shape: Sequence[int], where: object) -> None:
        """Checks that a code of a side lies within a layer of a shape.

        Raises:
            InputError: a part of it lies outside.
        """
        rows, columns = shape[:2]
        if not (0 <= self.row <= rows - side and 0 <= self.column <= columns - side):
            found = f"rows {self.row}..{self.row + side - 1}, columns {self.column}..{self.column + side - 1}"
            expected = f"a region of the {rows}x{columns} kernels of {self.layer}"
            raise bad_input(where, "placement", expected, found)

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


@dataclass(frozen=True)
class Worth:
    """What a module is worth at each kernel of a layer, in small whole numbers.

    Attributes:
        shape: of the kernel map: out channels, in channels.
        rows: what a light and what a dark module is worth, uint8 [rows, in] each, for a slice of rows.
    """

    shape: tuple[int, int]
    rows: Callable[[slice], tuple[NDArray[np.uint8], NDArray[np.uint8]]]

    @classmethod
    def of_similarity(cls, kernels: Bits) -> Worth:
        """1 where a module agrees with the kernel map, 0 elsewhere."""
        rows, columns = kernels.shape
        return cls(
            (rows, columns), lambda some: (kernels[some].view(np.uint8), (~kernels[some]).view(np.uint8))
        )


def most_similar(maps: Mapping[str, Bits], codes: Sequence[qr.QRCode]) -> tuple[Placement, qr.QRCode]:
    """The placement and the data mask whose data modules agree with kernel maps most (`best_placement`)."""
    return best_placement({name: Worth.of_similarity(kernels) for name, kernels in maps.items()}, codes)


def best_placement(worths: Mapping[str, Worth], codes: Sequence[qr.QRCode]) -> tuple[Placement, qr.QRCode]:
    """Returns the placement and the data mask whose data modules are worth most.

    Every position in every map is compared with every code, by correlation with fast Fourier transforms:
    time grows with the size of the maps, not with that of the code. Of a map of many million positions only
    evenly spaced strips are looked at. Of equals the first wins: first layer, first data mask, first row,
    first column.

    Args:
        worths: by layer name.
        codes: one message under several data masks, all of one version.

    Raises:
        InputError: no map is as large as the code.
    """
    side = qr.side(codes[0].version)
    room = {name: worth for name, worth in worths.items() if min(worth.shape) >= side}
    if not room:
        largest = max((min(worth.shape) for worth in worths.values()), default=0)
        expected = f"one of at least {side}x{side} kernels"
        raise bad_input("", "kernel maps", expected, f"{largest}x{largest} at the largest")
    spots = [(*spot, name, code) for name, worth in room.items() for spot, code in _best_spots(worth, codes)]
    _, row, column, name, code = max(spots, key=lambda spot: spot[0])
    return Placement(name, row, column), code


def best_code(worth: Worth, codes: Sequence[qr.QRCode], place: Placement) -> qr.QRCode:
    """The code whose data modules are worth most at one place; InputError where it is not in the map."""
    n, (rows, columns) = qr.side(codes[0].version), worth.shape
    if not (0 <= place.row <= rows - n and 0 <= place.column <= columns - n):
        found = f"row {place.row}, column {place.column}"
        raise bad_input(place.layer, "place", f"room for {n}x{n} of its {rows}x{columns} kernels", found)
    columns_here = slice(place.column, place.column + n)
    light, dark = (half[:, columns_here].astype(int) for half in worth.rows(slice(place.row, place.row + n)))
    return max(codes, key=lambda code: int(np.where(code.light, light, dark)[code.data].sum()))


def count_placements(shapes: Sequence[tuple[int, int]], side: int) -> int:
    """How many positions a code of this side has in kernel maps of these shapes."""
    return sum(max(0, rows - side + 1) * max(0, columns - side + 1) for rows, columns in shapes)


def _best_spots(worth: Worth, codes: Sequence[qr.QRCode]) -> list[tuple[tuple[int, int, int], qr.QRCode]]:
    """For each code the (twice its worth, row, column) of its best place in one map.

    A sum over data modules of light or dark is one half of sum (light + dark) + sum s (light - dark), with s
    = 1 for light and -1 for dark modules: two correlations by overlap and save. The map is cut into tiles
    that overlap by one code, and every tile is transformed once for all codes.
    """
    side, shape = codes[0].light.shape[0], worth.shape
    tile = [scipy.fft.next_fast_len(min(n, max(_TILE, 4 * side)), real=True) for n in shape]
    step = [n - side + 1 for n in tile]
    places = [n - side + 1 for n in shape]
    every = scipy.fft.rfft2(codes[0].data.astype(np.float32), s=tile).conj()
    signed = np.stack([np.where(code.light, np.float32(1), np.float32(-1)) * code.data for code in codes])
    spectra = scipy.fft.rfft2(signed, s=tile).conj()
    best = [(-math.inf, 0, 0)] * len(codes)
    for top in range(0, places[0], step[0] * max(1, places[0] * places[1] // _LOOKED_AT)):
        strips = worth.rows(slice(top, top + tile[0]))
        light, dark = (scipy.fft.rfft2(_tiles(strip, tile, step[1], places[1])) for strip in strips)
        difference, both = light - dark, (light + dark) * every
        rows = min(step[0], places[0] - top)
        for index, spectrum in enumerate(spectra):
            strip = scipy.fft.irfft2(difference * spectrum + both, s=tile)[:, :rows, : step[1]]
            # [tiles, rows, step] side by side -> [rows, places].
            strip = strip.transpose(1, 0, 2).reshape(rows, -1)[:, : places[1]].round()
            spot = int(strip.argmax())
            if strip.flat[spot] > best[index][0]:
                best[index] = float(strip.flat[spot]), top + spot // places[1], spot % places[1]
    return [((int(value), row, column), code) for (value, row, column), code in zip(best, codes, strict=True)]


def _tiles(strip: NDArray[np.uint8], tile: Sequence[int], step: int, places: int) -> NDArray[np.float32]:
    """Cuts a strip of a map into overlapping tiles [n, *tile], 0 beyond the edge."""
    count = -(-places // step)
    padded = np.zeros((tile[0], (count - 1) * step + tile[1]), dtype=np.float32)
    padded[: strip.shape[0], : strip.shape[1]] = strip
    windows = np.lib.stride_tricks.sliding_window_view(padded, tile[1], axis=1)[:, ::step]
    return np.ascontiguousarray(windows.transpose(1, 0, 2))
