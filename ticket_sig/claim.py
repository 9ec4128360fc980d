"""The claim: the file that carries everything a verifier needs, whatever marks it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ticket_sig.digests import DIGEST
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import SHOWN, check_format, entry, matching, number
from ticket_sig.files import read_json
from ticket_sig.version import VERSION

FORMAT, FORMAT_VERSION = "ticket_sig claim", 2
MOST_MARKS = 16
MOST_TIED = 1000
# What version 1 called its schemes, and what the registry of marks calls them.
_NAMES_OF_VERSION_1 = {
    "scheme 1: key mask": "key-mask",
    "scheme 2: QR code in a kernel map": "qr-code",
    "scheme 3: trigger set": "trigger-set",
}


@dataclass(frozen=True)
class ClaimedMark:
    """One mark of a claim: its name in the registry, and its own fields."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the owner says stands in a model, and where.

    Attributes:
        marks: one or more, in the order in which they were put in.
        subject: digest of the tensors of the model as it was signed.
        reference: digest of the tensors of the model before its first mark; None = it commits to none.
        accuracy: test accuracy in % that the claimant promises (F of NeurIPS'21, section 3.2); None = none.
        transcript: of the search that found the mask (`transcripts.link`); None = none.
        tied: the model's tied weights, of which a file may keep but one name: {name: first name}.
        created: time of signing (UTC, ISO 8601), as the claimant states it; proves nothing.
        written_by: the package that wrote the file; version 1 did not say.
        source: the file it was read from, for messages.
    """

    marks: tuple[ClaimedMark, ...]
    subject: str
    accuracy: float | None = None
    reference: str | None = None
    transcript: Mapping[str, Any] | None = None
    tied: Mapping[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    written_by: str = f"ticket_sig {VERSION}"
    source: str = field(default="claim", compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.marks) <= MOST_MARKS:
            raise bad_input("claim", "marks", f"1 to {MOST_MARKS}", str(len(self.marks)))

    def to_json(self) -> dict[str, Any]:
        """The content of claim.json."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "written_by": f"ticket_sig {VERSION}",
            "marks": [{"mark": one.name, "fields": dict(one.fields)} for one in self.marks],
            "subject": self.subject,
            **({} if self.reference is None else {"reference": self.reference}),
            **({} if self.accuracy is None else {"accuracy": self.accuracy}),
            **({} if self.transcript is None else {"transcript": dict(self.transcript)}),
            **({"tied": dict(self.tied)} if self.tied else {}),
            "created": self.created,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        """Reads the content of claim.json, of this version or the first.

        Raises:
            InputError: another format or version, a field missing or of another type, no mark or too many,
                or one with a name of more than 80 characters.
        """
        check_format(value, "claim", FORMAT, 1, FORMAT_VERSION)
        old = value["version"] == 1
        return cls(
            marks=_marks_of_version_1(value) if old else _marks(value),
            subject=entry(value, "subject", str),
            reference=None if value.get("reference") is None else matching(value, "reference", DIGEST),
            accuracy=None if value.get("accuracy") is None else number(value, "accuracy", 100),
            transcript=entry(value, "transcript", dict) if value.get("transcript") is not None else None,
            tied=_tied(value),
            created=entry(value, "created", str),
            written_by="ticket_sig 0.1" if old else entry(value, "written_by", str)[:SHOWN],
        )

    @classmethod
    def read(cls, path: Path | str) -> Claim:
        """Reads a claim file.

        Raises:
            InputError: missing, damaged, or not a claim of a known version; names the file.
        """
        if (folder := Path(path)).is_dir():
            beside = folder / "claim.json"
            hint = f"give {beside}" if beside.is_file() else ""
            raise bad_input(folder, "claim", "a claim file", "a folder", hint=hint)
        value = read_json(Path(path))
        with about(path):
            return replace(cls.from_json(value), source=str(path))


def _tied(value: Mapping[str, Any]) -> dict[str, str]:
    tied = entry({"tied": {}, **value}, "tied", dict)
    if len(tied) > MOST_TIED:  # each is looked for
        raise bad_input("claim", "tied", f"at most {MOST_TIED} names", str(len(tied)))
    if odd := [repr(first)[:SHOWN] for first in tied.values() if not isinstance(first, str)]:
        raise bad_input("claim", "tied", "names by name", odd[0])
    return tied


def _marks(value: Mapping[str, Any]) -> tuple[ClaimedMark, ...]:
    listed = entry(value, "marks", list)
    others = [type(one).__name__ for one in listed if not isinstance(one, dict)]
    if others or not 1 <= len(listed) <= MOST_MARKS:
        found = f"a {others[0]}" if others else str(len(listed))
        raise bad_input("claim", "marks", f"1 to {MOST_MARKS} objects", found)
    return tuple(ClaimedMark(_name(one, "mark"), entry(one, "fields", dict)) for one in listed)


def _marks_of_version_1(value: Mapping[str, Any]) -> tuple[ClaimedMark, ...]:
    """One scheme, or a trigger set with the mark that it stood beside."""
    one = _mark_of_version_1(value)
    if one.name != _NAMES_OF_VERSION_1["scheme 3: trigger set"]:
        return (one,)
    taught, beside = ClaimedMark(one.name, entry(one.fields, "triggers", dict)), one.fields.get("beside")
    return (taught,) if beside is None else (_mark_of_version_1(entry(one.fields, "beside", dict)), taught)


def _mark_of_version_1(value: Mapping[str, Any]) -> ClaimedMark:
    name = _name(value, "scheme")
    return ClaimedMark(_NAMES_OF_VERSION_1.get(name, name), entry(value, "signature", dict))


def _name(value: Mapping[str, Any], field: str) -> str:
    name = entry(value, field, str)
    if len(name) > SHOWN:
        raise bad_input("claim", field, f"at most {SHOWN} characters", str(len(name)))
    return name
