"""The state of a training at one step: enough to go on with the same bits, in one file, without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    for name, key, t in _optimizer_tensors(model, optimizer):
        tensors[f"optimizer/{key}/{name}"] = t
    write_safetensors(path, tensors, json.dumps(progress))


def read_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Puts a checkpoint back into model and optimizer; returns its `progress`.

    Raises:
        InputError: the file is damaged or belongs to another model.
    """
    tensors = read_safetensors(path)
    try:
        progress = json.loads(read_metadata(path)["ticket_sig"])
        model.load_state_dict(
            {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
        )
        for name, parameter in model.named_parameters():
            keys = {
                n.split("/", 2)[1]: t
                for n, t in tensors.items()
                if n.startswith("optimizer/") and n.split("/", 2)[2] == name
            }
            # As the optimizer lays them out itself, else it would compute in another order of bits.
            optimizer.state[parameter] = {k: torch.empty_like(parameter).copy_(t) for k, t in keys.items()}
    except (KeyError, ValueError, RuntimeError) as error:
        raise bad_input(
            path, "checkpoint", "one of this run", f"another ({str(error).splitlines()[0]})"
        ) from None
    return dict(progress)


def _optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, str, Tensor]]:
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield name, key, value
