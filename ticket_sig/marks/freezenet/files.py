"""FreezeNet in model files: the watermark written into a copy of any model, large ones in parts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ticket_sig.claim import Claim
from ticket_sig.errors import about, bad_input
from ticket_sig.files import SECRET, whole_folder, write_json
from ticket_sig.formats import load, save
from ticket_sig.formats.bundle import CLAIM, is_bundle
from ticket_sig.formats.patch import copy_files, other_files
from ticket_sig.formats.weights import InMemory, Shards, Weights, is_safetensors, tensors_of
from ticket_sig.models import build_for
from ticket_sig.training.progress import Progress
from ticket_sig.watermarks.derive import Fixed, Manifest
from ticket_sig.watermarks.freezenet import Matches, Watermark
from ticket_sig.watermarks.mark import claim_of


@dataclass(frozen=True)
class Marked:
    """A copy of a model with a watermark in it.

    Attributes:
        claim: what lies in its claim.json.
        fixed: what was written, by tensor.
        reading: what stands in the copy.
        left_out: names of what lay beside the model and is not in the copy.
    """

    claim: Claim
    fixed: Mapping[str, Fixed]
    reading: Matches
    left_out: tuple[str, ...]


def apply_to_files(
    watermark: Watermark,
    path: Path | str,
    out: Path | str,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> Marked:
    """Writes a copy of a model with the watermark in it, and claim.json; the claim is its owner's to read.

    Safetensors files, one or many, are never loaded whole: they are copied as they are, but for the fixed
    entries, in memory in proportion to the watermark's length. Any other model becomes a bundle.

    Args:
        path: whatever `open_weights` takes.
        out: folder to write, whole or not at all.
        replace: overwrite a model that is there, and the claim beside it.

    Raises:
        InputError: as `open_weights` and `Watermark.apply`; `out` is taken, or holds the model itself, or
            lies in its folder.
        OSError: the disk is full; nothing is left behind.
    """
    path, out = Path(path), Path(out)
    _check_out(path, out, replace)
    if is_safetensors(path) and not is_bundle(path):
        return _copy(watermark, path, out, replace, progress)
    loaded = load(path)
    with about(path):
        if loaded.sealed:
            raise bad_input("", "sealed part", "none", "one: the ticket is locked", hint="unlock it first")
        ticket = watermark.embed(loaded.ticket)
        weights = InMemory(ticket.weights)
        fixed, reading = watermark.fixed_in(weights), watermark.read(weights)
    claim = claim_of(watermark, ticket.weights)
    save(ticket, out, claim=claim.to_json(), replace=replace)
    return Marked(claim, fixed, reading, (CLAIM,) if loaded.claim else ())


def manifest_of(weights: Weights, arch: str | None = None) -> Manifest:
    """Names and shapes that a watermark's places are drawn from in a model file.

    Args:
        arch: a network of ours, of which only the trainable parameters are taken; without one all weights
            that are no buffers.

    Raises:
        InputError: no weights, or not those of that network.
    """
    if arch is None:
        found = Watermark(b"any", 0)
        found.fixed_in(weights)
        assert found.manifest is not None
        return found.manifest
    # Shapes alone decide: one number stands for all of a tensor.
    shapes = {name: torch.zeros(()).expand(shape) for name, shape in weights.shapes.items()}
    network = build_for(arch, shapes)
    return {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}


def _copy(watermark: Watermark, path: Path, out: Path, replace: bool, progress: Progress | None) -> Marked:
    weights = Shards(path)
    with about(path):
        fixed = watermark.fixed_in(weights)
        others, left_out = other_files(path, weights)
    changed = {name: (f.places, torch.from_numpy(f.values)) for name, f in fixed.items()}
    with whole_folder(out, replace=replace) as folder:
        copy_files(weights, folder, changed, progress)
        for source in others:
            shutil.copyfile(source, folder / source.name)
        copy = Shards(folder)
        reading, claim = watermark.read(copy), claim_of(watermark, tensors_of(copy))
        write_json(folder / CLAIM, claim.to_json(), SECRET)
    return Marked(claim, fixed, reading, tuple(left_out))


def _check_out(path: Path, out: Path, replace: bool) -> None:
    """Refuses to overwrite what is no model, and to write over or into the model itself."""
    if path.is_dir() and out.resolve() != path.resolve() and out.resolve().is_relative_to(path.resolve()):
        raise bad_input(out, "output folder", "one outside the model's own", "one inside")
    if not out.exists():
        return
    if path.resolve().is_relative_to(out.resolve()):
        raise bad_input(out, "output folder", "another than the model's own", "the same")
    # A claim alone makes no model: it may lie beside anything.
    known = is_bundle(out) or (out.is_dir() and is_safetensors(out))
    if replace and not known:
        raise bad_input(out, "output folder", "a model to overwrite", "something else")
