"""Files written by `torch.save`, read without running any code that may be in them."""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticket_sig.errors import InputError, bad_input

# Training scripts leave these beside the tensors; none of them can run anything.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, *{type(np.dtype(c)) for c in "?bhilqBHILQefd"}]
_HARMLESS.append(np.float64(0).__reduce__()[0])  # numpy's scalar constructor, wherever this numpy keeps it
_HARMLESS.append((_HARMLESS[-1], "numpy.core.multiarray.scalar"))  # where numpy 1 kept it


def looks_like_torch(head: bytes) -> bool:
    """Whether a file that begins with these bytes was written by `torch.save` (zip or legacy pickle)."""
    return head[:2] == b"PK" or head[:1] == b"\x80"


def read_torch(path: Path) -> Any:
    """Returns what `torch.save` wrote: tensors in plain containers, on the CPU.

    Raises:
        InputError: cut short or damaged, or it holds code (a whole `nn.Module`, or an attack),
            which is named and never run.
    """
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        raise _refusal(path, error) from None


def _check_archive(path: Path) -> None:
    """Checks the checksums of a zip file, which torch itself does not."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:
        damaged = str(error)
    if damaged is not None:
        raise bad_input(path, "torch file", "a whole file", f"a damaged one ({damaged})")


def _refusal(path: Path, error: Exception) -> InputError:
    code = re.search(r"GLOBAL ([\w.]+)|(?:class|function|global) [`'\"]?([\w.]+)", str(error))
    if code:
        name = code.group(1) or code.group(2)
        found = f"the code {name}, which was not run"
        return bad_input(path, "pickle", "tensors alone", found, hint="save model.state_dict() instead")
    return bad_input(path, "torch file", "a whole file", f"a damaged one ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    # torch wraps what it found in advice to switch its safety off.
    if found := re.search(r"WeightsUnpickler error: (.*)", str(error)):
        return found.group(1)[:160]
    if "weights_only" in str(error):
        return "no tensors can be read from it"
    return (str(error) or type(error).__name__).splitlines()[0][:160]
