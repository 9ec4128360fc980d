"""The networks have the sizes their papers print, and take any image and any number of classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.models import MODELS, build, prunable_names
from ticket_sig.models.resnet import PaddedShortcut


def parameters(arch: str, classes: int = 10, channels: int = 3) -> int:
    return sum(p.numel() for p in build(arch, classes, channels).parameters())


def test_resnet20_is_the_papers() -> None:
    model = build("resnet20", 10)
    shapes = dict(model.named_parameters())
    assert parameters("resnet20") == 269_722
    assert sum(shapes[name].numel() for name in prunable_names(model)) == 267_264


# resnet18 and resnet50 as in github.com/kuangliu/pytorch-cifar, whose vgg16 has 4,224 biases more than ours;
# freezenet as its paper counts it.
@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("resnet20-proj", 272_474),
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
        ("vgg16", 14_728_266 - 4_224),
        ("freezenet", 1_306_922),
    ],
)
def test_the_other_networks_have_their_known_sizes(arch: str, count: int) -> None:
    assert parameters(arch) == count


@settings(deadline=None, max_examples=15)
@given(
    arch=st.sampled_from(["resnet20", "resnet20-proj", "freezenet"]),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    channels=st.integers(1, 4),
    classes=st.integers(2, 20),
)
def test_any_size_from_8x8_any_channels_any_classes(
    arch: str, height: int, width: int, channels: int, classes: int
) -> None:
    logits = build(arch, classes, channels)(torch.randn(2, channels, height, width))
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vgg16", "freezenet"])
def test_the_large_networks_take_8x8_and_32x32(arch: str) -> None:
    model = build(arch, 7, 1).eval()
    for size in (8, 32):
        assert model(torch.randn(1, 1, size, size)).shape == (1, 7)


def test_every_weight_of_every_network_is_trained() -> None:
    for arch in MODELS:
        model = build(arch, 3, 1, seed=0)
        model(torch.randn(3, 1, 8, 8)).square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


@given(inputs=st.integers(1, 9), more=st.integers(0, 9), size=st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_a_padded_shortcut_takes_every_second_pixel_and_adds_only_zeros(
    inputs: int, more: int, size: int
) -> None:
    x = torch.randn(2, inputs, size, size)
    y = PaddedShortcut(inputs, inputs + more)(x)
    before = more // 2
    assert y.shape[1] == inputs + more
    assert torch.equal(y[:, before : before + inputs], x[:, :, ::2, ::2])
    assert not y[:, :before].any() and not y[:, before + inputs :].any()


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build("resnet20", 10, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "PyTorch's own random state was moved"
    torch.manual_seed(2)
    second, other = build("resnet20", 10, seed=5).state_dict(), build("resnet20", 10, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"arch: expected one of resnet20, .*vgg16, freezenet, found 'resnet21'"
    ):
        build("resnet21", 10)
