"""The masks of a transcript, computed again: each came out of the weights that it is said to come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.lottery.find import tries
from ticket_sig.mask import Mask
from ticket_sig.ticket import HistoryEntry, Ticket, retie, tie, ties
from ticket_sig.training.recipe import Recipe
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, state_file
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Level, Transcript, forged

Accuracy = Callable[[int, Mask, Mapping[str, Tensor]], float]


class _Unfinished(Exception):
    """The transcript has no more levels."""


@dataclass(frozen=True)
class Retracer:
    """Walks through a transcript as the search did, without training.

    Attributes:
        initial: weights that the first training starts from, as recipe and seed give them; None where they
            were given, and only their digest is known.
        full: of a search, the mask that prunes nothing.
        rewind: step that a ticket goes back to.
        accuracy: of a level's weights, under its mask, on what decides (%).
    """

    transcript: Transcript
    recipe: Recipe
    initial: Mapping[str, Tensor] | None
    full: Mask
    rewind: int
    accuracy: Accuracy

    def masks(self) -> list[Mask]:
        """The mask of every level.

        Raises:
            Forged: a mask, the weights a level starts from, or what came out is another than the chain says.
        """
        if not self.transcript.levels:
            raise forged(self._chain, "levels", "one or more", "none")
        begun = self.transcript.levels[0].entry.fields["start"]
        if (said := str(self.transcript.manifest.initial.get("digest"))[:80]) != begun:
            where = self.transcript.folder / MANIFEST
            raise forged(where, "initial, digest", f"what level 0 starts from, {begun}", said)
        if self.transcript.manifest.kind == "training":
            return self._of_training()
        masks = [self.full]
        self._check_level(0, self.full, self.initial)
        try:
            self._search(masks)
        except _Unfinished:
            if self.transcript.end is not None:
                raise forged(self._chain, "levels", f"more than {len(masks)}", "the end") from None
        if len(masks) < len(self.transcript.levels):
            raise forged(self._chain, "levels", str(len(masks)), str(len(self.transcript.levels)))
        return masks

    @property
    def _chain(self) -> Path:
        return self.transcript.folder / CHAIN

    def _of_training(self) -> list[Mask]:
        mask = Mask(read_safetensors(self.transcript.folder / MASK))
        self._check_level(0, mask, self.initial)
        if len(self.transcript.levels) > 1:
            raise forged(self._chain, "levels", "1", str(len(self.transcript.levels)))
        if self.transcript.end is not None:
            self._check_end(mask, self._weights(0, mask))
        return [mask]

    def _search(self, masks: list[Mask]) -> None:
        best = self._ticket(0, self.full)
        rewind = self._tied(self.transcript.state(0, self._rewind_step()))

        def train(mask: Mask, rate: float) -> Ticket:
            if len(masks) == len(self.transcript.levels):
                raise _Unfinished
            self._check_level(len(masks), mask, retie(rewind, mask.apply(rewind)), rate)
            masks.append(mask)
            return self._ticket(len(masks) - 1, mask)

        for tried in tries(self.recipe, best, train):
            best = tried.ticket if tried.accepted else best
        if self.transcript.end is not None:
            self._check_end(best.mask, best.weights)

    def _rewind_step(self) -> int:
        if self.rewind not in self.transcript.levels[0].steps:
            raise forged(self._chain, "level 0", f"a boundary at the rewind step, {self.rewind}", "none")
        return self.rewind

    def _check_level(
        self, number: int, mask: Mask, start: Mapping[str, Tensor] | None, rate: float | None = None
    ) -> None:
        level = self.transcript.levels[number]
        found: dict[str, object] = {"mask": tensor_digest(mask), "kept": mask.kept, "total": mask.total}
        found |= {"rate": rate} | ({} if start is None else {"start": tensor_digest(start)})
        for name, value in found.items():
            if (said := level.entry.fields.get(name)) != value:
                what = "initial weights" if name == "start" and not number else name
                raise forged(self._chain, f"{what} of level {number}", str(value), str(said)[:80])
        if level.steps:
            self._check_start(level, mask)

    def _check_start(self, level: Level, mask: Mask) -> None:
        """The first state is that of a training that has not begun: no momentum, and no loss."""
        step, state = level.steps[0], self.transcript.state(level.number, level.steps[0])
        where = state_file(self.transcript.folder, level.number, step)
        if tensor_digest(self._pruned(state, mask)) != level.entry.fields["start"]:
            raise forged(where, f"parameters of step {step}", "those its level starts from", "others")
        if moved := [name for name, tensor in state.optimizer.items() if bool(tensor.any())]:
            raise forged(where, f"optimizer/{moved[0]} of step {step}", "zeros, before any step", "others")
        if state.losses != (0.0, 0.0):
            raise forged(where, f"losses of step {step}", "none, before any step", str(state.losses))

    def _check_end(self, mask: Mask, weights: Mapping[str, Tensor]) -> None:
        assert self.transcript.end is not None
        for name, found in {"mask": tensor_digest(mask), "weights": tensor_digest(weights)}.items():
            if (said := self.transcript.end.fields.get(name)) != found:
                raise forged(self._chain, f"{name} of the end", found, str(said)[:80])
        self.transcript.mask()

    def _weights(self, number: int, mask: Mask) -> dict[str, Tensor]:
        """What a level was trained to."""
        if not (steps := self.transcript.levels[number].steps):
            raise _Unfinished
        return self._pruned(self.transcript.state(number, steps[-1]), mask)

    def _pruned(self, state: State, mask: Mask) -> dict[str, Tensor]:
        """Parameters and buffers under a mask, which names tied weights once."""
        weights = self._tied(state)
        return retie(weights, mask.apply(weights))

    def _tied(self, state: State) -> dict[str, Tensor]:
        """Parameters and buffers of a state, tied as those of the network are: its file holds copies."""
        return tie(everything(state), ties(self.initial or {}))

    def _ticket(self, number: int, mask: Mask) -> Ticket:
        """The same, with the accuracy that decides."""
        weights = self._weights(number, mask)
        entry = HistoryEntry(
            step="prune",
            kept=mask.kept,
            total=mask.total,
            validation=self.accuracy(number, mask, weights),
        )
        return Ticket(weights=weights, mask=mask, history=(entry,))


def everything(state: State) -> dict[str, Tensor]:
    """Parameters and buffers of a state, as a state dict has them."""
    return {**state.parameters, **state.buffers}
