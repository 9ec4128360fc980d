"""How people lay out pruned models: from the entries of a file to weights, mask and rewind weights.

Known: a bare state dict; one under a key such as `state_dict`; `module.` and `_orig_mod.` prefixes;
`torch.nn.utils.prune` (`X_orig` + `X_mask`); the NeurIPS'21 code (the same, with the rewind
weights under `init_weight`; or `X_mask` entries alone).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ticket_sig.errors import bad_input, refuse
from ticket_sig.formats.dense import Unread, dense_tensors
from ticket_sig.mask import Mask, differences
from ticket_sig.ticket import ties

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "module")
_REWIND_KEYS = ("init_weight", "rewind", "rewind_weight")
_PREFIXES = ("module.", "_orig_mod.")


def split_layout(content: Any, where: object) -> tuple[dict[str, Tensor], Mask, dict[str, Tensor] | None]:
    """Returns (weights, mask, rewind weights or None) of what a file held.

    Of tied weights, which are one tensor under several names, only the first name is in the mask.

    Raises:
        InputError: no tensors, or masks that are not 0/1, have other shapes, or no weight beside them.
    """
    state = _state_dict(content, where)
    masks = _masks(state, where)
    first: dict[tuple[object, ...], Tensor] = {}  # tensors that share their memory whole become one object
    weights = {name: first.setdefault(memory_of(t), t) for name, t in _merge(state, masks).items()}
    _check_masks(masks, weights, where)
    weights = {
        n: torch.where(masks[n] != 0, w, torch.zeros_like(w)) if n in masks else w for n, w in weights.items()
    }
    kept = {name: mask != 0 for name, mask in masks.items() if mask.ndim >= 2}
    tied = ties(weights)
    # Without masks of its own, a model may have others, of attention and the like.
    plain = {n: w for n, w in weights.items() if n not in tied and not n.endswith("_mask")}
    mask = Mask(kept) if kept else Mask.of_zeros(plain)
    return weights, mask, _rewind(content, weights, where)


def _state_dict(content: Any, where: object, depth: int = 0) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise bad_input(where, "content", "a state dict", f"a {type(content).__name__}")
    # Before the tensors themselves: training scripts put a tensor or two beside the state dict.
    for key in _STATE_KEYS:
        if isinstance(content.get(key), Mapping) and depth < 4:
            return _state_dict(content[key], where, depth + 1)
    if any(isinstance(v, (Tensor, Unread)) for v in content.values()):
        return _plain(content, where)
    keys = ", ".join(sorted(map(str, content))[:8]) or "nothing"
    raise bad_input(where, "content", f"tensors, or a state dict under one of {', '.join(_STATE_KEYS)}", keys)


def _plain(state: Mapping[Any, Any], where: object) -> dict[str, Tensor]:
    """Tensors only, under the names the module itself would give them."""
    tensors = dense_tensors(state, where)
    prefix = shared_prefix(tensors)
    return {name.removeprefix(prefix): t for name, t in tensors.items()}


def shared_prefix(names: Iterable[str]) -> str:
    """What wrappers put before every name: nothing, `module.`, `_orig_mod.`, or several of them."""
    names, prefix = list(names), ""
    while more := next((p for p in _PREFIXES if all(n.startswith(prefix + p) for n in names)), ""):
        if not names:
            break
        prefix += more
    return prefix


def _masks(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """The pruning masks by the name of their weight; other entries called mask are buffers of the model."""
    alone = all(name.endswith("_mask") for name in state)
    named = {name.removesuffix("_mask"): t for name, t in state.items() if name.endswith("_mask")}
    masks = {
        name: mask
        for name, mask in named.items()
        if alone or name in state or f"{name}_orig" in state or name.endswith(("weight", "bias"))
    }
    pruned = [n.removesuffix("_orig") for n in state if masks and n.endswith("_orig")]
    lost = [n for n in masks if not alone and n not in state and f"{n}_orig" not in state]
    # Spectral normalisation has an X_orig too, with an X_u beside it.
    unmasked = [n for n in pruned if n not in masks and f"{n}_u" not in state]
    problems = [f"{n}: expected beside {n}_mask, not found" for n in lost]
    refuse(where, problems + [f"{n}_mask: expected beside {n}_orig, not found" for n in unmasked])
    return masks


def _merge(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its plain name, in the file's order; a mask without weights stands for them."""
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name.removesuffix("_mask").removesuffix("_orig")
        if plain == name or plain not in masks:
            weights[name] = tensor
        elif name.endswith("_orig"):
            weights[plain] = tensor
        elif plain not in state and f"{plain}_orig" not in state:
            weights[plain] = tensor.float()
    return weights


def memory_of(tensor: Tensor) -> tuple[object, ...]:
    """What tied weights share; a tensor that has no memory shares nothing."""
    if not tensor.numel() or tensor.is_meta or tensor.layout != torch.strided:
        return (id(tensor),)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride()


def _check_masks(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: object) -> None:
    problems = []
    for name, mask in masks.items():
        if other := int(((mask != 0) & (mask != 1)).sum()):
            problems.append(f"{name}_mask: expected 0 and 1 only, found {other} other values")
        if mask.shape != weights[name].shape:
            expected, found = list(weights[name].shape), list(mask.shape)
            problems.append(f"{name}_mask: expected shape {expected}, found {found}")
    refuse(where, problems)


def is_constant(name: str) -> bool:
    """Whether a tensor is part of a model file but no weight (the NeurIPS'21 code's normalize.mean)."""
    return name.startswith("normalize.")


def weights_for(network: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model file that a network of these tensors takes: all but the constants.

    Raises:
        InputError: a tensor is missing, is too many or has another shape; all are listed.
    """
    taken = {name: t for name, t in weights.items() if not is_constant(name)}
    refuse("weights do not fit the network", differences(network, taken))
    return taken


def _rewind(content: Any, weights: Mapping[str, Tensor], where: object) -> dict[str, Tensor] | None:
    found = next((content[k] for k in _REWIND_KEYS if isinstance(content.get(k), Mapping)), None)
    if found is None:
        return None
    state = _state_dict(found, where)
    rewind = _merge(state, _masks(state, where))
    return {name: rewind.get(name, w) for name, w in weights.items() if name in rewind or is_constant(name)}
