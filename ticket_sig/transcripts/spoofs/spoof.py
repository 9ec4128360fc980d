"""The face of every spoof: options, and what it makes of an honest transcript. A new one is one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import about, bad_input
from ticket_sig.key_pair import KeyPair
from ticket_sig.lottery.level import network_of
from ticket_sig.mask import Mask
from ticket_sig.models.sparse.layers import sparsify
from ticket_sig.options import Options, option, within
from ticket_sig.training.batches import batches_per_epoch, generator
from ticket_sig.training.loop import Engine, Run
from ticket_sig.transcripts.openings import undisclosed
from ticket_sig.transcripts.recording import MANIFEST
from ticket_sig.transcripts.spoofs.forgery import Forgery, check_alike
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Transcript, check_lengths, is_transcript


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a liar has beside the transcript; a spoof says what it needs of it.

    Attributes:
        stolen: weights of a model that the transcript is to end in.
        other: another transcript.
        data: that was trained on.
        model: a network of the user's own in place of the recipe's, for a spoof that trains.
        engine: where it trains.
        seed: of everything that is drawn.
    """

    stolen: Mapping[str, Tensor] | None = None
    other: Transcript | None = None
    data: Dataset | None = None
    model: nn.Module | None = None
    engine: Engine = field(default_factory=Engine)
    seed: int = 0

    def draw(self, label: str) -> torch.Generator:
        """The liar's random numbers for one use."""
        return generator(self.seed, "spoof", label)

    def run(self, forgery: Forgery, mask: Mask) -> Run:
        """The training of the last level, by the recipe of the forged manifest."""
        assert self.data is not None
        recipe = forgery.recipe
        model = network_of(recipe, self.data, self.model, self.engine.device)
        self.engine.prepare(model, recipe.precision)
        sparsify(model, mask, forgery.levels[forgery.last].get("sparse_layers", ()))
        return Run(model, self.data, recipe, self.engine, mask)


@dataclass(frozen=True, kw_only=True)
class Spoof(Options, ABC):
    """A set of options, called with an honest transcript; that one is left as it is.

    Attributes:
        needs: what of the scene it cannot do without.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(
        self,
        transcript: Transcript,
        folder: Path,
        scene: Scene | None = None,
        key: KeyPair | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Writes the forged transcript, with a whole new chain that fits, signed by the liar's key if given.

        Raises:
            InputError: the scene lacks something; the transcript is too short, or not one of one network; or
                the folder is there, or no transcript that could be replaced.
        """
        if replace and folder.exists() and not is_transcript(folder):
            raise bad_input(folder, "output folder", "a transcript to overwrite", "something else")
        check_lengths(transcript)
        check_alike(transcript)
        scene = scene or Scene()
        for name in self.needs:
            if getattr(scene, name) is None:
                raise bad_input("spoof", name, "one", "none", hint=f"give it: --{name}")
        forgery = Forgery(transcript)
        self.forge(forgery, scene)
        forgery.write(folder, key, replace=replace, progress=scene.engine.progress)

    @abstractmethod
    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Changes what is to be written."""


@dataclass(frozen=True, kw_only=True)
class OneBoundary(Spoof, ABC):
    """A spoof that changes the state of one boundary, and nothing else."""

    at: float = option("Which boundary: after this share of the last level.", default=0.5, check=within(0, 1))

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Changes that state."""
        forgery.change(forgery.at(self.at), lambda state: self.changed(state, scene))

    @abstractmethod
    def changed(self, state: State, scene: Scene) -> State:
        """What becomes of it."""


def steps_per_epoch(forgery: Forgery) -> int:
    """Batches of an epoch, as the manifest has them."""
    training, _ = undisclosed(forgery.source).hold_out(forgery.recipe.validation)
    with about(forgery.source.folder / MANIFEST):
        return batches_per_epoch(len(training), forgery.recipe.batch_size)


def stolen_state(forgery: Forgery, weights: Mapping[str, Tensor]) -> State:
    """The last state, with the parameters and buffers of a stolen model, pruned as the level is.

    Raises:
        InputError: the model is of another network.
    """
    state, mask = forgery.state(forgery.boundaries()[-1]), forgery.kept()
    for name, tensor in {**state.parameters, **state.buffers}.items():
        found = tuple(weights[name].shape) if name in weights else "none"
        if found != tuple(tensor.shape):
            raise bad_input("stolen model", name, f"a tensor of shape {tuple(tensor.shape)}", str(found))
    pruned = Mask({name: kept for name, kept in mask.items() if name in weights}).apply(weights)
    copies = {n: pruned[n].to(t.dtype).contiguous() for n, t in {**state.parameters, **state.buffers}.items()}
    return replace(
        state,
        parameters={name: copies[name] for name in state.parameters},
        buffers={name: copies[name] for name in state.buffers},
    )


def between(start: State, end: State, share: float, honest: State) -> State:
    """An honest state with parameters and buffers on the line from one state to another."""

    def mixed(group: str) -> dict[str, Tensor]:
        first, last, own = (getattr(one, group) for one in (start, end, honest))
        return {
            n: torch.lerp(t, last[n], share) if t.is_floating_point() else own[n] for n, t in first.items()
        }

    return replace(honest, parameters=mixed("parameters"), buffers=mixed("buffers"))
