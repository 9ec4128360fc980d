"""Scores by gradients against derivatives of the whole loss, taken in one piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.kernel_paths import pruned
from support.tiny import TinyNet, tiny_data
from torch import Tensor, nn
from torch.func import functional_call

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.models import build
from ticket_sig.scores import Scored, score
from ticket_sig.training.batches import Normaliser

GRADIENT_SCORES = ("taylor", "hessian", "integrated-gradients")
DATA = tiny_data(200)
EVERY = 150  # images of the train split


def ticket_of(model: nn.Module) -> Ticket:
    """A pruned ticket with variances above zero."""
    ticket = pruned(model, density=0.5)
    weights = {n: t.abs() + 0.5 if "running_var" in n else t for n, t in ticket.weights.items()}
    return Ticket(weights=weights, mask=ticket.mask)


class Whole:
    """The mean loss over the train split as a function of the masked weights, in float64."""

    def __init__(self, ticket: Ticket) -> None:
        images = Normaliser(DATA, torch.device("cpu"))(DATA.train.images.permute(0, 3, 1, 2))
        self.model, self.images = TinyNet().double().eval(), images.double()
        self.others = {n: t.double() for n, t in ticket.weights.items()}
        self.weights = {n: self.others[n] for n in ticket.mask}

    def loss(self, weights: dict[str, Tensor]) -> Tensor:
        logits = functional_call(self.model, {**self.others, **weights}, (self.images,))
        return F.cross_entropy(logits, DATA.train.labels)

    def gradient(self, scale: float) -> dict[str, Tensor]:
        """At the masked weights times a number."""
        weights = {n: (w * scale).requires_grad_() for n, w in self.weights.items()}
        return dict(
            zip(weights, torch.autograd.grad(self.loss(weights), list(weights.values())), strict=True)
        )


@pytest.fixture
def net() -> tuple[nn.Module, Ticket, Whole]:
    model = TinyNet(dropout=0.5)
    ticket = ticket_of(model)
    return model, ticket, Whole(ticket)


def close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    for name, value in expected.items():
        assert found[name].dtype == torch.float64
        assert (found[name] - value).abs().max() < tolerance * value.max(), name


def test_taylor_is_the_weight_times_its_gradient(net: Any) -> None:
    model, ticket, whole = net
    found = score("taylor", Scored(ticket=ticket, model=model, data=DATA), images=EVERY)
    gradient = whole.gradient(1)
    close(found, {n: (w * gradient[n]).abs() for n, w in whole.weights.items()})


def test_hessian_is_the_weight_times_the_hessian_times_all_weights(net: Any) -> None:
    model, ticket, whole = net
    found = score("hessian", Scored(ticket=ticket, model=model, data=DATA), images=EVERY)
    step = 1e-6
    above, below = whole.gradient(1 + step), whole.gradient(1 - step)
    expected = {n: (w * (above[n] - below[n]) / (2 * step)).abs() for n, w in whole.weights.items()}
    close(found, expected)


def test_integrated_gradients_account_for_the_loss(net: Any) -> None:
    model, ticket, whole = net
    found = score("integrated-gradients", Scored(ticket=ticket, model=model, data=DATA), images=EVERY)
    steps = 300
    gradients = [whole.gradient((step + 0.5) / steps) for step in range(steps)]
    parts = {n: w * sum(g[n] for g in gradients) / steps for n, w in whole.weights.items()}
    nothing = whole.loss({n: torch.zeros_like(w) for n, w in whole.weights.items()})
    total = float(sum(part.sum() for part in parts.values()))
    assert total == pytest.approx(float(whole.loss(whole.weights) - nothing), rel=1e-2)
    close(found, {n: part.abs() for n, part in parts.items()}, tolerance=0.05)


@pytest.mark.parametrize("name", GRADIENT_SCORES)
def test_the_caller_s_network_is_left_alone_and_its_weights_do_not_matter(name: str, net: Any) -> None:
    model, ticket, *_ = net
    before = {n: t.clone() for n, t in model.state_dict().items()}
    model.train()
    found = score(name, Scored(ticket=ticket, model=model, data=DATA), images=40)
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    other = Scored(ticket=ticket, model=TinyNet(seed=5), data=DATA)
    assert all(torch.equal(t, found[n]) for n, t in score(name, other, images=40).items())
    seeds = Scored(ticket=ticket, model=model, data=DATA, seed=1)
    assert any(not torch.equal(t, found[n]) for n, t in score(name, seeds, images=40).items())


@pytest.mark.parametrize("name", GRADIENT_SCORES)
def test_a_network_whose_norms_are_fused_has_second_derivatives(name: str) -> None:
    model = build("resnet20", 4, 1, seed=0)
    for module in model.modules():
        if hasattr(module, "fused"):
            module.fused = True
    weights = dict(model.state_dict())
    mask = Mask({"layer3.2.conv2.weight": torch.rand(64, 64, 3, 3) < 0.1})
    ticket = Ticket(weights=mask.apply(weights), mask=mask)
    scores = score(name, Scored(ticket=ticket, model=model, data=DATA), images=8)["layer3.2.conv2.weight"]
    assert (scores[mask["layer3.2.conv2.weight"]] > 0).any()


@pytest.mark.parametrize("name", GRADIENT_SCORES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "score: network: expected one.*--arch NAME"),
        ({"data": None}, "score: data: expected a data set.*--data"),
        ({"data": tiny_data(channels=3)}, r"data: images: expected a network for images \[3, 8, 8\]"),
        ({"data": tiny_data(classes=9)}, r"network: output: expected \[images, classes\], more than 8"),
        ({"model": TinyNet(channels=3)}, "weights do not fit the network: c1.weight"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, changes: dict[str, Any], message: str, net: Any) -> None:
    model, ticket, *_ = net
    fields = {"ticket": ticket, "model": model, "data": DATA, **changes}
    with pytest.raises(InputError, match=message):
        score(name, Scored(**fields))


@pytest.mark.parametrize("name", GRADIENT_SCORES)
def test_fewer_than_one_image_is_refused(name: str, net: Any) -> None:
    model, ticket, *_ = net
    with pytest.raises(InputError, match=r"^images: expected 1 or more, found 0$"):
        score(name, Scored(ticket=ticket, model=model, data=DATA), images=0)


@pytest.mark.parametrize(
    ("recipe", "hint"),
    [
        ({"dataset": "cifar10"}, "found none; give its folder: --data DIR"),
        ({"arch": "resnet20"}, "found none; name it: --dataset NAME, and its folder: --data DIR .*"),
        (None, "found none; name it: --dataset NAME, and its folder: --data DIR .*"),
    ],
)
def test_missing_data_is_asked_for_by_what_the_bundle_does_not_know(
    recipe: dict[str, str] | None, hint: str, net: Any
) -> None:
    model, ticket, *_ = net
    scored = Scored(ticket=replace(ticket, recipe=recipe), model=model)
    with pytest.raises(InputError, match=f"score: data: expected a data set, to take gradients of, {hint}$"):
        score("taylor", scored)
