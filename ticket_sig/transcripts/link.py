"""Ticket and transcript that prove each other: the message carries the head, the claim the whole digest.

A ticket's QR code says which transcript it came from, and the transcript's last entry is of the mask that
the code was written into. Neither can be changed afterwards without the other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.digests import DIGEST
from ticket_sig.errors import bad_input
from ticket_sig.fields import matching, whole
from ticket_sig.mask import Mask
from ticket_sig.transcripts.record import Record
from ticket_sig.transcripts.transcript import Segment, Transcript

_FEW = 0.5  # of the weights that lie outside by chance: independent searches leave nearly all of them there
TAG = 8  # bytes of the head that the message carries


@dataclass(frozen=True)
class Link:
    """What a claim says of a transcript.

    Attributes:
        head: of its chain, after the end.
        kept: weights of the mask that was searched.
        moved: of these, how many signing took away; as many came back elsewhere.
    """

    head: str
    kept: int
    moved: int

    @classmethod
    def of(cls, transcript: Transcript, mask: Mask, signed: Mask) -> Link:
        """The link of a mask that was signed.

        Args:
            mask: before it was signed.

        Raises:
            InputError: the training has not ended, or it is not its mask that was signed.
        """
        searched = transcript.mask()
        if mask != searched:
            found = f"another mask, which keeps {mask.kept} of {mask.total} weights"
            raise bad_input(transcript.folder, "transcript", "the one of this ticket's search", found)
        return cls(transcript.chain.head, searched.kept, searched.outside(signed))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Link:
        """Reads a claim's field; InputError where it is damaged."""
        head = matching(value, "head", DIGEST)
        return cls(head, whole(value, "kept", least=0), whole(value, "moved", least=0))

    def to_json(self) -> dict[str, Any]:
        """The claim's field."""
        return vars(self)


def tagged(message: str, transcript: Transcript) -> str:
    """A message with the first 64 bits of the head behind it, as 11 characters of base64url."""
    return f"{message} {_tag(transcript.chain.head)}"


def _tag(head: str) -> str:
    digest = bytes.fromhex(head.removeprefix("sha256:"))
    return base64.urlsafe_b64encode(digest[:TAG]).decode().rstrip("=")


@dataclass(frozen=True)
class Linked:
    """How a suspect, a claim and a transcript go together.

    Attributes:
        problems: why they do not; none where they do.
        outside: weights of the suspect outside the mask that was searched.
        by_chance: as many lie there in a network that keeps as much of each layer, wherever.
        audits: what signed records of exact audits cover, {public key of the auditor: segments}.
        invalid: public keys of auditors whose signed records say so.
        signer: public key that signed the transcript; None: nobody did.
        passed_over: records that nobody signed, that cover no segment, or that are of another transcript.
    """

    link: Link
    problems: Sequence[str]
    outside: int
    by_chance: float
    segments: int
    audits: Mapping[str, int]
    invalid: Sequence[str]
    signer: str | None
    passed_over: int

    @property
    def rows(self) -> list[tuple[str, object]]:
        """For people."""
        own = {self.signer: f"{self.signer} (the owner)"}
        covered = {own.get(key, key): f"{n} of {self.segments} segments" for key, n in self.audits.items()}
        audited = [f"{segments}, by {key}" for key, segments in covered.items()]
        chance = f"{self.by_chance:.0f} in a network that has nothing to do with it"
        passed = "unsigned, not exact or of another transcript"
        return [
            (
                "transcript",
                f"does not fit: {'; '.join(self.problems)}" if self.problems else "fits the claim",
            ),
            (
                "weights outside the searched mask",
                f"{self.outside}, {self.link.moved} moved by signing; {chance}",
            ),
            ("audited", "; ".join(audited) or "no: chain only"),
            *(("found invalid by", own.get(key, key)) for key in self.invalid),
            *([(f"records passed over ({passed})", self.passed_over)] if self.passed_over else []),
        ]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        counts = {"segments": self.segments, "outside": self.outside, "audits": dict(self.audits)}
        counts |= {"by_chance": self.by_chance, "found_invalid": list(self.invalid)}
        counts |= {"records_passed_over": self.passed_over}
        return {**self.link.to_json(), **counts, "fits": not self.problems, "problems": list(self.problems)}


def linked(
    claim: Claim, transcript: Transcript, suspect: Mask, movable: int, records: Sequence[Record] = ()
) -> Linked:
    """Checks that the signed mask is the searched one but for the swaps of signing.

    A copy that was pruned further keeps fewer weights, and none elsewhere.

    Args:
        suspect: mask of the network that is verified.
        movable: weights at the places that the claimed marks stand in: signing moves no more.
        records: of audits of this transcript.

    Raises:
        InputError: the claim names no transcript, or the suspect is another network.
    """
    if claim.transcript is None:
        hint = "sign the ticket with embed --transcript DIR"
        raise bad_input(claim.source, "transcript", "one that the claim names", "none", hint=hint)
    link, searched = Link.from_json(claim.transcript), transcript.mask()
    searched.check_shapes(suspect, "suspect")
    outside = suspect.outside(searched)
    by_chance = sum(int(suspect[n].sum()) * float((~kept).double().mean()) for n, kept in searched.items())
    problems = [*_unfit(claim, link, transcript.chain.head, searched)]
    if link.moved > movable:
        problems.append(f"its marks have room for {movable} weights, by the claim signing moved {link.moved}")
    if outside > link.moved:
        problems.append(f"{outside} weights lie outside its mask, and signing moved {link.moved}")
    # Where nothing was pruned every network fits; a code, though, is never written into such a mask.
    if outside >= _FEW * by_chance and (by_chance or movable):
        problems.append(f"{outside} weights lie outside its mask, {by_chance:.0f} do by chance")
    own = [r for r in records if r.head == transcript.chain.head and r.auditor]
    return Linked(
        link=link,
        problems=problems,
        outside=outside,
        by_chance=by_chance,
        segments=len(transcript.segments),
        audits=_covered(own, transcript.segments),
        invalid=[str(one.auditor) for one in own if one.against],
        signer=transcript.signer,
        passed_over=len(records) - sum(bool(one.covered) or one.against for one in own),
    )


def _unfit(claim: Claim, link: Link, head: str, searched: Mask) -> Iterator[str]:
    """Why a claim is not on the mask that a transcript of this head searched."""
    if link.head != head:
        yield f"its head is {head}, the claim's is {link.head}"
    if not any(str(one.fields.get("message")).endswith(_tag(head)) for one in claim.marks):
        yield "no claimed message carries its head"
    if link.kept != searched.kept:
        yield f"its mask keeps {searched.kept} weights, by the claim {link.kept}"


def _covered(records: Sequence[Record], segments: Sequence[Segment]) -> dict[str, int]:
    """How many segments each auditor covered; InputError where one is none of the transcript's."""
    covered: dict[str, set[Segment]] = {}
    for one in records:
        if strange := one.covered - set(segments):
            raise bad_input(f"record by {one.auditor}", "replayed", "segments of it", str(min(strange)))
        if one.covered:
            covered.setdefault(str(one.auditor), set()).update(one.covered)
    return {auditor: len(found) for auditor, found in covered.items()}
