"""What the verbs of watermarks read: a claim of one scheme, a model that is loaded whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ticket_sig.watermarks import Uchida, Watermark

    Kind = TypeVar("Kind", Watermark, Uchida)


def claimed(path: Path, kind: type[Kind]) -> Kind:
    """The watermark of a claim's file, for a verb that knows one scheme.

    Raises:
        InputError: it is no claim, or one of another scheme.
    """
    from ticket_sig.claim import Claim
    from ticket_sig.errors import bad_input
    from ticket_sig.watermarks import mark_of

    claim = Claim.read(path)
    if claim.scheme != kind.scheme:
        hint = "ticket-sig verify takes any claim"
        raise bad_input(path, "scheme", repr(kind.scheme), repr(claim.scheme), hint=hint)
    mark = mark_of(claim)
    assert isinstance(mark, kind)
    return mark


def check_one_file(model: Path, field: str, expected: str, hint: str) -> None:
    """Checks that a model can be loaded whole, and does not lie in safetensors files with an index.

    Args:
        field, expected, hint: of the message.

    Raises:
        InputError: it does.
    """
    from ticket_sig.errors import bad_input
    from ticket_sig.formats.bundle import is_bundle
    from ticket_sig.formats.weights import INDEX

    if (model / INDEX).is_file() and not is_bundle(model):
        raise bad_input(model, field, expected, "safetensors files with an index", hint=hint)
