"""Files written by `torch.save`, read without running any code that may be in them."""

from __future__ import annotations

import argparse
import pickle
import re
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
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError) as error:
        raise _refusal(path, error) from None
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        zipfile.BadZipFile,
        OSError,
    ) as error:
        raise bad_input(path, "torch file", "a whole file", f"a damaged one ({_first_line(error)})") from None


def _refusal(path: Path, error: Exception) -> InputError:
    code = re.search(r"GLOBAL ([\w.]+)|(?:class|function|global) [`'\"]?([\w.]+)", str(error))
    if code:
        name = code.group(1) or code.group(2)
        return bad_input(
            path,
            "pickle",
            "tensors alone",
            f"the code {name}, which was not run",
            hint="save model.state_dict() instead",
        )
    return bad_input(path, "torch file", "a whole file", f"a damaged one ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
