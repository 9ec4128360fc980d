"""The state of a training at one step: enough to go on with the same bits, in one file, without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.errors import bad_input
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors


def write_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Writes weights, buffers, the optimizer's tensors and `progress` (JSON), whole or not at all."""
    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer/{key}/{name}": t for key, t in state.items() if isinstance(t, Tensor)}
    write_safetensors(path, tensors, json.dumps(progress))


def read_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Puts a checkpoint back, returns its `progress`; InputError where it is damaged or of another model."""
    tensors = read_safetensors(path)
    try:
        progress = json.loads(read_metadata(path)["ticket_sig"])
        weights = {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
        model.load_state_dict(weights)
        parameters = dict(model.named_parameters())
        for full, t in tensors.items():
            kind, key, *name = full.split("/", 2)
            if kind == "optimizer":
                # As the optimizer lays them out itself, else it would compute in another order of bits.
                parameter = parameters[name[0]]
                optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(t)
    except (KeyError, ValueError, RuntimeError) as error:
        found = f"another ({str(error).splitlines()[0]})"
        raise bad_input(path, "checkpoint", "one of this run", found) from None
    return dict(progress)
