"""Finds out what a path holds and reads it as a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticket_sig.errors import about, bad_input
from ticket_sig.formats.bundle import CLAIM, MASK, MODEL, SEALED, TICKET, is_bundle, read_bundle
from ticket_sig.formats.layouts import split_layout
from ticket_sig.formats.masks import may_hold_masks
from ticket_sig.formats.safetensors_file import looks_like_safetensors, read_safetensors
from ticket_sig.formats.torch_file import looks_like_torch, read_torch
from ticket_sig.formats.weights import INDEX, InMemory, Shards, Weights, is_safetensors
from ticket_sig.ticket import Ticket


@dataclass(frozen=True)
class Loaded:
    """A model as it was found: the ticket, the kind of file, and claim and sealed part beside it, if any."""

    ticket: Ticket
    kind: str
    claim: Path | None = None
    sealed: Path | None = None


def load(path: Path | str, mask: Path | str | None = None) -> Loaded:
    """Reads a bundle, a `.safetensors` file or a `torch.save` file, told apart by their content.

    Args:
        mask: a file of the model's mask, where it lies apart: 0 and 1 under the names of the weights, or of
            masks (`X_mask`, ...); may be of NeurIPS'21 or a bundle's.

    Raises:
        InputError: nothing is there, it is none of these, or it is damaged; the message says which. Or the
            mask does not fit the model, or the model has another one.
    """
    path = Path(path)
    if mask is not None and is_bundle(path):
        raise bad_input(path, "--mask", "a model file without a mask of its own", "a bundle")
    if path.is_dir():
        return _load_folder(path, mask)
    return _load_file(path, *_content(path, "model"), mask)


def open_weights(path: Path | str, mask: Path | str | None = None) -> Weights:
    """The weights of any model: safetensors files, which may be many, are read in parts; others as by `load`.

    Raises:
        InputError: as `load` and `Shards`.
    """
    path = Path(path)
    if mask is None and (shards := shards_at(path)) is not None:
        return shards
    return InMemory(load(path, mask).ticket.weights)


def shards_at(path: Path) -> Shards | None:
    """The safetensors files at a path, to be read in parts; None where `load` alone reads what is there.

    Raises:
        InputError: as `Shards`.
    """
    if not is_safetensors(path) or is_bundle(path):
        return None
    shards = Shards(path)
    # A weight that stands beside its mask is in two parts, which `load` puts together.
    return shards if len(shards.files) > 1 or not may_hold_masks(shards.names) else None


def claim_beside(path: Path) -> Path:
    """The claim file in a model's folder; InputError where no model is there, or no claim beside it."""
    if (path / CLAIM).is_file():
        return path / CLAIM
    if not path.exists():
        load(path)  # says what is missing
    raise bad_input(path, "claim", f"a {CLAIM} beside the model, or --claim FILE", "neither")


def check_one_file(path: Path, field: str, expected: str, hint: str) -> None:
    """Checks that a model can be loaded whole, and does not lie in safetensors files with an index.

    Args:
        field, expected, hint: of the message.

    Raises:
        InputError: it does.
    """
    if (path / INDEX).is_file() and not is_bundle(path):
        raise bad_input(path, field, expected, "safetensors files with an index", hint=hint)


def _content(path: Path, what: str) -> tuple[str, Any]:
    """The kind of a file, and what it holds; InputError where it is no file of tensors."""
    if not path.is_file():
        raise bad_input(path, what, "a bundle, a .safetensors or a torch file", "nothing at this path")
    with path.open("rb") as file:
        head = file.read(16)
    if looks_like_safetensors(head):
        return "safetensors", read_safetensors(path)
    if looks_like_torch(head):
        return "torch", read_torch(path)
    found = "an empty file" if not head else f"a file that begins with {head[:8]!r}"
    raise bad_input(path, what, "a safetensors or torch file", found)


def _load_folder(path: Path, mask: Path | str | None) -> Loaded:
    claim, sealed = ((path / name) if (path / name).is_file() else None for name in (CLAIM, SEALED))
    if is_bundle(path):
        return Loaded(read_bundle(path), "bundle", claim, sealed)
    if (path / MODEL).is_file():
        return Loaded(load(path / MODEL, mask).ticket, "safetensors", claim, sealed)
    raise bad_input(path, "folder", f"a bundle ({TICKET}) or a {MODEL}", "neither")


def _load_file(path: Path, kind: str, content: object, given: Path | str | None) -> Loaded:
    where = None if given is None else _mask_file(Path(given))
    masks = None if where is None else _content(where, "mask")[1]
    weights, mask, rewind = split_layout(content, path, masks, where)
    with about(path):
        return Loaded(Ticket(weights=weights, mask=mask, rewind=rewind), kind)


def _mask_file(path: Path) -> Path:
    return path / MASK if is_bundle(path) else path
