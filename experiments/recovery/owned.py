"""What an owner has: a reference, a marked network, and a claim; of each network one, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from experiments.lib.bench import Bench, no_secret
from experiments.recovery.kinds_of_net import initial, with_weights
from ticket_sig.digests import tensor_digest
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.lottery import retrain
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import Mark
from ticket_sig.marks.embed import Embedded, embed
from ticket_sig.mask import Mask
from ticket_sig.models import prunable_names
from ticket_sig.recovery import Reference
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.batches import TriggerBatch

QR, SPREAD, MIRROR = "qr-code", "spread", "mirror"
MESSAGE, PRUNED = "own", 0.8
OWNER = 1000  # seed of the owner's networks
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Owned:
    """An owner's network.

    Attributes:
        module: of the architecture, whatever its weights.
        reference: as it was before its marks.
        ticket: with all marks, and trained on where it was trained on digits.
        embedded: the claim, with the marks and the secret.
        data: set that it is trained on.
    """

    module: nn.Module
    reference: Reference
    ticket: Ticket
    embedded: Embedded
    data: str = "digits"


def marks_of_net(name: str) -> str:
    """The marks that a network has room for; those with few 3x3 kernels have no mirror code."""
    without = ("fully connected", "with depth-wise convolutions")
    return f"{QR}+{SPREAD}" if name in without else f"{QR}+{SPREAD}+{MIRROR}"


def recipe_of(epochs: int, seed: int = OWNER) -> Recipe:
    """A training on digits, in float32 on every machine; the network is given beside it."""
    changes: dict[str, Any] = {"length": Steps(epochs), "seed": seed, "precision": "float32"}
    return preset("demo", arch="resnet20", dataset="digits", **changes)


def trained(
    bench: Bench,
    name: str,
    ticket: Ticket,
    epochs: int,
    seed: int,
    *,
    marks: Sequence[Mark] = (),
    triggers: TriggerBatch | None = None,
) -> Ticket:
    """A network trained on digits, under its mask, from the weights that it has; marks are kept or taught."""
    recipe = recipe_of(epochs, seed)
    given: dict[str, Any] = {"net": name, "recipe": recipe.to_json()}
    given |= {"weights": tensor_digest(ticket.weights), "mask": tensor_digest(ticket.mask)}
    digests = [*(mark.digest for mark in marks), *([triggers.digest] if triggers else [])]
    given |= {"beside": digests} if digests else {}

    def make(folder: Path) -> dict[str, Any]:
        done = retrain(
            ticket,
            recipe,
            bench.data("digits"),
            folder / "run",
            start="model",
            triggers=triggers,
            marks=marks,
            model=initial(name, seed),
            engine=bench.engine,
        )
        write_safetensors(folder / _WEIGHTS, done.weights)
        return {"validation": done.history[-1].validation}

    folder, _ = bench.once("owned", given, make)
    return Ticket(weights=read_safetensors(folder / _WEIGHTS), mask=ticket.mask)


def dense(bench: Bench, name: str, epochs: int, seed: int) -> Ticket:
    """A dense network trained on digits; its mask is of what can be pruned."""
    network = initial(name, seed)
    weights = {one: tensor.clone() for one, tensor in network.state_dict().items()}
    mask = Mask.full({one: weights[one] for one in prunable_names(network)})
    return trained(bench, name, Ticket(weights=weights, mask=mask), epochs, seed)


@lru_cache(maxsize=16)
def owned(bench: Bench, name: str, epochs: int) -> Owned:
    """The owner's network of a name: pruned once, marked, and trained under its mask."""
    unsigned = prune_ticket(dense(bench, name, epochs, OWNER), PRUNED)
    module = with_weights(name, unsigned.weights)
    secret = no_secret(f"experiment {OWNER}")
    marked = embed(unsigned, MESSAGE, mark=marks_of_net(name), secret=secret)
    ticket = trained(bench, name, marked.ticket, epochs, OWNER)
    return Owned(module, Reference.of(module), ticket, marked)
