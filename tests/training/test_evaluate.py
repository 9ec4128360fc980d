"""Accuracy against a plain count, and a model left as it was."""

from __future__ import annotations

import pytest
import torch
from support.tiny import TinyNet, tiny_data
from torch import nn

from ticket_sig.datasets.data import Split
from ticket_sig.training.evaluate import accuracy

_CPU = torch.device("cpu")


@pytest.mark.parametrize("images", [1, 499, 500, 501, 1203])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_is_the_share_of_images_whose_class_scores_highest(images: int, precision: str) -> None:
    data = tiny_data(2000, size=4, channels=2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 4))
    split = data.train[:images]
    right = 0
    for pixels, label in zip(split.images, split.labels, strict=True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = model((pixels.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5)[0]
        right += int(scores.argmax() == label)
    # A tie within rounding may fall either way.
    slack = 0.1 if precision == "float32" else 1.0
    assert accuracy(model, split, data, _CPU, precision) == pytest.approx(100 * right / images, abs=slack)


def test_all_right_and_all_wrong() -> None:
    class Brightness(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            level = (x.mean((1, 2, 3)) * 0.5 + 0.5) * 255 - 30
            return -(level[:, None] - 60 * torch.arange(4)).abs()

    data = tiny_data()
    assert accuracy(Brightness(), data.test, data, _CPU, "float32") == 100.0
    wrong = Split(data.test.images, (data.test.labels + 1) % 4)
    assert accuracy(Brightness(), wrong, data, _CPU, "float32") == 0.0


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model, data = TinyNet(dropout=0.5).train(training), tiny_data()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    first = accuracy(model, data.test, data, _CPU, "float32")
    assert accuracy(model, data.test, data, _CPU, "float32") == first
    assert model.training is training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
