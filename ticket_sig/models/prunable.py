"""Which tensors of a network are prunable."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from ticket_sig.errors import bad_input
from ticket_sig.models.operations import CONVOLUTIONS


def prunable_names(model: nn.Module, exclude: Sequence[str] = ()) -> list[str]:
    """Names of the weights that may be pruned, in the module's order.

    All convolutions but the first, and all linear layers but the last, the classifier
    (NeurIPS'21, section 4). A weight that two modules share is named once.

    Args:
        exclude: further names to leave dense; `*` stands for anything.

    Raises:
        InputError: nothing is left to prune.
    """
    layers = _layers(model)
    convolutions = [name for name, m in layers if isinstance(m, CONVOLUTIONS)]
    linears = [name for name, m in layers if isinstance(m, nn.Linear)]
    dense = {*convolutions[:1], *linears[-1:]}
    owned = {name for name, _ in model.named_parameters()}
    names = [f"{name}.weight".lstrip(".") for name, _ in layers if name not in dense]
    names = [n for n in names if n in owned and not any(fnmatchcase(n, pattern) for pattern in exclude)]
    if not names:
        expected = "a convolution but the first or a linear layer but the last"
        computed = [name for name, m in layers if name not in dense and "weight" not in m._parameters]
        hint = f"{computed[0]}.weight is computed anew at each call: make it a parameter" if computed else ""
        if isinstance(model, torch.jit.ScriptModule):
            hint = "hand in the module that the TorchScript was made from"
        raise bad_input("model", "prunable layers", expected, "none", hint=hint)
    return names


def ends(model: nn.Module) -> tuple[str, str]:
    """Names of the first and the last layer's weights: they say how many channels and classes there are."""
    layers = _layers(model)
    return f"{layers[0][0]}.weight", f"{layers[-1][0]}.weight"


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, (*CONVOLUTIONS, nn.Linear))]
