"""White box verification: the verifier holds the weights (NeurIPS'21, section 3.4).

The verdict rests on the data modules alone. The finders and all else that the reader puts back is
no evidence; nor is it needed that the code still decodes: the claim says what it should read, and
the p-value says how surprising it is that it nearly does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.signatures import qr, scheme1, scheme2
from ticket_sig.signatures.placement import count_placements
from ticket_sig.signatures.qr import Bits
from ticket_sig.signatures.scheme1 import Key
from ticket_sig.signatures.scheme3 import in_mask
from ticket_sig.statistics import corrected, log10_p_agreement
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict
from ticket_sig.verification.key_mask import verify_key
from ticket_sig.watermarks import WATERMARKS, mark_of
from ticket_sig.watermarks.mark import Model


@dataclass(frozen=True)
class Reading:
    """What stands at a claim's place in a model.

    Attributes:
        message: what the code reads, None where it cannot be read.
        corrected, symbols: symbols (codewords) put right, of all; None where it cannot be read.
        matches, modules: data modules that agree with the claimed code, of all data modules.
        log10_p_here: chance of that agreement for one code at one place (Fisher's exact test).
        log10_places: places, versions, levels and data masks a claimant could have chosen from.
        log10_messages: messages of this length a claimant could have chosen from.
        light: boolean [side, side], the modules as read, function patterns put back.
        wrong: boolean [side, side], data modules that differ from the claimed code.
    """

    message: str | None
    corrected: int | None
    symbols: int | None
    matches: int
    modules: int
    log10_p_here: float
    log10_places: float
    log10_messages: float
    light: Bits
    wrong: Bits

    @property
    def agreement(self) -> float:
        """Share of the data modules that agree."""
        return self.matches / self.modules

    @property
    def log10_p(self) -> float:
        """The p-value, corrected for every place and message that could have been tried."""
        return corrected(self.log10_p_here, self.log10_places, self.log10_messages)

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON; modules as rows of 1 (light, kept) and 0 (dark, pruned)."""
        return {
            "message": self.message,
            "symbols_corrected": self.corrected,
            "symbols": self.symbols,
            "agreement": round(self.agreement, 6),
            "matches": self.matches,
            "data_modules": self.modules,
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "log10_places_tried": round(self.log10_places, 3),
            "log10_messages_tried": round(self.log10_messages, 3),
            "module_map": ["".join("01"[int(m)] for m in row) for row in self.light],
        }


def extract(ticket: Ticket, claim: Claim) -> Reading:
    """Reads the signature at the claim's place.

    Args:
        ticket: any model (`load(path).ticket`). Kernels are read off the weights (`scheme2.read`):
            what a file says of its mask is the word of whoever wrote it.

    Raises:
        InputError: the claim is of another scheme, or names a layer that the model lacks or has in
            another shape.
    """
    signature = _signature(in_mask(claim))
    layer = signature.placement.layer
    weights = ticket.weights.get(layer)
    if weights is None:
        raise bad_input("model", "layer", f"the claim's {layer}", "none of that name")
    if not weights.is_floating_point():
        raise bad_input("", layer, "weights", f"a tensor of {str(weights.dtype).removeprefix('torch.')}")
    if tuple(weights.shape) != signature.shape:
        raise bad_input(
            "model", layer, f"the claim's shape {list(signature.shape)}", str(list(weights.shape))
        )
    code = signature.code()
    light = scheme2.read(weights, signature)
    parameters = signature.version, signature.level, signature.data_mask
    try:
        decoded = qr.decode(light, *parameters)
    except qr.QRDecodeError:
        decoded = None
    data = code.data
    wrong = data & (light != code.light)
    return Reading(
        message=decoded.message if decoded else None,
        corrected=decoded.corrected if decoded else None,
        symbols=decoded.symbols if decoded else None,
        matches=int(data.sum() - wrong.sum()),
        modules=int(data.sum()),
        log10_p_here=log10_p_agreement(code.light[data], light[data]),
        log10_places=_log10_places(ticket),
        log10_messages=_log10_messages(code),
        light=qr.with_function_patterns(light, *parameters),
        wrong=wrong,
    )


def verify(
    model: Ticket | Model, claim: Claim, key: Key | None = None, locked: Ticket | None = None
) -> Verdict:
    """Decides whether the claimed mark stands in a model: in a ticket's mask, or in dense weights.

    Args:
        model: `load(path).ticket`; of a watermark also a module, a state dict, or `open_weights(path)`, of
            which only parts are read.
        claim: of scheme 1 or 2, of scheme 3 beside one of them, or of a watermark.
        key: of scheme 1.
        locked: of scheme 1, the locked ticket as it was handed out.

    Raises:
        InputError: it could not be decided (see `extract` and `verify_key`).
    """
    if claim.scheme in WATERMARKS:
        return mark_of(claim).read(model.weights if isinstance(model, Ticket) else model).verdict()
    if not isinstance(model, Ticket):
        raise bad_input("model", "mask", f"a ticket, for a claim of scheme {claim.scheme}", "weights alone")
    ticket, claim = model, in_mask(claim)
    if claim.scheme == scheme1.SCHEME:
        if key is None:
            raise bad_input(
                "", "key", "the key's file, to verify scheme 1", "none", hint="give it: --key FILE"
            )
        if locked is None:
            hint = "give it: --locked DIR"
            raise bad_input(
                "", "locked ticket", "the one of the claim, to verify scheme 1", "none", hint=hint
            )
        return verify_key(ticket, claim, key, locked)
    reading = extract(ticket, claim)
    claimed = _signature(claim).message
    evidence: Mapping[str, Any] = {
        "scheme": claim.scheme,
        "claimed_message": claimed,
        **reading.to_json(),
        "message_equal": reading.message == claimed,
        "model_as_signed": tensor_digest(ticket.weights) == claim.subject,
        "kept": ticket.mask.kept,
        "total": ticket.mask.total,
    }
    return Verdict(
        statistic=f"{reading.matches} of {reading.modules} data modules agree with the claimed code",
        log10_p=reading.log10_p,
        evidence=evidence,
        proves="this mask was made to carry the claimed message; no unrelated network does, "
        "whatever message and place the claimant chose",
        does_not_prove="who wrote it, or when: compare with a record of the claim from before the dispute",
    )


def _signature(claim: Claim) -> scheme2.Signature:
    with about(claim.source):
        if claim.scheme != scheme2.SCHEME:
            raise bad_input("claim", "scheme", repr(scheme2.SCHEME), repr(claim.scheme))
        return scheme2.Signature.from_json(claim.signature)


def _log10_places(ticket: Ticket) -> float:
    """Every place for every code in this model; counted here, since a claimant may understate it."""
    matrices = [
        w
        for name, w in ticket.weights.items()
        if name in ticket.mask or (w.ndim >= 2 and w.is_floating_point())
    ]
    shapes = [(w.shape[0], w.shape[1]) for w in matrices]
    places = sum(count_placements(shapes, qr.side(version)) for version in qr.VERSIONS)
    return math.log10(max(1, places) * len(qr.LEVELS) * len(qr.DATA_MASKS))


def _log10_messages(code: qr.QRCode) -> float:
    """Every message that takes at most as many bits, for every number of bits a claimant could have taken."""
    return (code.payload_bits + 1) * math.log10(2) + math.log10(qr.MOST_BITS)
