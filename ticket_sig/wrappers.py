"""Wrappers (DataParallel, `torch.compile`, FSDP, EMA): which modules they are, what they put into names."""

from __future__ import annotations

from collections.abc import Collection

# No user writes these: torch.compile, FSDP, activation checkpointing, Fabric and older Lightning, fairscale.
INSIDE = frozenset(
    {
        *("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"),
        *("_original_module", "_fpw_module"),
    }
)
# These may be a module's own attribute: DataParallel, DDP, AveragedModel, DeepSpeed; Opacus.
IN_FRONT = ("module", "_module")
PARTS = INSIDE | {*IN_FRONT}
# What AveragedModel counts, beside the names that it wraps.
COUNTERS = ("n_averaged",)

# The module within, by the name of the wrapper's class: PyTorch's, and those of apex, DeepSpeed and Opacus,
# which are no dependency.
WRAPPED_AS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "DeepSpeedEngine": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",  # torch.compile
    "GradSampleModule": "_module",  # Opacus
}


def without(name: str, parts: Collection[str] = PARTS) -> str:
    """The name of a tensor without the parts of wrappers; its last part always stays."""
    *before, last = name.split(".")
    return ".".join([*(part for part in before if part not in parts), last])
