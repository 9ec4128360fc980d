"""Scheme 2: a QR code in a kernel map (NeurIPS'21, section 3.4, Algorithm 2).

White module = kept kernel, dark module = pruned. Only the data modules are written: the finders and
the other function patterns would be seen at a glance, and the reader knows them anyway. The number
of kept weights stays what it was.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ticket_sig.claim import Claim, entry
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.select import lowest
from ticket_sig.signatures import qr
from ticket_sig.signatures.balance import add_weights, appeal, remove_weights
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.signatures.placement import Placement, best_code, best_placement
from ticket_sig.signatures.qr import Bits
from ticket_sig.ticket import Round, Ticket, put_back, retie

SCHEME = "scheme 2: QR code in a kernel map"


@dataclass(frozen=True)
class Signature:
    """A message as it stands in a model: the code's parameters and its place.

    Attributes:
        message: the text.
        version, level, data_mask: of the QR code.
        placement: layer, row (out channel) and column (in channel) of its first module.
        shape: of the layer.
    """

    message: str
    version: int
    level: str
    data_mask: int
    placement: Placement
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The signature's fields of claim.json."""
        return {
            "message": self.message,
            "qr": {
                "version": self.version,
                "level": self.level,
                "data_mask": self.data_mask,
                "digest": _digest(self.code()),
            },
            "placement": {**vars(self.placement), "shape": list(self.shape)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Signature:
        """Reads the signature's fields of claim.json.

        Raises:
            InputError: a field is missing, of another type or out of range.
        """
        code, place = entry(value, "qr", dict), entry(value, "placement", dict)
        shape = entry(place, "shape", list)
        if len(shape) < 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise bad_input("claim", "shape", "two or more positive whole numbers", repr(shape))
        data_mask = entry(code, "data_mask", int)
        if data_mask not in qr.DATA_MASKS:
            raise bad_input("claim", "data_mask", "0 to 7", str(data_mask))
        placement = Placement(
            entry(place, "layer", str), entry(place, "row", int), entry(place, "column", int)
        )
        signature = cls(
            entry(value, "message", str),
            entry(code, "version", int),
            entry(code, "level", str),
            data_mask,
            placement,
            tuple(shape),
        )
        # Refuses a version, level or message that cannot be, and a qrcode package that writes it otherwise.
        if (found := _digest(signature.code())) != (expected := entry(code, "digest", str)):
            raise bad_input("claim", "digest of the code", expected, found)
        return signature

    def code(self) -> qr.QRCode:
        """The code as it should be read.

        Raises:
            InputError: the message does not fit the version and level.
        """
        return qr.encode(self.message, self.version, self.level)[self.data_mask]


@dataclass(frozen=True)
class Embedded:
    """A signed ticket with its claim, and how many weights came back (as many others went)."""

    ticket: Ticket
    claim: Claim
    signature: Signature
    changed: int

    @property
    def kernel_density(self) -> tuple[float, float]:
        """Share of the kernels that are kept (in the region of the code, in the rest of its layer).

        Where the two differ much, the eye finds the place.
        """
        place, side = self.signature.placement, qr.side(self.signature.version)
        kernels = self.ticket.mask.kernel_map(place.layer).numpy()
        region = place.cut(kernels, side)
        rest = (int(kernels.sum()) - int(region.sum())) / max(1, kernels.size - region.size)
        return float(region.mean()), rest


def embed(
    ticket: Ticket,
    message: str,
    *,
    version: int | None = None,
    level: str = "H",
    layer: str | None = None,
    place: Placement | None = None,
    key: bytes | None = None,
) -> Embedded:
    """Writes a message into the mask of a ticket as a QR code.

    Args:
        ticket: sparse; its number of kept weights will not change.
        message: any text that fits.
        version: side of the code (17 + 4 * version kernels); the smallest that fits by default.
        level: error correction, "L", "M", "Q" or "H" (7, 15, 25, 30 % of the symbols).
        layer: take this layer, not the most similar of all.
        place: take this very place; `layer` then has nothing to say.
        key: decides all that must look like chance (positions and values of weights that come back,
            where no rewind weights are known); from the system's randomness by default.

    Returns:
        The signed ticket, where weights that came back hold their rewind value (or, where none is
        known, a small one of the layer's own magnitudes), and where the code stands.

    Raises:
        InputError: the message fits no layer, the layer or place is not there, or the model is too dense
            to put back as many weights as the code removes.
    """
    names = _layers(ticket.mask, place.layer if place else layer)
    maps = {name: ticket.mask.kernel_map(name).numpy() for name in names}
    version = _smallest_version(message, level, maps) if version is None else version
    codes = qr.encode(message, version, level)
    placement, code = (
        (place, best_code(maps[place.layer], codes, place)) if place else best_placement(maps, codes)
    )
    key = secrets.token_bytes(32) if key is None else key
    mask = _write(ticket, placement, code, key)
    # In a signed model kept means not zero, so that the bare weights tell the mask.
    back = {name: zero for name, kept in mask.items() if (zero := kept & (ticket.weights[name] == 0)).any()}
    values = {name: _values(ticket, name, zero, key) for name, zero in back.items()}
    signed = Ticket(
        weights=retie(ticket.weights, mask.apply(put_back(ticket.weights, back, values))),
        mask=mask,
        rewind=ticket.rewind and _put_where_zero(ticket.rewind, back, values),
        recipe=ticket.recipe,
        history=(*ticket.history, Round(step="sign", kept=mask.kept, total=mask.total)),
    )
    shape = tuple(mask[placement.layer].shape)
    signature = Signature(message, version, level, code.data_mask, placement, shape)
    claim = Claim(scheme=SCHEME, signature=signature.to_json(), subject=tensor_digest(signed.weights))
    return Embedded(signed, claim, signature, sum(int((mask[n] & ~ticket.mask[n]).sum()) for n in mask))


def read(weights: Tensor, signature: Signature) -> Bits:
    """Reads the modules at the signature's place: boolean [side, side], True = light = kept kernel.

    A kernel is kept if one of its weights is not zero. Where more data modules would be light than
    the code has, as after weights were added at pruned places, only as many are, the strongest: a
    number added to every pruned weight hides nothing as long as it is smaller than the weights.

    Args:
        weights: of the layer, [out, in, ...].

    Raises:
        InputError: the place does not lie within the layer.
    """
    n, place = qr.side(signature.version), signature.placement
    rows, columns = weights.shape[:2]
    if not (0 <= place.row <= rows - n and 0 <= place.column <= columns - n):
        found = f"rows {place.row}..{place.row + n - 1}, columns {place.column}..{place.column + n - 1}"
        raise bad_input(place.layer, "placement", f"a region of its {rows}x{columns} kernels", found)
    region = weights[place.row : place.row + n, place.column : place.column + n]
    strength = region.reshape(n, n, -1).abs().amax(-1).double().numpy()
    light: Bits = strength > 0
    code = signature.code()
    surplus = int(np.count_nonzero(light & code.data) - np.count_nonzero(code.light & code.data))
    if surplus > 0:
        where = (light & code.data).nonzero()
        weakest = lowest(torch.from_numpy(strength[where]), surplus).numpy()
        light[where[0][weakest], where[1][weakest]] = False
    return light


def _digest(code: qr.QRCode) -> str:
    return f"sha256:{hashlib.sha256(np.packbits(code.light).tobytes()).hexdigest()}"


def _smallest_version(message: str, level: str, maps: Mapping[str, Bits]) -> int:
    room = max((min(kernels.shape) for kernels in maps.values()), default=0)
    largest = qr.largest_version(room)
    if not largest:
        hint = "the model is too small for any QR code"
        expected = "one of at least 21x21 kernels"
        raise bad_input("", "kernel maps", expected, f"{room}x{room} at the largest", hint=hint)
    return qr.smallest_version(message, level, largest)


def _layers(mask: Mask, layer: str | None) -> list[str]:
    if layer is None:
        return list(mask)
    if layer not in mask:
        raise bad_input("", "layer", f"one of the mask's ({', '.join(mask)})", layer)
    return [layer]


def _write(ticket: Ticket, place: Placement, code: qr.QRCode, key: bytes) -> Mask:
    """Returns the mask with the code in it and as many kept weights as before."""
    # Every layer as [out, in, kernel size]; a linear layer's kernels have one weight.
    kept = {name: t.reshape(*t.shape[:2], -1).clone().numpy() for name, t in ticket.mask.items()}
    side = code.light.shape[0]
    region, wanted = place.cut(kept[place.layer], side), place.cut(appeal(ticket, place.layer, key), side)
    before = np.count_nonzero(region)
    region[code.data & ~code.light] = False
    rows, columns = (code.data & code.light & ~region.any(-1)).nonzero()
    region[rows, columns, wanted[rows, columns].argmax(-1)] = True
    surplus = int(np.count_nonzero(region) - before)
    if surplus < 0:
        add_weights(-surplus, ticket, kept, place, code, key)
    else:
        remove_weights(surplus, ticket, kept, place, code)
    return Mask({name: torch.from_numpy(k).view(ticket.mask[name].shape) for name, k in kept.items()})


def _values(ticket: Ticket, name: str, back: Tensor, key: bytes) -> Tensor:
    """Values for the kept weights that are zero, in the layer's dtype: not zero, so that they can be read."""
    weights, count = ticket.weights[name], int(back.sum())
    low, high = _small_magnitudes(weights)
    chance = torch.from_numpy(keyed_words(key, f"value {name}", 2 * count) / 2.0**64).view(2, count)
    sizes = low + (high - low) * chance[0]
    values = torch.where(chance[1] < 0.5, sizes, -sizes).to(weights.dtype)
    if ticket.rewind is not None:
        known = ticket.rewind[name][back].to(weights.dtype)
        values = torch.where(known != 0, known, values)
    return values


def _small_magnitudes(weights: Tensor) -> tuple[float, float]:
    """A band of small magnitudes: the first decile and the fourth of the layer's kept weights.

    Small, so that the accuracy is left alone, but not the first to be pruned; and a band, since one
    value for all would point at every weight that came back.
    """
    sizes = weights[weights != 0].abs().double()
    if not len(sizes):
        return 1e-3, 2e-3
    ranks = (1 + len(sizes) // 10, 1 + 4 * len(sizes) // 10)
    low, high = (float(sizes.kthvalue(min(rank, len(sizes))).values) for rank in ranks)
    return low, high


def _put_where_zero(
    tensors: Mapping[str, Tensor], back: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same for rewind weights: those that are known stay bit for bit as they are."""
    put = put_back(tensors, back, values)
    return {name: torch.where(t == 0, put[name], t) if name in back else t for name, t in tensors.items()}
