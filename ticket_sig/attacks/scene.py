"""What a thief has beside the model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.marks import CodeMark
from ticket_sig.models.own import plain_copy
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import generator
from ticket_sig.training.loop import Engine
from ticket_sig.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a thief has beside the model; every part of it may be missing but the seed.

    Attributes:
        data: what he trains on: the owner's data set or another one.
        recipe: how he trains; the ticket's own where there is none.
        model: a network of the user's own in place of `recipe.arch`, with as many classes as `data`; a plain
            copy of it is kept.
        engine: where he trains.
        run: folder for the state of a training; a temporary one where there is none.
        seed: of everything he draws, so that an experiment can be done again.
        place: the owner's code, where the thief is an insider who knows where it stands.
    """

    data: Dataset | None = None
    recipe: Recipe | None = None
    model: nn.Module | None = None
    engine: Engine = field(default_factory=Engine)
    run: Path | None = None
    seed: int = 0
    place: CodeMark | None = None

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", plain_copy(self.model))

    def dataset(self) -> Dataset:
        """The data set; InputError where there is none."""
        if self.data is None:
            hint = "name its folder: --data DIR"
            if self.recipe is None:
                hint = "name network and data set: --arch, --dataset, --data DIR (digits needs no folder)"
            raise bad_input("attack", "data", "a data set", "none", hint=hint)
        return self.data

    def recipe_for(self, ticket: Ticket) -> Recipe:
        """The thief's recipe, or else the ticket's; InputError where there is neither."""
        if self.recipe is not None:
            return self.recipe
        if ticket.recipe is None:
            hint = "name network and data set: --arch and --dataset"
            raise bad_input("attack", "recipe", "one of the ticket or of the thief", "neither", hint=hint)
        return Recipe.from_json(ticket.recipe)

    def draw(self, label: str) -> torch.Generator:
        """The thief's random numbers for one use."""
        return generator(self.seed, "attack", label)

    def secret(self, label: str) -> bytes:
        """32 bytes of the thief's for one use."""
        return bytes(torch.randint(256, (32,), generator=self.draw(label)).tolist())

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The run folder, or a temporary one for the block."""
        if self.run is not None:
            yield self.run
            return
        with tempfile.TemporaryDirectory(prefix="ticket_sig-attack-") as name:
            yield Path(name) / "run"


def stolen(ticket: Ticket) -> Ticket:
    """What a thief has of a ticket: weights, mask and recipe (the network's name is no secret)."""
    return replace(ticket, rewind=None, history=())
