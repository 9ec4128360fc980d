"""Case 14: people ask a server whose metadata are empty, wrong, or in the forms of proxies and runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_inputs.inputs import shown
from support.command_line import could_not
from support.fake_server import FakeServer, asked, fake_server

SAID = ("--input", "images", "--datatype", "UINT8", "--shape", "-1,8,8,1")
HINT = "say what it takes: --input NAME --datatype UINT8 --shape -1,8,8,1"
IMAGES = {"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.mark.parametrize(
    "shape",
    [
        ["-1", "8", "8", "1"],
        [None, 8, 8, 1],
        ["batch", 8, 8, 1],
        [-1, "height", "width", 1],
        "[-1, 8, 8, 1]",
        "-1,8,8,1",
    ],
)
def test_sizes_in_other_forms_are_read(shape: Any, server: FakeServer, tmp_path: Path) -> None:
    server.metadata["inputs"][0]["shape"] = shape
    assert asked(server, shown(tmp_path)).code == 0
    assert server.asked[0]["inputs"][0]["shape"] == [50, 8, 8, 1]


@pytest.mark.parametrize("without", ["outputs", "platform", "versions", "name"])
def test_fields_that_are_not_needed_may_be_missing(without: str, server: FakeServer, tmp_path: Path) -> None:
    server.metadata.pop(without, None)
    assert asked(server, shown(tmp_path)).code == 0
    server.metadata |= {"outputs": [], "platform": "", "versions": []}
    assert asked(server, shown(tmp_path)).code == 0


@pytest.mark.parametrize("datatype", ["BF16", "FP16"])
def test_a_model_of_halves_is_sent_numbers(datatype: str, server: FakeServer, tmp_path: Path) -> None:
    server.metadata["inputs"][0]["datatype"] = datatype
    server.to_pixels = lambda tensor: (tensor * 255).round().astype("uint8")
    assert asked(server, shown(tmp_path), "--pixels", "unit").code == 0
    assert server.asked[0]["inputs"][0]["datatype"] == datatype


def test_without_a_batch_dimension_each_image_is_a_batch(server: FakeServer, tmp_path: Path) -> None:
    """Some servers take batches all the same; one image at a time is right for each of them."""
    server.metadata["inputs"][0]["shape"] = [8, 8, 1]
    assert asked(server, shown(tmp_path)).code == 0
    assert [request["inputs"][0]["shape"] for request in server.asked] == [[1, 8, 8, 1]] * 200
    server.always = (400, {}, b'{"error": "unexpected shape"}')
    could_not(asked(server, shown(tmp_path)), "unexpected shape; ", "try --shape 8,8,1 or --shape -1,8,8,1")


def test_a_user_who_says_so_sends_the_image_alone(server: FakeServer, tmp_path: Path) -> None:
    alone: dict[str, Any] = {"shape": [10]}
    server.change = lambda answer: {"outputs": [answer["outputs"][0] | alone]}
    assert asked(server, shown(tmp_path), *SAID[:4], "--shape", "8,8,1").code == 0
    assert [request["inputs"][0]["shape"] for request in server.asked] == [[8, 8, 1]] * 200
    alone |= {"shape": [], "data": [3]}
    assert asked(server, shown(tmp_path), *SAID[:4], "--shape", "8,8,1").code == 1


@pytest.mark.parametrize(
    "metadata", [{}, {"inputs": []}, {"inputs": None}, {"inputs": [{}]}, {"inputs": [IMAGES | {"shape": []}]}]
)
def test_what_the_metadata_do_not_tell_the_user_can(
    metadata: Any, server: FakeServer, tmp_path: Path
) -> None:
    server.metadata = metadata
    could_not(asked(server, shown(tmp_path)), "metadata, ", HINT)
    assert asked(server, shown(tmp_path), *SAID).code == 0
    assert server.asked[0]["inputs"][0] | {"data": 0} == IMAGES | {"shape": [50, 8, 8, 1], "data": 0}


@pytest.mark.parametrize(
    "about", [(404, {}, b"<html>"), (200, {}, b"ready"), (200, {}, b"[]"), (403, {}, b"")]
)
def test_metadata_that_are_not_there_are_not_asked_for(
    about: Any, server: FakeServer, tmp_path: Path
) -> None:
    server.about = about
    could_not(asked(server, shown(tmp_path)), "/v2/models/mine: answer: expected ", HINT)
    server.requests.clear()
    assert asked(server, shown(tmp_path), *SAID).code == 0
    assert {method for method, *_ in server.requests} == {"POST"}


def test_what_is_said_counts_and_the_rest_is_read(server: FakeServer, tmp_path: Path) -> None:
    server.metadata["inputs"] = [IMAGES | {"datatype": "BYTES"}, {"name": "threshold", "datatype": "FP32"}]
    could_not(asked(server, shown(tmp_path), *SAID[:2]), "metadata, datatype: expected UINT8", HINT)
    assert asked(server, shown(tmp_path), *SAID[:4]).code == 0


def test_of_two_inputs_the_user_names_the_one_for_the_images(server: FakeServer, tmp_path: Path) -> None:
    """The other is sent nothing: a value that nobody gave would be a guess."""
    server.metadata["inputs"].append({"name": "threshold", "datatype": "FP32", "shape": [1]})
    could_not(asked(server, shown(tmp_path)), "inputs: expected one input, found 2 (images, threshold)", HINT)
    could_not(asked(server, shown(tmp_path), "--input", "x"), "expected one named 'x', found 2 (images, thr")
    assert asked(server, shown(tmp_path), "--input", "images").code == 0
    server.always = (400, {}, b'{"error": "expected 2 inputs but got 1"}')
    could_not(asked(server, shown(tmp_path), "--input", "images"), "HTTP status 400: expected 2 inputs but")
