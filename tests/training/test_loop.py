"""The training loop: promise 1 after every step, promise 2 from any step, and the SGD of the recipe."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stops import Notes, Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import InputError, Mask, native
from ticket_sig.digests import tensor_digest
from ticket_sig.models import build, norm_relu
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.batches import Batches
from ticket_sig.training.loop import Engine, Trained, train

_CPU = torch.device("cpu")
_ALWAYS, _NEVER = Engine(checkpoint_seconds=0), Engine(checkpoint_seconds=1e9)


def half_mask(model: nn.Module, seed: int = 3) -> Mask:
    draw = torch.Generator().manual_seed(seed)
    shapes = {name: p.shape for name, p in model.named_parameters() if name in ("c2.weight", "f1.weight")}
    return Mask({name: torch.rand(shape, generator=draw) < 0.5 for name, shape in shapes.items()})


def bits(trained: Trained) -> tuple[str, list[dict[str, Any]]]:
    return tensor_digest(trained.weights), trained.epochs


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_pruned_weights_are_zero_after_every_step(
    momentum: float, nesterov: bool, precision: str, tmp_path: Path
) -> None:
    model = TinyNet()
    mask, seen = half_mask(model), 0

    def check(module: nn.Module, _: object) -> None:
        nonlocal seen
        mask.check(dict(module.named_parameters()), f"before forward pass {seen}")
        seen += 1

    model.register_forward_pre_hook(check)
    before = {name: t.clone() for name, t in mask.apply(dict(model.named_parameters())).items()}
    recipe = tiny_recipe(momentum=momentum, nesterov=nesterov, weight_decay=0.1, precision=precision)
    trained = train(model, tiny_data(), recipe, _ALWAYS, mask=mask, state=tmp_path / "state")
    assert seen == 12 + 3, "12 steps, and 3 times the validation split"
    mask.check(dict(model.named_parameters()))
    for name, kept in mask.items():
        # Plain zeros, so that the same mask is always the same bytes; and the others were trained.
        assert not trained.weights[name][~kept].signbit().any()
        assert bool((trained.weights[name][kept] != before[name][kept]).all())


def test_without_a_mask_nothing_is_zeroed() -> None:
    trained = train(TinyNet(), tiny_data(), tiny_recipe(), _NEVER)
    assert all((t != 0).all() for name, t in trained.weights.items() if name.endswith("weight"))


@given(
    stops=st.lists(st.integers(0, 14), max_size=4),
    every=st.sampled_from([0.0, 0.004, 1e9]),
    momentum=st.sampled_from([0.0, 0.9]),
    masked=st.booleans(),
    precision=st.sampled_from(["float32", "bf16"]),
)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bits(
    stops: list[int],
    every: float,
    momentum: float,
    masked: bool,
    precision: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    recipe = tiny_recipe(momentum=momentum, nesterov=momentum > 0, precision=precision)
    data, mask = tiny_data(), half_mask(TinyNet()) if masked else None
    snapshots: list[str] = []

    def run(model: nn.Module, state: Path | None) -> Trained:
        def keep(weights: dict[str, Tensor]) -> None:
            snapshots.append(tensor_digest(weights))

        engine = Engine(checkpoint_seconds=every)
        return train(model, data, recipe, engine, mask=mask, state=state, snapshot=keep)

    whole = run(TinyNet(), None)
    state = tmp_path_factory.mktemp("stopped") / "state.safetensors"
    for number in stops:
        with suppress(Stopped):
            run(at_forward(TinyNet(), number, stop), state)
    # A resumed model starts from any weights: all that counts is in the checkpoint, where there is one.
    resumed = run(TinyNet(seed=0 if not state.exists() else 1), state)
    assert bits(resumed) == bits(whole)
    assert len(set(snapshots)) == 1


def test_a_finished_training_started_again_gives_the_same_at_once(tmp_path: Path) -> None:
    first = train(TinyNet(), tiny_data(), tiny_recipe(), _ALWAYS, state=tmp_path / "state")
    model = at_forward(TinyNet(seed=1), 0, stop)
    again = train(model, tiny_data(), tiny_recipe(), _ALWAYS, state=tmp_path / "state")
    assert bits(again) == bits(first)


def test_the_seed_decides_the_bits_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    first = train(TinyNet(), tiny_data(), tiny_recipe(), _NEVER)
    torch.manual_seed(2)
    second = train(TinyNet(), tiny_data(), tiny_recipe(), _NEVER)
    other = train(TinyNet(), tiny_data(), tiny_recipe(seed=1), _NEVER)
    assert bits(first) == bits(second) != bits(other)


def test_a_network_with_dropout_has_the_same_bits_too(tmp_path: Path) -> None:
    def net() -> nn.Module:
        return TinyNet(dropout=0.5)

    torch.manual_seed(1)
    first = train(net(), tiny_data(), tiny_recipe(), _NEVER)
    torch.manual_seed(2)
    assert bits(train(net(), tiny_data(), tiny_recipe(), _NEVER)) == bits(first), "not the recipe's seed"
    with pytest.raises(Stopped):
        train(at_forward(net(), 6, stop), tiny_data(), tiny_recipe(), _ALWAYS, state=tmp_path / "state")
    assert bits(train(net(), tiny_data(), tiny_recipe(), _ALWAYS, state=tmp_path / "state")) == bits(first)


def reference(model: nn.Module, recipe: Recipe, mask: Mask | None, steps: int) -> dict[str, Tensor]:
    """SGD by the formulas of Sutskever et al. (2013) as PyTorch documents them, one tensor at a time."""
    data = tiny_data()
    training, _ = data.hold_out(recipe.validation)
    batches = Batches(training, data, recipe, _CPU)
    parameters = dict(model.named_parameters())
    keep = {
        name: mask[name] if mask is not None and name in mask else torch.tensor(True) for name in parameters
    }
    speed: dict[str, Tensor] = {}
    model.train()
    for name, p in parameters.items():
        p.data = p.data * keep[name]
    for step in range(steps):
        images, labels = batches[step]
        logits = model(images)
        wanted = F.one_hot(labels, logits.shape[1]) * (1 - recipe.label_smoothing)
        wanted = wanted + recipe.label_smoothing / logits.shape[1]
        loss = -(wanted * F.log_softmax(logits, 1)).sum(1).mean()
        slopes = torch.autograd.grad(loss, list(parameters.values()))
        for (name, p), slope in zip(parameters.items(), slopes, strict=True):
            slope = slope + recipe.weight_decay * p.data
            speed[name] = recipe.momentum * speed[name] + slope if name in speed else slope
            move = slope + recipe.momentum * speed[name] if recipe.nesterov else speed[name]
            p.data = (p.data - recipe.learning_rate(step, len(batches)) * move) * keep[name]
    return dict(model.state_dict())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.0, "nesterov": False, "label_smoothing": 0.0},
        {
            "momentum": 0.8,
            "nesterov": False,
            "schedule": "step",
            "milestones": (Steps(5, "it"),),
            "gamma": 0.5,
        },
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05, "label_smoothing": 0.2},
    ],
)
def test_it_is_the_sgd_that_the_recipe_says(changes: dict[str, Any], masked: bool) -> None:
    recipe = tiny_recipe(**changes)
    mask = half_mask(TinyNet()) if masked else None
    trained = train(TinyNet(), tiny_data(), recipe, _NEVER, mask=mask)
    expected = reference(TinyNet(), recipe, mask, 12)
    assert trained.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(trained.weights[name], tensor, rtol=2e-3, atol=2e-4, msg=f"{name} differs")


@pytest.mark.parametrize("rewind", [Steps(0, "it"), Steps(5, "it"), Steps(1), Steps(3)])
def test_the_snapshot_holds_the_weights_after_so_many_iterations(rewind: Steps) -> None:
    snapshots: list[dict[str, Tensor]] = []
    # A schedule that does not look at the length: a shorter training is the beginning of a longer one.
    recipe = tiny_recipe(rewind=rewind, schedule="step")
    train(TinyNet(), tiny_data(), recipe, _NEVER, snapshot=snapshots.append)
    assert len(snapshots) == 1
    steps = rewind.iterations(4)
    expected = TinyNet().state_dict()
    if steps:
        short = tiny_recipe(rewind=Steps(0), length=Steps(steps, "it"), schedule="step")
        expected = train(TinyNet(), tiny_data(), short, _NEVER).weights
    assert tensor_digest(snapshots[0]) == tensor_digest(expected)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_learns_in_either_precision_and_keeps_float32_weights(precision: str) -> None:
    recipe = tiny_recipe(length=Steps(12), precision=precision, weight_decay=1e-4, crop=0)
    trained = train(TinyNet(), tiny_data(256), recipe, _NEVER)
    assert trained.epochs[-1]["validation"] > 70
    assert trained.epochs[-1]["loss"] < trained.epochs[0]["loss"]
    assert {t.dtype for name, t in trained.weights.items() if not name.endswith("tracked")} == {torch.float32}


def test_the_two_precisions_differ() -> None:
    first, second = (
        train(TinyNet(), tiny_data(), tiny_recipe(precision=p), _NEVER) for p in ("float32", "bf16")
    )
    assert bits(first) != bits(second)


@pytest.mark.parametrize(
    ("length", "steps"), [(Steps(2), [4, 8]), (Steps(6, "it"), [4, 6]), (Steps(1, "it"), [1])], ids=str
)
def test_the_history_has_one_entry_an_epoch(length: Steps, steps: list[int]) -> None:
    recipe = tiny_recipe(length=length, rewind=Steps(0))
    trained = train(TinyNet(), tiny_data(), recipe, _NEVER)
    assert [entry["step"] for entry in trained.epochs] == steps
    assert all(math.isfinite(entry["loss"]) and 0 <= entry["validation"] <= 100 for entry in trained.epochs)
    assert trained.seconds >= 0
    held_none = train(
        TinyNet(), tiny_data(), tiny_recipe(length=length, rewind=Steps(0), validation=0.0), _NEVER
    )
    assert {entry["validation"] for entry in held_none.epochs} == {None}


def test_the_loss_of_an_epoch_is_the_mean_over_its_images() -> None:
    # Without a learning rate worth the name, every batch sees the same network.
    recipe = tiny_recipe(lr=1e-12, weight_decay=0.0, validation=0.0, length=Steps(1), rewind=Steps(0))
    data, model = tiny_data(75), nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 4))
    batches = Batches(data.train, data, recipe, _CPU)
    losses = []
    for step in range(len(batches)):
        images, labels = batches[step]
        each = F.cross_entropy(
            model(images), labels, reduction="none", label_smoothing=recipe.label_smoothing
        )
        losses += each.tolist()
    assert len(losses) == 56 and len(losses) % recipe.batch_size
    trained = train(model, data, recipe, _NEVER)
    assert trained.epochs[0]["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_progress_is_told_the_length_the_steps_and_where_it_went_on(tmp_path: Path) -> None:
    told = Notes()
    engine = Engine(checkpoint_seconds=0, progress=told)
    with pytest.raises(Stopped):
        train(
            at_forward(TinyNet(), 7, stop),
            tiny_data(),
            tiny_recipe(),
            engine,
            state=tmp_path / "s",
            label="dense",
        )
    train(TinyNet(), tiny_data(), tiny_recipe(), engine, state=tmp_path / "s", label="dense")
    assert told.begun == [("dense", 12)] * 2
    assert told.done == sorted(told.done) and told.done[-1] == 12
    # Forward pass 7 is that of step 7: 4 steps, a validation, 2 steps.
    assert told.notes == ["resumed at step 6 of 12"]


@given(number=st.integers(0, 11), where=st.sampled_from(["loss", "slope"]), every=st.sampled_from([0.0, 1e9]))
@settings(deadline=None, max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_that_are_not_finite_stop_it_with_the_last_good_checkpoint_kept(
    number: int, where: str, every: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("broken") / "state"
    engine = Engine(checkpoint_seconds=every)
    hint = "last good checkpoint is kept; lower the learning rate" if where == "loss" else ""
    with pytest.raises(InputError, match=f"training: .*finite.*{hint}"):
        train(Breaks(number, where), tiny_data(), tiny_recipe(), engine, state=state)
    healthy = Breaks(10**9, where)
    resumed = train(healthy, tiny_data(), tiny_recipe(), engine, state=state)
    assert bits(resumed) == bits(train(Breaks(10**9, where), tiny_data(), tiny_recipe(), engine))


class Breaks(TinyNet):
    """Gives NaN in one training step: as its loss, or, at a finite loss, as its slope (a root at zero)."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__()
        self.number, self.where, self.count = number, where, 0

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            if self.count == self.number:
                logits = logits * math.nan if self.where == "loss" else logits + (logits * 0).sqrt()
            self.count += 1
        return logits


def test_a_learning_rate_far_too_high_says_so() -> None:
    with pytest.raises(
        InputError, match=r"training: loss in epoch \d, by step \d: .*found (nan|inf).*\(1e\+20\)"
    ):
        train(TinyNet(), tiny_data(), tiny_recipe(lr=1e20), _NEVER)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rewind", [Steps(2, "it"), Steps(3, "it")])
def test_so_it_does_for_tied_and_pruned_weights(masked: bool, rewind: Steps) -> None:
    model = TinyNet()
    model.tied = nn.Linear(*reversed(model.f1.weight.shape))
    model.tied.weight = model.f1.weight
    recipe, mask = tiny_recipe(lr=1e20, rewind=rewind), half_mask(model) if masked else None
    with pytest.raises(InputError, match=r"training: loss in epoch 1, by step \d: .*found (nan|inf)"):
        train(model, tiny_data(), recipe, _NEVER, mask=mask, snapshot=lambda weights: None)


def test_a_rewind_step_behind_the_end_is_refused() -> None:
    with pytest.raises(InputError, match="recipe: rewind: expected at most the length, 3ep, found 4ep"):
        train(TinyNet(), tiny_data(), tiny_recipe(rewind=Steps(4)), _NEVER, snapshot=lambda weights: None)


def test_a_validation_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="validation"):
        train(TinyNet(), tiny_data(40), tiny_recipe(validation=0.99, rewind=Steps(0)), _NEVER)


def test_a_mask_of_another_network_is_refused_by_name() -> None:
    mask = Mask({"c9.weight": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(InputError, match=r"c9\.weight: expected, not found"):
        train(TinyNet(), tiny_data(), tiny_recipe(), _NEVER, mask=mask)


def test_a_last_batch_of_one_image_can_be_trained_on_where_images_shrink_to_a_pixel() -> None:
    # vgg16 halves 8x8 images to 1x1, where batch norm has nothing to normalise over but the batch.
    data = tiny_data(44)
    assert len(data.train) % 16 == 1
    model = build("vgg16", 4, 1, seed=0)
    recipe = tiny_recipe(validation=0.0, length=Steps(1), rewind=Steps(0), lr=1e-3)
    assert len(train(model, data, recipe, _NEVER).epochs) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "another network"])
def test_a_checkpoint_that_cannot_be_used_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train(TinyNet(), tiny_data(), tiny_recipe(), _ALWAYS, state=state)
    whole = state.read_bytes()
    state.write_bytes({"empty": b"", "cut": whole[:-10], "text": b"no checkpoint"}.get(damage, whole))
    model = TinyNet(classes=5) if damage == "another network" else TinyNet()
    with pytest.raises(InputError, match=r"state\.safetensors: "):
        train(model, tiny_data(), tiny_recipe(), _ALWAYS, state=state)


class Hungry(TinyNet):
    """Asks for more memory than any machine has, from one training step on."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.bn.num_batches_tracked >= 5:
            torch.empty(2**60, dtype=torch.uint8)
        return super().forward(x)


def test_running_out_of_memory_is_one_line_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(
        InputError, match=r"training: memory in step 6: expected enough for batches of 16 images on cpu"
    ):
        train(Hungry(), tiny_data(), tiny_recipe(), _ALWAYS, state=state)
    resumed = train(TinyNet(), tiny_data(), tiny_recipe(), _ALWAYS, state=state)
    assert bits(resumed) == bits(train(TinyNet(), tiny_data(), tiny_recipe(), _NEVER))


def test_another_error_of_pytorch_is_not_taken_for_memory() -> None:
    class Broken(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) @ torch.ones(3, 3)

    with pytest.raises(RuntimeError, match="shapes"):
        train(Broken(), tiny_data(), tiny_recipe(), _NEVER)


@pytest.mark.parametrize("fused", [True, False])
def test_fused_or_not_a_killed_training_ends_with_the_same_bits(fused: bool, tmp_path: Path) -> None:
    recipe = tiny_recipe(precision="bf16")

    def run(name: str, hook: bool) -> Trained:
        model = build("resnet20", 4, 1, seed=0)
        engine = Engine(checkpoint_seconds=0, fused=fused)
        if hook:
            at_forward(model, 7, stop)
        return train(model, tiny_data(), recipe, engine, state=tmp_path / name)

    with suppress(Stopped):
        run("killed", True)
    assert bits(run("killed", False)) == bits(run("whole", False))


def test_what_a_training_ran_on_is_told() -> None:
    model = build("resnet20", 4, 1, seed=0)
    recipe = tiny_recipe(precision="bf16")
    assert train(model, tiny_data(), recipe, Engine(fused=False)).made_with["kernels"] == "torch"
    fused = native.library(norm_relu._SOURCE) is not None
    told = train(model, tiny_data(), recipe, Engine()).made_with["kernels"]
    assert told.startswith("fused " if fused else "torch")
