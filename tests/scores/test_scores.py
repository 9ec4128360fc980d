"""Every score keeps the contract: the mask's names and shapes, finite numbers, the ticket's weights."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
import torch
from support.extending import RelativeMagnitude
from support.kernel_paths import SmallNet, pruned
from support.tiny import tiny_data
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.options import options_of
from ticket_sig.scores import SCORES, Score, Scored, make, score

DATA = tiny_data(size=2, channels=2, classes=3)


def asked(name: str, ticket: Ticket, seed: int = 0) -> Scored:
    """The ticket with what the score says it uses, and nothing else."""
    uses = SCORES[name].uses
    model, data = SmallNet() if "network" in uses else None, DATA if "data" in uses else None
    return Scored(ticket=ticket, model=model, data=data, seed=seed)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_says_what_it_uses_and_looks_at_nothing_else(name: str) -> None:
    uses, ticket = SCORES[name].uses, pruned(SmallNet())
    assert uses <= {"network", "data", "seed"}
    if "seed" not in uses:
        one, other = (score(name, asked(name, ticket, seed)) for seed in (0, 1))
        assert all(torch.equal(t, other[layer]) for layer, t in one.items())
    for part, field in (("network", "model"), ("data", "data")):
        if part in uses:
            with pytest.raises(InputError, match=f"score: {part}: expected .*, found none"):
                score(name, replace(asked(name, ticket), **{field: None}))


@pytest.mark.parametrize("name", SCORES)
def test_every_option_has_a_help_and_no_other_is_taken(name: str) -> None:
    known = options_of(SCORES[name])
    assert known == list(fields(SCORES[name]))
    assert all(one.metadata["help"].strip().endswith(".") for one in known)
    expected = ", ".join(one.name for one in known) if known else "no options"
    with pytest.raises(InputError, match=rf"^score {name}: expected .*{expected}, found nonsense$"):
        score(name, asked(name, pruned(SmallNet())), nonsense=1)
    assert make(name).error(asked(name, pruned(SmallNet()))) is None


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_finite_and_of_the_mask_s_shapes(name: str) -> None:
    ticket = pruned(SmallNet())
    scores = score(name, asked(name, ticket))
    assert list(scores) == list(ticket.mask)
    for layer, kept in ticket.mask.items():
        assert scores[layer].shape == kept.shape and scores[layer].dtype == torch.float64
    assert len(torch.cat([t.flatten() for t in scores.values()]).unique()) > 5


@pytest.mark.parametrize("name", SCORES)
def test_the_weights_may_be_of_another_precision(name: str) -> None:
    ticket = pruned(SmallNet())
    half = replace(ticket, weights={n: t.bfloat16() for n, t in ticket.weights.items()})
    same = replace(ticket, weights={n: t.bfloat16().float() for n, t in ticket.weights.items()})
    one, other = (score(name, asked(name, t)) for t in (half, same))
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

    @dataclass(frozen=True, kw_only=True)
    class Own(Score):
        uses = frozenset()

        def __call__(self, scored: Scored) -> dict[str, Tensor]:
            return scores

    monkeypatch.setitem(SCORES, "own", Own)
    with pytest.raises(InputError, match=r"a.weight: expected finite numbers, found 9 that are not"):
        score("own", Scored(ticket=ticket))
    del scores["b.weight"]
    with pytest.raises(InputError, match=r"score own: b.weight: expected, not found"):
        score("own", Scored(ticket=ticket))


def test_a_new_score_is_one_file_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "relative-magnitude"
    monkeypatch.setitem(SCORES, name, RelativeMagnitude)
    scored = asked(name, pruned(SmallNet()))
    magnitudes = score("omp", scored)
    for options, order in (({}, 2), ({"order": 1}, 1)):
        for layer, relative in score(name, scored, **options).items():
            assert torch.allclose(relative * magnitudes[layer].norm(order), magnitudes[layer])
    for options, message in (
        ({"order": 0}, "order: expected a finite number more than 0, found 0"),
        ({"order": "max"}, "order: expected a number, found 'max'"),
        ({"paths": 3}, f"score {name}: expected options among order, found paths"),
    ):
        with pytest.raises(InputError, match=f"^{message}$"):
            score(name, scored, **options)
