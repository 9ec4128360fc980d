"""The digits data set: real, the same always, and every class in every split."""

from __future__ import annotations

import sys

import pytest
import torch

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset


def test_every_digit_of_scikit_learn_is_there_once_with_its_label() -> None:
    from sklearn.datasets import load_digits  # takes more than a second

    data = load_dataset("digits")
    assert (len(data.train), len(data.test), data.channels, data.classes) == (1437, 360, 1, 10)
    images = torch.cat([data.train.images, data.test.images]).flatten(1)
    labels = torch.cat([data.train.labels, data.test.labels])
    found = sorted((int(label), image.tolist()) for image, label in zip(images, labels, strict=True))
    source = load_digits()
    # 0..16 becomes 0..255, rounded: never half way between two bytes.
    wanted = sorted(
        (int(label), [int(v * 255 / 16 + 0.5) for v in image])
        for image, label in zip(source.data, source.target, strict=True)
    )
    assert found == wanted


def test_the_split_is_the_same_always_and_every_class_is_in_each_part() -> None:
    first, second = load_dataset("digits"), load_dataset("digits")
    assert first.digest == second.digest
    for part in (*first.hold_out(0.2), first.test):
        assert part.labels.unique().tolist() == list(range(10))


def test_the_normalisation_is_that_of_the_train_split() -> None:
    data = load_dataset("digits")
    pixels = data.train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(data.mean[0], abs=2e-3)
    assert float(pixels.std()) == pytest.approx(data.std[0], abs=2e-3)


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"digits.*scikit-learn.*pip install 'ticket-sig\[demo\]'"):
        load_dataset("digits")
