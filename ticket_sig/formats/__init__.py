"""Any model file -> a ticket, and back. `load` finds out by itself what a path holds."""

from ticket_sig.formats.bundle import save
from ticket_sig.formats.load import Loaded, load

__all__ = ["Loaded", "load", "save"]
