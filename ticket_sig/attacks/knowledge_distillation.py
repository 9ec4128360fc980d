"""Knowledge distillation: a fresh network learns what the model answers, and nothing of its weights.

Sources: Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural Network"; a modification of
IEEE 3304 (MPAI-NNW Traceability, robustness), which names architecture, images and epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.attacks.train_on import EPOCHS, LR, task_of, thief_recipe
from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.lottery.level import network_of
from ticket_sig.lottery.retrain import retrain
from ticket_sig.mask import Mask
from ticket_sig.models import prunable_names
from ticket_sig.models.own import plain_copy
from ticket_sig.options import above_0, one_or_more, option, positive
from ticket_sig.ticket import Ticket
from ticket_sig.training.loop import plain_weights
from ticket_sig.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(Attack):
    """Trains a fresh, dense network on the model's softened answers; no weight and no mask is taken over."""

    student: str | None = option("Architecture of the network; the model's by default.", default=None)
    images: int | None = option(
        "Images of the train split that the thief has, drawn at random; all by default.",
        default=None,
        check=one_or_more,
    )
    epochs: int | None = option(EPOCHS, default=None, check=one_or_more)
    lr: float | None = option(LR, default=None, check=positive)
    temperature: float = option("Logits are divided by it before the softmax.", default=4.0, check=positive)
    share: float = option(
        "Share of the softened answers in the loss; the labels have the rest.", default=0.9, check=above_0(1)
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the student, with one entry of history; the teacher is left as it is.

        Raises:
            InputError: no data or recipe; the data are not those of the model, or fewer than asked for; no
                architecture of that name; or a network of the user's own has no `reset_parameters`.
        """
        task = task_of(ticket, scene)
        if task.fresh:
            raise bad_input("attack", "data", "the data set that the model was trained on", task.data.name)
        recipe = thief_recipe(ticket, scene, task, self.epochs, self.lr)
        network = network_of(recipe, task.data, scene.model, scene.engine.device)
        network.load_state_dict(weights_for(network.state_dict(), ticket.weights))
        teacher = Teacher(network, temperature=self.temperature, share=self.share)
        seed = scene.draw("student").initial_seed()  # another than a model's of the same recipe
        recipe, own = replace(recipe, arch=self.student or recipe.arch), None
        if scene.model is not None and self.student is None:
            own = _fresh(scene.model, seed)
        student = network_of(replace(recipe, seed=seed), task.data, own, scene.engine.device)
        weights = plain_weights(student, Mask({}))
        mask = Mask.full({name: weights[name] for name in prunable_names(student, recipe.exclude)})
        begun, data = replace(stolen(ticket), weights=weights, mask=mask), self._had(task.data, scene)
        how: dict[str, Any] = {"teacher": teacher, "model": own, "engine": scene.engine}
        with scene.folder() as run:
            return Attacked(retrain(begun, recipe, data, run, start="model", **how))

    def _had(self, data: Dataset, scene: Scene) -> Dataset:
        """The data with as many training images as the thief has."""
        if self.images is None:
            return data
        if self.images > len(data.train):
            raise bad_input(
                "attack", "images", f"at most {len(data.train)}, the train split", str(self.images)
            )
        rows = torch.randperm(len(data.train), generator=scene.draw("images"))[: self.images]
        return replace(data, train=data.train[rows.sort().values])


def _fresh(network: nn.Module, seed: int) -> nn.Module:
    """A copy of a network of the user's own, initialised anew by its modules' `reset_parameters`."""
    fresh = plain_copy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                hint = "name another architecture: --student"
                where = f"a module with reset_parameters at {name or 'its top'}"
                raise bad_input("model", "student", where, type(module).__name__, hint=hint)
    return fresh
