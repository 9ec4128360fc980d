"""Convolutions and linear layers that leave out their pruned weights; a network's own are swapped in place.

A sparse layer is the dense one with another class, as `torch.nn.utils.parametrize` does it: the same object
in the same place, also where several modules share it, with the same parameters, hooks and names in the
state dict. Its weight stays a dense parameter; of its gradient, what is pruned is zero.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask, masked_parameters, pruned_by_torch
from ticket_sig.models.sparse.norm_relu import SparseBatchNorm2d
from ticket_sig.models.sparse.operators import sparse_conv2d
from ticket_sig.models.sparse.plan import Plan
from ticket_sig.models.sparse.pooling import SparseAdaptiveAvgPool2d, SparseAvgPool2d, SparseMaxPool2d
from ticket_sig.wrappers import without

_OWN = ("plan", "places", "memory_order", "beside_sparse")  # what `sparsify` writes into modules


class _Sparse:
    """What the two kinds share.

    Attributes:
        plan: where the kept weights are.
        places: of the kept weights in the weight's memory.
        memory_order: of the weight's dimensions, outermost first.
    """

    weight: Any
    bias: Any
    plan: Plan
    places: Tensor
    memory_order: tuple[int, ...]

    def convolved(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] through the kept weights; in the result the batch is innermost."""
        weight = self.weight
        if self.memory_order != _memory_order(weight) or self.places.device != weight.device:
            _find_places(self)
        # A view in the order of memory: to gather costs what is kept, and no copy of the weight.
        values = weight.permute(self.memory_order).reshape(-1).index_select(0, self.places)
        return sparse_conv2d(x, values, self.plan, self.bias)


class SparseConv2d(_Sparse, nn.Conv2d):
    """A `Conv2d` without its pruned weights; made of one by `sparsify`."""

    def forward(self, input: Tensor) -> Tensor:
        """As `Conv2d`."""
        return self.convolved(input) if input.ndim == 4 else self.convolved(input[None])[0]


class SparseLinear(_Sparse, nn.Linear):
    """A `Linear` without its pruned weights; made of one by `sparsify`."""

    def forward(self, input: Tensor) -> Tensor:
        """As `Linear`."""
        rows = input.reshape(input.shape[:-1].numel(), *input.shape[-1:], 1, 1)
        return self.convolved(rows).reshape(*input.shape[:-1], self.out_features)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: SparseConv2d, nn.Linear: SparseLinear}
# What keeps the layout of activations, among sparse layers.
_BESIDE: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SparseBatchNorm2d,
    nn.MaxPool2d: SparseMaxPool2d,
    nn.AvgPool2d: SparseAvgPool2d,
    nn.AdaptiveAvgPool2d: SparseAdaptiveAvgPool2d,
}
_DENSE = {sparse: dense for dense, sparse in (_KINDS | _BESIDE).items()}


def sparsify(
    model: nn.Module,
    mask: Mask | None = None,
    layers: Collection[str] | None = None,
    *,
    note: Callable[[str], None] = warnings.warn,
) -> nn.Module:
    """Has a network's layers compute with their kept weights alone, in training and in evaluation, on a CPU.

    In place; `densify` puts all back. Call it again where the mask has changed. Results are the dense ones
    but for rounding. A pruned weight gets no gradient. Under SGD it stays zero, if it has no momentum from
    before and is used nowhere else; otherwise call what `Mask.bind` returns after each step. It pays where
    little is kept, and all the more where layers that follow each other are sparse (`choose` measures it):
    activations then keep a layout of their own from one to the next.

        sparsify(model, mask)

    Args:
        model: it may be in DataParallel or compiled.
        mask: what is kept; by default what is not zero in the weights. Outside it all is kept.
        layers: names of the weights of the layers to swap; by default of those that something is pruned of.
        note: told, once, of the layers that stay dense, and why.

    Returns:
        The model.

    Raises:
        InputError: the mask or a name does not fit the model, or `torch.nn.utils.prune` masks a weight. The
            network is then as it was, as after any other exception.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_way_back(model))
        densify(model)
        kept = kept_by_identity(model, _of_zeros(model) if mask is None else mask)
        wanted = _wanted(model, kept, layers)
        left = {name: why for name, layer in wanted.items() if (why := _reason(layer, kept))}
        for name, layer in wanted.items():
            if name not in left:
                _swap(layer, kept.get(id(layer.weight)))
        if len(left) < len(wanted):
            for module in model.modules():
                if hasattr(module, "beside_sparse"):
                    vars(module)["beside_sparse"] = True
                elif type(module) in _BESIDE:
                    module.__class__ = _BESIDE[type(module)]
        if left:
            note("left dense: " + "; ".join(f"{name} ({why})" for name, why in left.items()))
        undo.pop_all()
    return model


def densify(model: nn.Module) -> nn.Module:
    """Puts back, in place, what `sparsify` swapped; returns the model."""
    for module in model.modules():
        if hasattr(module, "beside_sparse"):
            vars(module)["beside_sparse"] = False
        elif type(module) in _DENSE:
            module.__class__ = _DENSE[type(module)]
            for name in _OWN:
                vars(module).pop(name, None)
    return model


@contextlib.contextmanager
def as_sparse(model: nn.Module, mask: Mask, layers: Collection[str]) -> Iterator[None]:
    """For the block, these layers are sparse; where none are given, nothing is changed."""
    with as_it_was(model):
        if layers:
            sparsify(model, mask, layers)
        yield


@contextlib.contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """After the block, the layers are sparse that are so before it, and no others."""
    go_back = _way_back(model)
    try:
        yield
    finally:
        go_back()


def _way_back(model: nn.Module) -> Callable[[], None]:
    """Returns a function that has the layers be sparse that are so now, and no others."""
    kinds = _KINDS | _BESIDE | _DENSE
    ours = [m for m in model.modules() if type(m) in kinds or hasattr(m, "beside_sparse")]
    now = [(m, type(m), {n: vars(m)[n] for n in _OWN if n in vars(m)}) for m in ours]

    def go() -> None:
        for module, kind, own in now:
            for name in _OWN:
                vars(module).pop(name, None)
            vars(module).update(own)
            module.__class__ = kind

    return go


def sparse_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights of the layers that are sparse now, without what wrappers add."""
    return tuple(name for name, module in _layers(model) if isinstance(module, _Sparse))


def takeable(model: nn.Module, mask: Mask) -> dict[str, nn.Module]:
    """The layers that could be sparse under a mask, by the name of their weight."""
    kept = kept_by_identity(model, mask)
    return {name: layer for name, layer in _layers(model) if not _reason(layer, kept)}


def pruned_layers(model: nn.Module, mask: Mask) -> dict[str, str]:
    """The layers that something is pruned of, by their weight's name, and why one stays dense."""
    kept = kept_by_identity(model, mask)
    return {name: _reason(layer, kept) for name, layer in _wanted(model, kept, None).items()}


def _of_zeros(model: nn.Module) -> Mask:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, _ in model.named_buffers():
        if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in parameters:
            raise pruned_by_torch("model", without(name.removesuffix("_mask")))
    return Mask.of_zeros(parameters)


def kept_by_identity(model: nn.Module, mask: Mask) -> dict[int, Tensor]:
    """The mask by the identity of parameters: a tied one has several names."""
    weights = masked_parameters(mask, dict(model.named_parameters(remove_duplicate=False)))
    return {id(weights[name]): kept for name, kept in mask.items()}


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules with a weight matrix, by its name; one that several share, once."""
    for name, module in model.named_modules():
        weight = dict(module.named_parameters(recurse=False, remove_duplicate=False)).get("weight")
        if weight is not None and weight.ndim >= 2:
            yield without(f"{name}.weight".lstrip(".")), module


def _wanted(model: nn.Module, kept: dict[int, Tensor], layers: Collection[str] | None) -> dict[str, Any]:
    """These layers by name; else all pruned ones, and the pruned parameters that are no layer's weight."""
    known = dict(_layers(model))
    if layers is None:
        pruned = {place for place, one in kept.items() if not one.all()}
        found = {name: layer for name, layer in known.items() if id(layer.weight) in pruned}
        pruned -= {id(layer.weight) for layer in found.values()}
        return {**found, **{without(name): p for name, p in model.named_parameters() if id(p) in pruned}}
    if extra := sorted(set(layers) - known.keys()):
        raise bad_input("model", "layers", "weights of layers that it has", ", ".join(extra))
    return {name: layer for name, layer in known.items() if name in layers}


def _reason(layer: Any, kept: dict[int, Tensor]) -> str:
    """Why a layer stays dense; nothing where it need not."""
    if isinstance(layer, Tensor):
        return "no layer's weight"
    if type(layer) not in _KINDS and not isinstance(layer, _Sparse):
        return f"a {type(layer).__name__}"
    if layer.weight.device.type != "cpu" or layer.weight.dtype not in (torch.float32, torch.float64):
        return f"{layer.weight.dtype} on {layer.weight.device}"
    if (mine := kept.get(id(layer.weight))) is not None and not mine.any():
        return "nothing is kept"
    if isinstance(layer, nn.Linear):
        return ""
    if layer.padding_mode != "zeros" or (layer.padding == "same" and _padding(layer) is None):
        return (
            f"padding {layer.padding_mode if layer.padding_mode != 'zeros' else 'not the same on both sides'}"
        )
    return "depth-wise" if layer.groups == layer.in_channels > 1 else ""


def _padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Rows and columns of zeros on each side; None where one side has more than the other."""
    if not isinstance(layer.padding, str):
        return layer.padding[0], layer.padding[1]
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "valid":
        return 0, 0
    return None if any(r % 2 for r in reach) else (reach[0] // 2, reach[1] // 2)


def _swap(layer: Any, kept: Tensor | None) -> None:
    kept = torch.ones(layer.weight.shape, dtype=torch.bool) if kept is None else kept
    geometry: dict[str, Any] = {}
    if isinstance(layer, nn.Conv2d):
        geometry = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
        geometry["padding"] = _padding(layer)
    vars(layer)["plan"] = Plan.of(kept, **geometry)
    _find_places(layer)
    layer.__class__ = _KINDS[type(layer)]


def _find_places(layer: Any) -> None:
    """Where the plan's weights are in memory, as the weight lies now."""
    layer.memory_order = _memory_order(layer.weight)
    numbers = torch.arange(layer.weight.numel()).view([layer.weight.shape[d] for d in layer.memory_order])
    back = [layer.memory_order.index(d) for d in range(layer.weight.ndim)]
    layer.places = numbers.permute(back).reshape(-1)[layer.plan.positions].to(layer.weight.device)


def _memory_order(weight: Tensor) -> tuple[int, ...]:
    strides = weight.stride()
    return tuple(sorted(range(weight.ndim), key=lambda d: -strides[d]))
