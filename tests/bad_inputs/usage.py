"""Command lines that say too little, too much, or nothing that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import embed, fixture, search

topic = Topic("usage")


@topic.case("usage: ", "verb", "--help", has_verb=False)
def no_verb(folder: Path) -> list[Any]:
    return []


@topic.case("usage: No such command 'sign'. Expected one of find, embed, ")
def unknown_verb(folder: Path) -> list[Any]:
    return ["sign", folder / "state.pt"]


@topic.case("qr-code: expected the option message, found none of that name; give it: --message")
def missing_option(folder: Path) -> list[Any]:
    return ["embed", fixture(folder, "state.pt"), "--out", folder / "SIGNED"]


@topic.case("usage: Missing argument", "model")
def missing_argument(folder: Path) -> list[Any]:
    return ["inspect"]


@topic.case("usage: No such option", "--massage")
def unknown_option(folder: Path) -> list[Any]:
    return ["embed", fixture(folder, "state.pt"), "--massage", "hi", "--out", folder / "SIGNED"]


@topic.case("version: expected 1 to 40, found 41")
def option_out_of_range(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", 41)


@topic.case("usage: Invalid value for '--version'", "integer")
def word_for_a_number(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", "three")


if not torch.cuda.is_available():
    topic.enter(
        "a GPU where there is none",
        lambda folder: search(folder, "--device", "cuda"),
        "device: expected one that this machine has, found cuda",
    )


@topic.case("device: expected one that this machine has, found tpu")
def unknown_device(folder: Path) -> list[Any]:
    return search(folder, "--device", "tpu")
