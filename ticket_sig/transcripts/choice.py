"""Which segments are trained again, and what that says of those that are not."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticket_sig.digests import bytes_digest
from ticket_sig.errors import bad_input
from ticket_sig.prf import keyed_words
from ticket_sig.transcripts.detectors import Seen, suspects
from ticket_sig.transcripts.recording import CHAIN
from ticket_sig.transcripts.transcript import Segment, Transcript


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How segments are chosen; all of them, unless a number or Q is given.

    Attributes:
        number: so many at random.
        top: the Q largest updates of every epoch (Jia et al., section V-D).
        seed: what the random ones follow from, beside the chain's head: public, and younger than the
            commitment, so that nobody could foresee them.

    Raises:
        InputError: both, or less than one.
    """

    number: int | None = None
    top: int | None = None
    seed: bytes = b""

    def __post_init__(self) -> None:
        if self.number is not None and self.top is not None:
            raise bad_input("", "--segments, --top-q", "one of them", "both")
        for name, value in (("--segments", self.number), ("--top-q", self.top)):
            if value is not None and value < 1:
                raise bad_input("", name, "1 or more", str(value))

    def to_json(self) -> dict[str, Any]:
        """As a record of an audit tells it: of the seed the digest."""
        return {"segments": self.number, "top_q": self.top, "seed": bytes_digest(self.seed)}

    def chosen(
        self, segments: Sequence[Segment], updates: Mapping[Segment, float], head: str, per_epoch: int
    ) -> list[Segment]:
        """The segments to train again, in order.

        Args:
            updates: how far the parameters moved in each.
            head: of the chain.

        Raises:
            InputError: more are asked for than there are.
        """
        if self.number is not None:
            if self.number > len(segments):
                raise bad_input("", "--segments", f"at most {len(segments)}", str(self.number))
            words = keyed_words(self.seed, f"segments {head}", len(segments))
            return sorted(segments[i] for i in words.argsort()[: self.number])
        if self.top is None:
            return list(segments)
        epochs: dict[tuple[int, int], list[Segment]] = {}
        for segment in segments:
            epochs.setdefault((segment.level, segment.first // per_epoch), []).append(segment)
        if self.top > (most := max(map(len, epochs.values()))):
            raise bad_input("", "--top-q", f"at most {most}, the segments of an epoch", str(self.top))
        largest = [sorted(own, key=lambda s: -updates[s])[: self.top] for own in epochs.values()]
        return sorted(segment for own in largest for segment in own)


def to_replay(
    transcript: Transcript, seen: Sequence[Seen], choice: Choice, per_epoch: int
) -> tuple[list[Segment], dict[Segment, str]]:
    """The segments to train again, in order: those chosen and those suspected; and why these are.

    Args:
        seen: what the detectors saw, of all segments.

    Raises:
        InputError: there are no segments, or fewer than are asked for.
    """
    if not transcript.segments:
        raise bad_input(transcript.folder / CHAIN, "segments", "one or more", "none")
    suspected = suspects(seen)
    updates = {one.segment: one.update for one in seen}
    drawn = choice.chosen(transcript.segments, updates, transcript.chain.head, per_epoch)
    return sorted({*drawn, *suspected}), suspected


def foreseen(
    replayed: Iterable[Segment], choice: Mapping[str, Any], suspected: Container[str]
) -> frozenset[Segment]:
    """The segments that a liar could foresee: the suspected ones; where none were drawn, all.

    By a seed that everybody knows nothing is drawn: he tries heads until he is spared.

    Args:
        choice: as a record tells it (`Choice.to_json`).
        suspected: by detectors, as a record names them (`str(segment)`).
    """
    drawn = choice.get("segments") is not None and choice.get("seed") != bytes_digest(b"")
    return frozenset(one for one in replayed if not drawn or str(one) in suspected)


def chance_missed(segments: int, replayed: int, forged: int) -> float:
    """The chance that none of `forged` segments is among those replayed: C(N - b, m) / C(N, m).

    N and m are without the segments that a liar could foresee, and so trained honestly.
    """
    if forged > segments - replayed:
        return 0.0
    # The same number from b factors each: a record may say any N and m.
    return math.perm(segments - replayed, forged) / math.perm(segments, forged)
