"""Case 16: servers answer with texts, halves, truths, more dimensions, several outputs, or compressed."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_inputs.inputs import shown
from support.command_line import could_not
from support.fake_server import FakeServer, asked, fake_server

from ticket_sig.verification.ask import http

Change = Callable[[Any], Any]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


def labels(answer: Any) -> list[int]:
    """The labels of an answer of logits."""
    return np.array(answer["outputs"][0]["data"]).reshape(-1, 10).argmax(1).tolist()


def texts(form: str, *more: str) -> Change:
    """Answers with texts of a form, and others after each."""

    def change(answer: Any) -> Any:
        found = [[form.format(label), *more] for label in labels(answer)]
        shape = [len(found), 1 + len(more)]
        return {"outputs": [{"name": "y", "datatype": "BYTES", "shape": shape, "data": found}]}

    return change


def outputs(**named: tuple[str, Callable[[list[int]], list[Any]]]) -> Change:
    """Adds outputs to the logits: a datatype, and what is made of the labels for each."""

    def change(answer: Any) -> Any:
        found = labels(answer)
        more = [
            {"name": name, "datatype": datatype, "shape": [len(found)], "data": make(found)}
            for name, (datatype, make) in named.items()
        ]
        return {"outputs": [*answer["outputs"], *more]}

    return change


@pytest.mark.parametrize(
    "form", ["{}", "0.98:{}", "0.98:{}:horse", "1e-05:{}:a: b", "-1:{}", "inf:{}", "{}.0"]
)
@pytest.mark.parametrize("more", [(), ("0.01:3", "0.01:4")])
def test_texts_of_classes_are_read(
    form: str, more: tuple[str, ...], server: FakeServer, tmp_path: Path
) -> None:
    """Of several for an image the first is the best: Triton sorts them so."""
    server.change = texts(form, *more)
    assert asked(server, shown(tmp_path)).code == 0


@pytest.mark.parametrize("form", ["horse", "class_{}", "{}:horse", "nan:{}", "cat:{}", "", "{}.5"])
def test_names_of_classes_are_refused(form: str, server: FakeServer, tmp_path: Path) -> None:
    server.change = texts(form)
    could_not(asked(server, shown(tmp_path)), "expected texts as 7 or 0.98:7, found '", "with --output NAME")


@pytest.mark.parametrize(
    "fields",
    [
        {"datatype": "BF16"},
        {"datatype": "FP16"},
        {"datatype": "UINT8"},
        {"datatype": "BOOL"},
        {"shape": [50, 10, 1, 1]},
        {"shape": [50, 1, 10]},
        {"shape": ["50", "10"]},
    ],
)
def test_scores_of_other_types_and_shapes_are_read(
    fields: dict[str, Any], server: FakeServer, tmp_path: Path
) -> None:
    server.change = lambda answer: {"outputs": [answer["outputs"][0] | fields]}
    assert asked(server, shown(tmp_path)).code == 0


def test_truths_name_a_class_where_one_is_true(server: FakeServer, tmp_path: Path) -> None:
    def change(answer: Any) -> Any:
        data = [[label in (found, *more) for label in range(10)] for found in labels(answer)]
        return {"outputs": [answer["outputs"][0] | {"datatype": "BOOL", "data": data}]}

    more: list[int] = []
    server.change = change
    assert asked(server, shown(tmp_path)).code == 0
    more.append(0)
    could_not(asked(server, shown(tmp_path)), "answers to decoys: expected at least 30, found")


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("identity", bytes),
    ],
)
def test_what_is_compressed_unasked_is_read(
    name: str, pack: Callable[[bytes], bytes], server: FakeServer, tmp_path: Path
) -> None:
    server.packed = name, pack
    assert asked(server, shown(tmp_path)).code == 0
    refusal = pack(b'{"error": "no GPU"}')
    server.always = (400, {"Content-Encoding": name}, refusal)
    could_not(asked(server, shown(tmp_path)), "HTTP status 400: no GPU")


def test_a_few_bytes_cannot_fill_the_memory(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_LARGEST", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20), 1)
    server.packed = "gzip", lambda _: bomb
    tracemalloc.start()
    could_not(asked(server, shown(tmp_path)), "infer: answer: expected at most 1 MiB, found more")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_outputs_that_agree_are_one_answer(server: FakeServer, tmp_path: Path) -> None:
    server.change = outputs(label=("INT64", list), name=("BYTES", lambda n: ["horse"] * len(n)))
    assert asked(server, shown(tmp_path)).code == 0


def test_outputs_that_cannot_be_the_answer_are_left_aside(server: FakeServer, tmp_path: Path) -> None:
    server.change = outputs(confidence=("FP32", lambda n: [0.98] * len(n)))
    assert asked(server, shown(tmp_path)).code == 0


def test_of_outputs_that_disagree_the_user_names_the_one_that_counts(
    server: FakeServer, tmp_path: Path
) -> None:
    server.change = outputs(second_best=("INT64", lambda n: [(label + 1) % 10 for label in n]))
    expected = "expected outputs logits and second_best to agree, found other labels; say which one counts: "
    could_not(asked(server, shown(tmp_path)), expected + "--output NAME")
    assert asked(server, shown(tmp_path), "--output", "logits").code == 0
    assert asked(server, shown(tmp_path), "--output", "second_best").code == 1
    server.change = outputs(logits=("INT64", lambda n: [(label + 1) % 10 for label in n]))
    could_not(asked(server, shown(tmp_path)), "expected outputs logits and logits to agree")
    could_not(asked(server, shown(tmp_path), "--output", "x"), "one named 'x', found 'logits' and 'logits'")


def test_wide_outputs_that_disagree_are_named_too(server: FakeServer, tmp_path: Path) -> None:
    """Neither has the claim's number of classes."""

    def change(answer: Any) -> Any:
        y = np.array(answer["outputs"][0]["data"]).reshape(-1, 10)
        wide = {"a": np.pad(y, ((0, 0), (0, 1))), "b": np.pad(-y, ((0, 0), (0, 2)))}
        fields = ({"name": n, "shape": list(v.shape), "data": v.tolist()} for n, v in wide.items())
        return {"outputs": [{"datatype": "FP32", **one} for one in fields]}

    server.change = change
    could_not(asked(server, shown(tmp_path)), "expected outputs a and b to agree")
    assert asked(server, shown(tmp_path), "--output", "a").code == 0


@pytest.mark.parametrize("most", [1, 8, 30])
def test_a_server_that_takes_fewer_images_is_asked_about_fewer(
    most: int, server: FakeServer, tmp_path: Path
) -> None:
    server.most = most
    assert asked(server, shown(tmp_path)).code == 0
    sent = [request["inputs"][0]["shape"][0] for request in server.asked]
    assert [n for n in sent if n > most] == [n for n in (50, 25, 12, 6, 3) if n > most], "each size once"
