"""What an owner puts into a model to know it again, by name; a new mark is one file and one line here."""

from __future__ import annotations

from ticket_sig.claim import Claim
from ticket_sig.errors import about, bad_input
from ticket_sig.marks.freezenet.watermark import Watermark
from ticket_sig.marks.key_mask.mark import KeyMark
from ticket_sig.marks.mark import Mark, Model, claim_of, of_kind
from ticket_sig.marks.mirror.mark import Mirror
from ticket_sig.marks.nct.mark import Nct
from ticket_sig.marks.qr_code.mark import CodeMark
from ticket_sig.marks.spread.mark import Spread
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.uchida.mark import Uchida

MARKS: dict[str, type[Mark]] = {
    "qr-code": CodeMark,
    "key-mask": KeyMark,
    "trigger-set": TriggerMark,
    "freezenet": Watermark,
    "uchida": Uchida,
    "nct": Nct,
    "spread": Spread,
    "mirror": Mirror,
}


def marks_of(claim: Claim) -> list[Mark]:
    """The marks that a claim is of.

    Raises:
        InputError: one that the registry does not have (says which package wrote it), or a damaged one.
    """
    with about(claim.source):
        if unknown := [one.name for one in claim.marks if one.name not in MARKS]:
            found = f"{unknown[0]!r}, written by {claim.written_by}"
            raise bad_input("claim", "mark", f"one of {', '.join(MARKS)}", found)
        return [MARKS[one.name].from_json(one.fields) for one in claim.marks]


__all__ = [
    "MARKS",
    "CodeMark",
    "KeyMark",
    "Mark",
    "Mirror",
    "Model",
    "Nct",
    "Spread",
    "TriggerMark",
    "Uchida",
    "Watermark",
    "claim_of",
    "marks_of",
    "of_kind",
]
