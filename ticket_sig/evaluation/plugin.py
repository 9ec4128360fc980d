"""A method of the user's own, written against the contract of the MPAI-NNW reference software.

A file of Python has, as functions or as methods of its one class (made of nothing, or of a device):

- `init(model, dict)`, if it likes: draws key and payload into the dict, or returns another;
- `Embedder_one_step(model, train_set, optimizer, cost_fn, dict)`: trains on batches of `train_set`, and is
  called until the training is over (the authors' testbed calls it once an epoch); what it returns are losses.
  Or `Embedder(model, dict)`: changes a trained model, or returns another;
- `Detector(model, dict)`: whether it finds the mark. That is true or false; or, as in the testbed, a pair of
  what was read and its distance, which is 0 where it is found. And / or `Decoder(model, dict)`: the symbols,
  or numbers that round to them, as many as `dict["watermark"]` has;
- of fingerprints `Extractor(model, dict)`, and `Matcher(fingerprint, other, dict)`: whether both are one's.

`watermarking_dict` in the file is what the dict starts from. Each instance has a copy, with 32 bytes as
"secret"; the random numbers of Python, NumPy and PyTorch follow from them in every call. Without `init`, the
"watermark" is random bits: as many as stand there in the file, else 64. The file is run, with all that its
user may do: it is his own code, and never a model's.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ticket_sig.digests import bytes_digest, json_digest, tensor_digest
from ticket_sig.errors import InputError, about, bad_input, refuse
from ticket_sig.evaluation.method import EvaluationTask, Found, Instance, Method
from ticket_sig.evaluation.train_set import TrainSet
from ticket_sig.mask import differences
from ticket_sig.models.own import in_short
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import HistoryEntry, Ticket
from ticket_sig.training.loop import plain_weights
from ticket_sig.verdict import Symbols

_STEP, _EMBED, _DETECT, _DECODE = "Embedder_one_step", "Embedder", "Detector", "Decoder"
_EXTRACT, _MATCH, _INIT = "Extractor", "Matcher", "init"
_FUNCTIONS = (_STEP, _EMBED, _DETECT, _DECODE, _EXTRACT, _MATCH, _INIT)
_TEMPLATE, _PAYLOAD, _SECRET = "watermarking_dict", "watermark", "secret"
_BITS = 64
_DEEPEST = 8  # values within values that a digest looks at


class PlugIn(Method):
    """A user's file as a method; its name is the file's.

    Args:
        file: which is run.

    Raises:
        InputError: there is no such file, it raises while it is run, or lacks a function.
    """

    def __init__(self, file: Path) -> None:
        self.code = Code.of(file)
        self.name, self.passive = file.stem, _EXTRACT in self.code.functions
        self.carries = "bits" if _DECODE in self.code.functions else "nothing"
        self.options = {"file": file.name, "digest": self.code.digest}

    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> OnePlugIn:
        """The dict with its key and payload, as `init` draws them; of a fingerprint what is extracted.

        Without `init`, an `Embedder` may draw a key of its own: it is called once here, for the dict alone.

        Raises:
            InputError: the plug-in raises, changes the network in `init`, or gives no payload to decode.
        """
        code, drawn = self.code, {**self.code.copied(self.code.given), _SECRET: secret}
        if _INIT in code.functions:
            returned = code.read(_INIT, task.network(network), secret, drawn)
            drawn = returned if isinstance(returned, dict) else drawn
        else:
            drawn[_PAYLOAD] = _random_bits(secret, drawn.get(_PAYLOAD))
            if _EMBED in code.functions and _STEP not in code.functions:
                code.call(_EMBED, secret, task.network(network), drawn)
        if _DECODE in code.functions:
            if _PAYLOAD not in drawn:
                raise bad_input(code.file, "dict", f"its payload as {_PAYLOAD!r}, to decode", "none")
            code.numbers(f"dict: {_PAYLOAD}", drawn[_PAYLOAD])
        own = {name: value for name, value in drawn.items() if name != _SECRET}
        one = OnePlugIn(json_digest({"dict": _content(own)}), code, secret, drawn)
        if not self.passive:
            return one
        taken = one.extracted(network, task)
        digest = json_digest({"dict": one.digest, "taken": _content(taken), "secret": secret.hex()})
        return replace(one, digest=digest, fingerprint=taken)


@dataclass(frozen=True)
class OnePlugIn(Instance):
    """One key and payload of a plug-in.

    Attributes:
        digest: SHA-256 of what the dict holds; of a fingerprint, a commitment under the secret.
        code: of the file.
        secret: what all that is drawn follows from.
        drawn: the dict; every call gets a copy.
        fingerprint: of the network, where it is a method of fingerprints.
    """

    digest: str
    code: Code
    secret: bytes
    drawn: dict[str, Any] = field(repr=False)
    fingerprint: Any = field(default=None, repr=False)

    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        """Trains it further with `Embedder_one_step`; or as an unmarked one, and then calls `Embedder`.

        Raises:
            InputError: the plug-in raises, takes no batch, gives other tensors or some that are not finite,
                or changes the key that it was given.
        """
        if _EXTRACT in self.code.functions:
            return network
        if _STEP in self.code.functions:
            return self._trained(network, task)
        tuned = task.trained_further(network)
        model = task.network(tuned)
        shared = self._dict()
        returned = self.code.call(_EMBED, self.secret, model, shared)
        self._check_key(_EMBED, shared)
        return self._ticket(tuned, returned if isinstance(returned, nn.Module) else model, _EMBED)

    def extracted(self, network: Ticket, task: EvaluationTask) -> Any:
        """The fingerprint of a network; InputError where the plug-in raises, or changes the network."""
        return self.code.read(_EXTRACT, task.network(network), self.secret, self._dict())

    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        """What the plug-in says of a network, of which it gets a copy.

        Raises:
            InputError: it raises, changes the copy, or returns something else than the contract has.
        """
        code, has = self.code, self.code.functions
        if _EXTRACT in has:
            other = self.extracted(suspect, task)
            answer = code.call(_MATCH, self.secret, copy.deepcopy(self.fingerprint), other, self._dict())
            return Found(detected=code.truth(_MATCH, answer))
        detected, symbols = None, None
        if _DETECT in has:
            answer = code.read(_DETECT, task.network(suspect), self.secret, self._dict())
            detected = code.truth(_DETECT, answer)
        if _DECODE in has:
            answer = code.read(_DECODE, task.network(suspect), self.secret, self._dict())
            claimed = code.numbers(f"dict: {_PAYLOAD}", self.drawn[_PAYLOAD])
            read = code.numbers(_DECODE, answer[0] if _is_pair(answer) else answer)
            if len(read) != len(claimed):
                expected = f"{len(claimed)} symbols, as dict[{_PAYLOAD!r}] has"
                raise bad_input(code.file, _DECODE, expected, str(len(read)))
            symbols = Symbols(claimed, read)
        return Found(detected=detected, symbols=symbols)

    def _dict(self) -> dict[str, Any]:
        return self.code.copied(self.drawn)

    def _trained(self, network: Ticket, task: EvaluationTask) -> Ticket:
        """Calls `Embedder_one_step` until all batches of the further training were taken."""
        recipe, engine, shared = task.further, replace(task.engine, fused=False), self._dict()
        model = task.network(network).train()
        made_with = engine.prepare(model, recipe.precision)
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # a user may call `view`
        batches = TrainSet(model, task.data, recipe, engine.device, network.mask, engine.progress)
        cost = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        engine.progress.begin(f"{self.code.file.stem}, {_STEP}", batches.total)
        bf16 = recipe.precision == "bf16"
        while (before := batches.step) < batches.total:
            given = model, batches, batches.optimizer, cost, shared
            with torch.autocast(engine.device.type, torch.bfloat16, enabled=bf16):
                losses = self.code.call(_STEP, self.secret + before.to_bytes(8, "big"), *given)
            if batches.step == before:
                raise bad_input(self.code.file, _STEP, "batches of train_set taken", "none")
            self._check_losses(losses, batches.step)
        self._check_key(_STEP, shared)
        trained = self._ticket(network, model, _STEP)
        mask = network.mask
        epochs = batches.total / len(batches)
        entry = HistoryEntry(
            step="train", kept=mask.kept, total=mask.total, epochs=epochs, made_with=made_with
        )
        return replace(trained, recipe=recipe.to_json(), history=(*network.history, entry))

    def _check_key(self, function: str, shared: Mapping[str, Any]) -> None:
        """Refuses an embedder that draws another key: networks are tested with that of `instance`."""
        if changed := [n for n in self.drawn if _content(shared.get(n)) != _content(self.drawn[n])]:
            hint = f"draw key and payload in {_INIT}"
            found = f"{changed[0]!r} changed"
            raise bad_input(self.code.file, function, "the key in dict left as it is", found, hint=hint)

    def _check_losses(self, losses: Any, step: int) -> None:
        for loss in losses if isinstance(losses, (tuple, list)) else (losses,):
            if loss is not None and not math.isfinite(self.code.number(_STEP, loss)):
                raise bad_input(self.code.file, _STEP, "finite losses", f"{loss} by step {step}")

    def _ticket(self, before: Ticket, model: nn.Module, function: str) -> Ticket:
        """The network that came back; InputError where it has other tensors, or some that are not finite."""
        where = f"{self.code.file}: {function}"
        with about(where):
            weights = plain_weights(model, before.mask)
        refuse(where, differences(before.weights, weights))
        return replace(before, weights=weights, rewind=None)


@dataclass(frozen=True)
class Code:
    """A plug-in's file, as it was run.

    Attributes:
        file: its path.
        digest: SHA-256 of it.
        functions: of the contract, by name.
        given: the file's `watermarking_dict`.
    """

    file: Path
    digest: str
    functions: Mapping[str, Callable[..., Any]]
    given: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, file: Path) -> Code:
        """Runs a file; errors as of `PlugIn`."""
        if not file.is_file():
            raise bad_input(file, "plug-in", "a file of Python", "none")
        module = _run(file)
        given = getattr(module, _TEMPLATE, {})
        if not isinstance(given, dict):
            raise bad_input(file, _TEMPLATE, "a dict", f"a {type(given).__name__}")
        functions = _functions_of(file, module)
        marks = (_STEP in functions or _EMBED in functions) and (_DETECT in functions or _DECODE in functions)
        if not marks and not {_EXTRACT, _MATCH} <= functions.keys():
            expected = f"{_EMBED} or {_STEP}, and {_DETECT} or {_DECODE}; or {_EXTRACT} and {_MATCH}"
            raise bad_input(file, "functions", expected, ", ".join(functions) or "none")
        return cls(file, bytes_digest(file.read_bytes()), functions, given)

    def copied(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of a dict; InputError where something in it cannot be copied."""
        try:
            return copy.deepcopy(dict(values))
        except Exception as error:
            raise bad_input(self.file, "dict", "values that can be copied", in_short(error)) from None

    def call(self, name: str, secret: bytes, *given: Any) -> Any:
        """Calls a function; what it prints goes to stderr. InputError where it raises."""
        try:
            with _seeded(secret, name), contextlib.redirect_stdout(sys.stderr):
                return self.functions[name](*given)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise bad_input(self.file, name, "no error", in_short(error)) from None

    def read(self, name: str, model: nn.Module, secret: bytes, given: dict[str, Any]) -> Any:
        """The same of a function that must leave the model as it is; InputError where it does not."""
        before = tensor_digest(model.state_dict())
        answer = self.call(name, secret, model, given)
        if tensor_digest(model.state_dict()) != before:
            raise bad_input(self.file, name, "the model left as it is", "changed tensors")
        return answer

    def truth(self, name: str, answer: Any) -> bool:
        """Whether an answer says yes: true, 1, or a distance of 0 beside what was read."""
        if _is_pair(answer):
            return self.number(name, answer[1]) == 0
        if (number := self.number(name, answer)) not in (0, 1):
            raise bad_input(self.file, name, "true or false", str(answer))
        return number == 1

    def number(self, name: str, value: Any) -> float:
        """One number; InputError for anything else."""
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return float(value)
        raise bad_input(self.file, name, "a number", f"a {type(value).__name__}")

    def numbers(self, name: str, value: Any) -> tuple[int, ...]:
        """Symbols: numbers of any shape, rounded; InputError where they are none, or not finite."""
        try:
            array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError):
            raise bad_input(self.file, name, "numbers", f"a {type(value).__name__}") from None
        if not np.isfinite(array).all():
            raise bad_input(self.file, name, "finite numbers", f"{int((~np.isfinite(array)).sum())} others")
        return tuple(int(number) for number in array.ravel().round())


def _run(file: Path) -> ModuleType:
    """Runs a file as a module, which may import what lies beside it."""
    module = ModuleType(f"ticket_sig_plugin_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise bad_input(file, "plug-in", "a file that runs", in_short(error)) from None
    finally:
        sys.path.pop(0)
    return module


def _functions_of(file: Path, module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions of the contract: the file's own, or those of its one class that has any."""
    if found := {n: f for n in _FUNCTIONS if callable(f := getattr(module, n, None))}:
        return found
    classes = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and c.__module__ == module.__name__ and any(hasattr(c, n) for n in _FUNCTIONS)
    ]
    if len(classes) != 1:
        return {}
    try:
        takes = len(inspect.signature(classes[0]).parameters)
        tools = classes[0](*[torch.device("cpu")] * bool(takes))
    except Exception as error:
        raise bad_input(file, classes[0].__name__, "a class made of a device", in_short(error)) from None
    return {n: f for n in _FUNCTIONS if callable(f := getattr(tools, n, None))}


@contextlib.contextmanager
def _seeded(secret: bytes, label: str) -> Iterator[None]:
    """Random numbers that follow from a secret, for the block; the caller's own go on as they were."""
    seed = int(keyed_words(secret, f"plug-in {label}", 1)[0])
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed >> 1)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _random_bits(secret: bytes, like: Any) -> Tensor:
    """Random bits, in the number of those in the file's own dict."""
    count = like.numel() if isinstance(like, Tensor) else np.size(like) if like is not None else _BITS
    words = keyed_words(secret, "plug-in payload", count) % 2
    return torch.from_numpy(words.astype(np.int64))


def _is_pair(answer: Any) -> bool:
    """Whether an answer is several values that were read, and one number beside them."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        return False
    return np.ndim(_plain(answer[0])) > 0 and np.ndim(_plain(answer[1])) == 0


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _content(value: Any, depth: int = 0) -> Any:
    """What a value holds, as JSON, for digests; of objects that are no values the name of their type."""
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(name): _content(one, depth + 1) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [_content(one, depth + 1) for one in value]
    if isinstance(value, nn.Module):
        return tensor_digest(value.state_dict())
    if isinstance(value, np.ndarray) and value.dtype.kind in "bif":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        return tensor_digest({"": value})
    if isinstance(value, (bytes, float, np.generic)):
        return repr(value)
    return value if isinstance(value, (str, int, type(None))) else type(value).__qualname__
