"""Edge-weight products against a listing of all paths, exact and sampled."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from support.kernel_paths import SmallNet, all_paths, pruned
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.models.graph import kernel_graph
from ticket_sig.scores import Scored, score


def listed(model: nn.Module, ticket: Ticket, residual: bool) -> dict[str, Tensor]:
    """Total product of the paths through each kernel, for every weight; 0: none."""
    graph = kernel_graph(model, residual)
    sizes = [
        torch.ones(k.shape) if k.name is None else k.kernels(ticket.weights[k.name]).double().abs().sum(3)
        for k in graph.links
    ]
    totals = [torch.zeros(size.shape, dtype=torch.float64) for size in sizes]
    for path in all_paths(graph, [size > 0 for size in sizes]):
        product = math.prod(float(sizes[link][tuple(at)]) for link, *at in path)
        for link, *at in path:
            totals[link][tuple(at)] += product
    return {
        k.name: k.spread(total, ticket.weights[k.name])
        for k, total in zip(graph.links, totals, strict=True)
        if k.name in ticket.mask
    }


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_weight_has_the_total_of_the_paths_through_its_kernel(seed: int, residual: bool) -> None:
    model = SmallNet()
    ticket = pruned(model, seed=seed)
    scores = score("ewp", Scored(ticket=ticket, model=model), residual=residual)
    expected = listed(model, ticket, residual)
    floor = min(float(t.min()) for t in scores.values())
    assert list(scores) == list(ticket.mask)
    for name, total in expected.items():
        alive = total > 0
        assert torch.allclose(scores[name][alive], total[alive].log(), rtol=1e-10)
        assert (scores[name][~alive] == floor).all() and (scores[name][alive] > floor).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_products_of_a_deep_network_neither_vanish_nor_overflow(scale: float) -> None:
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(300)))
    weights = {name: torch.full_like(t, scale) for name, t in model.state_dict().items()}
    ticket = Ticket(weights=weights, mask=Mask.full({f"{k}.weight": torch.ones(4, 4) for k in range(299)}))
    scores = score("ewp", Scored(ticket=ticket, model=model))
    # 4 ** 301 paths in all, of which a kernel has one in 16.
    expected = 300 * math.log(scale) + 299 * math.log(4)
    assert torch.allclose(torch.stack(list(scores.values())), torch.tensor(expected).double(), rtol=1e-7)


def test_sampled_paths_rank_the_kernels_as_all_do_and_estimate_their_totals() -> None:
    model = SmallNet()
    ticket = pruned(model)
    exact = score("ewp", Scored(ticket=ticket, model=model))
    sampled = score("ewp", Scored(ticket=ticket, model=model), paths=300_000)
    one, other = (torch.cat([scores[n][ticket.mask[n]] for n in ticket.mask]) for scores in (exact, sampled))
    assert spearmanr(one, other).statistic > 0.99
    heavy = one > one.median()
    assert (one - other)[heavy].abs().max() < 0.05


def test_the_same_seed_draws_the_same_paths() -> None:
    model = SmallNet()
    drawn = [
        score("ewp", Scored(ticket=pruned(model), model=model, seed=seed), paths=1000)["a.weight"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_a_weight_that_layers_share_has_the_paths_through_all_of_them() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    ticket = pruned(model, density=0.7)
    scores = score("ewp", Scored(ticket=ticket, model=model))
    first, second, last = (ticket.weights[f"{k}.weight"].abs().double() for k in (0, 0, 2))
    leads_on = last.sum(0)
    through_first = first * (second.T @ leads_on).unsqueeze(1)
    through_second = first.sum(1) * second * leads_on.unsqueeze(1)
    kept = ticket.mask["0.weight"]
    assert torch.allclose(scores["0.weight"].exp()[kept], (through_first + through_second)[kept])


@pytest.mark.parametrize("name", ["ewp", "random-paths"])
@pytest.mark.parametrize("options", [{}, {"paths": 10}])
def test_a_network_cut_in_two_is_refused(name: str, options: dict[str, int]) -> None:
    model = SmallNet()
    weights = dict(model.state_dict())
    mask = Mask({"hidden.weight": torch.zeros(5, 24, dtype=torch.bool)})
    ticket = Ticket(weights=mask.apply(weights), mask=mask)
    with pytest.raises(InputError, match="network: disconnected: expected a path of kept kernels"):
        score(name, Scored(ticket=ticket, model=model), **options)


@pytest.mark.parametrize("name", ["ewp", "random-paths"])
def test_fewer_than_one_path_is_refused(name: str) -> None:
    model = SmallNet()
    with pytest.raises(InputError, match=r"^paths: expected 1 or more, found 0$"):
        score(name, Scored(ticket=pruned(model), model=model), paths=0)
