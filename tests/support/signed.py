"""A small signed model, and whether the file that a user made of it still verifies."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from support.command_line import run
from support.tickets import sparse_ticket
from ticket_sig import embed

MESSAGE = "owner@example.org"  # of the bundle that tests of the command line have


@functools.lru_cache
def _signed() -> tuple[Mapping[str, Tensor], str]:
    made = embed(sparse_ticket(density=0.15), "mine", secret=b"tests")
    return made.ticket.weights, json.dumps(made.claim.to_json())


def signed_weights() -> dict[str, Tensor]:
    """Its tensors, to be written as users do."""
    return {name: tensor.clone() for name, tensor in _signed()[0].items()}


def assert_verified(model: Path) -> None:
    """The code stands in this file, and says what it said."""
    claim = model.parent / "claim-of-owner.txt"
    claim.write_text(_signed()[1])
    said = run(["verify", model, "--claim", claim])
    assert said.code == 0, said.err
    assert run(["extract", model, "--claim", claim]).out == "mine\n"
