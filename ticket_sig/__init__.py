"""Prove that a pruned network is yours: find lottery tickets, embed a mark, and verify it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ticket_sig.version import VERSION as __version__

if TYPE_CHECKING:
    from ticket_sig.claim import Claim as Claim
    from ticket_sig.errors import InputError as InputError
    from ticket_sig.formats import load as load
    from ticket_sig.formats import save as save
    from ticket_sig.lottery import find as find
    from ticket_sig.lottery import retrain as retrain
    from ticket_sig.marks import Watermark as Watermark
    from ticket_sig.marks.embed import embed as embed
    from ticket_sig.mask import Mask as Mask
    from ticket_sig.models.sparse.layers import densify as densify
    from ticket_sig.models.sparse.layers import sparsify as sparsify
    from ticket_sig.ticket import Ticket as Ticket
    from ticket_sig.verification import extract as extract
    from ticket_sig.verification import verify as verify


# Imported when first used: `ticket-sig --help` must not wait for torch.
_HOMES = {
    "InputError": "ticket_sig.errors",
    "Mask": "ticket_sig.mask",
    "Ticket": "ticket_sig.ticket",
    "load": "ticket_sig.formats",
    "save": "ticket_sig.formats",
    "find": "ticket_sig.lottery",
    "retrain": "ticket_sig.lottery",
    "Claim": "ticket_sig.claim",
    "embed": "ticket_sig.marks.embed",
    "extract": "ticket_sig.verification",
    "verify": "ticket_sig.verification",
    "Watermark": "ticket_sig.marks",
    "sparsify": "ticket_sig.models.sparse.layers",
    "densify": "ticket_sig.models.sparse.layers",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ticket_sig' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
