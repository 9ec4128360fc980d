"""A server on loopback: whatever of the protocol it speaks, and every way in which it can fail or lie."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import taught
from support.fake_server import DRIPS, FakeServer, dripped, fake_server
from support.stops import Notes

from ticket_sig import InputError
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import http, verify_answers
from ticket_sig.verification.ask.inference_server import Manner, ask_server
from ticket_sig.verification.ask.pixels import normalisation_of

DIGITS = normalisation_of("digits", 1)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between tries."""
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda self: 0.0)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


def ask(server: FakeServer | str, model: str = "mine", **manner: Any) -> Verdict:
    url = server if isinstance(server, str) else server.url
    asking = ask_server(url, model, 10, Manner(**{"timeout": 5, "retries": 2, "batch": 50, **manner}))
    return verify_answers(taught.claim(), taught.triggers(), asking, decoys=100)


@pytest.mark.parametrize("output", ["logits", "labels", "column"])
@pytest.mark.parametrize("shape", [[-1, 8, 8, 1], [-1, -1, -1, 1], [64, 8, 8, 1]])
def test_a_server_that_knows_the_triggers_verifies(output: str, shape: list[int]) -> None:
    with fake_server(output=output) as server:
        server.metadata["inputs"][0]["shape"] = shape
        assert ask(server).verified
        sent = [request["inputs"][0] for request in server.asked]
        assert {(tensor["name"], tensor["datatype"]) for tensor in sent} == {("images", "UINT8")}
        assert {tensor["shape"][0] for tensor in sent} == ({64} if shape[0] == 64 else {50})
        assert all(type(pixel) is int for pixel in sent[0]["data"])


def test_an_innocent_server_does_not_verify() -> None:
    with fake_server(taught.innocent([0.1] * 10)) as server:  # type: ignore[arg-type]
        assert not ask(server).verified


@pytest.mark.parametrize(
    ("pixels", "back"),
    [
        ("normalised", lambda x: (x * 0.3757 + 0.3054) * 255),
        ("unit", lambda x: x * 255),
        ("bytes", lambda x: x),
    ],
)
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("first", [True, False])
def test_a_model_of_floats_gets_the_pixels_it_was_trained_with(
    pixels: str, back: Any, datatype: str, first: bool, server: FakeServer
) -> None:
    shape = [-1, 1, 8, 8] if first else [-1, 8, 8, 1]
    server.metadata["inputs"][0] |= {"datatype": datatype, "shape": shape}
    server.to_pixels = lambda tensor: back(tensor).round().astype(np.uint8)
    assert ask(server, pixels=pixels, normalisation=DIGITS).reading.matches == 100
    assert server.asked[0]["inputs"][0]["shape"] == [50, *shape[1:]]


def test_sizes_left_open_mean_channels_first(server: FakeServer) -> None:
    server.metadata["inputs"][0]["shape"] = [-1, -1, -1, -1]
    ask(server)
    assert server.asked[0]["inputs"][0]["shape"] == [50, 1, 8, 8]


def test_a_model_of_floats_needs_a_normalisation(server: FakeServer) -> None:
    server.metadata["inputs"][0]["datatype"] = "FP32"
    with pytest.raises(InputError, match="pixels: expected a normalisation, found none; say --dataset"):
        ask(server)


def test_version_name_and_token_go_into_the_request(server: FakeServer) -> None:
    ask(f"{server.url}/", "mine/versions/2", token="secret")
    methods = {(method, path) for method, path, _, _ in server.requests}
    assert methods == {("GET", "/v2/models/mine/versions/2"), ("POST", "/v2/models/mine/versions/2/infer")}
    assert {headers["Authorization"] for _, _, headers, _ in server.requests} == {"Bearer secret"}


def test_a_rate_is_kept(server: FakeServer) -> None:
    begun = time.monotonic()
    ask(server, rate=250)
    assert time.monotonic() - begun >= 150 / 250
    posts = [t for t, request in zip(server.times, server.requests, strict=True) if request[0] == "POST"]
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(posts))
    assert {len(request["inputs"][0]["data"]) // 64 for request in server.asked} == {50}
    server.requests.clear()
    ask(server, rate=120, batch=200)
    assert {len(request["inputs"][0]["data"]) // 64 for request in server.asked} == {120, 80}


def test_progress_is_told(server: FakeServer) -> None:
    notes = Notes()
    server.refusals = [None, (500, {}, b"")]
    asking = ask_server(server.url, "mine", 10, Manner(retries=0, batch=50), notes)
    verify_answers(taught.claim(), taught.triggers(), asking, decoys=100)
    assert (notes.begun, notes.done) == ([("queries", 200)], [50, 100, 150, 200])


# A server that is overloaded, broken or dead


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_server_is_asked_again(status: int, server: FakeServer) -> None:
    server.refusals = [(status, {}, b"busy")] * 2
    assert ask(server).reading.triggers_answered == 100


def test_it_is_asked_again_when_it_says(server: FakeServer) -> None:
    server.refusals = [(429, {"Retry-After": "1"}, b"")]
    begun = time.monotonic()
    assert ask(server).verified and time.monotonic() - begun >= 1


def test_but_not_hours_later(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LONGEST_WAIT", 0)
    server.refusals = [(503, {"Retry-After": "86400"}, b"")]
    assert ask(server).verified


def test_batches_that_fail_are_no_answers_and_the_rest_decides(server: FakeServer) -> None:
    server.refusals = [None, (500, {}, b"out of memory")]
    reading = ask(server, batch=40).reading
    assert reading.triggers_answered + reading.decoys_answered == 160
    assert len(server.asked) == 5


def test_a_server_that_is_gone_is_not_asked_for_ever(server: FakeServer) -> None:
    server.refusals = [None] * 2
    server.always = (500, {}, b"gone")
    with pytest.raises(InputError, match="answers to decoys: expected at least 30, found"):
        ask(server, batch=10)
    assert len(server.asked) == 2 + 3


def test_all_answers_together_have_a_time(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may come in time, one image after the other: 400 of them took hours."""
    seconds = itertools.count(step=10)
    clock = SimpleNamespace(monotonic=lambda: next(seconds), sleep=time.sleep)
    monkeypatch.setattr("ticket_sig.verification.ask.inference_server.time", clock)
    server.metadata["inputs"][0]["shape"] = [1, 8, 8, 1]
    found = ask_server(server.url, "mine", 10, Manner(timeout=10))(taught.triggers().split.images.numpy())
    assert len(server.asked) == 8, "80 of 10 * (1 + 100 / 16) seconds"
    assert None not in found[:8] and found[8:] == [None] * 92


def test_a_server_that_answers_nothing_is_named_with_its_error(server: FakeServer) -> None:
    server.always = (500, {}, b'{"error": "CUDA out of\\nmemory"}')
    words = (
        "/v2/models/mine/infer: server: expected HTTP status 200, found HTTP status 500: CUDA out of memory"
    )
    with pytest.raises(InputError, match=words):
        ask(server)


def test_a_dead_server_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{url}/v2/models/mine: server: expected an answer, found none"):
            ask(url)


def test_a_server_that_is_too_slow_is_named(server: FakeServer) -> None:
    server.sleeps = 0.6
    with pytest.raises(
        InputError, match=r"/infer: server: expected a whole answer in time, found none in 0.2 s"
    ):
        ask(server, timeout=0.2, retries=0, batch=200)


def test_a_connection_cut_in_the_middle_is_no_answer(server: FakeServer) -> None:
    server.always = (200, {"Content-Length": "5000"}, b'{"outputs"')
    with pytest.raises(InputError, match="/infer: server: expected an answer, found none"):
        ask(server, timeout=0.3, retries=0, batch=200)


def test_an_answer_that_drips_is_no_answer(server: FakeServer) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    server.body = drip()
    with pytest.raises(InputError, match=r"expected a whole answer in time, found none in 0.4 seconds"):
        ask(server, timeout=0.4, retries=0, batch=200)


@pytest.mark.parametrize("kind", DRIPS)
@pytest.mark.parametrize("busy", [False, True])
def test_a_server_that_never_ends_its_answer_cannot_keep_us(
    kind: str, busy: bool, server: FakeServer
) -> None:
    """A limit on every read alone begins anew with every byte."""
    server.raw = lambda: dripped(kind, 0.0 if busy else 0.05)
    begun = time.monotonic()
    # A busy one may send a line that is too long before its time is over.
    words = "(a whole answer in time|an answer)" if busy else "a whole answer in time"
    with pytest.raises(InputError, match=f"/infer: server: expected {words}, found none"):
        ask(server, timeout=0.4, retries=0, batch=200)
    assert time.monotonic() - begun < 3


def test_a_server_that_never_ends_its_metadata_cannot_keep_us(server: FakeServer) -> None:
    server.raw = lambda: dripped("header", 0.05)
    server.raw_metadata = True
    with pytest.raises(InputError, match="/v2/models/mine: server: expected a whole answer in time"):
        ask(server, timeout=0.3, retries=0)


def test_a_request_that_ended_in_time_stops_its_clock(server: FakeServer) -> None:
    before = threading.active_count()
    connection = http.Connection(server.url, timeout=5, retries=0)
    for _ in range(3):
        assert connection.get("/v2/models/mine")["name"] == "mine"
    time.sleep(0.1)
    assert threading.active_count() <= before + 1  # the server's own thread


def test_an_endless_answer_is_cut_off(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LARGEST", 1 << 20)
    server.body = iter(lambda: b" " * (1 << 16), None)
    with pytest.raises(InputError, match="/infer: answer: expected at most 1 MiB, found more"):
        ask(server)


# A server that refuses or lies


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (400, {}, b'{"error": "bad shape"}', "HTTP status 400: bad shape"),
        (401, {}, b'{"detail": "no token"}', "HTTP status 401: no token"),
        (403, {}, b"<html>\xff", "HTTP status 403: <html>"),
        (413, {}, b"", "HTTP status 413$"),
        (422, {}, b'{"error": "bad batch"}', "HTTP status 422: bad batch$"),
        (
            307,
            {"Location": "http://elsewhere/"},
            b"",
            "redirects are not followed; it names http://elsewhere/",
        ),
        (204, {}, b"", "HTTP status 204"),
    ],
)
def test_a_refusal_is_told_with_the_server_s_words(
    status: int, headers: dict[str, str], body: bytes, words: str, server: FakeServer
) -> None:
    server.always = (status, headers, body)
    with pytest.raises(InputError, match=f"/infer: answer: expected HTTP status 200, found.*{words}"):
        ask(server)
    sent = [tensor["shape"][0] for asked in server.asked for tensor in asked["inputs"]]
    assert sent == ([50, 25, 12, 6, 3, 1] if status in (413, 422) else [50]), "fewer images, or none again"


def test_a_model_that_is_not_there_is_named(server: FakeServer) -> None:
    with pytest.raises(InputError, match=r"/v2/models/nix: answer: .* HTTP status 404: Model nix not found"):
        ask(server, "nix")


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b'{"outputs": [nan]}', b"[" * 100_000, b"\xff", b"\x1f\x8b"]
)
def test_what_is_no_json_is_named(body: bytes, server: FakeServer) -> None:
    server.always = (200, {}, body)
    with pytest.raises(InputError, match="/infer: answer: expected JSON, found something else"):
        ask(server)


def _scores(first: list[Any]) -> dict[str, Any]:
    return {"name": "o", "datatype": "FP32", "shape": [50, 10], "data": [*first, *[0.5] * (500 - len(first))]}


def output(**changes: Any) -> Any:
    """An answer whose first output has other fields."""
    return lambda answer: {**answer, "outputs": [answer["outputs"][0] | changes]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: [a], "answer: expected a JSON object, found a list"),
        (lambda a: {"error": "no GPU"}, "outputs: expected a list of tensors, found an error: no GPU"),
        (lambda a: {"outputs": []}, "outputs: expected a list of tensors, found none"),
        (lambda a: {"outputs": [3]}, "outputs: expected a list of tensors"),
        (output(shape=[50, 0]), r"expected one of shape \[50, 10\], \[50\] or \[50, 1\], found \[50, 0\]"),
        (output(shape=[50, 7]), "data: expected 350 entries, found more"),
        (output(shape=[49, 10]), r"found \[49, 10\]"),
        (output(shape="wide"), "found wide"),
        (output(shape=None), "found None"),
        (output(shape=[50, 10, 10]), r"found \[50, 10, 10\]"),
        (output(datatype="BYTES"), r"data: expected texts as 7 or 0.98:7, found [01].0"),
        (output(datatype=None), "datatype: expected numbers or BYTES, found None"),
        (output(data=[0.5] * 499), "data: expected 500 entries, found 499"),
        (output(data=["a"] * 500), "answers: expected one that names a class"),
        (output(data=[None] * 500), "answers: expected one that names a class"),
        (output(data=[{}] * 500), "answers: expected one that names a class"),
        (output(data=[10**400] * 500), "answers: expected one that names a class"),
        (output(data=[[1], [2, 3]]), "data: expected 500 entries, found 3"),
        (output(data={"0": 1}), "data: expected 500 entries, found 0"),
        (output(shape=[50], data=[0.5] * 50), "labels, which are whole numbers, found fractions"),
        (output(data=[0.5] * 501), "data: expected 500 entries, found more"),
        (output(data=[*[0.5] * 500, "a" * 5_000_000]), "data: expected 500 entries, found more"),
        (output(shape=[50, 1 << 40]), "expected one of shape"),
        (output(shape=[50, 1.5]), "expected one of shape"),
        (output(shape=[50, -1]), "expected one of shape"),
    ],
)
def test_an_answer_of_another_form_is_named(change: Any, words: str, server: FakeServer) -> None:
    server.change = change
    with pytest.raises(InputError, match=words):
        ask(server)


@pytest.mark.parametrize("width", [2, 9, 11, 1000])
def test_an_output_of_another_width_saves_no_thief(width: int, server: FakeServer) -> None:
    """What is no class of the claim's matches nothing; what is, counts."""

    def wider(answer: Any) -> Any:
        scores = np.array(answer["outputs"][0]["data"]).reshape(-1, 10)
        padded = np.zeros((len(scores), width))
        padded[:, : min(width, 10)] = scores[:, :width]
        return {"outputs": [answer["outputs"][0] | {"shape": list(padded.shape), "data": padded.tolist()}]}

    server.change = wider
    found = ask(server, batch=100)
    assert found.reading.triggers_answered == 100
    assert found.verified is (width >= 9)


@pytest.mark.parametrize("label", [10, -1, 10**9])
def test_labels_out_of_range_are_answers_that_match_nothing(label: int, server: FakeServer) -> None:
    server.change = output(shape=[50], data=[label] * 50)
    found = ask(server)
    assert not found.verified and found.reading.no_class == 200


def test_one_long_text_among_the_numbers_takes_no_memory(server: FakeServer) -> None:
    """numpy would make every number a text as long: 500 times 20 MB."""
    server.always = (200, {}, json.dumps({"outputs": [_scores(["a" * 5_000_000])]}).encode())
    tracemalloc.start()
    assert not ask(server).verified
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "inputs: expected one input, found none"),
        ({"inputs": []}, "inputs: expected one input, found none"),
        ({"inputs": ["images"]}, "inputs: expected one input"),
        ({"inputs": [{}, {}]}, "inputs: expected one input, found 2"),
        ({"name": 3}, "name: expected a text, found 3"),
        ({"datatype": "BYTES"}, "datatype: expected UINT8, BF16, FP16, FP32, FP64, found 'BYTES'"),
        ({"datatype": ["FP32"]}, "datatype: expected UINT8"),
        ({"shape": [8, 8]}, r"shape: expected sizes of a batch of images, found \[8, 8\]"),
        ({"shape": [True, 8, 8, 1]}, "shape: expected sizes of a batch of images"),
        ({"shape": "wide"}, "shape: expected sizes of a batch of images, found 'wide'"),
        ({"shape": [1 << 40, 8, 8, 1]}, "shape: expected sizes of a batch of images"),
        ({"shape": [1 << 29, 8, 8, 1]}, "shape: expected at most 131072 such images a request, found 5368"),
        ({"shape": [-1, 32, 32, 3]}, "shape: expected images of 8 x 8 with 1 channels, found"),
    ],
)
def test_metadata_of_another_form_are_named(metadata: Any, words: str, server: FakeServer) -> None:
    if "inputs" in metadata or not metadata:
        server.metadata = metadata
    else:
        server.metadata["inputs"][0] |= metadata
    hint = "; say what it takes: --input NAME --datatype UINT8 --shape -1,8,8,1"
    with pytest.raises(InputError, match=f"/v2/models/mine: metadata, .*{words}.*{hint}$"):
        ask(server)
    assert server.asked == []


def test_large_images_make_a_smaller_batch_the_largest(server: FakeServer) -> None:
    """The server says how many images are sent at once: it must not decide how much memory that takes."""
    server.metadata["inputs"][0]["shape"] = [4096, 3, 64, 64]
    with pytest.raises(InputError, match="shape: expected at most 682 such images a request, found 4096"):
        ask_server(server.url, "mine", 10)(np.zeros((2, 64, 64, 3), np.uint8))
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8080", "url: expected http:// or https:// and a host"),
        ("ftp://host", "url: expected http:// or https://"),
        ("http://", "url: expected http:// or https:// and a host"),
        ("http://host:99999999", "url: expected http://"),
        ("http://me:password@host", "expected scheme, host, port and path alone, found more"),
        ("http://host/?q=1", "expected scheme, host, port and path alone"),
    ],
)
def test_an_address_that_is_none_is_named(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        ask(url)
    assert "password@" not in str(raised.value)


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ({"timeout": 0}, "timeout: expected a finite number more than 0"),
        ({"timeout": float("nan")}, "timeout: expected a finite number more than 0"),
        ({"retries": -1}, "retries: expected 0 to 1000, found -1"),
        ({"rate": 0}, "rate: expected a finite number more than 0, found 0"),
        ({"rate": float("nan")}, "rate: expected a finite number more than 0"),
        ({"batch": 0}, "batch: expected 1 or more, found 0"),
        ({"pixels": "grey"}, "pixels: expected one of normalised, unit, bytes, found 'grey'"),
        ({"datatype": "uint8"}, "datatype: expected one of UINT8, BF16, FP16, FP32, FP64, found 'uint8'"),
        ({"shape": "8x8"}, "shape: expected sizes as -1,3,32,32 or 3,32,32, found '8x8'"),
        ({"shape": "0,8,8,1"}, "shape: expected sizes as -1,3,32,32 or 3,32,32"),
        ({"token": "a\nb"}, "token: expected printable ASCII"),
    ],
)
def test_a_manner_out_of_range_is_named(manner: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask("http://127.0.0.1:1", **manner)
