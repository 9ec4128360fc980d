"""Messages and models that no code can be made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import embed, fixture, plain

topic = Topic("message")


@topic.case("message: expected at most 7 bytes at level H", "found")
def too_long_for_every_layer(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="owner@example.org")


@topic.case("message: expected at most 7 bytes at level H", "found")
def too_long_for_any_code(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="x" * 5000)


@topic.case("message: expected at most 14 bytes in version 2, level H", "found 17, which takes version 3")
def too_long_for_the_version_that_was_asked_for(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", 2, message="owner@example.org")


@topic.case("message: expected at least one character, found none")
def of_no_characters(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="")


@topic.case("message: expected a text, found blanks alone")
def of_blanks_alone(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="   ")


@topic.case("too sparse for this code; prune it less")
def in_a_model_that_is_pruned_too_far(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--prune", 0.9999, message="hi")


@topic.case("message: expected", "found")
def of_bytes_that_are_no_text(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message=b"\xff\xfe".decode(errors="surrogateescape"))


@topic.case(
    "tiny.safetensors", "kernel maps: expected one of at least 21x21 kernels, found 8x8 at the largest"
)
def no_layer_large_enough(folder: Path) -> list[Any]:
    state = {"a.weight": torch.eye(8), "b.weight": torch.eye(4).expand(9, 4, 4).contiguous()}
    return embed(folder, plain(folder, "tiny.safetensors", state))


@topic.case("vector.safetensors", "kernel maps: expected one of at least 21x21 kernels, found")
def no_layer_at_all(folder: Path) -> list[Any]:
    return embed(folder, plain(folder, "vector.safetensors", {"a.bias": torch.ones(4)}))


@topic.case("dense.safetensors", "pruned weights: expected", "too dense", "--prune")
def dense_model(folder: Path) -> list[Any]:
    return embed(folder, plain(folder, "dense.safetensors", {"a.weight": torch.ones(30, 30)}))


@topic.case("sparse.safetensors", "kept weights: expected", "too sparse")
def model_with_too_few_weights(folder: Path) -> list[Any]:
    state = {"a.weight": torch.zeros(30, 30)}
    state["a.weight"][0, 0] = 1
    return embed(folder, plain(folder, "sparse.safetensors", state))


@topic.case("layer: expected one of the mask's (layer1.0.conv1.weight), found fc.weight")
def layer_outside_the_mask(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--layer", "fc.weight")


@topic.case("level: expected one of L, M, Q, H, found 'X'")
def unknown_level(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--level", "X")


@topic.case("--prune: expected a share between 0 and 1, without both, found 1.5")
def pruning_by_more_than_everything(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--prune", 1.5)
