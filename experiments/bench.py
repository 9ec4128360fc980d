"""What every table and figure stands on: the tickets, the data and the trainings of one scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cells import Cell, Measured, Store
from filelock import FileLock
from results import sturdiest
from scales import Scale, Subject

import ticket_sig
from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.device import pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


@dataclass(frozen=True)
class Signed:
    """A ticket before and after signing, with its claim; `unsigned` is None where it is not known."""

    unsigned: Ticket | None
    ticket: Ticket
    claim: Claim


class Bench:
    """The tickets, data and trainings of one scale; everything is made once, and found again."""

    def __init__(self, scale: Scale, folder: Path | None, run: Path, store: Store, engine: Engine) -> None:
        self.scale, self.folder, self.run, self.store, self.engine = scale, folder, run, store, engine
        self._data: dict[str, Dataset] = {}
        self._signed: dict[Subject, Signed] = {}
        self._one_shot: dict[Subject, Signed] = {}

    def data(self, name: str) -> Dataset:
        """A data set by name; `--data` holds one folder each, or is the only one's."""
        if name not in self._data:
            own = self.folder / name if self.folder and (self.folder / name).is_dir() else self.folder
            alone = [] if own is None or list(own.glob("train*")) else sorted(own.glob("test-*.parquet"))
            self._data[name] = self._test_split_alone(name, alone[0]) if alone else load_dataset(name, own)
        return self._data[name]

    def _test_split_alone(self, name: str, file: Path) -> Dataset:
        """Where only a test split is at hand, its first 8 of 10 images are trained on."""
        folder = self.run / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("train", "test"):
            link = folder / f"{part}-00000-of-00001.parquet"
            if not link.exists():
                link.symlink_to(file.resolve())
        data = load_dataset(name, folder)
        cut = len(data.test) * 8 // 10
        return replace(data, train=data.test[:cut], test=data.test[cut:])

    def signed(self, subject: Subject) -> Signed:
        """The signed ticket of scheme 2: the shipped one, or what this scale's search finds."""
        if subject not in self._signed:
            self._signed[subject] = (
                self._shipped(subject) if self.scale.search is None else self._found(subject)
            )
        return self._signed[subject]

    def _shipped(self, subject: Subject) -> Signed:
        loaded = load(CHECKPOINTS / str(subject))
        if loaded.claim is None:
            raise bad_input(CHECKPOINTS / str(subject), "claim", "the shipped one", "none")
        return Signed(None, loaded.ticket, Claim.read(loaded.claim))

    def _found(self, subject: Subject) -> Signed:
        assert self.scale.search is not None
        name, changes = self.scale.search
        precision = pick_precision("auto", self.engine.device)
        recipe = preset(name, arch=subject.arch, dataset=subject.dataset, precision=precision, **changes)
        folder, data = self.run / "find" / str(subject), self.data(subject.dataset)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):  # another process may be searching the same
            ticket = ticket_sig.find(recipe, data, folder, engine=self.engine)
        embedded = sturdiest(ticket, key=b"experiments")
        return Signed(ticket, embedded.ticket, embedded.claim)

    def one_shot(self, subject: Subject) -> Signed:
        """A ticket whose unsigned form is known: the search's, or the shipped dense parent pruned once."""
        if (signed := self.signed(subject)).unsigned is not None:
            return signed
        if subject not in self._one_shot:
            dense = load(CHECKPOINTS / f"{subject}-dense").ticket
            ticket = prune_ticket(dense, 1 - signed.ticket.mask.density)
            embedded = sturdiest(ticket, key=b"experiments")
            self._one_shot[subject] = Signed(ticket, embedded.ticket, embedded.claim)
        return self._one_shot[subject]

    def recipe(self, subject: Subject, seed: int, *, teaching: bool = False) -> Recipe:
        """The recipe of a retraining: the ticket's own, at this scale's length, or that for `teaching`."""
        known = self.signed(subject).ticket.recipe
        assert known is not None
        recipe = replace(Recipe.from_json(known), seed=seed)
        if self.scale.retraining is None:
            return recipe
        length, lr = self.scale.retraining
        length = self.scale.teaching or length if teaching else length
        return replace(recipe, length=length, retrain="start", rewind=Steps(0, "it"), lr=lr)

    def train(self, ticket: Ticket, recipe: Recipe, triggers: TriggerBatch | None = None) -> Ticket:
        """A ticket trained from its rewind weights; once, and read from the run folder ever after."""
        given = {
            "recipe": recipe.to_json(),
            "mask": tensor_digest(ticket.mask),
            "weights": tensor_digest(ticket.rewound()),
            "triggers": triggers.digest if triggers else None,
        }
        folder, data = self.folder_of("trained", given), self.data(recipe.dataset)
        with FileLock(folder.with_suffix(".lock")):  # another process may be training the same
            return ticket_sig.retrain(ticket, recipe, data, folder, triggers=triggers, engine=self.engine)

    def few(self) -> tuple[int, ...]:
        """The seeds of what is not measured with all of them."""
        return self.scale.seeds[: self.scale.few]

    def folder_of(self, kind: str, given: Mapping[str, Any]) -> Path:
        """The folder of one training in RUN, by what decides it."""
        (self.run / kind).mkdir(parents=True, exist_ok=True)
        return self.run / kind / json_digest(given).removeprefix("sha256:")[:16]

    def accuracy(self, ticket: Ticket, subject: Subject) -> float:
        """Test accuracy in %, float32."""
        return weights_accuracy(ticket.weights, subject.arch, self.data(subject.dataset), self.engine.device)

    def cell(
        self,
        name: str,
        subject: Subject,
        measure: Callable[[], Measured],
        *,
        teaching: bool = False,
        **asked: Any,
    ) -> Cell:
        """A cell on a subject of this scale: what decides it is its ticket, its recipe and what is asked.

        Args:
            teaching: whether its recipe is that of a training with triggers.
        """
        whole = {
            "experiment": name,
            "scale": self.scale.name,
            "subject": str(subject),
            "ticket": self.signed(subject).claim.subject,
            "recipe": self.recipe(subject, asked.get("seed", 0), teaching=teaching).to_json(),
            "asked": asked,
        }
        plain = [f"{key} {value}" for key, value in asked.items() if isinstance(value, (str, int, float))]
        return Cell(" ".join([name, str(subject), *plain]), whole, measure)

    def of_training(self, trained: Ticket, subject: Subject, **more: Any) -> dict[str, Any]:
        """What a cell keeps of a training."""
        entry = trained.history[-1]
        return {
            "accuracy": self.accuracy(trained, subject),
            "validation": entry.validation,
            "kept": trained.mask.kept,
            "total": trained.mask.total,
            "made_with": dict(entry.made_with or {}),
            **more,
        }
