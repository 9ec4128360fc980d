"""One level of a search: a mask, trained from the rewind weights, in a folder of its own.

A finished level is read, not trained again; a half-finished one goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.errors import bad_input
from ticket_sig.fields import entry
from ticket_sig.files import make_folder, read_json, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.models import build
from ticket_sig.models.sparse.layers import as_sparse, takeable
from ticket_sig.ticket import HistoryEntry, Ticket, tie, ties
from ticket_sig.training.batches import TriggerBatch, iterations_of
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Engine, Trained, train
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.own import trainable
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.teacher import Teacher

_MASK, _MODEL, _REWIND = "mask.safetensors", "model.safetensors", "rewind.safetensors"
_STATE, _RESULT, _SPARSE = "state.safetensors", "result.json", "sparse.json"


def network_of(recipe: Recipe, data: Dataset, own: nn.Module | None, device: torch.device) -> nn.Module:
    """The recipe's network; or a copy of the user's own, which is left as it is: the same call goes on."""
    if own is not None:
        return trainable(own, data, device, recipe.seed)
    return build(recipe.arch, data.classes, data.channels, recipe.seed)


def first_step(recipe: Recipe, data: Dataset, *, dense: bool) -> int:
    """The step that a training starts at: a ticket's may be the rewind step."""
    if dense or recipe.retrain == "start":
        return 0
    return iterations_of(recipe.rewind, recipe, data)


@dataclass(frozen=True)
class Trainer:
    """What all levels of a run share; the model's weights are overwritten by every level."""

    model: nn.Module
    data: Dataset
    recipe: Recipe
    engine: Engine
    triggers: TriggerBatch | None = None
    marks: Sequence[KeptMark] = ()
    teacher: Teacher | None = None

    def train_level(
        self,
        folder: Path,
        start: Mapping[str, Tensor],
        mask: Mask,
        *,
        step: str,
        label: str,
        rate: float | None = None,
        rewind: Mapping[str, Tensor] | None = None,
    ) -> Ticket:
        """Trains the weights `start` under a mask and returns the ticket, with one entry of history.

        Args:
            folder: of this level alone.
            step: "dense", "prune" or "train", for the history.
            rewind: what the ticket goes back to; None = train from the first step, and put the
                weights aside at the recipe's rewind step.

        Raises:
            InputError: the folder holds another level, or training failed.
        """
        make_folder(folder)
        layers = self._sparse_layers(folder, mask)
        if self.engine.recorder:
            self.engine.recorder.level(start, mask, rate, layers)
        if not (folder / _RESULT).exists():
            write_safetensors(folder / _MASK, mask)
            self.model.load_state_dict(start)
            with as_sparse(self.model, mask, layers):
                trained = self._train(folder, mask, label, dense=rewind is None)
                write_safetensors(folder / _MODEL, trained.weights)
                write_json(folder / _RESULT, self._entry(trained, mask, step, rate).to_json())
            (folder / _STATE).unlink(missing_ok=True)
        if Mask(read_safetensors(folder / _MASK)) != mask:
            raise bad_input(folder / _MASK, "mask", "that of this run", "another")
        # A file holds tied weights as copies.
        tied = ties(self.model.state_dict(keep_vars=True))
        return Ticket(
            weights=tie(read_safetensors(folder / _MODEL), tied),
            mask=mask,
            rewind=rewind if rewind is not None else tie(read_safetensors(folder / _REWIND), tied),
            recipe=self.recipe.to_json(),
            history=(HistoryEntry.from_json(read_json(folder / _RESULT)),),
        )

    def _sparse_layers(self, folder: Path, mask: Mask) -> tuple[str, ...]:
        """The layers that this level has sparse: chosen once, before its first step, and written down."""
        if not self.engine.sparse:
            return ()
        if not (path := folder / _SPARSE).exists():
            recipe, size = self.recipe, self.data.size
            chosen = self.engine.choose(self.model, mask, recipe.precision, size, recipe.batch_size)
            write_json(path, {"sparse_layers": list(chosen)})
        layers = tuple(map(str, entry(read_json(path), "sparse_layers", list, path)))
        if extra := sorted(set(layers) - takeable(self.model, mask).keys()):
            raise bad_input(path, "sparse_layers", "layers of the network", ", ".join(extra)[:80])
        return layers

    def _train(self, folder: Path, mask: Mask, label: str, dense: bool) -> Trained:
        return train(
            self.model,
            self.data,
            self.recipe,
            self.engine,
            mask=mask,
            triggers=self.triggers,
            marks=self.marks,
            teacher=self.teacher,
            start=first_step(self.recipe, self.data, dense=dense),
            state=folder / _STATE,
            label=label,
            snapshot=(lambda weights: write_safetensors(folder / _REWIND, weights)) if dense else None,
        )

    def _entry(self, trained: Trained, mask: Mask, step: str, rate: float | None) -> HistoryEntry:
        return HistoryEntry(
            step=step,
            kept=mask.kept,
            total=mask.total,
            rate=rate,
            validation=trained.epochs[-1]["validation"] if trained.epochs else None,
            test=self._accuracy(self.data.test),
            triggers=self._accuracy(self.triggers.split) if self.triggers else None,
            epochs=len(trained.epochs),
            seconds=round(trained.seconds, 1),
            made_with=trained.made_with,
        )

    def _accuracy(self, split: Split) -> float:
        return accuracy(self.model, split, self.data, self.engine.device, self.recipe.precision)
