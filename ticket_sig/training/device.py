"""Where training runs and in which precision, and how to say so in a history."""

from __future__ import annotations

import platform
from typing import Any

import torch

from ticket_sig.errors import bad_input
from ticket_sig.version import VERSION


def pick_device(name: str = "auto") -> torch.device:
    """Returns the device of that name; "auto" is a GPU where there is one.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        found = f"{name} ({str(error).splitlines()[0]})"
        raise bad_input("", "device", "one that this machine has", found) from None
    compute_exactly(device)
    return device


def compute_exactly(device: torch.device) -> None:
    """On a GPU, has cuDNN compute the same bits every time, and without TF32; for the whole process."""
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32


def pick_precision(name: str, device: torch.device) -> str:
    """Returns "float32" or "bf16"; "auto" is bf16 where the hardware multiplies it natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_bf16 = device.type == "cpu" and (_cpu().get("avx512_bf16") or _cpu().get("amx_bf16"))
    return "bf16" if has_bf16 else "float32"


def emulated(precision: str, device: torch.device) -> bool:
    """Whether the hardware cannot multiply in this precision itself."""
    return precision != "float32" and pick_precision("auto", device) == "float32"


def made_with(device: torch.device, precision: str, kernels: str = "torch") -> dict[str, Any]:
    """Versions and hardware, for histories and reports."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else _cpu().get("cpu_name", platform.machine())
    return {
        "ticket_sig": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "precision": precision,
        "kernels": kernels,
    }


def _cpu() -> dict[str, Any]:
    # Older versions of torch cannot say; then nothing is known of the CPU.
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}
