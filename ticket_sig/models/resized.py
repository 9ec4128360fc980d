"""A network with tensors of other widths or kernel sizes: its modules are set to fit them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ticket_sig.errors import InputError, refuse
from ticket_sig.formats.layouts import is_constant
from ticket_sig.mask import described
from ticket_sig.models.operations import CONVOLUTIONS, LAYERS, TRANSPOSED

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def resized(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy whose parameters and buffers are these tensors, also where widths or kernel sizes differ.

    A kernel that is larger by an even number of taps gets as much more padding, so that outputs keep their
    height and width; a smaller one as much less. A depthwise convolution stays one; other groups stay as many
    as they are. Every tensor keeps its dtype. What the network's own code says of widths stays as it is.

    Args:
        weights: all tensors of `model.state_dict()`, by its names; constants beside them are passed over.

    Raises:
        InputError: a tensor is missing, is too many, or cannot fit its module; the first are listed.
    """
    twin = copy.deepcopy(model)
    own = twin.state_dict()
    taken = {name: t for name, t in weights.items() if name in own or not is_constant(name)}
    problems = [f"{name}: expected, not found" for name in own if name not in taken]
    problems += [f"{name}: found, not expected" for name in taken if name not in own]
    dims = [name for name in own if name in taken and taken[name].ndim != own[name].ndim]
    problems += [f"{n}: expected {own[n].ndim} dimensions, found {described(taken[n])}" for n in dims]
    refuse("weights do not fit the network", sorted(problems))
    refuse("weights do not fit the network", sorted(_set(twin, taken)))
    return twin


def _set(twin: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Gives every module its tensors and makes it fit them; returns what does not fit."""
    problems: list[str] = []
    parameters: dict[int, nn.Parameter] = {}  # one that two modules share stays one
    for path, module in list(twin.named_modules(remove_duplicate=False)):
        at = f"{path}." if path else ""
        own = {**module._parameters, **module._buffers}
        held = {name: t for name, t in own.items() if t is not None and f"{at}{name}" in weights}
        new = {name: weights[f"{at}{name}"] for name in held}
        changed = [name for name, t in held.items() if t.shape != new[name].shape]
        try:
            if changed:
                _fit(module, new)
        except InputError as error:
            problems += [f"{at}{changed[0]}: {error}"]
            continue
        for name, old in held.items():
            if isinstance(old, nn.Parameter):
                fresh = nn.Parameter(new[name].detach().clone(), requires_grad=old.requires_grad)
                module._parameters[name] = parameters.setdefault(id(old), fresh)
            else:
                module._buffers[name] = new[name].detach().clone()
    return problems


def _fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Sets widths and kernel size of a module whose tensors have other shapes."""
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        _fit_convolution(module, tensors["weight"])
        width = module.out_channels
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = tensors["weight"].shape
        width = module.out_features
    elif isinstance(module, _NORMS):
        width = module.num_features = _length(tensors)
    elif isinstance(module, nn.PReLU):
        width = module.num_parameters = _length(tensors)
    elif isinstance(module, nn.GroupNorm):
        width = module.num_channels = _length(tensors)
        if width % module.num_groups:
            raise InputError(f"expected a multiple of {module.num_groups} groups, found {width} channels")
    elif type(module).__module__.startswith("torch.nn."):
        kind, shapes = type(module).__name__, ", ".join(map(described, tensors.values()))
        raise InputError(f"expected the {kind} as it is, found {shapes}")
    else:
        return  # a parameter of a user's own module
    for name, tensor in tensors.items():
        least = 2 if isinstance(module, LAYERS) and name == "weight" else 1
        if tensor.ndim == least == 1 and len(tensor) != width:
            raise InputError(f"expected {width} channels, found {described(tensor)} as {name}")


def _length(tensors: Mapping[str, Tensor]) -> int:
    return next(len(t) for t in tensors.values() if t.ndim == 1)


def _fit_convolution(module: Any, weight: Tensor) -> None:
    """Channels, groups, kernel size and padding of a convolution for this weight.

    Raises:
        InputError: channels that its groups do not divide, or a kernel that cannot keep the output's size.
    """
    rows, columns = weight.shape[:2]
    read, written = ("out_channels", "in_channels") if module.transposed else ("in_channels", "out_channels")
    if module.groups > 1 and module.groups == module.in_channels and columns == 1:
        each = 1 if module.transposed else module.out_channels // module.groups
        groups, rest = divmod(rows, each)
    else:
        groups, rest = module.groups, rows % module.groups
    if rest:
        raise InputError(f"expected rows that {groups} groups divide, found {rows}")
    grown = [new - old for new, old in zip(weight.shape[2:], module.kernel_size, strict=True)]
    if module.padding != "same" and any(grown):
        known = [0] * len(grown) if module.padding == "valid" else module.padding
        steps = zip(known, grown, module.dilation, strict=True)
        padding = [before + step * dilation // 2 for before, step, dilation in steps]
        if any(step % 2 for step in grown) or min(padding) < 0:
            taps = "x".join(map(str, module.kernel_size))
            expected = f"{taps} taps, or an even number more that its padding allows"
            raise InputError(f"expected {expected}, found {'x'.join(map(str, weight.shape[2:]))}")
        module.padding = tuple(padding)
        if module.padding_mode != "zeros":
            module._reversed_padding_repeated_twice = [n for n in reversed(padding) for _ in range(2)]
    module.groups, module.kernel_size = groups, tuple(weight.shape[2:])
    setattr(module, read, columns * groups)
    setattr(module, written, rows)
