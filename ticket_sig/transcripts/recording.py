"""Recording a search or a training: manifest, chain of boundaries, and the states that they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.files import clear_partials, is_unused, make_folder, read_json, write_json
from ticket_sig.formats.safetensors_file import write_safetensors
from ticket_sig.key_pair import KeyPair
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket
from ticket_sig.training.recorder import Plan, Standing
from ticket_sig.transcripts.budget import Budget, disk, parse_keep, shown
from ticket_sig.transcripts.chain import Chain, Entry, cut_unfinished
from ticket_sig.transcripts.manifest import STEPS, Manifest, code_facts, data_facts, stack
from ticket_sig.transcripts.signatures import read_signatures, sign_head
from ticket_sig.transcripts.states import State

MANIFEST, CHAIN, SIGNATURES = "manifest.json", "chain.jsonl", "signatures.jsonl"
MASK, STATES = "mask.safetensors", "states"


def state_file(folder: Path, level: int, step: int) -> Path:
    """Where the state of a boundary lies."""
    return folder / STATES / f"{level:02d}" / f"{step:08d}.safetensors"


class Writer:
    """Writes manifest, chain and states; told the same again, as after a kill, it writes nothing twice.

    Boundaries are written in the background, one at a time; training waits only for a copy of its state.

    Args:
        folder: new, or of this same training.
        every: steps of a segment; the last one of a training may be shorter.
        key: signs the head at the start, at each level and at the end.
    """

    def __init__(self, folder: Path | str, *, every: int = STEPS, key: KeyPair | None = None) -> None:
        if every < 1:
            raise bad_input("transcript", "steps of a segment", "1 or more", str(every))
        self.folder, self.every, self.key = Path(folder), every, key
        self._writer = ThreadPoolExecutor(1, "transcript")
        self._pending: Future[None] | None = None

    def open(self, manifest: Manifest, *, fresh: bool) -> None:
        """Writes the manifest, or checks that it is the one that is there."""
        manifest = replace(manifest, signer=self.key.public if self.key else None)
        path = self.folder / MANIFEST
        if not path.exists():
            if not is_unused(self.folder):
                raise bad_input(
                    self.folder, "transcript", "a new folder, or one of this training", "other files"
                )
            if not fresh:
                expected = "a training that is recorded from its first step"
                raise bad_input(self.folder, "transcript", expected, "one that has begun without it")
            make_folder(self.folder)
            write_json(path, manifest.to_json())
        there, wanted = read_json(path), manifest.to_json()
        if differ := [name for name in {**there, **wanted} if there.get(name) != wanted.get(name)]:
            hint = (
                "give the options it was begun with, on the same code and numerical stack; or another folder"
            )
            raise bad_input(path, ", ".join(differ), "those of this training", "others", hint=hint)
        for place in (self.folder, *(self.folder / STATES).glob("*")):
            clear_partials(place)
        self.chain = Chain(self.folder / CHAIN, mend=True)
        self._known = {entry.place: entry for entry in self.chain.entries}
        if (path := self.folder / SIGNATURES).is_file():
            cut_unfinished(path)
        self._signed = {one.entry for one in read_signatures(path, self.chain.entries)}
        self.enter("manifest", {"digest": json_digest(wanted)}, signed=True)

    def boundary(self, state: State, level: int, step: int, keep: bool = True) -> None:
        """Has a state, or its digests alone, written; errors are raised at the next one, or by `flush`."""
        self.flush()
        self._pending = self._writer.submit(self._boundary, state, level, step, keep)

    def flush(self) -> None:
        """Waits for the boundary that is being written; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _boundary(self, state: State, level: int, step: int, keep: bool) -> None:
        path = state_file(self.folder, level, step)
        if keep and (("boundary", level, step) not in self._known or not path.exists()):
            state.write(path)  # also over one that a kill kept from being entered
        told = {} if keep else {"state": False}
        self.enter("boundary", {"level": level, "step": step, **state.digests(), **told})

    def enter(self, kind: str, fields: Mapping[str, Any], signed: bool = False) -> None:
        """Adds an entry, unless it is there; another one in its place is another training's."""
        new = Entry(len(self.chain.entries), kind, fields, self.chain.head)
        known = self._known.get(new.place)
        if known is None:
            if self.chain.entries and self.chain.entries[-1].kind == "end":
                where = f"{kind} of level {fields.get('level', 0)}, step {fields.get('step', 0)}"
                raise bad_input(self.chain.path, where, "nothing after the end", "one more")
            known = self._known[new.place] = self.chain.add(kind, fields)
        elif known.fields != fields:
            both = {**known.fields, **fields}
            differ = ", ".join(name for name in both if known.fields.get(name) != fields.get(name))
            where = f"{kind} of level {fields.get('level', 0)}, step {fields.get('step', 0)}: {differ}"
            hint = "other bits than before: was the stack changed, the transcript, or what it keeps?"
            raise bad_input(self.chain.path, where, "those of this training", "others", hint=hint)
        # Of an entry that a kill left without a signature: signed is only what was done again.
        if signed and self.key is not None and known.number not in self._signed:
            sign_head(self.folder / SIGNATURES, known, self.key)
            self._signed.add(known.number)


class TranscriptRecorder(Writer):
    """Records into a folder; a `Recorder` for `Engine(recorder=...)`.

        engine = Engine(recorder=TranscriptRecorder("transcript"))
        ticket = find(recipe, data, "run", engine=engine)

    Boundaries are written in the background, one at a time; training waits only for a copy of its state.

    Args:
        folder: new, or of this same training.
        every: steps of a segment; the last one of a training may be shorter.
        keep: keep every N-th state, of the other boundaries the digests alone: less disk, and an auditor
            trains N segments at a time. First, rewind and last step are always kept. Or a size such as
            "500MB" that the whole folder may take: N is then the smallest that fits.
        key: signs the head at the start, at each level and at the end.

    Raises:
        InputError: the folder holds something else, or a damaged transcript; the size is too small.
    """

    def __init__(
        self, folder: Path | str, *, every: int = STEPS, keep: int | str = 1, key: KeyPair | None = None
    ) -> None:
        super().__init__(folder, every=every, key=key)
        self._asked, self.keep = parse_keep(keep), 1
        self._level = -1
        self._search = False

    def begin(self, plan: Plan, note: Callable[[str], None]) -> None:
        """Writes the manifest, or checks that it is the one that is there; notes what few states cost."""
        asked = self._asked
        self.keep = asked.keep(plan, self.every) if isinstance(asked, Budget) else asked
        manifest = Manifest(
            kind="search" if plan.search else "training",
            recipe=plan.recipe.to_json(),
            initial={
                "derivation": "seed" if plan.derived else "given",
                "digest": tensor_digest(plan.initial),
            },
            data=data_facts(plan.data),
            segment=self.every,
            stack=stack(plan.made_with),
            code=code_facts(),
            kept=plan.kept,
        )
        self._search, self._level = plan.search, -1
        self.open(manifest, fresh=plan.fresh)
        if asked != 1:
            most = (
                f", {shown(disk(plan, self.every, self.keep))} at most" if isinstance(asked, Budget) else ""
            )
            steps = f"an audit trains {self.keep * self.every} steps at a time"
            which = "every boundary" if self.keep == 1 else f"one in {self.keep} boundaries"
            note(f"transcript: the state of {which} is kept{most}; {steps}")

    def level(
        self, start: Mapping[str, Tensor], mask: Mask, rate: float | None, sparse: Sequence[str]
    ) -> None:
        """Enters the mask of a level, what it starts from, and which layers are sparse in it."""
        self.flush()
        self._level += 1
        digests = {"mask": tensor_digest(mask), "start": tensor_digest(start)}
        counts = {"level": self._level, "rate": rate, "kept": mask.kept, "total": mask.total}
        layers = {"sparse_layers": list(sparse)} if sparse else {}
        if not self._search:
            self._keep_mask(mask)
        self.enter("level", {**counts, **digests, **layers}, signed=True)

    def step(self, run: Standing) -> None:
        """Copies the state, where a boundary is due, and has it written."""
        rewind = self._search and not self._level and run.recipe.rewind.iterations(run.per_epoch)
        needed = run.step in (run.start, rewind, run.total)
        if needed or run.step % self.every == 0:
            keep = needed or run.step % (self.every * self.keep) == 0
            state = State.of(run.model, run.optimizer, run.losses)
            self.boundary(state, self._level, run.step, keep)

    def end(self, ticket: Ticket) -> None:
        """Enters what came out."""
        self.flush()
        self._keep_mask(ticket.mask)
        digests = {"mask": tensor_digest(ticket.mask), "weights": tensor_digest(ticket.weights)}
        self.enter("end", digests, signed=True)

    def _keep_mask(self, mask: Mask) -> None:
        if not (self.folder / MASK).exists():
            write_safetensors(self.folder / MASK, mask)
