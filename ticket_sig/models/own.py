"""A network of the user's own as it is in a notebook: wrapped, pruned by PyTorch, answering in any form."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import prune

from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import split_module
from ticket_sig.mask import not_yet_shaped, pruned_by_torch
from ticket_sig.models.sparse.layers import densify
from ticket_sig.ticket import Ticket
from ticket_sig.wrappers import WRAPPED_AS

_DEEPEST = 4  # answers within answers
_SHOWN = 160


def plain(model: nn.Module) -> nn.Module:
    """The network without wrappers, wherever they stand in it: with the names that its own class gives.

    Wrappers are what DataParallel, DistributedDataParallel, torch.compile and the like put around a module. A
    module that merely has an attribute `module` is none. The user's own module is left as it is; what comes
    back shares its parameters and buffers.

    Raises:
        InputError: it is no module.
    """
    if not isinstance(model, nn.Module):
        hint = f"make one: {model.__name__}(...)" if inspect.isclass(model) else ""
        found = f"the class {model.__name__}" if inspect.isclass(model) else f"a {type(model).__name__}"
        raise bad_input("", "model", "a torch.nn.Module", found, hint=hint)
    children = dict(model._modules.items())
    for kind in type(model).__mro__:
        # Compared with None: a module may have a length, and be false.
        if (inside := children.get(WRAPPED_AS.get(kind.__name__, ""))) is not None:
            return plain(inside)
    inner = {name: None if child is None else plain(child) for name, child in children.items()}
    if all(inner[name] is child for name, child in children.items()):
        return model
    twin = copy.copy(model)
    twin._modules = inner
    return twin


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy of its own, plain and dense, with the pruning by `torch.nn.utils.prune` made permanent.

    Raises:
        InputError: it is no module, or cannot be copied.
    """
    model = plain(model)
    # A weight that is computed anew for each call (pruned, normalised) cannot be copied with its history.
    computed = [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and t.grad_fn]
    copies = {id(t): t.detach().clone() for t in computed}
    lazy = [b for b in model.buffers() if is_lazy(b)]  # PyTorch copies lazy parameters, but no lazy buffers
    copies |= {id(b): nn.UninitializedBuffer(device=b.device, dtype=b.dtype) for b in lazy}  # type: ignore[call-arg]
    try:
        twin = copy.deepcopy(model, copies)
    except Exception as error:  # it copies whatever the user put there
        hint = "hand in the bare network, before it is sharded or holds other objects"
        raise bad_input("", "model", "a module that can be copied", in_short(error), hint=hint) from None
    densify(twin)  # it may be trained with another mask
    for module in twin.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    return twin


def ticket_of(model: nn.Module) -> Ticket:
    """A network as its file would be read (`split_layout`): also pruned by PyTorch, and in wrappers.

    Raises:
        InputError: it is no module, or has lazy layers; or as `split_module` and `Ticket`.
    """
    state = {name: t for name, t in plain(model).state_dict().items() if isinstance(t, Tensor)}
    if lazy := [name for name, t in state.items() if is_lazy(t)]:
        raise not_yet_shaped("model", lazy[0])
    weights, mask = split_module({name: t.cpu() for name, t in state.items()}, "model")
    return Ticket(weights=weights, mask=mask)


def parameters_of(model: nn.Module, *, remove_duplicate: bool = False) -> dict[str, Tensor]:
    """The parameters by plain name; in place of one that PyTorch prunes, the weight that it computes.

    Args:
        remove_duplicate: name tied parameters once.

    Raises:
        InputError: it is no module.
    """
    model = plain(model)
    pruned = {
        f"{name}.{hook._tensor_name}_orig".lstrip("."): (hook, module)
        for name, module in model.named_modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, prune.BasePruningMethod)
    }
    named: dict[str, Tensor] = {}
    for name, p in model.named_parameters(remove_duplicate=remove_duplicate):
        if name in pruned:
            hook, module = pruned[name]
            named[name.removesuffix("_orig")] = hook.apply_mask(module)  # type: ignore[no-untyped-call]
        else:
            named[name] = p
    return named


def check_bound(where: str, name: str, tensor: Tensor) -> None:
    """Checks that a tensor of `parameters_of` is a parameter, which can be changed; else InputError."""
    if not isinstance(tensor, nn.Parameter):
        raise pruned_by_torch(where, name)


def logits_of(answer: Any, images: int, classes: int | None = None) -> Tensor:
    """The logits [images, classes] in what a network answers: a tensor, or one among others.

    Args:
        answer: a tensor, or a tuple, list, mapping or object that holds tensors.
        classes: None: two or more.

    Raises:
        InputError: none of the tensors has this shape, or several have.
    """
    found = {id(t): t for t in _tensors(answer)}.values()
    fit = [t for t in found if _is_logits(t, images, classes)]
    if len(fit) == 1:
        return fit[0]
    shapes = " and ".join(str(list(t.shape)) for t in found)
    expected, hint = f"[{images}, {classes or 'classes'}]", ""
    if not isinstance(answer, Tensor):
        shapes, expected = f"a {type(answer).__name__} of {shapes or 'none'}", f"one tensor {expected}"
        hint = "let forward return the logits alone"
    if not fit and any(_is_logits(t, images, None) for t in found):
        hint = f"the data have {classes} classes"
    raise bad_input("network", "outputs", expected, shapes, hint=hint)


def in_short(error: BaseException) -> str:
    """An error of the user's own code, for a message."""
    return f"{type(error).__name__}: {str(error)[:_SHOWN]}"


def _is_logits(tensor: Tensor, images: int, classes: int | None) -> bool:
    if tensor.ndim != 2 or len(tensor) != images or not tensor.is_floating_point():
        return False
    return tensor.shape[1] == classes if classes else tensor.shape[1] >= 2


def _tensors(answer: Any, depth: int = 0) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    if depth == _DEEPEST:
        return []
    if not isinstance(answer, (Mapping, tuple, list)):
        answer = getattr(answer, "__dict__", {})
    inside = answer.values() if isinstance(answer, Mapping) else answer
    return [t for one in inside for t in _tensors(one, depth + 1)]
