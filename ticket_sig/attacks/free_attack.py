"""Free changes: another file, other tensors, the same answers.

Source: Yan et al., 2023 (arXiv 2205.00199: permutation, scaling, signs; arXiv 2303.09732: dummy neurons), and
Canon (arXiv 2603.12679), which undoes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.free import KINDS, DoesNotApply, Network, Strength
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.models import build_for
from ticket_sig.options import one_named, one_or_more, option, share, within
from ticket_sig.ticket import Ticket

_SIZES = (32, 28, 8, 16, 64, 224)  # heights of images that networks take, where the thief has none


def _known_kinds(name: str, value: str) -> None:
    for kind in value.split("+"):
        one_named(KINDS, name, kind)


@dataclass(frozen=True, kw_only=True)
class Free(Attack):
    """Rewrites a network that computes the same then: other names, channels, scales, kernels, more neurons.

    Turned networks (transposed, mirrored, rotated) take turned images. A kind that finds nothing to change in
    a network leaves it as it is, and the report says so.
    """

    kind: str | None = option(
        f"What is done, in this order, joined by +: {', '.join(KINDS)}. Drawn at random by default.",
        default=None,
        check=_known_kinds,
    )
    share: float = option(
        "Share of the channels that get dummy neurons, and of the layers that get a factor.",
        default=0.1,
        check=share,
    )
    factor: float = option(
        "Rescaled channels are scaled by up to this factor, up or down.", default=10.0, check=within(1, 1e6)
    )
    size: int | None = option(
        "Height of the images that a turned network takes; the data's own, or a common one, by default.",
        default=None,
        check=one_or_more,
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the changed ticket with its network, and what was done.

        The recipe stays where its architecture still computes the network.

        Raises:
            InputError: no recipe, weights that do not fit its network, or one that cannot be followed.
        """
        draw = scene.draw("free")
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model = scene.model or build_for(scene.recipe_for(ticket).arch, ticket.weights)
            network = first = Network.of(model, ticket)
            sizes = (self.size,) if self.size else (scene.data.size[0],) if scene.data else _SIZES
            strength = Strength(share=self.share, factor=self.factor, sizes=sizes)
            given = self.kind.split("+") if self.kind else []
            did: list[str] = []
            for name, needed in [(n, True) for n in given] or _composition(draw):
                if not needed and did:
                    break
                try:
                    network = KINDS[name](network, strength, draw)
                    did.append(name)
                except DoesNotApply as error:
                    did += [f"{name}: not done: {error}"] if given else []
        return _handed_on(ticket, first, network, tuple(did))


def _composition(draw: torch.Generator) -> list[tuple[str, bool]]:
    """Each kind with a chance of one half, in random order; behind them the others, for want of these."""
    order = torch.randperm(len(KINDS), generator=draw).tolist()
    taken = (torch.rand(len(KINDS), generator=draw) < 0.5).tolist()
    names = [(list(KINDS)[n], taken[n]) for n in order]
    return sorted(names, key=lambda one: not one[1])


def _handed_on(ticket: Ticket, first: Network, network: Network, did: tuple[str, ...]) -> Attacked:
    """What the thief has then."""
    before, after = first.tensors(), network.tensors()
    fits = network.own_code and {n: t.shape for n, t in before.items()} == {
        n: t.shape for n, t in after.items()
    }
    done = network.ticket(stolen(ticket))
    if not fits:
        done = replace(done, recipe=None)
    return Attacked(done, network=network.module, images=network.images, did=did)
