"""Computational cost: memory and time of injection and of detection, each measured in a process of its own.

Source: MPAI-NNW Traceability V1.1 (IEEE 3304). Of a passive method injection is the extraction of the
fingerprint, and detection is the matching. Each is done once before it is measured, so that what is imported
or compiled on first use is not counted: detection whole, injection for one iteration.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ticket_sig.cells import Cell, Measured, Store
from ticket_sig.evaluation.intervals import stat
from ticket_sig.evaluation.method import EvaluationTask, Method
from ticket_sig.evaluation.networks import Evaluation, Networks
from ticket_sig.evaluation.processes import alone
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import Normaliser, iterations_of
from ticket_sig.training.steps import Steps

_WARM_UP, _INFERENCES = 3, 20
_PROCESS = Path("/proc/self")


@dataclass
class Spent:
    """What a block took: seconds, and bytes of the host's memory and of the device's (None: not known).

    Memory is the peak of the block over what the process held before.
    """

    seconds: float = 0.0
    host: int | None = None
    device: int | None = None


def cell(networks: Networks, method: Method, model: int, payload: int) -> Cell:
    """The cost of one instance."""
    asked = {
        "measured": "cost",
        "method": method.name,
        "options": dict(method.options),
        "secret": networks.secret_digest(),
        "payload": [model, payload],
        "network": networks.identity(method, model, payload),
    }
    measure = partial(alone, measured, networks.evaluation, method.name, model, payload)
    return Cell(f"cost-{method.name}-{model}-{payload}", asked, measure)


def cells(networks: Networks, method: Method) -> Iterator[Cell]:
    """That of all M x D."""
    for model in range(networks.settings.models):
        for payload in networks.payloads(method):
            yield cell(networks, method, model, payload)


def section(networks: Networks, store: Store, method: Method) -> dict[str, Any]:
    """What was measured, for the report."""
    found = store.found(cells(networks, method))

    def of(part: str, *names: str) -> dict[str, Any]:
        return {name: _stat([one[part][name] for one in found]) for name in names}

    injection = of(
        "injection", "host_memory", "device_memory", "epoch_seconds", "epochs", "inference_seconds"
    )
    batches = found[0]["injection"]["batches"] if found else None
    detection = of("detection", "host_memory", "seconds")
    return {"injection": {**injection, "batches": batches}, "detection": detection}


def measured(evaluation: Evaluation, name: str, model: int, payload: int) -> Measured:
    """The cost of one instance, for a process that has done nothing else."""
    networks = Networks(evaluation, keep_memory=False)
    method = networks.methods[name]
    detection = _detection(networks, method, model, payload)
    return {"detection": detection, "injection": _injection(networks, method, model, payload)}


def _detection(networks: Networks, method: Method, model: int, payload: int) -> dict[str, Any]:
    marked = networks.marked(method, model, payload)
    instance = networks.instance(method, model, payload)
    task = networks.task(model, networks.work / "cost")
    instance.test(marked, task)
    with spent(task.engine.device) as took:
        instance.test(marked, task)
    return {"host_memory": took.host, "seconds": took.seconds}


def _injection(networks: Networks, method: Method, model: int, payload: int) -> dict[str, Any]:
    """Whatever is done for the mark counts: making key and payload, embedding, and the further training."""
    network = networks.before(method, model)
    with tempfile.TemporaryDirectory(prefix="ticket_sig-cost-") as folder:
        task = networks.task(model, Path(folder) / "run")
        warm = replace(
            task, further=replace(task.further, length=Steps(1, "it")), folder=Path(folder) / "warm"
        )
        _inject(networks, method, model, payload, network, warm)
        with spent(task.engine.device) as took:
            marked = _inject(networks, method, model, payload, network, task)
    epochs = sum(entry.epochs or 0 for entry in marked.history[len(network.history) :]) or 1.0
    return {
        "host_memory": took.host,
        "device_memory": took.device,
        "epoch_seconds": took.seconds / epochs,
        "batches": iterations_of(Steps(1), task.further, task.data),
        "epochs": epochs,
        "inference_seconds": _inference(marked, task),
    }


def _inject(
    networks: Networks, method: Method, model: int, payload: int, network: Ticket, task: EvaluationTask
) -> Ticket:
    return networks.fresh_instance(method, model, payload, network, task).inject(network, task)


def _inference(network: Ticket, task: EvaluationTask) -> float:
    """Mean seconds of one image through the network."""
    device, model = task.engine.device, task.network(network)
    image = Normaliser(task.data, device)(task.data.test.images[:1].to(device).permute(0, 3, 1, 2))

    @torch.no_grad()
    def several(times: int) -> float:
        _wait_for(device)
        start = time.perf_counter()
        for _ in range(times):
            model(image)
        _wait_for(device)
        return time.perf_counter() - start

    several(_WARM_UP)
    return several(_INFERENCES) / _INFERENCES


@contextmanager
def spent(device: torch.device) -> Iterator[Spent]:
    """Measures a block: time, and peak memory over what is held before it.

    What was freed before is handed back to the system first; else the block would take it unseen. The host's
    peak is the kernel's high-water mark, which Linux lets a process reset. Where that cannot be done it is
    not known: the peak of the process so far may be that of the warm-up.
    """
    took, on_gpu = Spent(), device.type == "cuda"
    gc.collect()
    _hand_back_freed_memory()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    resettable = _reset_high_water()
    before = _high_water() if resettable else 0
    _wait_for(device)
    start = time.perf_counter()
    yield took
    _wait_for(device)
    took.seconds = time.perf_counter() - start
    took.host = _high_water() - before if resettable else None
    if on_gpu:
        took.device = torch.cuda.max_memory_allocated(device) - held


def _reset_high_water() -> bool:
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")
        return True
    return False


def _high_water() -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _hand_back_freed_memory() -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries have no such function
            ctypes.CDLL(None).malloc_trim(0)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _stat(values: Sequence[float | None]) -> dict[str, Any] | None:
    return stat([value for value in values if value is not None])
