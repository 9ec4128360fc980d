"""The seven modifications of IEEE 3304: their ranges, and that nothing is changed but the copy.

The reference software leaves a broken hook behind after random pruning, puts the teacher of a distillation
into training, and replaces the owner's key when it overwrites: each is a test here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from support.stops import Notes
from support.tickets import tiny_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig import InputError, Ticket
from ticket_sig.attacks import Scene
from ticket_sig.digests import bytes_digest, tensor_digest
from ticket_sig.evaluation.method import EvaluationTask, Found, Instance, Method
from ticket_sig.evaluation.modifications import MODIFICATIONS, FurtherMarks, Modification
from ticket_sig.training import Steps
from ticket_sig.training.batches import generator
from ticket_sig.training.loop import Engine

MIDDLE = {
    "gaussian-noise": 0.2,
    "l1-pruning": 50,
    "random-pruning": 5,
    "quantization": 8,
    "fine-tuning": 0.25,
    "distillation": 4,
    "overwriting": 3,
}
ALL = pytest.mark.parametrize("one", MODIFICATIONS.values(), ids=MODIFICATIONS)


@dataclass
class Shift(Instance):
    """A mark for tests: noise from a secret, in one layer."""

    secret: bytes
    folders: list[Path]

    def __post_init__(self) -> None:
        self.digest = bytes_digest(self.secret)

    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        self.folders.append(task.folder)
        draw = generator(int.from_bytes(self.secret[:8], "big"))
        old = network.weights["f2.weight"]
        moved = old + torch.randn(old.shape, generator=draw)
        return replace(network, weights={**network.weights, "f2.weight": moved})

    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        return Found()


@dataclass
class Shifts(Method):
    """Makes them, and remembers what for; from the `full`-th on there is no room."""

    name = "shifts"
    full: int = 9
    made: list[tuple[str, Shift]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> Shift:
        if len(self.made) >= self.full:
            raise InputError("capacity: expected room, found none")
        assert network.rewind is None and not network.history, "a thief has neither"
        one = Shift(secret, self.folders)
        self.made.append((tensor_digest(network.weights), one))
        return one


def further(tmp_path: Path, method: Method | None = None, secret: bytes = b"w") -> FurtherMarks:
    recipe = tiny_recipe()
    task = EvaluationTask(data=tiny_data(), recipe=recipe, further=recipe, engine=Engine(), folder=tmp_path)
    return FurtherMarks(method=method or Shifts(), task=task, secret=secret)


def scene(model: TinyNet | None = None, **more: object) -> Scene:
    return Scene(data=tiny_data(), model=model or TinyNet(), **more)  # type: ignore[arg-type]


def state_of(model: TinyNet) -> tuple[object, ...]:
    """Tensors, modes and hooks of a user's own network."""
    hooks = [(*m._forward_hooks.values(), *m._forward_pre_hooks.values()) for m in model.modules()]
    return tensor_digest(model.state_dict()), [m.training for m in model.modules()], hooks


@ALL
def test_network_and_user_s_model_stay_bit_for_bit(one: Modification, tmp_path: Path) -> None:
    ticket, model = tiny_ticket(rewind=True), TinyNet()
    model.bn.eval()
    model.register_forward_hook(lambda *_: None)
    with torch.no_grad():
        model.f1.weight[0] = 0.5  # the weights of the user's model are not the ticket's
    before = tensor_digest(ticket.weights), tensor_digest(ticket.mask), state_of(model)
    made = scene(model)
    assert made.model is not None
    inner = state_of(made.model)  # type: ignore[arg-type]
    after = one.apply(ticket, one.intensities[0], made, further(tmp_path))
    assert (tensor_digest(ticket.weights), tensor_digest(ticket.mask), state_of(model)) == before
    assert state_of(made.model) == inner  # type: ignore[arg-type]
    assert tensor_digest(after.weights) != before[0]
    assert list(after.weights) == list(ticket.weights)
    if one.name != "distillation":  # its student is dense
        assert all(not (kept & ~ticket.mask[name]).any() for name, kept in after.mask.items())


@ALL
def test_the_defaults_are_the_standard_s(one: Modification) -> None:
    assert one.intensities[1] == MIDDLE[one.name] and len(set(one.intensities)) == 3
    assert all(one.in_range(value) for value in one.intensities)
    assert not one.in_range(one.high * 1.01) and not one.in_range(one.low * 0.99 - 1e-9)
    for value in one.intensities:
        one.check(value)


def test_there_are_seven() -> None:
    assert MODIFICATIONS.keys() == MIDDLE.keys()


def test_a_distillation_is_in_range_on_enough_images() -> None:
    distillation = MODIFICATIONS["distillation"]
    assert [distillation.in_range(4, n) for n in (9_999, 10_000, 1_000_000, 1_000_001)] == [0, 1, 1, 0]
    assert MODIFICATIONS["quantization"].in_range(4, 72)


@ALL
@pytest.mark.parametrize("intensity", [0.0, -1.0, float("nan"), float("inf")])
def test_no_intensity_is_one_line(one: Modification, intensity: float, tmp_path: Path) -> None:
    expected = f"^{one.name}: {one.parameter}: expected a .* above 0.*, found {intensity}$"
    with pytest.raises(InputError, match=expected):
        one.apply(tiny_ticket(), intensity, scene(), further(tmp_path))


@pytest.mark.parametrize(
    ("name", "intensity", "message"),
    [
        ("l1-pruning", 100, "l1-pruning: P: expected a finite number above 0, below 100, found 100$"),
        ("random-pruning", 250, "random-pruning: R: expected .* below 100, found 250$"),
        ("quantization", 2.5, "quantization: B: expected a whole number above 0, found 2.5$"),
        ("quantization", 33, "bits: expected 2 to 32, found 33$"),
        ("overwriting", 0.5, "overwriting: W: expected a whole number above 0, found 0.5$"),
    ],
)
def test_what_cannot_be_is_refused(name: str, intensity: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        MODIFICATIONS[name].apply(tiny_ticket(), intensity, scene(), further(tmp_path))


@pytest.mark.parametrize(
    ("name", "intensity"), [("gaussian-noise", 2.0), ("l1-pruning", 99), ("overwriting", 1)]
)
def test_outside_the_range_it_runs(name: str, intensity: float, tmp_path: Path) -> None:
    one, ticket = MODIFICATIONS[name], tiny_ticket()
    assert not one.in_range(intensity)
    after = one.apply(ticket, intensity, scene(), further(tmp_path))
    assert tensor_digest(after.weights) != tensor_digest(ticket.weights)


def test_pruning_takes_its_share_of_each_layer_or_of_all() -> None:
    ticket = tiny_ticket()
    kept = {name: int(k.sum()) for name, k in ticket.mask.items()}
    by_size = MODIFICATIONS["l1-pruning"].apply(ticket, 50, scene()).mask
    assert {name: int(k.sum()) for name, k in by_size.items()} == {
        n: k - round(k / 2) for n, k in kept.items()
    }
    at_random = MODIFICATIONS["random-pruning"].apply(ticket, 5, scene()).mask
    assert at_random.kept == ticket.mask.kept - round(0.05 * ticket.mask.kept)


@pytest.mark.parametrize(("share", "steps"), [(0.5, 6), (0.25, 3), (0.01, 1), (1.5, 18)])
def test_fine_tuning_takes_a_share_of_the_initial_steps(share: float, steps: int) -> None:
    told = Notes()
    stepped = tiny_recipe(schedule="step", milestones=(Steps(2),), warmup=0.0)
    made = scene(engine=Engine(progress=told), recipe=stepped)  # 3 epochs of 4 iterations
    after = MODIFICATIONS["fine-tuning"].apply(tiny_ticket(), share, made)
    assert [total for _, total in told.begun] == [steps]
    assert after.recipe is not None and after.recipe["milestones"] == [f"{round(share * 8)}it"]


# overwriting


def test_overwriting_puts_fresh_marks_in_one_after_another(tmp_path: Path) -> None:
    def overwritten(secret: bytes) -> tuple[Ticket, Shifts]:
        method = Shifts()
        given = further(tmp_path, method, secret)
        return MODIFICATIONS["overwriting"].apply(tiny_ticket(), 3, scene(), given), method

    (first, method), (again, _), (other, others) = map(overwritten, (b"one", b"one", b"two"))
    assert len({found for found, _ in method.made}) == 3, "each is made for the network as it is by then"
    assert len({one.digest for _, one in (*method.made, *others.made)}) == 6
    assert [folder.name for folder in method.folders] == [f"overwriting-{n}" for n in (1, 2, 3)]
    digests = [tensor_digest(ticket.weights) for ticket in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_overwriting_leaves_the_owner_s_instance_alone(tmp_path: Path) -> None:
    method = Shifts()
    given = further(tmp_path, method)
    owner = method.instance(replace(tiny_ticket(), history=()), b"owner's secret", given.task)
    marked = owner.inject(tiny_ticket(), given.task)
    MODIFICATIONS["overwriting"].apply(marked, 2, scene(), given)
    assert owner.secret == b"owner's secret" and owner.digest == bytes_digest(b"owner's secret")
    assert owner.secret not in [one.secret for _, one in method.made[1:]]


def passive(tmp_path: Path) -> FurtherMarks:
    method = Shifts()
    method.passive = True
    return further(tmp_path, method)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            passive,
            "overwriting: method: expected a method that puts marks into networks, found shifts, which is",
        ),
        (
            lambda path: further(path, Shifts(full=1)),
            "^overwriting: mark 2 of 3: capacity: expected room, found",
        ),
        (lambda _: None, "overwriting: further marks: expected a method to make them by, found none"),
    ],
)
def test_what_cannot_be_overwritten_is_one_line(
    given: Callable[[Path], FurtherMarks | None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        MODIFICATIONS["overwriting"].apply(tiny_ticket(), 3, scene(), given(tmp_path))
