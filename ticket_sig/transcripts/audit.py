"""Auditing a transcript: what it commits to is computed again, and segments are trained again, bit for bit.

Source: Jia et al., Proof-of-Learning, S&P 2021, and what is held sound since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.registry import DATASETS
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.formats.safetensors_file import read_layout
from ticket_sig.lottery.level import first_step, network_of
from ticket_sig.mask import Mask
from ticket_sig.models import prunable_names
from ticket_sig.models.sparse.layers import as_sparse, sparsify, takeable
from ticket_sig.training.batches import TriggerBatch, batches_per_epoch
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Engine, Run, plain_weights
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.teacher import Teacher
from ticket_sig.transcripts.choice import Choice, to_replay
from ticket_sig.transcripts.detectors import Seen, look_at_all
from ticket_sig.transcripts.manifest import code_facts, stack
from ticket_sig.transcripts.openings import Openings, undisclosed
from ticket_sig.transcripts.outcome import Audit, Replayed, differing, judged, refuted
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, state_file
from ticket_sig.transcripts.replay import replay, threads
from ticket_sig.transcripts.retrace import Retracer
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import (
    Forged,
    Segment,
    Transcript,
    check_data,
    check_kind,
    check_lengths,
    forged,
    thread_count,
)


def audit(
    transcript: Transcript,
    data: Dataset | Openings,
    choice: Choice | None = None,
    *,
    engine: Engine | None = None,
    model: nn.Module | None = None,
    marks: Sequence[KeptMark] = (),
    triggers: TriggerBatch | None = None,
    teacher: Teacher | None = None,
) -> Audit:
    """Checks a transcript against the data it commits to.

    Args:
        data: or the samples of the segments that are trained again, which its owner opened.
        choice: which segments are trained again; all by default.
        model: the network with its initial weights, where it is none of the registry.
        marks, triggers, teacher: that were trained with; the manifest commits to them.

    Raises:
        InputError: it could not be decided: other data than those committed to, samples that are not opened,
            a file that is missing or damaged, marks or a teacher that are not shown.
    """
    check_kind(transcript)
    openings = None
    if isinstance(data, Openings):
        openings, data = data, data.checked(transcript)
    else:
        check_data(transcript, data)
    _check_kept(transcript, marks, triggers, teacher)
    recipe = Recipe.from_json(transcript.manifest.recipe)
    engine = as_recorded(transcript, engine or Engine())
    network = network_of(recipe, data, model, engine.device)
    training = _Training(transcript, data, recipe, engine, network, marks, triggers, teacher, openings)
    with threads(thread_count(transcript)):
        return training.audit(choice or Choice())


def to_open(
    transcript: Transcript, choice: Choice | None = None, *, model: nn.Module | None = None
) -> list[Segment]:
    """The segments that an audit trains again with this choice, those that detectors suspect among them.

    It needs no data; an audit needs the samples of these (`Openings`).

    Args:
        model: the network, where it is none of the registry.

    Raises:
        InputError: a file is missing or damaged, or more segments are asked for than there are.
        Forged: the transcript contradicts itself.
    """
    check_kind(transcript)
    recipe, data, engine = Recipe.from_json(transcript.manifest.recipe), undisclosed(transcript), Engine()
    network = network_of(recipe, data, model, engine.device)
    return _Training(transcript, data, recipe, engine, network).chosen(choice or Choice())


@dataclass(frozen=True)
class _Training:
    """A training that is to be checked, and what it takes to do it again."""

    transcript: Transcript
    data: Dataset
    recipe: Recipe
    engine: Engine
    model: nn.Module
    marks: Sequence[KeptMark] = ()
    triggers: TriggerBatch | None = None
    teacher: Teacher | None = None
    openings: Openings | None = None

    def audit(self, choice: Choice) -> Audit:
        """All checks, from the cheapest to the replays."""
        initial = plain_weights(self.model, Mask({}))
        differences = self._differences()
        self._check_layouts()
        try:
            self._check_names()
            self._check_steps()
            masks = self._retracer(initial).masks()
            seen = list(self._look(partial(self._state, masks)))
        except Forged as error:
            found = refuted(self.transcript, error, differences)
        else:
            replays = partial(self._replays, masks)
            found = judged(self.transcript, seen, choice, self._per_epoch, differences, replays)
        if self.openings is None:
            return found
        return replace(found, opened=(len(self.openings), len(self.data.train) + len(self.data.test)))

    def chosen(self, choice: Choice) -> list[Segment]:
        """The segments that an audit trains again."""
        self._check_layouts()
        self._check_steps()
        seen = list(self._look(self.transcript.state))
        return to_replay(self.transcript, seen, choice, self._per_epoch)[0]

    def _check_layouts(self) -> None:
        for level, step in self.transcript.places:
            State.check_layout(state_file(self.transcript.folder, level, step), self.model)
        if self.transcript.manifest.kind == "training" or self.transcript.end is not None:
            self._check_mask_layout(self.transcript.folder / MASK)

    def _check_mask_layout(self, path: Path) -> None:
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for name, (kind, shape) in read_layout(path).items():
            parameter = parameters.get(name)
            if kind != "BOOL" or parameter is None or shape != tuple(parameter.shape):
                expected = f"BOOL {list(parameter.shape)}" if parameter is not None else "nothing"
                raise bad_input(path, name[:80], expected, f"{kind} {list(shape)}"[:80])

    @property
    def _per_epoch(self) -> int:
        training, _ = self.data.hold_out(self.recipe.validation)
        with about(self.transcript.folder / MANIFEST):
            return batches_per_epoch(len(training), self.recipe.batch_size)

    def _run(self, mask: Mask) -> Run:
        kept = self.triggers, self.marks
        return Run(self.model, self.data, self.recipe, self.engine, mask, *kept, teacher=self.teacher)

    def _differences(self) -> dict[str, tuple[Any, Any]]:
        """What differs between the stack of the manifest and this one."""
        manifest, made_with = self.transcript.manifest, self.engine.prepare(self.model, self.recipe.precision)
        ours = {**stack(made_with), "code": code_facts()["digest"]}
        theirs = {**manifest.stack, "code": manifest.code.get("digest")}
        return differing(theirs, ours)

    def _check_names(self) -> None:
        """What `inspect` shows and nothing is computed from: a data set by another name, another start."""
        manifest, path = self.transcript.manifest, self.transcript.folder / MANIFEST
        named, derived = {self.recipe.dataset, self.data.name}, manifest.initial.get("derivation")
        if len(named & DATASETS.keys()) > 1:
            raise forged(path, "recipe, dataset", f"the data's name, {self.data.name}", self.recipe.dataset)
        if derived not in ("seed", "given"):
            raise forged(path, "initial, derivation", "seed or given", repr(derived)[:80])

    def _check_steps(self) -> None:
        """Every level begins and ends where the recipe says, and no segment is longer than promised."""
        transcript, path = self.transcript, self.transcript.folder / CHAIN
        total = self.recipe.length.iterations(self._per_epoch)
        search = transcript.manifest.kind == "search"
        for level in transcript.levels:
            first = first_step(self.recipe, self.data, dense=search and not level.number)
            ended = transcript.end is not None or level.number < len(transcript.levels) - 1
            for step, due in ((first, bool(level.steps)), (total, ended)):
                if due and step not in level.steps:
                    raise forged(path, f"level {level.number}", f"a boundary at step {step}", "none")
            if level.steps and not first <= level.steps[0] <= level.steps[-1] <= total:
                found = f"{level.steps[0]} to {level.steps[-1]}"
                raise forged(path, f"level {level.number}", f"boundaries at steps {first} to {total}", found)
        check_lengths(transcript)

    def _retracer(self, initial: Mapping[str, Tensor]) -> Retracer:
        search = self.transcript.manifest.kind == "search"
        derived = self.transcript.manifest.initial.get("derivation") == "seed"
        names = prunable_names(self.model, self.recipe.exclude)
        return Retracer(
            self.transcript,
            self.recipe,
            initial if search or derived else None,
            Mask.full({name: initial[name] for name in names}),
            self.recipe.rewind.iterations(self._per_epoch),
            self._accuracy,
        )

    def _accuracy(self, number: int, mask: Mask, weights: Mapping[str, Tensor]) -> float:
        """What decides in a search for the extreme ticket; in no other does anything rest on it."""
        if not self.recipe.extreme:
            return 0.0
        if self.openings is not None:
            self.openings.check_deciding(self.data, self.recipe)
        self.model.load_state_dict(weights)
        _, held_out = self.data.hold_out(self.recipe.validation)
        split = held_out if len(held_out) else self.data.test
        with as_sparse(self.model, mask, self._sparse_layers(number, mask)):
            return accuracy(self.model, split, self.data, self.engine.device, self.recipe.precision)

    def _sparse_layers(self, number: int, mask: Mask) -> list[str]:
        """The layers that were sparse in a level, as its owner says: they decide how sums are rounded."""
        if self.engine.device.type != "cpu":
            return []  # another stack, as `_differences` says
        names = self.transcript.levels[number].sparse_layers
        if extra := sorted(set(names) - takeable(self.model, mask).keys()):
            path = self.transcript.folder / CHAIN
            raise forged(
                path, f"sparse_layers of level {number}", "layers of the network", ", ".join(extra)[:80]
            )
        return names

    def _look(self, state: Callable[[int, int], State]) -> Iterator[Seen]:
        return look_at_all(self.transcript, state, self.recipe, self._per_epoch)

    def _state(self, masks: Sequence[Mask], level: int, step: int) -> State:
        """A state, pruned weights zero in it (promise 1)."""
        state = self.transcript.state(level, step)
        try:
            masks[level].check(state.parameters)
        except InputError as error:
            where = state_file(self.transcript.folder, level, step)
            raise Forged(f"{where}: step {step}: {error}", named=True) from None
        return state

    def _replays(self, masks: Sequence[Mask], chosen: Sequence[Segment]) -> Iterator[Replayed]:
        if self.openings is not None:
            self.openings.check_segments(self.data, self.recipe, chosen)
        self.engine.progress.begin("audit", sum(s.last - s.first for s in chosen))
        run, done = None, 0
        for segment in chosen:
            if run is None or masks[segment.level] is not run.mask:
                mask = masks[segment.level]
                sparsify(self.model, mask, self._sparse_layers(segment.level, mask))
                run = self._run(mask)
            start, end = (self.transcript.state(segment.level, n) for n in (segment.first, segment.last))
            first, again, wrong = segment.first, start, list[str]()
            for boundary in self.transcript.levels[segment.level].within(segment):
                step = boundary.fields["step"]
                with about(state_file(self.transcript.folder, segment.level, segment.first)):
                    again = replay(run, again, first, step)
                differ = [n for n, value in again.digests().items() if boundary.fields.get(n) != value]
                wrong += [f"{name} (a digest) of step {step}" for name in differ if step < segment.last]
                first = step
            yield Replayed.of(segment, start, end, again, wrong)
            self.engine.progress.advance(done := done + segment.last - segment.first, str(segment))


def as_recorded(transcript: Transcript, engine: Engine) -> Engine:
    """The engine, sparse or not as that of the transcript; InputError where the manifest says neither."""
    if engine.device.type != "cpu":
        return replace(engine, sparse=False)
    with about(transcript.folder / MANIFEST):
        return replace(engine, sparse=transcript.manifest.stack.get("sparse", False))


def _check_kept(
    transcript: Transcript,
    marks: Sequence[KeptMark],
    triggers: TriggerBatch | None,
    teacher: Teacher | None,
) -> None:
    """Refuses an audit without the marks, triggers and teacher that were trained with; no search has any."""
    path, kept = transcript.folder / MANIFEST, transcript.manifest.kept
    if kept and transcript.manifest.kind == "search":
        raise bad_input(path, "kept", "none in a search", str(len(kept)))
    shown = (*(mark.digest for mark in marks), *(one.digest for one in (triggers, teacher) if one))
    if shown != kept:
        expected = f"what was trained with, {len(kept)} of marks, trigger sets and teachers"
        found = f"{len(shown)} of other digests" if shown else "none"
        hint = "show the claim and the triggers: --claim FILE, --triggers FILE"
        raise bad_input(path, "kept", expected, found, hint=hint)
