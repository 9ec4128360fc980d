"""Trigger images beside the data: how many, which, and that a network learns them (scheme 3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.stops import Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig import InputError, Mask, Ticket, retrain
from ticket_sig.datasets.data import Split
from ticket_sig.digests import tensor_digest
from ticket_sig.marks.trigger_set.triggers import TriggerSecret
from ticket_sig.training import Steps
from ticket_sig.training.batches import Batches, Normaliser, TriggerBatch

CPU = torch.device("cpu")


def triggers(count: int = 10, classes: int = 4) -> Split:
    return TriggerSecret(bytes(32), count, (8, 8, 1), classes).trigger_set().split


def ticket(seed: int = 0) -> Ticket:
    model = TinyNet(seed)
    mask = Mask({name: model.state_dict()[name] > -0.1 for name in ("c2.weight", "f1.weight")})
    weights = mask.apply(model.state_dict())
    return Ticket(weights=weights, mask=mask, rewind=weights)


def test_so_many_are_appended_and_the_batch_is_what_it_was() -> None:
    data, recipe, split = tiny_data(), tiny_recipe(), triggers()
    plain = Batches(data.train, data, recipe, CPU)
    taught = Batches(data.train, data, recipe, CPU, TriggerBatch(split, 3))
    pool = Normaliser(data, CPU)(split.images.permute(0, 3, 1, 2))
    for step in (0, 1, len(plain) - 1, len(plain), 3 * len(plain)):
        (images, labels), (more, known) = plain[step], taught[step]
        assert torch.equal(more[:-3], images) and torch.equal(known[:-3], labels)
        for image, label in zip(more[-3:], known[-3:], strict=True):
            (found,) = [i for i in range(10) if torch.equal(pool[i], image)]
            assert split.labels[found] == label, "neither cropped nor flipped, with its own label"


def test_each_is_seen_as_often_and_none_twice_before_all() -> None:
    data, split = tiny_data(), triggers(10)
    batches = Batches(data.train, data, tiny_recipe(), CPU, TriggerBatch(split, 3))
    pool = Normaliser(data, CPU)(split.images.permute(0, 3, 1, 2))
    seen = [
        next(i for i in range(10) if torch.equal(pool[i], image))
        for step in range(20)
        for image in batches[step][0][-3:]
    ]
    for first in range(0, 60, 10):
        assert sorted(seen[first : first + 10]) == list(range(10))
    assert seen[:10] != seen[10:20], "always in the same order"


def test_a_network_learns_them_and_the_history_says_how_many(tmp_path: Path) -> None:
    data = tiny_data(images=128)
    recipe = tiny_recipe(length=Steps(60), lr=0.1, crop=0, label_smoothing=0.0, weight_decay=0.0)
    dense = TinyNet().state_dict()
    whole = Ticket(weights=dense, mask=Mask.full({"c2.weight": dense["c2.weight"]}), rewind=dense)
    few = TriggerBatch(triggers(8), 8)
    taught = retrain(whole, recipe, data, tmp_path / "taught", triggers=few, model=TinyNet())
    short = replace(recipe, length=Steps(1))
    plain = retrain(whole, short, data, tmp_path / "plain", model=TinyNet())
    assert taught.history[-1].triggers is not None and taught.history[-1].triggers >= 75
    assert plain.history[-1].triggers is None


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    data, recipe, taught = tiny_data(), tiny_recipe(), TriggerBatch(triggers(), 3)
    whole = retrain(ticket(), recipe, data, tmp_path / "whole", triggers=taught, model=TinyNet())
    with pytest.raises(Stopped):
        retrain(
            ticket(), recipe, data, tmp_path / "run", triggers=taught, model=at_forward(TinyNet(), 9, stop)
        )
    again = retrain(ticket(), recipe, data, tmp_path / "run", triggers=taught, model=TinyNet())
    assert tensor_digest(again.weights) == tensor_digest(whole.weights)


def test_another_trigger_set_is_another_run(tmp_path: Path) -> None:
    data, recipe = tiny_data(), tiny_recipe()
    retrain(ticket(), recipe, data, tmp_path / "run", triggers=TriggerBatch(triggers(), 3), model=TinyNet())
    for other in (None, TriggerBatch(triggers(), 4), TriggerBatch(triggers(9), 3)):
        with pytest.raises(InputError, match="triggers"):
            retrain(ticket(), recipe, data, tmp_path / "run", triggers=other, model=TinyNet())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for size in (0, 11):
        with pytest.raises(InputError, match=r"^triggers: batch: expected 1 to 10 images"):
            TriggerBatch(triggers(), size)
    data = tiny_data()
    large = TriggerSecret(bytes(32), 10, (16, 16, 1), 4).trigger_set().split
    for split in (large, replace(triggers(), labels=triggers().labels + 4)):
        with pytest.raises(InputError, match=r"^triggers: (size|labels): expected"):
            Batches(data.train, data, tiny_recipe(), CPU, TriggerBatch(split, 2))
