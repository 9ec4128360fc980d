"""Add-on: noise at pruned positions covers the mask, and the owner's answer to it.

Source: Chen et al., NeurIPS 2021, section 4.3, Table 8. The rate there is a share of the *pruned*
weights: 19.369 % kept becomes 19.369 + rate x 80.631 %, that is 19.772, 20.175, 20.982, 23.401 and
27.432 % for the five rates, where the table has 19.789, 20.179, 21.009, 23.386 and 27.402 % (each
within 1.5 standard deviations of drawing every pruned position with that chance). Of all weights,
it would be 19.869 to 29.369 %. The table does not say how large its noise is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ticket_sig.attacks.revive import draw_positions, kept_spread, revive
from ticket_sig.attacks.scene import Scene, check_positive, check_share, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class AddOn:
    """Puts back exactly round(rate * pruned) weights, drawn over all layers.

    Attributes:
        rate: share of the pruned weights to put back, in (0, 1).
        scale: standard deviation of the new weights, in those of their layer's kept weights.
    """

    rate: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_share("rate", self.rate)
        check_positive(scale=self.scale)

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with more weights kept.

        Raises:
            InputError: the ticket keeps too few weights to measure.
        """
        pruned = {name: ~kept for name, kept in ticket.mask.items()}
        count = round(self.rate * (ticket.mask.total - ticket.mask.kept))
        draw = scene.draw("add-on")
        spread = {name: self.scale * std for name, std in kept_spread(ticket).items()}
        return revive(stolen(ticket), draw_positions(pruned, count, draw), spread, draw)


def smallest_kept(signed: Ticket, *, share: float = 0.0) -> dict[str, float]:
    """Returns the owner's threshold t for every layer: the smallest magnitude that the signed model keeps.

    Args:
        signed: the owner's own model.
        share: in [0, 1): t is the magnitude that this share of the kept weights lies under. A trained
            model has a few weights near zero; to give them up makes t worth something.

    Raises:
        InputError: the share is out of range, or the model keeps nothing.
    """
    if not 0 <= share < 1:
        raise bad_input("", "share", "0 or more, less than 1", str(share))
    sizes = {name: signed.weights[name][kept].abs().double() for name, kept in signed.mask.items()}
    if not signed.mask.kept:
        raise bad_input("ticket", "kept weights", "some", "none")
    # Of a layer that keeps nothing, nothing is to survive.
    return {
        n: float(s.sort().values[int(share * len(s))]) if len(s) else float("inf") for n, s in sizes.items()
    }


def drop_small(suspect: Ticket, thresholds: Mapping[str, float]) -> Ticket:
    """The owner's answer: prunes away the weights smaller than t; returns the ticket to verify.

    Args:
        suspect: the model found.
        thresholds: t by layer (`smallest_kept`); other layers are left as they are.
    """
    mask = Mask(
        {
            name: kept & (suspect.weights[name].abs().double() >= thresholds.get(name, 0.0))
            for name, kept in suspect.mask.items()
        }
    )
    return replace(suspect, weights=retie(suspect.weights, mask.apply(suspect.weights)), mask=mask)
