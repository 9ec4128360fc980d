"""Tensors as files hold them -> plain dense ones: sparse ones are filled up, 8-bit floats read as float32."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ticket_sig.errors import bad_input, refuse
from ticket_sig.mask import memory_of

MOST_DENSE = 2**30  # bytes: sparse tensors of a few bytes may stand for dense ones of any size
_MOST_VIEWED = 4  # times the bytes of a file: each view of the same bytes becomes weights of its own
_HALF = re.compile("[\ud800-\udfff]")
SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


@dataclass(frozen=True)
class Unread:
    """What stands for a tensor that cannot be read: what was found in its place."""

    found: str


def dense_tensors(state: Mapping[Any, Any], where: object) -> dict[str, Tensor]:
    """The tensors of a state dict by name, dense and in memory; those that share their memory still do.

    Other values are passed over.

    Raises:
        InputError: one cannot be read or its name not written, the sparse ones would take more than
            `MOST_DENSE` bytes, or too many are views of the same bytes.
    """
    stored = {str(name): t for name, t in state.items() if isinstance(t, (Tensor, Unread))}
    halves = (n for n in stored if _HALF.search(n))
    refuse(where, (f"{n!a}: expected a name in UTF-8, found half a surrogate" for n in halves))
    odd = {name: found for name, t in stored.items() if (found := odd_tensor(t))}
    refuse(where, (f"{n}: expected a dense tensor in memory, found {found}" for n, found in odd.items()))
    tensors = {name: t for name, t in stored.items() if isinstance(t, Tensor)}
    size = sum(math.prod(t.shape) * t.element_size() for t in tensors.values() if t.layout in SPARSE)
    if size > MOST_DENSE:
        expected = f"at most {MOST_DENSE / 2**30:g} GiB once they are dense"
        raise bad_input(where, "sparse tensors", expected, f"{size / 2**30:.1f} GiB")
    _check_views([t for t in tensors.values() if t.layout not in SPARSE], where)
    made: dict[object, Tensor] = {}
    for name, tensor in tensors.items():
        key = memory_of(tensor)
        if key not in made:
            made[key] = _dense(tensor.detach())
        tensors[name] = made[key]
    return tensors


def _check_views(tensors: Sequence[Tensor], where: object) -> None:
    """Checks that all views together are not much larger than what they are of."""
    views = {memory_of(t): t for t in tensors}.values()
    viewed = sum(t.numel() * read_as(t.dtype).itemsize for t in views)
    stored: dict[int, int] = {}
    for t in views:
        storage, grown = t.untyped_storage(), read_as(t.dtype).itemsize // t.element_size()
        stored[storage.data_ptr()] = max(stored.get(storage.data_ptr(), 0), storage.nbytes() * grown)
    if viewed > _MOST_VIEWED * sum(stored.values()):
        expected = f"views of at most {_MOST_VIEWED} times the bytes that they share"
        raise bad_input(where, "tensors", expected, f"{viewed} bytes of {sum(stored.values())}")


def read_as(dtype: torch.dtype) -> torch.dtype:
    """The type that tensors of a type are read as: torch computes with no float of 8 bits."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize == 1 else dtype


def odd_tensor(tensor: Tensor | Unread) -> str:
    """What keeps a tensor from being read; "" where nothing does."""
    if isinstance(tensor, Unread):
        return tensor.found
    if tensor.is_meta:
        return "one without values"
    if tensor.is_quantized:
        return "a quantized one"
    if str(tensor.dtype).startswith("torch.float4"):
        return "one of two numbers to a byte"
    if tensor.layout in SPARSE:
        return ""
    if tensor.layout != torch.strided or tensor.is_nested:
        return "a nested one" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    # A few bytes can be shown as a tensor of any size.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{tensor.numel()} elements over {tensor.untyped_storage().nbytes()} bytes"
    return ""


def _dense(tensor: Tensor) -> Tensor:
    dense = tensor.to_dense() if tensor.layout in SPARSE else tensor
    return dense.to(read_as(dense.dtype))
