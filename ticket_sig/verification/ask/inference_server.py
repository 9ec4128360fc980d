"""Asks a running server that speaks the Open Inference Protocol, version 2, over REST.

Triton, KServe, MLServer, TorchServe and others do. What a model takes and gives is read off its metadata:
https://github.com/kserve/open-inference-protocol (inference_rest.md).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import bad_input
from ticket_sig.marks.trigger_set.triggers import MOST_CLASSES
from ticket_sig.options import Options, one_of, one_or_more, option, positive, within
from ticket_sig.progress import Progress, Silent
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.ask.http import Connection, NoAnswer
from ticket_sig.verification.ask.pixels import Normalisation

_FLOATS = ("FP16", "FP32", "FP64")
_NUMBERS = (*_FLOATS, *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
_GIVE_UP = 3  # batches in a row without an answer: the server is gone


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
    batch: int = option("Images per request at most.", default=16, check=one_or_more)
    timeout: float = option(
        "Seconds to connect, and to wait for one whole answer.", default=30.0, check=positive
    )
    retries: int = option(
        "Further tries where it cannot be reached or is overloaded.", default=4, check=within(0, 1000)
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
        InputError: the server cannot be reached or knows no such model; model or answers are of another form
            than the protocol's; or not one batch was answered. Batches that fail on their own are no answers.
    """
    manner, progress = manner or Manner(), progress or Silent()
    connection = Connection(url, timeout=manner.timeout, retries=manner.retries, token=manner.token)
    path = f"/v2/models/{quote(model)}"

    def ask(images: Pixels) -> list[int | None]:
        progress.begin("queries", len(images))
        spec = _input_of(connection.get(path), f"{connection.url}{path}", images.shape[1:])
        remote = _Remote(connection, f"{path}/infer", spec, classes, manner)
        return remote.labels(images, progress)

    return ask


@dataclass(frozen=True)
class _Input:
    """The model's one input: name, datatype, whether channels come first, images per request where fixed."""

    name: str
    datatype: str
    channels_first: bool
    batch: int | None


@dataclass(frozen=True)
class _Remote:
    """A model on a server whose metadata have been read."""

    connection: Connection
    path: str
    spec: _Input
    classes: int
    manner: Manner

    @property
    def where(self) -> str:
        """Its address, for messages."""
        return f"{self.connection.url}{self.path}"

    def labels(self, images: Pixels, progress: Progress) -> list[int | None]:
        """The labels of all images; None where the server did not answer."""
        answers: list[int | None] = []
        failed, last = 0, NoAnswer("")
        for batch in self._paced(images):
            try:
                if failed < _GIVE_UP:
                    answers += self._ask(batch)
                    failed = 0
                else:
                    answers += [None] * len(batch)
            except NoAnswer as error:
                failed, last = failed + 1, error
                answers += [None] * len(batch)
            progress.advance(len(answers), f"{answers.count(None)} without an answer")
        if not any(answer is not None for answer in answers):
            raise last
        return answers

    def _paced(self, images: Pixels) -> Iterator[Pixels]:
        """Batches, none of them sooner than the rate allows."""
        rate = self.manner.rate
        size = self.spec.batch or self.manner.batch
        if rate is not None and self.spec.batch is None:
            size = min(size, max(1, int(rate)))
        begun = time.monotonic()
        for start in range(0, len(images), size):
            if rate is not None:
                time.sleep(max(0.0, begun + start / rate - time.monotonic()))
            yield images[start : start + size]

    def _ask(self, images: Pixels) -> list[int]:
        sent = images
        if self.spec.batch is not None and len(images) < self.spec.batch:
            # A model of a fixed batch gets the last image again; its answers are dropped.
            sent = np.concatenate([images, *[images[-1:]] * (self.spec.batch - len(images))])
        tensor = self._tensor(sent)
        data: list[Any] = tensor.ravel().tolist()
        body = {"name": self.spec.name, "shape": list(tensor.shape), "datatype": self.spec.datatype}
        answer = self.connection.post(self.path, {"inputs": [{**body, "data": data}]})
        return _labels(answer, self.where, len(sent), self.classes)[: len(images)]

    def _tensor(self, images: Pixels) -> NDArray[Any]:
        pixels: NDArray[Any] = images
        if self.spec.datatype in _FLOATS:
            if self.manner.pixels == "normalised":
                if self.manner.normalisation is None:
                    hint = "say --dataset, or --pixels unit or bytes"
                    raise bad_input(self.where, "pixels", "a normalisation", "none", hint=hint)
                pixels = self.manner.normalisation(images)
            elif self.manner.pixels == "unit":
                pixels = images / 255
            # Six digits tell all 256 levels apart, and keep the request short.
            pixels = pixels.astype(np.float64).round(6)
        return pixels.transpose(0, 3, 1, 2) if self.spec.channels_first else pixels


def _input_of(metadata: Mapping[str, Any], where: str, size: tuple[int, ...]) -> _Input:
    """The input of a model's metadata, where it is one that takes images of this size."""
    inputs = metadata.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"{len(inputs)}" if isinstance(inputs, list) else "none"
        raise bad_input(where, "metadata, inputs", "one input", found)
    name, datatype, shape = (inputs[0].get(field) for field in ("name", "datatype", "shape"))
    if not isinstance(name, str):
        raise bad_input(where, "metadata, input name", "a text", repr(name)[:80])
    if datatype not in ("UINT8", *_FLOATS):
        raise bad_input(where, "metadata, datatype", f"UINT8, {', '.join(_FLOATS)}", repr(datatype)[:80])
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(n) is int for n in shape):
        raise bad_input(where, "metadata, shape", "four numbers, the first the batch's", repr(shape)[:80])
    height, width, channels = size
    fits = {
        first: _fit(shape[1:], layout)
        for first, layout in ((True, (channels, height, width)), (False, (height, width, channels)))
    }
    # Both fit where sizes are left open; channels first is what most networks take.
    best = max(fits, key=lambda first: (fits[first], first))
    if fits[best] < 0:
        expected = f"images of {height} x {width} with {channels} channels"
        raise bad_input(where, "metadata, shape", expected, str(shape))
    return _Input(name, datatype, best, shape[0] if shape[0] > 0 else None)


def _fit(shape: list[int], layout: tuple[int, ...]) -> int:
    """How many sizes are given and right; -1 where one is wrong."""
    if any(n not in (-1, side) for n, side in zip(shape, layout, strict=True)):
        return -1
    return sum(n != -1 for n in shape)


def _labels(answer: Mapping[str, Any], where: str, count: int, classes: int) -> list[int]:
    """The labels of an answer: of an output [n, classes] the largest, else an output [n] or [n, 1] itself.

    Else the largest of an output [n, k] of another width: a class more must not save a thief.
    """
    outputs = answer.get("outputs")
    if not isinstance(outputs, list) or not outputs or not all(isinstance(o, dict) for o in outputs):
        told = answer.get("error")
        found = f"an error: {told}"[:200] if isinstance(told, str) else "none"
        raise bad_input(where, "answer, outputs", "a list of tensors", found)
    shapes = [o.get("shape") for o in outputs]
    for wanted in ([count, classes], [count], [count, 1]):
        if wanted in shapes:
            return _of_output(outputs[shapes.index(wanted)], where, wanted)
    for output, shape in zip(outputs, shapes, strict=True):
        wide = isinstance(shape, list) and len(shape) == 2 and shape[0] == count and type(shape[1]) is int
        if wide and 2 <= shape[1] <= MOST_CLASSES:
            return _of_output(output, where, [count, shape[1]])
    expected = f"one of shape [{count}, {classes}], [{count}] or [{count}, 1]"
    raise bad_input(where, "answer, outputs", expected, " and ".join(map(str, shapes))[:200])


def _of_output(output: Mapping[str, Any], where: str, shape: list[int]) -> list[int]:
    values = _values(output, where, math.prod(shape))
    if len(shape) == 2 and shape[1] > 1:
        return [int(label) for label in values.reshape(shape).argmax(1)]
    if not (values == values.round()).all():
        raise bad_input(where, "answer, data", "labels, which are whole numbers", "fractions")
    return [int(label) for label in values]


def _values(output: Mapping[str, Any], where: str, size: int) -> NDArray[np.float64]:
    datatype = output.get("datatype")
    if datatype not in _NUMBERS:
        raise bad_input(where, "answer, datatype", "numbers", repr(datatype)[:80])
    numbers, found = _numbers(output.get("data"), size), "something else, or more"
    try:
        values = np.array(numbers, dtype=np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        numbers = None
    if numbers is not None and len(numbers) < size:
        found = f"{len(numbers)} numbers"
    elif numbers is not None and np.isfinite(values).all():
        return values
    raise bad_input(where, "answer, data", f"{size} finite numbers", found)


def _numbers(data: Any, most: int) -> list[float] | None:
    """The numbers in a list, nested or not; None where it holds something else, or more than `most`.

    Looked at one by one before numpy sees them: of one long text among them it would make an array of texts
    that long.
    """
    numbers: list[float] = []
    if not isinstance(data, list):
        return None
    open_lists = [iter(data)]
    while open_lists:
        for item in open_lists[-1]:
            if isinstance(item, list):
                open_lists.append(iter(item))
                break
            if type(item) not in (int, float) or len(numbers) == most:
                return None
            numbers.append(item)
        else:
            open_lists.pop()
    return numbers
