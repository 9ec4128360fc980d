"""Bundles with a part missing, damaged or changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.damage import flip

from bad_inputs.case import Topic
from bad_inputs.inputs import bundle, cut_in_half, edit_json, embed, fixture, flip_after

topic = Topic("bundle")


def _of_bundle(folder: Path, name: str, damage: Callable[[Path], object]) -> list[Any]:
    path = fixture(folder, "bundle-v1-signed")
    damage(path / name)
    return ["extract", path]


for _name in ("model.safetensors", "mask.safetensors", "rewind.safetensors"):
    topic.enter(
        f"{_name} missing",
        lambda folder, n=_name: _of_bundle(folder, n, Path.unlink),
        f"bundle-v1-signed/{_name}: file: expected a safetensors file, found none",
    )
    topic.enter(
        f"{_name} empty",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_bytes(b"")),
        f"bundle-v1-signed/{_name}: safetensors: expected a whole file, found a damaged one",
    )
    topic.enter(
        f"{_name} cut short",
        lambda folder, n=_name: _of_bundle(folder, n, cut_in_half),
        f"bundle-v1-signed/{_name}: safetensors: expected a whole file, found a damaged one",
    )
    topic.enter(
        f"{_name} with a bit flipped",
        lambda folder, n=_name: _of_bundle(
            folder, n, lambda path: path.write_bytes(flip(path.read_bytes(), 8 * path.stat().st_size - 1))
        ),
        f"bundle-v1-signed/{_name}: digest: expected sha256:",
        "found sha256:",
        "changed",
    )

for _name in ("ticket.json", "claim.json"):
    topic.enter(
        f"{_name} empty",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_bytes(b"")),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    topic.enter(
        f"{_name} cut short",
        lambda folder, n=_name: _of_bundle(folder, n, cut_in_half),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    topic.enter(
        f"{_name} with a bit flipped",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: flip_after(path, b"{\n", 6)),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    topic.enter(
        f"{_name} is a list",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_text("[1]")),
        f"bundle-v1-signed/{_name}: JSON: expected an object, found a list",
    )
    topic.enter(
        f"{_name} of an unknown version",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: edit_json(path, version=99)),
        f"bundle-v1-signed/{_name}: ",
        f"version: expected {'1 or 2' if _name == 'claim.json' else '1'}, found 99",
    )

topic.enter(
    "history with words for numbers",
    lambda folder: _of_bundle(
        folder,
        "ticket.json",
        lambda path: edit_json(path, history=[{"step": "dense", "kept": "many", "total": 9}]),
    ),
    "bundle-v1-signed",
    "history",
    "kept",
    "expected",
    "'many'",
)
topic.enter(
    "recipe that is a text",
    lambda folder: embed(
        folder, _of_bundle(folder, "ticket.json", lambda p: edit_json(p, recipe="paper"))[1]
    ),
    "bundle-v1-signed",
    "recipe: expected",
)
topic.enter(
    "number of 5,000 digits",
    lambda folder: _of_bundle(
        folder, "ticket.json", lambda path: path.write_text('{"version": ' + "1" * 5000 + "}")
    ),
    "bundle-v1-signed/ticket.json: JSON: expected",
)


@topic.case("BUNDLE", "rewind weights: fc.weight: expected finite numbers, found 2 that are not")
def rewind_weights_that_are_nan(folder: Path) -> list[Any]:
    state = {"fc.weight": torch.ones(2, 2)}
    broken = {"fc.weight": torch.tensor([[1, float("nan")], [float("inf"), 1]])}
    return [
        "inspect",
        bundle(folder, model=state, mask={"fc.weight": torch.ones(2, 2).bool()}, rewind=broken),
    ]


@topic.case(
    "BUNDLE",
    "rewind weights: ",
    "a.weight: expected shape [2, 2], found [2, 3]",
    "b.weight: expected, not found",
    "c.weight: found, not expected",
)
def rewind_weights_of_another_network(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    rewind = {"a.weight": torch.ones(2, 3), "c.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask={"a.weight": torch.ones(2, 2).bool()}, rewind=rewind)]
