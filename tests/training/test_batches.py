"""Batches against a plain reference that crops and flips one image at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import tiny_recipe

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.training.batches import Batches

_CPU = torch.device("cpu")


def numbered(images: int, height: int = 6, width: int = 5, channels: int = 2, seed: int = 0) -> Dataset:
    """Random images, each with a label of its own."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (images, height, width, channels), generator=draw, dtype=torch.uint8)
    split = Split(pixels, torch.arange(images))
    return Dataset("numbered", split, split, images, (0.3, 0.6)[:channels], (0.2, 0.4)[:channels])


def batches(data: Dataset, **changes: object) -> Batches:
    return Batches(data.train, data, tiny_recipe(**changes), _CPU)


def views(image: np.ndarray, crop: int, flip: bool) -> dict[tuple[int, int, bool], np.ndarray]:
    """Every crop and flip of one image [height, width, channels], padded with black."""
    height, width, _ = image.shape
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    shifts = range(2 * crop + 1)
    plain = {(y, x, False): padded[y : y + height, x : x + width] for y in shifts for x in shifts}
    return plain | ({(y, x, True): v[:, ::-1] for (y, x, _), v in plain.items()} if flip else {})


def view_of(
    found: torch.Tensor, image: np.ndarray, data: Dataset, crop: int, flip: bool
) -> tuple[int, int, bool]:
    """Which crop and flip of an image a normalised sample [channels, height, width] is."""
    pixels = found.numpy().transpose(1, 2, 0) * np.array(data.std) + np.array(data.mean)
    hits = [
        key for key, view in views(image, crop, flip).items() if np.allclose(pixels, view / 255, atol=1e-5)
    ]
    assert len(hits) == 1, "no crop or flip of its image, or not normalised"
    return hits[0]


@given(
    images=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    crop=st.integers(0, 2),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 3),
)
@settings(deadline=None, max_examples=25)
def test_an_epoch_holds_every_sample_once_cropped_and_flipped_with_its_label(
    images: int, batch_size: int, crop: int, flip: bool, seed: int, epoch: int
) -> None:
    data = numbered(images)
    made = batches(data, batch_size=batch_size, crop=crop, flip=flip, seed=seed)
    seen: list[int] = []
    for step in range(epoch * len(made), (epoch + 1) * len(made)):
        pixels, labels = made[step]
        assert pixels.dtype == torch.float32 and pixels.shape == (len(labels), 2, 6, 5)
        for sample, label in zip(pixels, labels.tolist(), strict=True):
            view_of(sample, data.train.images[label].numpy(), data, crop, flip)
            seen.append(label)
    assert sorted(seen) == list(range(images))
    *full, last = [len(made[step][1]) for step in range(len(made))]
    assert all(size == batch_size for size in full) and 0 < last <= batch_size + 1


def test_crops_and_flips_are_drawn_evenly_and_for_each_sample() -> None:
    data = numbered(60)
    made = batches(data, batch_size=60, crop=1, flip=True)
    drawn: Counter[tuple[int, int, bool]] = Counter()
    for epoch in range(12):
        pixels, labels = made[epoch]
        found = [
            view_of(p, data.train.images[y].numpy(), data, 1, True)
            for p, y in zip(pixels, labels.tolist(), strict=True)
        ]
        assert len(set(found)) > 9, "drawn for the batch, not for each sample"
        drawn.update(found)
    # 18 views, 40 times each on average; five standard deviations.
    assert len(drawn) == 18
    assert all(abs(count - 40) < 5 * 40**0.5 for count in drawn.values())


@given(earlier=st.lists(st.integers(0, 30), max_size=6), step=st.integers(0, 30), moved=st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_a_batch_is_the_same_whatever_was_drawn_before(earlier: list[int], step: int, moved: int) -> None:
    data = numbered(20)
    pixels, labels = batches(data, batch_size=6, crop=1)[step]
    other = batches(data, batch_size=6, crop=1)
    torch.manual_seed(moved)
    for index in earlier:
        other[index]
    again, labels_again = other[step]
    assert torch.equal(pixels, again) and torch.equal(labels, labels_again)


def test_epochs_and_seeds_differ_in_order_and_view() -> None:
    data = numbered(50)
    orders, views_seen = set(), set()
    for seed in (0, 1):
        made = batches(data, batch_size=50, crop=2, seed=seed)
        for epoch in (0, 1, 2):
            pixels, labels = made[epoch]
            orders.add(tuple(labels.tolist()))
            views_seen.add(pixels[labels.argsort()].numpy().tobytes())
    assert len(orders) == len(views_seen) == 6
