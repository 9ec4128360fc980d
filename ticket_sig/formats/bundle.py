"""The bundle: a folder that holds a ticket so that any PyTorch user can load its model.

model.safetensors    plain parameter names and shapes, zeros where pruned
mask.safetensors     boolean, the prunable tensors
rewind.safetensors   the tensors at the rewind step, dense (left out where not known)
ticket.json          format version, recipe, seed, history, digests of the tensors above
claim.json           once signed
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.files import read_json, whole_folder, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.ticket import Round, Ticket
from ticket_sig.version import VERSION as PACKAGE_VERSION

FORMAT_VERSION = 1
MODEL, MASK, REWIND, TICKET, CLAIM = (
    "model.safetensors",
    "mask.safetensors",
    "rewind.safetensors",
    "ticket.json",
    "claim.json",
)


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle: a folder with a ticket.json."""
    return (path / TICKET).is_file()


def save(
    ticket: Ticket, path: Path | str, *, claim: Mapping[str, Any] | None = None, replace: bool = False
) -> Path:
    """Writes a bundle, whole or not at all, and returns its path.

    Args:
        claim: what goes into claim.json (`Claim.to_json()`).
        replace: overwrite a bundle that is there.

    Raises:
        InputError: the ticket breaks promise 1, or the folder is there and `replace` is off.
        OSError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    ticket.mask.check(ticket.weights)
    if replace and path.exists() and not is_bundle(path):
        raise bad_input(path, "output folder", "a bundle to overwrite", "something else")
    tensors: dict[str, Mapping[str, Tensor]] = {MODEL: ticket.weights, MASK: ticket.mask}
    if ticket.rewind is not None:
        tensors[REWIND] = ticket.rewind
    with whole_folder(path, replace=replace) as folder:
        for name, content in tensors.items():
            write_safetensors(folder / name, content)
        write_json(
            folder / TICKET, _ticket_json(ticket, {name: tensor_digest(t) for name, t in tensors.items()})
        )
        if claim is not None:
            write_json(folder / CLAIM, claim)
    return path


def read_bundle(path: Path) -> Ticket:
    """Reads a bundle and checks every tensor against its digest.

    Raises:
        InputError: a file is missing or damaged, of another format version, or was changed since.
    """
    head = read_json(path / TICKET)
    where = path / TICKET
    if head.get("version") != FORMAT_VERSION:
        raise bad_input(where, "version", str(FORMAT_VERSION), repr(head.get("version")))
    if not isinstance(head.get("recipe"), dict | None):
        raise bad_input(where, "recipe", "an object or null", repr(head["recipe"]))
    digests, history = head.get("digests"), head.get("history")
    if not isinstance(digests, dict) or not {MODEL, MASK} <= digests.keys():
        raise bad_input(where, "digests", f"one for {MODEL} and one for {MASK}", repr(digests))
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise bad_input(where, "history", "a list of entries", repr(history))
    tensors = {name: read_safetensors(path / name) for name in (MODEL, MASK, REWIND) if name in digests}
    for name, content in tensors.items():
        if (found := tensor_digest(content)) != digests[name]:
            raise bad_input(
                path / name,
                "digest",
                str(digests[name]),
                found,
                hint=f"the file changed after {TICKET} was written",
            )
    with about(where):
        rounds = tuple(Round.from_json(entry) for entry in history)
    with about(path):
        mask, rewind = Mask(tensors[MASK]), tensors.get(REWIND)
        return Ticket(
            weights=tensors[MODEL], mask=mask, rewind=rewind, recipe=head.get("recipe"), history=rounds
        )


def _ticket_json(ticket: Ticket, digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": "ticket_sig ticket",
        "version": FORMAT_VERSION,
        "written_by": f"ticket_sig {PACKAGE_VERSION}",
        "kept": ticket.mask.kept,
        "total": ticket.mask.total,
        "density": round(ticket.mask.density, 6),
        "pruning_rates": {str(rate): times for rate, times in ticket.pruning_rates().items()},
        "seed": ticket.recipe.get("seed") if ticket.recipe else None,
        "recipe": ticket.recipe,
        "history": [entry.to_json() for entry in ticket.history],
        "digests": dict(digests),
    }
