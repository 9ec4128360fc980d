"""What a network does to its channels, operation by operation, as symbolic tracing sees it."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any

from torch import fx, nn

from ticket_sig.errors import bad_input
from ticket_sig.models.norm_relu import NormReLU

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
LAYER_FUNCTIONS = frozenset({"conv1d", "conv2d", "conv3d", "linear"})

# Functions and methods by name, without the underscore of those that work in place.
# What a normalisation or a softmax over channels mixes is no kernel: each channel stays itself.
_KEEPING_NAMES = """
    relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish sigmoid tanh hardsigmoid hardswish
    hardtanh softplus softsign logsigmoid threshold softmax log_softmax batch_norm instance_norm layer_norm
    group_norm rms_norm local_response_norm normalize dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_alpha_dropout max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d interpolate clone contiguous detach to float half bfloat16 double type_as clamp
    clamp_min clamp_max abs neg exp log sqrt square pow
"""
KEEPING = frozenset(_KEEPING_NAMES.split())
ADDING = frozenset({"add", "iadd", "sub", "isub"})
GATING = frozenset({"mul", "imul", "truediv", "div", "maximum", "minimum"})
REDUCING = frozenset({"mean", "sum", "amax", "amin"})
_SHAPE_METHODS = frozenset({"size", "dim", "numel"})
_SHAPE_ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device"})
_HOMES = ("activation", "batchnorm", "dropout", "instancenorm", "normalization", "pooling", "upsampling")
_KEEPING_HOMES = {f"torch.nn.modules.{name}" for name in _HOMES}


class _Tracer(fx.Tracer):
    """Looks into a user's modules, and takes layers, normalisations and activations as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*LAYERS, NormReLU)) or keeps_channels(m)
        return known or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> tuple[nn.Module, list[fx.Node]]:
    """Returns what a network does when it evaluates, in order, and the module whose names it uses.

    The model itself is left alone: its structure and buffers are copied, its parameters shared. Arguments
    of `forward` with a default keep it.

    Raises:
        InputError: `torch.fx` cannot trace the network, because what it does depends on its input.
    """
    try:
        twin = copy.deepcopy(model, {id(p): p for p in model.parameters()}).eval()
        arguments = inspect.signature(twin.forward).parameters.items()
        defaults = {name: a.default for name, a in arguments if a.default is not inspect.Parameter.empty}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the defaults are not checked later on
            nodes = list(_Tracer().trace(twin, concrete_args=defaults or None).nodes)
    except Exception as error:  # it runs the user's own code on proxies: anything can come out of that
        found = f"{type(error).__name__}: {str(error)[:160]}"
        raise bad_input("network", "forward", "one that torch.fx can trace", found) from None
    # Only what the output depends on: not the auxiliary heads, not the checks of the fixed arguments.
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return twin, [node for node in nodes if node in needed]


def keeps_channels(module: nn.Module) -> bool:
    """Whether every channel of the output of PyTorch's own module is made of the same one of its input."""
    if isinstance(module, (nn.MultiheadAttention, nn.GLU)):
        return False
    homes = {base.__module__ for base in type(module).__mro__}
    return isinstance(module, nn.Identity) or not homes.isdisjoint(_KEEPING_HOMES)


def operation(node: fx.Node) -> str:
    """The name of a function or a method: `relu` for `F.relu`, `torch.relu_` and `x.relu()`."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name.rstrip("_")


def asks_for_shape(node: fx.Node) -> bool:
    """Whether a node looks at the shape of a tensor alone."""
    if node.op == "call_function" and operation(node) == "getattr":
        return node.args[1] in _SHAPE_ATTRIBUTES
    return node.op == "call_method" and operation(node) in _SHAPE_METHODS


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a function or method, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def unfollowed(node: fx.Node, why: str = "") -> Exception:
    """The error for an operation whose channels cannot be followed."""
    called = f"module {node.target}" if node.op == "call_module" else operation(node)
    expected = "an operation whose channels can be followed"
    return bad_input("network", f"node {node.name}", expected, f"{called} {why}")
