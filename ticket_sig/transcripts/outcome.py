"""What an audit comes to: the outcome, and how far segments are off that were trained again.

Valid is only what is exact. Where bits differ on another numerical stack, an auditor can say how far, and
"consistent" at most: a tolerance that admits honest training on other machines admits forgeries, too (Zhang
et al., S&P 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ticket_sig.errors import bad_input
from ticket_sig.transcripts.choice import Choice, chance_missed, foreseen, to_replay
from ticket_sig.transcripts.detectors import Seen
from ticket_sig.transcripts.recording import state_file
from ticket_sig.transcripts.states import GROUPS, State
from ticket_sig.transcripts.transcript import Damaged, Forged, Segment, Transcript

VALID, INVALID = "valid", "invalid"
CONSISTENT, INCONSISTENT = "consistent", "inconsistent"
_OVER_UPDATE = "l2 over update"
_NEAR = 0.5  # of a segment's own update: a replay on another stack that is farther off is inconsistent


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        outcome: "valid", "invalid", or on another numerical stack "consistent" or "inconsistent".
        reasons: why it is not valid; each names file, field and step.
        replayed: segments that were trained again, those that detectors suspected among them.
        suspected: by detectors, and why.
        foreseen: how many of those that were trained again a liar could foresee: suspected ones, or all where
            none were drawn.
        differences: what is another in this stack than in the manifest's, {name: (theirs, ours)}.
        errors: of replays that were not exact, by segment: norms of the difference of the parameters.
        damaged: a file is another than the chain says, which anybody can have done who had the folder.
        opened: where not all of the data set was seen: numbers of the samples that were, and of all.
    """

    transcript: Transcript
    outcome: str
    reasons: Sequence[str] = ()
    replayed: Sequence[Segment] = ()
    suspected: Mapping[Segment, str] = field(default_factory=dict)
    foreseen: int = 0
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    errors: Mapping[Segment, Mapping[str, float]] = field(default_factory=dict)
    damaged: bool = False
    opened: tuple[int, int] | None = None

    @property
    def valid(self) -> bool:
        """Whether everything that was looked at is exact."""
        return self.outcome == VALID

    @property
    def segments(self) -> int:
        """How many there are."""
        return len(self.transcript.segments)

    def missed(self, forged: int) -> float:
        """The chance that so many forged segments were not trained again, where a liar put them best."""
        return chance_missed(self.segments - self.foreseen, len(self.replayed) - self.foreseen, forged)


@dataclass(frozen=True)
class Replayed:
    """A segment, the tensors that a replay gives other bits for, and how far its parameters are off."""

    segment: Segment
    differ: Sequence[str]
    norms: Mapping[str, float]

    @classmethod
    def of(
        cls, segment: Segment, start: State, end: State, again: State, on_the_way: Sequence[str] = ()
    ) -> Replayed:
        """Compares the recorded end of a segment with that of a replay.

        Args:
            on_the_way: what differed at boundaries of which the digests alone are kept.
        """
        differ = [*on_the_way, *end.differing(again)]
        return cls(segment, differ, _norms(start, end, again) if differ else {})


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is another in this numerical stack than in the manifest's, as `Audit.differences`."""
    return {n: (theirs.get(n), ours.get(n)) for n in {**theirs, **ours} if theirs.get(n) != ours.get(n)}


def refuted(transcript: Transcript, error: Forged, differences: Mapping[str, tuple[Any, Any]]) -> Audit:
    """The audit of a transcript that contradicts what it commits to."""
    return Audit(
        transcript=transcript,
        outcome=INVALID,
        reasons=[str(error)],
        differences=differences,
        damaged=isinstance(error, Damaged),
    )


def judged(
    transcript: Transcript,
    seen: Sequence[Seen],
    choice: Choice,
    per_epoch: int,
    differences: Mapping[str, tuple[Any, Any]],
    replays: Callable[[Sequence[Segment]], Iterator[Replayed]],
) -> Audit:
    """The audit of a transcript in which nothing but the segments is left to check.

    Args:
        seen: what the detectors saw, of all segments.
        replays: trains segments again.

    Raises:
        InputError: there are no segments, or fewer than are asked for.
    """
    chosen, suspected = to_replay(transcript, seen, choice, per_epoch)
    wrong = [one for one in replays(chosen) if one.differ]
    errors = {one.segment: one.norms for one in wrong}
    return Audit(
        transcript=transcript,
        outcome=_outcome(errors, bool(differences)),
        reasons=[_reason(transcript, one) for one in wrong],
        replayed=chosen,
        suspected=suspected,
        foreseen=len(foreseen(chosen, choice.to_json(), [*map(str, suspected)])),
        differences=differences,
        errors=errors,
    )


def _reason(transcript: Transcript, one: Replayed) -> str:
    segment, names = one.segment, one.differ
    where = state_file(transcript.folder, segment.level, segment.last)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    expected = f"what training on from step {segment.first} gives"
    return str(bad_input(where, f"{names[0]} of step {segment.last}", expected, f"another{more}"))


def _outcome(errors: Mapping[Segment, Mapping[str, float]], other_stack: bool) -> str:
    if not errors:
        return VALID
    if not other_stack:
        return INVALID
    near = all(v <= _NEAR for norms in errors.values() for n, v in norms.items() if n.endswith(_OVER_UPDATE))
    return CONSISTENT if near else INCONSISTENT


def _norms(start: State, recorded: State, again: State) -> dict[str, float]:
    """l1, l2, l-infinity and cosine distance of a replay, and l2 over the segment's own update.

    The first four are of the parameters. Over the update are optimizer and buffers, too: who chooses those
    moves the parameters as he likes.
    """
    norms, over_update = dict[str, float](), dict[str, float]()
    for group in GROUPS:
        begun, theirs, ours = (_flat(group, one, recorded, again) for one in (start, recorded, again))
        off, update = ours - theirs, float((theirs - begun).norm())
        if group == "parameters":
            norms |= {"l1": float(off.norm(1)), "l2": float(off.norm()), "linf": float(off.norm(torch.inf))}
            norms["cos"] = float(1 - cosine_similarity(ours, theirs, dim=0))
        name = _OVER_UPDATE if group == "parameters" else f"{group}, {_OVER_UPDATE}"
        over_update[name] = float(off.norm()) / max(update, 1e-30)
    return norms | over_update


def _flat(group: str, state: State, *both: State) -> Tensor:
    """The tensors of a group that any of two states has, without counts; where this one has none, zeros."""
    there = {n: t for one in both for n, t in getattr(one, group).items()}
    known: dict[str, Tensor] = {n: t for n, t in there.items() if t.is_floating_point()}
    found = {name: getattr(state, group).get(name, torch.zeros_like(t)) for name, t in known.items()}
    return torch.cat([torch.zeros(0, dtype=torch.float64), *(t.double().flatten() for t in found.values())])
