"""Any model file -> a ticket, and back. `load` and `open_weights` find out what a path holds."""

from ticket_sig.formats.bundle import save
from ticket_sig.formats.load import Loaded, load, open_weights

__all__ = ["Loaded", "load", "open_weights", "save"]
