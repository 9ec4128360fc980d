"""Images for a network of other channels: nothing but the channels changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny import tiny_data

from ticket_sig import InputError
from ticket_sig.datasets.channels import with_channels
from ticket_sig.training.batches import Normaliser


def test_grey_is_repeated_with_its_normalisation() -> None:
    grey = tiny_data()
    colour = with_channels(grey, 3)
    assert (colour.channels, colour.classes, colour.name) == (3, grey.classes, grey.name)
    for channel in range(3):
        assert torch.equal(colour.test.images[..., channel], grey.test.images[..., 0])
    assert torch.equal(colour.train.labels, grey.train.labels)
    cpu = torch.device("cpu")
    pixels = [Normaliser(d, cpu)(d.test.images.permute(0, 3, 1, 2)) for d in (grey, colour)]
    assert torch.equal(pixels[0].expand_as(pixels[1]), pixels[1])


def test_colour_becomes_what_an_image_library_makes_of_it() -> None:
    colour = tiny_data(channels=3)
    grey = with_channels(colour, 1)
    for index in range(8):
        expected = np.asarray(Image.fromarray(colour.train.images[index].numpy()).convert("L"), dtype=int)
        assert np.abs(grey.train.images[index, :, :, 0].numpy().astype(int) - expected).max() <= 1
    pixels = Normaliser(grey, torch.device("cpu"))(grey.train.images.permute(0, 3, 1, 2))
    assert (float(pixels.mean()), float(pixels.std())) == (
        pytest.approx(0, abs=1e-4),
        pytest.approx(1, abs=1e-3),
    )


def test_the_same_channels_are_the_same_data() -> None:
    data = tiny_data()
    assert with_channels(data, 1) is data


def test_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="tiny: channels: expected 4, as the network's first layer, found 3"):
        with_channels(tiny_data(channels=3), 4)
