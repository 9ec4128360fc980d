"""A network of this process is asked as it was trained to be: normalised, in evaluation mode."""

from __future__ import annotations

import pytest
import torch
from support import taught
from support.tiny import TinyNet
from torch import nn

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.verification.ask import verify_answers
from ticket_sig.verification.ask.network import ask_network, network_of
from ticket_sig.verification.ask.pixels import normalisation_of


@pytest.mark.parametrize("known", [True, False])
def test_a_network_that_learned_its_triggers_verifies_and_no_other(known: bool) -> None:
    ask = ask_network(taught.network(taught=known), normalisation_of("digits", 1))
    verdict = verify_answers(taught.claim(), taught.triggers(), ask)
    assert verdict.verified is known
    assert not known or verdict.log10_p < -40


def test_the_network_is_left_as_it_was_found() -> None:
    model = TinyNet(classes=10, dropout=0.5).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ask = ask_network(model, normalisation_of("digits", 1))
    images = taught.triggers().split.images.numpy()
    assert ask(images) == ask(images)
    assert model.training and all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_answers_are_those_of_the_data_set_s_normalisation() -> None:
    images = taught.triggers().split.images
    pixels = (images.permute(0, 3, 1, 2) / 255 - 0.3054) / 0.3757
    expected = taught.network(taught=True)(pixels).argmax(1).tolist()
    ask = ask_network(taught.network(taught=True), normalisation_of("digits", 1))
    assert ask(images.numpy()) == expected


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Conv2d(3, 10, 3), r"images: expected to take \[100, 1, 8, 8\], found an error"),
        (nn.Conv2d(1, 10, 3), r"outputs: expected \[100, classes\], found \[100, 10, 6, 6\]"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "outputs: expected finite numbers"),
    ],
)
def test_a_network_of_another_kind_is_named(model: nn.Module, words: str) -> None:
    if isinstance(model, nn.Sequential):
        nn.init.constant_(model[1].weight, float("nan"))
    with pytest.raises(InputError, match=words):
        ask_network(model, normalisation_of("digits", 1))(taught.triggers().split.images.numpy())


def test_a_model_file_is_what_its_recipe_or_the_caller_says() -> None:
    weights = {n: t.detach() for n, t in taught.network(taught=True).state_dict().items()}
    bare = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    expected = "model: expected the names of network and data set, too, found"
    with pytest.raises(InputError, match=f"{expected} none; name them: --arch, --dataset$"):
        network_of(bare, 1)
    with pytest.raises(InputError, match=f"{expected} one; name it: --dataset$"):
        network_of(bare, 1, arch="resnet20")
    model, normalise = network_of(bare, 1, arch="resnet20", dataset="digits")
    ask = ask_network(model, normalise)
    assert verify_answers(taught.claim(), taught.triggers(), ask).verified
    with pytest.raises(InputError, match="dataset: expected one of"):
        network_of(bare, 1, arch="resnet20", dataset="mnist")
    with pytest.raises(InputError, match="digits: channels: expected 3, as the triggers', found 1"):
        network_of(bare, 3, arch="resnet20", dataset="digits")
