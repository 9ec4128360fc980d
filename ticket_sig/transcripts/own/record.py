"""Recording a training loop of a user's own."""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.digests import bytes_digest, json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.key_pair import KeyPair
from ticket_sig.training.device import made_with
from ticket_sig.transcripts.manifest import STEPS, Manifest, code_facts, stack
from ticket_sig.transcripts.own.loop import OwnLoop, Part
from ticket_sig.transcripts.own.samples import Samples, sample_facts
from ticket_sig.transcripts.recording import Writer, state_file
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Transcript

Loss = Tensor | float | None


class OwnTranscript:
    """A folder to record a loop of your own into.

        record = OwnTranscript("transcript", data=samples, recipe={"lr": 0.1, "seed": 0})
        with record.recording(model, optimizer, scheduler=scheduler, order=generator) as recording:
            for step in range(recording.resume(), 1000):
                recording.step(train_step(step))

    Args:
        data: what is trained on: samples by number, a data set of ours, or the digest of a large one.
        recipe: any JSON that tells an auditor how to set up the same loop.
        every: steps of a segment; the last one may be shorter.
        key: signs the head of the chain at the start and at the end.
        step: the function that does a step. The digest of its source goes into the manifest, as a label: it
            does not say what the function calls.
        given: the initial state comes from elsewhere, as after pre-training. Else an auditor's own set-up
            must give it, bit for bit.

    Raises:
        InputError: the recipe is no JSON, the samples have no digest, or `every` is less than 1.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        data: Dataset | Samples | str,
        recipe: Mapping[str, Any],
        every: int = STEPS,
        key: KeyPair | None = None,
        step: Callable[[int], Any] | None = None,
        given: bool = False,
    ) -> None:
        self._writer = Writer(folder, every=every, key=key)
        try:
            self._recipe = json.loads(json.dumps(dict(recipe), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise bad_input("", "recipe", "a JSON object", str(error)) from None
        self._data, self._source, self._given = sample_facts(data), source_digest(step), given

    @contextmanager
    def recording(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, **parts: Part
    ) -> Iterator[Recording]:
        """Records what is done in the block; the end is entered when it ends without an error.

        Args:
            parts: by names of your choice, all else that changes from step to step: schedulers, gradient
                scalers, samplers, random generators of torch, numpy and Python. Where steps draw from the
                modules `random` and `numpy.random`, these: `python=random, numpy=numpy.random`.

        Raises:
            InputError: another training was recorded there, or a part cannot be recorded.
        """
        loop = OwnLoop(model, optimizer, parts)
        recording = Recording(self._writer, loop, self._manifest(loop))
        try:
            yield recording
            recording.end()
        finally:
            self._writer.flush()

    def _manifest(self, loop: OwnLoop) -> Manifest:
        start = json_digest(loop.state().digests())
        return Manifest(
            kind="own",
            recipe=self._recipe,
            initial={"derivation": "given" if self._given else "set-up", "digest": start},
            data=self._data,
            segment=self._writer.every,
            stack=own_stack(loop.device),
            code={**code_facts(), **self._source},
        )


class Recording:
    """A loop while it is recorded.

    Attributes:
        done: steps so far.
    """

    def __init__(self, writer: Writer, loop: OwnLoop, manifest: Manifest) -> None:
        self.done = 0
        self._writer, self._loop, self._losses = writer, loop, list[Loss]()
        self._others_drawn = loop.others_drawn()
        writer.open(manifest, fresh=True)
        writer.enter("level", level_fields(loop.state()), signed=True)
        self._boundary()

    def resume(self) -> int:
        """Goes on at the last boundary that was recorded, as after a kill, and returns its step: 0 at first.

        The state is put into model, optimizer and parts.

        Raises:
            InputError: the transcript, or the state, is missing or damaged.
        """
        self._writer.flush()
        there = Transcript.open(self._writer.folder, going_on=True)
        if (step := there.levels[0].steps[-1]) > self.done:
            state = there.state(0, step)
            with about(state_file(self._writer.folder, 0, step)):
                self._loop.take(state)
            self.done, self._losses = step, []
        return self.done

    def step(self, loss: Loss = None) -> None:
        """One more step is done.

        Args:
            loss: of it; the auditor's step function must then return the same.

        Raises:
            InputError: a loss since the last boundary is not finite, or a state cannot be recorded, or it is
                another than before.
            OSError: the boundary before could not be written.
        """
        self.done += 1
        # A copy: in a captured graph, the next step writes its loss into the same memory.
        self._losses.append(loss.detach().clone() if isinstance(loss, Tensor) else loss)
        if self.done % self._writer.every == 0:
            self._boundary()

    def end(self) -> None:
        """Enters what came out."""
        if self._losses:
            self._boundary()
        self._writer.flush()
        self._writer.enter("end", end_fields(self._loop.state(), self.done), signed=True)

    def _boundary(self) -> None:
        losses = numbers(self._losses)
        for step, loss in enumerate(losses, self.done - len(losses)):
            if loss is not None and not math.isfinite(loss):
                raise bad_input("", f"loss of step {step}", "a finite number", str(loss))
        self._writer.boundary(self._loop.state(summed(losses)), 0, self.done)
        self._losses = []
        drawn = self._loop.others_drawn()
        for name in [name for name, state in drawn.items() if state != self._others_drawn[name]]:
            told = f"{name}: it was drawn from; where a step does, hand it in: recording(..., python={name})"
            warnings.warn(told, stacklevel=4)
        self._others_drawn = drawn


def level_fields(start: State) -> dict[str, Any]:
    """What the chain says of the only level, which has no mask."""
    total = sum(tensor.numel() for tensor in start.parameters.values())
    counts = {"level": 0, "rate": None, "kept": total, "total": total}
    return {**counts, "mask": tensor_digest({}), "start": _weights(start)}


def end_fields(end: State, steps: int) -> dict[str, Any]:
    """What the chain says of the end."""
    return {"steps": steps, "mask": tensor_digest({}), "weights": _weights(end)}


def _weights(state: State) -> str:
    return tensor_digest({**state.parameters, **state.buffers})


def numbers(losses: Sequence[Loss]) -> list[float | None]:
    """Losses as numbers; InputError where one is something else than one number."""
    found: list[float | None] = []
    for loss in losses:
        single = isinstance(loss, Tensor) and loss.numel() == 1
        if not (loss is None or single or isinstance(loss, (int, float))):
            raise bad_input("", "loss", "one number", f"a {type(loss).__name__}")
        found.append(None if loss is None else float(loss))
    return found


def summed(losses: Sequence[float | None]) -> tuple[float, float]:
    """Their sum and number, as a `State` has them; exactly rounded, so that it depends on no order."""
    values = [loss for loss in losses if loss is not None]
    return (math.fsum(values) if all(map(math.isfinite, values)) else math.nan), float(len(values))


def source_digest(step: Callable[[int], Any] | None) -> dict[str, str]:
    """{"step": digest of a function's source}; nothing where it cannot be read."""
    try:
        source = inspect.getsource(step) if step is not None else ""
    except (OSError, TypeError):
        source = ""
    return {"step": bytes_digest(source.encode())} if source else {}


def own_stack(device: torch.device) -> dict[str, Any]:
    """The numerical stack of a user's own loop, the switches of torch that change bits among it."""
    facts = {k: v for k, v in made_with(device, "the loop's own").items() if k != "ticket_sig"}
    switches = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "default_dtype": str(torch.get_default_dtype()),
    }
    return stack({**facts, **switches})
