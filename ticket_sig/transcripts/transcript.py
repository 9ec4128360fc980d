"""A transcript as found; manifest, chain and signatures are checked before any tensor is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ticket_sig.datasets import Dataset
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.fields import entry as field
from ticket_sig.fields import whole
from ticket_sig.files import read_json
from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.mask import Mask
from ticket_sig.transcripts.chain import Chain, Entry
from ticket_sig.transcripts.manifest import Manifest, data_facts
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, SIGNATURES, state_file
from ticket_sig.transcripts.signatures import Signature, read_signatures
from ticket_sig.transcripts.states import State

_MOST_STEPS = 10**7  # of a segment


class Forged(InputError):
    """Something in a transcript contradicts what it commits to: it is not valid."""


class Damaged(Forged):
    """A file is another than the chain says: it speaks against the folder, not against who made the chain."""


def forged(where: object, name: str, expected: str, found: str) -> Forged:
    """The error of one contradiction; it names file, field and step."""
    return Forged(str(bad_input(where, name, expected, found)), named=True)


@dataclass(frozen=True, order=True)
class Segment:
    """The steps `first` to `last` (excluded) of one level, between two boundaries."""

    level: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"level {self.level}, steps {self.first} to {self.last}"


@dataclass(frozen=True)
class Level:
    """One training of a transcript: what it starts from, and its boundaries by step.

    Of some boundaries the digests alone are kept: they are checked when training passes them.
    """

    number: int
    entry: Entry
    boundaries: Sequence[Entry]

    @property
    def steps(self) -> list[int]:
        """Of the boundaries whose states are kept, ascending."""
        return [one.fields["step"] for one in self.boundaries if one.fields.get("state", True)]

    @property
    def sparse_layers(self) -> list[str]:
        """Names of the weights of the layers that were sparse; none in a transcript of an older version."""
        return list(self.entry.fields.get("sparse_layers", []))

    def segments(self) -> list[Segment]:
        """Between each state that is kept and the next."""
        return [Segment(self.number, first, last) for first, last in pairwise(self.steps)]

    def within(self, segment: Segment) -> list[Entry]:
        """The boundaries after its first step, the last one included."""
        return [one for one in self.boundaries if segment.first < one.fields["step"] <= segment.last]


def is_transcript(path: Path) -> bool:
    """Whether a path is a folder that holds a transcript."""
    return (path / MANIFEST).is_file() and (path / CHAIN).is_file()


@dataclass(frozen=True)
class Transcript:
    """A recorded search or training.

    Attributes:
        folder: where it lies.
        levels: in order.
        end: the last entry; None where the training has not ended.
    """

    folder: Path
    manifest: Manifest
    chain: Chain
    signatures: Sequence[Signature]
    levels: Sequence[Level]
    end: Entry | None

    @classmethod
    def open(cls, folder: Path | str, *, going_on: bool = False) -> Transcript:
        """Reads all but the states.

        Args:
            going_on: it is still written: a kill may have left a head without its signature.

        Raises:
            InputError: a file is missing, damaged, or of another version; a signature or a head is wrong.
            Forged: the manifest is another than the chain's, or entries are missing, doubled or out of order.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise bad_input(folder, "transcript", f"a folder with {MANIFEST}", "none")
        manifest, chain = Manifest.read(folder / MANIFEST), Chain(folder / CHAIN)
        if not chain.entries:
            raise bad_input(folder / CHAIN, "entries", "one or more", "none")
        signatures = read_signatures(folder / SIGNATURES, chain.entries)
        with about(folder / CHAIN):
            levels, end = _levels(chain, folder / CHAIN)
        # Of the file as it is: another version of this package would write another one.
        found, expected = chain.entries[0].fields.get("digest"), json_digest(read_json(folder / MANIFEST))
        if chain.entries[0].kind != "manifest" or found != expected:
            raise forged(folder / MANIFEST, "digest", f"the chain's {found}", expected)
        if not going_on:
            _check_signed(folder / SIGNATURES, manifest.signer, chain, signatures)
        return cls(folder, manifest, chain, signatures, levels, end)

    @property
    def signer(self) -> str | None:
        """Public key that signed heads of it; None where nobody did."""
        return self.signatures[0].public if self.signatures else None

    @property
    def signed_entries(self) -> int:
        """How many entries the last signed head covers; whoever has the folder can add others behind it."""
        return max((one.entry + 1 for one in self.signatures), default=0)

    @property
    def segments(self) -> list[Segment]:
        """Of all levels."""
        return [segment for level in self.levels for segment in level.segments()]

    def mask(self) -> Mask:
        """The mask that came out; InputError where the training has not ended, Damaged where another."""
        if self.end is None:
            raise bad_input(self.folder / CHAIN, "end", "a training that has ended", "none")
        found = read_safetensors(self.folder / MASK)
        if (said := self.end.fields.get("mask")) != (digest := tensor_digest(found)):
            raise Damaged(str(forged(self.folder / MASK, "mask", f"the chain's {said}", digest)), named=True)
        return Mask(found)

    def segment(self, name: str) -> Segment:
        """The one that is named by level and first step, as `1:500`; InputError where there is none."""
        for one in self.segments:
            if name == f"{one.level}:{one.first}":
                return one
        expected = "LEVEL:STEP, with the first step of a segment"
        raise bad_input(self.folder, "segment", expected, repr(name)[:80])

    @property
    def places(self) -> list[tuple[int, int]]:
        """Level and step of every boundary."""
        return [(level.number, step) for level in self.levels for step in level.steps]

    def state(self, level: int, step: int) -> State:
        """The state of a boundary, checked against the chain; errors as of `State.read`, or Damaged."""
        path = state_file(self.folder, level, step)
        state = State.read(path)
        committed = next(one for one in self.levels[level].boundaries if one.fields["step"] == step)
        for name, found in state.digests().items():
            if found != committed.fields.get(name):
                expected = f"the chain's {committed.fields.get(name)}"
                error = forged(path, f"{name} of step {step}", expected, str(found))
                raise Damaged(str(error), named=True)
        return state


def _check_signed(path: Path, signer: str | None, chain: Chain, signatures: Sequence[Signature]) -> None:
    """Where the manifest names a signer, he signed every head that is due; only then can none be left out."""
    if signer is None:
        return
    if signatures and signatures[0].public != signer:
        raise forged(path, "signature 0", f"the key of the manifest, {signer}", signatures[0].public)
    signed = {one.entry for one in signatures}
    for one in chain.entries:
        if one.kind != "boundary" and one.number not in signed:
            raise forged(path, f"signature over entry {one.number}", f"one by {signer}", "none")


def check_kind(transcript: Transcript) -> None:
    """Refuses one that only a user's own step function can train again."""
    if transcript.manifest.kind == "own":
        hint = "audit it in Python, with its step function: audit_own"
        raise bad_input(transcript.folder / MANIFEST, "kind", "search or training", "own", hint=hint)


def check_data(transcript: Transcript, data: Dataset) -> None:
    """Refuses another data set than the one committed to."""
    for name, value in data_facts(data).items():
        if (committed := transcript.manifest.data.get(name)) != value:
            hint = "show the very data set that was trained on"
            where = transcript.folder / MANIFEST
            raise bad_input(where, f"data, {name}", repr(committed)[:90], repr(value)[:90], hint=hint)


def check_lengths(transcript: Transcript) -> None:
    """Forged where a segment is longer than the manifest says; InputError where nobody could train it."""
    for segment in transcript.segments:
        if segment.last - segment.first > _MOST_STEPS:
            expected = f"at most {_MOST_STEPS} steps from state to state"
            raise bad_input(transcript.folder / CHAIN, str(segment)[:80], expected, "more")
    for level in transcript.levels:
        for first, last in pairwise(one.fields["step"] for one in level.boundaries):
            if last - first > transcript.manifest.segment:
                expected = f"a boundary every {transcript.manifest.segment} steps"
                where = str(Segment(level.number, first, last))
                raise forged(transcript.folder / CHAIN, where, expected, "none between")


def thread_count(transcript: Transcript) -> int:
    """How many it was trained with; InputError where the manifest says no such number."""
    count = transcript.manifest.stack.get("threads")
    if type(count) is not int or not 1 <= count <= 1024:
        raise bad_input(transcript.folder / MANIFEST, "threads", "1 to 1024", repr(count)[:80])
    return count


def _levels(chain: Chain, path: Path) -> tuple[list[Level], Entry | None]:
    """The entries by level; they come in the order of a training, and nothing comes after the end."""
    heads, boundaries, end = list[Entry](), list[list[Entry]](), None
    for one in chain.entries[1:]:
        where = f"{path}: entry {one.number}"
        if end is not None:
            raise forged(path, f"entry {one.number}", "nothing after the end", one.kind)
        if one.kind == "level":
            if whole(one.fields, "level", where) != len(heads):
                raise forged(path, f"entry {one.number}", f"level {len(heads)}", str(one.fields["level"]))
            for name in ("mask", "start"):
                field(one.fields, name, str, where)
            layers = one.fields.get("sparse_layers", [])
            if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
                raise bad_input(where, "sparse_layers", "names", repr(layers)[:80])
            heads.append(one)
            boundaries.append([])
        elif one.kind == "boundary":
            step, level = whole(one.fields, "step", where, 0), whole(one.fields, "level", where)
            if not isinstance(one.fields.get("state", True), bool):
                raise bad_input(where, "state", "true or false", repr(one.fields["state"])[:80])
            before = boundaries[-1][-1].fields["step"] if boundaries and boundaries[-1] else -1
            if level != len(heads) - 1 or step <= before:
                expected = f"a boundary of level {len(heads) - 1} after step {before}"
                raise forged(path, f"entry {one.number}", expected, f"level {level}, step {step}")
            boundaries[-1].append(one)
        elif one.kind == "end":
            end = one
        else:
            raise bad_input(path, f"entry {one.number}", "level, boundary or end", repr(one.kind)[:80])
    return [Level(n, *parts) for n, parts in enumerate(zip(heads, boundaries, strict=True))], end
