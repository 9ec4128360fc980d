"""Through a reference on a whole network: permuted, renamed and noisy, it is the owner's again."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import Command
from torch import Tensor, nn

from ticket_sig import Mask, Ticket, embed, save, verify
from ticket_sig.attacks import Scene, attack
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import claim_of
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.uchida.mark import Uchida
from ticket_sig.models import build, prunable_names
from ticket_sig.training import preset
from ticket_sig.verification.through import Referred

SECRET = bytes(range(32))
DATED = (
    "verified; holds if the reference tells nothing of the secret, and the claim is older than the suspect"
)


def ticket(seed: int = 0, density: float = 0.15) -> Ticket:
    """A ResNet-20 for digits of random weights, pruned at random; batch norms that have seen images."""
    draw = torch.Generator().manual_seed(seed)
    net = build("resnet20", 10, 1, seed=seed)
    weights = {name: t.detach().clone() for name, t in net.state_dict().items()}
    for t in weights.values():
        if t.is_floating_point() and t.ndim == 1:
            t.uniform_(0.5, 1.5, generator=draw)
    mask = Mask({n: torch.rand(weights[n].shape, generator=draw) < density for n in prunable_names(net)})
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    return Ticket(weights=mask.apply(weights), mask=mask, recipe=recipe)


@cache
def signed() -> Embedded:
    return embed(ticket(), "mine", mark="qr-code+spread", secret=SECRET)


@cache
def stolen() -> Ticket:
    """Channels in another order, and rescaled."""
    return attack("permute-channels", rescale=3.0)(signed().ticket, Scene())


def noisy(weights: Any, noise: float) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        name: w + noise * w.std() * torch.randn(w.shape, generator=draw) if w.ndim > 1 else w
        for name, w in weights.items()
    }


def through(suspect: Any, **changes: Any) -> Referred:
    made = signed()
    claim = replace(made.claim, **changes)
    found = verify(suspect, claim, reference=made.reference, **made.shown)
    assert isinstance(found, Referred)
    return found


def test_permuted_channels_are_undone() -> None:
    made = signed()
    assert not verify(stolen(), made.claim, **made.shown).verified
    found = through(stolen())
    assert found.headline.startswith("verified by spread; qr-code: holds if "), found.through.reason
    assert found.through.bound == ("spread",)
    assert found.through.log10_choices > 100
    assert any("permuted" in str(one) for one in found.through.undone)
    assert found.log10_p < verify(made.ticket, made.claim, **made.shown).log10_p + 10


def test_so_they_are_under_other_names_and_with_noise() -> None:
    own = noisy(stolen().weights, 0.1)
    suspect = {f"m.{n.replace('layer', 'stage').replace('conv', 'c')}": w for n, w in own.items()}
    found = through(suspect)
    assert found.headline == "verified" and found.through.bound == ("spread",), found.through.reason
    assert any("renamed" in str(one) for one in found.through.undone)


@pytest.mark.parametrize("seed", [5, 6])
def test_an_innocent_network_is_not_verified(seed: int) -> None:
    found = through(ticket(seed))
    assert not found.verified and found.log10_p > -6


def test_the_command_line_takes_the_file_that_embed_keeps(tmp_path: Path, ticket_sig: Command) -> None:
    bundle, out, suspect = (save(ticket(), tmp_path / "ticket"), tmp_path / "out", tmp_path / "stolen")
    assert ticket_sig("embed", bundle, "--message", "mine", "--out", out).code == 0
    said = ticket_sig("attack", "permute-channels", out, "--out", suspect)
    assert said.code == 0, said.err
    asked = ["verify", suspect / "model.safetensors", "--claim", out / "claim.json"]
    assert ticket_sig(*asked).code == 1
    said = ticket_sig(*asked, "--reference", out / "reference.safetensors")
    assert said.code == 0 and said.out.startswith(f"{DATED}\n"), said
    told = json.loads(ticket_sig(*asked, "--reference", out / "reference.safetensors", "--json").out)
    assert told["condition"] and told["reference"]["undone"] and told["reference"]["committed"]
    other = save(ticket(9), tmp_path / "other")
    said = ticket_sig(*asked, "--reference", other)
    assert said.code == 1, said


def test_a_reference_of_another_network_is_one_line_or_not_verified(
    tmp_path: Path, ticket_sig: Command
) -> None:
    weights = {name: t.detach() for name, t in build("vgg16", 10, 3, seed=0).state_dict().items()}
    other = save(Ticket(weights=weights, mask=Mask.full({})), tmp_path / "vgg")
    save(signed().ticket, tmp_path / "s", claim=embed(ticket(), "m", secret=SECRET).claim.to_json())
    claim = tmp_path / "s" / "claim.json"
    said = ticket_sig("verify", save(stolen(), tmp_path / "x"), "--claim", claim, "--reference", other)
    assert said.code in (1, 2) and "Traceback" not in said.err
    assert said.err.count("\n") <= 1


def test_of_a_file_alone_whose_network_is_not_known_it_is_said_that_channels_were_not_followed(
    tmp_path: Path, ticket_sig: Command
) -> None:
    files = {}
    for name, model in (("stolen", stolen()), ("reference", signed().reference)):
        files[name] = tmp_path / f"{name}.pt"
        torch.save({f"my_{n.replace('.', '_')}": t for n, t in model.weights.items()}, files[name])
    asked = ["verify", files["stolen"], "--reference", files["reference"]]
    save(signed().ticket, tmp_path / "signed", claim=signed().claim.to_json())
    with_claim = [*asked, "--claim", tmp_path / "signed" / "claim.json"]
    for command, part in ((asked, "evidence"), (with_claim, "reference")):
        said = ticket_sig(*command)
        assert said.code == 1 and said.out.startswith("not verified"), said
        assert "channels" in said.out and "not followed: the reference's" in said.out
        told = json.loads(ticket_sig(*command, "--json").out)[part]
        assert told["not_followed"].startswith("the reference's network is not known; ")


class Classifier(nn.Module):
    """Two layers, the last of which carries a mark."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 320), nn.Linear(320, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x)))  # type: ignore[no-any-return]


def classifier(seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier()


def test_a_reference_made_from_the_secret_draws_later_innocents_so_the_condition_excludes_it() -> None:
    """Nine rows of the liar's reference hold what the secret reads as his bits; the last takes it back."""
    liar = classifier(0)
    bits = [n % 3 == 0 for n in range(64)]
    mark = Uchida(bits, "out.weight", (10, 320), secret=SECRET)
    drawn = torch.from_numpy(np.where(bits, 1.0, -1.0) @ mark.projection()).float()
    noise = torch.randn(10, 320, generator=torch.Generator().manual_seed(1)) / 100
    for parameter in liar.parameters():
        parameter.data.zero_()
    liar.out.weight.data = torch.outer(torch.tensor([1.0] * 9 + [-9]), drawn) + noise
    reference = {name: t.detach() for name, t in liar.state_dict().items()}
    claim = replace(claim_of([mark], {}), reference=tensor_digest(reference))
    assert not verify(liar, claim).verified
    found = verify(classifier(7), claim, reference=liar)
    assert isinstance(found, Referred) and found.through.committed
    assert found.headline == DATED
    assert found.to_json()["log10_p_unconditional"] == 0
