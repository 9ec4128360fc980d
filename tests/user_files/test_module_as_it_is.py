"""Case 18: people hand over the module as it is in their notebook: pruned, lazy, in fp16, with any answer."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from support.own_nets import DATA, RECIPE, user_net
from support.user_net import UserNet, prune_as_users_do
from torch import Tensor, nn
from torch.nn.utils import prune

from ticket_sig import InputError, Mask, Ticket, Watermark, embed, find, retrain, save, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import Uchida
from ticket_sig.marks.embed import Embedded
from ticket_sig.models.own import logits_of
from ticket_sig.scores import score
from ticket_sig.scores.scored import Scored
from ticket_sig.verification.ask.network import ask_network
from ticket_sig.verification.ask.pixels import normalisation_of

LAYER = "layer1.0.conv1.weight"


def pruned_net() -> UserNet:
    """Pruned by `torch.nn.utils.prune`, as the tutorial does it, and called once."""
    net = user_net()
    prune_as_users_do(net)
    net(torch.zeros(2, 1, 8, 8))
    return net


def lazy_net() -> nn.Module:
    """All of its layers get their shapes from the first images."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.LazyConv2d(22, 3),
            norm=nn.LazyBatchNorm2d(),
            conv2=nn.LazyConv2d(22, 3),
            flat=nn.Flatten(),
            fc=nn.LazyLinear(10),
        )
    )


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor


class Answering(nn.Module):
    """The network of a user with an answer of another form; its names are those of the network."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        net = user_net()
        self.conv1, self.bn1, self.layer1, self.fc = net.conv1, net.bn1, net.layer1, net.fc
        self.form = form

    def forward(self, images: Tensor) -> Any:
        return self.form(UserNet.forward(self, images), images)  # type: ignore[arg-type]


ANSWERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a tuple": lambda y, x: (y, x),
    "a list, the logits last": lambda y, x: [x, None, y],
    "a named tuple": Pair,
    "a dict": lambda y, x: {"features": x, "logits": y},
    "a mapping of lists": lambda y, x: OrderedDict(hidden=[x, x], head=(y,)),
    "a dataclass": lambda y, x: Answer(None, y),
    "an object": lambda y, x: types.SimpleNamespace(logits=y, images=x),
    "the same twice": lambda y, x: (y, y),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    """What is found in the plain network."""
    return find(RECIPE, DATA, tmp_path_factory.mktemp("bare") / "run", model=user_net())


@pytest.fixture(scope="module")
def signed(found: Ticket) -> Embedded:
    return embed(found, "a")


def kept(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


# ---- pruned by PyTorch


def test_a_pruned_module_is_searched_signed_and_trained_and_left_as_it_is(tmp_path: Path) -> None:
    net = pruned_net()
    before = kept(net)
    signed = embed(net, "a")
    assert signed.ticket.mask.kept == int(before["layer1.0.conv1.weight_mask"].sum())
    trained = retrain(signed.ticket, RECIPE, DATA, tmp_path / "a", model=net, start="model")
    found = find(RECIPE, DATA, tmp_path / "b", model=net)
    bundle = save(trained, tmp_path / "bundle", claim=signed.claim.to_json())
    after = net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(t, before[n]) for n, t in after.items())
    assert prune.is_pruned(net)
    user_net().load_state_dict(load_file(bundle / "model.safetensors"), strict=True)
    user_net().load_state_dict(dict(found.weights), strict=True)
    assert verify(trained, signed.claim).verified


def test_it_is_trained_as_the_network_whose_pruning_was_made_permanent(found: Ticket, tmp_path: Path) -> None:
    net, permanent = pruned_net(), pruned_net()
    prune.remove(permanent.block, "weight")
    one, other = (
        find(RECIPE, DATA, tmp_path / str(index), model=m) for index, m in enumerate((net, permanent))
    )
    assert tensor_digest(one.weights) == tensor_digest(other.weights)


def test_its_marks_are_read() -> None:
    net = user_net()
    bits = Uchida.on(net.state_dict(), [True, False] * 4, LAYER)
    before = bits.read(net).margins
    prune.identity(net.block, "weight")
    assert bits.read(net).margins == before
    prune_as_users_do(net)
    assert bits.read(net).margins != before
    net, watermark = user_net(), Watermark(b"owner", 64)
    watermark.apply(net)
    prune.identity(net.block, "weight")
    assert watermark.verify(net)
    prune_as_users_do(net)
    assert 0 < watermark.read(net).found < 64


def test_what_would_hold_the_wrong_parameter_is_refused_with_the_remedy(signed: Embedded) -> None:
    net = pruned_net()
    bits = Uchida.on(user_net().state_dict(), [True], LAYER)
    for hold in (
        lambda: signed.ticket.mask.bind(dict(net.named_parameters())),
        lambda: bits.bind(net),
        lambda: Watermark(b"owner", 9).apply(net),
    ):
        with pytest.raises(InputError, match=rf"{LAYER}: .*torch.nn.utils.prune.*prune.remove\(module, "):
            hold()


# ---- lazy


def test_lazy_layers_get_their_shapes_from_the_data(tmp_path: Path) -> None:
    net = lazy_net()
    torch.manual_seed(1)
    first = find(RECIPE, DATA, tmp_path / "a", model=net)
    torch.manual_seed(2)
    again = find(RECIPE, DATA, tmp_path / "b", model=net)
    assert tensor_digest(first.weights) == tensor_digest(again.weights)
    assert first.weights["fc.weight"].shape == (10, 22 * 4 * 4)
    assert int(first.rewind["norm.num_batches_tracked"]) == 2 if first.rewind else False
    net.load_state_dict(dict(first.weights))
    assert retrain(first, RECIPE, DATA, tmp_path / "c", model=lazy_net()).mask == first.mask


def test_a_lazy_network_that_cannot_be_held_yet_is_refused_with_the_remedy(signed: Embedded) -> None:
    net = nn.Sequential(OrderedDict(conv=nn.LazyConv2d(4, 3)))
    mask = Mask({"conv.weight": torch.ones(4, 1, 3, 3, dtype=torch.bool)})
    for use in (lambda: mask.bind(dict(net.named_parameters())), lambda: embed(net, "a")):
        with pytest.raises(InputError, match=r"conv\.weight: expected a shape, found a lazy one; call the"):
            use()


# ---- precision, device, mode, what is trained


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_any_precision_are_trained_in_float32(
    dtype: torch.dtype, signed: Embedded, tmp_path: Path
) -> None:
    net = user_net().to(dtype)
    ticket = find(RECIPE, DATA, tmp_path / "a", model=net)
    assert {t.dtype for t in ticket.weights.values() if t.is_floating_point()} == {torch.float32}
    trained = retrain(signed.ticket, RECIPE, DATA, tmp_path / "b", model=net)
    assert verify(trained, signed.claim).verified
    assert net.fc.weight.dtype == dtype
    net.load_state_dict(dict(trained.weights), strict=True)
    trained.mask.bind(dict(net.named_parameters()))()
    answers = ask_network(net, normalisation_of("digits", 1))(DATA.test.images.numpy())
    assert len(answers) == len(DATA.test)


def test_a_mask_follows_a_network_to_another_precision(found: Ticket) -> None:
    net = user_net()
    hold = found.mask.bind(dict(net.named_parameters()))
    net.double()
    with torch.no_grad():
        net.block.weight += 1
    hold()
    found.mask.check(dict(net.named_parameters()))


def test_the_mode_does_not_matter_and_is_left(found: Ticket, tmp_path: Path) -> None:
    net = user_net().eval()
    assert tensor_digest(find(RECIPE, DATA, tmp_path, model=net).weights) == tensor_digest(found.weights)
    assert not any(module.training for module in net.modules())


def test_a_buffer_of_few_numbers_seen_as_many_is_trained_beside(tmp_path: Path) -> None:
    net = with_buffer(torch.ones(1).expand(9))
    assert find(RECIPE, DATA, tmp_path / "run", model=net).weights["own"].tolist() == [1.0] * 9


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    net = user_net()
    net.conv1.requires_grad_(False)
    ticket = find(RECIPE, DATA, tmp_path / "run", model=net)
    assert torch.equal(ticket.weights["conv1.weight"], net.conv1.weight)
    assert not torch.equal(ticket.weights["fc.weight"], net.fc.weight)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(1, 22, 3), nn.Linear(22, 10)
        self.one, self.two = nn.Conv2d(22, 22, 1, bias=False), nn.Conv2d(22, 22, 1, bias=False)
        self.two.weight = self.one.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.two(self.one(self.stem(images)).relu()).mean((2, 3)))


def test_tied_parameters_stay_tied_and_are_counted_once(tmp_path: Path) -> None:
    net = Tied()
    ticket = find(RECIPE, DATA, tmp_path / "run", model=net)
    signed = embed(ticket, "a")
    assert list(ticket.mask) == ["one.weight"]
    for weights in (ticket.weights, ticket.rewind, signed.ticket.weights):
        assert weights is not None and torch.equal(weights["one.weight"], weights["two.weight"])
    trained = retrain(signed.ticket, RECIPE, DATA, tmp_path / "again", model=net, start="model")
    assert torch.equal(trained.weights["one.weight"], trained.weights["two.weight"])
    net.load_state_dict(load_file(save(trained, tmp_path / "bundle") / "model.safetensors"), strict=True)
    assert verify(net, signed.claim).verified


# ---- answers


@pytest.mark.parametrize("form", ANSWERS.values(), ids=ANSWERS)
def test_the_logits_are_found_in_any_answer(
    form: Callable[[Tensor, Tensor], Any], found: Ticket, tmp_path: Path
) -> None:
    net = Answering(form)
    ticket = find(RECIPE, DATA, tmp_path / "run", model=net)
    assert tensor_digest(ticket.weights) == tensor_digest(found.weights)
    assert [entry.test for entry in ticket.history] == [entry.test for entry in found.history]
    images, normalise = DATA.test.images.numpy(), normalisation_of("digits", 1)
    assert ask_network(net, normalise)(images) == ask_network(user_net(), normalise)(images)
    one, other = (score("taylor", Scored(ticket=found, model=m, data=DATA)) for m in (net, user_net()))
    assert torch.equal(one[LAYER], other[LAYER])


def test_an_answer_of_another_form_in_training_is_found_too(tmp_path: Path) -> None:
    class Auxiliary(Answering):
        def forward(self, images: Tensor) -> Any:
            logits = UserNet.forward(self, images)  # type: ignore[arg-type]
            return (logits, images) if self.training else logits

    assert find(RECIPE, DATA, tmp_path / "run", model=Auxiliary(lambda y, x: y)).history[-1].test is not None


# ---- what cannot work: one line with the remedy


class Raises(UserNet):
    def forward(self, images: Tensor) -> Tensor:
        raise KeyError("labels")


class OnTwoInputs(UserNet):
    def forward(self, images: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images) * mask


class Stateful(UserNet):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}

    def set_extra_state(self, state: object) -> None:
        pass


class Uncopied(UserNet):
    def __deepcopy__(self, memo: object) -> UserNet:
        raise RuntimeError("a lock cannot be copied")


def of_two_channels() -> UserNet:
    net = user_net()
    net.conv1 = nn.Conv2d(2, 22, 3)
    return net


def of_five_classes() -> UserNet:
    net = user_net()
    net.fc = nn.Linear(22, 5)
    return net


def with_buffer(value: Tensor) -> UserNet:
    net = user_net()
    net.register_buffer("own", value)
    return net


def unprunable() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def normalised() -> nn.Module:
    net = user_net()
    nn.utils.parametrizations.weight_norm(net.block)
    return net


def scripted() -> nn.Module:
    return torch.jit.trace(user_net(), torch.zeros(2, 1, 8, 8))  # type: ignore[no-any-return]


NOT_THESE: dict[str, tuple[Callable[[], Any], str]] = {
    "a class": (lambda: UserNet, "model: expected a torch.nn.Module, found the class UserNet; make one: Us"),
    "a function": (lambda: user_net, "model: expected a torch.nn.Module, found a function"),
    "a state dict": (lambda: user_net().state_dict(), "model: expected a torch.nn.Module, found a OrderedD"),
    "a path": (lambda: "net.pt", "model: expected a torch.nn.Module, found a str"),
    "other channels": (
        of_two_channels,
        "model: forward: expected a network for images [1, 8, 8] of tiny, found RuntimeError: Given groups=1",
    ),
    "other classes": (
        of_five_classes,
        "network: outputs: expected [2, 10], found [2, 5]; the data have 10 classes",
    ),
    "an error": (
        Raises,
        "model: forward: expected a network for images [1, 8, 8] of tiny, found KeyError: 'l",
    ),
    "two inputs": (OnTwoInputs, "found TypeError: OnTwoInputs.forward() missing 1 required positional argum"),
    "two logits": (
        lambda: Answering(lambda y, x: (y, y + 1)),
        "network: outputs: expected one tensor [2, 10], found a tuple of [2, 10] and [2, 10]; let forward r",
    ),
    "no tensor": (
        lambda: Answering(lambda y, x: {"text": "seven"}),
        "network: outputs: expected one tensor [2, 10], found a dict of none; let forward return the logits",
    ),
    "a map of classes": (
        lambda: Answering(lambda y, x: y[..., None]),
        "network: outputs: expected [2, 10], found [2, 10, 1]",
    ),
    "all frozen": (
        lambda: user_net().requires_grad_(False),
        "parameters: expected one that is trained, found",
    ),
    "no prunable layer": (
        unprunable,
        "prunable layers: expected a convolution but the first or a linear lay",
    ),
    "computed weights": (
        normalised,
        "found none; layer1.0.conv1.weight is computed anew at each call: make it a parameter",
    ),
    "TorchScript": (scripted, "found none; hand in the module that the TorchScript was made from"),
    "no weights": (lambda: user_net().to("meta"), "model: expected a module that can be moved to cpu, found"),
    "extra state": (Stateful, "model: _extra_state: expected a dense tensor, found a dict"),
    "a sparse buffer": (
        lambda: with_buffer(torch.eye(3).to_sparse()),
        "model: own: expected a dense tensor, found torch.sparse_coo",
    ),
    "no copy": (
        Uncopied,
        "model: expected a module that can be copied, found RuntimeError: a lock cannot be copied; hand in t",
    ),
}


@pytest.mark.filterwarnings("ignore")  # of PyTorch, for TorchScript
@pytest.mark.parametrize(("model", "says"), NOT_THESE.values(), ids=NOT_THESE)
def test_what_cannot_be_trained_is_one_line(
    model: Callable[[], Any], says: str, found: Ticket, tmp_path: Path
) -> None:
    runs = [partial(find, RECIPE, DATA, tmp_path / "a", model=model())]
    if model not in (unprunable, normalised, scripted):
        runs.append(partial(retrain, found, RECIPE, DATA, tmp_path / "b", model=model()))
    for run in runs:
        with pytest.raises(InputError) as refused:
            run()
        assert says in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            lambda net: net,
            "parameters: expected tensors by name, found a UserNet; hand in dict(network.named",
        ),
        (lambda net: net.named_parameters(), "parameters: expected tensors by name, found a generator; hand"),
        (lambda net: {}, f"parameters: {LAYER}: expected, not found"),
    ],
)
def test_a_mask_says_what_it_wants(given: Callable[[nn.Module], Any], says: str, found: Ticket) -> None:
    with pytest.raises(InputError) as refused:
        found.mask.bind(given(user_net()))
    assert str(refused.value).startswith(says)


def test_an_answer_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InputError, match=r"found a list of none"):
        logits_of(endless, 2, 10)


def test_what_is_no_model_cannot_be_signed() -> None:
    claim = embed(user_net(), mark="freezenet", length=9).claim
    for given in ("net.pt", None, [1]):
        for use in (lambda given=given: embed(given, "a"), lambda given=given: verify(given, claim)):
            with pytest.raises(InputError, match="model: expected a ticket, a network or tensors by name, f"):
                use()
