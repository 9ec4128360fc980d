"""Convolutions by the kept weights alone, as PyTorch operators: forward, and backward as often as wanted.

    y = sparse_conv2d(x, values, Plan.of(kept, padding=1))

On a CPU with a C compiler `kernels.c` does them; elsewhere PyTorch's dense convolutions do, with the same
results within rounding. Three operators, each other's derivatives: the result, the gradient of the input
and the gradient of the kept values. Nothing is multiplied by a pruned weight: an infinity or a NaN there
does not spread, where a dense convolution with a zero would make it a NaN.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.utils.weak import WeakTensorKeyDictionary

from ticket_sig.errors import InputError, bad_input
from ticket_sig.models.sparse.plan import Plan, result_size
from ticket_sig.native import call, library

SOURCE = Path(__file__).with_name("kernels.c")
_call = partial(call, SOURCE)
# The geometry of lists that were seen to be its own.
_checked: MutableMapping[Tensor, tuple[int, ...]] = WeakTensorKeyDictionary()
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}


def sparse_conv2d(x: Tensor, values: Tensor, plan: Plan, bias: Tensor | None = None) -> Tensor:
    """A convolution by the kept weights; under autocast in its type, as PyTorch's are.

    Args:
        x: [batch, channels, height, width] of any strides; float32, bfloat16 (with sums in float32), float64.
        values: [kept], the weights at `plan.positions`.
        bias: [out channels].

    Returns:
        [batch, out channels, height, width] of x's type, with the batch innermost in memory.

    Raises:
        InputError: x or the values do not fit the plan.
    """
    if torch.is_autocast_enabled(x.device.type) and x.dtype == torch.float32:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    bias = None if bias is None else bias.to(_exact(x))
    return _conv2d(x, values.to(_exact(x)), bias, plan.lists, plan.geometry)  # type: ignore[no-any-return]


@torch.library.custom_op("ticket_sig::sparse_conv2d", mutates_args=())
def _conv2d(x: Tensor, values: Tensor, bias: Tensor | None, lists: Tensor, geometry: Sequence[int]) -> Tensor:
    y = _conv2d_fake(x, values, bias, lists, geometry)
    if _native(x):
        _gather(False, x, x.shape, values, bias, lists, geometry, y)
    else:
        weight = _dense(values, lists, geometry).to(x.dtype)
        y.copy_(F.conv2d(x, weight, None if bias is None else bias.to(x.dtype), *_arguments(geometry)))
    return y


def _conv2d_fake(
    x: Tensor, values: Tensor, bias: Tensor | None, lists: Tensor, geometry: Sequence[int]
) -> Tensor:
    made = _made(x.shape, geometry)
    if x.layout != torch.strided or not x.is_floating_point():
        found = f"{x.dtype}, {x.layout}"
        raise bad_input("", "input of a sparse layer", "floating-point numbers in a plain tensor", found)
    _check("values", values, (_kept(lists, geometry),), _exact(x), x.device)
    if bias is not None:
        _check("bias", bias, (geometry[0],), _exact(x), x.device)
    return _batch_innermost(x, *made[1:])


@torch.library.custom_op("ticket_sig::sparse_conv2d_input", mutates_args=())
def _input(
    gradient: Tensor, values: Tensor, lists: Tensor, geometry: Sequence[int], height: int, width: int
) -> Tensor:
    """The gradient of the input."""
    dx = _input_fake(gradient, values, lists, geometry, height, width)
    if _native(gradient):
        _gather(True, gradient, dx.shape, values, None, lists, geometry, dx)
    else:
        weight = _dense(values, lists, geometry).to(gradient.dtype)
        dx.copy_(conv2d_input(dx.shape, weight, gradient, *_arguments(geometry)))  # type: ignore[no-untyped-call]
    return dx


def _input_fake(
    gradient: Tensor, values: Tensor, lists: Tensor, geometry: Sequence[int], height: int, width: int
) -> Tensor:
    channels = geometry[1] * geometry[10]
    made = _made((gradient.shape[0], channels, height, width), geometry)
    _check("gradient", gradient, made, gradient.dtype, gradient.device)
    _check("values", values, (_kept(lists, geometry),), _exact(gradient), gradient.device)
    return _batch_innermost(gradient, channels, height, width)


@torch.library.custom_op("ticket_sig::sparse_conv2d_values", mutates_args=())
def _values(gradient: Tensor, x: Tensor, lists: Tensor, geometry: Sequence[int]) -> Tensor:
    """The gradient of the kept values."""
    out = _values_fake(gradient, x, lists, geometry)
    if _native(x):
        kind, gradient = ctypes.c_int(_TYPES[x.dtype]), gradient.to(x.dtype)
        given = *_numbers(x.shape, geometry), _lists(lists, geometry, False)
        _call("sparse_values", kind, _strided(x), _strided(gradient), *given, out)
    else:
        shape = tuple(geometry[:4])
        arguments = x, shape, gradient.to(x.dtype), *_arguments(geometry)
        weight = conv2d_weight(*arguments)  # type: ignore[no-untyped-call]
        out.copy_(weight.flatten()[_positions(lists, geometry)])
    return out


def _values_fake(gradient: Tensor, x: Tensor, lists: Tensor, geometry: Sequence[int]) -> Tensor:
    _check("gradient", gradient, _made(x.shape, geometry), gradient.dtype, x.device)
    return x.new_empty(_kept(lists, geometry), dtype=_exact(x))


def _keep_conv2d(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, _, ctx.lists, ctx.geometry = inputs
    ctx.size = x.shape[2:]
    needed = ctx.needs_input_grad
    ctx.save_for_backward(x if needed[1] else None, values if needed[0] else None)


def _conv2d_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (x, values), given, needed = ctx.saved_tensors, (ctx.lists, ctx.geometry), ctx.needs_input_grad
    dx = _input(gradient, values, *given, *ctx.size) if needed[0] else None
    dvalues = _values(gradient, x, *given) if needed[1] else None
    dbias = gradient.sum((0, 2, 3), dtype=_exact(gradient)) if needed[2] else None
    return dx, dvalues, dbias, None, None


def _keep_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    gradient, values, ctx.lists, ctx.geometry, *_ = inputs
    needed = ctx.needs_input_grad
    ctx.save_for_backward(gradient if needed[1] else None, values if needed[0] else None)


def _input_backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    (gradient, values), given, needed = ctx.saved_tensors, (ctx.lists, ctx.geometry), ctx.needs_input_grad
    dgradient = _conv2d(slope, values, None, *given) if needed[0] else None
    dvalues = _values(gradient, slope, *given) if needed[1] else None
    return dgradient, dvalues, None, None, None, None


def _keep_values(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    gradient, x, ctx.lists, ctx.geometry = inputs
    ctx.size = x.shape[2:]
    needed = ctx.needs_input_grad
    ctx.save_for_backward(gradient if needed[1] else None, x if needed[0] else None)


def _values_backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    (gradient, x), given, needed = ctx.saved_tensors, (ctx.lists, ctx.geometry), ctx.needs_input_grad
    dgradient = _conv2d(x, slope, None, *given) if needed[0] else None
    dx = _input(gradient, slope, *given, *ctx.size) if needed[1] else None
    return dgradient, dx, None, None


_conv2d.register_fake(_conv2d_fake)
_input.register_fake(_input_fake)
_values.register_fake(_values_fake)
_conv2d.register_autograd(_conv2d_backward, setup_context=_keep_conv2d)
_input.register_autograd(_input_backward, setup_context=_keep_input)
_values.register_autograd(_values_backward, setup_context=_keep_values)


def _exact(x: Tensor) -> torch.dtype:
    """What sums and values are in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _made(shape: Sequence[int], geometry: Sequence[int]) -> tuple[int, ...]:
    """The shape of the result for an input of a shape.

    Raises:
        InputError: the input does not fit.
    """
    channels = geometry[1] * geometry[10]
    if len(shape) != 4 or shape[1] != channels:
        expected = f"[batch, {channels}, height, width]"
        raise bad_input("", "input of a sparse layer", expected, str(list(shape)))
    size = result_size(geometry, shape[2], shape[3])
    if min(*size, *shape[2:]) < 1:
        found = f"{shape[2]} x {shape[3]}"
        raise bad_input("", "input of a sparse layer", "an image that is no smaller than the kernel", found)
    return shape[0], geometry[0], *size


def _check(field: str, found: Tensor, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
    if tuple(found.shape) != tuple(shape) or found.dtype != dtype or found.device != device:
        expected = f"{dtype} of shape {list(shape)} on {device}"
        told = f"{found.dtype} of shape {list(found.shape)} on {found.device}"
        raise bad_input("", f"{field} of a sparse layer", expected, told)


def _batch_innermost(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    # No view of another tensor: autograd lets nobody change those in place, as `ReLU(inplace=True)` does.
    batch = like.shape[0]
    size, strides = (batch, channels, height, width), (1, height * width * batch, width * batch, batch)
    return like.new_empty_strided(size, strides)


def _native(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in _TYPES and library(SOURCE) is not None


def _arguments(geometry: Sequence[int]) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups, as PyTorch's convolutions take them."""
    return (*(list(geometry[i : i + 2]) for i in (4, 6, 8)), geometry[10])


def _sections(lists: Tensor, geometry: Sequence[int]) -> list[int]:
    """Where in `Plan.lists` each of its seven parts begins, and the end."""
    outs, results = geometry[0], geometry[4] * geometry[5] * geometry[1] * geometry[10]
    kept = (lists.shape[0] - outs - results - 2) // 5
    return list(itertools.accumulate((outs + 1, kept, kept, results + 1, kept, kept, kept), initial=0))


def _kept(lists: Tensor, geometry: Sequence[int]) -> int:
    """How many weights are kept.

    Raises:
        InputError: the lists are of no plan; the kernels would read beyond them.
    """
    sections = _sections(lists, geometry)
    kept = sections[2] - sections[1]
    plain = lists.dtype == torch.int32 and lists.is_contiguous() and lists.device.type == "cpu"
    if not plain or kept < 0 or sections[-1] != len(lists):
        raise _of_no_plan(f"{lists.dtype} of shape {list(lists.shape)} on {lists.device}")
    return kept


def _of_no_plan(found: str) -> InputError:
    return bad_input("", "lists of a sparse layer", "those of a plan", found)


def _check_lists(lists: Tensor, geometry: Sequence[int]) -> None:
    """Checks what the lists say; once, for nobody changes those of a plan.

    Raises:
        InputError: a number in them is out of range; the kernels would read elsewhere.
    """
    if _checked.get(lists) == tuple(geometry):
        return
    kept, taps = _kept(lists, geometry), math.prod(geometry[2:4])
    ends = kept + 1, geometry[1] * geometry[10], taps, kept + 1, geometry[0], taps, kept
    parts = lists.tensor_split(_sections(lists, geometry)[1:-1])
    for part, end in zip(parts, ends, strict=True):
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < end:
            raise _of_no_plan(f"{int(part.min())} to {int(part.max())} where there are {end}")
    for start in (parts[0], parts[3]):
        if int(start[0]) or int(start[-1]) != kept or bool((start.diff() < 0).any()):
            raise _of_no_plan("parts that do not follow each other")
    _checked[lists] = tuple(geometry)


def _positions(lists: Tensor, geometry: Sequence[int]) -> Tensor:
    """`Plan.positions`."""
    start, channel, tap, *_ = lists.long().tensor_split(_sections(lists, geometry)[1:-1])
    out = torch.repeat_interleave(start.diff())
    first = out // (geometry[0] // geometry[10]) * geometry[1]  # channel of the group
    return (out * geometry[1] + channel - first) * math.prod(geometry[2:4]) + tap


def _dense(values: Tensor, lists: Tensor, geometry: Sequence[int]) -> Tensor:
    """The weight of a dense convolution."""
    weight = values.new_zeros(math.prod(geometry[:4]))
    return weight.index_copy_(0, _positions(lists, geometry).to(values.device), values).view(*geometry[:4])


def _gather(
    backward: bool,
    x: Tensor,
    shape: Sequence[int],
    values: Tensor,
    bias: Tensor | None,
    lists: Tensor,
    geometry: Sequence[int],
    out: Tensor,
) -> None:
    """Forward, or backward to the input. `shape`: the input's."""
    values = values.contiguous()
    bias = None if bias is None else bias.contiguous()
    kind = ctypes.c_int(_TYPES[x.dtype]), ctypes.c_int(backward)
    parts = _lists(lists, geometry, backward)
    _call("sparse_gather", *kind, _strided(x), *_numbers(shape, geometry), parts, values, bias, out)


def _strided(x: Tensor) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 5)(x.data_ptr(), *x.stride())


def _numbers(shape: Sequence[int], geometry: Sequence[int]) -> tuple[ctypes.Array[ctypes.c_int64], ...]:
    return (ctypes.c_int64 * 3)(shape[0], *shape[2:]), (ctypes.c_int64 * 11)(*geometry)


def _lists(lists: Tensor, geometry: Sequence[int], backward: bool) -> ctypes.Array[ctypes.c_int64]:
    """The addresses of start, channel, tap and source; forward the last is null."""
    _check_lists(lists, geometry)
    sections = [lists.data_ptr() + 4 * i for i in _sections(lists, geometry)]
    return (ctypes.c_int64 * 4)(*(sections[3:7] if backward else (*sections[:3], 0)))
