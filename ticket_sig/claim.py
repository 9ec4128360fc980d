"""The claim: the file that carries everything a verifier needs, whatever the scheme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from ticket_sig.errors import about, bad_input
from ticket_sig.files import read_json

FORMAT_VERSION = 1
_SHOWN = 80  # characters of what was found; the name of a scheme has no more, either
_T = TypeVar("_T")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the owner says stands in a model, and where.

    Attributes:
        scheme: how it was written; decides who reads `signature`.
        signature: the scheme's own fields.
        subject: digest of the tensors of the model as it was signed.
        accuracy: test accuracy in % that the claimant promises (F of NeurIPS'21, section 3.2); None = none.
        created: time of signing (UTC, ISO 8601), as the claimant states it; proves nothing.
        source: the file it was read from, for messages.
    """

    scheme: str
    signature: Mapping[str, Any]
    subject: str
    accuracy: float | None = None
    created: str = field(default_factory=_now)
    source: str = field(default="claim", compare=False)

    def to_json(self) -> dict[str, Any]:
        """The content of claim.json."""
        promised = {} if self.accuracy is None else {"accuracy": self.accuracy}
        return {
            "format": "ticket_sig claim",
            "version": FORMAT_VERSION,
            "scheme": self.scheme,
            "signature": dict(self.signature),
            "subject": self.subject,
            **promised,
            "created": self.created,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        """Reads the content of claim.json.

        Raises:
            InputError: another format or version, a field that is missing or of another type, or a scheme
                with a name of more than 80 characters.
        """
        if value.get("format") != "ticket_sig claim":
            raise bad_input("claim", "format", "'ticket_sig claim'", repr(value.get("format"))[:_SHOWN])
        if value.get("version") != FORMAT_VERSION:
            raise bad_input(
                "claim",
                "version",
                str(FORMAT_VERSION),
                repr(value.get("version"))[:_SHOWN],
                hint="use the ticket_sig that wrote it",
            )
        scheme = entry(value, "scheme", str)
        if len(scheme) > _SHOWN:
            raise bad_input("claim", "scheme", f"at most {_SHOWN} characters", str(len(scheme)))
        return cls(
            scheme=scheme,
            signature=entry(value, "signature", dict),
            subject=entry(value, "subject", str),
            accuracy=_promised(value.get("accuracy")),
            created=entry(value, "created", str),
        )

    @classmethod
    def read(cls, path: Path | str) -> Claim:
        """Reads a claim file.

        Raises:
            InputError: missing, damaged, or not a claim of this version; names the file.
        """
        value = read_json(Path(path))
        with about(path):
            return replace(cls.from_json(value), source=str(path))


def entry(value: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """Returns one field of a claim, of the type it must have.

    Raises:
        InputError: missing, or of another type (true is no number here).
    """
    found = value.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise bad_input(
            "claim", name, f"{kind.__name__}", f"{type(found).__name__}" if name in value else "none"
        )
    return found


def hexadecimal(value: Mapping[str, Any], name: str) -> bytes:
    """Returns one field of a claim that holds bytes as hexadecimal digits.

    Raises:
        InputError: missing, of another type, or other characters.
    """
    digits = entry(value, name, str)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise bad_input("claim", name, "hexadecimal digits", "others") from None


def _promised(found: Any) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= 100:
        raise bad_input("claim", "accuracy", "a number from 0 to 100", repr(found)[:_SHOWN])
    return float(found)
