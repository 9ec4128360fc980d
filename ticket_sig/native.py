"""Kernels in C beside the Python that calls them: compiled once on the user's machine, or done without."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ticket_sig.files import cache_folder, whole_file

# No library is linked: OpenMP's symbols are those of the threads torch has already, and no second set of
# threads is made. Contraction to multiply-add and no traps leave NaN and infinity as they are.
_FLAGS = "-std=gnu11 -O3 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math -fopenmp -fPIC"
if platform.machine() == "x86_64":
    _FLAGS += " -mprefer-vector-width=512"


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The shared library of a C file; None where this machine has no compiler that makes one."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        return ctypes.CDLL(str(_built(source, shlex.split(os.environ.get("CC") or "cc"))))
    return None


def call(source: Path, name: str, *arguments: Any) -> None:
    """Calls a kernel of a C file with torch's number of threads; of a tensor it is given the address.

    Raises:
        MemoryError: the kernel had too little, and returned 1.
    """
    kernels = library(source)
    assert kernels is not None
    plain = (ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor) else a for a in arguments)
    if getattr(kernels, name)(*plain, torch.get_num_threads()):
        raise MemoryError(name)


def fingerprint(kernels: ctypes.CDLL) -> str:
    """Eight digits that change with the source, the compiler, its flags and the processor."""
    return Path(kernels._name).stem[-8:]


def _built(source: Path, compiler: list[str]) -> Path:
    """The compiled file, from the cache where it was made of the same source, compiler and processor.

    Headers of the source are in a folder of its name. Options in $CC belong to the compiler; its name does
    not, for `--version` says which it is.
    """
    headers = [path.read_text() for path in sorted(source.with_suffix("").glob("*.h"))]
    tools = _FLAGS, _run(*compiler, "--version"), _processor(), *compiler[1:]
    made_of = source.read_text(), *tools, *headers
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()
    built = _private_folder() / f"{source.stem}-{digest[:32]}.so"
    if not built.exists():
        with whole_file(built) as partial:
            objects = partial.with_name(f"{partial.name}.o")
            try:
                _run(*compiler, *shlex.split(_FLAGS), "-c", str(source), "-o", str(objects))
                _run(*compiler, "-shared", str(objects), "-o", str(partial))
                if not partial.stat().st_size:
                    raise OSError("the compiler says it is done, and made nothing")
            finally:
                objects.unlink(missing_ok=True)
    return built


def _private_folder() -> Path:
    """Where compiled code is kept: nobody else may write there or put another in its place, for it is run."""
    with contextlib.suppress(OSError):
        folder = cache_folder() / "native"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder.resolve()):
            return folder
    own = Path(tempfile.mkdtemp(prefix="ticket_sig-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _is_private(folder: Path) -> bool:
    status, above = folder.stat(), [parent.stat() for parent in folder.parents]
    return (
        not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        and status.st_uid == os.geteuid()
        and all(s.st_uid in (0, os.geteuid()) for s in above)
        and all(not s.st_mode & stat.S_IWOTH or s.st_mode & stat.S_ISVTX for s in above)
    )


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _processor() -> str:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{torch.backends.cpu.get_cpu_capability()} {features}"
