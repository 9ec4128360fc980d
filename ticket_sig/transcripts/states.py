"""The full state of a training at a boundary: parameters, buffers, optimizer and losses, in one file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import parse_json
from ticket_sig.formats.safetensors_file import (
    read_layout,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from ticket_sig.transcripts.values import decode, leaves

GROUPS = ("parameters", "buffers", "optimizer", "others")
_TYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, kw_only=True)
class State:
    """A training at one step; all tensors contiguous, on the CPU.

    Attributes:
        parameters, buffers: of the network, by name.
        optimizer: tensors of its state, by `key/name of the parameter`.
        losses: sum of the losses over images and number of images, since the epoch began; float64 [2].
            Of a user's own loop: over steps, since the boundary before.
        facts, others: of a user's own loop: whatever else its next step depends on, as `values.encode`
            writes it, and the tensors in it.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    losses: tuple[float, float]
    facts: Any = None
    others: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer, losses: Tensor) -> State:
        """A copy of where a training stands."""
        names = {name for name, _ in model.named_parameters()}
        everything = {name: _copy(t) for name, t in model.state_dict().items()}
        total, count = losses.tolist()
        return cls(
            parameters={n: t for n, t in everything.items() if n in names},
            buffers={n: t for n, t in everything.items() if n not in names},
            optimizer={
                f"{key}/{name}": _copy(t)
                for name, parameter in model.named_parameters()
                for key, t in optimizer.state.get(parameter, {}).items()
                if isinstance(t, Tensor)
            },
            losses=(total, count),
        )

    @classmethod
    def read(cls, path: Path) -> State:
        """Reads a file that `write` wrote; InputError where it is missing or damaged."""
        tensors = read_safetensors(path)
        try:
            said = parse_json(read_metadata(path)["ticket_sig"])
            total, count = said["losses"]
            losses = float.fromhex(total), float.fromhex(count)
            facts = said.get("facts")
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            raise bad_input(path, "losses", "two numbers", "something else") from None
        parts: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
        for full, tensor in tensors.items():
            group, _, name = full.partition("/")
            if group not in parts:
                raise bad_input(path, "tensors", f"those of {', '.join(GROUPS)}", repr(full)[:80])
            parts[group][name] = tensor
        if facts is None and parts["others"]:
            raise bad_input(
                path, "tensors", "those of a training", f"others/{next(iter(parts['others']))}"[:80]
            )
        with about(path):
            decode(facts, parts["others"])  # raises where it is nothing that `encode` wrote
        return cls(**parts, losses=losses, facts=facts)

    @staticmethod
    def check_layout(path: Path, model: nn.Module) -> None:
        """Checks that a file's tensors are those of a network, before any of them is read.

        Raises:
            InputError: the file is missing or damaged, or a name, type or shape is another.
        """
        parameters, layout = dict(model.named_parameters()), read_layout(path)
        for name, tensor in model.state_dict().items():
            full = f"{'parameters' if name in parameters else 'buffers'}/{name}"
            found = layout.pop(full, ("none", ()))
            if found != _layout(tensor):
                raise bad_input(path, full, _in_words(_layout(tensor)), _in_words(found))
        for full, found in layout.items():
            group, _, rest = full.partition("/")
            parameter = parameters.get(rest.partition("/")[2])
            # A count of steps, as other optimizers have it, has no shape.
            known = [] if parameter is None else [_layout(parameter), ("F32", ())]
            if group != "optimizer" or found not in known:
                expected = " or ".join(map(_in_words, known)) or "nothing"
                raise bad_input(path, full[:80], expected, _in_words(found))

    def write(self, path: Path) -> None:
        """Writes it, whole or not at all; OSError where the disk is full."""
        tensors = {f"{g}/{n}": t for g in GROUPS for n, t in getattr(self, g).items()}
        facts = {} if self.facts is None else {"facts": self.facts}
        said = {"losses": [one.hex() for one in self.losses], **facts}
        write_safetensors(path, tensors, json.dumps(said, allow_nan=False))

    def digests(self) -> dict[str, Any]:
        """What the chain says of it: a digest of each group of tensors, and the losses, to the last bit."""
        groups = {group: tensor_digest(getattr(self, group)) for group in GROUPS[:3]}
        if self.facts is not None:
            groups |= {"others": tensor_digest(self.others), "facts": json_digest({"facts": self.facts})}
        return {**groups, "losses": [one.hex() for one in self.losses]}

    def put_into(self, model: nn.Module, optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
        """Has a training stand there; InputError where it is of another network."""
        parameters = dict(model.named_parameters())
        groups = {p: group for group in optimizer.param_groups for p in group["params"]}
        try:
            model.load_state_dict({**self.parameters, **self.buffers})
            optimizer.state.clear()
            for full, tensor in self.optimizer.items():
                key, _, name = full.partition("/")
                parameter = parameters[name]
                if self.facts is None and tensor.shape != parameter.shape:  # SGD has no others
                    raise RuntimeError(f"{full} is of another shape")
                optimizer.state[parameter][key] = _placed(key, tensor, parameter, groups[parameter])
        except (RuntimeError, KeyError) as error:
            raise bad_input("state", "tensors", "those of the network", str(error).splitlines()[0]) from None
        losses.copy_(torch.tensor(self.losses, dtype=losses.dtype))

    def differing(self, other: State) -> list[str]:
        """The tensors of another state that are not the same bits, and `losses`; NaN equals no NaN."""
        found = [
            f"{group}/{name}"
            for group in GROUPS[:3]
            for name in _both(getattr(self, group), getattr(other, group))
            if not _same(getattr(self, group).get(name), getattr(other, group).get(name))
        ]
        mine, theirs = (dict(leaves(one.facts, one.others, "")) for one in (self, other))
        found += [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        return found + ([] if self.losses == other.losses else ["losses"])


def _layout(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return _TYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape)


def _in_words(layout: tuple[str, tuple[int, ...]]) -> str:
    kind, shape = layout
    return f"{kind} {list(shape)}"[:80]


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _placed(key: str, tensor: Tensor, parameter: Tensor, group: Mapping[str, Any]) -> Tensor:
    """A tensor of the optimizer's state as the optimizer itself lays it out, else sums run otherwise."""
    if key == "step" and not (group.get("capturable") or group.get("fused")):
        return tensor.clone()
    if tensor.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
    return tensor.clone().to(parameter.device)


def _both(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Collection[str]:
    return {**one, **other}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    # Bytes: to torch.equal, -0.0 is 0.0.
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)) and not bool(
        torch.isnan(one).any() if one.is_floating_point() else False
    )
