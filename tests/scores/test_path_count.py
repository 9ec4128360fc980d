"""A new path score is one file and one line: `split --score` takes it at once, and it counts right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import Command, could_not, unwrapped
from support.extending import PathCount
from support.kernel_paths import SmallNet, all_paths, pruned
from support.tickets import digits_ticket

from ticket_sig import load, save
from ticket_sig.models.graph import kernel_graph
from ticket_sig.scores import SCORES, Scored, score
from ticket_sig.scores.kernels import kept_kernels


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line."""
    monkeypatch.setitem(SCORES, "path-count", PathCount)


@pytest.mark.parametrize("residual", [True, False])
def test_a_weight_has_the_number_of_paths_through_its_kernel(residual: bool) -> None:
    model = SmallNet()
    ticket, graph = pruned(model), kernel_graph(model, residual)
    kept = [kept_kernels(link, ticket.weights, ticket.mask) for link in graph.links]
    counts = [torch.zeros(there.shape, dtype=torch.float64) for there in kept]
    for path in all_paths(graph, kept):
        for link, *at in path:
            counts[link][tuple(at)] += 1
    scores = score("path-count", Scored(ticket=ticket, model=model), residual=residual)
    for link, count in zip(graph.links, counts, strict=True):
        if link.name in ticket.mask:
            listed, found = link.spread(count, ticket.mask[link.name]), scores[link.name]
            passed = listed > 0
            assert passed.any() and torch.allclose(found[passed].exp(), listed[passed])
            assert (found[~passed] < min(float(t[t > t.min()].min()) for t in scores.values())).all()


def test_its_options_are_in_the_help(ticket_sig: Command) -> None:
    said = unwrapped(ticket_sig("split", "--help").out)
    assert "integrated-gradients, path-count." in said
    assert "Options of random-paths, ewp, betweenness, path-count" in said


def test_a_ticket_is_split_by_it(tmp_path: Path, ticket_sig: Command) -> None:
    model = save(digits_ticket(), tmp_path / "model")
    said = ticket_sig("split", model, "--score", "path-count", "--no-residual", "--out", tmp_path / "DIR")
    assert said.code == 0, said.err
    assert "weights by path-count; keep this" in said.out
    locked, key = tmp_path / "DIR" / "locked", tmp_path / "DIR" / "key.safetensors"
    before = load(model).ticket.mask.kept
    assert load(locked).ticket.mask.kept == before - round(0.05 * before)
    assert ticket_sig("unlock", locked, "--key", key, "--out", tmp_path / "back").code == 0
    assert load(tmp_path / "back").ticket.mask.kept == before
    said = ticket_sig("split", model, "--score", "path-count", "--seed", 3, "--out", tmp_path / "x")
    could_not(said, "--seed: expected a score that uses it")
