"""Scheme 2: a QR code in a kernel map (NeurIPS'21, section 3.4, Algorithm 2).

White module = kept kernel, dark module = pruned. Only the data modules are written: the finders and
the other function patterns would be seen at a glance, and the reader knows them anyway. The number
of kept weights stays what it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.claim import Claim, entry
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.mask import Mask, kernel_map
from ticket_sig.select import lowest
from ticket_sig.signatures import qr
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.signatures.placement import Placement, best_placement
from ticket_sig.ticket import Round, Ticket

Bits = NDArray[np.bool_]

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
            "qr": {"version": self.version, "level": self.level, "data_mask": self.data_mask},
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
        signature.code()  # refuses a version, level or message that cannot be
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


def embed(
    ticket: Ticket,
    message: str,
    *,
    version: int | None = None,
    level: str = "H",
    layer: str | None = None,
    key: bytes | None = None,
) -> Embedded:
    """Writes a message into the mask of a ticket as a QR code.

    Args:
        ticket: sparse; its number of kept weights will not change.
        message: any text that fits.
        version: side of the code (17 + 4 * version kernels); the smallest that fits by default.
        level: error correction, "L", "M", "Q" or "H" (7, 15, 25, 30 % of the symbols).
        layer: take this layer, not the most similar of all.
        key: decides the positions inside the kernels; from the system's randomness by default.

    Returns:
        The signed ticket, where weights that came back hold their rewind value (or, where none is
        known, one as small as the layer's smallest), and where the code stands.

    Raises:
        InputError: the message fits no layer, the layer is unknown, or the model is too dense to
            put back as many weights as the code removes.
    """
    names = _layers(ticket.mask, layer)
    maps = {name: ticket.mask.kernel_map(name).numpy() for name in names}
    version = version or qr.smallest_version(message, level)
    placement, code = best_placement(maps, qr.encode(message, version, level))
    key = key or secrets.token_bytes(32)
    mask = _write(ticket, placement, code, key)
    revived = {name: back for name, kept in mask.items() if (back := kept & ~ticket.mask[name]).any()}
    values = {name: _revived_values(ticket, name, back, key) for name, back in revived.items()}
    signed = Ticket(
        weights=mask.apply(_put(ticket.weights, revived, values)),
        mask=mask,
        rewind=None if ticket.rewind is None else _put(ticket.rewind, revived, values),
        recipe=ticket.recipe,
        history=(*ticket.history, Round(step="sign", kept=mask.kept, total=mask.total)),
    )
    shape = tuple(mask[placement.layer].shape)
    signature = Signature(message, version, level, code.data_mask, placement, shape)
    claim = Claim(scheme=SCHEME, signature=signature.to_json(), subject=tensor_digest(signed.weights))
    return Embedded(signed, claim, signature, sum(int(back.sum()) for back in revived.values()))


def read(layer_kept: Tensor, signature: Signature) -> Bits:
    """Reads the modules at the signature's place: boolean [side, side], True = light = kept kernel.

    Args:
        layer_kept: the layer's mask, or its weights (nonzero = kept), [out, in, ...].

    Raises:
        InputError: the place does not lie within the layer.
    """
    kernels = kernel_map(layer_kept)
    n, place = qr.side(signature.version), signature.placement
    rows, columns = kernels.shape
    if not (0 <= place.row <= rows - n and 0 <= place.column <= columns - n):
        found = f"rows {place.row}..{place.row + n - 1}, columns {place.column}..{place.column + n - 1}"
        raise bad_input(place.layer, "placement", f"a region of its {rows}x{columns} kernels", found)
    region: Bits = place.cut(kernels.numpy(), n)
    return region


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
    region = place.cut(kept[place.layer], code.light.shape[0])
    appeal = place.cut(_appeal(ticket, place.layer, key), code.light.shape[0])
    before = np.count_nonzero(region)
    region[code.data & ~code.light] = False
    rows, columns = (code.data & code.light & ~region.any(-1)).nonzero()
    region[rows, columns, appeal[rows, columns].argmax(-1)] = True
    surplus = int(np.count_nonzero(region) - before)
    tiers = _places_to_add(kept, place, code) if surplus < 0 else _places_to_remove(ticket, kept, place, code)
    while surplus and (tier := next(tiers, None)) is not None:
        surplus = _balance(ticket, kept, tier, surplus, key)
    if surplus:
        raise _cannot_balance(surplus)
    return Mask({name: torch.from_numpy(k).view(ticket.mask[name].shape) for name, k in kept.items()})


def _balance(
    ticket: Ticket, kept: Mapping[str, Bits], tier: Mapping[str, Bits], surplus: int, key: bytes
) -> int:
    """Takes `surplus` weights away, or puts as many back if it is negative; returns what is left to do.

    The smallest weights go first. They come back where the kernel has fewest, so that a kernel that
    must be seen does not hang on one weight, and there where they appeal most.
    """
    adding = surplus < 0
    spots = {name: free.reshape(-1).nonzero()[0] for name, free in tier.items()}
    scores = []
    for name, where in spots.items():
        if adding:
            score = _crowding(kept[name], tier[name], _appeal(ticket, name, key))
        else:
            score = ticket.weights[name].abs().double().numpy()
        scores.append(torch.from_numpy(score.reshape(-1)[where]))
    chosen = lowest(torch.cat(scores), min(abs(surplus), sum(map(len, scores)))).numpy()
    start = 0
    for name, where in spots.items():
        mine = chosen[(chosen >= start) & (chosen < start + len(where))] - start
        kept[name].reshape(-1)[where[mine]] = adding
        start += len(where)
    return surplus + len(chosen) if adding else surplus - len(chosen)


def _places_to_add(kept: Mapping[str, Bits], place: Placement, code: qr.QRCode) -> Iterator[dict[str, Bits]]:
    """Yields pruned weights that may come back without changing the code, by layer, nearest first."""
    layer, side = kept[place.layer], code.light.shape[0]
    yield _inside(layer, place, (code.data & code.light)[..., None] & ~place.cut(layer, side))
    yield _inside(layer, place, ~code.data[..., None] & ~place.cut(layer, side))
    yield {place.layer: _outside(layer, place, side) & ~layer}
    yield {name: ~other for name, other in kept.items() if name != place.layer}


def _places_to_remove(
    ticket: Ticket, kept: Mapping[str, Bits], place: Placement, code: qr.QRCode
) -> Iterator[dict[str, Bits]]:
    """Yields kept weights that may go without changing the code, by layer, nearest first."""
    layer, side = kept[place.layer], code.light.shape[0]
    region = place.cut(layer, side)
    # Each light kernel keeps its largest weight, so that no module changes.
    sizes = place.cut(ticket.weights[place.layer].abs().float().reshape(layer.shape).numpy(), side)
    largest = np.where(region, sizes, -1).argmax(-1)[..., None] == np.arange(region.shape[-1])
    yield _inside(layer, place, (code.data & code.light)[..., None] & region & ~largest)
    yield _inside(layer, place, ~code.data[..., None] & region)
    yield {place.layer: _outside(layer, place, side) & layer}
    yield {name: other for name, other in kept.items() if name != place.layer}


def _inside(layer: Bits, place: Placement, region: Bits) -> dict[str, Bits]:
    whole = np.zeros_like(layer)
    place.cut(whole, region.shape[0])[...] = region
    return {place.layer: whole}


def _outside(layer: Bits, place: Placement, side: int) -> Bits:
    whole = np.ones_like(layer)
    place.cut(whole, side)[...] = False
    return whole


def _appeal(ticket: Ticket, name: str, key: bytes) -> NDArray[np.float64]:
    """How welcome a weight is back, in [0, 1): by rewind magnitude, or by the key where that is not known.

    Algorithm 2 takes a random position. A larger rewind weight costs no more, and outlives more pruning.
    """
    shape = (*ticket.mask[name].shape[:2], -1)
    if ticket.rewind is None:
        return (keyed_words(key, f"position {name}", ticket.mask[name].numel()) / 2.0**64).reshape(shape)
    sizes = ticket.rewind[name].abs().double().numpy().reshape(shape)
    return np.asarray(sizes / (1 + sizes.max(initial=0.0)))


def _crowding(kept: Bits, free: Bits, appeal: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many weights a kernel would have before each of these came back, best first; less the appeal."""
    order = np.where(free, -appeal, np.inf).argsort(-1, kind="stable").argsort(-1, kind="stable")
    return np.asarray(kept.sum(-1, dtype=np.int64)[..., None] + order - appeal)


def _cannot_balance(surplus: int) -> InputError:
    kind, hint = "kept", "the model is too sparse for this code: choose a smaller version"
    if surplus < 0:
        kind, hint = (
            "pruned",
            "the model is too dense to be signed at its number of weights: prune it first (--prune 0.8)",
        )
    return bad_input(
        "mask",
        f"{kind} weights",
        f"{abs(surplus)} more, to balance what the code changes",
        "none left",
        hint=hint,
    )


def _revived_values(ticket: Ticket, name: str, back: Tensor, key: bytes) -> Tensor:
    """The values of the weights that come back, in the layer's dtype: nonzero, so that they can be read."""
    weights = ticket.weights[name]
    small = _small_magnitude(weights)
    signs = torch.from_numpy(keyed_words(key, f"sign {name}", int(back.sum())).view(np.int64)) & 1
    values = torch.where(signs == 1, small, -small).to(weights.dtype)
    if ticket.rewind is not None:
        known = ticket.rewind[name][back].to(weights.dtype)
        values = torch.where(known != 0, known, values)
    return values


def _small_magnitude(weights: Tensor) -> Tensor:
    """The magnitude below which 1 % of the layer's kept weights lie."""
    sizes = weights[weights != 0].abs()
    return (
        sizes.kthvalue(1 + len(sizes) // 100).values
        if len(sizes)
        else torch.tensor(1e-3, dtype=weights.dtype)
    )


def _put(
    tensors: Mapping[str, Tensor], revived: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    out = dict(tensors)
    for name, back in revived.items():
        out[name] = tensors[name].masked_scatter(back, values[name].to(tensors[name].dtype))
    return out
