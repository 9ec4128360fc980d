"""The bundle: a folder that holds a ticket so that any PyTorch user can load its model.

model.safetensors    plain parameter names and shapes, zeros where pruned
mask.safetensors     boolean, the prunable tensors
rewind.safetensors   the tensors at the rewind step, dense (left out where not known)
ticket.json          format version, recipe, seed, history, digests of the tensors above
claim.json           once signed
reference.safetensors  the tensors before the first mark, for their owner alone
sealed.bin           of a locked ticket: what its key opens (scheme 1)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.fields import check_format
from ticket_sig.files import SECRET, read_json, whole_folder, write_json
from ticket_sig.formats.folder import REFERENCE
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.ticket import HistoryEntry, Ticket, tie, ties
from ticket_sig.version import VERSION as PACKAGE_VERSION

FORMAT = "ticket_sig ticket"
FORMAT_VERSION = 1
MODEL, MASK, REWIND = "model.safetensors", "mask.safetensors", "rewind.safetensors"
TICKET, CLAIM, SEALED = "ticket.json", "claim.json", "sealed.bin"


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle: a folder with a ticket.json."""
    return (path / TICKET).is_file()


def save(
    ticket: Ticket,
    path: Path | str,
    *,
    claim: Mapping[str, Any] | None = None,
    sealed: bytes | None = None,
    reference: Mapping[str, Tensor] | Path | None = None,
    replace: bool = False,
) -> Path:
    """Writes a bundle, whole or not at all, and returns its path.

    Args:
        claim: what goes into claim.json (`Claim.to_json()`).
        sealed: of a locked ticket, what its key opens (`Split.sealed` of the key mask).
        reference: the tensors before the first mark, or their file, to which the claim commits.
        replace: overwrite a bundle that is there.

    Raises:
        InputError: the ticket breaks promise 1, or the folder is there and `replace` is off.
        OSError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    check_overwrite(path, replace)
    ticket.mask.check(ticket.weights)
    with whole_folder(path, replace=replace) as folder:
        write_bundle(ticket, folder, claim=claim, sealed=sealed, reference=reference)
    return path


def check_overwrite(path: Path, replace: bool) -> None:
    """Refuses, as InputError, to put a bundle in place of something else."""
    if replace and path.exists() and not is_bundle(path):
        raise bad_input(path, "output folder", "a bundle to overwrite", "something else")


def write_bundle(
    ticket: Ticket,
    folder: Path,
    *,
    claim: Mapping[str, Any] | None = None,
    sealed: bytes | None = None,
    reference: Mapping[str, Tensor] | Path | None = None,
) -> None:
    """Writes the files of a bundle into a folder that is there (`whole_folder`); as `save`."""
    ticket.mask.check(ticket.weights)
    tensors: dict[str, Mapping[str, Tensor]] = {MODEL: ticket.weights, MASK: ticket.mask}
    if ticket.rewind is not None:
        tensors[REWIND] = ticket.rewind
    for name, content in tensors.items():
        write_safetensors(folder / name, content)
    digests = {name: tensor_digest(content) for name, content in tensors.items()}
    write_json(folder / TICKET, _ticket_json(ticket, digests))
    if claim is not None:
        write_json(folder / CLAIM, claim, SECRET)  # it names the place of the mark
    if sealed is not None:
        (folder / SEALED).write_bytes(sealed)
    if reference is not None:
        keep_reference(reference, folder)


def reference_beside(claim: Path | None) -> Path | None:
    """The reference that lies beside a claim's file; None where there is none."""
    beside = claim and claim.with_name(REFERENCE)
    return beside if beside and beside.is_file() else None


def keep_reference(reference: Mapping[str, Tensor] | Path, folder: Path) -> None:
    """Writes a reference beside a claim, for its owner alone: tensors, or a copy of their file."""
    if isinstance(reference, Path):
        shutil.copyfile(reference, folder / REFERENCE)
        (folder / REFERENCE).chmod(SECRET)
    else:
        write_safetensors(folder / REFERENCE, reference, mode=SECRET)


def read_bundle(path: Path) -> Ticket:
    """Reads a bundle and checks every tensor against its digest.

    Raises:
        InputError: a file is missing or damaged, of another format version, or was changed since.
    """
    head = _read_head(path / TICKET)
    names = [name for name in (MODEL, MASK, REWIND) if name in head["digests"]]
    tensors = {name: read_safetensors(path / name) for name in names}
    found = {name: tensor_digest(content) for name, content in tensors.items()}
    if changed := [name for name, digest in found.items() if digest != head["digests"][name]]:
        lines = (f"{path / n}: digest: expected {head['digests'][n]}, found {found[n]}" for n in changed)
        raise InputError("; ".join(lines) + f"; changed after {TICKET} was written", named=True)
    with about(path / TICKET):
        history = tuple(HistoryEntry.from_json(entry) for entry in head["history"])
        weights = tie(tensors[MODEL], head["tied"])
    with about(path):
        mask, rewind = Mask.of_own(tensors[MASK]), tensors.get(REWIND)
        return Ticket(weights=weights, mask=mask, rewind=rewind, recipe=head["recipe"], history=history)


def _read_head(path: Path) -> dict[str, Any]:
    """Reads ticket.json and checks the types of its fields."""
    head = {"tied": {}, "recipe": None, **read_json(path)}
    check_format(head, path, FORMAT, FORMAT_VERSION)
    digests, history, tied = head.get("digests"), head.get("history"), head["tied"]
    if not isinstance(head["recipe"], dict | None):
        raise bad_input(path, "recipe", "an object or null", repr(head["recipe"]))
    if not isinstance(digests, dict) or not {MODEL, MASK} <= digests.keys():
        raise bad_input(path, "digests", f"one for {MODEL} and one for {MASK}", repr(digests))
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise bad_input(path, "history", "a list of entries", repr(history))
    if not isinstance(tied, dict) or not all(isinstance(first, str) for first in tied.values()):
        raise bad_input(path, "tied", "names by name", repr(tied))
    return head


def _ticket_json(ticket: Ticket, digests: dict[str, str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_by": f"ticket_sig {PACKAGE_VERSION}",
        "kept": ticket.mask.kept,
        "total": ticket.mask.total,
        "density": round(ticket.mask.density, 6),
        "pruning_rates": {str(rate): times for rate, times in ticket.pruning_rates().items()},
        "seed": ticket.recipe.get("seed") if ticket.recipe else None,
        "recipe": ticket.recipe,
        "history": [entry.to_json() for entry in ticket.history],
        # By name: a file does not keep the order in which the tensors came.
        "tied": ties({name: ticket.weights[name] for name in sorted(ticket.weights)}),
        "digests": digests,
    }
