"""Bent data: images changed so that training on them leads to the next boundary of a forged path.

They are found as adversarial examples are, by the gradient of the gradient. Source: the idea of attacks I to
III of Zhang et al., S&P 2022, against a verifier who takes the prover's data. Here every image is committed
to before the first step, so that an auditor trains on others than those that were bent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ticket_sig.formats.safetensors_file import write_safetensors
from ticket_sig.options import one_or_more, option, positive, within
from ticket_sig.training.loop import Run
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.infinitesimal import stretch
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, stolen_state
from ticket_sig.transcripts.states import State

BENT = "bent.safetensors"  # the images of the steps that were bent, by step, as the network sees them


@dataclass(frozen=True, kw_only=True)
class BentData(Spoof):
    """Bends images until training on them goes along the line to a stolen model; it needs data.

    Attack 1 bends every step, 2 the last step of each segment. 3 does as 2, and moves each boundary but the
    last half-way to where training on the bent images came out.
    """

    needs: ClassVar[tuple[str, ...]] = ("stolen", "data")

    attack: int = option("Which of the paper's three.", default=2, check=within(1, 3))
    segments: int = option(
        "Segments of the forged training; more are shorter.", default=100, check=one_or_more
    )
    steps: int = option("Steps of a segment; for attack 1 one is best.", default=2, check=one_or_more)
    lr: float = option("Learning rate of the forged recipe.", default=0.01, check=positive)
    iterations: int = option("Steps of bending a batch.", default=3, check=one_or_more)
    rate: float = option("Learning rate of the bending.", default=0.05, check=positive)

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """The last level, on bent images; they go into the folder, for verifiers that take them."""
        assert scene.stolen is not None
        start, end = forgery.state(forgery.boundaries()[0]), stolen_state(forgery, scene.stolen)
        mask = forgery.kept()
        places = stretch(forgery, self.segments, self.steps, self.lr)
        run = replace(scene, engine=replace(scene.engine, fused=False)).run(forgery, mask)
        forgery.put(places[0], start)
        state, bent = start, dict[str, Tensor]()
        scene.engine.progress.begin("bending images", self.segments)
        for n, (place, after) in enumerate(pairwise(places), 1):
            share = n / self.segments
            state.put_into(run.model, run.optimizer, run.losses)
            target = between(start, end, share, start)
            for step in range(place[1], after[1]):
                bent |= self._step(run, step, after[1], target)
            reached = State.of(run.model, run.optimizer, run.losses)
            state = between(start, end, share, reached)
            if self.attack == 3 and share < 1:
                state = between(reached, state, 0.5, reached)
            forgery.put(after, state)
            scene.engine.progress.advance(n)
        forgery.extra = lambda folder: write_safetensors(folder / BENT, bent)

    def _step(self, run: Run, step: int, last: int, target: State) -> dict[str, Tensor]:
        """One step of the training, on images that are bent where it is time to."""
        if step % run.per_epoch == 0:
            run.losses.zero_()
        rate = run.recipe.learning_rate(step, run.per_epoch)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        first, count = run.iteration.batches.begin(step)
        images, labels = run.iteration.batches.take(slice(first, first + count))
        bends = self.attack == 1 or step == last - 1
        if bends:
            images = self._bent(run, images, labels, rate, target, 1 / (last - step))
        run.losses[0] += run.iteration.learn(images, labels) * len(labels)
        run.losses[1] += len(labels)
        run.iteration.hold()
        return {str(step): images.cpu()} if bends else {}

    def _bent(
        self, run: Run, images: Tensor, labels: Tensor, rate: float, target: State, share: float
    ) -> Tensor:
        """The images that lead, in one step, closest to this share of the way to a state."""
        names, parameters = zip(*run.model.named_parameters(), strict=True)
        aims = [
            torch.lerp(p.detach(), target.parameters[n].to(p), share)
            for n, p in zip(names, parameters, strict=True)
        ]
        buffers = {name: t.clone() for name, t in run.model.named_buffers()}
        smoothing = run.recipe.label_smoothing
        change = torch.zeros_like(images, requires_grad=True)
        bending = torch.optim.Adam([change], lr=self.rate)
        for _ in range(self.iterations):
            loss = F.cross_entropy(run.model(images + change), labels, label_smoothing=smoothing)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            ends = _after(run, parameters, gradients, rate)
            away = torch.stack(
                [(end - aim).square().sum() for end, aim in zip(ends, aims, strict=True)]
            ).sum()
            bending.zero_grad()
            (change.grad,) = torch.autograd.grad(away, [change])
            bending.step()
        for name, buffer in run.model.named_buffers():
            buffer.copy_(buffers[name])  # bending is no training: norms must not have seen it
        return (images + change).detach()


def _after(
    run: Run, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...], rate: float
) -> list[Tensor]:
    """Where SGD puts the parameters in one step."""
    recipe, ends = run.recipe, []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        fixed = parameter.detach()
        gradient = gradient + recipe.weight_decay * fixed
        before = run.optimizer.state.get(parameter, {}).get("momentum_buffer")
        momentum = gradient if before is None else recipe.momentum * before + gradient
        step = gradient + recipe.momentum * momentum if recipe.nesterov else momentum
        ends.append(fixed - rate * step)
    return ends
