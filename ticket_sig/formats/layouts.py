"""How people lay out pruned models: from the entries of a file to weights, mask and rewind weights.

Known: a bare state dict; one under a key such as `state_dict`; `module.` and `_orig_mod.` prefixes;
`torch.nn.utils.prune` (`X_orig` + `X_mask`); the NeurIPS'21 code (the same, with the rewind
weights under `init_weight`; or `X_mask` entries alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ticket_sig.errors import InputError, bad_input
from ticket_sig.mask import Mask

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "module")
_REWIND_KEYS = ("init_weight", "rewind", "rewind_weight")
_PREFIXES = ("module.", "_orig_mod.")


def split_layout(content: Any, where: object) -> tuple[dict[str, Tensor], Mask, dict[str, Tensor] | None]:
    """Returns (weights, mask, rewind weights or None) of what a file held.

    Raises:
        InputError: no tensors, or masks that are not 0/1, have other shapes, or no weight beside them.
    """
    state = _state_dict(content, where)
    masks = {name.removesuffix("_mask"): t for name, t in state.items() if name.endswith("_mask")}
    weights = _merge(state, masks)
    if not weights:
        raise bad_input(where, "tensors", "some", "none")
    kept = _boolean_masks(masks, weights, where)
    mask = Mask(kept) if kept else Mask.of_zeros(weights)
    rewind = _rewind(content, weights, where)
    return mask.apply(weights), mask, rewind


def _state_dict(content: Any, where: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise bad_input(where, "content", "a state dict", f"a {type(content).__name__}")
    if any(isinstance(v, Tensor) for v in content.values()):
        return _plain(content)
    for key in _STATE_KEYS:
        if isinstance(content.get(key), Mapping):
            return _state_dict(content[key], where)
    keys = ", ".join(sorted(map(str, content))[:8]) or "nothing"
    raise bad_input(where, "content", f"tensors, or a state dict under one of {', '.join(_STATE_KEYS)}", keys)


def _plain(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors only, under the names the module itself would give them."""
    tensors = {str(name): t.detach() for name, t in state.items() if isinstance(t, Tensor)}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    return {name: t.to_dense() if t.layout != torch.strided else t for name, t in tensors.items()}


def _merge(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its plain name, in the file's order; a mask without weights stands for them."""
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("_mask"):
            plain = name.removesuffix("_mask")
            if plain not in state and f"{plain}_orig" not in state:
                weights[plain] = tensor.float()
        elif name.endswith("_orig") and name.removesuffix("_orig") in masks:
            weights[name.removesuffix("_orig")] = tensor
        else:
            weights[name] = tensor
    return weights


def _boolean_masks(
    masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: object
) -> dict[str, Tensor]:
    problems = []
    for name, mask in masks.items():
        other = int(((mask != 0) & (mask != 1)).sum())
        if other:
            problems.append(f"{name}_mask: expected 0 and 1 only, found {other} other values")
        if mask.shape != weights[name].shape:
            problems.append(
                f"{name}_mask: expected shape {list(weights[name].shape)}, found {list(mask.shape)}"
            )
        elif mask.ndim < 2 and not other and not mask.all():
            problems.append(
                f"{name}_mask: expected 2 or more dimensions for a pruned tensor, found {mask.ndim}"
            )
    if problems:
        raise InputError(f"{where}: " + "; ".join(problems))
    return {name: mask != 0 for name, mask in masks.items() if mask.ndim >= 2}


def is_constant(name: str) -> bool:
    """Whether a tensor is part of a model file but no weight (the NeurIPS'21 code's normalize.mean)."""
    return name.startswith("normalize.")


def _rewind(content: Any, weights: Mapping[str, Tensor], where: object) -> dict[str, Tensor] | None:
    found = next((content[k] for k in _REWIND_KEYS if isinstance(content.get(k), Mapping)), None)
    if found is None:
        return None
    state = _state_dict(found, where)
    rewind = _merge(state, {n.removesuffix("_mask"): t for n, t in state.items() if n.endswith("_mask")})
    return {name: rewind.get(name, w) for name, w in weights.items() if name in rewind or is_constant(name)}
