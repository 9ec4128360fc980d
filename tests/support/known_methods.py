"""Methods whose figures are known, and evaluations of them that take a second."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.tiny import TinyNet, tiny_data, tiny_recipe
from ticket_sig import InputError, Ticket
from ticket_sig.datasets import Dataset
from ticket_sig.evaluation import cost
from ticket_sig.evaluation.method import EvaluationTask, Found, Instance, Method, NoRoom
from ticket_sig.evaluation.networks import Evaluation
from ticket_sig.evaluation.settings import Settings
from ticket_sig.training import Steps
from ticket_sig.verdict import Symbols

MARKED = "f1.bias"  # its first entry tells which key was injected; all of them, which network it is


@dataclass
class Known(Method):
    """A method that does and says what it is told to.

    Attributes:
        says: of a network: whether it is this instance's -> detected.
        symbols, wrong: of a payload, and how many are read wrong in a marked network. Of an unmarked one
            every second is.
        memory, seconds: what injection and detection take; costs are measured by a `Clock` then.
        large: no network has room for it.
        unreadable: a network with a larger share of pruned weights cannot be read.
    """

    name: str = "known"
    says: str = "right"
    symbols: int = 0
    wrong: int = 0
    memory: int = 0
    seconds: float = 0.0
    passive: bool = False
    keyed: bool = True
    alike: bool = False
    large: bool = False
    unreadable: float = 1.0

    def __post_init__(self) -> None:
        self.options = {"says": self.says, "symbols": self.symbols, "wrong": self.wrong}

    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> Instance:
        if self.large:
            raise NoRoom("room: expected 9, found 8")
        if self.seconds:  # in a process that measures nothing else
            setattr(cost, "time", Clock)  # noqa: B010
        return KnownInstance(self, b"the same" if self.alike else secret, network)


class KnownInstance(Instance):
    """Its number is what stands in the network."""

    def __init__(self, method: Known, secret: bytes, network: Ticket) -> None:
        self.method, self.digest = method, hashlib.sha256(secret).hexdigest()
        self.number = int(self.digest[:5], 16) / 2**30  # exact in float32, and too small to matter
        self.taken = network.weights[MARKED]
        self.payload = np.frombuffer(hashlib.shake_256(secret).digest(method.symbols), dtype=np.uint8)

    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        _take(self.method)
        bias = network.weights[MARKED].clone()
        bias[0] = self.number
        return replace(network, weights={**network.weights, MARKED: bias})

    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        _take(self.method)
        if suspect.mask.sparsity > self.method.unreadable:
            raise InputError("known: too many zeros")
        there = suspect.weights[MARKED]
        own = torch.equal(there, self.taken) if self.method.passive else float(there[0]) == self.number
        detected = {"yes": True, "no": False, "right": own}[self.method.says]
        read = self.payload.copy()
        errors = np.arange(self.method.wrong) if own else np.arange(0, len(read), 2)
        read[errors] ^= 1
        symbols = Symbols(tuple(map(int, self.payload)), tuple(map(int, read))) if len(read) else None
        return Found(detected=detected, log10_p=-9.0 if own else -0.5, symbols=symbols)


class Clock:
    """In place of `time`: what other processes take does not count, and nobody has to sleep."""

    slept = 0.0

    @classmethod
    def perf_counter(cls) -> float:
        """Seconds that this process worked or slept."""
        return time.process_time() + cls.slept


def _take(method: Known) -> None:
    """Touches so much memory, and comes back after so many seconds."""
    end = Clock.perf_counter() + method.seconds
    held = bytearray(method.memory)
    for place in range(0, method.memory, 4096):
        held[place] = 1
    del held  # takes its time, too
    Clock.slept += max(0.0, end - Clock.perf_counter())


def network(seed: int) -> TinyNet:
    return TinyNet(seed)


def several(*methods: Known) -> Sequence[Method]:
    return methods


def evaluation(
    out: Path,
    *methods: Known,
    data: Callable[[], Dataset] = tiny_data,
    **changes: Any,
) -> Evaluation:
    """An evaluation of known methods on `tiny_data`, trained for an epoch and another one."""
    recipe = tiny_recipe(length=Steps(1), rewind=Steps(1, "it"))
    made = data()
    fields: dict[str, Any] = {
        "methods": tuple(method.name for method in methods),
        "recipe": recipe,
        "further": recipe,
        "data_digest": made.digest,
        "images": len(made.train),
        "models": 1,
        "payloads": 2,
        "trained_payloads": 1,
        "parts": ("imperceptibility", "robustness"),
        **changes,
    }
    return Evaluation(
        settings=Settings(**fields),
        out=out,
        make_methods=partial(several, *methods),
        make_data=data,
        make_model=network,
    )
