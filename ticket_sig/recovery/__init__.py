"""What a thief changed for free, undone, so that a mark can be read again."""

from ticket_sig.recovery.align import Aligned, align
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.undone import Undone

__all__ = ["Aligned", "Reference", "Undone", "align"]
