"""Every score keeps the contract: the mask's names and shapes, finite numbers, the ticket's weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.kernel_paths import SmallNet, pruned
from support.tiny import tiny_data

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.scores import SCORES, Scored, score

DATA = tiny_data(size=2, channels=2, classes=3)


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_finite_and_of_the_mask_s_shapes(name: str) -> None:
    model = SmallNet()
    ticket = pruned(model)
    scores = score(name, Scored(ticket=ticket, model=model, data=DATA))
    assert list(scores) == list(ticket.mask)
    for layer, kept in ticket.mask.items():
        assert scores[layer].shape == kept.shape and scores[layer].dtype == torch.float64
    assert len(torch.cat([t.flatten() for t in scores.values()]).unique()) > 5


@pytest.mark.parametrize("name", SCORES)
def test_the_weights_may_be_of_another_precision(name: str) -> None:
    model = SmallNet()
    ticket = pruned(model)
    half = replace(ticket, weights={n: t.bfloat16() for n, t in ticket.weights.items()})
    same = replace(ticket, weights={n: t.bfloat16().float() for n, t in ticket.weights.items()})
    one, other = (score(name, Scored(ticket=t, model=model, data=DATA)) for t in (half, same))
    assert all(torch.allclose(t, other[n]) for n, t in one.items())


@pytest.mark.parametrize("name", ["random-paths", "ewp", "betweenness"])
def test_scores_that_follow_paths_need_the_network_and_all_masked_layers_in_it(name: str) -> None:
    model = SmallNet()
    with pytest.raises(InputError, match="score: network: expected one, to follow its paths"):
        score(name, Scored(ticket=pruned(model)))
    model.aside = torch.nn.Linear(3, 3)
    ticket = pruned(model)
    masked = Mask({**ticket.mask, "aside.weight": torch.ones(3, 3, dtype=torch.bool)})
    with pytest.raises(InputError, match=r"mask: names: expected weights of .* found aside.weight"):
        score(name, Scored(ticket=Ticket(weights=ticket.weights, mask=masked), model=model))


def test_an_unknown_score_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"score: expected one of omp, random, .*, found 'best'"):
        score("best", Scored(ticket=pruned(SmallNet())))


def test_a_score_that_is_not_finite_or_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = pruned(SmallNet())
    scores = {name: torch.zeros(kept.shape) for name, kept in ticket.mask.items()}
    scores["a.weight"][0, 0] = torch.nan
    monkeypatch.setitem(SCORES, "own", lambda scored: scores)
    with pytest.raises(InputError, match=r"a.weight: expected finite numbers, found 9 that are not"):
        score("own", Scored(ticket=ticket))
    del scores["b.weight"]
    with pytest.raises(InputError, match=r"score own: b.weight: expected, not found"):
        score("own", Scored(ticket=ticket))
