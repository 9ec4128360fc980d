"""Asks a running server that speaks the Open Inference Protocol, version 2, over REST.

Triton, KServe, MLServer, TorchServe and others do. What a model takes and gives is read off its metadata:
https://github.com/kserve/open-inference-protocol (inference_rest.md). What these lack, the user can say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import InputError, bad_input
from ticket_sig.options import Options, one_of, one_or_more, option, positive, within
from ticket_sig.progress import Progress, Silent
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.ask.http import Connection, Refused
from ticket_sig.verification.ask.model_input import FLOATS, TAKEN, ModelInput, check_shape, input_of
from ticket_sig.verification.ask.outputs import Contradiction, Labels, labels_of
from ticket_sig.verification.ask.pixels import Normalisation

_GIVE_UP = 3  # requests in a row without an answer: the server is gone
_AT_ONCE = 16  # images that a server must answer within the timeout, on average


@dataclass(frozen=True, kw_only=True)
class Manner(Options):
    """How a server is asked.

    Attributes:
        normalisation: for pixels that are sent "normalised".
        token: sent as a bearer token.

    Raises:
        InputError: a field is out of range.
    """

    pixels: str = option(
        "What a server of floats is sent: normalised, unit (0 to 1) or bytes (0 to 255). A model that takes "
        "UINT8 gets the bytes.",
        default="normalised",
        check=one_of(("normalised", "unit", "bytes")),
    )
    rate: float | None = option(
        "Images per second at most; as fast as it answers by default.", default=None, check=positive
    )
    batch: int = option("Images per request at most.", default=_AT_ONCE, check=one_or_more)
    timeout: float = option(
        "Seconds to connect, and to wait for one whole answer. All answers may take so long for every "
        f"{_AT_ONCE} images, and once more; images that are left then have no answer.",
        default=30.0,
        check=positive,
    )
    retries: int = option(
        "Further tries where it cannot be reached or is overloaded.", default=4, check=within(0, 1000)
    )
    input: str | None = option(
        "Name of the model's input for the images, where the metadata say none or several; other inputs are "
        "sent nothing. With --datatype and --shape, too, no metadata are asked for.",
        default=None,
    )
    datatype: str | None = option(
        f"What that input takes: {', '.join(TAKEN)}.", default=None, check=one_of(TAKEN)
    )
    shape: str | None = option(
        "Its sizes, as -1,3,32,32: -1 for as many images as come; three sizes for one image a request, "
        "without a batch dimension.",
        default=None,
        check=check_shape,
    )
    output: str | None = option(
        "Name of the output that counts, where several could be the answer.", default=None
    )
    normalisation: Normalisation | None = None
    token: str | None = None


def ask_server(
    url: str, model: str, classes: int, manner: Manner | None = None, progress: Progress | None = None
) -> Ask:
    """Returns what asks a model on a server for labels.

    Args:
        url: the server's address, http://HOST:PORT.
        model: the model's name there, or NAME/versions/VERSION.
        classes: how many it tells apart.

    Raises:
        InputError: the address or the token cannot be used.

    Raises (when asked):
        InputError: the server cannot be reached or knows no such model, nobody says what it takes, two
            outputs of its first answer contradict each other, or not one image got a label. Later requests
            that fail, and single images whose answer names no class, are no answers.
    """
    manner, progress = manner or Manner(), progress or Silent()
    connection = Connection(url, timeout=manner.timeout, retries=manner.retries, token=manner.token)
    path = f"/v2/models/{quote(model)}"

    def ask(images: Pixels) -> Labels:
        """Labels of images, as the server gives them; None where no answer came."""
        progress.begin("queries", len(images))
        said = {"name": manner.input, "datatype": manner.datatype, "shape": manner.shape}
        where = f"{connection.url}{path}"
        spec = input_of(said, lambda: connection.get(path), where, images.shape[1:])
        if spec.datatype in FLOATS and manner.pixels == "normalised" and manner.normalisation is None:
            hint = "say --dataset, or --pixels unit or bytes"
            raise bad_input(where, "pixels", "a normalisation", "none", hint=hint)
        return _Remote(connection, f"{path}/infer", spec, classes, manner).labels(images, progress)

    return ask


@dataclass(frozen=True)
class _Remote:
    """A model on a server, and what it takes."""

    connection: Connection
    path: str
    spec: ModelInput
    classes: int
    manner: Manner

    @property
    def where(self) -> str:
        """Its address, for messages."""
        return f"{self.connection.url}{self.path}"

    def labels(self, images: Pixels, progress: Progress) -> Labels:
        """The labels of all images; None where the server named none.

        A request without a usable answer (an error, another form, too few numbers, outputs that contradict
        each other) leaves its images without one. Only a server that has named no label yet can end the
        questioning by what it answers: else a thief could end it when he has seen everything.
        """
        answers: Labels = []
        size, begun, sent, failed, waited = self._size(), time.monotonic(), 0, 0, 0.0
        longest = self.manner.timeout * (1 + len(images) / _AT_ONCE)
        last = bad_input(self.where, "answers", "one that names a class", "NaN, null, texts or ties alone")
        while len(answers) < len(images) and failed < _GIVE_UP and waited < longest:
            batch = images[len(answers) : len(answers) + size]
            self._wait(begun, sent)
            sent += len(batch)
            asked = time.monotonic()
            try:
                answers += self._ask(batch)
                failed = 0
            except InputError as error:
                if self.spec.batch is None and len(batch) > 1 and _too_many(error):
                    size = len(batch) // 2
                    continue
                if isinstance(error, (Contradiction, Refused)) and answers.count(None) == len(answers):
                    hint = self.spec.hint if isinstance(error, Refused) else ""
                    raise InputError(f"{error}; {hint}") if hint else error from None
                failed, last = failed + 1, error
                answers += [None] * len(batch)
            finally:
                waited += time.monotonic() - asked
            progress.advance(len(answers), f"{answers.count(None)} without an answer")
        if answers.count(None) == len(answers):
            raise last
        return answers + [None] * (len(images) - len(answers))

    def _size(self) -> int:
        """Images per request."""
        if self.spec.batch is not None:
            return self.spec.batch
        return min(self.manner.batch, max(1, int(self.manner.rate or self.manner.batch)))

    def _wait(self, begun: float, sent: int) -> None:
        """Waits until the rate allows more images than were sent."""
        if self.manner.rate is not None:
            time.sleep(max(0.0, begun + sent / self.manner.rate - time.monotonic()))

    def _ask(self, images: Pixels) -> Labels:
        sent = images
        if self.spec.batch is not None and len(images) < self.spec.batch:
            # A model of a fixed batch gets the last image again; its answers are dropped.
            sent = np.concatenate([images, *[images[-1:]] * (self.spec.batch - len(images))])
        tensor = self._tensor(sent)
        data: list[Any] = tensor.ravel().tolist()
        shape = list(tensor.shape[1:] if self.spec.bare else tensor.shape)
        body = {"name": self.spec.name, "shape": shape, "datatype": self.spec.datatype}
        answer = self.connection.post(self.path, {"inputs": [{**body, "data": data}]})
        return labels_of(answer, self.where, len(sent), self.classes, self.manner.output)[: len(images)]

    def _tensor(self, images: Pixels) -> NDArray[Any]:
        pixels: NDArray[Any] = images
        if self.spec.datatype in FLOATS:
            if self.manner.pixels == "normalised" and self.manner.normalisation is not None:
                pixels = self.manner.normalisation(images)
            elif self.manner.pixels == "unit":
                pixels = images / 255
            # Six digits tell all 256 levels apart, and keep the request short.
            pixels = pixels.astype(np.float64).round(6)
        return pixels.transpose(0, 3, 1, 2) if self.spec.channels_first else pixels


def _too_many(error: InputError) -> bool:
    """Whether fewer images in a request may do: servers tell by status, or in words of a batch."""
    return isinstance(error, Refused) and (error.status == 413 or "batch" in error.text.lower())
