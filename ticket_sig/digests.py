"""SHA-256 over canonical bytes: the same tensors or the same JSON give the same digest everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

DIGEST = "sha256:[0-9a-f]{64}"  # its form


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of named tensors: names in sorted order, each with dtype, shape and little-endian bytes."""
    digest = hashlib.sha256(b"ticket_sig tensors 1\n")
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(head.encode() + b"\n")
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def json_digest(value: Mapping[str, Any]) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return bytes_digest(text.encode())


def short_digest(value: Mapping[str, Any], digits: int) -> str:
    """The first hexadecimal digits of a JSON value's digest: what files of its kind are named by."""
    return json_digest(value).removeprefix("sha256:")[:digits]


def bytes_digest(data: bytes) -> str:
    """Digest of bytes as they are."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
