"""Python values as JSON and tensors, without pickle: what schedulers, scalers and random states consist of.

A value from a file is checked while it is read; only the types below can come out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input

LONGEST = 1000  # numbers in a list: a state of the random numbers has some 600, an order of samples far more
_WORDS = ("int32", "int64", "uint32", "uint64")
_NOT_FINITE = {"inf": float("inf"), "-inf": float("-inf")}


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; its tensors are put into `tensors`, by path.

    Raises:
        InputError: it holds something else, NaN, or a list that is too long.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float):
        return _number(float(value), path)
    if isinstance(value, Tensor):
        _check_length(value.numel() if value.dtype in (torch.int32, torch.int64) else 0, path)
        _check_free(path, tensors)
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, np.ndarray) and value.dtype.name in _WORDS and value.ndim == 1:
        _check_length(len(value), path)
        _check_free(path, tensors)
        tensors[path] = torch.from_numpy(value.view(f"i{value.itemsize}").copy())
        return {"array": [path, value.dtype.name]}
    if type(value) in (list, tuple):
        _check_length(len(value), path)
        return {type(value).__name__: [encode(one, _at(path, n), tensors) for n, one in enumerate(value)]}
    if type(value) in (dict, OrderedDict, Counter):
        _check_length(sum(type(key) is int for key in value), path)
        kind = "counter" if type(value) is Counter else "dict"
        return {kind: [[_key(k, path), encode(one, _at(path, k), tensors)] for k, one in value.items()]}
    raise bad_input(path, "value", "numbers, texts, tensors, lists or dicts", f"a {type(value).__name__}")


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `encode` was given; InputError where it is nothing that `encode` writes."""
    try:
        return _decoded(value, tensors)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise bad_input("", "facts", "values of known kinds", f"others ({type(error).__name__})") from None


def _decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    (kind, content), *more = value.items()
    if more:
        raise ValueError(kind)
    if kind == "float":
        return _NOT_FINITE[content]
    if kind == "tensor":
        return tensors[content].clone()
    if kind == "array":
        path, name = content
        if name not in _WORDS:
            raise ValueError(name)
        return tensors[path].clone().numpy().view(name)
    if kind in ("list", "tuple"):
        parts = [_decoded(one, tensors) for one in content]
        return parts if kind == "list" else tuple(parts)
    pairs = {_key(k, kind): _decoded(one, tensors) for k, one in content}
    return {"dict": dict, "counter": Counter}[kind](pairs)


def leaves(value: Any, tensors: Mapping[str, Tensor], path: str) -> Iterator[tuple[str, str]]:
    """Each number, text and tensor of an encoded value by its path, as text that tells all its bits."""
    if not isinstance(value, dict):
        yield path, repr(value)
        return
    ((kind, content),) = value.items()
    if kind == "float":
        yield path, content
    elif kind in ("tensor", "array"):
        place = content if kind == "tensor" else content[0]
        yield path, f"{kind} {tensor_digest({'': tensors[place]})}"
    elif kind in ("list", "tuple"):
        yield f"{path}: length", f"{kind} of {len(content)}"
        for number, one in enumerate(content):
            yield from leaves(one, tensors, _at(path, number))
    else:
        yield f"{path}: keys", repr([key for key, _ in content])
        for key, one in content:
            yield from leaves(one, tensors, _at(path, key))


def _at(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)


def _number(value: float, path: str) -> Any:
    if value != value:
        raise bad_input(path, "value", "a number", "nan")
    return {"float": str(value)} if str(value) in _NOT_FINITE else value


def _key(key: Any, path: str) -> int | str:
    if type(key) not in (int, str):
        raise bad_input(path, "key", "a text or a whole number", f"a {type(key).__name__}")
    return key  # type: ignore[no-any-return]


def _check_length(length: int, path: str) -> None:
    if length > LONGEST:
        hint = (
            "an order of samples must follow from a seed or a random state, else an auditor has to trust it"
        )
        raise bad_input(path, "length", f"at most {LONGEST} numbers", str(length), hint=hint)


def _check_free(path: str, tensors: Mapping[str, Tensor]) -> None:
    if path in tensors:
        raise bad_input(path, "name", "one of its own", "that of another value")
