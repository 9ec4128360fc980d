"""A training loop that knows nothing of ours is recorded with three more lines, and audited bit for bit."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import Command
from support.own_loop import Loop, loader, samples
from torch import Tensor, nn
from torch.optim import lr_scheduler

from ticket_sig.errors import InputError
from ticket_sig.key_pair import KeyPair
from ticket_sig.transcripts import Audit, Batches, Choice, OwnTranscript, Transcript, audit_own
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.record import Record, combine, to_json, write_record
from ticket_sig.transcripts.recording import CHAIN, state_file
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Segment
from ticket_sig.transcripts.values import decode, encode

STEPS, EVERY = 12, 5


def record(folder: Path, loop: Loop, steps: int = STEPS, key: KeyPair | None = None, **more: Any) -> None:
    own = OwnTranscript(folder, data=samples(), recipe={"lr": 0.01, "seed": 0}, every=EVERY, key=key, **more)
    with own.recording(loop.model, loop.optimizer, **loop.parts) as recording:
        for step in range(recording.resume(), steps):
            recording.step(loop.step(step))


def audited(
    folder: Path, loop: Loop, step: Callable[[int], Any] | None = None, choice: Choice | None = None
) -> Audit:
    transcript, step = Transcript.open(folder), step or loop.step
    return audit_own(
        transcript, step, loop.model, loop.optimizer, data=samples(), choice=choice, **loop.parts
    )


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "transcript"
    record(folder, Loop())
    return folder


def test_an_honest_loop_is_valid_bit_for_bit(recorded: Path) -> None:
    found = audited(recorded, Loop())
    assert (found.outcome, found.reasons, found.differences) == ("valid", [], {})
    assert found.replayed == [Segment(0, 0, 5), Segment(0, 5, 10), Segment(0, 10, 12)]


def test_recording_changes_no_bit_of_the_training(recorded: Path) -> None:
    loop = Loop()
    for step in range(STEPS):
        loop.step(step)
    weights = Transcript.open(recorded).state(0, STEPS).parameters
    assert all(torch.equal(weights[name], p.detach()) for name, p in loop.model.named_parameters())


def test_an_audit_leaves_the_objects_as_they_were_shown(recorded: Path) -> None:
    loop = Loop()
    assert audited(recorded, loop).valid and audited(recorded, loop).valid
    assert not audited(recorded, loop, choice=Choice(number=1, seed=b"beacon")).missed(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.02, 3, cycle_momentum=False),
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o), lr_scheduler.LinearLR(o)]),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: lr_scheduler.MultiStepLR(o, [3, 7]),
        lambda o: lr_scheduler.OneCycleLR(o, 0.05, total_steps=20),
        lambda o: lr_scheduler.PolynomialLR(o, 20),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [4]
        ),
    ],
)
def test_every_scheduler_of_torch_stands_where_it_stood(make: Callable[..., Any], tmp_path: Path) -> None:
    record(tmp_path / "t", Loop(scheduler=make))
    assert audited(tmp_path / "t", Loop(scheduler=make)).valid


@pytest.mark.parametrize(
    "make",
    [
        lambda p, lr: torch.optim.SGD(p, lr),
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
        lambda p, lr: torch.optim.AdamW(p, lr, amsgrad=True),
        lambda p, lr: torch.optim.AdamW(p, lr, fused=True),
        lambda p, lr: torch.optim.AdamW(p, torch.tensor(lr), foreach=False),
        torch.optim.Adafactor,
        torch.optim.Adagrad,
        torch.optim.RMSprop,
        torch.optim.NAdam,
    ],
)
def test_every_optimizer_of_torch_stands_where_it_stood(make: Callable[..., Any], tmp_path: Path) -> None:
    record(tmp_path / "t", Loop(optimizer=make))
    assert audited(tmp_path / "t", Loop(optimizer=make)).valid


def test_a_gradient_scaler_stands_where_it_stood(tmp_path: Path) -> None:
    record(tmp_path / "t", Loop(scaled=True))
    state = Transcript.open(tmp_path / "t").state(0, 10)
    assert decode(state.facts, state.others)["parts"]["scaler"]["scale"] == 64.0  # it grew every three steps
    assert audited(tmp_path / "t", Loop(scaled=True)).valid


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_data_loader_go_on_within_an_epoch(workers: int, tmp_path: Path) -> None:
    def set_up(workers: int = workers) -> tuple[Loop, Batches]:
        return Loop(), Batches(loader(workers))

    loop, batches = set_up()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=2)  # an epoch has three batches
    parts = {**loop.parts, "order": batches}
    with own.recording(loop.model, loop.optimizer, **parts) as recording:
        for x, y in batches:
            recording.step(loop.train(x, y))
            if recording.done == 8:
                break
    loop, batches = set_up(0)
    parts = {**loop.parts, "order": batches}
    found = audit_own(
        Transcript.open(tmp_path / "t"),
        lambda step: loop.train(*next(batches)),
        loop.model,
        loop.optimizer,
        data=samples(),
        **parts,
    )
    assert (found.outcome, found.segments) == ("valid", 4)


def test_with_a_plain_data_loader_a_step_is_an_epoch(tmp_path: Path) -> None:
    def set_up() -> tuple[Loop, Callable[[int], Tensor]]:
        loop, data = Loop(), loader()

        def epoch(number: int) -> Tensor:
            return sum(loop.train(x, y) for x, y in data)  # type: ignore[return-value]

        loop.order = data.generator
        return loop, epoch

    loop, epoch = set_up()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=1)
    with own.recording(loop.model, loop.optimizer, **loop.parts) as recording:
        for number in range(3):
            recording.step(epoch(number))
    loop, epoch = set_up()
    assert audited(tmp_path / "t", loop, epoch).valid


# What a forger changes, with the chain made to fit.


def forge(folder: Path, step: int, change: Callable[[State], State]) -> None:
    path = state_file(folder, 0, step)
    state = change(State.read(path))
    state.write(path)
    entries = [one.content for one in Chain(folder / CHAIN).entries]
    (folder / CHAIN).unlink()
    chain = Chain(folder / CHAIN)
    for entry in entries:
        is_changed = entry["fields"].get("step") == step
        chain.add(entry["kind"], {**entry["fields"], **(state.digests() if is_changed else {})})


def more(group: str, name: str) -> Callable[[State], State]:
    """One number of a tensor is another."""

    def change(state: State) -> State:
        tensor = getattr(state, group)[name]
        tensor.view(-1)[0] += 1 if not tensor.is_floating_point() else 1e-6
        return state

    return change


def fact(*path: Any, value: Any) -> Callable[[State], State]:
    """Something that is no tensor is another."""

    def change(state: State) -> State:
        facts = decode(state.facts, state.others)
        place = facts
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        others: dict[str, Tensor] = {}
        return replace(state, facts=encode(facts, "", others), others=others)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (more("parameters", "last.weight"), "parameters/last.weight"),
        (more("buffers", "norm.running_mean"), "buffers/norm.running_mean"),
        (more("optimizer", "exp_avg_sq/first.bias"), "optimizer/exp_avg_sq/first.bias"),
        (more("optimizer", "step/last.bias"), "optimizer/step/last.bias"),
        (more("others", "random/torch"), "random/torch"),
        (more("others", "parts/order"), "parts/order"),
        (fact("optimizer", "groups", 0, "lr", value=0.1), "optimizer/groups/0/lr"),
        (fact("optimizer", "groups", 0, "weight_decay", value=0.1), "optimizer/groups/0/weight_decay"),
        (fact("parts", "scheduler", "last_epoch", value=4), "parts/scheduler/last_epoch"),
        (fact("parts", "python", value=(3, (*range(624), 1), None)), "parts/python/1/0"),
        (fact("parts", "numpy", "state", "pos", value=3), "parts/numpy/state/pos"),
        (lambda s: replace(s, losses=(s.losses[0] + 1e-9, s.losses[1])), "losses"),
    ],
)
def test_one_changed_number_is_found(change: Callable[[State], State], field: str, transcript: Path) -> None:
    forge(transcript, 5, change)
    found = audited(transcript, Loop())
    assert found.outcome == "invalid"
    assert f"00000005.safetensors: {field} of step 5: expected what training on from" in found.reasons[0]


@pytest.mark.parametrize(("number", "field"), [(1, "kept"), (1, "start"), (6, "steps"), (6, "weights")])
def test_a_changed_entry_of_the_chain_is_found(number: int, field: str, transcript: Path) -> None:
    entries = [one.content for one in Chain(transcript / CHAIN).entries]
    (transcript / CHAIN).unlink()
    chain = Chain(transcript / CHAIN)
    for entry in entries:
        changed = {field: 1} if field in ("kept", "steps") else {field: f"sha256:{64 * 'a'}"}
        chain.add(entry["kind"], {**entry["fields"], **(changed if entry["number"] == number else {})})
    found = audited(transcript, Loop())
    assert found.outcome == "invalid" and f": {field}: expected" in found.reasons[0]


def test_weights_that_are_no_numbers_are_found(transcript: Path) -> None:
    def change(state: State) -> State:
        state.parameters["last.bias"][0] = float("nan")
        return state

    forge(transcript, 10, change)
    found = audited(transcript, Loop(), choice=Choice(top=1))
    assert found.outcome == "invalid" and "not finite" in found.suspected[Segment(0, 5, 10)]


def test_another_learning_rate_is_another_training(recorded: Path) -> None:
    found = audited(recorded, Loop(lr=0.02))
    assert found.outcome == "invalid"
    assert (
        "00000000.safetensors: optimizer/groups/0/lr of step 0: expected what the auditor" in found.reasons[0]
    )
    loop = Loop()

    def faster(step: int) -> Tensor:
        loop.optimizer.param_groups[0]["lr"] = 0.02
        return loop.step(step)

    found = audited(recorded, loop, faster)
    assert found.outcome == "invalid" and "parameters/" in found.reasons[0] and len(found.errors) == 3


def test_another_source_of_the_step_function_is_told_but_decides_nothing(tmp_path: Path) -> None:
    loop = Loop()
    record(tmp_path / "t", loop, step=loop.step)
    loop = Loop()
    assert audited(tmp_path / "t", loop, lambda number: loop.step(number)).valid
    found = audited(tmp_path / "t", loop, lambda number: 2 * loop.step(number))
    assert "losses of step 5" in found.reasons[0]
    assert "manifest.json: code, step: expected a function of source sha256:" in found.reasons[-1]


def test_an_initial_state_from_elsewhere_is_not_asked_of_the_auditor(tmp_path: Path) -> None:
    for given, outcome in ((True, "valid"), (False, "invalid")):
        loop = Loop()
        with torch.no_grad():
            loop.model.last.weight.mul_(2)  # as after pre-training
        record(tmp_path / outcome, loop, given=given)
        assert audited(tmp_path / outcome, Loop()).outcome == outcome


def test_on_another_stack_it_is_not_called_invalid(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark)
    assert audited(recorded, Loop()).valid  # the same bits are the same bits
    found = audited(recorded, Loop(lr=0.02))
    assert (found.outcome, list(found.differences)) == ("inconsistent", ["cudnn_benchmark"])


def test_records_are_signed_and_add_up_as_for_trainings_of_ours(recorded: Path, tmp_path: Path) -> None:
    for name in "ab":
        choice = Choice(number=2, seed=name.encode())
        write_record(
            tmp_path / name, to_json(audited(recorded, Loop(), choice=choice), choice), KeyPair.make()
        )
    together = combine({tmp_path / name: Record.read(tmp_path / name) for name in "ab"})
    assert together.valid and 2 <= len(together.covered) <= 3


# Killed, and started again.

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from support.own_loop import Loop
from ticket_sig.transcripts.states import State
from test_own_loop import record
written, write = [], State.write
def killing(self, path):
    written.append(path)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, path)
State.write = killing
record(Path(sys.argv[1]), Loop())
"""


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill in the middle of the third boundary leaves."""
    folder = tmp_path_factory.mktemp("killed") / "transcript"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-c", KILLED, str(folder), str(torch.get_num_threads())]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode == -signal.SIGKILL
    with (folder / CHAIN).open("a") as file:
        file.write('{"number": 4, "kind": "bound')  # as within a line
    return folder


@pytest.mark.parametrize("resumes", [True, False])
def test_killed_and_started_again_it_is_the_same_transcript(
    resumes: bool, killed: Path, recorded: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "transcript"))
    loop, begun = Loop(), []
    own = OwnTranscript(folder, data=samples(), recipe={"lr": 0.01, "seed": 0}, every=EVERY)
    with own.recording(loop.model, loop.optimizer, **loop.parts) as recording:
        begun.append(recording.resume() if resumes else 0)
        for step in range(begun[0], STEPS):
            recording.step(loop.step(step))
    assert begun == [5 if resumes else 0]
    assert (folder / CHAIN).read_bytes() == (recorded / CHAIN).read_bytes()
    assert audited(folder, Loop()).valid


def test_told_all_of_it_again_nothing_is_recorded_twice(transcript: Path) -> None:
    before = (transcript / CHAIN).read_bytes()
    record(transcript, Loop())
    assert (transcript / CHAIN).read_bytes() == before
    for steps, step in ((7, 7), (20, 15)):  # shorter than it was, longer
        loop = Loop()
        own = OwnTranscript(transcript, data=samples(), recipe={"lr": 0.01, "seed": 0}, every=EVERY)
        expected = f"chain.jsonl: boundary of level 0, step {step}: expected nothing after the end, found one"
        with (
            pytest.raises(InputError, match=expected),
            own.recording(loop.model, loop.optimizer, **loop.parts) as recording,
        ):
            for number in range(steps):
                recording.step(loop.step(number))
    assert (transcript / CHAIN).read_bytes() == before


def test_a_block_that_fails_enters_no_end(tmp_path: Path) -> None:
    loop = Loop()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=EVERY)
    with (
        pytest.raises(KeyboardInterrupt),
        own.recording(loop.model, loop.optimizer, **loop.parts) as recording,
    ):
        for step in range(7):
            recording.step(loop.step(step))
        raise KeyboardInterrupt
    opened = Transcript.open(tmp_path / "t")
    assert opened.end is None and opened.levels[0].steps == [0, 5]
    assert audited(tmp_path / "t", Loop()).valid


def test_where_nothing_was_trained_nothing_is_valid(tmp_path: Path) -> None:
    record(tmp_path / "t", Loop(), steps=0)
    with pytest.raises(InputError, match=r"chain.jsonl: segments: expected one or more, found none"):
        audited(tmp_path / "t", Loop())


def test_it_is_signed_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    record(tmp_path / "t", Loop(), key=KeyPair.make())
    opened = Transcript.open(tmp_path / "t")
    kinds = [opened.chain.entries[one.entry].kind for one in opened.signatures]
    assert kinds == ["manifest", "level", "end"]


# What cannot be recorded, or audited: one line.


def test_objects_of_another_kind_are_refused(recorded: Path) -> None:
    wider = r"00000000.safetensors: model: first.weight: expected torch.float32 \[9, 6\], found .* \[8, 6\]"
    with pytest.raises(InputError, match=wider):
        audited(recorded, Loop(width=9))
    with pytest.raises(InputError, match="optimizer: expected SGD, found AdamW"):
        audited(recorded, Loop(optimizer=torch.optim.SGD))
    with pytest.raises(InputError, match="scheduler: expected ConstantLR, found StepLR"):
        audited(recorded, Loop(scheduler=lr_scheduler.ConstantLR))
    loop = Loop()
    with pytest.raises(InputError, match="scheduler: expected none, found StepLR"):
        audit_own(Transcript.open(recorded), loop.step, loop.model, loop.optimizer, data=samples())
    with pytest.raises(InputError, match="optimizer: expected parameters of the model, found 6 of others"):
        audit_own(Transcript.open(recorded), loop.step, Loop().model, loop.optimizer, data=samples())


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, facts=None, others={}),
        lambda s: replace(s, facts={"dict": []}),
        lambda s: replace(s, facts={"pickle": "x"}),
        lambda s: replace(s, facts=[1]),
        lambda s: replace(s, others={}),
        lambda s: replace(s, parameters={}),
        lambda s: replace(s, optimizer={"exp_avg/other": torch.zeros(1)}),
        lambda s: replace(s, optimizer={"exp_avg": torch.zeros(1)}),
        fact("parts", "order", value="text"),
        fact("parts", "order", value=torch.zeros(3)),
        fact("parts", "scheduler", "optimizer", value=3),
        fact("parts", "scheduler", "step_size", value="text"),
        fact("parts", "numpy", value={}),
        fact("random", "torch", value=torch.zeros(7)),
        fact("training", value=torch.zeros(2, dtype=torch.bool)),
        fact("optimizer", "state", value={"last.bias": 3}),
        fact("optimizer", "groups", value=[]),
        fact("optimizer", "groups", 0, "lr", value="text"),
        fact("optimizer", "groups", 0, "lr", value=torch.ones(2)),
    ],
)
def test_a_state_of_another_kind_is_one_line(change: Callable[[State], State], transcript: Path) -> None:
    forge(transcript, 5, change)
    try:
        found = audited(transcript, Loop())
    except InputError as error:
        assert "00000005.safetensors: " in str(error) or "step function, step " in str(error)
        assert "\n" not in str(error)
    else:
        assert found.outcome == "invalid"


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    loop = Loop()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=3)
    with (
        pytest.raises(InputError, match="loss of step 1: expected a finite number, found nan"),
        own.recording(loop.model, loop.optimizer, **loop.parts) as recording,
    ):
        for loss in (1.0, float("nan"), 1.0):
            recording.step(loss)


def test_a_step_function_of_another_kind_is_refused(recorded: Path) -> None:
    with pytest.raises(
        InputError, match=r"step function, step 0: expected no error, found ZeroDivisionError"
    ):
        audited(recorded, Loop(), lambda number: 1 / 0)
    loop = Loop()
    with pytest.raises(InputError, match="step function, step 0: expected its loss, as recorded, found none"):
        audited(recorded, loop, lambda number: loop.step(number) * 0 if number < 0 else None)
    with pytest.raises(InputError, match="loss: expected one number, found a str"):
        audited(recorded, loop, lambda number: "x")
    with pytest.raises(InputError, match="step function: expected one that changes the model, found one"):
        audited(recorded, loop, lambda number: 0.5)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            object(),
            "odd: expected an object with state_dict .*, or a random generator, found object",
        ),
        (nn.Embedding(2, 2, dtype=torch.float64), None),
        (np.random.default_rng(0), None),
        (random.Random(0), None),
        (
            math,
            "odd: expected an object with state_dict .*, or a random generator, found module",
        ),
    ],
)
def test_parts_are_whatever_has_a_state(part: Any, message: str | None, tmp_path: Path) -> None:
    loop = Loop()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=2)
    if message is None:
        with own.recording(loop.model, loop.optimizer, odd=part) as recording:
            assert recording.resume() == 0
        return
    with pytest.raises(InputError, match=message), own.recording(loop.model, loop.optimizer, odd=part):
        pass


def test_a_buffer_that_nobody_saves_must_not_change(tmp_path: Path) -> None:
    loop = Loop()
    loop.model.register_buffer("seen", torch.zeros(1), persistent=False)
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=2)
    with (
        pytest.raises(
            InputError, match="model: buffers: expected in state_dict, or constant, found one that"
        ),
        own.recording(loop.model, loop.optimizer, **loop.parts) as recording,
    ):
        for step in range(4):
            recording.step(loop.step(step))
            loop.model.seen += step


def test_random_numbers_that_no_step_draws_need_no_seed(recorded: Path, tmp_path: Path) -> None:
    def set_up() -> tuple[Loop, dict[str, Any]]:
        loop = Loop()
        loop.train_plainly = True
        random.seed()
        np.random.seed()
        return loop, {"order": loop.order, "scheduler": loop.scheduler}

    loop, parts = set_up()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=2)
    with own.recording(loop.model, loop.optimizer, **parts) as recording:
        for step in range(4):
            recording.step(loop.step(step))
    loop, parts = set_up()
    opened = Transcript.open(tmp_path / "t")
    assert audit_own(opened, loop.step, loop.model, loop.optimizer, data=samples(), **parts).valid


def test_whoever_forgets_to_show_random_numbers_is_told(tmp_path: Path) -> None:
    loop = Loop()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=2)
    expected = r"random: it was drawn from; where a step does, hand it in"
    with pytest.warns(UserWarning, match=expected), own.recording(loop.model, loop.optimizer) as recording:
        recording.step(loop.step(0))
        recording.step(loop.step(1))


def test_an_order_of_samples_must_follow_from_a_seed(tmp_path: Path) -> None:
    class Listed:
        def state_dict(self) -> dict[str, Any]:
            return {"rows": list(range(5000))}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Never called."""

    loop = Loop()
    own = OwnTranscript(tmp_path / "t", data=samples(), recipe={})
    expected = (
        r"parts/order/rows: length: expected at most 1000 numbers, found 5000; an order of samples must"
    )
    with pytest.raises(InputError, match=expected), own.recording(loop.model, loop.optimizer, order=Listed()):
        pass


def test_data_are_committed_to(recorded: Path) -> None:
    data, loop, opened = samples(), Loop(), Transcript.open(recorded)
    data.tensors[0][3, 0] += 1e-3
    for other in (data, [(torch.zeros(1), 0)], f"sha256:{64 * 'a'}"):
        with pytest.raises(
            InputError, match=r"manifest.json: data, .*show the very samples that were trained on"
        ):
            audit_own(opened, loop.step, loop.model, loop.optimizer, data=other, **loop.parts)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("cifar10", "data: expected samples, or sha256: and 64 hexadecimal digits, found 'cifar10'"),
        ([], "data: expected one sample or more, by number, found list"),
        ((x for x in "ab"), "data: expected one sample or more, by number, found generator; of a stream"),
        (
            [(object(), 1)],
            "data: sample 0: expected tensors, arrays, pictures, numbers or texts, found object",
        ),
    ],
)
def test_data_without_a_digest_are_refused(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        OwnTranscript(tmp_path / "t", data=data, recipe={})


def test_data_that_augment_themselves_are_refused(tmp_path: Path) -> None:
    class Noisy(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            return torch.rand(2), 0

    with pytest.raises(
        InputError, match="sample 0: expected the same each time, found another; augment in the"
    ):
        OwnTranscript(tmp_path / "t", data=Noisy([1, 2]), recipe={})


def test_other_wrong_calls_are_one_line(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe: expected a JSON object"):
        OwnTranscript(tmp_path / "t", data=samples(), recipe={"loss": nn.MSELoss()})
    with pytest.raises(InputError, match="steps of a segment: expected 1 or more, found 0"):
        OwnTranscript(tmp_path / "t", data=samples(), recipe={}, every=0)
    loop = Loop()
    other = OwnTranscript(recorded, data=samples(), recipe={"lr": 0.2}, every=EVERY)
    expected = r"manifest.json: recipe: expected those of this training, found others"
    with (
        pytest.raises(InputError, match=expected),
        other.recording(loop.model, loop.optimizer, **loop.parts),
    ):
        pass
    with pytest.raises(InputError, match=r"loader: expected a DataLoader with generator=torch.Generator\(\)"):
        Batches(torch.utils.data.DataLoader(samples()))


def test_the_command_line_says_that_it_takes_python(recorded: Path, ticket_sig: Command) -> None:
    said = ticket_sig("audit", recorded)
    assert said.code == 2
    assert "kind: expected search or training, found own; audit it in Python" in said.err


@pytest.mark.gpu
@pytest.mark.parametrize("fused", [False, True])
def test_on_a_gpu_its_random_state_belongs_to_a_boundary(fused: bool, tmp_path: Path) -> None:
    def make() -> Loop:
        return Loop(device="cuda", scaled=True, optimizer=lambda p, lr: torch.optim.AdamW(p, lr, fused=fused))

    record(tmp_path / "t", make())
    assert audited(tmp_path / "t", make()).valid
    forge(tmp_path / "t", 5, more("others", "random/cuda/0"))
    assert "random/cuda/0 of step 5" in audited(tmp_path / "t", make()).reasons[0]
