"""The kernel graph: channels are its nodes, the kernels between them its edges (NeurIPS'21, section 3.3)."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from ticket_sig.errors import bad_input
from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.operations import (
    ADDING,
    GATING,
    KEEPING,
    LAYER_FUNCTIONS,
    LAYERS,
    REDUCING,
    TRANSPOSED,
    argument,
    asks_for_shape,
    keeps_channels,
    operation,
    trace,
    unfollowed,
)

PARTS = ("weight", "bias", "running_mean", "running_var")  # of a layer or a batch norm, by channel


@dataclass(frozen=True)
class Link:
    """The kernels of one layer, or identities, as edges between channels.

    Attributes:
        name: of the weight; None for identities (a residual connection), which have none.
        tails: int64 [groups, inputs], the nodes that each group reads.
        heads: int64 [groups, outputs], the nodes that each group writes. Every input of a group is linked
            to every output of it.
        transposed: whether the weight has its inputs before its outputs, as a transposed convolution's.
        norm: whether it is a batch norm, which has a weight for each channel, and statistics.
        bias: name that its bias has, if it has one.
    """

    name: str | None
    tails: Tensor
    heads: Tensor
    transposed: bool = False
    norm: bool = False
    bias: str | None = None

    def parts(self, known: Container[str]) -> dict[str, str]:
        """The names of its tensors by part (`PARTS`), of those that are known."""
        if self.name is None:
            return {}
        layer = self.name.rpartition(".")[0]
        names = {"weight": self.name, "bias": self.bias}
        names |= {part: f"{layer}.{part}" for part in PARTS[2:]} if self.norm else {}
        return {part: name for part, name in names.items() if name is not None and name in known}

    def kernels(self, weight: Tensor) -> Tensor:
        """The layer's weight as [groups, outputs, inputs, weights of a kernel].

        Where a linear layer reads flattened images, the weights of all pixels of a channel are one kernel.
        """
        groups, outputs, inputs = self.shape
        if self.transposed:
            return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2)
        return weight.reshape(groups, outputs, inputs, -1)

    def spread(self, values: Tensor, weight: Tensor) -> Tensor:
        """Gives every weight the value of its kernel: [groups, outputs, inputs] to the weight's shape."""
        values = values.transpose(1, 2) if self.transposed else values
        each = weight.numel() // values.numel()
        return values.unsqueeze(3).expand(*values.shape, each).reshape(weight.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups, outputs and inputs of a group."""
        return self.tails.shape[0], self.heads.shape[1], self.tails.shape[1]

    @property
    def single(self) -> bool:
        """Whether it links channels one to one: a batch norm, a depthwise convolution, identities."""
        return self.shape[1:] == (1, 1)


@dataclass(frozen=True)
class KernelGraph:
    """Channels and the links between them.

    Attributes:
        nodes: how many channels there are; they are counted from 0.
        links: in topological order: all that lead into a channel come before those that leave it.
        inputs, outputs: int64, the channels of the network's inputs and outputs.
        passed: what else works on channels, by the name of its function or module's class, and on which.
        counted: int64, channels whose number stands in the network's own code: a slice of them, empty ones
            that padding adds and what is added to these, a view to so many.
    """

    nodes: int
    links: tuple[Link, ...]
    inputs: Tensor
    outputs: Tensor
    passed: tuple[tuple[str, Tensor], ...] = ()
    counted: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @property
    def names(self) -> set[str]:
        """The weights whose kernels are in the graph."""
        return {link.name for link in self.links if link.name is not None}


def kernel_graph(model: nn.Module, residual: bool = True, norms: bool = False) -> KernelGraph:
    """Follows the channels of a network of convolutions and linear layers, whoever wrote it.

    Convolutions and linear layers are links; what works channel by channel leaves nodes as they are. Layers
    whose output feeds only one addition share its output nodes. The other operands of the addition (identity
    and padded shortcuts) join by identity links. An addition without such a layer has nodes of its own. The
    same holds for an elementwise product (a gate). A weight that two modules share is two links of one name:
    that of its first module. Layers that the output does not depend on are not in the graph.

    Args:
        residual: whether sums have identity links. Gates always do.
        norms: whether batch norms are links, too, from each channel to one behind it.

    Raises:
        InputError: the network cannot be traced, or an operation cannot be followed, which is named.
    """
    twin, nodes = trace(model)
    return _Follower(twin, nodes, residual, norms).graph()


@dataclass(frozen=True)
class _Channels:
    """What is known of a tensor [batch, channels, ...].

    Attributes:
        nodes: int64, of each channel.
        dims: number of the tensor's dimensions.
        own: whether the nodes are those of layers that nothing else has read so far.
        flat: whether each channel may stand for several features in a row.
    """

    nodes: Tensor
    dims: int
    own: bool = False
    flat: bool = False


class _Follower:
    """Goes through the operations of a network once and links channels."""

    def __init__(self, model: nn.Module, nodes: list[fx.Node], residual: bool, norms: bool) -> None:
        self._model, self._nodes, self._residual, self._norms = model, nodes, residual, norms
        self._modules = dict(model.named_modules())
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._known = set(nodes)
        self._values: dict[fx.Node, _Channels | None] = {}
        self._links: list[Link] = []
        self._inputs: list[Tensor] = []
        self._count = 0
        self._zeros = [torch.empty(0, dtype=torch.int64)]  # channels that padding has added hold nothing
        self._joined: list[tuple[Tensor, Tensor]] = []
        self._passed: list[tuple[str, Tensor]] = []
        self._counted: list[Tensor] = []

    def graph(self) -> KernelGraph:
        """The graph of the whole network, its nodes numbered without gaps."""
        for node in self._nodes[:-1]:
            self._values[node] = self._value(node)
        outputs = [v.nodes for v in self._operands(self._nodes[-1])]
        if not self._links or not outputs:
            raise bad_input("network", "layers", "a convolution or linear layer before the output", "none")
        same = torch.arange(self._count)
        for gone, stays in self._joined:
            same[gone] = stays
        while not torch.equal(same[same], same):
            same = same[same]
        linked = [nodes.flatten() for k in self._links for nodes in (k.tails, k.heads)]
        linked += [nodes for _, nodes in self._passed]
        counted = torch.cat([*self._zeros, *self._counted])
        used = torch.unique(same[torch.cat([*self._inputs, *outputs, *linked])])

        def number(nodes: Tensor) -> Tensor:
            return torch.searchsorted(used, same[nodes])

        links = tuple(replace(k, tails=number(k.tails), heads=number(k.heads)) for k in self._links)
        ends = torch.unique(number(torch.cat(outputs)))
        passed = tuple((name, number(nodes)) for name, nodes in self._passed)
        counted = number(counted[torch.isin(same[counted], used)])
        return KernelGraph(len(used), links, number(torch.cat(self._inputs)), ends, passed, counted)

    def _value(self, node: fx.Node) -> _Channels | None:
        """The channels that come out of a node; None for anything else (numbers, shapes, parameters)."""
        if node.op == "placeholder":
            return self._input(node)
        operands = self._operands(node)
        if not operands or asks_for_shape(node):
            return None
        value = (self._module if node.op == "call_module" else self._function)(node, operands)
        if self._norms:
            self._note(node, [*operands, value])
        return value

    def _note(self, node: fx.Node, channels: list[_Channels]) -> None:
        """Tells what a node does that is no link, and on which channels."""
        name, inputs, norm = operation(node), node.all_input_nodes, False
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            known = norm or isinstance(module, LAYERS)
            name = "parameter" if not known and module.state_dict() else type(module).__name__
        elif name in LAYER_FUNCTIONS:
            bias = argument(node, 2, "bias")
            name = name if bias is None or self._name(bias) else "parameter"  # one that is computed stays
        elif any(given.op == "get_attr" for given in inputs):
            name = "parameter"
        elif (name in ADDING and len(inputs) < 2) or (name == "pad" and argument(node, 3, "value")):
            name = "constant"
        # What a batch norm with an activation reads has not passed through the activation.
        names = ["batchnorm" if norm else name] + [name] * (len(channels) - 1)
        self._passed += [(one, of.nodes) for one, of in zip(names, channels, strict=True)]

    def _operands(self, node: fx.Node) -> list[_Channels]:
        """The channels that a node reads, in the order of its arguments and as often as they stand there."""
        found: list[_Channels] = []

        def collect(argument: fx.Node) -> fx.Node:
            if (value := self._values.get(argument)) is not None:
                readers = sum(user in self._known and not asks_for_shape(user) for user in argument.users)
                found.append(replace(value, own=value.own and readers == 1))
            return argument

        fx.node.map_arg((node.args, node.kwargs), collect)
        return found

    def _new(self, count: int) -> Tensor:
        self._count += count
        return torch.arange(self._count - count, self._count)

    def _input(self, node: fx.Node) -> _Channels | None:
        """As many channels as the first layer that reads this input has; none where no layer does."""
        reached = {node}
        for later in self._nodes:
            if reached.isdisjoint(later.all_input_nodes):
                continue
            reached.add(later)
            if (layer := self._layer_of(later)) is not None:
                _, weight, groups, transposed, _ = layer
                width = weight.shape[0] if transposed else weight.shape[1] * groups
                self._inputs.append(self._new(width))
                return _Channels(self._inputs[-1], weight.ndim)
        return None

    def _layer_of(self, node: fx.Node) -> tuple[str, Tensor, int, bool, str | None] | None:
        """A layer's (name of the weight, weight, groups, whether transposed, name of the bias); else None."""
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            if not isinstance(module, LAYERS):
                return None
            groups = 1 if isinstance(module, nn.Linear) else int(module.groups)
            name = self._names.get(id(module.weight), f"{node.target}.weight")
            bias = None if module.bias is None else self._names.get(id(module.bias), f"{node.target}.bias")
            return name, module.weight, groups, isinstance(module, TRANSPOSED), bias
        if node.op != "call_function" or operation(node) not in LAYER_FUNCTIONS:
            return None
        given = argument(node, 1, "weight")
        if not isinstance(given, fx.Node) or given.op != "get_attr":
            raise unfollowed(node, "of a weight that is computed")
        weight, bias = attrgetter(str(given.target))(self._model), argument(node, 2, "bias")
        groups = 1 if operation(node) == "linear" else argument(node, 6, "groups", 1)
        return str(self._name(given)), weight, groups, False, self._name(bias)

    def _name(self, given: Any) -> str | None:
        """The name of a parameter that a function is given, the first of several; None for anything else."""
        if not isinstance(given, fx.Node) or given.op != "get_attr":
            return None
        path = str(given.target)
        return self._names.get(id(attrgetter(path)(self._model)), path)

    def _module(self, node: fx.Node, operands: list[_Channels]) -> _Channels:
        module, x = self._modules[str(node.target)], operands[0]
        if self._norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
            operands = [x := self._norm(node, x), *operands[1:]]
        if isinstance(module, NormReLU) and len(operands) == 2:
            return self._join(node, operands, self._residual)
        if len(operands) > 1:
            raise unfollowed(node, f"({type(module).__name__}) of {len(operands)} tensors")
        if isinstance(module, LAYERS):
            return self._layer(node, x)
        if isinstance(module, nn.Flatten):
            return self._flatten(node, x, module.start_dim, module.end_dim)
        if type(module).__module__ == "torch.nn.modules.padding":
            return self._pad(node, x, module.padding)
        if keeps_channels(module) or isinstance(module, NormReLU):
            return x
        raise unfollowed(node, f"({type(module).__name__})")

    def _function(self, node: fx.Node, operands: list[_Channels]) -> _Channels:
        name, x = operation(node), operands[0]
        if name in ADDING | GATING:
            return x if len(operands) == 1 else self._join(node, operands, self._residual or name in GATING)
        if name in ("cat", "concat", "concatenate"):
            return self._cat(node, operands)
        if len(operands) > 1:
            raise unfollowed(node, f"of {len(operands)} tensors")
        if name in LAYER_FUNCTIONS:
            return self._layer(node, x)
        if name in KEEPING:
            return x
        if name in REDUCING:
            return self._reduce(node, x)
        if name == "pad":
            return self._pad(node, x, argument(node, 1, "pad"))
        if name == "flatten":
            return self._flatten(node, x, argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1))
        if name in ("view", "reshape"):
            return self._view(node, x)
        if name in ("squeeze", "unsqueeze"):
            return self._squeeze(node, x)
        if name == "getitem":
            return self._cut(node, x)
        raise unfollowed(node)

    def _layer(self, node: fx.Node, x: _Channels) -> _Channels:
        """Links the channels of a convolution or linear layer to new ones."""
        layer = self._layer_of(node)
        assert layer is not None
        name, weight, groups, transposed, bias = layer
        inputs = weight.shape[0] if transposed else weight.shape[1] * groups
        outputs = weight.shape[1] * groups if transposed else weight.shape[0]
        pixels, rest = divmod(inputs, len(x.nodes))
        if x.dims != weight.ndim or rest or (pixels > 1 and not x.flat):
            shape = f"[batch, {len(x.nodes)}{', ...' * (x.dims > 2)}], {x.dims} dimensions"
            raise unfollowed(node, f"with a weight {list(weight.shape)}, of a tensor {shape}")
        heads = self._new(outputs)
        tails, into = x.nodes.view(groups, -1), heads.view(groups, -1)
        self._links.append(Link(name, tails, into, transposed, bias=bias))
        return _Channels(heads, weight.ndim, own=True)

    def _norm(self, node: fx.Node, x: _Channels) -> _Channels:
        """Links each channel to one behind the batch norm."""
        heads = self._new(len(x.nodes))
        name, bias = (f"{node.target}.{part}" for part in PARTS[:2])
        self._links.append(Link(name, x.nodes.view(-1, 1), heads.view(-1, 1), norm=True, bias=bias))
        return replace(x, nodes=heads, own=True)

    def _join(self, node: fx.Node, operands: list[_Channels], identities: bool) -> _Channels:
        """An elementwise sum or product; layers that only it reads write into the same nodes."""
        if len({len(v.nodes) for v in operands}) > 1:
            raise unfollowed(node, f"of {' and '.join(str(len(v.nodes)) for v in operands)} channels")
        writing = [v for v in operands if v.own]
        nodes = writing[0].nodes if writing else self._new(len(operands[0].nodes))
        self._joined += [(v.nodes, nodes) for v in writing[1:]]
        for tails in [v.nodes for v in operands if identities and not v.own]:
            carries = ~torch.isin(tails, torch.cat(self._zeros))
            self._counted.append(nodes[~carries])
            self._links.append(Link(None, tails[carries].view(-1, 1), nodes[carries].view(-1, 1)))
        flat = any(v.flat for v in operands)
        return _Channels(nodes, max(v.dims for v in operands), own=True, flat=flat)

    def _cat(self, node: fx.Node, operands: list[_Channels]) -> _Channels:
        if self._axis(operands[0], argument(node, 1, "dim", 0)) != 1 or any(v.flat for v in operands):
            raise unfollowed(node, "along anything but channels")
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        if not isinstance(parts, Sequence) or len(parts) != len(operands):
            raise unfollowed(node, "with a constant")
        own = all(v.own for v in operands) and len(set(parts)) == len(parts)
        return _Channels(torch.cat([v.nodes for v in operands]), operands[0].dims, own)

    def _pad(self, node: fx.Node, x: _Channels, padding: Any) -> _Channels:
        """Padding in space keeps the channels; padding of channels (option A shortcuts) adds empty ones."""
        if not isinstance(padding, Sequence) or not all(isinstance(n, int) for n in padding):
            raise unfollowed(node, "by numbers that are computed")
        first = 2 * (x.dims - 2)  # the last dimension comes first
        before, after, *batch = list(padding[first:]) + [0] * max(0, first + 2 - len(padding))
        if any(batch) or min(before, after) < 0:
            raise unfollowed(node, f"by {list(padding)}")
        if not before and not after:
            return x
        empty = self._new(before), self._new(after)
        self._zeros += empty
        return _Channels(torch.cat([empty[0], x.nodes, empty[1]]), x.dims)

    def _reduce(self, node: fx.Node, x: _Channels) -> _Channels:
        given = argument(node, 1, "dim")
        axes = {self._axis(x, axis) for axis in (given if isinstance(given, Sequence) else [given])}
        if not axes or not all(1 < axis < x.dims for axis in axes):
            raise unfollowed(node, "over anything but space")
        return x if argument(node, 2, "keepdim", False) else replace(x, dims=x.dims - len(axes))

    def _flatten(self, node: fx.Node, x: _Channels, start: Any, end: Any) -> _Channels:
        first, last = self._axis(x, start), self._axis(x, end)
        if not 1 <= first <= last < x.dims or (first == 1 and last != x.dims - 1):
            raise unfollowed(node, f"from dimension {start} to {end}")
        return replace(x, dims=x.dims - (last - first), flat=x.flat or first == 1 < last)

    def _view(self, node: fx.Node, x: _Channels) -> _Channels:
        """Known: [batch, everything], and dimensions of one pixel behind [batch, channels]."""
        given = node.args[1:]
        sizes = list(given[0]) if len(given) == 1 and isinstance(given[0], Sequence) else list(given)
        if len(sizes) > 1 and isinstance(sizes[1], int) and sizes[1] != -1:
            self._counted.append(x.nodes)
        if len(sizes) == 2:
            return self._flatten(node, x, 1, -1)
        if x.dims == 2 and not x.flat and len(sizes) > 2 and all(size == 1 for size in sizes[2:]):
            return replace(x, dims=len(sizes))
        raise unfollowed(node, f"to {len(sizes)} dimensions")

    def _squeeze(self, node: fx.Node, x: _Channels) -> _Channels:
        given = argument(node, 1, "dim")
        if operation(node) == "squeeze" and given is None:
            return replace(x, dims=2)
        added = 1 if operation(node) == "unsqueeze" else -1
        axis = self._axis(replace(x, dims=x.dims + max(added, 0)), given)
        if not 1 < axis < x.dims + max(added, 0):
            raise unfollowed(node, f"of dimension {given}")
        return replace(x, dims=x.dims + added)

    def _cut(self, node: fx.Node, x: _Channels) -> _Channels:
        """Slices in space keep the channels; a slice of the channels is some of them."""
        index = argument(node, 1, "index")
        parts = list(index) if isinstance(index, Sequence) else [index]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (x.dims - len(parts) + 1)
        batch, channels, *space = parts + [slice(None)] * (2 - len(parts))
        plain = isinstance(batch, slice) and all(isinstance(s, slice | int) for s in space)
        if not plain or not _is_plain(channels) or (x.flat and channels != slice(None)):
            raise unfollowed(node, f"[{', '.join(map(str, parts))}]")
        if channels != slice(None):
            self._counted.append(x.nodes)
        return replace(x, nodes=x.nodes[channels], dims=x.dims - sum(isinstance(s, int) for s in space))

    def _axis(self, x: _Channels, axis: Any) -> int:
        """A dimension counted from the front; -1 where it is not a number."""
        if not isinstance(axis, int):
            return -1
        return axis + x.dims if axis < 0 else axis


def _is_plain(cut: object) -> bool:
    """Whether this is a slice by numbers that are no results of the network."""
    return isinstance(cut, slice) and all(isinstance(n, int | None) for n in (cut.start, cut.stop, cut.step))
