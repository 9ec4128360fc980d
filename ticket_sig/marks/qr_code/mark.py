"""The QR code in a kernel map as a mark: scheme 2 of NeurIPS'21, section 3.4.

White module = kept kernel, dark module = pruned. Only the data modules are written: the finders and
the other function patterns would be seen at a glance, and the reader knows them anyway. The number
of kept weights stays what it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ticket_sig.digests import bytes_digest
from ticket_sig.errors import bad_input
from ticket_sig.fields import entry, whole
from ticket_sig.marks.mark import Frame, Mark, Model, as_ticket
from ticket_sig.marks.mask_change import moved
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.embedding import write
from ticket_sig.marks.qr_code.placement import PlacedCode, Placement, best_code, best_placement
from ticket_sig.marks.qr_code.reading import CodeReading, read_code
from ticket_sig.marks.qr_code.survival import worths
from ticket_sig.mask import Mask, no_layer
from ticket_sig.options import Options, not_blank, one_of, option, within
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows

_SEEN = 0.3  # difference of kernel densities that shows in a picture of the kernel map


@dataclass(frozen=True, kw_only=True)
class CodeOptions(Options):
    """What decides a code and its place."""

    message: str = option("Any text that fits.", check=not_blank)
    version: int | None = option(
        "Size of the code, 1 to 40; the smallest that fits by default.", default=None, check=within(1, 40)
    )
    level: str = option("Error correction: L, M, Q or H.", default="H", check=one_of(qr.LEVELS))
    layer: str | None = option(
        "Layer of the code; by default where most of it survives pruning.", default=None
    )


@dataclass(frozen=True)
class CodeMark(PlacedCode, Mark):
    """A message as it stands in a model: the code's parameters and its place.

    Attributes:
        secret: decides all that must look like chance where the code is written (positions and values of
            weights that come back, where no rewind weights are known); no part of the claim.
    """

    name: ClassVar[str] = "qr-code"
    stands_in: ClassVar[str] = "mask"
    carries: ClassVar[str] = "bits"
    options: ClassVar[type[Options] | None] = CodeOptions

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), compare=False, repr=False)

    @classmethod
    def make(
        cls, model: Model, options: CodeOptions, secret: bytes | None = None, place: Placement | None = None
    ) -> CodeMark:
        """The code for a model, at the place where most of it outlives pruning (`survival.worths`).

        Args:
            model: sparse.
            place: take this very place; `options.layer` then has nothing to say.

        Raises:
            InputError: the message fits no layer, or the layer or place is not there.
        """
        ticket = as_ticket(model)
        names = _layers(ticket.mask, place.layer if place else options.layer)
        version = _smallest_version(options, ticket, names) if options.version is None else options.version
        codes = qr.encode(options.message, version, options.level)
        room = [name for name in names if min(ticket.mask[name].shape[:2]) >= qr.side(version)]
        found = worths(ticket, room or names)
        if place:
            code = best_code(found[place.layer], codes, place)
        else:
            place, code = best_placement(found, codes)
        shape = tuple(ticket.mask[place.layer].shape)
        made = cls(options.message, version, options.level, code.data_mask, place, shape, code.eci)
        return made if secret is None else replace(made, secret=secret)

    def embed(self, ticket: Ticket) -> Ticket:
        """Writes the code into the mask (Algorithm 2); the number of kept weights does not change.

        Weights that came back hold their rewind value, or, where none is known, a small one of the layer's
        own magnitudes.

        Raises:
            InputError: the model is too dense to put back as many weights as the code removes, or too sparse.
        """
        return self.embed_beside(ticket, ())

    def embed_beside(self, ticket: Ticket, others: Sequence[Mark], *, in_place: bool = False) -> Ticket:
        """The same; marks that stand all over the mask outlive a code."""
        return write(ticket, self.placement, self.code(), self.secret, in_place=in_place)

    def read(self, suspect: Model) -> CodeReading:
        """Reads the code at its place, off the weights: what a file says of its mask is its writer's word.

        Raises:
            InputError: the model lacks the layer, or has it in another shape; or it has no mask.
        """
        return read_code(as_ticket(suspect), self)

    def to_json(self) -> dict[str, Any]:
        """The claim's fields."""
        code = {"version": self.version, "level": self.level, "data_mask": self.data_mask}
        header = {"eci": qr.UTF8} if self.eci else {}
        return {
            "message": self.message,
            "qr": {**code, **header, "digest": _digest(self.code())},
            "placement": {**vars(self.placement), "shape": list(self.shape)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CodeMark:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        code, place = entry(value, "qr", dict), entry(value, "placement", dict)
        shape = entry(place, "shape", list)
        if len(shape) < 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise bad_input("claim", "shape", "two or more positive whole numbers", repr(shape))
        data_mask = whole(code, "data_mask")
        if data_mask not in qr.DATA_MASKS:
            raise bad_input("claim", "data_mask", "0 to 7", str(data_mask))
        # Codes of version 0.1 have no header, and its claims say nothing of one.
        if (eci := "eci" in code) and whole(code, "eci") != qr.UTF8:
            raise bad_input("claim", "eci", f"{qr.UTF8} (UTF-8), or no such field", str(code["eci"]))
        row, column = (whole(place, name, least=0) for name in ("row", "column"))
        placement = Placement(entry(place, "layer", str), row, column)
        message, level = entry(value, "message", str), entry(code, "level", str)
        mark = cls(message, whole(code, "version"), level, data_mask, placement, tuple(shape), eci)
        # Refuses a version, level or message that cannot be, and a qrcode package that writes it otherwise.
        if (found := _digest(mark.code())) != (expected := entry(code, "digest", str)):
            raise bad_input("claim", "digest of the code", expected, found)
        placement.check(qr.side(mark.version), mark.shape, "claim")
        return mark

    def __str__(self) -> str:
        return f"{self.name}, {self.message!r}"

    def frame(self) -> Frame:
        """Where the code stands in its kernel map."""
        return Frame(**vars(self.placement), side=qr.side(self.version))

    def carried_by(self) -> Collection[str]:
        """The layer of its place."""
        return (self.placement.layer,)

    def draw(self, reading: CodeReading, path: Path) -> None:
        """Draws the code as it was read, function patterns put back."""
        qr.write_png(reading.light, path)

    def remedy(self) -> str:
        """A larger code."""
        return "a larger --version"

    def facts(self, before: Model, after: Model) -> Rows:
        """Where the code stands, and the kernels kept there and in the rest of its layer."""
        old, new = as_ticket(before).mask, as_ticket(after).mask
        inside, outside = self.kernel_density(new)
        kernels = f"{100 * inside:.0f} % in the code, {100 * outside:.0f} % in the rest of its layer"
        if abs(inside - outside) > _SEEN:
            kernels += "; the place stands out to the eye: sign a ticket that keeps about half of its kernels"
        place = self.placement
        return [
            ("QR code", f"version {self.version}, level {self.level}, data mask {self.data_mask}"),
            ("place", f"{place.layer}, row {place.row}, column {place.column}"),
            ("weights kept", f"{new.kept} of {new.total}, as before"),
            ("weights moved", moved(old, new)),
            ("kernels kept", kernels),
        ]

    def kernel_density(self, mask: Mask) -> tuple[float, float]:
        """Share of the kernels that are kept: in the region of the code, in the rest of its layer."""
        kernels = mask.kernel_map(self.placement.layer).numpy()
        region = self.placement.cut(kernels, qr.side(self.version))
        rest = (int(kernels.sum()) - int(region.sum())) / max(1, kernels.size - region.size)
        return float(region.mean()), rest


def _digest(code: qr.QRCode) -> str:
    return bytes_digest(np.packbits(code.light).tobytes())


def _smallest_version(options: CodeOptions, ticket: Ticket, names: Sequence[str]) -> int:
    room = max((min(ticket.mask[name].shape[:2]) for name in names), default=0)
    if not (largest := qr.largest_version(room)):
        expected, hint = "one of at least 21x21 kernels", "the model is too small for any QR code"
        raise bad_input("", "kernel maps", expected, f"{room}x{room} at the largest", hint=hint)
    return qr.smallest_version(options.message, options.level, largest)


def _layers(mask: Mask, layer: str | None) -> list[str]:
    if layer is not None and layer not in mask:
        raise no_layer(mask, layer)
    return list(mask) if layer is None else [layer]
