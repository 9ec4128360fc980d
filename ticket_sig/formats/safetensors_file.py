"""`.safetensors` files: read with every damage named, written whole and with the same bytes each time."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.files import no_file, whole_file
from ticket_sig.mask import dtype_name


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these (at least 9) bytes is a safetensors file: length, then JSON."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU; InputError where it is missing, empty, cut short or damaged."""
    with _damage_named(path):
        return safetensors.torch.load_file(path)


def check_safetensors(path: Path) -> None:
    """Checks that a file is there and whole, from its header alone; else InputError."""
    # As numpy: for torch the whole file is mapped and counted as memory, which one above the RAM has not.
    with _damage_named(path), safetensors.safe_open(path, framework="numpy"):
        pass


def read_layout(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type (`F32`) and shape of every tensor, from the header alone; errors as of `read_safetensors`."""
    with _damage_named(path), safetensors.safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise bad_input(path, "file", "a safetensors file", no_file(path))
    try:
        yield
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        if kind := re.search(r"(?:Dtype not understood: |unknown variant `)(\w+)", str(error)):
            expected = "those that torch and this version of safetensors have"
            raise bad_input(path, "types", expected, kind.group(1)) from None
        raise bad_input(path, "safetensors", "a whole file", f"a damaged one ({str(error)[:200]})") from None


def read_metadata(path: Path) -> dict[str, str]:
    """Returns the text metadata of a file that `read_safetensors` could read."""
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: str | None = None, mode: int = 0o644
) -> None:
    """Writes tensors, whole or not at all.

    Args:
        tensors: any tensors; those that share memory are written as separate copies.
        metadata: one text, stored under the key `ticket_sig`. One, because the library writes
            several keys in an order that changes from run to run.
        mode: who may read the file.

    Raises:
        InputError: a tensor is of a type that such files have no name for, as complex128.
        OSError: the disk is full, or the path cannot be written.
    """
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        plain[name] = tensor if whole else tensor.clone()
        seen.add(storage.data_ptr())
    about = {"ticket_sig": metadata} if metadata is not None else {"format": "pt"}
    with whole_file(path, mode) as partial:
        try:
            safetensors.torch.save_file(plain, partial, about)
        except KeyError as error:
            odd = next(name for name, tensor in plain.items() if tensor.dtype == error.args[0])
            expected = "a type that safetensors files have"
            raise bad_input(path.name, odd, expected, dtype_name(error.args[0])) from None
        except safetensors.SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            number = int(code.group(1)) if code else errno.EIO
            raise OSError(number, os.strerror(number), str(path)) from None
