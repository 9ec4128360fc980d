"""Evaluations that cannot be made: counts of 0, names that nobody knows, intensities that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bad_inputs.case import Topic

topic = Topic("evaluation")


def _evaluate(folder: Path, *more: Any) -> list[Any]:
    return ["evaluate", *more, "--out", folder / "OUT"]


for _name, _more, _says in (
    ("no networks", ("uchida", "--models", 0), "evaluation: models: expected 1 to 1000, found 0"),
    ("no payloads", ("uchida", "--payloads", 0), "payloads: expected 1 to 1000, found 0"),
    (
        "more networks than can be listed",
        ("uchida", "--models", 2**31),
        f"models: expected 1 to 1000, found {2**31}",
    ),
    (
        "more payloads than can be listed",
        ("uchida", "--payloads", 10**30),
        f"payloads: expected 1 to 1000, found {10**30}",
    ),
    ("no method", (), "METHOD: expected all, or some of "),
    ("an unknown method", ("uchide",), "method: expected one of "),
    ("an unknown part", ("uchida", "--parts", "speed"), "parts: expected some of imperceptibility, "),
    (
        "an unknown modification",
        ("uchida", "--modifications", "sharpening"),
        "modifications: expected one of gaussian-noise, ",
    ),
    (
        "an intensity that is none",
        ("uchida", "--modifications", "quantization=0"),
        "quantization: B: expected a whole number above 0, found 0",
    ),
    ("two intensities", ("uchida", "--intensities", 2), "intensities: expected 1 or 3, found 2"),
    ("another standard", ("uchida", "--standard", "iso"), "standard: expected one of nnw-tec, found 'iso'"),
    ("no workers", ("uchida", "--workers", 0), "workers: expected 1 to 1000, found 0"),
    (
        "more workers than there can be",
        ("uchida", "--workers", 2**63),
        f"workers: expected 1 to 1000, found {2**63}",
    ),
):
    topic.enter(_name, lambda folder, more=_more: _evaluate(folder, *more), _says)
