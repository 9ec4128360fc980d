"""Masks that do not fit their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import bundle, embed

topic = Topic("mask")


@topic.case(
    "pruned.pt: ",
    "a.weight_mask: expected 0 and 1 only, found 1 other values",
    "b.weight_mask: expected 0 and 1 only, found 4 other values",
)
def values_other_than_0_and_1(folder: Path) -> list[Any]:
    masks = {"a.weight_mask": torch.tensor([[0, 1], [1, 0.5]]), "b.weight_mask": torch.full((2, 2), 2.0)}
    weights = {"a.weight_orig": torch.ones(2, 2), "b.weight_orig": torch.ones(2, 2)}
    torch.save(masks | weights, folder / "pruned.pt")
    return embed(folder, folder / "pruned.pt")


@topic.case(
    "pruned.pt: ",
    "a.weight_mask: expected shape [2, 2], found [4]",
    "b.weight_mask: expected shape [2, 2], found [2, 3]",
)
def other_shapes(folder: Path) -> list[Any]:
    masks = {"a.weight_mask": torch.ones(4), "b.weight_mask": torch.ones(2, 3)}
    weights = {"a.weight_orig": torch.ones(2, 2), "b.weight_orig": torch.ones(2, 2)}
    torch.save(masks | weights, folder / "pruned.pt")
    return embed(folder, folder / "pruned.pt")


@topic.case("pruned.pt: ", "gone.weight", "lost.weight")
def masks_without_weights(folder: Path) -> list[Any]:
    state = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.eye(2)}
    torch.save(
        state | {"gone.weight_mask": torch.eye(2), "lost.weight_mask": torch.eye(2)}, folder / "pruned.pt"
    )
    return embed(folder, folder / "pruned.pt")


@topic.case("pruned.pt: ", "b.weight_mask", "c.weight_mask")
def weights_without_their_masks(folder: Path) -> list[Any]:
    state = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.eye(2)}
    torch.save(
        state | {"b.weight_orig": torch.ones(2, 2), "c.weight_orig": torch.ones(2, 2)}, folder / "pruned.pt"
    )
    return embed(folder, folder / "pruned.pt")


@topic.case(
    "BUNDLE", "a.weight: expected a boolean tensor", "found float32 [2, 2]", "b.weight: expected a boolean"
)
def floats_in_a_bundle_s_mask(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask=state)]


@topic.case(
    "BUNDLE",
    "a.weight: expected shape [2, 2], found [2, 3]",
    "gone.weight: expected, not found",
    "lost.weight: expected, not found",
)
def tensors_that_the_model_of_a_bundle_lacks(folder: Path) -> list[Any]:
    names = ("a.weight", "gone.weight", "lost.weight")
    mask = {name: torch.ones(2, 2, dtype=torch.bool) for name in names}
    return ["inspect", bundle(folder, model={"a.weight": torch.zeros(2, 3)}, mask=mask)]


@topic.case(
    "BUNDLE",
    "a.weight: expected zeros where pruned, found 2 that are not",
    "b.weight: expected zeros where pruned, found 1 that are not",
)
def weights_that_are_not_zero_where_pruned(folder: Path) -> list[Any]:
    mask = {"a.weight": torch.eye(2).bool(), "b.weight": torch.tensor([[True, True], [True, False]])}
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask=mask)]
