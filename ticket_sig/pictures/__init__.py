"""Pictures: kernel maps with the frame of a mark, codes, accuracy over rounds, trigger sheets."""

from ticket_sig.pictures.kernel_maps import accuracy_over_rounds, before_and_after, codes, kernel_maps
from ticket_sig.pictures.trigger_sheet import write_sheet

__all__ = ["accuracy_over_rounds", "before_and_after", "codes", "kernel_maps", "write_sheet"]
