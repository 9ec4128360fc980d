"""Finds out what a path holds and reads it as a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticket_sig.errors import about, bad_input
from ticket_sig.formats.bundle import CLAIM, MASK, SEALED, is_bundle, read_bundle
from ticket_sig.formats.folder import files_of
from ticket_sig.formats.kinds import other_kind
from ticket_sig.formats.layouts import Contained, contained, split_layout
from ticket_sig.formats.masks import may_hold_masks
from ticket_sig.formats.safetensors_file import looks_like_safetensors, read_safetensors
from ticket_sig.formats.torch_file import looks_like_torch, read_torch
from ticket_sig.formats.weights import InMemory, Shards, Weights, is_safetensors
from ticket_sig.ticket import Ticket


@dataclass(frozen=True)
class Loaded:
    """A model as it was found.

    Attributes:
        kind: of its files: "bundle", "safetensors" or "torch".
        claim, sealed: what lies beside it, if it does.
        passed_over: names of the code in a torch file, which was not run.
        contained: which of several state dicts in the file was read, and what was not.
    """

    ticket: Ticket
    kind: str
    claim: Path | None = None
    sealed: Path | None = None
    passed_over: tuple[str, ...] = ()
    contained: Contained = Contained()


def load(path: Path | str, mask: Path | str | None = None) -> Loaded:
    """Reads a bundle; or safetensors or `torch.save` files, told apart by their content: one, or shards.

    Shards are named by their folder or their index, and read whole.

    Args:
        mask: a file of the model's mask, where it lies apart: 0 and 1 under the names of the weights, or of
            masks (`X_mask`, ...); may be of NeurIPS'21 or a bundle's.

    Raises:
        InputError: nothing is there, it is none of these, or it is damaged; the message says which. Or the
            mask does not fit the model, or the model has another one.
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):
        raise bad_input(path, "model", "a bundle, a .safetensors or a torch file", "nothing at this path")
    if mask is not None and is_bundle(path):
        raise bad_input(path, "--mask", "a model file without a mask of its own", "a bundle")
    found = None if is_bundle(path) else files_of(path)
    folder = path if found is None else found.folder
    claim, sealed = ((folder / n) if folder and (folder / n).is_file() else None for n in (CLAIM, SEALED))
    if found is None:
        return Loaded(read_bundle(path), "bundle", claim, sealed)
    read = [(file, *_read(file)) for file in found.files]
    passed = tuple(dict.fromkeys(code for *_, codes in read for code in codes))
    where, kind, content, _ = read[0]
    if found.index:
        parts = {file: _named(file, held) for file, _, held, _ in read}
        where, content = found.index, found.merged(parts.__getitem__)
    masks, masks_where = (None, None) if mask is None else _masks(Path(mask))
    weights, kept, rewind = split_layout(content, where, masks, masks_where)
    with about(where):
        ticket = Ticket(weights=weights, mask=kept, rewind=rewind)
    return Loaded(ticket, kind, claim, sealed, passed, contained(content, where))


def contained_in(path: Path | str) -> Contained:
    """What of a file is read as its model; safetensors files and bundles hold nothing else."""
    path = Path(path)
    return Contained() if is_bundle(path) or is_safetensors(path) else load(path).contained


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
    return None if may_hold_masks(shards.names) else shards


def claim_beside(path: Path) -> Path:
    """The claim file in a model's folder; InputError where no model is there, or no claim beside it."""
    if (path / CLAIM).is_file():
        return path / CLAIM
    if not path.exists():
        load(path)  # says what is missing
    raise bad_input(path, "claim", f"a {CLAIM} beside the model, or --claim FILE", "neither")


def _masks(path: Path) -> tuple[Any, Path]:
    """What a file of masks holds, and which file that is; of a bundle, its mask's."""
    file = path / MASK if is_bundle(path) else path
    if not file.is_file():
        raise bad_input(file, "mask", "a safetensors or torch file", "nothing at this path")
    return _read(file)[1], file


def _named(file: Path, content: Any) -> dict[str, Any]:
    """What a shard holds, by name; InputError where it is no mapping."""
    if not isinstance(content, dict):
        raise bad_input(file, "content", "tensors by name", f"a {type(content).__name__}")
    return {str(name): one for name, one in content.items()}


def _read(path: Path) -> tuple[str, Any, tuple[str, ...]]:
    """The kind of a file, what it holds, and the code in it that was not run."""
    with path.open("rb") as file:
        head = file.read(16)
    if looks_like_safetensors(head):
        return "safetensors", read_safetensors(path), ()
    if looks_like_torch(head):
        found = read_torch(path)
        return "torch", found.content, found.passed_over
    raise other_kind(path)
