"""People tie the embedding of a language model to its output layer: one matrix under two names (case 1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import Command, could_not, done, read_json, run
from support.shards import write_shards
from support.tiny import tiny_data, tiny_recipe
from torch import Tensor, nn
from torch.nn.utils import prune

from ticket_sig import Claim, find, load, retrain, verify
from ticket_sig.formats import open_weights
from ticket_sig.formats.weights import Shards
from ticket_sig.ticket import copies_of
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import Transcript, TranscriptRecorder, audit
from ticket_sig.verification.white_box import verify_file

State = dict[str, Tensor]
EMBED, HEAD = "embed.weight", "head.weight"


class Language(nn.Module):
    """A language model with one matrix for words in and words out."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(48, 40)
        self.body = nn.Linear(40, 40)
        self.head = nn.Linear(40, 48, bias=False)
        if tied:
            self.head.weight = self.embed.weight


def network(density: float = 0.5) -> Language:
    torch.manual_seed(1)
    net = Language()
    with torch.no_grad():
        net.embed.weight *= torch.rand(48, 40) < density
    return net


def pruned(*layers: str) -> Language:
    """Pruned by PyTorch under these names: the other name holds the same, unpruned tensor, and no mask."""
    net = network(1.0)
    kept = torch.rand(48, 40) < 0.5
    for layer in layers:
        prune.custom_from_mask(getattr(net, layer), "weight", mask=kept)
    return net


def copies(state: State) -> State:
    return {name: t.clone() for name, t in state.items()}


def as_torch(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def as_clones(net: nn.Module, path: Path) -> Path:
    torch.save({"model": copies(net.state_dict())}, path)
    return path


def as_copies(net: nn.Module, path: Path) -> Path:
    safetensors.torch.save_file(copies(net.state_dict()), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_model(net: nn.Module, path: Path) -> Path:
    safetensors.torch.save_model(net, str(path.with_suffix(".safetensors")))
    return path.with_suffix(".safetensors")


def without(name: str) -> Callable[[nn.Module, Path], Path]:
    """As the hub's files are: of tied weights the one name or the other is left out."""

    def write(net: nn.Module, path: Path) -> Path:
        torch.save({n: t for n, t in net.state_dict().items() if n != name}, path)
        return path

    return write


def beside_its_mask(net: nn.Module, path: Path) -> Path:
    torch.save({"state_dict": network(1.0).state_dict(), "masks": {EMBED: torch.rand(48, 40) < 0.5}}, path)
    return path


Write = Callable[[nn.Module, Path], Path]
OWNERS: dict[str, tuple[Callable[[], nn.Module], Write]] = {
    "shared memory": (network, as_torch),
    "clones": (network, as_clones),
    "safetensors": (network, as_copies),
    "pruned as the embedding": (lambda: pruned("embed"), as_torch),
    "pruned as the output layer": (lambda: pruned("head"), as_torch),
    "pruned under both names": (lambda: pruned("embed", "head"), as_torch),
    "pruned under one name, clones": (lambda: pruned("embed"), as_clones),
    "pruned under one name, safetensors": (lambda: pruned("head"), as_copies),
    "the mask apart": (network, beside_its_mask),
}
SUSPECTS: dict[str, Write] = {
    "shared memory": as_torch,
    "clones": as_clones,
    "safetensors": as_copies,
    "save_model": as_model,
    "without the output layer": without(HEAD),
    "without the embedding": without(EMBED),
}


def loaded_by_its_owner(bundle: Path) -> Language:
    """The bundle's weights in the owner's own module, whose two names are one parameter."""
    net = Language()
    net.load_state_dict(safetensors.torch.load_file(bundle / "model.safetensors"), strict=True)
    return net


@pytest.mark.parametrize("owner", OWNERS)
def test_a_message_survives_the_round_trip(owner: str, tmp_path: Path) -> None:
    made, write = OWNERS[owner]
    done(["embed", write(made(), tmp_path / "owner.pt"), "--message", "mine", "--out", tmp_path / "out"])
    ticket = load(tmp_path / "out").ticket
    assert [name for name in (EMBED, HEAD) if name in ticket.mask] == [EMBED], "it counts once"
    assert ticket.weights[EMBED] is ticket.weights[HEAD]
    net, claim = loaded_by_its_owner(tmp_path / "out"), Claim.read(tmp_path / "out" / "claim.json")
    for name, save_as in SUSPECTS.items():
        assert verify_file(save_as(net, tmp_path / "suspect.pth"), claim).verified, name


def as_shards(net: nn.Module, path: Path) -> Path:
    return write_shards(path.with_suffix(""), copies(net.state_dict()))


IN_WEIGHTS = [("freezenet", write) for write in (as_torch, as_clones, as_copies, as_shards)]
IN_WEIGHTS += [("uchida", write) for write in (as_torch, as_clones, as_copies)]


@pytest.mark.parametrize(("mark", "write"), IN_WEIGHTS)
def test_so_do_values_and_bits(mark: str, write: Write, tmp_path: Path) -> None:
    options: list[Any] = ["--length", 400] if mark == "freezenet" else ["--layer", EMBED, "--random", 40]
    path = write(network(1.0), tmp_path / "owner.pt")
    done(["embed", path, "--mark", mark, *options, "--out", tmp_path / "out"])
    claim = Claim.read(tmp_path / "out" / "claim.json")
    weights = open_weights(tmp_path / "out")
    assert torch.equal(weights.tensor(EMBED), weights.tensor(HEAD))
    again = Language()
    again.load_state_dict({name: weights.tensor(name) for name in again.state_dict()}, strict=True)
    for name, save_as in SUSPECTS.items():
        reading = verify_file(save_as(again, tmp_path / "suspect.pth"), claim).reading
        assert reading.agreement == 1, name
        if mark == "freezenet":
            assert reading.to_json()["parameters"] == sum(p.numel() for p in again.parameters())
    if mark == "freezenet":
        assert verify(again, claim).verified


def test_a_key_survives_it_too(tmp_path: Path) -> None:
    done(["split", as_copies(network(), tmp_path / "owner"), "--share", 0.3, "--out", tmp_path / "out"])
    claim, shown = Claim.read(tmp_path / "out/locked/claim.json"), {"key": tmp_path / "out/key.safetensors"}
    for name, save_as in SUSPECTS.items():
        assert verify_file(save_as(network(), tmp_path / "suspect.pth"), claim, shown).verified, name


@pytest.mark.parametrize("write", [as_torch, as_clones, as_copies])
def test_the_matrix_is_counted_once(write: Write, ticket_sig: Command, tmp_path: Path) -> None:
    told = read_json(ticket_sig("inspect", write(network(), tmp_path / "net.pt"), "--json"))
    assert [(row["name"], row["total"]) for row in told["layers"]] == [(EMBED, 48 * 40)]
    assert told["total"] == 48 * 40
    dense = read_json(ticket_sig("inspect", write(network(1.0), tmp_path / "dense.pt"), "--json"))
    assert dense["total"] == 48 * 40 + 40 * 40


@pytest.mark.parametrize("write", [as_torch, as_clones, as_copies])
def test_a_dense_model_is_pruned_under_both_names(write: Write, tmp_path: Path) -> None:
    path = write(network(1.0), tmp_path / "net.pt")
    done(["embed", path, "--prune", 0.5, "--message", "mine", "--out", tmp_path / "out"])
    done(
        [
            "verify",
            as_torch(loaded_by_its_owner(tmp_path / "out"), tmp_path / "again.pt"),
            "--claim",
            tmp_path / "out" / "claim.json",
        ]
    )


def test_masks_of_one_matrix_that_differ_are_refused(tmp_path: Path) -> None:
    net = pruned("embed")
    prune.custom_from_mask(net.head, "weight", mask=torch.rand(48, 40) < 0.5)
    said = run(["inspect", as_torch(net, tmp_path / "net.pt")])
    could_not(said, "head.weight_mask: expected the mask that embed.weight_mask is, found another")


def test_an_old_claim_on_a_name_that_is_gone_finds_it_by_its_shape(tmp_path: Path) -> None:
    """It does not say which weights were tied."""
    done(["embed", as_torch(network(), tmp_path / "o.pt"), "--message", "mine", "--out", tmp_path / "out"])
    claim = Claim.read(tmp_path / "out" / "claim.json")
    assert claim.tied == {HEAD: EMBED} and Claim.from_json(claim.to_json()).tied == claim.tied
    old = tmp_path / "old.json"
    old.write_text((tmp_path / "out" / "claim.json").read_text().replace('"tied"', '"unknown"'))
    suspect = as_model(loaded_by_its_owner(tmp_path / "out"), tmp_path / "suspect")
    said = run(["verify", suspect, "--claim", old])
    assert said.code == 0 and said.out.startswith("verified"), said


def test_what_is_equal_by_chance_of_its_making_is_not_tied() -> None:
    same = torch.randn(6, 5)
    tensors = {
        "zero.a": torch.zeros(6, 5),
        "zero.b": torch.zeros(6, 5),
        "one.a": torch.ones(6, 5),
        "one.b": torch.ones(6, 5),
        "causal.a": torch.ones(6, 6).tril(),
        "causal.b": torch.ones(6, 6).tril(),
        "bias.a": torch.arange(6.0),
        "bias.b": torch.arange(6.0),
        "index.a": torch.arange(30).view(6, 5),
        "index.b": torch.arange(30).view(6, 5),
        "half": same.half(),
        "weight.a": same,
        "flat": same.view(1, 30),
        "weight.b": same.clone(),
        "weight.c": same.clone().index_fill(0, torch.tensor(5), 0.5),
    }
    assert copies_of(tensors) == {"weight.b": "weight.a"}


def test_shards_are_compared_without_being_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(0)
    state = {f"{n}.weight": torch.randn(64, 64, generator=draw) for n in range(8)}
    state["tied.weight"] = state["3.weight"].clone()
    read = Shards(write_shards(tmp_path / "model", state))
    digested = []
    monkeypatch.setattr(
        "ticket_sig.ticket.tensor_digest", lambda one: digested.append(one[""]) or str(one[""].sum())
    )
    assert read.copies == {"tied.weight": "3.weight"}
    assert len(digested) == 2, "the others differ in the few entries that are looked at"


class TwoLayers(nn.Module):
    """Two layers of one size that are used one after the other; tied, or not."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.z = nn.Linear(64, 64, bias=False)
        self.a = nn.Linear(64, 64, bias=False)
        self.out = nn.Linear(64, 4)
        if tied:
            self.a.weight = self.z.weight

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.out(self.a(self.z(images.flatten(1)).relu()).relu())
        return answer


@pytest.mark.parametrize("tied", [True, False])
def test_training_keeps_the_mask_of_tied_layers_and_of_copies(tied: bool, tmp_path: Path) -> None:
    net = TwoLayers(tied)
    with torch.no_grad():
        net.z.weight *= torch.rand(64, 64) < 0.5
        net.a.weight.copy_(net.z.weight)
    read = load(as_copies(net, tmp_path / "net")).ticket
    assert list(read.mask) == ["a.weight"]
    again = retrain(read, tiny_recipe(), tiny_data(), tmp_path / "run", start="model", model=TwoLayers(tied))
    zero = read.weights["a.weight"] == 0
    for name in ("a.weight", "z.weight"):
        assert not again.weights[name][zero].any() and not torch.equal(
            again.weights[name], read.weights[name]
        )
    assert torch.equal(again.weights["a.weight"], again.weights["z.weight"]) is tied
    assert list(again.mask) == (["a.weight"] if tied else ["a.weight", "z.weight"])
    # What is trained is tied as its network is, and so carries its next mark under both names.
    assert (again.weights["a.weight"] is again.weights["z.weight"]) is tied


def test_tied_weights_are_rewound_as_one(tmp_path: Path) -> None:
    rewind = {name: torch.randn_like(t) for name, t in network(1.0).state_dict().items()}
    torch.save({"state_dict": pruned("embed").state_dict(), "init_weight": rewind}, tmp_path / "paper.pt")
    rewound = load(tmp_path / "paper.pt").ticket.rewound()
    assert torch.equal(rewound[HEAD], rewound[EMBED]) and (rewound[EMBED] == 0).any()


def test_a_search_of_tied_layers_is_recorded_and_its_audit_valid(tmp_path: Path) -> None:
    engine = Engine(recorder=TranscriptRecorder(tmp_path / "transcript", every=5))
    find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TwoLayers(tied=True), engine=engine)
    found = audit(Transcript.open(tmp_path / "transcript"), tiny_data(), model=TwoLayers(tied=True))
    assert (found.outcome, found.reasons) == ("valid", []) and len(found.transcript.levels) == 2
