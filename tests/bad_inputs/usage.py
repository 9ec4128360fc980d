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


for _group in ("attack", "proof-of-work"):
    topic.enter(f"{_group} alone", lambda folder, g=_group: [g], "usage: ", "--help", has_verb=False)


@topic.case("usage: No such command 'sign'. Expected one of find, embed, ")
def unknown_verb(folder: Path) -> list[Any]:
    return ["sign", folder / "state.pt"]


for _words, _now in (
    (("watermark", "freezenet", "apply", "net.pt"), "embed MODEL --mark freezenet"),
    (("watermark", "freezenet", "verify", "net.pt"), "verify MODEL --claim FILE"),
    (("watermark", "freezenet", "mine"), "proof-of-work mine"),
    (("watermark", "freezenet", "check"), "proof-of-work check"),
    (("watermark", "uchida", "embed", "net.pt"), "embed MODEL --mark uchida (and `train`"),
    (("watermark", "uchida", "decode", "net.pt"), "extract, or verify, MODEL --claim FILE"),
    (("watermark",), "embed MODEL --mark freezenet|uchida, verify, extract; and proof-of-work mine|check"),
):
    topic.enter(
        f"{' '.join(_words)}, as version 0.1 had it",
        lambda folder, words=_words: list(words),  # type: ignore[misc]
        "usage: watermark",
        f": no longer a verb; use ticket-sig {_now}",
    )

for _verb, _option, _now in (
    ("embed", "--key", "embed --secret"),
    ("embed", "--text", "embed --message"),
    ("embed", "--data-file", "embed --secret"),
    ("verify", "--triggers", "ask --triggers"),
    ("verify", "--url", "ask --url"),
    ("verify", "--answers", "ask --answers"),
    ("verify", "--token-env", "ask --token-env"),
):
    topic.enter(
        f"{_verb} {_option}, as version 0.1 had it",
        lambda folder, verb=_verb, option=_option: [verb, fixture(folder, "state.pt"), option, "x"],  # type: ignore[misc]
        f"usage: {_option}: no longer an option; use ticket-sig {_now}",
    )

for _verb, _option in (
    (("find",), "--out"),
    (("embed", "net.pt"), "--out"),
    (("split", "net.pt"), "--out"),
    (("unlock", "net.pt", "--out", "BACK"), "--key"),
    (("train", "net.pt"), "--out"),
    (("ask", "net.pt"), "--claim"),
    (("queries", "--claim", "claim.json", "--out", "OUT"), "--triggers"),
    (("attack", "cast", "net.pt"), "--out"),
    (("proof-of-work", "check", "SOLUTION"), "--share"),
    (("data", "cifar10"), "--out"),
):
    topic.enter(
        f"{' '.join(_verb)} without {_option}",
        lambda folder, verb=_verb: list(verb),  # type: ignore[misc]
        f"usage: Missing option '{_option}'",
    )


@topic.case("usage: No such command 'dig'. Expected one of mine, check")
def unknown_verb_of_a_group(folder: Path) -> list[Any]:
    return ["proof-of-work", "dig"]


@topic.case("--message: expected a text, found none; qr-code needs it")
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
