"""Serves a bundle with MLServer, by the Open Inference Protocol v2 (extra `serving`).

Beside the bundle goes a model-settings.json, and `mlserver start FOLDER` does the rest:

    {"name": "mine", "implementation": "ticket_sig.serving.TicketRuntime", "parameters": {"uri": "BUNDLE"}}

The model takes the bytes of images, UINT8 [n, height, width, channels], and gives logits. Network and data
set are the recipe's; `parameters.extra` may name others ("arch", "dataset") and the images' "size".
`serve` starts such a server for a while, on the loopback interface.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import urllib3
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor
from numpy.typing import NDArray

from ticket_sig.datasets import DATASETS
from ticket_sig.errors import bad_input
from ticket_sig.files import write_json
from ticket_sig.formats import load
from ticket_sig.models import ends
from ticket_sig.verification.ask.network import network_of

INPUT, OUTPUT = "images", "logits"
_START = 120.0  # seconds that a server may take to start


class TicketRuntime(MLModel):  # type: ignore[misc]
    """A bundle as MLServer runs it."""

    async def load(self) -> bool:
        """Reads the bundle at `parameters.uri`.

        Raises:
            InputError: it is no bundle, or nothing says which network and data set it is of.
        """
        parameters = self.settings.parameters
        extra: dict[str, Any] = (parameters and parameters.extra) or {}
        ticket = load((parameters and parameters.uri) or "").ticket
        arch, dataset = extra.get("arch"), extra.get("dataset") or (ticket.recipe or {}).get("dataset")
        size = extra.get("size") or (DATASETS[dataset].size if dataset in DATASETS else None)
        if size is None:
            raise bad_input("", "size", "[height, width, channels] in parameters.extra", "none")
        self._size = [int(side) for side in size]
        self._network, self._normalise = network_of(ticket, self._size[2], arch=arch, dataset=dataset)
        self._network.eval()
        classes = ticket.weights[ends(self._network)[1]].shape[0]
        self.inputs = [MetadataTensor(name=INPUT, datatype="UINT8", shape=[-1, *self._size])]
        self.outputs = [MetadataTensor(name=OUTPUT, datatype="FP32", shape=[-1, classes])]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits float32 [n, classes] of images uint8 [n, height, width, channels].

        Raises:
            InferenceError: the request has another input.
        """
        images: NDArray[Any] = NumpyCodec.decode_input(payload.inputs[0])
        if len(payload.inputs) != 1 or images.dtype != np.uint8 or list(images.shape[1:]) != self._size:
            raise InferenceError(f"expected one input UINT8 [n, {', '.join(map(str, self._size))}]")
        pixels = np.ascontiguousarray(self._normalise(images).transpose(0, 3, 1, 2))
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(pixels)).numpy()
        output = NumpyCodec.encode_output(OUTPUT, logits)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])


@contextmanager
def serve(bundles: Mapping[str, Path]) -> Iterator[str]:
    """Runs MLServer with these bundles, by model name, on the loopback interface; yields its address.

    Raises:
        InputError: it does not start; what its log has of an error is in the message.
    """
    with TemporaryDirectory(prefix="ticket_sig-serving-") as name:
        folder, (http, grpc, metrics) = Path(name), _free_ports(3)
        ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
        server = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
        write_json(folder / "settings.json", server)
        for model, bundle in bundles.items():
            settings = {"name": model, "implementation": "ticket_sig.serving.TicketRuntime"}
            parameters = {"uri": str(bundle.resolve())}
            write_json(folder / model / "model-settings.json", {**settings, "parameters": parameters})
        command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", name]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{http}"
        ready = [f"{url}/v2/models/{model}/ready" for model in bundles]
        try:
            _wait_until_ready(process, ready, folder / "log")
            yield url
        finally:
            _stop(process)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _wait_until_ready(process: subprocess.Popen[bytes], urls: Sequence[str], log: Path) -> None:
    pool, begun = urllib3.PoolManager(retries=False, timeout=2), time.monotonic()
    while True:
        if process.poll() is not None or time.monotonic() - begun > _START:
            lines = [line for line in log.read_text(errors="replace").splitlines() if "Error: " in line]
            raise bad_input("", "server", f"ready within {_START:g} s", lines[-1] if lines else "none")
        with suppress(urllib3.exceptions.HTTPError):
            if all(pool.request("GET", url).status == 200 for url in urls):
                return
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
