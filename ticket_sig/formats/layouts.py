"""How people lay out pruned models: from the entries of a file to weights, mask and rewind weights.

Known: a bare state dict; one under a key such as `state_dict`, or the only one, whatever its key; what
wrappers add to names (`names.py`); masks beside the weights, under a key such as `masks`, or in a file of
their own (`masks.py`); the NeurIPS'21 code (rewind weights under `init_weight`, or `X_mask` entries alone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ticket_sig.errors import NAMED_AT_MOST, bad_input, refuse, some
from ticket_sig.fields import SHOWN
from ticket_sig.formats.dense import Unread, dense_tensors
from ticket_sig.formats.masks import (
    checked_masks,
    is_surely_mask,
    masks_apart,
    masks_beside,
    merged,
    weight_of,
)
from ticket_sig.formats.names import plain_names
from ticket_sig.mask import Mask, differences, memory_of
from ticket_sig.ticket import tie_copies, ties

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "module")
_OTHER_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema", "net_g", "generator")
_REWIND_KEYS = ("init_weight", "rewind", "rewind_weight")
_MASK_KEYS = ("masks", "mask", "pruning_masks", "pruning_mask", "weight_masks", "mask_dict")
_PART_KEYS = ("biases", "bias", "buffers", "batch_stats")  # of the same model, beside "weights" or "params"
_DEEPEST = 4  # keys under keys that are followed
_MOST_DIMENSIONS = 64  # that PyTorch computes with


def split_layout(
    content: Any, where: object, masks: Any = None, masks_where: object = "mask"
) -> tuple[dict[str, Tensor], Mask, dict[str, Tensor] | None]:
    """Returns (weights, mask, rewind weights or None) of what a file held.

    Tied weights, which are one tensor under several names, or equal copies, become one tensor; only their
    first name is in the mask, and a mask of one of them is that of all.

    Args:
        masks: what a file of masks held, if there is one; `masks_where` names it.

    Raises:
        InputError: no tensors, several state dicts, or masks that are not 0/1, have other shapes, no weight
            beside them, or differ from each other.
    """
    state, apart = _state_dict(content, where)
    weights, mask = _split(state, apart, where, masks, masks_where)
    return weights, mask, _rewind(content, weights, where)


def split_module(state: Mapping[str, Any], where: object) -> tuple[dict[str, Tensor], Mask]:
    """Weights and mask of the state dict of a module without wrappers, which keeps its own names.

    Raises:
        InputError: as `split_layout`.
    """
    return _split(_plain(state, where, of_module=True), {}, where)


def _split(
    state: dict[str, Tensor],
    apart: dict[str, Tensor],
    where: object,
    masks: Any = None,
    masks_where: object = "mask",
) -> tuple[dict[str, Tensor], Mask]:
    if deep := [name for name, tensor in state.items() if tensor.ndim > _MOST_DIMENSIONS]:
        expected = f"a tensor of at most {_MOST_DIMENSIONS} dimensions"
        raise bad_input(where, deep[0], expected, str(state[deep[0]].ndim))
    beside = masks_beside(state, where)
    weights = tie_copies(merged(state, beside))
    found = [*beside, *masks_apart(apart, weights, where)]
    if masks is not None:
        found += masks_apart(_masks_in(masks, masks_where), weights, masks_where)
    kept = checked_masks(found, weights)
    zeroed: dict[object, Tensor] = {}
    for name, one in kept.items():
        w = weights[name]
        zeroed[memory_of(w)] = torch.where(one, w, w.new_zeros(()))
    weights = tie_copies({name: zeroed.get(memory_of(w), w) for name, w in weights.items()})
    tied = ties(weights)
    matrices = {name: one for name, one in kept.items() if one.ndim >= 2 and name not in tied}
    # Without masks of its own, a model may have others, of attention and the like.
    plain = {n: w for n, w in weights.items() if n not in tied and not f".{n}".endswith(("_mask", ".mask"))}
    return weights, Mask.of_own(matrices) if matrices else Mask.of_zeros(plain)


def _state_dict(content: Any, where: object, depth: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a model by plain name, and the masks under a key of their own."""
    if not isinstance(content, Mapping):
        raise bad_input(where, "content", "a state dict", f"a {type(content).__name__}")
    masks = _masks_under_a_key(content, where)
    key = _key_of_state(content, where) if depth < _DEEPEST else None
    _refuse_lost(content, key, where)
    if key is not None:
        state, more = _state_dict(content[key], where, depth + 1)
        return state, {**masks, **more}
    if any(isinstance(v, (Tensor, Unread)) for v in content.values()):
        return _plain(content, where), masks
    if masks:
        return {f"{weight_of(name) or name}_mask": mask for name, mask in masks.items()}, {}
    keys = ", ".join(sorted(map(str, content))[:NAMED_AT_MOST]) or "nothing"
    raise bad_input(where, "content", f"tensors, or a state dict under one of {', '.join(_STATE_KEYS)}", keys)


def _key_of_state(content: Mapping[Any, Any], where: object) -> Any:
    """The key that a state dict is under; None where `content` is one itself, or holds none.

    Beside a state dict training scripts put a tensor or two, under names that no module gives.
    """
    known = [key for key in _STATE_KEYS if isinstance(content.get(key), Mapping)]
    if full := [key for key in known if _holds(content[key], lambda _: True)]:
        return full[0]
    if any(isinstance(value, (Tensor, Unread)) and _of_module(key) for key, value in content.items()):
        return None
    taken = (*_MASK_KEYS, *_REWIND_KEYS)
    states = [key for key, value in content.items() if key not in taken and _holds(value, _is_weights)]
    found = [key for key in states if key in _OTHER_KEYS] or states or known[:1]
    if len(found) > 1:
        named, hint = ", ".join(map(str, found[:NAMED_AT_MOST])), "save the one that is meant by itself"
        raise bad_input(where, "content", "one state dict", f"several: {named}", hint=hint)
    return found[0] if found else None


@dataclass(frozen=True)
class Contained:
    """Which parts of a file are the model.

    Attributes:
        read: key of the state dict that is read, as `state_dict`; "" where the file is one itself.
        not_read: keys of the others that hold weights, and of weights that lie beside it.
        passed_over: keys of all other entries, of which nothing is read.
    """

    read: str = ""
    not_read: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Which was read and which not; nothing where there is but one."""
        if not self.not_read:
            return ""
        read = self.read or "the file's own tensors"
        return f"read: {read}; not read: {some(self.not_read)}. Save the one you mean in a file of its own"

    def to_json(self) -> dict[str, Any]:
        """The state dicts as JSON."""
        return {"read": self.read, "not_read": list(self.not_read)}


def contained(content: Any, where: object) -> Contained:
    """Which parts of what a file held `split_layout` reads; errors as there."""
    path, not_read, passed, taken = "", list[str](), list[str](), (*_MASK_KEYS, *_REWIND_KEYS)
    for _ in range(_DEEPEST):
        key = _key_of_state(content, where) if isinstance(content, Mapping) else None
        for name, value in content.items() if isinstance(content, Mapping) else ():
            if name == key or (name in taken and isinstance(value, Mapping)):
                continue
            lies_beside = key is not None and _of_module(name)
            if _holds(value, _is_weights, depth=1 if lies_beside else 0):
                not_read.append(f"{path}{name}"[:SHOWN])
            elif key is not None or not isinstance(value, (Tensor, Unread)):
                passed.append(f"{path}{name}"[:SHOWN])
        if key is None:
            break
        path, content = f"{path}{key}.", content[key]
    return Contained(path.removesuffix("."), tuple(not_read), tuple(passed))


def _refuse_lost(content: Mapping[Any, Any], key: Any, where: object) -> None:
    """Refuses weights that lie beside those that are taken, where nobody would look for another model's.

    These are mappings within a state dict (`key` is None); tensors beside the only mapping, of no known name
    (scripts put class weights there, but no matrix); and parts of a model that has one mapping for each kind.
    """
    if key is None:
        direct = any(isinstance(value, (Tensor, Unread)) for value in content.values())
        passed = {*_MASK_KEYS, *_REWIND_KEYS, *_OTHER_KEYS}
        inside = {n: v for n, v in content.items() if n not in passed and not str(n).endswith("_extra_state")}
        lost = [name for name, value in inside.items() if direct and _holds(value, _is_weights)]
    else:
        known = key in (*_STATE_KEYS, *_OTHER_KEYS)
        tensors = {} if known else {n: v for n, v in content.items() if isinstance(v, Tensor)}
        lost = [name for name, t in tensors.items() if t.is_floating_point() and t.ndim > 1]
        parts = _PART_KEYS if key in ("weights", "params") else ()
        lost += [name for name in parts if _holds(content.get(name), _is_weights)]
    if lost:
        named = ", ".join(map(str, lost[:NAMED_AT_MOST]))
        hint = "save all of the model's tensors in one state dict, and others apart"
        raise bad_input(
            where, "content", "all weights of the model in one state dict", f"more: {named}", hint=hint
        )


def _holds(value: Any, wanted: Callable[[Tensor], bool], depth: int = 0) -> bool:
    """Whether an entry holds a tensor that is wanted, under names; the state of an optimizer is none."""
    if isinstance(value, (Tensor, Unread)):
        return depth > 0 and (isinstance(value, Unread) or wanted(value))
    if not isinstance(value, Mapping) or "param_groups" in value or depth > 3:
        return False
    return any(isinstance(key, str) and _holds(v, wanted, depth + 1) for key, v in value.items())


def _of_module(key: Any) -> bool:
    """Whether an entry has a name that modules give their tensors."""
    return "." in (name := str(key)) or name.endswith(("weight", "bias"))


def _is_weights(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 0


def _plain(state: Mapping[Any, Any], where: object, *, of_module: bool = False) -> dict[str, Tensor]:
    """Tensors only, under the names the module itself would give them."""
    tensors = dense_tensors(state, where)
    plain = plain_names({name: t.shape for name, t in tensors.items()}, of_module=of_module)
    return {name: tensors[there] for there, name in plain.items()}


def _masks_under_a_key(content: Mapping[Any, Any], where: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key in _MASK_KEYS:
        if isinstance(value := content.get(key), Mapping):
            found |= _plain(value, where)
    return found


def _masks_in(content: Any, where: object) -> dict[str, Tensor]:
    """The masks of a file, by the names of their entries; of a model with its masks, the masks alone."""
    state, apart = _state_dict(content, where)
    sure = {name: t for name, t in state.items() if is_surely_mask(name)}
    return {**sure, **apart} if sure or apart else state


def is_constant(name: str) -> bool:
    """Whether a tensor is part of a model file but no weight (the NeurIPS'21 code's normalize.mean)."""
    return name.startswith("normalize.")


def weights_for(
    network: Mapping[str, Tensor], weights: Mapping[str, Tensor], arch: str = ""
) -> dict[str, Tensor]:
    """The weights of a model file that a network of these tensors takes: all but the constants.

    Args:
        arch: what the network is called, for the message.

    Raises:
        InputError: a tensor is missing, is too many or has another shape.
    """
    taken = {name: t for name, t in weights.items() if not is_constant(name)}
    refuse(f"weights do not fit the network {arch}".strip(), differences(network, taken))
    return taken


def _rewind(content: Any, weights: Mapping[str, Tensor], where: object) -> dict[str, Tensor] | None:
    found = next((content[k] for k in _REWIND_KEYS if isinstance(content.get(k), Mapping)), None)
    if found is None:
        return None
    state, _ = _state_dict(found, where)
    rewind = merged(state, masks_beside(state, where))
    return {name: rewind.get(name, w) for name, w in weights.items() if name in rewind or is_constant(name)}
