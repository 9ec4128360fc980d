"""Labels from the outputs of a server's answer, in the forms in which servers give them.

An image whose answer names no class (NaN, null, no number) has no answer; the others of the same request
count. So neither a mistake nor a thief ends the questioning. Nobody gains: `trigger_set/reading.py` says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticket_sig.errors import InputError, bad_input
from ticket_sig.marks.trigger_set.triggers import MOST_CLASSES
from ticket_sig.verification.ask.model_input import FLOATS, sizes

Labels = list[int | None]

_LONGEST = 40  # characters of a number
_NUMBERS = ("BOOL", *FLOATS, *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
_TEXTS = ("BYTES", "STRING")
# "7", or Triton's "<value>:<index>[:<name>]" (its documentation, classification extension).
_SCORED = r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf(?:inity)?):([0-9]{1,18})(?::.*)?"
_TEXT = re.compile(rf"([0-9]{{1,18}})(?:\.0*)?|{_SCORED}", re.IGNORECASE | re.DOTALL)


class Contradiction(InputError):
    """Two outputs could be the answer, and they name different labels: somebody must choose one."""


def best(scores: NDArray[Any]) -> Labels:
    """The class of the largest score in each row of [n, classes]; the first one of several that are equal.

    None where a score is NaN, or where the largest is infinite and not the only one.
    """
    top = scores.max(axis=1)
    shared = (scores == top[:, None]).sum(axis=1) > 1
    unclear = np.isnan(top) | (np.isinf(top) & shared)
    return [None if none else int(n) for n, none in zip(scores.argmax(axis=1), unclear, strict=True)]


def labels_of(
    answer: Mapping[str, Any], where: str, count: int, classes: int, name: str | None = None
) -> Labels:
    """The labels of an answer for `count` images.

    An output holds scores [n, classes], or labels [n] as numbers or texts; of several texts for an image the
    first is the best one. Sizes of 1 beside the first do not matter. Where no output is of such a shape,
    scores [n, k] of another width are read: a class more must not save a thief.

    Args:
        name: of the output that counts; by default all that could be the answer must agree.

    Raises:
        Contradiction: two outputs could be the answer, and name different labels.
        InputError: no output can be read.
    """
    fitting: list[tuple[Mapping[str, Any], list[int]]] = []
    wide: list[tuple[Mapping[str, Any], list[int]]] = []
    outputs = _outputs(answer, where, name)
    for output in outputs:
        shape, numbers = _rows(output.get("shape"), count), output.get("datatype") not in _TEXTS
        if shape is None or len(shape) > 2:
            continue
        if len(shape) == 1 or not numbers or shape[1] == classes:
            fitting.append((output, shape))
        elif shape[1] <= MOST_CLASSES:
            wide.append((output, shape))
    problems = []
    for group in (fitting, wide):
        found: list[tuple[object, Labels]] = []
        for output, shape in group:
            try:
                found.append((output.get("name"), _read(output, where, shape)))
            except InputError as error:
                problems.append(error)
        if found:
            return _agreed(found, where)
    if problems:
        raise problems[0]
    expected = f"one of shape [{count}, {classes}], [{count}] or [{count}, 1]"
    told = " and ".join(str(output.get("shape")) for output in outputs)
    raise bad_input(where, "answer, outputs", expected, told[:200])


def _outputs(answer: Mapping[str, Any], where: str, name: str | None) -> list[Mapping[str, Any]]:
    outputs = answer.get("outputs")
    if not isinstance(outputs, list) or not outputs or not all(isinstance(o, dict) for o in outputs):
        told = answer.get("error")
        found = f"an error: {told}"[:200] if isinstance(told, str) else "none"
        raise bad_input(where, "answer, outputs", "a list of tensors", found)
    named = [output for output in outputs if name in (None, output.get("name"))]
    if not named:
        found = " and ".join(repr(output.get("name")) for output in outputs)
        raise bad_input(where, "answer, outputs", f"one named {name!r}", found[:200])
    return named


def _rows(shape: object, count: int) -> list[int] | None:
    """A shape [n, ...] without the sizes of 1 that follow; None where it is not one of n images."""
    found = sizes(shape)
    if found is not None and count == 1 and found[:1] != [1]:
        found = [1, *found]  # without a batch dimension
    if not found or found[0] != count:
        return None
    rows = [count, *(n for n in found[1:] if n != 1)]
    return rows if min(rows) > 0 else None


def _agreed(found: Sequence[tuple[object, Labels]], where: str) -> Labels:
    """The labels that all outputs name; one that says nothing about an image leaves it to the others."""
    (first, labels), *others = found
    for name, more in others:
        if any(a != b for a, b in zip(labels, more, strict=True) if None not in (a, b)):
            expected = f"outputs {first} and {name} to agree"
            hint = "say which one counts: --output NAME"
            raise Contradiction(str(bad_input(where, "answer", expected, "other labels", hint=hint)))
        labels = [b if a is None else a for a, b in zip(labels, more, strict=True)]
    return labels


def _read(output: Mapping[str, Any], where: str, shape: list[int]) -> Labels:
    if output.get("datatype") in _TEXTS:
        return _of_texts(output, where, shape)
    if output.get("datatype") not in _NUMBERS:
        raise bad_input(where, "answer, datatype", "numbers or BYTES", repr(output.get("datatype"))[:80])
    values = np.array([_number(item) for item in _items(output, where, shape)])
    if len(shape) == 1:
        known = np.isfinite(values)
        if not (values[known] == values[known].round()).all():
            raise bad_input(where, "answer, data", "labels, which are whole numbers", "fractions")
        return [int(value) if fine else None for value, fine in zip(values, known, strict=True)]
    if output["datatype"] == "BOOL":  # two that are true, or none, name no class
        values = np.where(np.isnan(values), np.nan, np.where(values > 0, np.inf, -np.inf))
    return best(values.reshape(shape))


def _of_texts(output: Mapping[str, Any], where: str, shape: list[int]) -> Labels:
    texts = _items(output, where, shape)[:: math.prod(shape[1:])]
    found = [_TEXT.fullmatch(text.strip()) if isinstance(text, str) else None for text in texts]
    if not any(found):
        hint = "names of classes have no numbers: choose an output of scores or numbers with --output NAME"
        raise bad_input(where, "answer, data", "texts as 7 or 0.98:7", repr(texts[0])[:80], hint=hint)
    return [int(match[1] or match[2]) if match else None for match in found]


def _number(item: Any) -> float:
    """An entry as a number, also one that came as a text ("7", "Infinity"); NaN where it is none."""
    try:
        return float(item[:_LONGEST] if isinstance(item, str) else item)
    except (TypeError, ValueError):
        return math.nan


def _items(output: Mapping[str, Any], where: str, shape: list[int]) -> list[Any]:
    """The entries of a tensor's data, nested or not; never more than its shape has."""
    data, size = output.get("data"), math.prod(shape)
    items: list[Any] = []
    open_lists: list[Iterator[Any]] = [iter(data if isinstance(data, list) else ())]
    while open_lists:
        for item in open_lists[-1]:
            if isinstance(item, list):
                open_lists.append(iter(item))
                break
            items.append(item)
            if len(items) > size:
                raise bad_input(where, "answer, data", f"{size} entries", "more")
        else:
            open_lists.pop()
    if len(items) < size:
        raise bad_input(where, "answer, data", f"{size} entries", f"{len(items)}")
    return items
