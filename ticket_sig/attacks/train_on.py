"""Training a stolen model on, on the data it knows or on other data: what several attacks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.datasets import Dataset
from ticket_sig.datasets.channels import with_channels
from ticket_sig.lottery.retrain import retrain
from ticket_sig.mask import Mask
from ticket_sig.models import build, ends
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.steps import Steps

# What several attacks call their options.
EPOCHS = "Length, in place of the recipe's."
LR = "Largest learning rate, in place of the recipe's."

MakeTriggers = Callable[[Dataset, Recipe], TriggerBatch]


@dataclass(frozen=True)
class Task:
    """What a thief trains a model for.

    Attributes:
        network: for the data; its own weights do not matter, but those of a fresh classifier.
        data: in the channels of the model's first layer.
        fresh: names of the classifier's tensors where they do not serve this task: it has other classes,
            or is another data set than the model was trained on. Nothing where they do.
    """

    network: nn.Module
    data: Dataset
    fresh: tuple[str, ...]


def task_of(ticket: Ticket, scene: Scene) -> Task:
    """What the scene's data mean to a model.

    The first layer stays as it is: where images have other channels, the images are converted.

    Raises:
        InputError: no data or recipe, or images that cannot be converted.
    """
    data, recipe = scene.dataset(), scene.recipe_for(ticket)
    network = scene.model or build(recipe.arch, data.classes, data.channels, scene.seed)
    first, last = ends(network)
    stem = ticket.weights.get(first)
    if stem is not None and stem.ndim > 2 and stem.shape[1] != data.channels:
        data = with_channels(data, stem.shape[1])
        network = scene.model or build(recipe.arch, data.classes, data.channels, scene.seed)
    tensors, layer = network.state_dict(), last.removesuffix("weight")
    names = tuple(name for name in tensors if name.startswith(layer) and name in ticket.weights)
    known = (ticket.recipe or {}).get("dataset", data.name)
    serves = known == data.name and all(ticket.weights[n].shape == tensors[n].shape for n in names)
    return Task(network, data, () if serves else names)


def train_on(
    ticket: Ticket,
    scene: Scene,
    *,
    epochs: int | None,
    lr: float | None,
    start: str = "model",
    make_triggers: MakeTriggers | None = None,
) -> Ticket:
    """Trains a model on under its mask; the classifier is a fresh one where it does not serve the data.

    Args:
        ticket: as the thief has it (`stolen`).
        epochs, lr: in place of the recipe's.
        start: "model", or "rewind" for a thief who has rewind weights.
        make_triggers: makes images to teach beside the data.

    Raises:
        InputError: no data or recipe, or weights that do not fit the network.
    """
    task = task_of(ticket, scene)
    recipe = thief_recipe(ticket, scene, task, epochs, lr)
    with scene.folder() as run:
        return retrain(
            _fitted(ticket, task),
            recipe,
            task.data,
            run,
            start=start,
            triggers=make_triggers(task.data, recipe) if make_triggers else None,
            model=scene.model,
            engine=scene.engine,
        )


def thief_recipe(ticket: Ticket, scene: Scene, task: Task, epochs: int | None, lr: float | None) -> Recipe:
    """How a thief trains: his recipe or the ticket's, with his seed, and another length and rate if given."""
    changes: dict[str, Any] = {"dataset": task.data.name, "seed": scene.seed, "lr": lr}
    changes["length"] = None if epochs is None else Steps(epochs)
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(scene.recipe_for(ticket), **given)


def _fitted(ticket: Ticket, task: Task) -> Ticket:
    """The ticket with the task's fresh classifier, dense."""
    if not task.fresh:
        return ticket
    tensors = task.network.state_dict()
    fresh = {name: tensors[name].detach().cpu().clone() for name in task.fresh}
    return replace(
        ticket,
        weights={**ticket.weights, **fresh},
        mask=Mask({name: kept for name, kept in ticket.mask.items() if name not in fresh}),
        rewind=ticket.rewind and {**ticket.rewind, **fresh},
    )
