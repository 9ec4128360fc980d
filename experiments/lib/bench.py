"""What every experiment stands on: data, tickets, trainings and cells of one scale; each is made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor, nn

import ticket_sig
from experiments import CHECKPOINTS
from experiments.lib.scales import Scale, Subject
from experiments.lib.sturdiest import LEVEL, MESSAGE, VERSION, sturdiest
from ticket_sig.cells import Cell, Measured, Store
from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.datasets.registry import FREE
from ticket_sig.digests import short_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.files import clear_partials, read_json, write_json
from ticket_sig.formats import load
from ticket_sig.formats.layouts import weights_for
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import CodeMark, Mark, of_kind
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.qr import QRCode
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.mask import Mask
from ticket_sig.models import build
from ticket_sig.models.sparse.layers import as_sparse
from ticket_sig.ticket import HistoryEntry, Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.batches import TriggerBatch, batches_per_epoch
from ticket_sig.training.device import emulated
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine, train
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import verify_answers
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.pixels import normalisation_of

_RESULT, _STATE = "result.json", "state.safetensors"
_MODEL, _HALFWAY = "model.safetensors", "halfway.safetensors"


@dataclass(frozen=True)
class Signed:
    """A ticket before and after signing, with its claim; `unsigned` is None where it is not known."""

    unsigned: Ticket | None
    ticket: Ticket
    claim: Claim


def found_in(history: Sequence[HistoryEntry]) -> HistoryEntry:
    """The ticket that a search found, before it was signed: the last round that it went on from."""
    rounds = (entry for entry in reversed(history) if entry.step == "prune" and entry.accepted)
    return next(rounds, history[0])


@dataclass(frozen=True)
class Known:
    """What names the cells of a signed ticket, and what tables tell of it: no tensor has to be there.

    Attributes:
        ticket, mask: digests of its tensors, and of its mask.
        recipe: that it was made with, as JSON.
        history: of its search; of a shipped ticket to the end.
        code: that stands in its mask.
    """

    ticket: str
    mask: str
    recipe: Mapping[str, Any]
    history: Sequence[HistoryEntry]
    code: QRCode

    @classmethod
    def of(cls, signed: Signed) -> Known:
        """What is known of a ticket that is there."""
        ticket, history = signed.ticket, (signed.unsigned or signed.ticket).history
        assert ticket.recipe is not None
        code = of_kind(CodeMark, signed.claim).code()
        return cls(signed.claim.subject, tensor_digest(ticket.mask), ticket.recipe, history, code)

    @property
    def found(self) -> HistoryEntry:
        """The ticket as the search found it, before it was signed."""
        return found_in(self.history)

    def to_json(self) -> dict[str, Any]:
        """As a search leaves it; message, version and level are those of every search."""
        history = [entry.to_json() for entry in self.history]
        return {**vars(self), "history": history, "code": {"data_mask": self.code.data_mask}}

    @classmethod
    def from_json(cls, value: Measured) -> Known:
        """What a search has left."""
        history = [HistoryEntry.from_json(entry) for entry in value["history"]]
        code = qr.encode(MESSAGE, VERSION, LEVEL)[value["code"]["data_mask"]]
        return cls(**{**value, "history": history, "code": code})


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        ticket: the network under the mask it was trained with, with one more entry of history.
        validation: accuracy in % after every epoch.
        halfway: the weights at the recipe's rewind step.
    """

    ticket: Ticket
    validation: Sequence[float | None]
    halfway: Mapping[str, Tensor]

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The trained weights."""
        return self.ticket.weights

    @property
    def made_with(self) -> dict[str, Any]:
        """Versions and hardware."""
        return dict(self.ticket.history[-1].made_with or {})


def no_secret(text: str) -> bytes:
    """32 bytes in place of a secret: they follow from a text, so that an experiment can be repeated."""
    return hashlib.sha256(text.encode()).digest()


def dense(weights: Mapping[str, Tensor]) -> Ticket:
    """A network of which nothing is pruned."""
    return Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))


def written_over(weights: Mapping[str, Tensor], mark: Mark) -> Mapping[str, Tensor]:
    """A dense network with a mark written over it, without training."""
    return mark.embed(dense(weights)).weights


class Bench:
    """The tickets, data and trainings of one scale; everything is made once, and found again."""

    def __init__(self, scale: Scale, folder: Path | None, run: Path, store: Store, engine: Engine) -> None:
        self.scale, self.folder, self.run, self.store, self.engine = scale, folder, run, store, engine
        self._data: dict[str, Dataset] = {}
        self._known: dict[Subject, Known] = {}
        self._signed: dict[Subject, Signed] = {}
        self._one_shot: dict[Subject, Signed] = {}

    def data(self, name: str) -> Dataset:
        """A data set by name."""
        if name not in self._data:
            self._data[name] = load_dataset(name, self.folder_with(name))
        return self._data[name]

    def folder_with(self, name: str) -> Path | None:
        """Where a data set lies: `--data` holds one folder each, or is the only one's; digits needs none."""
        if name == FREE or self.folder is None:
            return None
        own = self.folder / name
        return own if own.is_dir() else self.folder

    def network(self, arch: str, dataset: str, seed: int = 0) -> nn.Module:
        """An initial network for a data set."""
        data = self.data(dataset)
        return build(arch, data.classes, data.channels, seed)

    def initial(self, arch: str, dataset: str, seed: int = 0) -> dict[str, Tensor]:
        """The initial weights of a network for a data set."""
        return dict(self.network(arch, dataset, seed).state_dict())

    def known(self, subject: Subject) -> Known:
        """What is known of the signed ticket; the search leaves it as a cell, and its tensors in RUN."""
        if subject not in self._known:
            self._known[subject] = (
                Known.of(self.signed(subject))
                if self.scale.search is None
                else Known.from_json(self.store.once(self._search(subject)))
            )
        return self._known[subject]

    def signed(self, subject: Subject) -> Signed:
        """The signed ticket of scheme 2: the shipped one, or what this scale's search finds.

        Raises:
            InputError: the search found another ticket than the cells are of, as it may on another machine.
        """
        if subject not in self._signed:
            signed = self._shipped(subject) if self.scale.search is None else self._found(subject)
            if self.scale.search and (known := self.known(subject).ticket) != signed.claim.subject:
                hint = "the search on this machine found another; give a new folder: --results"
                raise bad_input(
                    self.store.folder, f"ticket of {subject}", known, signed.claim.subject, hint=hint
                )
            self._signed[subject] = signed
        return self._signed[subject]

    def _shipped(self, subject: Subject) -> Signed:
        loaded = load(CHECKPOINTS / str(subject))
        if loaded.claim is None:
            raise bad_input(CHECKPOINTS / str(subject), "claim", "the shipped one", "none")
        return Signed(None, loaded.ticket, Claim.read(loaded.claim))

    def _search(self, subject: Subject) -> Cell:
        def measure() -> Measured:
            return Known.of(self._found(subject)).to_json()

        about = {"subject": str(subject)}
        return self.cell("found", measure, self._searched_by(subject), about=about, words=[str(subject)])

    def _searched_by(self, subject: Subject) -> Recipe:
        assert self.scale.search is not None
        name, changes = self.scale.search
        return self.preset(name, subject.arch, subject.dataset, **changes)

    def _found(self, subject: Subject) -> Signed:
        recipe, data = self.native(self._searched_by(subject)), self.data(subject.dataset)

        def find(folder: Path) -> dict[str, Any]:
            return {"density": ticket_sig.find(recipe, data, folder, engine=self.engine).mask.density}

        folder, _ = self.once("found", {"recipe": recipe.to_json(), "data": data.digest}, find)
        ticket = load(folder / "ticket").ticket
        embedded = ticket_sig.embed(ticket, MESSAGE, version=VERSION, level=LEVEL, secret=b"experiments")
        return Signed(ticket, embedded.ticket, embedded.claim)

    def one_shot(self, subject: Subject) -> Signed:
        """A ticket whose unsigned form is known: the search's, or the shipped dense parent pruned once."""
        if (signed := self.signed(subject)).unsigned is not None:
            return signed
        if subject not in self._one_shot:
            parent = load(CHECKPOINTS / f"{subject}-dense").ticket
            ticket = prune_ticket(parent, 1 - signed.ticket.mask.density)
            embedded = sturdiest(ticket, key=b"experiments")
            self._one_shot[subject] = Signed(ticket, embedded.ticket, embedded.claim)
        return self._one_shot[subject]

    def signed_mask(self, subject: Subject) -> str:
        """The digest of the signed mask of `one_shot`."""
        shipped = self.scale.search is None
        return tensor_digest(self.one_shot(subject).ticket.mask) if shipped else self.known(subject).mask

    def native(self, recipe: Recipe) -> Recipe:
        """The recipe as this machine trains it: bf16 in float32 where it would be emulated, ten times slower.

        Both train alike (`fidelity`), so a cell is decided by the recipe as it is written, and its
        `made_with` says what was used.
        """
        slow = emulated(recipe.precision, self.engine.device)
        return replace(recipe, precision="float32") if slow else recipe

    def preset(self, name: str, arch: str, dataset: str, **changes: Any) -> Recipe:
        """A named recipe, the same on every machine (`native`)."""
        return preset(name, arch=arch, dataset=dataset, precision="bf16", **changes)

    def recipe(self, subject: Subject, seed: int, *, teaching: bool = False) -> Recipe:
        """The recipe of a retraining: the ticket's own, at this scale's length, or that for `teaching`."""
        recipe = replace(Recipe.from_json(self.known(subject).recipe), seed=seed)
        if self.scale.retraining is None:
            return recipe
        length, lr = self.scale.retraining
        length = self.scale.teaching or length if teaching else length
        return replace(recipe, length=length, retrain="start", rewind=Steps(0, "it"), lr=lr)

    def folder_of(self, kind: str, given: Mapping[str, Any]) -> Path:
        """The folder in RUN of what is made, by what decides it."""
        (self.run / kind).mkdir(parents=True, exist_ok=True)
        return self.run / kind / short_digest(given, 16)

    def once(
        self, kind: str, given: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        """What is made once, and read from RUN ever after: its folder, and its result.

        Args:
            given: all that decides it, as JSON.
            make: writes into the folder what it has to; returns the result, as JSON.
        """
        folder = self.folder_of(kind, given)
        with FileLock(folder.with_suffix(".lock")):  # another process may be making the same
            if not (folder / _RESULT).exists():
                folder.mkdir(exist_ok=True)
                clear_partials(folder)
                write_json(folder / _RESULT, make(folder))
        return folder, read_json(folder / _RESULT)

    def train(
        self,
        ticket: Ticket,
        recipe: Recipe,
        *,
        triggers: TriggerBatch | None = None,
        mark: Mark | None = None,
    ) -> Trained:
        """Trains a ticket under its mask from its rewind weights, or where it has none from its weights."""
        data, recipe = self.data(recipe.dataset), self.native(recipe)
        weights = ticket.weights if ticket.rewind is None else ticket.rewound()
        given = {
            "recipe": recipe.to_json(),
            "data": data.digest,
            "mask": tensor_digest(ticket.mask),
            "weights": tensor_digest(weights),
            "triggers": triggers and triggers.digest,
            "mark": mark and mark.digest,
        }

        def make(folder: Path) -> dict[str, Any]:
            model = self.network(recipe.arch, recipe.dataset, recipe.seed)
            model.load_state_dict(weights_for(model.state_dict(), weights))
            held = {"mask": ticket.mask, "triggers": triggers, "marks": [mark] if mark else []}
            return self._train(folder, model, data, recipe, held)

        folder, result = self.once("trained", given, make)
        (folder / _STATE).unlink(missing_ok=True)
        trained = replace(
            ticket,
            weights={**weights, **read_safetensors(folder / _MODEL)},
            recipe=recipe.to_json(),
            history=(*ticket.history, HistoryEntry.from_json(result["entry"])),
        )
        return Trained(trained, result["validation"], read_safetensors(folder / _HALFWAY))

    def _train(
        self, folder: Path, model: nn.Module, data: Dataset, recipe: Recipe, held: Mapping[str, Any]
    ) -> dict[str, Any]:
        mask: Mask = held["mask"]
        images = len(data.hold_out(recipe.validation)[0])
        rewind = recipe.rewind.iterations(batches_per_epoch(images, recipe.batch_size))
        layers = self.engine.choose(model, mask, recipe.precision, data.size, recipe.batch_size)
        with as_sparse(model, mask, layers):
            done = train(
                model,
                data,
                recipe,
                self.engine,
                **held,
                start=rewind if recipe.retrain == "rewind" else 0,
                state=folder / _STATE,
                label=f"{recipe.arch}, {100 * mask.density:.2f} % kept",
                snapshot=lambda halfway: write_safetensors(folder / _HALFWAY, halfway),
            )
        write_safetensors(folder / _MODEL, done.weights)
        validation = [epoch["validation"] for epoch in done.epochs]
        entry = HistoryEntry(
            step="train",
            kept=mask.kept,
            total=mask.total,
            validation=validation[-1],
            epochs=len(validation),
            seconds=round(done.seconds, 1),
            made_with=done.made_with,
        )
        return {"validation": validation, "entry": entry.to_json()}

    def accuracy(self, weights: Mapping[str, Tensor], arch: str, dataset: str) -> float:
        """Test accuracy in %, float32."""
        return weights_accuracy(weights, arch, self.data(dataset), self.engine.device)

    def asked(self, network: nn.Module, dataset: str, claim: Claim, triggers: TriggerSet) -> Verdict:
        """The verdict on what a network answers to triggers, among the same other images each time."""
        data = self.data(dataset)
        ask = ask_network(network, normalisation_of(data.name, data.channels))
        return verify_answers(claim, triggers, ask, nonce=bytes(32))

    def cell(
        self,
        name: str,
        measure: Callable[[], Measured],
        recipe: Recipe,
        *,
        about: Mapping[str, Any] | None = None,
        words: Sequence[str] | None = None,
        **asked: Any,
    ) -> Cell:
        """A cell of this scale: what decides it is its recipe, what it is about, and what is asked.

        Args:
            words: of its title, beside the name; by default what is asked, where that is plain.
        """
        fixed = {"experiment": name, "scale": self.scale.name, "recipe": recipe.to_json()}
        title = " ".join([name, *(plain(asked) if words is None else words)])
        return Cell(title, {**fixed, **(about or {}), "asked": asked}, measure)


def plain(asked: Mapping[str, Any]) -> list[str]:
    """What is asked, in words, where it is a text or a number."""
    return [f"{key} {value}" for key, value in asked.items() if isinstance(value, (str, int, float))]
