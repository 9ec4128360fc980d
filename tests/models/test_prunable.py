"""Which weights may be pruned: all convolutions but the first, all linear layers but the last."""

from __future__ import annotations

import pytest
from support.tiny import TinyNet
from torch import nn

from ticket_sig import InputError
from ticket_sig.models import MODELS, build, prunable_names


def test_the_first_convolution_and_the_classifier_stay_dense() -> None:
    for arch in MODELS:
        model = build(arch, 10, 1)
        convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
        linears = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
        assert prunable_names(model) == [f"{n}.weight" for n in (*convolutions[1:], *linears[:-1])]


def test_a_network_of_ones_own_convolutions_and_linear_layers() -> None:
    assert prunable_names(TinyNet()) == ["c2.weight", "f1.weight"]


def test_convolutions_of_one_and_three_dimensions() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Conv1d(3, 4, 3), nn.Conv3d(1, 2, 3))
    assert prunable_names(model) == ["1.weight", "2.weight"]


def test_linear_layers_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    assert prunable_names(model) == ["0.weight", "2.weight"]


def test_a_weight_that_two_modules_share_is_named_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    assert prunable_names(model) == ["0.weight"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["c2.weight"], ["f1.weight"]),
        (["c*"], ["f1.weight"]),
        (["*f1*"], ["c2.weight"]),
        (["C2.weight", "elsewhere"], ["c2.weight", "f1.weight"]),
    ],
)
def test_excluded_names_stay_dense(exclude: list[str], left: list[str]) -> None:
    assert prunable_names(TinyNet(), exclude) == left


@pytest.mark.parametrize(
    ("model", "exclude"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2)), []),
        (nn.Linear(3, 3), []),
        (nn.ReLU(), []),
        (TinyNet(), ["*"]),
    ],
)
def test_a_network_with_nothing_to_prune_is_refused(model: nn.Module, exclude: list[str]) -> None:
    with pytest.raises(InputError, match=r"prunable layers: expected .*, found none"):
        prunable_names(model, exclude)
