"""A user who never saw ticket_sig: prunes and saves with PyTorch alone, signs, and loads the model back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import Outcome
from support.make_fixtures import FIXTURES, LAYER, MESSAGE
from support.user_net import UserNet, prune_as_users_do, train_a_little
from torch import Tensor, nn
from torch.nn.utils import prune

Command = Callable[..., Outcome]


def pruned_net() -> UserNet:
    """A trained network whose pruning is still in PyTorch's own layout."""
    torch.manual_seed(3)
    net = UserNet()
    prune_as_users_do(net)
    train_a_little(net, 3, seed=4)
    return net


def zeros(weights: Tensor) -> int:
    """How many weights are zero."""
    return int((weights == 0).sum())


def test_a_pruned_checkpoint_is_signed_and_loads_back_into_the_user_s_module(
    ticket_sig: Command, tmp_path: Path
) -> None:
    net = pruned_net()
    checkpoint, signed = tmp_path / "checkpoint.pt", tmp_path / "signed"
    torch.save(net.state_dict(), checkpoint)

    embedded = ticket_sig("embed", checkpoint, "--message", MESSAGE, "--out", signed)
    assert embedded.code == 0, embedded.err

    state = safetensors.torch.load_file(signed / "model.safetensors")
    plain = UserNet()
    assert plain.load_state_dict(state, strict=True).missing_keys == []
    assert plain.eval()(torch.ones(2, 1, 8, 8)).isfinite().all()
    before = net.block.weight_orig * net.block.weight_mask
    assert zeros(plain.block.weight) == zeros(before) > 0
    for name, tensor in net.state_dict().items():
        if not name.startswith(LAYER):  # nothing but the pruned layer was touched
            assert torch.equal(plain.state_dict()[name], tensor), name
    kept = (plain.block.weight != 0) & (before != 0)
    assert torch.equal(plain.block.weight[kept], before[kept])

    claim = signed / "claim.json"
    for wrapped in (plain, nn.DataParallel(plain)):
        torch.save(wrapped.state_dict(), tmp_path / "plain.pth")
        assert ticket_sig("extract", tmp_path / "plain.pth", "--claim", claim).out == f"{MESSAGE}\n"
    assert ticket_sig("extract", signed / "model.safetensors", "--claim", claim).out == f"{MESSAGE}\n"
    assert ticket_sig("extract", signed).out == f"{MESSAGE}\n"
    assert ticket_sig("verify", tmp_path / "plain.pth", "--claim", claim).code == 0
    assert ticket_sig("verify", checkpoint, "--claim", claim).code == 1


def test_a_signed_model_can_be_pruned_and_saved_by_pytorch_again(ticket_sig: Command, tmp_path: Path) -> None:
    torch.save(pruned_net().state_dict(), tmp_path / "checkpoint.pt")
    signed = tmp_path / "signed"
    assert ticket_sig("embed", tmp_path / "checkpoint.pt", "--message", MESSAGE, "--out", signed).code == 0
    net = UserNet()
    net.load_state_dict(safetensors.torch.load_file(signed / "model.safetensors"))
    prune.custom_from_mask(net.block, "weight", mask=net.block.weight != 0)
    train_a_little(net, 2, seed=5)  # under the mask, so the signature stays
    torch.save({"state_dict": net.state_dict()}, tmp_path / "trained.pth.tar")
    read = ticket_sig("extract", tmp_path / "trained.pth.tar", "--claim", signed / "claim.json")
    assert read.out == f"{MESSAGE}\n"


class WithBuffers(UserNet):
    """Buffers of several types, one of them called a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("causal_mask", torch.tril(torch.ones(8, 8, dtype=torch.bool)))
        self.register_buffer("scale", torch.tensor(2.0, dtype=torch.float64))


class Tied(UserNet):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(22, 22, 2, bias=False)
        self.again.weight = self.block.weight


@pytest.mark.parametrize("kind", [WithBuffers, Tied])
def test_modules_with_buffers_and_with_tied_weights_carry_the_signature(
    kind: type[UserNet], ticket_sig: Command, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    net = kind()
    with torch.no_grad():
        net.block.weight *= torch.rand(net.block.weight.shape) < 0.3
    torch.save(net.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "signed"
    assert ticket_sig("embed", tmp_path / "net.pt", "--message", MESSAGE, "--out", out).code == 0
    again = kind()
    again.load_state_dict(safetensors.torch.load_file(out / "model.safetensors"), strict=True)
    torch.save(again.state_dict(), tmp_path / "again.pt")
    assert ticket_sig("extract", tmp_path / "again.pt", "--claim", out / "claim.json").out == f"{MESSAGE}\n"


@pytest.mark.parametrize("name", ["prune.pt", "neurips21.pth.tar", "imagenet-example.pth.tar", "objects.pth"])
def test_checkpoints_written_by_others_long_ago(name: str, ticket_sig: Command, tmp_path: Path) -> None:
    out = tmp_path / "signed"
    assert ticket_sig("embed", FIXTURES / name, "--message", MESSAGE, "--out", out).code == 0
    state = safetensors.torch.load_file(out / "model.safetensors")
    state = {name: t for name, t in state.items() if not name.startswith("normalize.")}
    UserNet().load_state_dict(state, strict=True)
    assert ticket_sig("extract", out).out == f"{MESSAGE}\n"
