"""A network turned as a whole: it computes on turned images what it computed on the images as they were.

Two turns make all eight symmetries of the square: images transposed, and images mirrored left to right.
Every kernel is turned, and what in the network prefers a side of the image: a stride on an even number of
pixels, a slice of every second pixel, padding of one side, a layer that reads flattened images.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ticket_sig.attacks.free.network import DoesNotApply, Images, Network, Strength
from ticket_sig.models.graph import PARTS
from ticket_sig.models.operations import argument, keeps_channels, operation
from ticket_sig.models.resized import resized

# What treats all pixels alike; names as in `models.operations`.
_POINTWISE_NAMES = """
    relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh hardsigmoid hardswish hardtanh softplus
    softsign logsigmoid dropout clone contiguous detach to float half bfloat16 double type_as clamp clamp_min
    clamp_max abs neg exp log sqrt square pow add iadd sub isub mul imul truediv div maximum minimum
"""
_POINTWISE = frozenset(_POINTWISE_NAMES.split())
_POOLS = frozenset({"max_pool2d", "avg_pool2d"})
_WHOLE = frozenset({"mean", "sum", "amax", "amin"})
_ADAPTIVE = frozenset({"adaptive_avg_pool2d", "adaptive_max_pool2d"})

Shape = tuple[int, ...]


def transposing(network: Network, strength: Strength) -> Network:
    """The network for transposed images; DoesNotApply where something in it cannot be turned."""
    return _Turner(network, strength, mirrors=False).turned(lambda images: images.transpose(2, 3))


def mirroring(network: Network, strength: Strength) -> Network:
    """The network for images mirrored left to right; DoesNotApply where something in it cannot be turned."""
    return _Turner(network, strength, mirrors=True).turned(lambda images: images.flip(3))


class _Turner:
    """Goes through the operations of a network once, and turns each."""

    def __init__(self, network: Network, strength: Strength, mirrors: bool) -> None:
        self._network, self._mirrors = network, mirrors
        self._module = copy.deepcopy(network.module)
        self._modules: Mapping[str, Any] = dict(self._module.named_modules())
        self._shapes = _shapes(self._module, strength.sizes)
        self._state = self._module.state_dict()
        self._grids = dict[fx.Node, tuple[int, int]]()  # of flattened images
        self._done = set[str]()
        self._code = network.own_code

    def turned(self, turn: Images) -> Network:
        """The network for images that are turned so."""
        for node in list(self._module.graph.nodes):
            if node.op in ("call_module", "call_function", "call_method") and node in self._shapes:
                self._turn(node)
        self._module.recompile()
        before = self._network.images
        module = resized(self._module, self._state)
        new = self._network.with_module(module)
        return replace(new, images=lambda images: turn(before(images)), own_code=self._code)

    def _turn(self, node: fx.Node) -> None:
        inputs = [given for given in node.all_input_nodes if given in self._shapes]
        if not inputs:
            return
        grids = {self._grids[given] for given in inputs if given in self._grids}
        if grids:
            self._flat(node, inputs, grids)
        elif any(self._is_image(given) for given in inputs):
            if any(given.op == "get_attr" and self._is_image(given) for given in inputs):
                raise self._not(node, "of a parameter with a value for each pixel")
            (self._layer if node.op == "call_module" else self._function)(node, inputs[0])

    def _is_image(self, node: fx.Node) -> bool:
        shape = self._shapes[node]
        return len(shape) > 2 and math.prod(shape[2:]) > 1

    def _not(self, node: fx.Node, why: str = "") -> DoesNotApply:
        called = f"module {node.target}" if node.op == "call_module" else operation(node)
        return DoesNotApply(f"{called} {why or 'is not one that can be turned'}".strip())

    # modules

    def _layer(self, node: fx.Node, x: fx.Node) -> None:
        module, target = self._modules[str(node.target)], str(node.target)
        if target in self._done:
            raise self._not(node, "is called twice")
        self._done.add(target)
        kind = type(module).__name__
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            self._convolution(node, module, x)
        elif kind in ("MaxPool2d", "AvgPool2d"):
            stride = module.kernel_size if module.stride is None else module.stride
            self._pool(node, x, module.kernel_size, stride, module.padding, getattr(module, "dilation", 1))
        elif kind in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"):
            self._square(node)
        elif isinstance(module, nn.Flatten):
            self._flattened(node, x)
        elif type(module).__module__ == "torch.nn.modules.padding":
            module.padding = self._padding(node, module.padding)
        elif not (
            isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d) or _is_pointwise(module)
        ):
            raise self._not(node)

    def _convolution(self, node: fx.Node, module: Any, x: fx.Node) -> None:
        name = f"{node.target}.weight"
        weight = self._state[name]
        if not self._mirrors:
            self._state[name] = weight.transpose(2, 3).contiguous()
            for each in ("kernel_size", "stride", "padding", "dilation", "output_padding"):
                if isinstance(value := getattr(module, each, None), tuple):
                    setattr(module, each, value[::-1])
            if isinstance(
                repeated := getattr(module, "_reversed_padding_repeated_twice", None), list | tuple
            ):
                module._reversed_padding_repeated_twice = [*repeated[2:], *repeated[:2]]
            return
        self._state[name] = weight = weight.flip(3)
        if isinstance(module, nn.ConvTranspose2d):
            if module.output_padding[1]:
                raise self._not(node, "pads one side of its output")
            return
        taps, step = (module.kernel_size[1] - 1) * module.dilation[1], module.stride[1]
        if module.padding == "same":
            if taps % 2:
                raise self._not(node, "pads one side more than the other")
            return
        padding = 0 if module.padding == "valid" else module.padding[1]
        left, uneven = divmod((self._shapes[x][3] + 2 * padding - taps - 1) % step, module.dilation[1])
        if uneven or (left and module.padding_mode != "zeros"):
            raise self._not(node, "leaves pixels at one side unread")
        # What it leaves unread at the right, it must now leave at the left: zeros before the kernel move it.
        self._state[name] = F.pad(weight, (2 * left, 0))

    def _pool(self, node: fx.Node, x: fx.Node, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
        pairs = [
            value if isinstance(value, Sequence) else (value, value)
            for value in (kernel, stride, padding, dilation)
        ]
        if any(len(set(pair)) > 1 for pair in pairs):
            raise self._not(node, "is not square")
        (taps, step, pad, wide) = (pair[0] for pair in pairs)
        if self._mirrors and (self._shapes[x][3] + 2 * pad - wide * (taps - 1) - 1) % step:
            raise self._not(node, "leaves pixels at one side unread")

    def _square(self, node: fx.Node) -> None:
        if not self._mirrors and self._shapes[node][2] != self._shapes[node][3]:
            raise self._not(node, "is not square")

    def _padding(self, node: fx.Node, padding: Any) -> Any:
        """Padding of (left, right, top, bottom, ...), or one number for all."""
        if not isinstance(padding, Sequence):
            return padding
        left, right, *more = padding
        above = [*more, 0, 0][:2]
        new = [right, left, *more] if self._mirrors else [*above, left, right, *more[2:]]
        if new != list(padding):
            self._code = False
        return tuple(new)

    # functions

    def _function(self, node: fx.Node, x: fx.Node) -> None:
        name = operation(node)
        if name in _POINTWISE or name == "batch_norm":
            return
        if name in ("cat", "concat", "concatenate") and argument(node, 1, "dim", 0) in (1, -3):
            return
        if name in _WHOLE:
            given = argument(node, 1, "dim")
            axes = {axis % 4 for axis in (given if isinstance(given, Sequence) else [given] if given else [])}
            if axes and len(axes & {2, 3}) == 1:
                raise self._not(node, "over rows or columns alone")
        elif name in _POOLS:
            kernel = argument(node, 1, "kernel_size")
            stride = argument(node, 2, "stride")
            dilation = argument(node, 4, "dilation", 1) if name == "max_pool2d" else 1
            self._pool(node, x, kernel, stride or kernel, argument(node, 3, "padding", 0), dilation)
        elif name in _ADAPTIVE:
            self._square(node)
        elif name == "pad":
            self._pad(node)
        elif name == "getitem":
            self._slice(node, x)
        elif name in ("flatten", "view", "reshape") and len(self._shapes[node]) == 2:
            self._flattened(node, x)
        else:
            raise self._not(node)

    def _pad(self, node: fx.Node) -> None:
        padding = argument(node, 1, "pad")
        if not all(isinstance(n, int) for n in padding):
            raise self._not(node, "by numbers that are computed")
        new = self._padding(node, tuple(padding))
        node.args, node.kwargs = (
            (node.args[0], new, *node.args[2:]),
            {k: v for k, v in node.kwargs.items() if k != "pad"},
        )

    def _slice(self, node: fx.Node, x: fx.Node) -> None:
        index = argument(node, 1, "index")
        parts = list(index) if isinstance(index, Sequence) else [index]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (5 - len(parts))
        parts += [slice(None)] * (4 - len(parts))
        rows, columns = parts[2:]
        if not all(
            isinstance(n, int | None)
            for s in (rows, columns)
            if isinstance(s, slice)
            for n in (s.start, s.stop, s.step)
        ):
            raise self._not(node, "by numbers that are computed")
        if not all(isinstance(s, slice) for s in (rows, columns)):
            raise self._not(node, "takes one row or column")
        new = [rows, _mirrored(columns, self._shapes[x][3])] if self._mirrors else [columns, rows]
        if new == [rows, columns]:
            return
        self._code = False
        node.args, node.kwargs = (node.args[0], (*parts[:2], *new)), {}

    # flattened images

    def _flattened(self, node: fx.Node, x: fx.Node) -> None:
        rows, columns = self._shapes[x][2:]
        if len(self._shapes[node]) != 2:
            raise self._not(node)
        self._grids[node] = rows, columns

    def _flat(self, node: fx.Node, inputs: Sequence[fx.Node], grids: set[tuple[int, int]]) -> None:
        """What reads flattened images has its weights for each pixel moved."""
        if len(grids) > 1 or any(given not in self._grids for given in inputs):
            raise self._not(node, "of images beside something else")
        [grid] = grids
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            if str(node.target) in self._done:
                raise self._not(node, "is called twice")
            self._done.add(str(node.target))
            parts = PARTS[:1] if isinstance(module, nn.Linear) else PARTS
            for name in [f"{node.target}.{part}" for part in parts]:
                if name in self._state:
                    self._state[name] = self._moved(self._state[name], grid)
        elif not (_is_pointwise(module) if module is not None else operation(node) in _POINTWISE):
            raise self._not(node, "of flattened images")
        if not isinstance(module, nn.Linear):
            self._grids[node] = grid

    def _moved(self, values: Tensor, grid: tuple[int, int]) -> Tensor:
        """Values [..., channels x pixels], each pixel's at its new place."""
        images = values.reshape(*values.shape[:-1], -1, *grid)
        return (images.flip(-1) if self._mirrors else images.transpose(-1, -2)).reshape(values.shape)


def _is_pointwise(module: nn.Module) -> bool:
    homes = ("activation", "dropout")
    return isinstance(module, nn.Identity) or (
        keeps_channels(module)
        and type(module).__module__.rpartition(".")[2] in homes
        and not isinstance(module, nn.Softmax | nn.Softmax2d | nn.LogSoftmax | nn.Softmin)
    )


def _mirrored(cut: slice, width: int) -> slice:
    """The slice that takes the same pixels of a mirrored row."""
    taken = range(width)[cut]
    if not taken or (cut.step or 1) < 1:
        return cut
    start = width - 1 - taken[-1]
    new = range(width)[start :: taken.step]
    if len(new) == len(taken):
        return cut if list(new) == list(taken) else slice(start or None, None, cut.step)
    return slice(start or None, width - taken[0], cut.step)


class _Sizes(fx.Interpreter):
    """Runs a network and keeps the shapes of its tensors."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes = dict[fx.Node, Shape]()

    def run_node(self, n: fx.Node) -> Any:
        """The node's value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        return value


def _shapes(module: fx.GraphModule, sizes: Sequence[int]) -> dict[fx.Node, Shape]:
    """The shapes of all tensors, for an image of the first of these heights that the network can take.

    Raises:
        DoesNotApply: it can take none of them.
    """
    modules = dict(module.named_modules())
    calls = [modules[str(node.target)] for node in module.graph.nodes if node.op == "call_module"]
    channels = next(([m.in_channels] for m in calls if isinstance(m, nn.Conv2d)), [3, 1])
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    for size, count in itertools.product(sizes, channels):
        sized = _Sizes(module)
        try:
            with torch.no_grad():
                sized.run(torch.zeros(1, count, size, size, dtype=dtype))
        except Exception:  # the network's own code may raise anything on images of another size
            continue
        return sized.shapes
    raise DoesNotApply(f"no network for square images of {' or '.join(map(str, sizes))} pixels")
