"""The attack `free`: random compositions, what the report and the command line say, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.command_line import Command, could_not, read_json, unwrapped
from support.free import NETWORKS, check_same, stolen
from support.networks import TASK, dense_bundle
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket, load
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.free import KINDS
from ticket_sig.attacks.free_attack import Free
from ticket_sig.attacks.report import attack_report
from ticket_sig.digests import tensor_digest
from ticket_sig.training import Steps


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])
@pytest.mark.parametrize("name", NETWORKS)
def test_random_compositions_leave_the_answers(name: str, seed: int) -> None:
    network, ticket, _, _ = stolen(name)
    before = tensor_digest(ticket.weights)
    done = Free(size=8).carry_out(ticket, Scene(model=network, seed=seed))
    check_same(name, done)
    assert done.did and set(done.did) <= KINDS.keys() and len(set(done.did)) == len(done.did)
    assert tensor_digest(ticket.weights) == before


def test_the_seed_decides_what_is_done_and_all_values() -> None:
    network, ticket, _, _ = stolen("perceptron")
    made = [Free().carry_out(ticket, Scene(model=network, seed=seed)) for seed in (3, 3, 4)]
    digests = [tensor_digest(one.ticket.weights) for one in made]
    assert digests[0] == digests[1] != digests[2]
    assert list(made[0].ticket.weights) == list(made[1].ticket.weights)
    assert made[0].did == made[1].did != made[2].did


def test_random_numbers_of_the_caller_s_are_left_alone() -> None:
    network, ticket, _, _ = stolen("flattened")
    state = torch.get_rng_state()
    Free(kind="factored+split-norms")(ticket, Scene(model=network))
    assert torch.equal(torch.get_rng_state(), state)


def trained() -> tuple[Ticket, Scene]:
    """A small network that is right most of the time, and its scene."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    recipe = tiny_recipe(length=Steps(40), lr=0.05)
    raw = Ticket(
        weights=weights, mask=Mask({"c2.weight": weights["c2.weight"] != 0}), recipe=recipe.to_json()
    )
    scene = Scene(data=tiny_data(), model=TinyNet())
    return attack("fine-tuning")(raw, scene), scene


def test_accuracy_is_measured_on_the_network_that_the_thief_has_then() -> None:
    ticket, scene = trained()
    kind = "renamed+mirrored+cliques+fused+factored+rotated"
    done = Free(kind=kind, share=0.5).carry_out(ticket, scene)
    assert done.did == tuple(kind.split("+")) and done.ticket.recipe is None
    report = attack_report(ticket, done.ticket, scene, network=done.answering)
    assert report.accuracy[0] == report.accuracy[1] is not None and report.accuracy[0] > 60
    assert report.totals[1] > report.totals[0]
    with pytest.raises(InputError, match="weights do not fit the network"):
        attack_report(ticket, done.ticket, scene)


def test_it_can_be_followed_by_training_and_by_pruning() -> None:
    ticket, scene = trained()
    done = Free(kind="renamed+split-neurons+larger-kernels", share=0.5).carry_out(ticket, scene)
    then = replace(scene, model=done.network, recipe=scene.recipe_for(ticket))
    tuned = attack("fine-tuning", epochs=1)(done.ticket, then)
    assert tuned.weights.keys() == done.ticket.weights.keys() and tuned.history[-1].test is not None
    pruned = attack("magnitude-pruning", rate=0.2)(done.ticket, then)
    assert pruned.mask.kept == done.ticket.mask.kept - round(0.2 * done.ticket.mask.kept)


def test_the_recipe_stays_where_its_architecture_still_computes_the_network() -> None:
    ticket, scene = trained()
    for kind, stays in {
        "permuted+rescaled": True,
        "flipped-signs": True,
        "reordered": True,
        "transposed": True,
        "renamed": False,
        "padded": False,
        "fused": False,
    }.items():
        done = Free(kind=kind, share=0.5).carry_out(ticket, scene)
        assert done.did == tuple(kind.split("+"))
        assert done.ticket.recipe == (ticket.recipe if stays else None), kind


def test_tied_and_unused_tensors_go_along() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f1, self.f2, self.f3 = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
            self.f2.weight, self.aux = self.f1.weight, nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.f3(F.relu(self.f2(F.relu(self.f1(x)))))  # type: ignore[no-any-return]

    network = Tied().double()
    weights = network.state_dict()
    ticket = Ticket(weights=weights, mask=Mask.of_matrices(weights))
    done = Free(kind="renamed+permuted+cliques+rescaled").carry_out(ticket, Scene(model=network))
    x = torch.randn(3, 6, dtype=torch.float64)
    assert done.network is not None
    torch.testing.assert_close(done.network(x), network(x))
    assert len(done.ticket.weights) == len(weights) and len(done.ticket.mask) == len(ticket.mask)
    new = dict(zip(weights, done.ticket.weights, strict=True))
    shared = [done.ticket.weights[new[name]].data_ptr() for name in ("f1.weight", "f2.weight")]
    assert shared[0] == shared[1]
    assert torch.equal(done.ticket.weights[new["aux.weight"]], weights["aux.weight"])


def test_it_is_a_verb_and_says_what_it_did(tmp_path: Path, ticket_sig: Command) -> None:
    dense, out = dense_bundle(tmp_path / "dense"), tmp_path / "stolen"
    command = ["attack", "free", dense, *TASK, "--kind", "fused+renamed+fused", "--seed", 3, "--out", out]
    said = ticket_sig(*command)
    assert said.code == 0, said.err
    assert "done: fused; renamed; fused: not done: no batch norm behind a layer" in unwrapped(said.out)
    stolen = load(out).ticket
    assert stolen.recipe is None and not any("running_var" in name for name in stolen.weights)
    told = read_json(ticket_sig(*command, "--force", "--json"))
    assert told["did"] == ["fused", "renamed", "fused: not done: no batch norm behind a layer"]
    assert told["accuracy"]["before"] == told["accuracy"]["after"] is not None
    assert "split-neurons" in unwrapped(ticket_sig("attack", "free", "--help").out)


def test_bad_input_is_one_line(tmp_path: Path, ticket_sig: Command) -> None:
    dense = dense_bundle(tmp_path / "dense")
    command = ["attack", "free", dense, "--out", tmp_path / "x"]
    could_not(ticket_sig(*command, "--kind", "renamed+melted"), "kind: expected one of renamed, ", "'melted'")
    could_not(
        ticket_sig(*command, "--share", 0), "share: expected a share between 0 and 1, without both, found 0"
    )
    could_not(ticket_sig(*command, "--factor", 0.5), "factor: expected 1 to 1e+06, found 0.5")
    could_not(ticket_sig(*command, "--size", 0), "size: expected 1 or more, found 0")


class Unread(nn.Module):
    """Its channels cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.f1, self.f2 = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.f2(torch.roll(self.f1(x), 1, 1))  # type: ignore[no-any-return]


def test_an_operation_that_cannot_be_followed_is_named_where_channels_matter() -> None:
    network = Unread()
    weights = {name: t.detach() for name, t in network.state_dict().items()}
    ticket = Ticket(weights=weights, mask=Mask.of_matrices(weights))
    for kind in ("permuted", "cliques", "rescaled"):
        with pytest.raises(InputError, match="roll"):
            Free(kind=kind)(ticket, Scene(model=network))
    done = Free(kind="renamed+factored").carry_out(ticket, Scene(model=network))
    x = torch.randn(2, 4)
    assert done.network is not None
    torch.testing.assert_close(done.network(x), network(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="recipe: expected one of the ticket or of the thief, found neither"):
        Free()(ticket, Scene())
