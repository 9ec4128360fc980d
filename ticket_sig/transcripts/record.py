"""Audit records: what an auditor found, as JSON, signed where he has a key; records of several add up."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ticket_sig.digests import DIGEST, json_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, entry, matching, whole
from ticket_sig.files import read_json, write_json
from ticket_sig.key_pair import PUBLIC, KeyPair, is_signed
from ticket_sig.transcripts.choice import Choice, chance_missed, foreseen
from ticket_sig.transcripts.outcome import CONSISTENT, INCONSISTENT, INVALID, VALID, Audit
from ticket_sig.transcripts.transcript import Segment
from ticket_sig.version import VERSION

FORMAT, FORMAT_VERSION = "ticket_sig audit", 1
FORGED = (1, 5, 10)  # numbers of forged segments whose chance to be missed is told
_DOMAIN = b"ticket_sig audit record\n"


def to_json(audit: Audit, choice: Choice) -> dict[str, Any]:
    """A record of one audit."""
    transcript = audit.transcript
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_by": f"ticket_sig {VERSION}",
        "outcome": audit.outcome,
        "reasons": list(audit.reasons),
        "damaged": audit.damaged,
        "kind": transcript.manifest.kind,
        "initial": transcript.manifest.initial.get("derivation"),
        "head": transcript.chain.head,
        "entries": len(transcript.chain.entries),
        "ended": transcript.end is not None,
        "signer": transcript.signer,
        "signed_heads": len(transcript.signatures),
        "signed_entries": transcript.signed_entries,
        "data": dict(transcript.manifest.data),
        "segments": audit.segments,
        "replayed": [[s.level, s.first, s.last] for s in audit.replayed],
        "suspected": {str(segment): why for segment, why in audit.suspected.items()},
        "chosen": choice.to_json(),
        "chance_missed": {str(b): audit.missed(b) for b in FORGED if b <= audit.segments},
        "differences": {name: list(values) for name, values in audit.differences.items()},
        "opened": audit.opened and dict(zip(("samples", "of"), audit.opened, strict=True)),
        "errors": {str(segment): _finite(norms) for segment, norms in audit.errors.items()},
    }


def _finite(norms: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no number for a distance from NaN."""
    return {name: value if math.isfinite(value) else None for name, value in norms.items()}


def write_record(path: Path | str, record: Mapping[str, Any], key: KeyPair | None = None) -> None:
    """Writes a record, whole or not at all, signed by a key where there is one."""
    signed = {}
    if key is not None:
        signature = key.sign(_DOMAIN + json_digest(record).encode())
        signed = {"signature": {"public": key.public, "signature": signature}}
    write_json(Path(path), {**record, **signed})


@dataclass(frozen=True)
class Record:
    """A record as it is read.

    Attributes:
        covered: segments that were found exact; none of an audit that is not valid.
        auditor: public key of who signed it; None where nobody did.
        opened: whether he saw opened samples alone, not the whole data set.
        damaged: whether a file was another than the chain says: then he said nothing of the chain.
        foreseen: of those covered, what a liar could foresee (`Audit.foreseen`).
    """

    head: str
    outcome: str
    segments: int
    covered: frozenset[Segment]
    auditor: str | None
    opened: bool = False
    damaged: bool = False
    foreseen: frozenset[Segment] = frozenset()

    @property
    def against(self) -> bool:
        """Whether he found that the chain itself is wrong."""
        return self.outcome == INVALID and not self.damaged

    @classmethod
    def read(cls, path: Path) -> Record:
        """Reads a record; InputError where a field is wrong, or the signature is another's."""
        value = read_json(path)
        signature = value.pop("signature", None)
        check_format(value, path, FORMAT, FORMAT_VERSION)
        with about(path):
            outcome = entry(value, "outcome", str, "record")
            if outcome not in (known := (VALID, INVALID, CONSISTENT, INCONSISTENT)):
                raise bad_input("record", "outcome", " or ".join(known), repr(outcome)[:80])
            segments = whole(value, "segments", "record", 0)
            replayed = frozenset(_segment(one) for one in entry(value, "replayed", list, "record"))
            _check_apart(replayed, segments)
            head = matching(value, "head", DIGEST, "record")
            covered = replayed if outcome == VALID else frozenset[Segment]()
            opened = value.get("opened") is not None and bool(entry(value, "opened", dict, "record"))
            damaged = value.get("damaged") is True
            how = [entry({name: {}, **value}, name, dict, "record") for name in ("chosen", "suspected")]
            auditor = _auditor(value, signature)
            return cls(head, outcome, segments, covered, auditor, opened, damaged, foreseen(covered, *how))


@dataclass(frozen=True)
class Combined:
    """What several records on one transcript say together.

    Attributes:
        invalid, opened: how many say invalid; how many are of an auditor who saw opened samples alone.
        foreseen: how many of those covered a liar could foresee.
    """

    head: str
    segments: int
    covered: frozenset[Segment]
    auditors: Sequence[str | None]
    invalid: int
    opened: int
    foreseen: int

    @property
    def valid(self) -> bool:
        """Whether some segment is covered, and no auditor found the transcript invalid."""
        return bool(self.covered) and not self.invalid

    def missed(self, forged: int) -> float:
        """The chance that so many forged segments were not trained again, where a liar put them best."""
        return chance_missed(self.segments - self.foreseen, len(self.covered) - self.foreseen, forged)


def combine(records: Mapping[Path, Record]) -> Combined:
    """Adds records up; InputError where they are on several transcripts, or there is none."""
    if not records:
        raise bad_input("", "--combine", "one record or more", "none")
    first, *others = records.items()
    for path, record in others:
        if (record.head, record.segments) != (first[1].head, first[1].segments):
            raise bad_input(path, "head", f"that of {first[0]}, {first[1].head}", record.head)
    covered = frozenset[Segment]().union(*(record.covered for record in records.values()))
    _check_apart(covered, first[1].segments)
    return Combined(
        head=first[1].head,
        segments=first[1].segments,
        covered=covered,
        auditors=[record.auditor for record in records.values()],
        invalid=sum(record.against for record in records.values()),
        opened=sum(record.opened for record in records.values()),
        foreseen=len(frozenset[Segment]().union(*(record.foreseen for record in records.values()))),
    )


def _check_apart(covered: Collection[Segment], segments: int) -> None:
    """Refuses more segments than there are, and such that share a step: they are of no one transcript."""
    if len(covered) > segments:
        raise bad_input("record", "replayed", f"at most {segments} segments", str(len(covered)))
    for one, other in pairwise(sorted(covered)):
        if one.level == other.level and other.first < one.last:
            raise bad_input("record", "replayed", f"no other segment beside {one}", str(other))


def _segment(value: Any) -> Segment:
    numbers = isinstance(value, list) and len(value) == 3 and all(type(n) is int for n in value)
    if not (numbers and value[0] >= 0 and 0 <= value[1] < value[2]):
        raise bad_input("record", "replayed", "[level, first, last]", repr(value)[:80])
    return Segment(*value)


def _auditor(value: Mapping[str, Any], signature: Any) -> str | None:
    if signature is None:
        return None
    if not isinstance(signature, dict):
        raise bad_input("record", "signature", "an object", type(signature).__name__)
    public = matching(signature, "public", PUBLIC, "record")
    digits = matching(signature, "signature", "[0-9a-f]{16,160}", "record")
    if not is_signed(public, digits, _DOMAIN + json_digest(value).encode()):
        raise bad_input("record", "signature", f"one by {public} over this record", "another")
    return public
