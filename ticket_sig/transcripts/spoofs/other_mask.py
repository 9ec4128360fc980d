"""Masks that did not come out of the weights: one from elsewhere, and one of a pruning by something else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.fields import number
from ticket_sig.lottery.prune import prune
from ticket_sig.mask import Mask
from ticket_sig.options import one_of, option
from ticket_sig.training.recipe import SCOPES
from ticket_sig.transcripts.recording import CHAIN
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof
from ticket_sig.transcripts.states import State


@dataclass(frozen=True, kw_only=True)
class OtherMask(Spoof, ABC):
    """A spoof that puts another mask in the place of the last level's."""

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Every state of the level under that mask; the digests fit."""
        mask = self.mask(forgery, scene)
        if forgery.mask is not None and tensor_digest(forgery.mask) == forgery.levels[-1]["mask"]:
            forgery.mask = mask
        forgery.levels[-1] |= {"mask": tensor_digest(mask), "kept": mask.kept, "total": mask.total}

        def pruned(state: State) -> State:
            momenta = Mask({f"momentum_buffer/{name}": kept for name, kept in mask.items()})
            held = Mask({name: kept for name, kept in momenta.items() if name in state.optimizer})
            # Of a weight that was pruned and now is not, -0.0 becomes the 0.0 that a mask leaves.
            parameters = {name: t + 0.0 for name, t in mask.apply(state.parameters).items()}
            return replace(state, parameters=parameters, optimizer=held.apply(state.optimizer))

        for place in forgery.boundaries():
            forgery.change(place, pruned)

    @abstractmethod
    def mask(self, forgery: Forgery, scene: Scene) -> Mask:
        """The other mask."""


@dataclass(frozen=True, kw_only=True)
class MaskFromElsewhere(OtherMask):
    """A mask that keeps as many weights of each tensor, at other places: somebody else's, or a drawn one."""

    def mask(self, forgery: Forgery, scene: Scene) -> Mask:
        """Each tensor's mask, shuffled; InputError where nothing is pruned."""
        mask, draw = forgery.kept(), scene.draw("mask")
        if mask.kept == mask.total:
            raise bad_input(forgery.source.folder, "mask of the last level", "one that prunes", "a full one")

        def shuffled(kept: Tensor) -> Tensor:
            return kept.flatten()[torch.randperm(kept.numel(), generator=draw)].view(kept.shape)

        return Mask({name: shuffled(kept) for name, kept in mask.items()})


@dataclass(frozen=True, kw_only=True)
class OtherPruning(OtherMask):
    """Prunes the weights of the level before, by another rule than the recipe's."""

    scope: str = option(
        "By which rule: layerwise or random (or global).", default="layerwise", check=one_of(SCOPES)
    )

    def mask(self, forgery: Forgery, scene: Scene) -> Mask:
        """What that rule keeps.

        Raises:
            InputError: nothing was pruned in the transcript, or by that very rule.
        """
        names = forgery.kept()
        level, places = forgery.levels[-1], sorted(p for p in forgery.states if p[0] == forgery.last - 1)
        if not places or level.get("rate") is None:
            raise bad_input(forgery.source.folder, "levels", "a search with a round of pruning", "none")
        if self.scope == (rule := forgery.recipe.scope):
            raise bad_input("spoof", "scope", f"another than the recipe's, {rule}", self.scope)
        before = forgery.state(places[-1]).parameters
        kept = Mask({name: before[name] != 0 for name in names})
        rate = number(level, "rate", 1, forgery.source.folder / CHAIN)
        return prune(before, kept, rate, scope=self.scope, seed=scene.seed)
