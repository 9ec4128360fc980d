"""Writing a QR code into a mask: which kernels go and come back (Algorithm 2)."""

from __future__ import annotations

import numpy as np
import torch

from ticket_sig.marks.mask_change import with_mask
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.balance import add_weights, appeal, remove_weights
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket


def write(
    ticket: Ticket, place: Placement, code: qr.QRCode, secret: bytes, *, in_place: bool = False
) -> Ticket:
    """The ticket with a code in its mask, and one more entry of history.

    The secret decides positions and values of weights that come back, where no rewind weights are known.

    Raises:
        InputError: too many or too few weights are kept to hold their number.
    """
    return with_mask(ticket, _mask_with(ticket, place, code, secret), secret, in_place=in_place)


def _mask_with(ticket: Ticket, place: Placement, code: qr.QRCode, key: bytes) -> Mask:
    # Every layer as [out, in, kernel size]; a linear layer's kernels have one weight.
    kept = {name: t.reshape(*t.shape[:2], -1).numpy() for name, t in ticket.mask.items()}
    for layer in kept.values():
        layer.flags.writeable = False  # the ticket's own; who writes into a layer copies it first
    kept[place.layer] = kept[place.layer].copy()
    side = code.light.shape[0]
    region, wanted = place.cut(kept[place.layer], side), appeal(ticket, place, side, key)
    before = np.count_nonzero(region)
    region[code.data & ~code.light] = False
    rows, columns = (code.data & code.light & ~region.any(-1)).nonzero()
    region[rows, columns, wanted[rows, columns].argmax(-1)] = True
    surplus = int(np.count_nonzero(region) - before)
    if surplus < 0:
        add_weights(-surplus, ticket, kept, place, code, key)
    else:
        remove_weights(surplus, ticket, kept, place, code)
    written = {name: torch.from_numpy(k) for name, k in kept.items() if k.flags.writeable}
    return Mask.of_own({n: written.get(n, own).view(own.shape) for n, own in ticket.mask.items()})
