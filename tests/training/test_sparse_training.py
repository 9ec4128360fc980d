"""Sparse layers in training: promises 1 and 2, the choice that is written down and used again, and audits."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.stops import Notes, Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket, sparsify
from ticket_sig.digests import tensor_digest
from ticket_sig.formats.safetensors_file import read_metadata
from ticket_sig.lottery import find, retrain
from ticket_sig.models.sparse import choice, norm_relu, operators
from ticket_sig.models.sparse.layers import as_sparse, sparse_layers
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Engine, Trained, train
from ticket_sig.transcripts import Transcript, TranscriptRecorder, audit
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.recording import CHAIN
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.pixels import Normalisation

ALL = ("c1.weight", "c2.weight", "f1.weight")


class Chosen:
    """Stands in for the measurement: counts how often it is asked, and answers another time otherwise."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, model: nn.Module, mask: Mask, *_: object, training: bool) -> tuple[str, ...]:
        self.asked += 1
        answer, possible = self.answers[min(self.asked, len(self.answers)) - 1], choice.whole(model, mask)
        return tuple(name for name in answer if name in possible)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    chosen = Chosen(("c2.weight",), ("f1.weight",), ALL)
    monkeypatch.setattr("ticket_sig.training.loop.choose", chosen)
    return chosen


def quarter(seed: int = 3) -> Mask:
    draw = torch.Generator().manual_seed(seed)
    weights = dict(TinyNet().named_parameters())
    return Mask({n: torch.rand(weights[n].shape, generator=draw) < 0.25 for n in ("c2.weight", "f1.weight")})


def trained(model: nn.Module, mask: Mask, state: Path | None = None, **recipe: Any) -> Trained:
    engine = Engine(sparse=True, checkpoint_seconds=0)
    with as_sparse(model, mask, ALL):
        return train(model, tiny_data(), tiny_recipe(**recipe), engine, mask=mask, state=state)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True)])
def test_pruned_weights_are_zero_before_every_step(
    momentum: float, nesterov: bool, precision: str, tmp_path: Path
) -> None:
    model, mask, times = TinyNet(), quarter(), [0]

    def check(module: nn.Module, _: object) -> None:
        mask.check(dict(module.named_parameters()))
        times[0] += 1

    model.register_forward_pre_hook(check)
    recipe = {"momentum": momentum, "nesterov": nesterov, "precision": precision, "weight_decay": 0.1}
    found = trained(model, mask, tmp_path / "state", **recipe)
    assert times[0] == 15
    for name, kept in mask.items():
        assert not found.weights[name][~kept].any() and not found.weights[name][~kept].signbit().any()
        assert bool(found.weights[name][kept].any())
    assert found.made_with["sparse_layers"] == list(ALL)
    assert not sparse_layers(model)


def test_it_is_the_dense_training_but_for_rounding() -> None:
    mask = quarter()
    dense = train(TinyNet(), tiny_data(), tiny_recipe(), Engine(), mask=mask)
    for name, tensor in trained(TinyNet(), mask).weights.items():
        torch.testing.assert_close(tensor, dense.weights[name], rtol=2e-3, atol=2e-4, msg=f"{name} differs")


class Elsewhere(TinyNet):
    """Uses a prunable weight once more, outside its layer; behind a gate that may be closed at first."""

    def __init__(self, gate: float, closed: int = 0) -> None:
        super().__init__()
        self.gate, self.closed = nn.Parameter(torch.tensor([gate])), closed

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.closed > 0:
            self.closed -= 1
            return y + 0 * self.gate  # type: ignore[no-any-return]
        return y + self.gate * F.linear(x.mean((2, 3)), self.c2.weight[:4, :1].mean((2, 3)))


@pytest.mark.parametrize(("gate", "closed"), [(0.1, 0), (0.0, 0), (0.1, 3)])
def test_a_weight_that_is_used_elsewhere_too_is_held_by_the_mask(gate: float, closed: int) -> None:
    mask = quarter()
    found = trained(Elsewhere(gate, closed), mask)
    mask.check(found.weights)
    assert not torch.equal(found.weights["gate"], torch.tensor([gate])), "the other use is trained"


@pytest.mark.parametrize("number", [0, 1, 5, 11])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_stopped_and_resumed_it_ends_with_the_same_bits(number: int, precision: str, tmp_path: Path) -> None:
    mask, state = quarter(), tmp_path / "state"
    whole = trained(TinyNet(), mask, precision=precision)
    with pytest.raises(Stopped):
        trained(at_forward(TinyNet(), number, stop), mask, state, precision=precision)
    resumed = trained(TinyNet(seed=1 if state.exists() else 0), mask, state, precision=precision)
    assert (tensor_digest(resumed.weights), resumed.epochs) == (tensor_digest(whole.weights), whole.epochs)


def test_a_checkpoint_of_other_layers_is_refused(tmp_path: Path) -> None:
    mask, state = quarter(), tmp_path / "state"
    trained(TinyNet(), mask, state)
    assert json.loads(read_metadata(state)["ticket_sig"])["sparse_layers"] == list(ALL)
    with pytest.raises(InputError, match=r"state: sparse layers: expected none, found c1\.weight"):
        train(TinyNet(), tiny_data(), tiny_recipe(), Engine(), mask=mask, state=state)


def test_a_loss_that_is_no_number_ends_in_one_line() -> None:
    with pytest.raises(InputError, match=r"training: loss in epoch 1, by step \d+: expected a finite number"):
        trained(TinyNet(), quarter(), lr=1e30)


def test_the_choice_is_made_once_a_level_and_used_again(measured: Chosen, tmp_path: Path) -> None:
    notes, run = Notes(), tmp_path / "run"
    engine = Engine(sparse="auto", checkpoint_seconds=0, progress=notes)
    recipe = tiny_recipe(rounds=2)
    with pytest.raises(Stopped):  # in the first round
        find(recipe, tiny_data(), run, model=at_forward(TinyNet(), 20, stop), engine=engine)
    ticket = find(recipe, tiny_data(), run, model=TinyNet(), engine=replace(engine, sparse=False))
    assert any("begun with sparse='auto', and goes on so" in note for note in notes.notes)
    layers = [e.made_with["sparse_layers"] for e in ticket.history[1:] if e.made_with]
    assert layers == [["c2.weight"], ["f1.weight"]] and measured.asked == 2
    assert "sparse_layers" not in (ticket.history[0].made_with or {}), (
        "nothing is pruned of the dense network"
    )
    measured.asked = 0
    again = find(recipe, tiny_data(), tmp_path / "whole", model=TinyNet(), engine=engine)
    assert tensor_digest(again.weights) == tensor_digest(ticket.weights)


def test_a_written_choice_of_layers_that_are_none_is_refused_by_its_file(
    measured: Chosen, tmp_path: Path
) -> None:
    engine = Engine(sparse="auto")
    with pytest.raises(Stopped):  # in the first round
        find(tiny_recipe(), tiny_data(), tmp_path, model=at_forward(TinyNet(), 20, stop), engine=engine)
    for path in tmp_path.rglob("sparse.json"):
        path.write_text('{"sparse_layers": ["c9.weight"]}')
    with pytest.raises(
        InputError, match=r"sparse\.json: sparse_layers: expected layers .*, found c9\.weight$"
    ):
        find(tiny_recipe(), tiny_data(), tmp_path, model=TinyNet(), engine=engine)


def test_a_run_of_an_older_version_goes_on_dense(measured: Chosen, tmp_path: Path) -> None:
    plain = find(tiny_recipe(), tiny_data(), tmp_path / "plain", model=TinyNet())
    with pytest.raises(Stopped):
        find(tiny_recipe(), tiny_data(), tmp_path / "run", model=at_forward(TinyNet(), 20, stop))
    engine = Engine(sparse="auto")
    ticket = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TinyNet(), engine=engine)
    assert tensor_digest(ticket.weights) == tensor_digest(plain.weights) and not measured.asked


def test_a_run_that_was_begun_in_no_known_way_is_refused(tmp_path: Path) -> None:
    find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TinyNet())
    path = tmp_path / "run" / "run.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "begun_with": {**kept["begun_with"], "sparse": "maybe"}}))
    with pytest.raises(
        InputError, match=r"run: engine: sparse: expected True, False or 'auto', found 'maybe'"
    ):
        find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TinyNet())


def test_not_asked_for_nothing_says_sparse(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TinyNet())
    assert not any("sparse" in str(entry.made_with) for entry in ticket.history)
    assert "sparse" not in (tmp_path / "run" / "run.json").read_text()
    assert not list((tmp_path / "run").rglob("sparse.json"))


def recorded(folder: Path, **recipe: Any) -> Path:
    engine = Engine(sparse="auto", recorder=TranscriptRecorder(folder / "transcript", every=5))
    find(tiny_recipe(**recipe), tiny_data(), folder / "run", model=TinyNet(), engine=engine)
    return folder / "transcript"


@pytest.mark.parametrize("changes", [{"rounds": 2}, {"rounds": None, "rates": (0.5,)}])
def test_an_audit_takes_the_layers_that_the_transcript_says(
    changes: dict[str, Any], measured: Chosen, tmp_path: Path
) -> None:
    transcript = Transcript.open(recorded(tmp_path, **changes))
    asked = measured.asked
    found = audit(transcript, tiny_data(), model=TinyNet())
    assert (found.outcome, found.reasons, found.differences) == ("valid", [], {})
    assert measured.asked == asked > 0 and transcript.levels[1].sparse_layers == ["c2.weight"]


def test_an_auditor_without_a_compiler_is_told_of_another_stack(
    measured: Chosen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript = Transcript.open(recorded(tmp_path))
    for module in (choice, operators, norm_relu):
        monkeypatch.setattr(module, "library", lambda _: None)
    found = audit(transcript, tiny_data(), model=TinyNet())
    assert "kernels" in found.differences and found.outcome in ("valid", "consistent")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["elsewhere"], r"sparse_layers of level 1: expected layers of the network, found elsewhere"),
        ("c2.weight", r"sparse_layers: expected names, found 'c2\.weight'"),
    ],
)
def test_layers_that_cannot_be_are_refused(
    said: object, words: str, measured: Chosen, tmp_path: Path
) -> None:
    folder = recorded(tmp_path)
    entries = Chain(folder / CHAIN).entries
    (folder / CHAIN).unlink()
    chain = Chain(folder / CHAIN)
    for one in entries:
        changed = one.kind == "level" and one.fields["level"] == 1
        chain.add(one.kind, {**one.fields, "sparse_layers": said} if changed else one.fields)
    try:
        reasons = " ".join(audit(Transcript.open(folder), tiny_data(), model=TinyNet()).reasons)
    except InputError as error:
        reasons = str(error)
    assert re.search(words, reasons), reasons


def test_a_retraining_says_its_layers_too(tmp_path: Path) -> None:
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = quarter()
    ticket = Ticket(weights=mask.apply(weights), mask=mask)
    given: dict[str, Any] = {"start": "model", "model": TinyNet(), "engine": Engine(sparse=True)}
    after = retrain(ticket, tiny_recipe(), tiny_data(), tmp_path / "run", **given)
    assert after.history[-1].made_with is not None
    assert after.history[-1].made_with["sparse_layers"] == list(ALL)
    assert json.loads((tmp_path / "run" / "level" / "sparse.json").read_text()) == {
        "sparse_layers": list(ALL)
    }


@pytest.mark.parametrize("value", ["on", 1, None])
def test_another_value_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="engine: sparse: expected True, False or 'auto'"):
        Engine(sparse=value)


def test_a_gpu_trains_dense_layers_alone() -> None:
    gpu = torch.device("cuda")
    with pytest.raises(
        InputError, match=r"^engine: sparse: expected a CPU to train on, found cuda; choose 'auto'"
    ):
        Engine(device=gpu, sparse=True)
    auto = Engine(device=gpu, sparse="auto")
    assert auto.choose(TinyNet(), quarter(), "float32", tiny_data().size, 16) == ()


def test_what_cannot_be_sparse_is_said(tmp_path: Path) -> None:
    notes, model = Notes(), TinyNet()
    model.c2 = nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular")
    engine = Engine(sparse=True, progress=notes)
    find(tiny_recipe(), tiny_data(), tmp_path / "run", model=model, engine=engine)
    assert "left dense: c2.weight (padding circular)" in notes.notes


def test_a_measured_choice_leaves_the_network_and_random_numbers_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKET_SIG_CACHE", str(tmp_path))
    model, notes = TinyNet(dropout=0.5), Notes()
    before, state = tensor_digest(model.state_dict()), torch.get_rng_state()
    chosen = choice.choose(model, quarter(), (16, 1, 8, 8), "float32", notes.note)
    assert set(chosen) <= set(ALL) and notes.notes[-1].startswith(f"sparse layers: {len(chosen)} of 3 (")
    assert tensor_digest(model.state_dict()) == before and torch.equal(torch.get_rng_state(), state)
    assert not sparse_layers(model)
    # What was measured is read again.
    measure = choice.Bench._seconds
    monkeypatch.setattr(choice.Bench, "_seconds", lambda *_: pytest.fail("measured again"))
    assert choice.choose(model, quarter(), (16, 1, 8, 8), "float32", notes.note) == chosen
    # But not what somebody broke.
    monkeypatch.setattr(choice.Bench, "_seconds", measure)
    for path in (tmp_path / "sparse").glob("*.json"):
        path.write_text('{"seconds": [0.1, 0.2, 0.3]}')
    assert set(choice.choose(model, quarter(), (16, 1, 8, 8), "float32", notes.note)) <= set(ALL)
    assert not any("0.3" in path.read_text() for path in (tmp_path / "sparse").glob("*.json"))


FEW = ("c2.weight",)


@pytest.mark.parametrize(
    ("few", "all_of_them", "best"), [(0.84, 0.9, FEW), (0.86, 0.9, ()), (0.8, 0.7, ALL), (0.7, 0.8, FEW)]
)
def test_the_faster_sparse_layers_are_taken_where_they_save_15_percent(
    few: float, all_of_them: float, best: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {"c1.weight": [1.0, 1.1], "c2.weight": [1.0, 0.9], "f1.weight": [1.0, 1.0]}  # dense, sparse
    networks = {(): 1.0, FEW: few, ALL: all_of_them}
    monkeypatch.setattr(choice, "sparse_kernels", lambda: "some")
    monkeypatch.setattr(choice.Bench, "layer", lambda _, name: layers[name])
    monkeypatch.setattr(choice.Bench, "network", lambda _, names: networks[names])
    assert choice.choose(TinyNet(), quarter(), (2, 1, 8, 8), "float32", print) == best


def test_a_tied_layer_is_measured_with_the_mask_of_its_weight() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    model[1].weight = model[0].weight
    mask = Mask({"0.weight": torch.rand(4, 4, 3, 3) < 0.25})
    bench = choice.Bench(model, mask, (2, 4, 8, 8), "float32", True)
    assert bench._described("1.weight") == bench._described("0.weight")


class ByKeyword(nn.Module):
    """Calls its layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(input=x.flatten(1))  # type: ignore[no-any-return]


def test_a_layer_may_be_called_by_keyword() -> None:
    bench = choice.Bench(ByKeyword(), Mask({"fc.weight": torch.eye(4) > 0}), (2, 1, 2, 2), "float32", True)
    assert bench.inputs == {"fc.weight": ((2, 4), False)}


def test_without_a_compiler_auto_is_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "library", lambda _: None)
    notes = Notes()
    assert choice.choose(TinyNet(), quarter(), (16, 1, 8, 8), "float32", notes.note) == ()
    assert notes.notes == ["sparse layers: none, as this machine has no C compiler that makes them"]
    made = Engine(sparse=True).prepare(TinyNet(), "float32")
    assert made["kernels"] == "torch, sparse torch"


def test_a_network_that_is_sparse_already_is_trained_as_a_dense_one(tmp_path: Path) -> None:
    model = sparsify(TinyNet(), quarter())
    ticket = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=model)
    plain = find(tiny_recipe(), tiny_data(), tmp_path / "plain", model=TinyNet())
    assert tensor_digest(ticket.weights) == tensor_digest(plain.weights) and sparse_layers(model)


def test_what_only_answers_answers_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TICKET_SIG_CACHE", str(tmp_path))
    model, data = TinyNet(), tiny_data()
    quarter().bind(dict(model.named_parameters()))
    dense = accuracy(model, data.test, data, torch.device("cpu"), "float32")
    ask = ask_network(model, Normalisation(data.mean, data.std))
    labels = ask(data.test.images.numpy())
    for sparse in (True, "auto"):
        with Engine(sparse=sparse).answering(model, "float32", data.size):
            assert sparse_layers(model) or sparse == "auto"
            assert accuracy(model, data.test, data, torch.device("cpu"), "float32") == dense
            assert ask(data.test.images.numpy()) == labels
    assert not sparse_layers(model)
    sparsify(model)
    with Engine().answering(model, "float32", data.size):
        pass
    assert sparse_layers(model) == ("c2.weight", "f1.weight"), "what came in sparse goes on so"


@pytest.mark.filterwarnings("error")
def test_a_network_that_fails_to_become_sparse_is_left_as_it_was() -> None:
    model = TinyNet()
    model.c2 = nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular")
    quarter().bind(dict(model.named_parameters()))
    with (
        pytest.raises(UserWarning, match="left dense: c2"),
        as_sparse(model, quarter(), ["c2.weight", "f1.weight"]),
    ):
        pass
    assert not sparse_layers(model)


def test_the_first_layer_goes_along_and_other_dense_ones_do_not() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(4, 4))
    mask = Mask({"1.weight": torch.rand(8, 8, 3, 3) < 0.5})
    assert choice.whole(model, mask) == ("0.weight", "1.weight")
    assert choice.whole(model, Mask.full({"1.weight": torch.ones(8, 8, 3, 3)})) == ()
