"""Reading QR codes without a claim: at one place, as the program of NeurIPS'21 does, or wherever one stands.

Only the data modules of a code are in a mask: of finders and format there is nothing to be found, neither in
ours nor in those of the paper's program. So a code is known by its error correction alone. What is found so
has no p-value: whoever looks at all places finds what anybody has put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticket_sig.errors import bad_input
from ticket_sig.marks.mark import Model, as_ticket
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.correctable import correctable
from ticket_sig.marks.qr_code.placement import Placement, count_placements
from ticket_sig.marks.qr_code.qr import Bits
from ticket_sig.marks.qr_code.reading import Strengths, soft_readings, strengths, strongest
from ticket_sig.mask import kernel_map, no_layer
from ticket_sig.options import one_of, within
from ticket_sig.progress import Progress, Silent
from ticket_sig.ticket import Ticket

PROVES_NOTHING = (
    "a message read without a claim proves nothing by itself: anybody can have put it there, and only a "
    "claim that was made before has a p-value"
)
# A code of level H also reads at level Q where both have the same blocks.
_STRONGEST_FIRST = ("H", "Q", "M", "L")
_MOST_WRONG = 1 / 3  # of a code's symbols, if it can be corrected
_AT_ONCE = 2048  # places
_DEVIATIONS = 4  # by which a code may have more light modules than dark ones, or fewer

Places = NDArray[np.intp]  # [places, 3]: number of the layer, row, column


@dataclass(frozen=True, kw_only=True)
class FoundCode:
    """A code that was read without a claim.

    Attributes:
        placement, version, level, data_mask: where and as which code it was read.
        corrected, codewords: codewords put right, of all.
        light: boolean [side, side], the modules as read, function patterns put back.
    """

    message: str
    placement: Placement
    version: int
    level: str
    data_mask: int
    corrected: int
    codewords: int
    light: Bits

    def __str__(self) -> str:
        place = f"{self.placement.layer}, row {self.placement.row}, column {self.placement.column}"
        form = f"version {self.version}, level {self.level}, data mask {self.data_mask}"
        return f"{place}: {form}, {self.corrected} of {self.codewords} symbols corrected"

    def draw(self, path: Path) -> None:
        """Draws the code as it was read, function patterns put back."""
        qr.write_png(self.light, path)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "message": self.message,
            "placement": vars(self.placement),
            "version": self.version,
            "level": self.level,
            "data_mask": self.data_mask,
            "symbols_corrected": self.corrected,
            "symbols": self.codewords,
            "module_map": qr.module_map(self.light),
        }


def read_at(
    model: Model, place: Placement, *, version: int | None = None, level: str | None = None
) -> FoundCode | None:
    """Reads the code that begins at a place, under each data mask; None where none can be read.

    Args:
        place: its layer may be named as a module (`layer2.1.conv1`), or as its weight.
        version, level: of the code; all are tried without. With both, also what error correction alone cannot
            put right is read, by the modules that are the least likely wrong (`soft_readings`).

    Raises:
        InputError: the mask has no such layer, or no room for a code at the place; or there is no such
            version or level.
    """
    ticket, levels = as_ticket(model), _levels(level)
    place = _named(ticket, place)
    weights, versions = ticket.weights[place.layer], _versions(version)
    rows, columns = weights.shape[:2]
    room = min(rows - place.row, columns - place.column) if min(place.row, place.column) >= 0 else 0
    fitting = [one for one in versions if qr.side(one) <= room]
    if not fitting:
        n, found = qr.side(versions[0]), f"row {place.row}, column {place.column}"
        raise bad_input(place.layer, "place", f"room for {n}x{n} of its {rows}x{columns} kernels", found)
    strength = strengths(weights, place, qr.side(fitting[-1]))
    for one in fitting:
        here = Placement(place.layer, 0, 0).cut(strength, qr.side(one))
        for each in levels:
            for data_mask in qr.DATA_MASKS:
                if code := _read(here > 0, place, one, each, data_mask):
                    return code
    return _softly(strength, place, fitting[0], levels[0]) if version and level else None


def search(
    model: Model,
    *,
    version: int | None = None,
    level: str | None = None,
    progress: Progress | None = None,
) -> list[FoundCode]:
    """Reads every code at every place of every layer of the mask, under each data mask.

    Time grows with the number of places, and so with the size of the layers. Places with far more light than
    dark modules, or far fewer, are passed over: no code stands there.

    Args:
        version, level: only such codes.

    Raises:
        InputError: no layer is large enough for a code; or no such version or level.
    """
    levels, maps = _levels(level), _Maps(as_ticket(model))
    versions = [one for one in _versions(version) if maps.places(one)]
    if not versions:
        n, largest = qr.side(version or 1), max((min(one.shape) for one in maps.kernels), default=0)
        raise bad_input("", "kernel maps", f"one of at least {n}x{n} kernels", f"{largest}x{largest} at most")
    found, done, progress = list[FoundCode](), 0, progress or Silent()
    progress.begin("search", sum(map(maps.places, versions)))
    for one in versions:
        places, every = maps.balanced(one), maps.places(one)
        for start in range(0, len(places), _AT_ONCE):
            progress.advance(done + every * start // len(places), f"version {one}")
            found += _found(maps, places[start : start + _AT_ONCE], one, levels)
        done += every
        progress.advance(done, f"version {one}")
    return found


class _Maps:
    """The kernel maps of a ticket, one after the other, so that one step reads places of several layers."""

    def __init__(self, ticket: Ticket) -> None:
        self.names = list(ticket.mask)
        self.kernels = [kernel_map(ticket.weights[name]).numpy() for name in self.names]
        self._flat = np.concatenate([one.reshape(-1) for one in self.kernels] or [np.zeros(0, dtype=bool)])
        self._widths = np.array([one.shape[1] for one in self.kernels], dtype=np.intp)
        self._starts = np.cumsum([0, *(one.size for one in self.kernels)])

    def places(self, version: int) -> int:
        """How many there are for a code of this version."""
        shapes = [(one.shape[0], one.shape[1]) for one in self.kernels]
        return count_placements(shapes, qr.side(version))

    def balanced(self, version: int) -> Places:
        """The places at which about half of the data modules may be light.

        What stands under the function patterns is anybody's guess.
        """
        side, data = qr.side(version), int(qr.function_patterns(version, "L", 0)[1].sum())
        least, most = _bounds(data, _MOST_WRONG)
        found = []
        for layer, kernels in enumerate(self.kernels):
            if min(kernels.shape) >= side:
                sums = np.pad(kernels.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0)))
                below, above = sums[side:], sums[:-side]
                light = below[:, side:] - above[:, side:] - below[:, :-side] + above[:, :-side]
                places = np.argwhere((light >= least) & (light <= most + side**2 - data))
                found.append(np.insert(places, 0, layer, axis=1))
        return np.concatenate(found)

    def light(self, places: Places, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Bits:
        """The modules in these rows and columns of each place: boolean [modules, places]."""
        layers, tops, lefts = places.T
        widths = self._widths[layers]
        firsts = self._starts[layers] + tops * widths + lefts
        found: Bits = self._flat[firsts + rows[:, None] * widths + columns[:, None]]
        return found


def _bounds(modules: int, wrong: float) -> tuple[float, float]:
    """How many of a code's modules are light, at least and at most, if a share of its symbols is wrong."""
    spread = modules * wrong / 2 + _DEVIATIONS * modules**0.5 / 2
    return modules / 2 - spread, modules / 2 + spread


def _found(maps: _Maps, places: Places, version: int, levels: Sequence[str]) -> Iterator[FoundCode]:
    """The codes of one version at some places; each place is read once, at the strongest level."""
    known: set[tuple[int, ...]] = set()
    for level in levels:
        for spot, data_mask in _correctable(maps, places, version, level):
            layer, row, column = spot
            place = Placement(maps.names[layer], row, column)
            light = place.cut(maps.kernels[layer], qr.side(version))
            if spot not in known and (code := _read(light, place, version, level, data_mask)):
                known.add(spot)
                yield code


def _correctable(
    maps: _Maps, places: Places, version: int, level: str
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Places and data masks under which the first block of a code can be corrected."""
    rows, columns, flips, data = qr.first_block(version, level)
    light, symbols = maps.light(places, rows, columns), len(rows) // 8
    least, most = _bounds(len(rows), (symbols - data) // 2 / symbols)
    count = light.sum(0)
    kept = ((count >= least) & (count <= most)).nonzero()[0]
    if len(kept):
        for data_mask, index in np.argwhere(correctable(~light[:, kept], flips, data)):
            yield tuple(places[kept[index]].tolist()), int(data_mask)


def _softly(strength: Strengths, place: Placement, version: int, level: str) -> FoundCode | None:
    """What the modules speak for that are the least likely wrong, if half of the code's are light."""
    data = qr.function_patterns(version, level, 0)[1]
    half = int(np.count_nonzero(data)) // 2
    for light, trust in soft_readings(strength, strongest(strength, data, half), data, half):
        for data_mask in qr.DATA_MASKS:
            if code := _read(light, place, version, level, data_mask, trust):
                return code
    return None


def _read(
    light: Bits,
    place: Placement,
    version: int,
    level: str,
    data_mask: int,
    trust: Strengths | None = None,
) -> FoundCode | None:
    """A code, where one can be read that says something."""
    with suppress(qr.QRDecodeError):
        if (decoded := qr.decode(light, version, level, data_mask, trust)).message:
            return FoundCode(
                message=decoded.message,
                placement=place,
                version=version,
                level=level,
                data_mask=data_mask,
                corrected=decoded.corrected,
                codewords=decoded.symbols,
                light=qr.with_function_patterns(light, version, level, data_mask),
            )
    return None


def _named(ticket: Ticket, place: Placement) -> Placement:
    """The place in the layer that is meant by its own name, or by its module's."""
    for name in (place.layer, f"{place.layer}.weight"):
        if name in ticket.mask:
            return replace(place, layer=name)
    raise no_layer(ticket.mask, place.layer)


def _versions(version: int | None) -> Sequence[int]:
    if version is None:
        return qr.VERSIONS
    within(1, 40)("version", version)
    return [version]


def _levels(level: str | None) -> Sequence[str]:
    if level is None:
        return _STRONGEST_FIRST
    one_of(qr.LEVELS)("level", level)
    return [level]
