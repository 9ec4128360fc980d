"""One iteration: what a CUDA graph needs of it holds on any device; on a GPU, replaying changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from support.stops import Notes, Stopped
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import Mask
from ticket_sig.digests import tensor_digest
from ticket_sig.models import build
from ticket_sig.training.batches import Batches
from ticket_sig.training.device import pick_device
from ticket_sig.training.iteration import Iteration, set_rate
from ticket_sig.training.loop import Engine, train
from ticket_sig.training.teacher import Teacher

_CPU = torch.device("cpu")


def step_of(model: nn.Module, capture: bool = False) -> Iteration:
    weights = dict(model.named_parameters())
    mask = Mask({"c2.weight": weights["c2.weight"].detach().abs() > 0.1})
    return step_on(model, _CPU, mask, capture=capture)


def step_on(model: nn.Module, device: torch.device, mask: Mask | None = None, *, capture: bool) -> Iteration:
    recipe, data = tiny_recipe(weight_decay=0.1), tiny_data()
    batches = Batches(data.train, data, recipe, device)
    return Iteration(model.train(), batches, recipe, device, mask or Mask({}), capture=capture)


def test_rows_by_number_are_the_rows_of_a_slice() -> None:
    """A captured step takes its rows from a tensor on the device."""
    one, two = step_of(TinyNet()), step_of(TinyNet())
    for number in range(7):
        one(number)
        first, count = two.batches.begin(number)
        set_rate(two.optimizer, two.recipe.learning_rate(number, len(two.batches)))
        two.work(torch.tensor(first) + torch.arange(count))
    assert tensor_digest(one.model.state_dict()) == tensor_digest(two.model.state_dict())
    assert torch.equal(one.losses, two.losses)


def test_an_epoch_is_drawn_into_the_same_memory() -> None:
    """A captured step reads where the first epoch was."""
    step = step_of(TinyNet())
    before = [t.data_ptr() for t in step.batches._draw]
    step(len(step.batches))
    assert [t.data_ptr() for t in step.batches._draw] == before


def test_what_a_warm_up_changes_can_be_put_back() -> None:
    step = step_of(TinyNet())
    step(0)  # makes the momentum
    state = [t.clone() for t in step._state()]
    digest = after(step, 1)
    for number in (2, 3, 4):
        step(number)
    for t, before in zip(step._state(), state, strict=True):
        t.copy_(before)
    assert after(step, 1) == digest


def after(step: Iteration, number: int) -> tuple[str, list[float]]:
    step(number)
    return tensor_digest(step.model.state_dict()), step.losses.tolist()


def test_without_a_gpu_nothing_is_captured() -> None:
    step = step_of(TinyNet(), capture=True)
    step(0)
    assert not step.captured


def on_gpu(model: nn.Module, capture: bool, teacher: Teacher | None = None) -> dict[str, Tensor]:
    engine = Engine(device=pick_device("cuda"), capture=capture, checkpoint_seconds=0)
    return train(model, tiny_data(), tiny_recipe(precision="bf16"), engine, teacher=teacher).weights


def captures(model: nn.Module) -> bool:
    step = step_on(model.cuda(), pick_device("cuda"), capture=True)
    step(0)
    return step.captured


@pytest.mark.gpu
@pytest.mark.parametrize("taught", [False, True])
def test_captured_or_not_a_training_ends_with_the_same_bits(taught: bool) -> None:
    assert captures(build("resnet20", 4, 1, seed=0))
    teacher = Teacher(build("resnet20", 4, 1, seed=1), temperature=4.0, share=0.9) if taught else None
    captured, eager = (on_gpu(build("resnet20", 4, 1, seed=0), on, teacher) for on in (True, False))
    assert tensor_digest(captured) == tensor_digest(eager)


@pytest.mark.gpu
def test_a_graph_keeps_nothing_that_was_freed() -> None:
    """Memory that is handed out between two replays is not memory that a graph reads."""
    torch.manual_seed(0)
    model = build("resnet20", 4, 1, seed=0)
    step = step_on(model.cuda(), pick_device("cuda"), capture=True)
    twin = step_on(build("resnet20", 4, 1, seed=0).cuda(), pick_device("cuda"), capture=False)
    for number in range(6):
        step(number), twin(number)
        scribble = [torch.full((n,), -1, dtype=torch.int64, device="cuda") for n in range(1, 64)]
        del scribble
    assert step.captured and not twin.captured
    assert tensor_digest(step.model.state_dict()) == tensor_digest(twin.model.state_dict())


class Draws(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(torch.rand(()) < 0.5)


class Waits(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(x.mean() > 0)


@pytest.mark.gpu
@pytest.mark.parametrize("network", [partial(TinyNet, dropout=0.5), Draws, Waits])
def test_what_a_graph_cannot_hold_is_not_captured(network: Callable[[], TinyNet]) -> None:
    """Random numbers of the device, those of the host, and a choice that waits for the device."""
    assert not captures(network())
    captured, eager = (on_gpu(network(), on) for on in (True, False))
    assert tensor_digest(captured) == tensor_digest(eager)


class StopsInTheSecondEpoch(Notes):
    def advance(self, done: int, detail: str = "") -> None:
        if done == 8:
            raise Stopped


@pytest.mark.gpu
@pytest.mark.parametrize("capture", [False, True], ids=["eager", "captured"])
def test_on_a_gpu_stopped_and_resumed_it_ends_with_the_same_bits(capture: bool, tmp_path: Path) -> None:
    """Promise 2."""
    stops = Engine(
        device=pick_device("cuda"), capture=capture, checkpoint_seconds=0, progress=StopsInTheSecondEpoch()
    )
    recipe, state = tiny_recipe(precision="bf16"), tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(build("resnet20", 4, 1, seed=0), tiny_data(), recipe, stops, state=state)
    goes_on = replace(stops, progress=(progress := Notes()))
    resumed = train(build("resnet20", 4, 1, seed=1), tiny_data(), recipe, goes_on, state=state).weights
    assert progress.notes == ["resumed at step 7 of 12"]
    assert tensor_digest(resumed) == tensor_digest(on_gpu(build("resnet20", 4, 1, seed=0), capture))
