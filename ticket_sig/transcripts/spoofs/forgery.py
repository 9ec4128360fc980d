"""A transcript in the making: an honest one, until a spoof puts other things in their place."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.files import whole_folder, write_json
from ticket_sig.formats.safetensors_file import read_layout, read_safetensors, write_safetensors
from ticket_sig.key_pair import KeyPair
from ticket_sig.mask import Mask
from ticket_sig.progress import Progress, Silent
from ticket_sig.training.loop import Run
from ticket_sig.training.recipe import Recipe
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, SIGNATURES, state_file
from ticket_sig.transcripts.replay import replay
from ticket_sig.transcripts.retrace import everything
from ticket_sig.transcripts.signatures import sign_head
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Transcript

_TRAINED = ("F32", "F64", "F16", "BF16")  # types of parameters
Place = tuple[int, int]  # level and step of a boundary
Change = Callable[[State], State]


def check_alike(source: Transcript) -> None:
    """Refuses states that are not all of one network, before any tensor is read.

    Raises:
        InputError: a file is missing or damaged; its parameters or buffers are others than those of the first
            state; or a parameter has no type that networks are trained in.
    """
    first: dict[str, Any] | None = None
    for place in source.places:
        path = state_file(source.folder, *place)
        found = {n: one for n, one in read_layout(path).items() if n.startswith(("parameters/", "buffers/"))}
        first = found if first is None else first
        for name in sorted({**first, **found}):
            kind, shape = found.get(name, ("none", ()))
            if name not in first or found.get(name) != first[name]:
                raise bad_input(path, name[:80], "what the first state has", f"{kind} {list(shape)}"[:80])
            if name.startswith("parameters/") and kind not in _TRAINED:
                raise bad_input(path, name[:80], f"one of {', '.join(_TRAINED)}", kind)


class Forgery:
    """What a liar makes of a transcript; each state is made when it is written, so that few are held.

    Attributes:
        manifest: content of manifest.json.
        levels: fields of the entry of each level.
        states: what makes the state of each boundary that is kept.
        told: what the chain says of each other boundary, of which the digests alone are kept.
        mask: that lies in the folder.
        extra: writes what else is to lie there.
    """

    def __init__(self, source: Transcript) -> None:
        self.source = source
        self.manifest: dict[str, Any] = deepcopy(source.manifest.to_json())
        self.levels = [dict(level.entry.fields) for level in source.levels]
        self.states: dict[Place, Callable[[], State]] = {
            place: partial(source.state, *place) for place in source.places
        }
        self.told: dict[Place, dict[str, Any]] = {
            (level.number, one.fields["step"]): dict(one.fields)
            for level in source.levels
            for one in level.boundaries
            if not one.fields.get("state", True)
        }
        self.extra: Callable[[Path], None] = lambda folder: None
        mask = source.folder / MASK
        self.mask = Mask(read_safetensors(mask)) if mask.exists() else None

    @property
    def recipe(self) -> Recipe:
        """As the manifest has it by now; InputError where a field is wrong."""
        with about(self.source.folder / MANIFEST):
            return Recipe.from_json(self.manifest["recipe"])

    @property
    def last(self) -> int:
        """The last level: spoofs forge that one, as it ends in what is claimed."""
        return len(self.levels) - 1

    def boundaries(self, fewest: int = 2) -> list[Place]:
        """The boundaries of the last level, in order.

        Raises:
            InputError: there are fewer.
        """
        found = sorted(place for place in self.states if place[0] == self.last)
        if len(found) < fewest:
            where, level = self.source.folder / CHAIN, f"boundaries of level {self.last}"
            raise bad_input(where, level, f"{fewest} or more", str(len(found)))
        return found

    def at(self, share: float) -> Place:
        """The boundary after this share of the last level."""
        places = self.boundaries()
        return places[round(share * (len(places) - 1))]

    def state(self, place: Place) -> State:
        """What stands there by now."""
        return self.states[place]()

    def put(self, place: Place, state: State) -> None:
        """Puts a state there."""
        self.states[place] = lambda: state

    def change(self, place: Place, change: Change) -> None:
        """Puts there what becomes of the state that stands there."""
        before = self.states[place]
        self.states[place] = lambda: change(before())

    def kept(self) -> Mask:
        """The mask of the last level, read off its first state."""
        return Mask.of_zeros(self.state(self.boundaries()[0]).parameters)

    def train_on(self, run: Run, place: Place, state: State) -> None:
        """Puts a state there, and trains honestly from there to the end of the level."""
        self.put(place, state)
        places = sorted(p for p in {**self.states, **self.told} if place <= p and p[0] == self.last)
        for (_, first), after in pairwise(places):
            state = replay(run, state, first, after[1])
            if after in self.told:
                self.told[after] |= state.digests()
            else:
                self.put(after, state)

    def write(
        self,
        folder: Path,
        key: KeyPair | None = None,
        *,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Writes it with a manifest and a chain that fit, signed by a key where there is one.

        Raises:
            InputError: the folder is there already, and not to be replaced.
            OSError: the disk is full; nothing is left.
        """
        with whole_folder(folder, replace=replace) as partial_folder:
            self._write(partial_folder, key, progress or Silent())

    def _write(self, folder: Path, key: KeyPair | None, progress: Progress) -> None:
        chain = Chain(folder / CHAIN)

        def enter(kind: str, fields: dict[str, Any]) -> None:
            entry = chain.add(kind, fields)
            if key is not None:
                sign_head(folder / SIGNATURES, entry, key)

        starts = [self._start(number) for number in range(len(self.levels))]
        self.manifest["initial"] = {**self.manifest["initial"], "digest": starts[0]}
        self.manifest.pop("signer", None)
        self.manifest |= {} if key is None else {"signer": key.public}
        write_json(folder / MANIFEST, self.manifest)
        self.extra(folder)
        if self.mask is not None:
            write_safetensors(folder / MASK, self.mask)
        enter("manifest", {"digest": json_digest(self.manifest)})
        weights: dict[int, str] = {}
        progress.begin("forged chain", len({**self.states, **self.told}))
        for number, fields in enumerate(self.levels):
            enter("level", {**fields, "level": number, "start": starts[number]})
            for place in sorted(p for p in {**self.states, **self.told} if p[0] == number):
                if place in self.told:
                    chain.add("boundary", {**self.told[place], "level": number})
                    continue
                state = self.state(place)
                state.write(state_file(folder, *place))
                chain.add("boundary", {"level": number, "step": place[1], **state.digests()})
                weights[number] = _digest(state)
                progress.advance(len(chain.entries))
        if self.source.end is not None:
            best = self._best(str(self.source.end.fields.get("weights")))
            enter("end", {"mask": self.levels[best]["mask"], "weights": weights[best]})

    def _start(self, number: int) -> str:
        first = min((place for place in self.states if place[0] == number), default=None)
        return str(self.levels[number]["start"]) if first is None else _digest(self.state(first))

    def _best(self, weights: str) -> int:
        """The level of the honest transcript that its end came out of."""
        for level in self.source.levels:
            if level.steps and _digest(self.source.state(level.number, level.steps[-1])) == weights:
                return level.number
        return self.last


def _digest(state: State) -> str:
    """Of parameters and buffers, pruned weights +0.0."""
    return tensor_digest(Mask.of_zeros(state.parameters).apply(everything(state)))
