"""What a liar makes of a transcript, by name; a new spoof is one file and one line here."""

from __future__ import annotations

from typing import Any

from ticket_sig.options import made, one_named
from ticket_sig.transcripts.spoofs.bent_data import BentData
from ticket_sig.transcripts.spoofs.blindfold import Blindfold
from ticket_sig.transcripts.spoofs.forged_momentum import ForgedMomentum
from ticket_sig.transcripts.spoofs.frozen import Frozen
from ticket_sig.transcripts.spoofs.head_start import HeadStart
from ticket_sig.transcripts.spoofs.infinitesimal import Infinitesimal
from ticket_sig.transcripts.spoofs.interpolation import Interpolation
from ticket_sig.transcripts.spoofs.jump import Jump
from ticket_sig.transcripts.spoofs.other_mask import MaskFromElsewhere, OtherPruning
from ticket_sig.transcripts.spoofs.reordered import Longer, Swap
from ticket_sig.transcripts.spoofs.splice import Splice
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof
from ticket_sig.transcripts.spoofs.tampered import Buffers, NotANumber, OneWeight, Optimizer

SPOOFS: dict[str, type[Spoof]] = {
    # to a stolen model
    "forged-momentum": ForgedMomentum,
    "head-start": HeadStart,
    "interpolation": Interpolation,
    "infinitesimal": Infinitesimal,
    "blindfold": Blindfold,
    "jump": Jump,
    "bent-data": BentData,
    # of honest pieces
    "splice": Splice,
    "frozen": Frozen,
    "swap": Swap,
    "longer": Longer,
    # of one boundary
    "nan": NotANumber,
    "buffers": Buffers,
    "optimizer": Optimizer,
    "one-weight": OneWeight,
    # of the search
    "mask": MaskFromElsewhere,
    "pruning": OtherPruning,
}


def spoof(name: str, **options: Any) -> Spoof:
    """Returns the spoof of that name.

    Raises:
        InputError: no spoof of that name; or an option that it does not have, is missing or is out of range.
    """
    return made(one_named(SPOOFS, "spoof", name), name, options)


__all__ = ["SPOOFS", "Scene", "Spoof", "spoof"]
