"""Scheme 3: a trigger set taught beside the data, so that answers alone tell the owner (NeurIPS'21, 3.4).

It stands beside scheme 1 or 2: the claim carries theirs too. The claim holds a commitment to the trigger
set, not the set: it can be dated and shown without giving the triggers away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ticket_sig.claim import Claim, entry
from ticket_sig.errors import bad_input
from ticket_sig.signatures.triggers import TriggerSet, check_extent

SCHEME = "scheme 3: trigger set"


@dataclass(frozen=True)
class TriggerMark:
    """What a claim says of its trigger set.

    Attributes:
        commitment: digest of the set (`TriggerSet.commitment`).
        count, size, classes: number of images; their height, width and channels; classes of the network.
        keyed: whether images and labels follow from a secret; else somebody chose them.
        beside: scheme and signature of the mark in the mask that it stands beside; None where there is none.
    """

    commitment: str
    count: int
    size: tuple[int, int, int]
    classes: int
    keyed: bool
    beside: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The signature's fields of claim.json."""
        return {
            "triggers": {
                "commitment": self.commitment,
                "count": self.count,
                "size": list(self.size),
                "classes": self.classes,
                "keyed": self.keyed,
            },
            "beside": self.beside,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TriggerMark:
        """Reads the signature's fields of claim.json.

        Raises:
            InputError: a field is missing, of another type or out of range.
        """
        triggers, beside = entry(value, "triggers", dict), value.get("beside")
        if beside is not None:
            beside = {
                "scheme": entry(entry(value, "beside", dict), "scheme", str),
                "signature": entry(beside, "signature", dict),
            }
        size = entry(triggers, "size", list)
        if len(size) != 3 or not all(type(n) is int for n in size):
            raise bad_input("claim", "size", "[height, width, channels]", repr(size)[:80])
        mark = cls(
            entry(triggers, "commitment", str),
            entry(triggers, "count", int),
            (size[0], size[1], size[2]),
            entry(triggers, "classes", int),
            entry(triggers, "keyed", bool),
            beside,
        )
        check_extent("claim", mark.count, mark.size, mark.classes, keyed=mark.keyed)
        return mark

    def check(self, triggers: TriggerSet) -> None:
        """Checks that a trigger set is the one this claim was made with.

        Raises:
            InputError: it is another, in size or in content.
        """
        shown = len(triggers), triggers.size, triggers.classes, triggers.keyed, triggers.commitment
        claimed = self.count, self.size, self.classes, self.keyed, self.commitment
        names = "count", "size", "classes", "keyed", "commitment"
        for name, expected, found in zip(names, claimed, shown, strict=True):
            if expected != found:
                hint = "another secret or folder, or one that was changed since the claim was made"
                raise bad_input("triggers", name, f"the claim's {expected}", str(found), hint=hint)


def claim_triggers(triggers: TriggerSet, subject: str, beside: Claim | None = None) -> Claim:
    """Returns the claim of a network that was taught a trigger set.

    Args:
        subject: digest of the network's tensors, triggers taught.
        beside: the claim of scheme 1 or 2 that the network carries too; an earlier trigger set gives way.
    """
    other: Mapping[str, Any] | None = None
    if beside is not None:
        other = {"scheme": beside.scheme, "signature": dict(beside.signature)}
        if beside.scheme == SCHEME:
            other = TriggerMark.from_json(beside.signature).beside
    mark = TriggerMark(
        triggers.commitment, len(triggers), triggers.size, triggers.classes, triggers.keyed, other
    )
    return Claim(scheme=SCHEME, signature=mark.to_json(), subject=subject)


def in_mask(claim: Claim) -> Claim:
    """The claim of the mark in the mask: of scheme 3 the one it stands beside, of others the claim itself.

    Raises:
        InputError: the claim is damaged, or has a trigger set alone.
    """
    if claim.scheme != SCHEME:
        return claim
    mark = TriggerMark.from_json(claim.signature)
    if mark.beside is None:
        hint = "ask the network for its answers instead (black box)"
        raise bad_input("claim", "mark in the mask", "one of scheme 1 or 2", "a trigger set alone", hint=hint)
    return replace(claim, scheme=mark.beside["scheme"], signature=mark.beside["signature"])
