"""A watermark is held in training: every value, bit for bit, after every step of every optimizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stops import Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket, Watermark, retrain, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import CodeMark, claim_of
from ticket_sig.marks.freezenet.derive import derive
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.marks.trained import kept_in_training
from ticket_sig.models import build
from ticket_sig.training import Recipe
from ticket_sig.training.loop import Engine, Trained, train

_ALWAYS, _NEVER = Engine(checkpoint_seconds=0), Engine(checkpoint_seconds=1e9)

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def mark(data: bytes = b"held", length: int = 150, **options: Any) -> Watermark:
    return Watermark(data, length, **options)


def stands_bit_for_bit(watermark: Watermark, tensors: dict[str, Tensor]) -> bool:
    """Whether every value is the derived one, rounded once to the dtype of its tensor."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    fixed = derive(watermark.data, watermark.length, shapes, watermark.scale)
    return all(
        torch.equal(
            tensors[name].detach().cpu().flatten()[torch.from_numpy(f.places)],
            torch.from_numpy(f.values).to(tensors[name].dtype),
        )
        for name, f in fixed.items()
    )


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def trained_weights(trained: Trained | Ticket) -> dict[str, Tensor]:
    names = parameters_of(TinyNet())
    return {name: trained.weights[name] for name in names}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int, autocast: bool = False) -> None:
    """One step on a batch of its own."""
    draw = torch.Generator().manual_seed(number)
    first = next(model.parameters())
    images = torch.randn(8, 1, 8, 8, generator=draw).to(first.device)
    labels = torch.randint(4, (8,), generator=draw).to(first.device)
    images = images if autocast else images.to(first.dtype)
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        logits = model(images)
    optimizer.zero_grad()
    F.cross_entropy(logits.float(), labels).backward()
    optimizer.step()


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_value_stands_after_every_step(optimizer: str, autocast: bool) -> None:
    model, watermark = TinyNet(), mark()
    steps = OPTIMIZERS[optimizer](model.parameters())
    with watermark.keep(model, steps):
        assert stands_bit_for_bit(watermark, parameters_of(model)), "before the first step"
        before = tensor_digest(model.state_dict())
        for number in range(50):
            step(model, steps, number, autocast)
            assert stands_bit_for_bit(watermark, parameters_of(model)), f"after step {number + 1}"
    assert watermark.verify(model) and tensor_digest(model.state_dict()) != before
    step(model, steps, 50, autocast)
    found = watermark.read(model)
    assert found.found < 0.1 * found.length, "the hook is still there, or the values are never trained"


@pytest.mark.parametrize("scale", ["unit", "layer", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_held_in_parameters_of_half_precision(optimizer: str, dtype: torch.dtype, scale: str) -> None:
    model, watermark = TinyNet().to(dtype), mark(scale=scale)
    steps = OPTIMIZERS[optimizer](model.parameters())
    with watermark.keep(model, steps):
        for number in range(5):
            step(model, steps, number)
            assert stands_bit_for_bit(watermark, parameters_of(model))
    assert watermark.verify(model)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}, {"fused": True}], ids=str)
def test_it_is_held_whatever_the_kernel_and_the_layout(options: dict[str, bool]) -> None:
    model, watermark = TinyNet().to(memory_format=torch.channels_last), mark(length=400)
    steps = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **options)
    with watermark.keep(model, steps):
        for number in range(5):
            step(model, steps, number)
            assert stands_bit_for_bit(watermark, parameters_of(model))


def test_a_model_may_be_moved_to_another_precision_and_back_while_it_is_held() -> None:
    model, watermark = TinyNet(), mark()
    steps = torch.optim.SGD(model.parameters(), lr=0.1)
    with watermark.keep(model, steps):
        for number, dtype in enumerate((torch.float32, torch.bfloat16, torch.float16, torch.float32)):
            model.to(dtype)
            step(model, steps, number)
            # From float16 to float32 the whole value comes back, not what was left of it.
            assert stands_bit_for_bit(watermark, parameters_of(model)), f"in {dtype}"


def test_it_is_held_where_deterministic_algorithms_are_asked_for() -> None:
    model, watermark = TinyNet(), mark()
    steps = OPTIMIZERS["sgd"](model.parameters())
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with watermark.keep(model, steps):
            step(model, steps, 0)
        assert stands_bit_for_bit(watermark, parameters_of(model))
    finally:
        torch.use_deterministic_algorithms(before)


def test_the_handle_lets_go_of_one_watermark_alone() -> None:
    model, one, other = TinyNet(), mark(b"one", 20), mark(b"other", 20)
    steps = OPTIMIZERS["sgd"](model.parameters())
    first, second = one.keep(model, steps), other.keep(model, steps)
    first.remove()
    step(model, steps, 0)
    assert other.verify(model) and not one.verify(model)
    second.remove()
    step(model, steps, 1)
    assert not other.verify(model)


def test_the_rest_of_the_network_trains_as_if_the_values_were_constants() -> None:
    """What is held has gradients, momenta and decay of its own: none of them reaches another weight."""
    model, twin, watermark = TinyNet(), TinyNet(), mark()
    watermark.apply(twin)
    fixed = derive(watermark.data, watermark.length, {n: tuple(p.shape) for n, p in twin.named_parameters()})
    free = {name: torch.ones_like(p, dtype=torch.bool) for name, p in twin.named_parameters()}
    for name, f in fixed.items():
        free[name].view(-1)[torch.from_numpy(f.places)] = False
    for name, p in twin.named_parameters():
        p.register_hook(lambda slope, keep=free[name]: slope * keep)
    steps, others = (torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, twin))
    with watermark.keep(model, steps):
        for number in range(10):
            step(model, steps, number), step(twin, others, number)
    assert tensor_digest(model.state_dict()) == tensor_digest(twin.state_dict())


# --- the training engine --------------------------------------------------------------------------


def bits(trained: Trained) -> tuple[str, list[dict[str, Any]]]:
    return tensor_digest(trained.weights), trained.epochs


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True)])
def test_training_holds_it_before_every_pass_and_at_the_end(
    momentum: float, nesterov: bool, precision: str
) -> None:
    model, watermark, seen = TinyNet(), mark(), 0

    def check(module: nn.Module, _: object) -> None:
        nonlocal seen
        assert stands_bit_for_bit(watermark, parameters_of(module)), f"before forward pass {seen}"
        seen += 1

    model.register_forward_pre_hook(check)
    recipe = tiny_recipe(momentum=momentum, nesterov=nesterov, precision=precision)
    trained = train(model, tiny_data(), recipe, _ALWAYS, marks=[watermark])
    assert seen == 12 + 3, "12 steps, and 3 times the validation split"
    assert stands_bit_for_bit(watermark, trained_weights(trained)) and watermark.verify(trained.weights)
    assert not watermark.verify(train(TinyNet(), tiny_data(), recipe, _NEVER).weights)


@given(
    stops=st.lists(st.integers(0, 14), max_size=3),
    every=st.sampled_from([0.0, 1e9]),
    masked=st.booleans(),
    precision=st.sampled_from(["float32", "bf16"]),
)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bits(
    stops: list[int],
    every: float,
    masked: bool,
    precision: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    recipe = tiny_recipe(precision=precision)
    watermark = mark(manifest={"c1.weight": (4, 1, 3, 3), "f2.weight": (4, 12)}, length=40)
    mask = Mask({"c2.weight": TinyNet().c2.weight.detach().abs() > 0.1}) if masked else None

    def run(model: nn.Module, state: Path | None) -> Trained:
        engine = Engine(checkpoint_seconds=every)
        return train(model, tiny_data(), recipe, engine, mask=mask, marks=[watermark], state=state)

    whole = run(TinyNet(), None)
    state = tmp_path_factory.mktemp("stopped") / "state.safetensors"
    for number in stops:
        with suppress(Stopped):
            run(at_forward(TinyNet(), number, stop), state)
    resumed = run(TinyNet(seed=0 if not state.exists() else 1), state)
    assert bits(resumed) == bits(whole)
    assert watermark.verify(resumed.weights)


def test_a_watermark_on_pruned_weights_is_refused_before_the_first_step() -> None:
    model = at_forward(TinyNet(), 0, stop)
    mask = Mask({"c2.weight": TinyNet().c2.weight.detach().abs() > 0.1})
    with pytest.raises(InputError, match=r"^mark: c2\.weight: expected zeros where pruned, found \d+ that"):
        train(model, tiny_data(), tiny_recipe(), _NEVER, mask=mask, marks=[mark(length=400)])


def test_a_watermark_that_does_not_fit_is_refused_before_the_first_step() -> None:
    model = at_forward(TinyNet(), 0, stop)
    with pytest.raises(InputError, match=r"^freezenet: length: expected 0 to 500"):
        train(model, tiny_data(), tiny_recipe(), _NEVER, marks=[mark(length=501)])


def dense() -> Ticket:
    weights = {name: t.detach().clone() for name, t in TinyNet().state_dict().items()}
    return Ticket(weights=weights, mask=Mask.full({"c2.weight": weights["c2.weight"]}))


def again(run: Path, watermark: Watermark | None, **options: Any) -> Ticket:
    options.setdefault("model", TinyNet(seed=7))
    recipe: Recipe = options.pop("recipe", tiny_recipe())
    marks = [watermark] if watermark else []
    return retrain(dense(), recipe, tiny_data(), run, start="model", marks=marks, **options)


def test_a_dense_ticket_is_retrained_with_it_and_its_claim_verifies(tmp_path: Path) -> None:
    watermark = mark()
    trained = again(tmp_path / "a", watermark)
    assert stands_bit_for_bit(watermark, trained_weights(trained))
    claim = claim_of([watermark], trained.weights)
    assert verify(trained, claim).verified
    assert not verify(again(tmp_path / "b", None), claim).verified
    # What was embedded first is what is held.
    embedded = mark().embed(dense())
    on = retrain(
        embedded, tiny_recipe(), tiny_data(), tmp_path / "c", start="model", marks=[mark()], model=TinyNet()
    )
    assert tensor_digest(on.weights) == tensor_digest(trained.weights)


def test_retraining_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    for number in (5, 0, 3):
        with suppress(Stopped):
            again(tmp_path / "a", mark(), engine=_ALWAYS, model=at_forward(TinyNet(), number, stop))
    stopped, whole = (again(tmp_path / name, mark(), engine=_ALWAYS) for name in "ab")
    assert tensor_digest(stopped.weights) == tensor_digest(whole.weights)
    assert mark().verify(stopped.weights)


def test_the_same_watermark_object_goes_on_in_its_run_folder(tmp_path: Path) -> None:
    """It has learnt names and shapes in the meantime, and is the same watermark."""
    watermark = mark()
    with pytest.raises(Stopped):
        again(tmp_path, watermark, engine=_ALWAYS, model=at_forward(TinyNet(), 5, stop))
    assert watermark.verify(again(tmp_path, watermark).weights)


@pytest.mark.parametrize(
    "other",
    [None, mark(b"other"), mark(length=149), mark(scale="layer")],
    ids=["none", "data", "length", "scale"],
)
def test_a_run_folder_of_another_watermark_is_refused(other: Watermark | None, tmp_path: Path) -> None:
    again(tmp_path, mark())
    with pytest.raises(InputError, match=r"belongs to another run: mark: expected 'sha256:.*, found "):
        again(tmp_path, other)


def test_a_run_folder_does_not_tell_the_data(tmp_path: Path) -> None:
    secret = b"the owner's secret bytes"
    again(tmp_path, mark(secret))
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["mark"] == mark(secret).digest
    assert not any(secret.hex() in file.read_text() for file in tmp_path.rglob("*.json"))


def test_a_run_that_version_0_1_began_goes_on(tmp_path: Path) -> None:
    """It wrote the digest of its one mark under `mark`, and nothing of marks that ask nothing of training."""
    with pytest.raises(Stopped):
        again(tmp_path / "a", mark(), engine=_ALWAYS, model=at_forward(TinyNet(), 5, stop))
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["mark"] == mark().digest and "marks" not in record
    code = CodeMark("m", 1, "L", 0, Placement("c2.weight", 0, 0), (24, 21, 3, 3))
    claim = claim_of([code, mark(manifest={"f2.weight": (4, 12)}, length=5)], {})
    assert [one.name for one in kept_in_training(claim)] == ["freezenet"]
    assert kept_in_training(claim_of([code], {})) == [] == kept_in_training(None)


def test_several_marks_are_held_at_once_and_all_decide_the_run(tmp_path: Path) -> None:
    first = mark(b"one", 30, manifest={"c2.weight": (8, 4, 3, 3)})
    second = mark(b"other", 20, manifest={"f2.weight": (4, 12)})
    recipe, options = tiny_recipe(), {"start": "model", "model": TinyNet()}
    trained = retrain(dense(), recipe, tiny_data(), tmp_path, marks=[first, second], **options)
    assert first.verify(trained.weights) and second.verify(trained.weights)
    assert json.loads((tmp_path / "run.json").read_text())["marks"] == [first.digest, second.digest]
    with pytest.raises(InputError, match="belongs to another run: "):
        retrain(dense(), recipe, tiny_data(), tmp_path, marks=[first], **options)


@pytest.mark.gpu
@pytest.mark.parametrize("capture", [False, True], ids=["eager", "captured"])
def test_on_a_gpu_it_is_held_in_captured_steps_too(capture: bool) -> None:
    watermark = mark(length=20_000)
    engine = Engine(device=torch.device("cuda"), capture=capture)
    recipe = tiny_recipe(precision="bf16")
    trained = train(build("resnet20", 4, 1, seed=0), tiny_data(), recipe, engine, marks=[watermark])
    names = parameters_of(build("resnet20", 4, 1))
    assert stands_bit_for_bit(watermark, {name: trained.weights[name] for name in names})
