"""A suspect is what the verifier holds: a ticket, a module, a state dict; wrapped, or pruned by PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.user_net import UserNet
from torch import nn
from torch.nn.utils import prune

from ticket_sig import InputError, Mask, Ticket, embed, extract, verify
from ticket_sig.marks.embed import Embedded

SECRET = bytes(range(32))
FORMS = ["a module", "a state dict", "in DataParallel", "compiled"]


def in_form(form: str, net: nn.Module) -> Any:
    """A network as a verifier may hold it."""
    state = net.state_dict()
    return {
        "a module": net,
        "a state dict": state,
        "in DataParallel": nn.DataParallel(net),
        "compiled": {f"_orig_mod.{name}": t for name, t in state.items()},
    }[form]


def with_code() -> tuple[UserNet, Embedded]:
    """A pruned network with a code, loaded into its user's module."""
    torch.manual_seed(3)
    net = UserNet()
    with torch.no_grad():
        net.block.weight *= torch.rand(net.block.weight.shape) < 0.3
    weights = {name: t.clone() for name, t in net.state_dict().items()}
    made = embed(Ticket(weights=weights, mask=Mask.of_zeros(weights)), "owner-1", secret=SECRET)
    net.load_state_dict(dict(made.ticket.weights))
    return net, made


@pytest.mark.parametrize("form", FORMS)
def test_a_code_is_read_in_any_of_them(form: str) -> None:
    net, made = with_code()
    found = verify(in_form(form, net), made.claim)
    assert found.verified and found.log10_p == verify(made.ticket, made.claim).log10_p
    assert extract(in_form(form, net), made.claim).message == "owner-1"
    assert not verify(in_form(form, UserNet()), made.claim).verified


def test_a_code_is_read_in_a_module_that_pytorch_prunes() -> None:
    """Whose weights stand beside their mask, as another parameter."""
    net, made = with_code()
    kept = net.block.weight != 0
    with torch.no_grad():
        net.block.weight += 0.1 * ~kept
    prune.custom_from_mask(net.block, "weight", mask=kept)
    found = verify(net, made.claim)
    assert found.verified and found.log10_p == verify(made.ticket, made.claim).log10_p
    assert extract(net.state_dict(), made.claim).message == "owner-1"


@pytest.mark.gpu
def test_a_code_is_read_in_a_module_on_a_gpu() -> None:
    net, made = with_code()
    assert verify(net.cuda(), made.claim).log10_p == verify(made.ticket, made.claim).log10_p


def dense() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("mark", "options"), [("freezenet", {"length": 500}), ("uchida", {"random": 128, "layer": "1.weight"})]
)
def test_so_is_a_watermark(form: str, mark: str, options: dict[str, Any]) -> None:
    net = dense()
    weights = {name: t.clone() for name, t in net.state_dict().items()}
    made = embed(Ticket(weights=weights, mask=Mask.full({})), mark=mark, secret=SECRET, **options)
    net.load_state_dict(dict(made.ticket.weights))
    found = verify(in_form(form, net), made.claim)
    assert found.verified and found.log10_p == verify(made.ticket, made.claim).log10_p
    assert not verify(in_form(form, dense()), made.claim).verified


def test_bits_are_extracted_as_the_text_or_as_the_digits_that_they_are() -> None:
    net, digits = dense(), "0110" * 16
    weights = dict(net.state_dict())
    ticket = Ticket(weights=weights, mask=Mask.full({}))
    text = embed(ticket, "it is mine", mark="uchida", layer="1.weight")
    assert extract(text.ticket, text.claim).message == "it is mine"
    bits = embed(ticket, mark="uchida", bits=f"1{digits}", layer="1.weight")
    assert extract(dict(bits.ticket.weights), bits.claim).message == f"1{digits}"
    # Where a text was claimed and no text is read, nothing is said.
    assert extract({"1.weight": -text.ticket.weights["1.weight"]}, text.claim).message is None


def test_a_suspect_that_is_no_model_is_refused_in_one_line() -> None:
    _, made = with_code()
    with pytest.raises(InputError, match="model: content: expected tensors, or a state dict under one of"):
        verify({}, made.claim)
    with pytest.raises(InputError, match=r"model: layer1\.0\.conv1\.weight: expected beside layer1"):
        verify({"layer1.0.conv1.weight_mask": torch.ones(2), "fc.weight": torch.ones(2, 2)}, made.claim)
