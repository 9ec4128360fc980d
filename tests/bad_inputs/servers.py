"""Servers that are dead, refuse, or answer something else."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import nan
from pathlib import Path
from typing import Any

from support.fake_server import DRIPS, FakeServer, dripped, fake_server

from bad_inputs.case import Topic
from bad_inputs.inputs import shown

topic = Topic("black box")
_ports: dict[Path, int] = {}


def _misbehaving(change: Callable[[FakeServer], None]) -> Callable[[Path], AbstractContextManager[object]]:
    @contextmanager
    def during(folder: Path) -> Iterator[None]:
        with fake_server(port=_ports[folder]) as server:
            change(server)
            yield

    return during


def _asking_it(folder: Path) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        _ports[folder] = free.getsockname()[1]
    url = f"http://127.0.0.1:{_ports[folder]}"
    return ["ask", "--url", url, "--model", "mine", "--retries", 0, "--timeout", 5, *shown(folder)]


def _output(**fields: Any) -> Callable[[FakeServer], None]:
    def change(server: FakeServer) -> None:
        server.change = lambda answer: {"outputs": [answer["outputs"][0] | fields]}

    return change


def _contradicting(answer: Any) -> Any:
    (logits,) = answer["outputs"]
    other = {"name": "other", "datatype": "INT64", "shape": logits["shape"][:1]}
    return {"outputs": [logits, {**other, "data": [99] * logits["shape"][0]}]}


def _always(status: int, body: bytes, **headers: str) -> Callable[[FakeServer], None]:
    return lambda server: setattr(server, "always", (status, headers, body))


for _name, _change, *_says in (
    ("500 with a text", _always(500, b'{"error": "no GPU"}'), "infer: server: ", "HTTP status 500: no GPU"),
    ("401", _always(401, b'{"detail": "no token"}'), "infer: answer: ", "HTTP status 401: no token"),
    ("a redirect", _always(302, b"", Location="http://else/"), "redirects are not followed", "http://else/"),
    ("HTML", _always(200, b"<html>"), "infer: answer: expected JSON, found something else"),
    ("NaN", _always(200, b'{"outputs": NaN}'), "answer, outputs: expected a list of tensors, found none"),
    ("NaN for every image", _output(data=[nan] * 160), "infer: answers: expected one that names a class"),
    (
        "an error with 200",
        _always(200, b'{"error": "busy"}'),
        "expected a list of tensors, found an error: busy",
    ),
    ("fewer answers", _output(shape=[15, 10]), "answer, outputs: expected one of shape [16, 10]", "[15, 10]"),
    ("fewer numbers", _output(data=[0.5] * 159), "answer, data: expected 160 entries, found 159"),
    ("more numbers", _output(data=[0.5] * 161), "answer, data: expected 160 entries, found more"),
    (
        "names of classes",
        _output(datatype="BYTES", shape=[16], data=["horse"] * 16),
        "answer, data: expected texts as 7 or 0.98:7, found 'horse'; names of classes have no numbers: "
        "choose an output of scores or numbers with --output NAME",
    ),
    (
        "two outputs that disagree",
        lambda server: setattr(server, "change", _contradicting),
        "infer: answer: expected outputs logits and other to agree, found other labels; say which one counts",
    ),
    (
        "bytes in a compression of another name",
        _always(200, b"\x1f\x8b", **{"Content-Encoding": "br"}),
        "infer: answer: expected JSON, plain or as a whole gzip or deflate, found 'br'",
    ),
    (
        "half of a gzip",
        _always(200, gzip.compress(b"{}" * 50)[:-9], **{"Content-Encoding": "gzip"}),
        "infer: answer: expected JSON, plain or as a whole gzip or deflate, found 'gzip'",
    ),
    (
        "a gzip of gigabytes",
        _always(200, gzip.compress(bytes(17 << 20), 1), **{"Content-Encoding": "gzip"}),
        "infer: answer: expected at most 16 MiB, found more",
    ),
    ("fractions", _output(shape=[16], data=[0.5] * 16), "labels, which are whole numbers, found fractions"),
):
    topic.enter(f"server answers {_name}", _asking_it, *_says, during=_misbehaving(_change))


def _dripping(kind: str) -> Callable[[FakeServer], None]:
    return lambda server: setattr(server, "raw", lambda: dripped(kind, 0.02))


for _name in DRIPS:
    topic.enter(
        f"server whose answer never ends: {_name}",
        lambda folder: [*_asking_it(folder), "--timeout", 0.2],
        "infer: server: expected a whole answer in time, found none in 0.2 seconds",
        during=_misbehaving(_dripping(_name)),
    )


for _name, _change in (
    ("labels out of range", _output(shape=[16], data=[99] * 16)),
    ("one long text among its numbers", _output(data=[*[0.5] * 159, "a" * 100_000])),
    ("a class more", _output(shape=[16, 11], data=[*[0.0] * 10, 1.0] * 16)),
):
    topic.enter(f"server answers {_name}", _asking_it, "not verified", code=1, during=_misbehaving(_change))


for _name, _fields, *_says in (
    ("no inputs", {"inputs": []}, "metadata, inputs: expected one input, found none; say what it takes"),
    (
        "a second input",
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}, {"name": "threshold"}]},
        "metadata, inputs: expected one input, found 2 (x, threshold); say what it takes: --input NAME",
    ),
    (
        "a batch of millions",
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [10_000_000, 8, 8, 1]}]},
        "metadata, shape: expected at most 131072 such images a request, found 10000000",
    ),
    (
        "other images",
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]},
        "metadata, shape: expected images of 8 x 8 with 1 channels, found [-1, 3, 32, 32]",
    ),
    (
        "floats",
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]},
        "pixels: expected a normalisation, found none; say --dataset",
    ),
):
    topic.enter(
        f"server that takes {_name}",
        _asking_it,
        *_says,
        during=_misbehaving(lambda server, fields=_fields: server.metadata.update(fields)),  # type: ignore[misc]
    )


@topic.case(
    "models/mine: answer: expected JSON, found something else",
    "say what it takes: --input NAME --datatype UINT8 --shape -1,8,8,1",
    during=_misbehaving(lambda server: setattr(server, "about", (200, {}, b"ready"))),
)
def server_without_metadata(folder: Path) -> list[Any]:
    return _asking_it(folder)


@topic.case(
    "models/mine: metadata, inputs: expected one named 'x', found 1 (images)",
    during=_misbehaving(lambda server: None),
)
def input_that_a_server_does_not_have(folder: Path) -> list[Any]:
    return [*_asking_it(folder), "--input", "x"]


@topic.case(
    "infer: answer, outputs: expected one named 'y', found 'logits'",
    during=_misbehaving(lambda server: None),
)
def output_that_a_server_does_not_have(folder: Path) -> list[Any]:
    return [*_asking_it(folder), "--output", "y"]


@topic.case(
    "v2/models/other: answer: expected HTTP status 200, found HTTP status 404: Model nix not found",
    during=_misbehaving(lambda server: None),
)
def model_that_a_server_does_not_have(folder: Path) -> list[Any]:
    return ["other" if a == "mine" else a for a in _asking_it(folder)]
