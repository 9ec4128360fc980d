"""People have the same weights under the names and keys that a framework gives them (case 9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from support.command_line import could_not, done, read_json, run
from support.user_net import UserNet, prune_as_users_do
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ticket_sig import Claim, InputError, embed, load, verify
from ticket_sig.formats.names import names_in, plain_names
from ticket_sig.marks.mark import as_ticket
from ticket_sig.mask import Mask
from ticket_sig.verification.white_box import verify_file

LAYER = "layer1.0.conv1.weight"
State = dict[str, Tensor]


class Signed(NamedTuple):
    """A network with a code in it, and its claim."""

    net: UserNet
    claim: Path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """The network of a user who pruned it by PyTorch and signed it."""
    folder = tmp_path_factory.mktemp("signed")
    torch.manual_seed(3)
    net = UserNet()
    prune_as_users_do(net)
    torch.save(net.state_dict(), folder / "net.pt")
    done(["embed", folder / "net.pt", "--message", "owner-1", "--out", folder / "out"])
    net = UserNet()
    net.load_state_dict(safetensors.torch.load_file(folder / "out" / "model.safetensors"))
    return Signed(net, folder / "out" / "claim.json")


def with_prefix(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": t for name, t in state.items()}


def in_average(state: State) -> State:
    net = UserNet()
    net.load_state_dict(state)
    return AveragedModel(net).state_dict()


# What wrappers put into names, and no user writes: dropped, so that the bundle fits the owner's module.
WRAPPED: dict[str, Callable[[State], State]] = {
    "DataParallel": lambda state: with_prefix(state, "module."),
    "compiled": lambda state: with_prefix(state, "_orig_mod."),
    "DDP of compiled": lambda state: with_prefix(state, "module._orig_mod."),
    "compiled in the middle": lambda state: {
        n.replace("layer1.", "layer1._orig_mod."): t for n, t in state.items()
    },
    "EMA": in_average,
    "EMA of DDP": lambda state: with_prefix(state, "module.module.") | {"n_averaged": torch.tensor(3)},
    "FSDP": lambda state: {
        f"_fsdp_wrapped_module.{n.replace('layer1.', 'layer1._fsdp_wrapped_module.')}": t
        for n, t in state.items()
    },
    "checkpointed": lambda state: {
        n.replace("layer1.0.", "layer1.0._checkpoint_wrapped_module."): t for n, t in state.items()
    },
    "Fabric": lambda state: with_prefix(state, "_forward_module."),
    "Opacus": lambda state: with_prefix(state, "_module."),
}
# What a user's own module may be called: kept in the bundle, found by the end of the name.
NESTED: dict[str, Callable[[State], Any]] = {
    # It may be a parameter of the user's own network, beside his own `module`.
    "DDP, with a metric beside": lambda state: (
        with_prefix(state, "module.") | {"best_acc": torch.tensor(9.0)}
    ),
    "Lightning": lambda state: {
        "epoch": 3,
        "state_dict": with_prefix(state, "model.")
        | {"criterion.weight": torch.ones(10), "acc": torch.tensor(0.9)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(22, 22, 2, 2)}}, "param_groups": []}],
    },
    "a part of a larger model": lambda state: (
        with_prefix(state, "encoder.body.") | {"head.weight": torch.ones(3, 4)}
    ),
    "DDP in the middle": lambda state: with_prefix(state, "net.module.") | {"scale.weight": torch.ones(2)},
    "its own part": lambda state: {"conv1.weight": state[LAYER], "x.weight": torch.ones(3, 3)},
}
KEYS: dict[str, Callable[[State], Any]] = {
    **{
        key: lambda state, key=key: {"epoch": 3, key: state}
        for key in ("state_dict_ema", "params_ema", "ema_state_dict", "model_ema", "net_g", "my_own_key")
    },
    "generator": lambda state: {"generator": state, "discriminator": {"a.weight": torch.ones(3, 3)}},
    "beside an optimizer and metrics": lambda state: {
        "best": {"weights_of_best": state},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "metrics": {"acc": torch.tensor(0.9), "loss": 0.1},
        "step": torch.tensor(100),
        "class_weights": torch.ones(10),
    },
    "the first of two": lambda state: {"state_dict": state, "state_dict_ema": {"a.weight": torch.ones(3, 3)}},
}


@pytest.mark.parametrize("name", [*WRAPPED, *NESTED, *KEYS])
def test_the_mark_is_verified_whatever_is_around_its_weights(
    name: str, signed: Signed, tmp_path: Path
) -> None:
    laid_out = {**WRAPPED, **NESTED, **KEYS}[name](signed.net.state_dict())
    torch.save(laid_out, tmp_path / "suspect.pth")
    claim = Claim.read(signed.claim)
    verdict = verify_file(tmp_path / "suspect.pth", claim)
    assert verdict.verified
    found = verdict.to_json()["evidence"].get("found_as", {})
    assert bool(found) is (name in NESTED) and found.keys() <= {LAYER}
    if name not in (*NESTED, *KEYS):
        assert verdict.log10_p == verify(signed.net, claim).log10_p, "a rule without a choice costs nothing"


@pytest.mark.parametrize(
    ("mark", "name"),
    [*(("qr-code", name) for name in WRAPPED), ("freezenet", "EMA"), ("freezenet", "compiled in the middle")],
)
def test_what_is_signed_fits_the_owner_s_module(name: str, mark: str, tmp_path: Path) -> None:
    net = UserNet()
    if mark == "qr-code":
        prune_as_users_do(net)
        nn.utils.prune.remove(net.block, "weight")
    torch.save(WRAPPED[name](net.state_dict()), tmp_path / "net.pt")
    options = ["--message", "owner-1"] if mark == "qr-code" else ["--length", 500]
    done(["embed", tmp_path / "net.pt", "--mark", mark, *options, "--out", tmp_path / "out"])
    net.load_state_dict(safetensors.torch.load_file(tmp_path / "out" / "model.safetensors"), strict=True)
    assert verify(net, Claim.read(tmp_path / "out" / "claim.json")).verified


@pytest.mark.parametrize("mark", ["freezenet", "uchida", "key-mask"])
@pytest.mark.parametrize("wrapped", ["compiled in the middle", "Lightning", "DDP in the middle"])
def test_marks_over_many_tensors_are_found_as_well(mark: str, wrapped: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = UserNet()
    if mark == "key-mask":
        prune_as_users_do(net)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    if mark == "key-mask":
        done(["split", tmp_path / "net.pt", "--share", 0.3, "--out", tmp_path / "out"])
        claim, shown = (
            Claim.read(tmp_path / "out/locked/claim.json"),
            {"key": tmp_path / "out/key.safetensors"},
        )
        owner = load(tmp_path / "net.pt").ticket.weights
    else:
        options = ["--length", 500] if mark == "freezenet" else []
        done(["embed", tmp_path / "net.pt", "--mark", mark, *options, "--out", tmp_path / "out"])
        claim, shown = Claim.read(tmp_path / "out/claim.json"), {}
        owner = load(tmp_path / "out").ticket.weights
    for kind, path in (
        ("torch", tmp_path / "suspect.pth"),
        ("safetensors", tmp_path / "suspect.safetensors"),
    ):
        content = {**WRAPPED, **NESTED}[wrapped](dict(owner))
        if kind == "torch":
            torch.save(content, path)
        else:
            state = {n: t.clone() for n, t in content.get("state_dict", content).items()}
            safetensors.torch.save_file(state, path)
        assert verify_file(path, claim, shown).verified, kind


def test_a_claim_on_nested_names_finds_the_plain_ones(signed: Signed, tmp_path: Path) -> None:
    torch.save({"state_dict": with_prefix(signed.net.state_dict(), "model.")}, tmp_path / "lightning.ckpt")
    out = tmp_path / "out"
    done(["embed", tmp_path / "lightning.ckpt", "--message", "again", "--out", out])
    state = safetensors.torch.load_file(out / "model.safetensors")
    torch.save({name.removeprefix("model."): t for name, t in state.items()}, tmp_path / "plain.pt")
    said = run(["verify", tmp_path / "plain.pt", "--claim", out / "claim.json"])
    assert said.code == 0 and "found under another name" in said.out
    told = read_json(run(["verify", tmp_path / "plain.pt", "--claim", out / "claim.json", "--json"]))
    assert told["evidence"]["found_as"] == {f"model.{LAYER}": LAYER}


def test_two_layers_that_could_be_the_claimed_one_are_named(signed: Signed, tmp_path: Path) -> None:
    state = signed.net.state_dict()
    torch.save(with_prefix(state, "student.") | with_prefix(state, "teacher."), tmp_path / "two.pt")
    said = run(["verify", tmp_path / "two.pt", "--claim", signed.claim])
    could_not(said, f"one tensor that could be the claimed {LAYER}", f"student.{LAYER}, teacher.{LAYER}")


def test_a_name_at_the_root_is_not_taken_for_one_within() -> None:
    """In a Lightning file every name begins with `model.`: what is left of it is the name itself."""
    shapes = {"model.bn1.weight": (64,), "model.layer1.bn1.weight": (64,)}
    assert names_in({"bn1.weight": (64,)}, shapes) == {"bn1.weight": "model.bn1.weight"}
    both = {"bn1.weight": (64,), "layer1.bn1.weight": (64,)}
    assert names_in(both, shapes | {"loss.weight": (3,)}) == {name: f"model.{name}" for name in both}
    with pytest.raises(InputError, match=r"found model\.bn1\.weight, model\.layer1\.bn1\.weight"):
        names_in({"bn1.weight": (64,)}, shapes | {"loss.weight": (3,)})


def test_no_two_tensors_get_one_name() -> None:
    shapes = {"net.a.weight": (2, 2), "net._orig_mod.a.weight": (2, 2)}
    assert plain_names(shapes) == {name: name for name in shapes}
    # A user's own `module` is dropped only where all names begin with it.
    shapes = {"module.a.weight": (2, 2), "head.weight": (2, 2)}
    assert plain_names(shapes) == {name: name for name in shapes}
    shapes = {"encoder.module.a.weight": (2, 2)}
    assert plain_names(shapes) == {name: name for name in shapes}


class OwnModule(nn.Module):
    """A network with an attribute `module` of its own, and perhaps one number beside it, as CLIP has."""

    def __init__(self, beside: Tensor | None) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 3))
        if beside is not None:
            self.logit_scale = nn.Parameter(beside)


@pytest.mark.parametrize("beside", [torch.tensor(2.6), torch.ones(1, 1)])
def test_an_own_module_and_a_number_beside_it_stay(beside: Tensor, tmp_path: Path) -> None:
    net, out = OwnModule(beside), tmp_path / "out"
    torch.save(
        {f"module.{n}": t for n, t in net.state_dict().items()}, tmp_path / "net.pt"
    )  # in DataParallel
    done(["embed", tmp_path / "net.pt", "--mark", "freezenet", "--length", 500, "--out", out])
    net.load_state_dict(safetensors.torch.load_file(out / "model.safetensors"), strict=True)
    assert verify(net, Claim.read(out / "claim.json")).verified


@pytest.mark.parametrize("mark", ["freezenet", "uchida"])
def test_a_live_module_keeps_its_own_names(mark: str) -> None:
    net = OwnModule(None)
    assert as_ticket(net).weights.keys() == net.state_dict().keys()
    signed = embed(net, mark=mark, **({"length": 500} if mark == "freezenet" else {}))
    net.load_state_dict(signed.ticket.weights, strict=True)
    found = verify(net, signed.claim)
    assert found.verified and "found_as" not in found.to_json()["evidence"]


class GradSampleModule(nn.Module):
    """As Opacus wraps a module."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._module = net


def test_a_module_in_opacus_is_read_under_its_own_names() -> None:
    net = OwnModule(torch.tensor(2.6))
    assert as_ticket(GradSampleModule(net)).weights.keys() == net.state_dict().keys()


@pytest.mark.parametrize("copied", ["copy", "the tensor itself"])
def test_a_copy_counts_the_same_in_a_file_and_in_memory(copied: str, tmp_path: Path) -> None:
    net = OwnModule(None)
    signed = embed(net, mark="uchida")
    state, last = dict(signed.ticket.weights), signed.ticket.weights["module.2.weight"]
    alone = verify(state, signed.claim)
    state["further.weight"] = last.clone() if copied == "copy" else last
    torch.save(state, tmp_path / "net.pt")
    in_file, in_memory = verify_file(tmp_path / "net.pt", signed.claim), verify(state, signed.claim)
    assert in_file.log10_p == in_memory.log10_p > alone.log10_p


def test_a_mask_is_bound_under_any_name_that_is_read() -> None:
    for wrapped in ("0._checkpoint_wrapped_module.weight", "_fsdp_wrapped_module.0._orig_mod.weight"):
        weight = torch.ones(2, 2)
        Mask({"0.weight": torch.eye(2, dtype=torch.bool)}).bind({wrapped: weight})
        assert torch.equal(weight, torch.eye(2))


def test_names_of_a_million_parts_take_no_time() -> None:
    shapes = {"a." * 500_000 + "weight": (2, 2)}
    assert names_in({"weight": (2, 2)}, shapes) == {}
    assert plain_names(shapes) == {name: name for name in shapes}
