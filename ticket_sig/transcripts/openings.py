"""Openings: the samples that some segments train on, and what checks them against the Merkle root.

An auditor who may not see the whole data set trains these segments again. Which samples a segment trains on
follows from the recipe's seed: the auditor computes it, too, and trusts no list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import PartialSplit, Split
from ticket_sig.digests import DIGEST
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, entry, image_size, matching, parse_json, whole
from ticket_sig.formats.safetensors_file import (
    read_layout,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from ticket_sig.training.batches import draw_epoch, rows_of
from ticket_sig.training.recipe import Recipe
from ticket_sig.transcripts.merkle import leaves, proof_of, root_from
from ticket_sig.transcripts.recording import MANIFEST
from ticket_sig.transcripts.transcript import Segment, Transcript, check_data, check_kind
from ticket_sig.version import VERSION

FORMAT, FORMAT_VERSION = "ticket_sig openings", 1
_HASH = 32  # bytes
_LAYOUT = {"numbers": ("I64", 1), "images": ("U8", 4), "labels": ("I64", 1), "proof": ("U8", 2)}
# What a manifest may ask an auditor to make room for, before a sample of it was seen.
_FAR = 1e9  # no mean or deviation of pixels, scaled to 0 to 1
_MOST = {"train": 10**8, "test": 10**8, "classes": 10**5, "size": 10**5}


@dataclass(frozen=True, kw_only=True)
class Openings:
    """Samples of a data set with their Merkle proof.

    Attributes:
        source: the file they are from, for messages.
        head: of the chain that they were opened for.
        numbers: of the n samples, int64 [n], ascending; those of the test split come after the train split.
        images, labels: uint8 [n, height, width, channels], int64 [n].
        proof: the hashes it takes beside those of the samples, uint8 [m, 32].
    """

    head: str
    numbers: Tensor
    images: Tensor
    labels: Tensor
    proof: Tensor
    source: Path = Path("openings")

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, transcript: Transcript, data: Dataset, segments: Sequence[Segment]) -> Openings:
        """Opens the samples that an audit of some segments takes.

        In a search for the extreme ticket those that decide are among them: without these nobody knows the
        masks.

        Raises:
            InputError: other data than those committed to, or a user's own loop.
        """
        check_kind(transcript)
        check_data(transcript, data)
        recipe, first = Recipe.from_json(transcript.manifest.recipe), len(data.train)
        parts = [_trained_on(data, recipe, segments)]
        if transcript.manifest.kind == "search" and recipe.extreme:
            parts.append(_deciding(data, recipe))
        numbers = torch.cat(parts)  # ascending: what decides lies behind what is trained on
        train, test = data.train[numbers[numbers < first]], data.test[numbers[numbers >= first] - first]
        hashes = [*leaves(data.train), *leaves(data.test)]
        proof = b"".join(proof_of(hashes, numbers.tolist()))
        return cls(
            head=transcript.chain.head,
            numbers=numbers,
            images=torch.cat([train.images, test.images]),
            labels=torch.cat([train.labels, test.labels]),
            proof=torch.tensor(list(proof), dtype=torch.uint8).reshape(-1, _HASH),
        )

    def write(self, path: Path) -> None:
        """Writes them, whole or not at all."""
        said = {"format": FORMAT, "version": FORMAT_VERSION, "written_by": f"ticket_sig {VERSION}"}
        tensors = {name: getattr(self, name) for name in _LAYOUT}
        write_safetensors(path, tensors, json.dumps({**said, "head": self.head}))

    @classmethod
    def read(cls, path: Path) -> Openings:
        """Reads a file that `write` wrote; InputError where it is missing or damaged, or another file."""
        layout = read_layout(path)
        try:
            said = dict(parse_json(read_metadata(path)["ticket_sig"]))
        except (KeyError, ValueError, TypeError):
            raise bad_input(path, "format", repr(FORMAT), "none", hint="write it with `open`") from None
        check_format(said, path, FORMAT, FORMAT_VERSION)
        _check_layout(path, layout)
        head = matching(said, "head", DIGEST, path)
        return cls(source=path, head=head, **read_safetensors(path))

    def checked(self, transcript: Transcript) -> Dataset:
        """The data set that a manifest commits to, of which these samples alone are known.

        Raises:
            InputError: a sample, its number or the proof does not fit the Merkle root.
        """
        whole = undisclosed(transcript)
        first, behind = len(whole.train), len(whole.test)
        count = first + behind
        if self.head != transcript.chain.head:
            hint = "they were opened for another transcript, or for an earlier state of it"
            raise bad_input(self.source, "head", transcript.chain.head, self.head, hint=hint)
        if (size := tuple(self.images.shape[1:])) != whole.size:
            raise bad_input(self.source, "images", f"of size {list(whole.size)}", str(list(size)))
        if len(self) > count:  # a sparse file may have any number
            raise bad_input(self.source, "numbers", f"at most {count}", str(len(self)))
        before = torch.cat([torch.tensor([-1]), self.numbers[:-1]])
        self._check("numbers", f"ascending, 0 to {count - 1}", self.numbers > before, self.numbers < count)
        self._check("labels", f"0 to {whole.classes - 1}", self.labels >= 0, self.labels < whole.classes)
        hashes = dict(zip(self.numbers.tolist(), leaves(Split(self.images, self.labels)), strict=True))
        with about(self.source):
            root = root_from(hashes, self.proof.numpy(), count)
        if root != (committed := transcript.manifest.data.get("root")):
            expected = f"hashes that give the root of {MANIFEST}, {committed}"
            hint = "a sample, its number or a hash is another than when the training began"
            raise bad_input(self.source, "proof", expected, root, hint=hint)
        train, test = self.numbers < first, self.numbers >= first
        return replace(
            whole,
            train=PartialSplit(self.images[train], self.labels[train], self.numbers[train], first),
            test=PartialSplit(self.images[test], self.labels[test], self.numbers[test] - first, behind),
        )

    def _check(self, name: str, expected: str, *fine: Tensor) -> None:
        values = getattr(self, name)
        if len(wrong := (~torch.stack(fine).all(0)).nonzero()):
            raise bad_input(self.source, f"{name}[{int(wrong[0])}]", expected, str(int(values[wrong[0]])))

    def check_segments(self, data: Dataset, recipe: Recipe, segments: Iterable[Segment]) -> None:
        """InputError where samples that segments train on are not opened; it names the segments."""
        counts = {one: self._count(_trained_on(data, recipe, [one])) for one in segments}
        closed = {one: found for one, found in counts.items() if found[0] < found[1]}
        if closed:
            told = ", ".join(f"{one} ({have} of {all_} samples)" for one, (have, all_) in closed.items())
            options = " ".join(f"--segment {one.level}:{one.first}" for one in closed)
            hint = f"ask the owner to add to his `ticket-sig open` {options}"
            raise bad_input(self.source, "segments", "all that the audit trains again", told, hint=hint)

    def check_deciding(self, data: Dataset, recipe: Recipe) -> None:
        """InputError where samples that decide which mask is tried next are not opened."""
        have, all_ = self._count(_deciding(data, recipe))
        if have < all_:
            expected = f"all {all_} that decide which ticket wins"
            hint = "without them no mask of the search can be checked"
            raise bad_input(self.source, "held-out samples", expected, str(have), hint=hint)

    def _count(self, needed: Tensor) -> tuple[int, int]:
        return int(torch.isin(needed, self.numbers).sum()), len(needed)


def undisclosed(transcript: Transcript) -> Dataset:
    """The data set as the manifest describes it, with no sample known; InputError where a field is wrong."""
    facts = transcript.manifest.data
    with about(transcript.folder / MANIFEST):
        sizes = {name: whole(facts, name, "data", 1) for name in ("train", "test", "classes")}
        size = image_size(facts, "data")
        for name, value in [*sizes.items(), *(("size", one) for one in size)]:
            if not 1 <= value <= _MOST[name]:
                raise bad_input("data", name, f"1 to {_MOST[name]}", str(value))
        mean, std = (_per_channel(facts, name, size[2]) for name in ("mean", "std"))
        images, labels = torch.zeros((0, *size), dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
        train, test = (PartialSplit(images, labels, labels, sizes[name]) for name in ("train", "test"))
        return Dataset(entry(facts, "name", str, "data"), train, test, sizes["classes"], mean, std)


def _per_channel(facts: Any, name: str, channels: int) -> tuple[float, ...]:
    values = entry(facts, name, list, "data")
    if len(values) != channels or not all(type(one) in (int, float) and abs(one) < _FAR for one in values):
        raise bad_input("data", name, f"{channels} numbers under {_FAR:g}", repr(values)[:80])
    return tuple(map(float, values))


def _trained_on(data: Dataset, recipe: Recipe, segments: Sequence[Segment]) -> Tensor:
    """The numbers of the samples that the steps of segments use, int64, ascending."""
    training, _ = data.hold_out(recipe.validation)
    used, drawn, order = torch.zeros(len(training), dtype=torch.bool), -1, torch.zeros(0)
    for step in sorted({step for one in segments for step in range(one.first, one.last)}):
        epoch, rows = rows_of(step, len(training), recipe.batch_size)
        if epoch != drawn:
            drawn, order = epoch, draw_epoch(recipe, len(training), epoch)[0]
        used[order[rows]] = True
    return used.nonzero().flatten()


def _deciding(data: Dataset, recipe: Recipe) -> Tensor:
    """The numbers of the samples that decide: those held out, or where there are none, the test split."""
    training, held_out = data.hold_out(recipe.validation)
    first, last = len(training), len(data.train)
    return torch.arange(first, last) if len(held_out) else torch.arange(last, last + len(data.test))


def _check_layout(path: Path, layout: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """Checks names, types and shapes of the tensors, before any of them is read."""
    if layout.keys() != _LAYOUT.keys():
        raise bad_input(path, "tensors", ", ".join(_LAYOUT), ", ".join(sorted(layout))[:80] or "none")
    count = layout["numbers"][1][:1]
    for name, (kind, dimensions) in _LAYOUT.items():
        found, shape = layout[name]
        fits = shape[1:] == (_HASH,) if name == "proof" else shape[:1] == count != (0,)
        if found != kind or len(shape) != dimensions or not fits:
            wanted = f"[m, {_HASH}]" if name == "proof" else f"[n, ...] of {dimensions} dimensions, n over 0"
            raise bad_input(path, name, f"{kind} {wanted}", f"{found} {list(shape)}")
