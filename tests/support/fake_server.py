"""A server on loopback that speaks the Open Inference Protocol v2, and misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from support import taught
from support.command_line import Outcome, run
from ticket_sig.datasets.images import Pixels

Labels = Callable[[Pixels], list[int]]
Json = dict[str, Any]


# Ways never to end an answer while every read gets its byte in time: how it begins, what comes ever after.
DRIPS = {
    "header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X-More: 1\r\n"),
    "chunk extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", b"x"),
}


def dripped(kind: str, seconds: float) -> Iterator[bytes]:
    """One of them, with pauses of so many seconds."""
    first, more = DRIPS[kind]
    yield first
    while True:
        time.sleep(seconds)
        yield more


class FakeServer:
    """Serves the model `mine`.

    Attributes:
        url: its address.
        metadata: of the model; `about` is sent in their place, a (status, headers, body).
        change: what becomes of an answer's JSON before it is sent.
        packed: the name of a compression, and what does it.
        most: images that a request may hold.
        body: sent in place of an answer's JSON.
        raw: what is sent in place of a whole answer, status line and all; `raw_metadata`: for these, too.
        refusals: (status, headers, body) of the next answers; None for one that is as it should be.
        requests: (method, path, headers, body) of every request, bodies of `infer` as JSON.
        sleeps: seconds before an answer.
    """

    def __init__(self, labels: Labels, output: str = "logits", port: int = 0) -> None:
        self.labels, self.output, self.classes = labels, output, 10
        self.metadata: Json = {
            "name": "mine",
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
            "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, 10]}],
        }
        self.about: tuple[int, dict[str, str], bytes] | None = None
        self.change: Callable[[Json], Any] = lambda answer: answer
        self.packed: tuple[str, Callable[[bytes], bytes]] | None = None
        self.most: int | None = None
        self.body: Iterator[bytes] | None = None
        self.raw: Callable[[], Iterator[bytes]] | None = None
        self.raw_metadata = False
        self.refusals: list[tuple[int, dict[str, str], bytes] | None] = []
        self.always: tuple[int, dict[str, str], bytes] | None = None
        self.requests: list[tuple[str, str, dict[str, str], Json]] = []
        self.times: list[float] = []
        self.sleeps = 0.0
        self.to_pixels: Callable[[np.ndarray], Pixels] = lambda tensor: tensor.astype(np.uint8)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.get(self)

            def do_POST(self) -> None:
                outer.post(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def get(self, request: BaseHTTPRequestHandler) -> None:
        self._note(request, {})
        if self.raw is not None and self.raw_metadata:
            self._drip(request, self.raw())
        elif not request.path.startswith("/v2/models/mine"):
            self._send(request, 404, {}, b'{"error": "Model nix not found"}')
        else:
            self._send(request, *(self.about or (200, {}, json.dumps(self.metadata).encode())))

    def post(self, request: BaseHTTPRequestHandler) -> None:
        asked = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self._note(request, asked)
        time.sleep(self.sleeps)
        refusal = self.refusals.pop(0) if self.refusals else self.always
        if refusal is not None:
            self._send(request, *refusal)
        elif self.raw is not None:
            self._drip(request, self.raw())
        elif self.body is not None:
            self._stream(request, self.body)
        elif self.most is not None and asked["inputs"][0]["shape"][0] > self.most:
            self._send(request, 400, {}, b'{"error": "batch-size must be <= %d"}' % self.most)
        else:
            name, pack = self.packed or ("identity", bytes)
            answer = json.dumps(self.change(self._answer(asked))).encode()
            self._send(request, 200, {"Content-Encoding": name}, pack(answer))

    def _answer(self, asked: Json) -> Json:
        (tensor,) = asked["inputs"]
        values = np.array(tensor["data"]).reshape(tensor["shape"])
        values = values.reshape((-1, *values.shape[-3:]))  # one image may come without a batch dimension
        if values.shape[-1] != 1:  # channels first
            values = values.transpose(0, 2, 3, 1)
        labels = self.labels(self.to_pixels(values))
        shape, data = {
            "logits": ([len(labels), 10], np.eye(10)[labels].ravel().tolist()),
            "labels": ([len(labels)], labels),
            "column": ([len(labels), 1], [[float(label)] for label in labels]),
        }[self.output]
        datatype = "INT64" if self.output == "labels" else "FP32"
        output = {"name": self.output, "datatype": datatype, "shape": shape, "data": data}
        return {"model_name": "mine", "outputs": [output]}

    def _note(self, request: BaseHTTPRequestHandler, body: Json) -> None:
        self.times.append(time.monotonic())
        self.requests.append((request.command, request.path, dict(request.headers), body))

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        try:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
        except OSError:  # the client has lost its patience
            pass

    @classmethod
    def _stream(cls, request: BaseHTTPRequestHandler, body: Iterator[bytes]) -> None:
        request.send_response(200)
        request.end_headers()
        cls._drip(request, body)

    @staticmethod
    def _drip(request: BaseHTTPRequestHandler, parts: Iterator[bytes]) -> None:
        request.close_connection = True
        try:
            for part in parts:
                request.wfile.write(part)
                request.wfile.flush()
        except OSError:
            pass

    @property
    def asked(self) -> list[Json]:
        """The bodies of all requests for inference."""
        return [body for method, _, _, body in self.requests if method == "POST"]

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@contextmanager
def fake_server(labels: Labels | None = None, output: str = "logits", port: int = 0) -> Iterator[FakeServer]:
    """A server of a network that knows the triggers, while the block runs."""
    server = FakeServer(labels or taught.memoriser(), output, port)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()


def asked(server: FakeServer, shown: Sequence[object], *more: object) -> Outcome:
    """What `ask` says of the server in few requests, given the options that show claim and triggers."""
    whom = ("--url", server.url, "--model", "mine", "--retries", 0, "--timeout", 5)
    return run(["ask", *whom, "--batch", 50, "--decoys", 100, *shown, *more])
