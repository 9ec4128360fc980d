"""People keep the pruning mask beside the weights, under other names, or in a file of its own (case 11)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import Command, could_not, done, read_json, run
from support.user_net import UserNet
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ticket_sig import Claim, InputError, Mask, Ticket, embed, load, save, verify
from ticket_sig.formats import open_weights

LAYER, FC = "layer1.0.conv1.weight", "fc.weight"
State = dict[str, Tensor]


def dense() -> State:
    torch.manual_seed(3)
    return {name: t.clone() for name, t in UserNet().state_dict().items()}


def kept(dtype: torch.dtype = torch.float32) -> State:
    draw = torch.Generator().manual_seed(4)
    return {name: (torch.rand(dense()[name].shape, generator=draw) < 0.4).to(dtype) for name in (LAYER, FC)}


def beside(name: Callable[[str], str]) -> State:
    """The dense weights, and masks under another name each."""
    return {**dense(), **{name(n): mask for n, mask in kept().items()}}


class Masked(nn.Module):
    """A parametrization, as users write it."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def parametrized() -> State:
    net = UserNet()
    net.load_state_dict(dense())
    for layer, name in ((net.block, LAYER), (net.fc, FC)):
        parametrize.register_parametrization(layer, "weight", Masked(kept()[name]))
    state = net.state_dict()
    assert {"fc.parametrizations.weight.original", "fc.parametrizations.weight.0.mask"} <= state.keys()
    return state


def of_open_lth() -> State:
    """Its PrunedModel has the network as `model`, and the masks as buffers of its own."""
    masks = {f"mask_{name.replace('.', '___')}": mask for name, mask in kept().items()}
    return {f"model.{name}": t for name, t in dense().items()} | masks


UNDER_A_KEY: dict[str, Callable[[], Any]] = {
    "masks": lambda: {"state_dict": dense(), "masks": kept(torch.bool)},
    "mask": lambda: {"epoch": 3, "model": dense(), "mask": kept(torch.uint8)},
    "pruning_masks": lambda: {"net": dense(), "pruning_masks": kept() | {"conv1.weight": None}},
    "masks within": lambda: {"best": {"state_dict": dense(), "masks": kept()}},
    "masks beside the weights themselves": lambda: {**dense(), "masks": kept()},
    "masks of another prefix": lambda: {
        "state_dict": {f"net.{name}": t for name, t in dense().items()},
        "masks": kept(),
    },
    "names of prune under a key": lambda: {
        "state_dict": dense(),
        "masks": {f"{n}_mask": m for n, m in kept().items()},
    },
}
BESIDE: dict[str, Callable[[], State]] = {
    "weight_mask": lambda: beside(lambda name: f"{name}_mask"),
    "weight.mask": lambda: beside(lambda name: f"{name}.mask"),
    "layer.mask": lambda: beside(lambda name: name.replace(".weight", ".mask")),
    "in DataParallel": lambda: {f"module.{n}": t for n, t in beside(lambda name: f"{name}.mask").items()},
    "parametrize": parametrized,
    "open_lth": of_open_lth,
}
FILES: dict[str, Callable[[], Any]] = {
    "own names": kept,
    "booleans": lambda: kept(torch.bool),
    "bytes": lambda: kept(torch.uint8),
    "under a key": lambda: {"epoch": 1, "masks": kept()},
    "prune's names": lambda: {f"{name}_mask": mask for name, mask in kept().items()},
    "layer.mask": lambda: {name.replace(".weight", ".mask"): mask for name, mask in kept().items()},
    "open_lth's names": lambda: {f"mask_{name.replace('.', '___')}": mask for name, mask in kept().items()},
    "of a wrapped network": lambda: {f"module.{name}": mask for name, mask in kept().items()},
    "of a larger model": lambda: {f"encoder.{name}": mask for name, mask in kept().items()},
    "a whole pruned model": lambda: beside(lambda name: f"{name}_mask"),
}


def assert_read(ticket: Ticket) -> None:
    """The mask is the mask, the weights are zero under it, and it is no weight itself."""
    [prefix] = (name.removesuffix(LAYER) for name in ticket.mask if name.endswith(LAYER))
    masks = {f"{prefix}{name}": mask != 0 for name, mask in kept().items()}
    assert ticket.mask == Mask(masks)
    expected = {f"{prefix}{name}": t for name, t in dense().items()}
    assert ticket.weights.keys() == expected.keys()
    for name, t in expected.items():
        assert torch.equal(ticket.weights[name], t * masks[name] if name in masks else t), name


@pytest.mark.parametrize(
    ("layout", "kind"),
    [*((name, "torch") for name in (*UNDER_A_KEY, *BESIDE)), *((name, "safetensors") for name in BESIDE)],
)
def test_a_mask_beside_its_weights_is_the_mask(layout: str, kind: str, tmp_path: Path) -> None:
    content, path = {**UNDER_A_KEY, **BESIDE}[layout](), tmp_path / "net.pt"
    if kind == "torch":
        torch.save(content, path)
    else:
        safetensors.torch.save_file(content, path)
    assert_read(load(path).ticket)
    weights = open_weights(path)
    assert not any("mask" in name for name in weights.names)
    signed = embed(load(path).ticket, "owner-1")
    assert signed.ticket.mask.kept == load(path).ticket.mask.kept
    assert verify(dict(signed.ticket.weights), signed.claim).verified


@pytest.mark.parametrize("form", FILES)
def test_a_mask_in_a_file_of_its_own_is_given_by_an_option(form: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(dense(), tmp_path / "net.safetensors")
    torch.save(FILES[form](), tmp_path / "mask.pt")
    assert_read(load(tmp_path / "net.safetensors", mask=tmp_path / "mask.pt").ticket)


def test_every_verb_that_reads_a_model_takes_it(ticket_sig: Command, tmp_path: Path) -> None:
    net, mask = tmp_path / "net.safetensors", tmp_path / "mask.safetensors"
    safetensors.torch.save_file(dense(), net)
    safetensors.torch.save_file(kept(torch.bool), mask)
    told = read_json(ticket_sig("inspect", net, "--mask", mask, "--json"))
    assert told["kept"] == int(sum(m.sum() for m in kept().values()))
    out, claim = tmp_path / "out", tmp_path / "out" / "claim.json"
    done(["embed", net, "--mask", mask, "--message", "owner-1", "--out", out])
    # Whoever keeps the mask apart has weights that are not zero under it.
    signed = load(out).ticket
    thief = {name: torch.where(t == 0, dense()[name], t) for name, t in signed.weights.items()}
    safetensors.torch.save_file(thief, tmp_path / "thief.safetensors")
    safetensors.torch.save_file(dict(signed.mask), mask)
    shown = [tmp_path / "thief.safetensors", "--claim", claim]
    assert ticket_sig("verify", *shown).code == 1
    assert ticket_sig("verify", *shown, "--mask", mask).code == 0
    assert ticket_sig("verify", *shown, "--mask", out).code == 0, "a bundle has the mask, too"
    assert ticket_sig("extract", *shown, "--mask", mask).out == "owner-1\n"
    done(["split", net, "--mask", mask, "--out", tmp_path / "split"])
    attack = ["attack", "noise", net, "--mask", mask, "--rate", 0.1, "--out", tmp_path / "stolen"]
    assert ticket_sig(*attack).code == 0
    assert load(tmp_path / "stolen").ticket.mask.total == sum(m.numel() for m in kept().values())
    missing = ticket_sig("train", net, "--mask", tmp_path / "gone", "--out", tmp_path / "trained")
    could_not(missing, "gone: mask: expected", "nothing at this path")


def test_weights_under_a_mask_are_read_as_zeros_for_marks_in_the_weights(tmp_path: Path) -> None:
    torch.save(dense(), tmp_path / "net.pt")
    torch.save(kept(), tmp_path / "mask.pt")
    given = ["--mask", tmp_path / "mask.pt"]
    done(
        [
            "embed",
            tmp_path / "net.pt",
            *given,
            "--mark",
            "uchida",
            "--layer",
            LAYER,
            "--out",
            tmp_path / "out",
        ]
    )
    claim = Claim.read(tmp_path / "out" / "claim.json")
    signed = load(tmp_path / "out").ticket
    assert verify(signed, claim).verified
    torch.save(dict(signed.weights), tmp_path / "suspect.pt")
    done(["verify", tmp_path / "suspect.pt", *given, "--claim", claim.source])


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("layer1.0.attn_mask", torch.full((4, 4), -100.0).tril()),
        ("causal_mask", torch.ones(8, 8).tril()),
        ("fc.mask", torch.ones(8, 8).tril()),
        ("layer1.0.attn.mask", torch.ones(1, 1, 8, 8).tril()),
        ("fc.mask", torch.full((10, 22), 0.5)),
        ("mask", torch.ones(8, 8).tril()),
        ("relative_position_bias_mask", torch.ones(8, 8).tril()),
        ("mask_token", torch.randn(1, 1, 22)),
        ("relative_position.mask", torch.ones(4, 4, dtype=torch.bool)),
    ],
)
def test_a_model_s_own_buffer_is_left_alone(name: str, buffer: Tensor, tmp_path: Path) -> None:
    state = dense()
    state[LAYER] *= kept()[LAYER]
    safetensors.torch.save_file({**state, name: buffer}, tmp_path / "net.safetensors")
    ticket = load(tmp_path / "net.safetensors").ticket
    assert list(ticket.mask) == [LAYER]
    assert torch.equal(ticket.weights[name], buffer)


@pytest.mark.parametrize("name", ["mix.mask", "mix.weight_of_places_mask"])
@pytest.mark.parametrize("window", [99, 2])
def test_a_causal_mask_beside_a_weight_of_its_shape_is_a_buffer(
    name: str, window: int, tmp_path: Path
) -> None:
    """Of a layer that mixes tokens: its weight is [T, T], and so is the mask."""
    weight = "mix.weight" if name == "mix.mask" else name.removesuffix("_mask")
    causal = torch.ones(8, 8).tril().triu(-window)
    state = {**dense(), weight: torch.randn(8, 8), name: causal}
    torch.save(state, tmp_path / "net.pt")
    weights = load(tmp_path / "net.pt").ticket.weights
    assert torch.equal(weights[weight], state[weight]) and torch.equal(weights[name], causal)
    state[weight] *= causal
    torch.save(state, tmp_path / "pruned.pt")
    assert torch.equal(load(tmp_path / "pruned.pt").ticket.mask[weight], causal.bool())


def test_masks_alone_are_read_alike_by_all(tmp_path: Path) -> None:
    safetensors.torch.save_file(
        {"conv1_mask": torch.eye(4), "fc_mask": torch.ones(3, 3)}, tmp_path / "m.safetensors"
    )
    assert set(open_weights(tmp_path / "m.safetensors").names) == {"conv1", "fc"}


def test_a_mask_that_is_given_twice_must_be_the_same(tmp_path: Path) -> None:
    torch.save(beside(lambda name: f"{name}_mask"), tmp_path / "net.pt")
    torch.save(kept(torch.bool), tmp_path / "same.pt")
    assert_read(load(tmp_path / "net.pt", tmp_path / "same.pt").ticket)
    other = kept() | {FC: torch.ones(10, 22)}
    torch.save(other, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: fc\.weight: expected the mask that fc\.weight_mask is"):
        load(tmp_path / "net.pt", tmp_path / "other.pt")
    bundle = save(load(tmp_path / "net.pt").ticket, tmp_path / "bundle")
    said = run(["inspect", bundle, "--mask", tmp_path / "same.pt"])
    could_not(said, "--mask: expected a model file without a mask of its own, found a bundle")
