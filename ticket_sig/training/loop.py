"""The training loop: one schedule, with or without a mask, from any step to the end."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import about, bad_input
from ticket_sig.mask import Mask
from ticket_sig.models.norm_relu import fuse
from ticket_sig.models.sparse.choice import choose, sparse_kernels, whole
from ticket_sig.models.sparse.layers import as_it_was, pruned_layers, sparse_layers, sparsify
from ticket_sig.progress import Progress, Silent
from ticket_sig.ticket import check_finite, tie, ties
from ticket_sig.training.batches import Batches, TriggerBatch
from ticket_sig.training.checkpoint import read_checkpoint, write_checkpoint
from ticket_sig.training.device import compute_exactly, made_with
from ticket_sig.training.evaluate import BATCH, accuracy
from ticket_sig.training.iteration import Iteration
from ticket_sig.training.marks import KeptMark
from ticket_sig.training.memory import keep_freed_memory
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.recorder import Recorder
from ticket_sig.training.run_folder import begun_with
from ticket_sig.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where and how a training runs; none of it is part of the recipe.

    Attributes:
        device: of model and data.
        checkpoint_seconds: how much work a kill may cost; on a GPU up to twice that, to finish the epoch.
        capture: on a GPU, replay the step as a CUDA graph, unless it is seen to wait for the host or to
            draw random numbers; turn it off for a network that changes from step to step in another way.
        fused: use the kernels in C where they are faster and this machine can compile them.
        sparse: on a CPU, leave pruned weights out of the computation (`models.sparse`): True in every layer
            that something is pruned of and that allows it, "auto" where it is measured to be faster. The
            clock then decides: two runs alike may have other sparse layers, and other bits. A run that was
            begun goes on as it was begun, and an audit takes what the transcript says.
        keep_memory: on a CPU, have the process keep the memory it frees (see `memory.py`).
        progress: told what happens.
        recorder: told what is trained, and every step of it.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoint_seconds: float = 20.0
    capture: bool = True
    fused: bool = True
    sparse: bool | str = False
    keep_memory: bool = True
    progress: Progress = field(default_factory=Silent)
    recorder: Recorder | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.sparse, bool) or self.sparse == "auto"):
            raise bad_input("engine", "sparse", "True, False or 'auto'", repr(self.sparse)[:80])
        if self.sparse is True and self.device.type != "cpu":
            hint = "choose 'auto', which leaves it out elsewhere"
            raise bad_input("engine", "sparse", "a CPU to train on", str(self.device), hint=hint)

    def prepare(self, model: nn.Module, precision: str) -> dict[str, Any]:
        """Puts a model where and how it is trained; returns what it is trained with, for histories.

        What this says is the same for all levels of a search; `sparse_layers` is a level's own.
        """
        if self.keep_memory and self.device.type == "cpu":
            keep_freed_memory()
        compute_exactly(self.device)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        fused = fuse(model, self.fused and self.device.type == "cpu" and precision == "bf16")
        kernels, layers = f"fused {fused}" if fused else "torch", sparse_layers(model)
        if not self.sparse:
            return made_with(self.device, precision, kernels)
        made = made_with(self.device, precision, f"{kernels}, sparse {sparse_kernels() or 'torch'}")
        return {**made, "sparse": self.sparse, **({"sparse_layers": list(layers)} if layers else {})}

    def going_on(self, run: Path) -> Engine:
        """This engine, sparse as the run of a folder was begun: its bits must not change on the way."""
        if (begun := begun_with(run)) is None or (before := begun.get("sparse", False)) == self.sparse:
            return self
        self.progress.note(f"this run was begun with sparse={before!r}, and goes on so")
        with about(run):
            return replace(self, sparse=before)

    def choose(
        self,
        model: nn.Module,
        mask: Mask,
        precision: str,
        size: tuple[int, int, int],
        batch: int,
        *,
        training: bool = True,
    ) -> tuple[str, ...]:
        """Names of the weights of the layers that are to be sparse under a mask.

        Args:
            size: height, width and channels of an image.
            batch: images of a batch.
            training: it is trained so; else it only answers.
        """
        if not self.sparse or self.device.type != "cpu" or mask.kept == mask.total:
            return ()
        if left := [f"{name} ({why})" for name, why in pruned_layers(model, mask).items() if why]:
            self.progress.note("left dense: " + "; ".join(left))
        if self.sparse is True:
            layers = whole(model, mask)
            self.progress.note(f"sparse layers: {len(layers)}")
            return layers
        height, width, channels = size
        images = batch, channels, height, width
        return choose(model, mask, images, precision, self.progress.note, training=training)

    def for_answers(self, model: nn.Module, precision: str, size: tuple[int, int, int]) -> nn.Module:
        """A network that only answers, in place: its pruned weights are left out, if that is asked for."""
        if self.keep_memory and self.device.type == "cpu":
            keep_freed_memory()
        mask = Mask.of_zeros(dict(model.named_parameters()))
        layers = self.choose(model, mask, precision, size, BATCH, training=False)
        return sparsify(model, mask, layers) if layers else model

    @contextlib.contextmanager
    def answering(self, model: nn.Module, precision: str, size: tuple[int, int, int]) -> Iterator[None]:
        """The same for the block alone."""
        with as_it_was(model):
            self.for_answers(model, precision, size)
            yield


@dataclass(frozen=True)
class Trained:
    """A finished training: weights (plain layout, on the CPU), one entry an epoch, and what it ran on."""

    weights: dict[str, Tensor]
    epochs: list[dict[str, Any]]
    seconds: float
    made_with: dict[str, Any]


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    engine: Engine,
    *,
    mask: Mask | None = None,
    triggers: TriggerBatch | None = None,
    marks: Sequence[KeptMark] = (),
    teacher: Teacher | None = None,
    start: int = 0,
    state: Path | None = None,
    label: str = "training",
    snapshot: Callable[[dict[str, Tensor]], None] | None = None,
) -> Trained:
    """Trains a model in place, from iteration `start` to the end of the recipe's length.

    Args:
        model: holds the weights to start from.
        mask: weights it prunes are zero after every step (promise 1).
        triggers: appended to every batch (scheme 3).
        marks: to keep or to teach.
        teacher: whose answers are learnt (knowledge distillation).
        state: checkpoint file; where it exists, training goes on from it with the same bits.
        snapshot: called with the weights at the recipe's rewind step.

    Raises:
        InputError: the loss is no longer finite or memory runs out (the last good checkpoint is
            kept), the rewind step lies behind the end, or the checkpoint is damaged.
    """
    trained_with = engine.prepare(model, recipe.precision)
    mask = mask or Mask({})
    run = Run(model, data, recipe, engine, mask, triggers, marks, state, start, teacher)
    rewind = recipe.rewind.iterations(run.per_epoch)
    if (snapshot and rewind > run.total) or start > run.total:
        raise bad_input("recipe", "rewind", f"at most the length, {recipe.length}", str(recipe.rewind))
    engine.progress.begin(label, run.total)
    with _memory_named(run):
        if engine.recorder and run.step == start:
            engine.recorder.step(run)
        while True:
            if run.step == rewind and snapshot:
                run.check()
                snapshot(plain_weights(model, mask))
            if run.step >= run.total:
                break
            run.advance()
    if engine.recorder:
        engine.recorder.flush()
    return Trained(plain_weights(model, mask), run.epochs, run.elapsed(), trained_with)


@contextlib.contextmanager
def _memory_named(run: Run) -> Iterator[None]:
    """Running out of memory becomes one line; PyTorch has an error of its own for GPUs alone."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and "DefaultCPUAllocator" not in str(error):
            raise
        field = f"memory in step {run.step + 1}"
        wanted = f"enough for batches of {run.recipe.batch_size} images on {run.engine.device}"
        hint = "the last checkpoint is kept; free some, or choose another device or a smaller network"
        raise bad_input("training", field, wanted, "too little", hint=hint) from None


def plain_weights(model: nn.Module, mask: Mask) -> dict[str, Tensor]:
    """A copy of the state dict, contiguous and on the CPU; pruned weights are +0.0, tied ones one tensor.

    Raises:
        InputError: a weight is not finite, or not zero where it is pruned.
    """
    state, layout = model.state_dict(keep_vars=True), torch.contiguous_format
    weights = {name: t.detach().cpu().clone(memory_format=layout) for name, t in state.items()}
    check_finite(weights, "training: weights")  # first: NaN is neither zero nor equal to itself
    mask.check(weights)
    return tie(mask.apply(weights), ties(state))


@dataclass(eq=False)
class Run:
    """The moving parts of one training: what a checkpoint holds, and one iteration after the other."""

    model: nn.Module
    data: Dataset
    recipe: Recipe
    engine: Engine
    mask: Mask
    triggers: TriggerBatch | None = None
    marks: Sequence[KeptMark] = ()
    state: Path | None = None
    start: int = 0
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        recipe, device = self.recipe, self.engine.device
        training, self.validation = self.data.hold_out(recipe.validation)
        if not len(training):
            expected = "a share that leaves images to train on"
            raise bad_input("recipe", "validation", expected, str(recipe.validation))
        batches = Batches(training, self.data, recipe, device, self.triggers)
        self.per_epoch = len(batches)
        self.total = recipe.length.iterations(self.per_epoch)
        self.iteration = Iteration(
            self.model,
            batches,
            recipe,
            device,
            self.mask,
            marks=self.marks,
            teacher=self.teacher,
            capture=self.engine.capture,
        )
        self.optimizer, self.losses = self.iteration.optimizer, self.iteration.losses
        self.asynchronous = device.type == "cuda"
        self.step, self.seconds, self.epochs = self.start, 0.0, list[dict[str, Any]]()
        if self.state is not None and self.state.exists():
            self._resume(read_checkpoint(self.state, self.model, self.optimizer))
            self.mask.check(self.model.state_dict(), str(self.state))
        self.clock = self.saved = time.monotonic()
        self.model.train()

    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.seconds + time.monotonic() - self.clock

    def advance(self) -> None:
        """One iteration, and at the end of an epoch its accuracy; a checkpoint when it is time."""
        self.iteration(self.step)
        self.step += 1
        if self.engine.recorder:
            self.engine.recorder.step(self)
        ended = self.step % self.per_epoch == 0 or self.step == self.total
        if ended:
            self._end_epoch()
        elif self.step % 16 == 0:
            self._report(None if self.asynchronous else self._mean_loss())
        # To look at the weights is to wait for a GPU: where its epochs are short, only between them.
        patience = 2 if self.asynchronous and not ended else 1
        if time.monotonic() - self.saved >= patience * self.engine.checkpoint_seconds:
            self._checkpoint()

    def check(self) -> None:
        """Checks that the training still has finite numbers; InputError where loss or a weight is not."""
        if float(self.losses[1]):
            self._mean_loss()
        check_finite(self.model.state_dict(), f"training: weights after step {self.step}")

    def _mean_loss(self) -> float:
        """The mean loss of the epoch so far; InputError where it is not finite."""
        mean = float(self.losses[0] / self.losses[1])
        if not math.isfinite(mean):
            epoch, step = divmod(self.step - 1, self.per_epoch)
            field = f"loss in epoch {epoch + 1}, by step {step + 1}"
            hint = f"the last good checkpoint is kept; lower the learning rate ({self.recipe.lr})"
            raise bad_input("training", field, "a finite number", str(mean), hint=hint)
        return mean

    def _report(self, loss: float | None) -> None:
        epoch = (self.step - 1) // self.per_epoch + 1
        detail = f"epoch {epoch}" + (f", loss {loss:.3f}" if loss is not None else "")
        if self.epochs and self.epochs[-1]["validation"] is not None:
            detail += f", validation {self.epochs[-1]['validation']:.2f} %"
        self.engine.progress.advance(self.step, detail)

    def _end_epoch(self) -> None:
        mean = self._mean_loss()
        check_finite(self.model.state_dict(), f"training: weights after step {self.step}")
        right = None
        if len(self.validation):
            device, precision = self.engine.device, self.recipe.precision
            right = accuracy(self.model, self.validation, self.data, device, precision)
        self.epochs.append({"step": self.step, "loss": round(mean, 6), "validation": right})
        self._report(mean)
        self.losses.zero_()

    def _checkpoint(self) -> None:
        if self.state is None:
            return
        # Never put a broken state over a good one.
        self.check()
        self.mask.check(self.model.state_dict(), f"training: weights after step {self.step}")
        progress: dict[str, Any] = {"step": self.step, "epochs": self.epochs, "losses": self.losses.tolist()}
        progress["seconds"] = self.elapsed()
        if layers := sparse_layers(self.model):
            progress["sparse_layers"] = list(layers)
        if self.engine.recorder:
            self.engine.recorder.flush()
        write_checkpoint(self.state, self.model, self.optimizer, progress)
        self.saved = time.monotonic()

    def _resume(self, progress: dict[str, Any]) -> None:
        layers, before = list(sparse_layers(self.model)), progress.get("sparse_layers", [])
        if before != layers:
            expected, found = (", ".join(map(str, names)) or "none" for names in (layers, before))
            raise bad_input(self.state, "sparse layers", expected, found)
        self.step, self.epochs, self.seconds = progress["step"], progress["epochs"], progress["seconds"]
        self.losses.copy_(torch.tensor(progress["losses"], dtype=torch.float64))
        self.engine.progress.note(f"resumed at step {self.step} of {self.total}")
