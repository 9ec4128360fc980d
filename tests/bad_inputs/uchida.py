"""Uchida's watermark: bits that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import marked, plain

topic = Topic("watermark")


@topic.case("payload: expected one of --message, --bits and --random")
def two_payloads(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return ["embed", model, "--mark", "uchida", "--message", "a", "--bits", "01", "--out", folder / "OUT"]


@topic.case("model: capacity: expected a layer with 80 weights in a filter, one a bit, found 30")
def more_bits_than_a_filter_has_weights(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return ["embed", model, "--mark", "uchida", "--message", "0123456789", "--out", folder / "OUT"]


@topic.case("--png: expected a mark that has a picture, found uchida")
def picture_of_a_mark_that_has_none(folder: Path) -> list[Any]:
    claimed = marked(folder, "uchida", "--random", 20)
    return ["extract", folder / "MARKED", "--claim", claimed, "--png", folder / "code.png"]


@topic.case("marks: expected one that carries bits (qr-code, uchida, nct, spread, mirror), found freezenet")
def bits_of_a_watermark_that_carries_none(folder: Path) -> list[Any]:
    claimed = marked(folder, "freezenet", "--message", "mine", "--length", 50)
    return ["extract", folder / "owner.pt", "--claim", claimed]
