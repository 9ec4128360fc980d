"""Knowledge distillation: what the student learns and from what, and that the teacher stays as it is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.stops import Notes, Stopped, at_forward, stop
from support.tickets import tiny_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import nn

from ticket_sig import InputError, Mask, Ticket, retrain
from ticket_sig.attacks import Scene
from ticket_sig.attacks.knowledge_distillation import KnowledgeDistillation
from ticket_sig.attacks.report import attack_report
from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.models.own import logits_of
from ticket_sig.training import Steps
from ticket_sig.training.loop import Engine, Trained, train
from ticket_sig.training.teacher import Teacher


def test_the_student_learns_the_answers_and_at_share_1_no_label() -> None:
    data = tiny_data()
    other = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 4))

    def learnt(data: Dataset, share: float, epochs: int = 1) -> Trained:
        teacher = Teacher(taught, temperature=2.0, share=share)
        recipe = tiny_recipe(length=Steps(epochs), weight_decay=0.0)
        return train(TinyNet(seed=1), data, recipe, Engine(), teacher=teacher)

    taught = TinyNet()
    with torch.no_grad():
        taught.f2.weight.mul_(20)  # answers that differ from image to image
    same = [tensor_digest(learnt(one, 1.0).weights) for one in (data, other)]
    assert same[0] == same[1] != tensor_digest(learnt(data, 0.5).weights)
    first, *_, last = (epoch["loss"] for epoch in learnt(other, 1.0, epochs=8).epochs)
    assert 0 <= last < first / 5


def test_teacher_and_user_s_model_stay_with_batch_norm_modes_and_hooks() -> None:
    ticket, model = tiny_ticket(), TinyNet(dropout=0.5)
    model.bn.eval()
    seen: list[bool] = []
    model.register_forward_hook(lambda module, *_: seen.append(module.training))
    before = tensor_digest(ticket.weights), tensor_digest(model.state_dict())
    modes, hooks = [m.training for m in model.modules()], dict(model._forward_hooks)
    scene = Scene(data=tiny_data(), model=model)
    KnowledgeDistillation(epochs=1)(ticket, scene)
    assert (tensor_digest(ticket.weights), tensor_digest(model.state_dict())) == before
    assert [m.training for m in model.modules()] == modes and dict(model._forward_hooks) == hooks
    assert scene.model is not None and tensor_digest(scene.model.state_dict()) == before[1]


def test_a_teacher_answers_in_evaluation_and_its_statistics_stay() -> None:
    network = TinyNet(dropout=0.5).train()
    teacher, images = Teacher(network, temperature=2.0, share=0.5), torch.randn(8, 1, 8, 8)
    answers = teacher.answers(images)
    assert torch.equal(answers, teacher.answers(images)) and not answers.requires_grad
    assert network.training and network.bn.num_batches_tracked == 0
    assert torch.equal(answers, logits_of(network.eval()(images), 8))


def test_the_loss_is_hinton_s() -> None:
    teacher = Teacher(TinyNet(), temperature=3.0, share=0.7)
    logits, answers, hard = torch.randn(5, 4), torch.randn(5, 4), torch.tensor(1.5)
    own, taught = (logits / 3).softmax(1), (answers / 3).softmax(1)
    soft = (taught * (taught.log() - own.log())).sum(1).mean()
    assert torch.allclose(teacher.loss(logits, answers, hard), 0.7 * 9 * soft + 0.3 * hard)


def test_the_student_is_fresh_and_dense_and_of_the_thief_s_seed() -> None:
    ticket, scene = tiny_ticket(), Scene(data=tiny_data(), model=TinyNet(), seed=3)
    student = KnowledgeDistillation(epochs=1, lr=1e-9)(ticket, scene)
    assert student.mask == Mask.full({name: ticket.weights[name] for name in ticket.mask})
    values = student.weights["f1.weight"]
    for other in (ticket.weights["f1.weight"], TinyNet().f1.weight, TinyNet(seed=3).f1.weight):
        assert float((values - other.detach()).abs().mean()) > 0.01
    assert [(e.step, e.epochs) for e in student.history] == [("train", 1)]


def test_it_goes_on_where_it_was_killed_with_the_same_bits(tmp_path: Path) -> None:
    def run(model: nn.Module, state: Path | None) -> str:
        teacher = Teacher(TinyNet(seed=2), temperature=4.0, share=0.9)
        engine = Engine(checkpoint_seconds=0)
        done = train(model, tiny_data(), tiny_recipe(), engine, teacher=teacher, state=state)
        return tensor_digest(done.weights)

    with suppress(Stopped):
        run(at_forward(TinyNet(), 7, stop), tmp_path / "state")
    assert (tmp_path / "state").exists()
    assert run(TinyNet(seed=1), tmp_path / "state") == run(TinyNet(), None)


def test_a_run_folder_is_of_one_teacher(tmp_path: Path) -> None:
    def run(**changed: float) -> Ticket:
        teacher = Teacher(TinyNet(), **{"temperature": 4.0, "share": 0.9, **changed})
        given = {"start": "model", "model": TinyNet(), "teacher": teacher}
        return retrain(tiny_ticket(), tiny_recipe(length=Steps(1)), tiny_data(), tmp_path / "run", **given)

    assert run().history == run().history
    with pytest.raises(InputError, match="belongs to another run: teacher: expected"):
        run(temperature=2.0)


def test_fewer_images_make_a_shorter_epoch() -> None:
    told = Notes()
    scene = Scene(data=tiny_data(), model=TinyNet(), engine=Engine(progress=told))
    KnowledgeDistillation(epochs=1, images=40)(tiny_ticket(), scene)
    assert [total for _, total in told.begun] == [2]  # 32 of them to train on, 16 a batch
    with pytest.raises(InputError, match="attack: images: expected at most 72, the train split, found 73"):
        KnowledgeDistillation(epochs=1, images=73)(tiny_ticket(), scene)


def test_a_student_of_another_architecture_is_measured_as_such() -> None:
    scene = Scene(data=tiny_data(images=24), model=TinyNet())
    ticket = tiny_ticket()
    student = KnowledgeDistillation(epochs=1, student="freezenet")(ticket, scene)
    assert student.recipe is not None and student.recipe["arch"] == "freezenet"
    report = attack_report(ticket, student, scene)
    assert report.accuracy[1] == student.history[-1].test is not None
    assert report.kept[1] == report.totals[1] != report.totals[0] == ticket.mask.total
    with pytest.raises(InputError, match=r"arch: expected one of resnet20, .*, found 'lenet'"):
        KnowledgeDistillation(student="lenet")(ticket, scene)


def test_data_of_other_classes_teach_no_answers() -> None:
    scene = Scene(data=replace(tiny_data(classes=7), name="other"), model=TinyNet(classes=7))
    with pytest.raises(
        InputError, match="data: expected the data set that the model was trained on, found oth"
    ):
        KnowledgeDistillation(epochs=1)(tiny_ticket(), scene)


class Scaled(TinyNet):
    """Has a parameter that only its own constructor can make anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_a_network_that_cannot_be_made_anew_is_one_line() -> None:
    ticket = tiny_ticket()
    ticket = replace(ticket, weights={**ticket.weights, "scale": torch.ones(1)})
    expected = "student: expected a module with reset_parameters at its top, found Scaled; name another"
    with pytest.raises(InputError, match=expected):
        KnowledgeDistillation(epochs=1)(ticket, Scene(data=tiny_data(), model=Scaled()))
