"""What a manifest says of the samples that a user's own loop trains on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.digests import DIGEST, bytes_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.transcripts.manifest import data_facts
from ticket_sig.transcripts.merkle import leaf, root_of

_TWICE = 8  # samples that are read twice: those of a data set that augments differ


class Samples(Protocol):
    """Samples by number: a list of (tensor, label), or a data set of torch."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int) -> Any:
        """One of them: tensors, arrays, pictures, numbers and texts, also in tuples, lists and dicts."""


def sample_facts(data: Dataset | Samples | str) -> dict[str, Any]:
    """Number and Merkle root of samples; the same samples give the same facts everywhere.

    Args:
        data: or the root alone, `sha256:` and 64 hexadecimal digits, where computing it takes too long; then
            an auditor must compute it, too.

    Raises:
        InputError: no samples, samples of other types, or ones that are not the same each time.
    """
    if isinstance(data, Dataset):
        return data_facts(data)
    if isinstance(data, str):
        if not re.fullmatch(DIGEST, data):
            raise bad_input("", "data", "samples, or sha256: and 64 hexadecimal digits", repr(data)[:80])
        return {"root": data}
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__") or not len(data):
        hint = "of a stream, give the digest: data='sha256:...'"
        raise bad_input("", "data", "one sample or more, by number", type(data).__name__, hint=hint)
    leaves = [_leaf(data, number) for number in range(len(data))]
    for number, first in enumerate(leaves[:_TWICE]):
        if _leaf(data, number) != first:
            hint = "augment in the step, and show the data set without"
            raise bad_input("", f"data: sample {number}", "the same each time", "another", hint=hint)
    return {"samples": len(leaves), "root": root_of(leaves)}


def _leaf(data: Samples, number: int) -> bytes:
    return leaf(json.dumps(_plain(data[number], f"data: sample {number}")).encode())


def _plain(value: Any, where: str) -> Any:
    """A sample as JSON, types included; of tensors and pictures, their digest."""
    if isinstance(value, Tensor):
        return ["tensor", tensor_digest({"": value})]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return ["array", value.dtype.str, value.shape, bytes_digest(value.tobytes())]
    if value is None or isinstance(value, (bool, int, str, float, np.number)):
        return [type(value).__name__, str(value)]
    if isinstance(value, bytes):
        return ["bytes", bytes_digest(value)]
    if isinstance(value, Mapping):
        return ["dict", [[_plain(k, where), _plain(one, where)] for k, one in value.items()]]
    if isinstance(value, Sequence):
        return ["list", [_plain(one, where) for one in value]]
    if hasattr(value, "mode") and hasattr(value, "tobytes"):  # a picture of Pillow
        return ["picture", value.mode, value.size, bytes_digest(value.tobytes())]
    raise bad_input("", where, "tensors, arrays, pictures, numbers or texts", type(value).__name__)
