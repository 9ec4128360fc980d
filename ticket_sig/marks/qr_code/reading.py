"""Reading a QR code off a model, and what the reading proves (NeurIPS'21, section 3.4).

The verdict rests on the data modules alone. The finders and all else that the reader puts back is
no evidence; nor is it needed that the code still decodes: the claim says what it should read, and
the p-value says how surprising it is that it nearly does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input, not_there
from ticket_sig.formats.names import found_elsewhere, json_of, names_in, rows_of
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import PlacedCode, Placement, count_placements
from ticket_sig.marks.qr_code.qr import Bits
from ticket_sig.mask import described
from ticket_sig.select import lowest
from ticket_sig.statistics import corrected, format_p, log10_p_agreement
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows, Symbols, Verdict

Strengths = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CodeReading:
    """What stands at a claim's place in a model.

    Attributes:
        claimed: the claimed message.
        message: what the code reads, None where it cannot be read.
        corrected, codewords: codewords put right, of all; None where it cannot be read.
        matches, modules: data modules that agree with the claimed code, of all data modules.
        log10_p_here: chance of that agreement for one code at one place (Fisher's exact test).
        log10_places: places, versions, levels and data masks a claimant could have chosen from.
        log10_messages: messages of this length a claimant could have chosen from.
        light: boolean [side, side], the modules as read, function patterns put back.
        wrong: boolean [side, side], data modules that differ from the claimed code.
        data: boolean [side, side], which modules are data modules.
        kept, total: weights of the model.
        found_as: the layer's name in the model, where it is another than the claimed one.
    """

    claimed: str
    message: str | None
    corrected: int | None
    codewords: int | None
    matches: int
    modules: int
    log10_p_here: float
    log10_places: float
    log10_messages: float
    light: Bits
    wrong: Bits
    data: Bits
    kept: int
    total: int
    found_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def agreement(self) -> float:
        """Share of the claimed payload that is found, 0 to 1."""
        return self.matches / self.modules

    @property
    def log10_p(self) -> float:
        """Corrected for every place and message that could have been tried."""
        return corrected(self.log10_p_here, self.log10_places, self.log10_messages)

    @property
    def symbols(self) -> Symbols:
        """The data modules as bits, 1 = light, row by row.

        Not the bits of the message: those are there or not, as the decoder succeeds, while modules can be
        read in every network, also where too many are wrong to be decoded.
        """
        claimed, read = (self.light ^ self.wrong)[self.data], self.light[self.data]
        return Symbols(tuple(claimed.astype(int).tolist()), tuple(read.astype(int).tolist()))

    def rows(self) -> Rows:
        """What it rests on, for people."""
        return [
            ("  for one code at one place", format_p(self.log10_p_here)),
            ("  places to choose from", f"10^{self.log10_places:.1f}"),
            ("  messages to choose from", f"10^{self.log10_messages:.1f}"),
            ("claimed message", self.claimed),
            ("message read", "cannot be read" if self.message is None else self.message),
            *([("symbols corrected", f"{self.corrected} of {self.codewords}")] if self.codewords else []),
            ("weights kept", f"{self.kept} of {self.total}"),
            *rows_of(self.found_as),
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "claimed_message": self.claimed,
            "message": self.message,
            "message_equal": self.message == self.claimed,
            "symbols_corrected": self.corrected,
            "symbols": self.codewords,
            "agreement": round(self.agreement, 6),
            "matches": self.matches,
            "data_modules": self.modules,
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "log10_places_tried": round(self.log10_places, 3),
            "log10_messages_tried": round(self.log10_messages, 3),
            "module_map": self.module_map,
            "kept": self.kept,
            "total": self.total,
            **json_of(self.found_as),
        }

    @property
    def module_map(self) -> list[str]:
        """The modules as rows of 1 (light, kept) and 0 (dark, pruned)."""
        return qr.module_map(self.light)

    def verdict(self) -> Verdict:
        """Verified by the p-value alone."""
        return Verdict(
            mark="qr-code",
            reading=self,
            statistic=f"{self.matches} of {self.modules} data modules agree with the claimed code",
            proves="this mask was made to carry the claimed message; no unrelated network does, "
            "whatever message and place the claimant chose",
            does_not_prove="who wrote it, or when: compare with a record of the claim from before the "
            "dispute",
        )


def read_code(ticket: Ticket, mark: PlacedCode) -> CodeReading:
    """Reads a code at its place: in the layer of its name, or else in the one of its shape that fits best.

    All layers are among the places that the p-value counts, so that another one costs nothing more.

    Raises:
        NotThere: the model has no layer of that shape.
        InputError: several tensors could be the claimed one by their names.
    """
    layer, code = mark.placement.layer, mark.code()
    names = _candidates(ticket, mark)
    fits = {name: _log10_p_here(_strengths(ticket.weights[name], mark), code) for name in names}
    name = min(names, key=lambda one: fits[one])
    found, strength = {layer: name}, _strengths(ticket.weights[name], mark)
    light = _as_light(strength, code)
    parameters = mark.version, mark.level, mark.data_mask
    decoded = _decoded(strength, light, code)
    data = code.data
    wrong = data & (light != code.light)
    return CodeReading(
        claimed=mark.message,
        message=decoded.message if decoded else None,
        corrected=decoded.corrected if decoded else None,
        codewords=decoded.symbols if decoded else None,
        matches=int(data.sum() - wrong.sum()),
        modules=int(data.sum()),
        log10_p_here=fits[name],
        log10_places=_log10_places(ticket),
        log10_messages=_log10_messages(code),
        light=qr.with_function_patterns(light, *parameters),
        wrong=wrong,
        data=data,
        kept=ticket.mask.kept,
        total=ticket.mask.total,
        found_as=found_elsewhere(found),
    )


def _candidates(ticket: Ticket, mark: PlacedCode) -> list[str]:
    """The one layer that has the claimed name, or else all of the claimed shape."""
    layer, weights = mark.placement.layer, ticket.weights
    found = names_in({layer: mark.shape}, {name: w.shape for name, w in weights.items()}).get(layer, layer)
    named = weights.get(found)
    if named is not None and tuple(named.shape) == mark.shape:
        if not named.is_floating_point():
            raise bad_input("", layer, "weights", f"a tensor of {described(named)}")
        return [found]
    alike = [n for n, w in weights.items() if tuple(w.shape) == mark.shape and w.is_floating_point()]
    if alike:
        return alike
    if named is None:
        raise not_there("model", "layer", f"the claim's {layer}", "none of that name or shape")
    raise not_there("model", layer, f"the claim's shape {list(mark.shape)}", str(list(named.shape)))


def _log10_p_here(strength: Strengths, code: qr.QRCode) -> float:
    return log10_p_agreement(code.light[code.data], _as_light(strength, code)[code.data])


def modules(weights: Tensor, mark: PlacedCode) -> Bits:
    """The modules at the mark's place: boolean [side, side], True = light = kept kernel.

    A kernel is kept if one of its weights is not zero. Where more data modules would be light than
    the code has, as after weights were added at pruned places, only as many are, the strongest: a
    number added to every pruned weight hides nothing as long as it is smaller than the weights.

    Args:
        weights: of the layer, [out, in, ...].

    Raises:
        InputError: the place does not lie within the layer.
    """
    return _as_light(_strengths(weights, mark), mark.code())


def _strengths(weights: Tensor, mark: PlacedCode) -> Strengths:
    """The largest magnitude of each kernel at the mark's place, [side, side]."""
    n, place = qr.side(mark.version), mark.placement
    place.check(n, weights.shape, "model")
    return strengths(weights, place, n)


def strengths(weights: Tensor, place: Placement, side: int) -> Strengths:
    """The largest magnitude of each kernel in a region of a layer, [side, side]."""
    region = weights[place.row : place.row + side, place.column : place.column + side]
    largest: Strengths = region.reshape(side, side, -1).double().abs().amax(-1).numpy()
    return largest


def _as_light(strength: Strengths, code: qr.QRCode) -> Bits:
    """Which kernels count as light where this code is claimed."""
    return strongest(strength, code.data, _light(code))


def _light(code: qr.QRCode) -> int:
    """How many of its data modules are light."""
    return int(np.count_nonzero(code.light & code.data))


def strongest(strength: Strengths, data: Bits, most: int) -> Bits:
    """Which kernels count as light: those that are kept, of data modules at most so many."""
    light: Bits = strength > 0
    surplus = int(np.count_nonzero(light & data)) - most
    if surplus > 0:
        where = (light & data).nonzero()
        weakest = lowest(torch.from_numpy(strength[where]), surplus).numpy()
        light[where[0][weakest], where[1][weakest]] = False
    return light


def _decoded(strength: Strengths, light: Bits, code: qr.QRCode) -> qr.Decoded | None:
    """What the code reads: as the standard says, or else by the modules that are the least likely wrong."""
    soft = soft_readings(strength, light, code.data, _light(code))
    for read, trust in chain([(light, None)], soft):
        with suppress(qr.QRDecodeError):
            return qr.decode(read, code.version, code.level, code.data_mask, trust)
    return None


def soft_readings(
    strength: Strengths, light: Bits, data: Bits, expected: int
) -> Iterator[tuple[Bits, Strengths]]:
    """The modules, and how much it takes to believe that each is wrong, after what may have happened.

    Pruning only darkens: all dark modules are doubted alike, and before any that is light. Adding weights
    only lights: what is dark still is trusted, and of the others the strongest. After both, the strongest
    are taken, and those nearest to the boundary are doubted most.

    Args:
        expected: how many data modules of the code are light.
    """
    most = np.count_nonzero(data)
    rank = np.zeros_like(strength)
    _, of, counts = np.unique(strength[data], return_inverse=True, return_counts=True)
    rank[data] = (counts.cumsum() - (counts - 1) / 2)[of]  # of the weakest 1; equals have their mean
    if np.count_nonzero(strength[data]) <= expected:
        yield light, np.where(light, most + rank, 1)
        return
    yield strength > 0, np.where(strength > 0, rank, 2 * most)
    yield light, np.abs(rank - (most - expected + 0.5))


def _log10_places(ticket: Ticket) -> float:
    """Every place for every code in this model; counted here, since a claimant may understate it."""
    shapes = [
        (w.shape[0], w.shape[1])
        for name, w in ticket.weights.items()
        if name in ticket.mask or (w.ndim >= 2 and w.is_floating_point())
    ]
    places = sum(count_placements(shapes, qr.side(version)) for version in qr.VERSIONS)
    return math.log10(max(1, places) * len(qr.LEVELS) * len(qr.DATA_MASKS))


def _log10_messages(code: qr.QRCode) -> float:
    """Every message that takes at most as many bits, for every number of bits a claimant could have taken."""
    return (code.payload_bits + 1) * math.log10(2) + math.log10(qr.MOST_BITS)
