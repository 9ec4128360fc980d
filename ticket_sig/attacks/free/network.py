"""A network as a thief rewrites it: a traced module, and which of its tensors a ticket has."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ticket_sig.formats.layouts import weights_for
from ticket_sig.mask import Mask
from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.operations import argument, trace
from ticket_sig.ticket import Ticket, retie

Images = Callable[[Tensor], Tensor]  # [batch, channels, height, width] to what a turned network takes


class DoesNotApply(Exception):
    """A kind has nothing to do in a network; the message says why."""


@dataclass(frozen=True)
class Strength:
    """How much is done.

    Attributes:
        share: of the channels that get dummy neurons beside them, or of the layers that get a factor.
        factor: by up to which channels are scaled, up or down.
        sizes: heights of the square images that the network may take; the first that it can take counts.
    """

    share: float = 0.1
    factor: float = 10.0
    sizes: tuple[int, ...] = (32,)


class Kind(Protocol):
    """One free change; its docstring says what it does."""

    def __call__(self, network: Network, strength: Strength, draw: torch.Generator) -> Network:
        """The changed network, which computes the same. DoesNotApply where there is nothing to change."""


def same(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


@dataclass(frozen=True)
class Network:
    """A network that computes what the stolen one does.

    Attributes:
        module: traced, for evaluation. Each change makes another module; this one stays.
        names: of all tensors, in the order of the ticket.
        masked: those of them that are in the mask.
        rest: tensors that the output does not depend on, which are no part of `module`.
        images: what is done to images before the network sees them.
        own_code: whether code of the network itself (a slice, a padding) is as it was.
    """

    module: fx.GraphModule
    names: tuple[str, ...]
    masked: tuple[str, ...]
    rest: Mapping[str, Tensor]
    images: Images = same
    own_code: bool = True

    @classmethod
    def of(cls, model: nn.Module, ticket: Ticket) -> Network:
        """The network of a ticket; `model` is given its weights.

        Raises:
            InputError: the weights do not fit the network, or it cannot be traced.
        """
        weights = weights_for(model.state_dict(), ticket.weights)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in weights:
                tensor.data = tensor.data.to(weights[name].dtype)
        model.load_state_dict(weights)
        module = lowered(model)
        inside = module.state_dict()
        rest = {name: t for name, t in weights.items() if name not in inside}
        return cls(module, tuple(weights), tuple(ticket.mask), rest)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        state = self.module.state_dict()
        return {name: state[name] if name in state else self.rest[name] for name in self.names}

    def ticket(self, like: Ticket) -> Ticket:
        """As a ticket, with the recipe of another one; kept are the weights that are not zero."""
        weights = {name: t.detach().clone() for name, t in self.tensors().items()}
        weights = retie(self.tensors(), weights)
        mask = Mask({name: (weights[name] != 0).cpu() for name in self.masked})
        return replace(like, weights=weights, mask=mask)

    def with_module(
        self,
        module: nn.Module,
        renamed: Mapping[str, str] | None = None,
        also_masked: Iterable[str] = (),
    ) -> Network:
        """The network with another module.

        Args:
            renamed: tensors that have another name there, {before: then}, also those of `rest`.
            also_masked: new tensors that belong in the mask.
        """
        assert isinstance(module, fx.GraphModule)
        renamed = renamed or {}
        rest = {renamed.get(name, name): t for name, t in self.rest.items()}
        there = {**module.state_dict(), **rest}
        names = [renamed.get(name, name) for name in self.names]
        known = dict.fromkeys([*names, *there])
        masked = dict.fromkeys([*(renamed.get(name, name) for name in self.masked), *also_masked])
        return replace(
            self,
            module=module,
            names=tuple(name for name in known if name in there),
            masked=tuple(name for name in masked if name in there),
            rest=rest,
        )

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Network:
        """The network with other values in its module's tensors."""
        module = copy.deepcopy(self.module)
        module.load_state_dict(tensors)
        return replace(self, module=module)

    def free_path(self, path: str) -> str:
        """This path for a new module, with a number behind it where it is taken."""
        taken = {name for name, _ in self.module.named_modules()}
        tries = (path, *(f"{path}{n}" for n in range(len(taken))))
        return next(one for one in tries if one not in taken)

    def layers(self, *kinds: type[nn.Module]) -> list[tuple[fx.Node, Any]]:
        """The nodes that call a module of these kinds, with it, in order of their execution.

        Not modules that are called twice, nor those that share a parameter with another one.
        """
        modules = dict(self.module.named_modules())
        calls = [node for node in self.module.graph.nodes if node.op == "call_module"]
        targets = Counter(node.target for node in calls)
        owners = Counter(id(p) for m in modules.values() for p in m._parameters.values())
        return [
            (node, module)
            for node in calls
            if isinstance(module := modules[str(node.target)], kinds)
            and targets[node.target] == 1
            and all(owners[id(p)] == 1 for p in module._parameters.values() if p is not None)
        ]


def lowered(model: nn.Module) -> fx.GraphModule:
    """The network as a graph of PyTorch's own modules and functions, under its own names; tensors are shared.

    A `NormReLU` is a batch norm there, an addition and a ReLU.

    Raises:
        InputError: `torch.fx` cannot trace it.
    """
    twin, nodes = trace(model)
    modules = dict(twin.named_modules())
    graph, made = fx.Graph(), dict[fx.Node, fx.Node]()
    norms = dict[str, nn.Module]()
    for node in nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, NormReLU):
            norms[str(node.target)] = module
            y, residual = made[node], argument(made[node], 1, "residual")
            y.args, y.kwargs = (argument(y, 0, "x"),), {}
            total = y if residual is None else graph.call_function(torch.add, (y, residual))
            made[node] = graph.call_function(F.relu, (total,))
    module = fx.GraphModule(twin, graph)
    for target, norm in norms.items():
        put(module, target, _plain_norm(norm))
    module.recompile()
    return module.eval()


def _plain_norm(norm: Any) -> nn.Module:
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    plain._parameters, plain._buffers = norm._parameters, norm._buffers
    return plain


def at(root: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path; what is not there on the way is made."""
    for part in filter(None, path.split(".")):
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root


def put(root: nn.Module, path: str, what: nn.Module) -> None:
    """Puts a module at a dotted path."""
    above, _, last = path.rpartition(".")
    at(root, above).add_module(last, what)


def some_of(count: int, share: float, draw: torch.Generator) -> list[int]:
    """A share of so many things, at least one of them, drawn without repetition; ascending."""
    return sorted(torch.randperm(count, generator=draw)[: max(1, round(share * count))].tolist())


def one_of(count: int, draw: torch.Generator) -> int:
    """One of so many, drawn evenly."""
    return int(torch.randint(count, (1,), generator=draw))
