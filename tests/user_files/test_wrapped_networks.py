"""Case 2: people hand over the network as their training script has it: in DataParallel, DDP, or compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from support.own_nets import DATA, RECIPE, user_net
from support.user_net import UserNet
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ticket_sig import InputError, Mask, Ticket, Watermark, embed, find, load, retrain, save, verify
from ticket_sig.attacks import attack
from ticket_sig.attacks.scene import Scene
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import Uchida
from ticket_sig.models.own import plain
from ticket_sig.scores import score
from ticket_sig.scores.scored import Scored
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.pixels import normalisation_of

Wrap = Callable[[nn.Module], nn.Module]


class DistributedDataParallel(nn.Module):
    """As apex has it: no class of PyTorch, but it looks the same."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Any) -> Any:
        return self.module(*given)


def compiled(model: nn.Module) -> nn.Module:
    """The network compiled; the compiler itself would take longer than the tests."""
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def a_part(wrap: Wrap) -> Wrap:
    """Wraps the part of the network that is pruned."""

    def wrapped(model: nn.Module) -> nn.Module:
        model.layer1 = wrap(model.get_submodule("layer1"))
        return model

    return wrapped


WRAPPERS: dict[str, Wrap] = {
    "DataParallel": nn.DataParallel,
    "torch.compile": compiled,
    "apex": DistributedDataParallel,
    "an average": AveragedModel,
    "nested": lambda model: nn.DataParallel(compiled(nn.DataParallel(model))),
    "a part": a_part(nn.DataParallel),
    "a compiled part": a_part(compiled),
    "a part of a wrapped one": lambda model: nn.DataParallel(a_part(compiled)(model)),
}
wrapped = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    """What is found without a wrapper."""
    return find(RECIPE, DATA, tmp_path_factory.mktemp("bare") / "run", model=user_net())


@wrapped
def test_what_is_found_is_as_without_the_wrapper(wrap: Wrap, found: Ticket, tmp_path: Path) -> None:
    model = wrap(user_net())
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ticket = find(RECIPE, DATA, tmp_path / "run", model=model)
    assert (tensor_digest(ticket.weights), ticket.mask) == (tensor_digest(found.weights), found.mask)
    after = model.state_dict()  # the user's own is left as it is
    assert before.keys() == after.keys() and all(torch.equal(t, before[n]) for n, t in after.items())


@wrapped
def test_a_bundle_has_plain_names_and_verifies_by_itself(wrap: Wrap, found: Ticket, tmp_path: Path) -> None:
    signed = embed(found, "a")
    trained = retrain(signed.ticket, RECIPE, DATA, tmp_path / "run", model=wrap(user_net(1)))
    bundle = save(trained, tmp_path / "bundle", claim=signed.claim.to_json())
    user_net().load_state_dict(load_file(bundle / "model.safetensors"), strict=True)
    assert verify(load(bundle / "model.safetensors").ticket, signed.claim).verified


@pytest.mark.filterwarnings("ignore")
def test_of_ddp_too(found: Ticket, tmp_path: Path) -> None:
    with one_process():
        model = nn.parallel.DistributedDataParallel(user_net())
        ticket = find(RECIPE, DATA, tmp_path / "run", model=model)
    assert tensor_digest(ticket.weights) == tensor_digest(found.weights)


@contextmanager
def one_process() -> Iterator[None]:
    """A process group of this process alone, which DDP needs."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@wrapped
def test_a_mask_holds_the_parameters_as_the_readme_has_it(wrap: Wrap, found: Ticket) -> None:
    model = wrap(user_net())
    hold = found.mask.bind(dict(model.named_parameters()))
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    hold()
    found.mask.check(dict(plain(model).named_parameters()))


@wrapped
def test_marks_are_taught_held_and_read_under_plain_names(wrap: Wrap) -> None:
    bare, model = user_net(), wrap(user_net())
    watermark = Watermark(b"owner", 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watermark.keep(model, optimizer):
        optimizer.step()
    assert watermark.manifest == {name: tuple(p.shape) for name, p in sorted(bare.named_parameters())}
    assert watermark.verify(model) and not Watermark(b"thief", 64).verify(model)
    bits = Uchida.on(bare.state_dict(), [True, False] * 4, "layer1.0.conv1.weight")
    held = bits.bind(model)
    held.penalty().backward()
    assert plain(model).get_parameter("layer1.0.conv1.weight").grad is not None
    assert bits.read(model).margins == bits.read(plain(model)).margins


@wrapped
def test_a_network_is_asked_scored_and_attacked_as_without_the_wrapper(wrap: Wrap, found: Ticket) -> None:
    normalise, images = normalisation_of("digits", 1), DATA.test.images.numpy()
    assert ask_network(wrap(user_net()), normalise)(images) == ask_network(user_net(), normalise)(images)
    for name in ("ewp", "taylor"):
        models = wrap(user_net()), user_net()
        one, other = (score(name, Scored(ticket=found, model=m, data=DATA)) for m in models)
        assert all(torch.equal(values, other[layer]) for layer, values in one.items())
    scene = Scene(model=wrap(user_net()), data=DATA, recipe=RECIPE)
    attack("fine-tuning", epochs=1)(found, scene)


def test_a_signature_is_put_into_and_read_from_a_wrapped_network() -> None:
    network = user_net()
    network.block.weight.data *= torch.rand(network.block.weight.shape) < 0.3
    model = nn.DataParallel(network)
    signed = embed(model, "a")
    network.load_state_dict(dict(signed.ticket.weights))
    assert signed.mark.read(model).message == "a"
    assert verify(model, signed.claim).verified


def test_a_module_of_the_users_own_that_is_called_module_is_no_wrapper() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = UserNet()

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.module(x)

    own = Twice()
    assert plain(own) is own
    name = "module.layer1.0.conv1.weight"
    mask = Mask({name: torch.rand(22, 22, 2, 2) < 0.5})
    for model in (own, nn.DataParallel(own), compiled(own)):
        assert list(plain(model).state_dict()) == list(own.state_dict())
        mask.bind(dict(model.named_parameters()))
        mask.check(dict(own.named_parameters()))


def test_two_parameters_that_could_be_the_masked_one_are_not_guessed() -> None:
    mask = Mask({"a.weight": torch.ones(2, 2, dtype=torch.bool)})
    both = {"module.a.weight": torch.ones(2, 2), "_orig_mod.a.weight": torch.ones(2, 2)}
    with pytest.raises(InputError, match=r"a\.weight: expected, not found"):
        mask.bind(both)
