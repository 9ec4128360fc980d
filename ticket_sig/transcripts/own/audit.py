"""Auditing the transcript of a user's own loop, with his step function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.digests import json_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.transcripts.chain import Entry
from ticket_sig.transcripts.choice import Choice
from ticket_sig.transcripts.detectors import Seen, look
from ticket_sig.transcripts.outcome import INCONSISTENT, INVALID, Audit, Replayed, differing, judged, refuted
from ticket_sig.transcripts.own.loop import OwnLoop, Part, learning_rate
from ticket_sig.transcripts.own.record import (
    Loss,
    end_fields,
    level_fields,
    numbers,
    own_stack,
    source_digest,
    summed,
)
from ticket_sig.transcripts.own.samples import Samples, sample_facts
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, state_file
from ticket_sig.transcripts.replay import threads
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import (
    Forged,
    Segment,
    Transcript,
    check_lengths,
    forged,
    thread_count,
)

Step = Callable[[int], Any]


def audit_own(
    transcript: Transcript,
    step: Step,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    data: Dataset | Samples | str,
    choice: Choice | None = None,
    **parts: Part,
) -> Audit:
    """Checks the transcript of a loop of your own: segments are trained again with its step function.

    Set everything up as for the training: the same seeds, then model, optimizer and parts. They are left as
    they were shown.

    Args:
        step: does one step with these very objects, and returns its loss where the loop recorded it. It is
            given the number of the step, counted from 0.
        data: that the step trains on, as it was told to `OwnTranscript`.
        choice: which segments are trained again; all by default.

    Returns:
        The outcome. "invalid" says that the transcript is none of this step function and this set-up.

    Raises:
        InputError: it could not be decided: objects or data of another kind, files that are missing or
            damaged, a step function that fails.
    """
    loop = OwnLoop(model, optimizer, parts)
    shown = loop.state()  # before anything else draws random numbers
    if (kind := transcript.manifest.kind) != "own":
        hint = "audit it with ticket_sig.transcripts.audit, or ticket-sig audit"
        raise bad_input(transcript.folder / MANIFEST, "kind", "own", kind, hint=hint)
    _check_data(transcript, data)
    try:
        with threads(thread_count(transcript)):
            return _Check(transcript, step, loop, shown).audit(choice or Choice())
    finally:
        loop.take(shown)


@dataclass(frozen=True)
class _Check:
    """A loop that is to be checked, and what it takes to do it again.

    Attributes:
        shown: the state that the auditor's set-up gives.
    """

    transcript: Transcript
    step: Step
    loop: OwnLoop
    shown: State

    def audit(self, choice: Choice) -> Audit:
        """All checks, from the cheapest to the replays."""
        differences = self._differences()
        try:
            self._check_steps()
            other_start = self._start()
            seen = list(self._look())
        except Forged as error:
            return refuted(self.transcript, error, differences)
        if other_start:
            outcome, reasons = INCONSISTENT if differences else INVALID, [other_start]
            return Audit(
                transcript=self.transcript, outcome=outcome, reasons=reasons, differences=differences
            )
        total = self.transcript.levels[0].steps[-1]
        found = judged(self.transcript, seen, choice, max(total, 1), differences, self._replays)
        return found if found.valid else replace(found, reasons=[*found.reasons, *self._other_source()])

    def _other_source(self) -> list[str]:
        """Says where the step function is not the one that the manifest names."""
        committed, shown = self.transcript.manifest.code.get("step"), source_digest(self.step).get("step")
        if committed is None or committed == shown:
            return []
        where = self.transcript.folder / MANIFEST
        return [str(bad_input(where, "code, step", f"a function of source {committed}", str(shown)))]

    def _differences(self) -> dict[str, tuple[Any, Any]]:
        return differing(self.transcript.manifest.stack, own_stack(self.loop.device))

    def _check_steps(self) -> None:
        """One level, from step 0 to the end, and no segment longer than promised."""
        transcript, path = self.transcript, self.transcript.folder / CHAIN
        if len(transcript.levels) != 1:
            raise forged(path, "levels", "1", str(len(transcript.levels)))
        steps = transcript.levels[0].steps
        if steps[:1] != [0]:
            raise forged(path, "level 0", "a boundary at step 0", "none")
        check_lengths(transcript)
        self._check_entry("level", transcript.levels[0].entry, level_fields(self._state(0)))
        if transcript.end is not None:
            self._check_entry("end", transcript.end, end_fields(self._state(steps[-1]), steps[-1]))

    def _check_entry(self, kind: str, entry: Entry, expected: dict[str, Any]) -> None:
        for name in {**expected, **entry.fields}:
            if (found := entry.fields.get(name)) != expected.get(name):
                where = self.transcript.folder / CHAIN
                raise forged(where, f"{kind}: {name}", str(expected.get(name)), str(found)[:80])

    def _start(self) -> str:
        """What is wrong with the first state, in words; nothing, where the set-up gives it."""
        state = self._state(0)
        if json_digest(state.digests()) != (said := self.transcript.manifest.initial.get("digest")):
            where = self.transcript.folder / MANIFEST
            raise forged(where, "initial, digest", "that of the state of step 0", str(said)[:80])
        if self.transcript.manifest.initial.get("derivation") == "given":
            return ""
        if not (names := state.differing(self.shown)):
            return ""
        where = state_file(self.transcript.folder, 0, 0)
        hint = "was it seeded and built as for the training?"
        return str(
            bad_input(where, f"{names[0]} of step 0", "what the auditor's set-up gives", "another", hint=hint)
        )

    def _state(self, step: int) -> State:
        """A state, checked to be one of these objects."""
        state = self.transcript.state(0, step)
        with about(state_file(self.transcript.folder, 0, step)):
            self.loop.check(state)
        return state

    def _look(self) -> Iterator[Seen]:
        """What the detectors see; reads every boundary once, and holds two."""
        before: State | None = None
        for step, segment in zip(
            self.transcript.levels[0].steps, [None, *self.transcript.segments], strict=True
        ):
            state = self._state(step)
            if before is not None and segment is not None:
                rates = _Recorded(learning_rate(before), learning_rate(state))
                yield look(segment, before, state, rates, 1)
            before = state

    def _replays(self, chosen: Sequence[Segment]) -> Iterator[Replayed]:
        for segment in chosen:
            start, end = self._state(segment.first), self._state(segment.last)
            again = self._replay(segment, start, losses=bool(end.losses[1]))
            found = Replayed.of(segment, start, end, again)
            moved = [n for n in start.differing(again) if n.startswith(("parameters/", "optimizer/"))]
            if found.differ and not moved:
                hint = "it must train the very objects that are shown"
                raise bad_input(
                    "", "step function", "one that changes the model", "one that does not", hint=hint
                )
            yield found

    def _replay(self, segment: Segment, start: State, *, losses: bool) -> State:
        """The state after a segment; its losses, where they were recorded."""
        with about(state_file(self.transcript.folder, 0, segment.first)):
            self.loop.take(start)
        found = list[Loss]()
        for number in range(segment.first, segment.last):
            try:
                loss = self.step(number)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"[:200]
                raise bad_input("", f"step function, step {number}", "no error", told) from error
            if losses:
                if loss is None:
                    raise bad_input("", f"step function, step {number}", "its loss, as recorded", "none")
                found.append(loss.detach().clone() if isinstance(loss, Tensor) else loss)
        return self.loop.state(summed(numbers(found)))


@dataclass(frozen=True)
class _Recorded:
    """Learning rates as two boundaries recorded them."""

    before: float
    after: float

    def learning_rate(self, step: int, per_epoch: int) -> float:
        """The mean of both: between them, it is not known."""
        return (self.before + self.after) / 2


def _check_data(transcript: Transcript, data: Dataset | Samples | str) -> None:
    found = sample_facts(data)
    for name in {**transcript.manifest.data, **found}:
        if (committed := transcript.manifest.data.get(name)) != found.get(name):
            hint = "show the very samples that were trained on, in the same form"
            where = transcript.folder / MANIFEST
            raise bad_input(
                where, f"data, {name}", repr(committed)[:90], repr(found.get(name))[:90], hint=hint
            )
