"""Uchida's watermark: bits that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import marked, plain

topic = Topic("watermark")
_GROUP = ("watermark", "uchida")


@topic.case("payload: expected one of --message, --bits and --random")
def two_payloads(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return [*_GROUP, "embed", model, "--message", "a", "--bits", "01", "--out", folder / "OUT"]


@topic.case("model: capacity: expected a layer with 80 weights in a filter, one a bit, found 30")
def more_bits_than_a_filter_has_weights(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return [*_GROUP, "embed", model, "--message", "0123456789", "--out", folder / "OUT"]


@topic.case("claim.json: ", "scheme: expected 'uchida', found 'freezenet'")
def bits_of_another_watermark(folder: Path) -> list[Any]:
    claimed = marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
    return [*_GROUP, "decode", folder / "owner.pt", "--claim", claimed]
