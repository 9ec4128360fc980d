"""One iteration: a batch, forward, backward, the optimizer's step, mask and mark; all on the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.mask import Mask
from ticket_sig.training.batches import Batches, generator
from ticket_sig.training.capture import CapturedIteration
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.teacher import Teacher


class Iteration:
    """Runs iterations of one training, in any order of numbers; waits for the device at most once an epoch.

    Attributes:
        optimizer: SGD with float32 weights and momentum.
        losses: sum of the losses over images, and the number of images, since they were last zeroed.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        recipe: Recipe,
        device: torch.device,
        mask: Mask,
        *,
        marks: Sequence[KeptMark] = (),
        teacher: Teacher | None = None,
        capture: bool = False,
    ) -> None:
        self.model, self.batches, self.recipe, self.device = model, batches, recipe, device
        self.optimizer = optimizer_of(model, recipe, device)
        self.losses = torch.zeros(2, dtype=torch.float64, device=device)
        parameters = dict(model.named_parameters(remove_duplicate=False))  # tied ones under each name
        self.hold = mask.bind(parameters)
        self.marks = [held for mark in marks if (held := mark.bind(model)) is not None]
        if self.marks:
            mask.check(parameters, "mark")  # it would write over the mask at every step
        self.teacher = teacher
        if teacher is not None:
            teacher.move(device)
        self._graphs = CapturedIteration(device) if capture and device.type == "cuda" else None

    def __call__(self, step: int) -> None:
        """Does the iteration of this number, counted from 0."""
        set_rate(self.optimizer, self.recipe.learning_rate(step, len(self.batches)))
        first, count = self.batches.begin(step)
        if self._graphs is not None and self._can_capture(self._graphs, count):
            self._graphs.replay(first, count)
        else:
            with self._own_random_numbers(step):
                self.work(slice(first, first + count))

    @property
    def captured(self) -> bool:
        """Whether iterations are replayed as CUDA graphs; known after the first."""
        return self._graphs is not None

    def work(self, rows: Tensor | slice) -> None:
        """One iteration on these rows of the epoch that was begun."""
        images, labels = self.batches.take(rows)
        loss = self.learn(images, labels)
        self.hold()
        for mark in self.marks:
            mark.put_back()
        self.losses[0] += loss * len(labels)
        self.losses[1] += len(labels)

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Forward, backward and the optimizer's step; returns the mean loss, a mark's penalty left out."""
        bf16 = self.recipe.precision == "bf16"
        # A cast that is kept from one step to the next would be captured with its old value.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16, cache_enabled=not self.captured):
            logits = self.model(images).float()
            answers = None if self.teacher is None else self.teacher.answers(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self.teacher is not None and answers is not None:
            loss = self.teacher.loss(logits, answers, loss)
        self.optimizer.zero_grad(set_to_none=True)
        penalties = [p for mark in self.marks if (p := mark.penalty()) is not None]
        sum(penalties, loss).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _can_capture(self, graphs: CapturedIteration, count: int) -> bool:
        """Captures the step, unless it waits for the host or draws random numbers: those are a step's own."""
        try:
            graphs.prepare(count, self.work, self._state)
        except RuntimeError:
            self._graphs = None
        return self.captured

    def _state(self) -> list[Tensor]:
        """All that an iteration changes."""
        momenta = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        return [*self.model.state_dict().values(), *momenta, self.losses]

    @contextlib.contextmanager
    def _own_random_numbers(self, step: int) -> Iterator[None]:
        """Dropout and the like draw from the recipe's seed and this step alone."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator(self.recipe.seed, "step", step).initial_seed())
            yield


def optimizer_of(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """SGD in one kernel; on a GPU its learning rate is a tensor and its momentum is there from the start."""
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=torch.tensor(recipe.lr, dtype=torch.float32, device=device) if on_gpu else recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    if on_gpu and recipe.momentum:
        # What the first step would make: from zero, the momentum after it is the gradient.
        for parameter in model.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives an optimizer the learning rate of a step, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
