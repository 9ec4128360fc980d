"""Case 15: a server puts NaN, Infinity, null or a text into a few answers, by mistake or on purpose."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs.inputs import shown
from support import taught
from support.command_line import could_not
from support.fake_server import FakeServer, asked, fake_server
from torch import nn

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset
from ticket_sig.marks.trigger_set.record import prepare
from ticket_sig.verification.ask import judge
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.outputs import best
from ticket_sig.verification.ask.pixels import normalisation_of

NAN, INF = math.nan, math.inf


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


def told(server: FakeServer, folder: Path, *more: object) -> dict[str, Any]:
    """The evidence of a verdict, and the outcome."""
    said = asked(server, shown(folder), "--json", *more)
    verdict = json.loads(said.out)
    assert said.code in (0, 1), said.err
    return {**verdict["evidence"], "verdict": verdict["verdict"]}


def unanswered(evidence: dict[str, Any]) -> int:
    return 200 - int(evidence["triggers_answered"]) - int(evidence["decoys_answered"])


def first_image(row: list[Any]) -> Callable[[Any], Any]:
    """Puts other scores into the first image of every answer: 4 of 200."""

    def change(answer: Any) -> Any:
        data = [*row, *answer["outputs"][0]["data"][10:]]
        return {"outputs": [answer["outputs"][0] | {"data": data}]}

    return change


@pytest.mark.parametrize("odd", [NAN, None, "none", "NaN", {}, [[NAN]]])
def test_an_image_with_an_odd_number_has_no_answer(odd: Any, server: FakeServer, tmp_path: Path) -> None:
    server.change = first_image([0.0, odd, *[0.0] * 7, 9.0])
    evidence = told(server, tmp_path)
    assert (evidence["verdict"], unanswered(evidence)) == ("verified", 4)
    said = asked(server, shown(tmp_path)).out
    assert "triggers answered" in said and "decoys answered" in said


@pytest.mark.parametrize("odd", ["Infinity", "1e999", "-Infinity", "-1e999", "9" * 5000, '"Infinity"'])
def test_infinity_is_the_largest_of_the_numbers(odd: str, server: FakeServer, tmp_path: Path) -> None:
    answer = {
        "outputs": [{"name": "o", "datatype": "FP32", "shape": [50, 10], "data": ["ODD", *[0.0] * 499]}]
    }
    server.always = (200, {}, json.dumps(answer).replace('"ODD"', odd).encode())
    assert unanswered(told(server, tmp_path)) == 0


def test_the_largest_must_be_one() -> None:
    rows = [[0, INF, 1], [INF, 0, INF], [-INF, -INF, -INF], [-INF, 0, -INF], [0, NAN, 1], [2, 2, 1]]
    assert best(np.array(rows)) == [1, None, None, 1, None, 0]


@pytest.mark.parametrize("odd", [NAN, None, INF, "?"])
def test_a_label_that_is_none_is_no_answer(odd: Any, tmp_path: Path) -> None:
    with fake_server(output="labels") as server:
        server.change = lambda answer: {
            "outputs": [answer["outputs"][0] | {"data": [odd, *answer["outputs"][0]["data"][1:]]}]
        }
        evidence = told(server, tmp_path)
    assert (evidence["verdict"], unanswered(evidence)) == ("verified", 4)


@pytest.mark.parametrize(
    "odd",
    [
        {"data": [0.5] * 499},
        {"data": "none"},
        {"shape": [49, 10]},
        {"datatype": "GREY"},
        {"shape": [50], "data": [0.5] * 50},
    ],
)
def test_an_answer_of_another_form_leaves_its_images_without_one(
    odd: dict[str, Any], server: FakeServer, tmp_path: Path
) -> None:
    """Nobody can tell which image lacks a number. Ending here would let a thief end it with one answer."""
    left = iter([odd])
    server.change = lambda answer: {"outputs": [answer["outputs"][0] | next(left, {})]}
    evidence = told(server, tmp_path)
    assert (evidence["verdict"], unanswered(evidence)) == ("verified", 50)


@pytest.mark.parametrize(
    "reply", [(400, {}, b"no"), (403, {}, b"no"), (302, {"Location": "/"}, b""), (200, {}, b"<html>")]
)
def test_a_refusal_in_the_middle_does_not_end_it(reply: Any, server: FakeServer, tmp_path: Path) -> None:
    server.refusals = [None, reply]
    evidence = told(server, tmp_path)
    assert (evidence["verdict"], unanswered(evidence)) == ("verified", 50)


def test_outputs_that_contradict_end_it_only_in_the_first_answer(server: FakeServer, tmp_path: Path) -> None:
    """There the user must choose one; later a thief could end it so when he has seen everything."""
    other = {"name": "other", "datatype": "INT64", "shape": [50], "data": [11] * 50}
    later = iter([[], [], [], [other], [other]])
    server.change = lambda answer: {"outputs": [*answer["outputs"], *next(later)]}
    evidence = told(server, tmp_path)
    assert (evidence["verdict"], unanswered(evidence)) == ("verified", 50)
    could_not(asked(server, shown(tmp_path)), "expected outputs logits and other to agree")


def test_accuracy_is_asked_for_before_the_triggers(server: FakeServer, tmp_path: Path) -> None:
    """A thief who then refuses has ended the questioning, but has seen no trigger."""
    server.always = (403, {}, b"no")
    could_not(asked(server, shown(tmp_path), "--dataset", "digits"), "HTTP status 403")
    first = load_dataset("digits", None).test[:50].images
    assert [request["inputs"][0]["data"] for request in server.asked] == [first.flatten().tolist()]


def test_a_server_without_one_usable_answer_cannot_be_judged(server: FakeServer, tmp_path: Path) -> None:
    server.change = lambda answer: {"outputs": [answer["outputs"][0] | {"data": [NAN] * 500}]}
    could_not(asked(server, shown(tmp_path)), "infer: answers: expected one that names a class")
    assert len(server.asked) == 4


def test_a_thief_gains_nothing_by_no_answers(server: FakeServer, tmp_path: Path) -> None:
    """For a trigger none counts as a wrong one; a missing decoy is left out."""
    queries = prepare(taught.claim(), taught.triggers(), 100)
    answers = [label % 10 for label in taught.memoriser()(queries.images) if label is not None]
    triggers = [at for at, which in enumerate(queries.order) if which < 100]
    none, wrong = list[int | None](answers), list[int | None](answers)
    for at in triggers[:40]:
        none[at], wrong[at] = None, (answers[at] + 1) % 10
    first, second = (judge(taught.claim(), queries, given) for given in (none, wrong))
    assert first.verified and second.verified
    assert (first.reading.matches, first.reading.log10_p_labels) == (60, second.reading.log10_p_labels)
    decoys = sorted(set(range(200)) - set(triggers))
    silent = [None if at in decoys[:51] else label for at, label in enumerate(answers)]
    assert judge(taught.claim(), queries, silent).verified
    silent = [None if at in {*decoys[:71], *triggers[:71]} else label for at, label in enumerate(answers)]
    with pytest.raises(InputError, match="answers to decoys: expected at least 30, found 29 of 100"):
        judge(taught.claim(), queries, silent)


class Odd(nn.Module):
    """A network whose first output is NaN or infinite where the first pixel is dark."""

    def __init__(self, odd: float) -> None:
        super().__init__()
        self.odd, self.network = odd, nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images).clone()
        logits[images[:, 0, 0, 0] < -0.6, 0] = self.odd
        return logits


@pytest.mark.parametrize("odd", [NAN, INF])
def test_a_model_file_is_read_by_the_same_rule(odd: float) -> None:
    images = taught.triggers().split.images.numpy()
    answers = ask_network(Odd(odd), normalisation_of("digits", 1))(images)
    dark = (images[:, 0, 0, 0] / 255 - 0.3054) / 0.3757 < -0.6
    assert 0 < dark.sum() < 100
    expected = None if math.isnan(odd) else 0
    assert {answer for answer, is_dark in zip(answers, dark, strict=True) if is_dark} == {expected}
    assert all(answer is not None for answer, is_dark in zip(answers, dark, strict=True) if not is_dark)
