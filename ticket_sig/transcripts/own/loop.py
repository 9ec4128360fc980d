"""Where a user's own loop stands: everything that its next step depends on, beside data and code."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.values import decode, encode


class Stateful(Protocol):
    """A scheduler, a gradient scaler, a sampler, another optimizer or network."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from step to step."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Takes it back."""


Part = Stateful | torch.Generator | np.random.Generator | random.Random | ModuleType

_TAKEN = ("transcript", "step", "data", "choice")  # names that `audit_own` has other uses for


class OwnLoop:
    """The objects of a loop, and their state.

    Beside what is handed in, it is the random state of torch (of the model's GPUs, too), which modules are in
    training mode, and which parameters are frozen. Gradients are not part of it: a step begins or ends with
    `zero_grad`.

    Args:
        parts: by name: schedulers, scalers, samplers, and whatever else has `state_dict`; random generators
            of torch, numpy and Python; the modules `random` and `numpy.random`, where steps draw from them.

    Raises:
        InputError: the optimizer trains something else than the model, or the device is not known.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, parts: Mapping[str, Part] | None = None
    ) -> None:
        self.model, self.optimizer, self.parts = model, optimizer, dict(parts or {})
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if foreign := sum(parameter not in self._names for parameter in trained):
            hint = "where it trains several networks, show them as one nn.ModuleDict"
            raise bad_input("", "optimizer", "parameters of the model", f"{foreign} of others", hint=hint)
        self._hidden_at_first = self._hidden()
        devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
        if unknown := {device.type for device in devices} - {"cpu", "cuda"}:
            raise bad_input("", "model", "a device of type cpu or cuda", ", ".join(sorted(unknown)))
        self._gpus = sorted(device.index for device in devices if device.type == "cuda")
        for name, part in self.parts.items():
            if name in _TAKEN:
                raise bad_input("", "part", "a name that audit_own has no other use for", name)
            methods = any(hasattr(part, one) for one in ("load_state_dict", "bit_generator", "setstate"))
            if not methods and not isinstance(part, torch.Generator) and part is not np.random:
                expected = "an object with state_dict and load_state_dict, or a random generator"
                raise bad_input("", name, expected, type(part).__name__)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next((p.device for p in self._names), torch.device("cpu"))

    def state(self, losses: tuple[float, float] = (0.0, 0.0)) -> State:
        """A copy of it; InputError where something in it is neither numbers, texts nor tensors."""
        if odd := [n for n, t in self.model.state_dict().items() if not isinstance(t, Tensor)]:
            raise bad_input("", f"model: {odd[0]}", "a tensor", "something else")
        if self._hidden() != self._hidden_at_first:
            raise bad_input(
                "", "model: buffers", "in state_dict, or constant", "one that changes, and is not in it"
            )
        state = State.of(self.model, self.optimizer, torch.tensor(losses, dtype=torch.float64))
        others: dict[str, Tensor] = {}
        return replace(state, facts=encode(self._facts(), "", others), others=others)

    def take(self, state: State) -> None:
        """Has the loop stand there.

        Raises:
            InputError: the state is of other objects than these.
        """
        facts = self.check(state)
        state.put_into(self.model, self.optimizer, torch.zeros(2, dtype=torch.float64))
        self.model.zero_grad(set_to_none=True)
        for module, training in zip(self.model.modules(), facts["training"].tolist(), strict=True):
            module.training = training
        for parameter, frozen in zip(self._names, facts["frozen"].tolist(), strict=True):
            parameter.requires_grad_(not frozen)
        with _named("optimizer"):
            self._take_optimizer(facts["optimizer"])
        for name, part in self.parts.items():
            with _named(name):
                _put(part, facts["parts"][name])
        with _named("random"):  # last: what was put before may have drawn
            self._take_random(facts["random"])

    def check(self, state: State) -> dict[str, Any]:
        """What a state says beside its tensors; InputError where it is of other objects than these."""
        if not isinstance(facts := decode(state.facts, state.others), dict):
            raise bad_input("", "facts", "those of a loop of a user's own", "none")
        self._check_model(state)
        own = self._facts()
        for name in own:
            if type(facts.get(name)) is not type(own[name]):
                raise bad_input(
                    "", f"facts: {name}", type(own[name]).__name__, type(facts.get(name)).__name__
                )
        for name in {**own["kinds"], **facts["kinds"]}:
            expected, found = (one["kinds"].get(name, "none") for one in (own, facts))
            if expected != found or (name != "optimizer" and name not in facts["parts"]):
                raise bad_input("", name, str(expected), str(found))
        for name in ("training", "frozen"):
            if facts[name].shape != own[name].shape or facts[name].dtype != torch.bool:
                raise bad_input("", name, f"{own[name].numel()} truth values", str(list(facts[name].shape)))
        with _named("optimizer"):
            mine, theirs = (_outline(one["optimizer"]["groups"]) for one in (own, facts))
        if mine != theirs:
            raise bad_input("", "optimizer: groups", "its own parameters and options", "others")
        for name, part in self.parts.items():
            # torch's schedulers take whatever they are given as their attributes.
            if isinstance(part, LRScheduler) and {*own["parts"][name]} != {*facts["parts"][name]}:
                raise bad_input("", name, f"a state of {type(part).__name__}", "other fields")
        return facts

    def _check_model(self, state: State) -> None:
        mine = {name: (t.dtype, t.shape) for name, t in self.model.state_dict().items()}
        theirs = {n: (t.dtype, t.shape) for n, t in {**state.parameters, **state.buffers}.items()}
        for name in {**mine, **theirs}:
            if mine.get(name) != theirs.get(name):
                raise bad_input("", f"model: {name}", _shape(mine.get(name)), _shape(theirs.get(name)))

    def _facts(self) -> dict[str, Any]:
        kinds = {"optimizer": self.optimizer, **self.parts}
        return {
            "kinds": {name: getattr(part, "__name__", type(part).__name__) for name, part in kinds.items()},
            "training": torch.tensor([module.training for module in self.model.modules()]),
            "frozen": torch.tensor([not parameter.requires_grad for parameter in self._names]),
            "optimizer": {"groups": self._groups(), "state": self._no_tensors()},
            "parts": {name: _get(part) for name, part in self.parts.items()},
            "random": {
                "torch": torch.get_rng_state(),
                "cuda": [torch.cuda.get_rng_state(index) for index in self._gpus],
            },
        }

    def _hidden(self) -> str:
        """Digest of the buffers that are not in `state_dict`."""
        known = self.model.state_dict()
        return tensor_digest({name: t for name, t in self.model.named_buffers() if name not in known})

    def _groups(self) -> list[dict[str, Any]]:
        """Learning rates and all else of the optimizer's groups; its parameters by name, in one text."""
        return [
            {**group, "params": " ".join(self._names[parameter] for parameter in group["params"])}
            for group in self.optimizer.param_groups
        ]

    def _no_tensors(self) -> dict[str, dict[str, Any]]:
        """What the optimizer remembers of each parameter that is no tensor."""
        found = {
            name: {k: v for k, v in self.optimizer.state.get(p, {}).items() if not isinstance(v, Tensor)}
            for p, name in self._names.items()
        }
        return {name: own for name, own in found.items() if own}

    def _take_optimizer(self, facts: Mapping[str, Any]) -> None:
        for group, found in zip(self.optimizer.param_groups, facts["groups"], strict=True):
            for key, value in found.items():
                if isinstance(group[key], Tensor) and isinstance(value, Tensor):
                    group[key].copy_(value)
                elif key != "params":
                    group[key] = value
        parameters = {name: parameter for parameter, name in self._names.items()}
        for name, own in facts["state"].items():
            self.optimizer.state[parameters[name]].update(own)

    def _take_random(self, facts: Mapping[str, Any]) -> None:
        torch.set_rng_state(facts["torch"])
        for index, state in zip(self._gpus, facts["cuda"], strict=True):
            torch.cuda.set_rng_state(state, index)

    def others_drawn(self) -> dict[str, str]:
        """The state of the random numbers of Python and numpy, where they are no part of the loop."""
        states = ((random, random.getstate), (np.random, np.random.get_state))
        parts = [id(part) for part in self.parts.values()]
        return {module.__name__: repr(state()) for module, state in states if id(module) not in parts}


def learning_rate(state: State) -> float:
    """The largest learning rate of the optimizer's groups at a boundary."""
    groups = decode(state.facts, state.others)["optimizer"]["groups"]
    return max(float(group.get("lr", 0)) for group in groups)


def _get(part: Part) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if part is np.random:
        return np.random.get_state(legacy=False)
    if isinstance(part, np.random.Generator):
        return dict(part.bit_generator.state)
    if isinstance(part, random.Random) or part is random:
        return part.getstate()
    return dict(part.state_dict())


def _put(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif part is np.random:
        np.random.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, random.Random) or part is random:
        part.setstate(state)
    else:
        part.load_state_dict(state)


def _outline(groups: Any) -> list[tuple[list[tuple[str, str]], str]]:
    """Of an optimizer's groups, the kinds of their options, and their parameters."""
    return [(sorted((key, _kind(v)) for key, v in group.items()), group["params"]) for group in groups]


def _kind(value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "number" if number else f"{type(value).__name__} {list(getattr(value, 'shape', ()))}"


def _shape(found: tuple[torch.dtype, torch.Size] | None) -> str:
    return "none" if found is None else f"{found[0]} {list(found[1])}"


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Whatever an object says of a state that is not its own, in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = f"another ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise bad_input("", part, "a state of its kind", found) from error
