"""A network that is given tensors of other widths and kernel sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig import InputError
from ticket_sig.models import build
from ticket_sig.models.resized import resized


class Small(nn.Module):
    """Every kind of layer whose width can be another one."""

    def __init__(self, width: int = 4, kernel: int = 3) -> None:
        super().__init__()
        pad = kernel // 2
        self.stem = nn.Conv2d(2, width, kernel, stride=2, padding=pad)
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, 2 * width, kernel, padding=2 * pad, dilation=2, groups=width)
        self.slopes = nn.PReLU(2 * width)
        self.grouped = nn.Conv2d(2 * width, 6, kernel, padding=pad, groups=2, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(6, width, kernel, padding=pad)
        self.fc = nn.Linear(width, 3)
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes(self.depthwise(F.relu(self.norm(self.stem(x)))))
        return self.fc((self.up(self.grouped(x)) * self.gain).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("width", "kernel"), [(6, 3), (2, 3), (4, 5), (8, 1)])
def test_it_computes_what_a_network_of_that_size_computes(width: int, kernel: int) -> None:
    torch.manual_seed(0)
    wanted = Small(width, kernel).eval()
    found = resized(Small().eval(), wanted.state_dict())
    x = torch.randn(2, 2, 12, 12)
    assert torch.equal(found(x), wanted(x))
    assert repr(found) == repr(wanted)


def test_the_model_stays_and_the_copy_holds_copies() -> None:
    model, wider = Small(4), Small(6)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found = resized(model, wider.state_dict())
    with torch.no_grad():
        found.fc.weight.zero_()
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.stem.out_channels == 4 and wider.fc.weight.any()


def test_a_shared_weight_stays_shared_and_dtypes_are_those_given() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    found = resized(model, {name: torch.ones_like(t).double() for name, t in model.state_dict().items()})
    assert found[0].weight is found[1].weight and found[0].weight.dtype == torch.float64


def test_a_ring_of_zeros_changes_nothing() -> None:
    network = build("resnet20", 10, seed=0).eval()
    weights = {n: F.pad(t, (1, 1, 1, 1)) if t.ndim == 4 else t for n, t in network.state_dict().items()}
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(resized(network, weights)(x), network(x), rtol=1e-4, atol=1e-4)


def test_padding_by_name_is_kept_or_counted() -> None:
    for padding in ("same", "valid"):
        layer = nn.Conv2d(1, 1, 3, padding=padding)
        found = resized(layer, {"weight": F.pad(layer.weight, (1, 1, 1, 1)), "bias": layer.bias})
        x = torch.randn(1, 1, 7, 7)
        torch.testing.assert_close(found(x), layer(x))


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("stem.weight", torch.ones(4, 2, 4, 4), "stem.weight: expected 3x3 taps, or an even number more"),
        ("grouped.weight", torch.ones(5, 4, 3, 3), "grouped.weight: expected rows that 2 groups divide"),
        ("fc.weight", torch.ones(3, 4, 1, 1), r"fc.weight: expected 2 dimensions, found float32 \[3, 4, 1"),
        ("norm.bias", torch.ones(5), r"norm.bias: expected 4 channels, found float32 \[5\] as bias"),
        ("other", torch.ones(5), "other: found, not expected"),
    ],
)
def test_what_cannot_fit_is_named(name: str, tensor: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        resized(Small(), {**Small().state_dict(), name: tensor})


def test_what_is_missing_is_named() -> None:
    weights = Small().state_dict()
    del weights["up.weight"]
    with pytest.raises(InputError, match=r"weights do not fit the network: up\.weight: expected, not found"):
        resized(Small(), weights)


def test_a_module_whose_width_cannot_be_another_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    wider = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5))
    with pytest.raises(InputError, match=r"1.weight: expected the LayerNorm as it is, found float32 \[5\]"):
        resized(model, wider.state_dict())
