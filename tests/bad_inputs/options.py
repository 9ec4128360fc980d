"""Options of marks, scores, attacks and difficulties: another's, missing, or out of range."""

from __future__ import annotations

from dataclasses import MISSING
from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Topic
from bad_inputs.inputs import fixture, plain, shown
from ticket_sig.attacks import ATTACKS
from ticket_sig.marks import MARKS
from ticket_sig.options import flag, options_of

topic = Topic("options")
_EMBEDDED = {name: options_of(kind.options) for name, kind in MARKS.items() if kind.options}


def _embed(folder: Path, mark: str, *more: Any) -> list[Any]:
    model = fixture(folder, "state.pt")
    if mark != "qr-code":
        model = plain(folder, "net.safetensors", {"a.weight": torch.randn(40, 30)})
    return ["embed", model, "--mark", mark, *more, "--out", folder / "OUT"]


def _split(folder: Path, score: str, *more: Any) -> list[Any]:
    return ["split", fixture(folder, "bundle-v1"), "--score", score, *more, "--out", folder / "OUT"]


def _attack(folder: Path, name: str, *more: Any) -> list[Any]:
    return ["attack", name, fixture(folder, "state.pt"), *more, "--out", folder / "OUT"]


def _ask(folder: Path, *more: Any) -> list[Any]:
    return ["ask", "--url", "http://127.0.0.1:1", "--model", "mine", *more, *shown(folder)]


def _mine(folder: Path, *more: Any) -> list[Any]:
    return ["proof-of-work", "mine", "--text", "block 7", *more, "--out", folder / "OUT"]


for _mark, _own in _EMBEDDED.items():
    _names = [one.name for one in _own]
    _others = sorted({one.name for other in _EMBEDDED.values() for one in other} - set(_names))
    for _other in _others:
        topic.enter(
            f"{flag(_other)} of another mark than {_mark}",
            lambda folder, mark=_mark, other=_other: _embed(folder, mark, flag(other), 1),  # type: ignore[misc]
            f"{_mark}: expected options among {', '.join(_names)}, found {_other}",
        )

topic.enter(
    "--sparse neither on nor off",
    lambda folder: ["find", "--sparse", "maybe", "--out", folder / "OUT"],
    "--sparse: expected one of off, on, auto, found 'maybe'",
)

for _name in ("key-mask", "trigger-set", "halo", ""):
    topic.enter(
        f"mark {_name!r}, which embed does not put in",
        lambda folder, name=_name: _embed(folder, name, "--message", "a"),
        f"mark: expected one of {', '.join(_EMBEDDED)}, found {_name!r}",
    )

for _name, _kind in ATTACKS.items():
    if _required := [one.name for one in options_of(_kind) if one.default is MISSING]:
        topic.enter(
            f"{_name} without {flag(_required[0])}",
            lambda folder, name=_name: _attack(folder, name),
            f"usage: Missing option '{flag(_required[0])}'",
        )

_SHARE = "expected a share between 0 and 1, without both, found"
_POSITIVE = "expected a finite number more than 0, found"
_PART = "expected a number above 0, at most"
_RANGE = {
    _embed: {
        "qr-code --message a --version 0": "version: expected 1 to 40, found 0",
        f"qr-code --message a --version {10**30}": f"version: expected 1 to 40, found {10**30}",
        "qr-code --message a --level h": "level: expected one of L, M, Q, H, found 'h'",
        "qr-code --message a --level=": "level: expected one of L, M, Q, H, found ''",
        "qr-code --message a --prune nan": f"--prune: {_SHARE} nan",
        "freezenet --share -0.1": "share: expected 0 to 1, found -0.1",
        "freezenet --share 1.5": "share: expected 0 to 1, found 1.5",
        "freezenet --share nan": "share: expected 0 to 1, found nan",
        "freezenet --share inf": "share: expected 0 to 1, found inf",
        "freezenet --share half": "usage: Invalid value for '--share': Input should be a valid number",
        "freezenet --length 5 --scale loud": "scale: expected one of unit, layer, legacy, found 'loud'",
        "freezenet --length 5 --arch lenet": "arch: expected one of resnet20, ",
        f"freezenet --length {10**9}": f"length: expected at most 33554432, found {10**9}",
        f"freezenet --length {10**30}": "length: expected a whole number of 0 or more, found one of more",
        "freezenet --length 5 --share 0.1": "--length, --share: expected one of them, found both",
        "freezenet": "--length, --share: expected one of them, found neither",
        "uchida --random 0": "random: expected 1 to 8192, found 0",
        "uchida --random 8193": "random: expected 1 to 8192, found 8193",
        f"uchida --random {10**30}": f"random: expected 1 to 8192, found {10**30}",
        "uchida --random 1.5": "usage: Invalid value for '--random': Input should be a valid integer",
        "uchida --bits 012": "payload: expected digits 0 and 1, found '012'",
        "uchida --bits=": "payload: expected 1 to 8192 bits, found 0",
        "uchida --message=": "payload: expected 1 to 8192 bits, found 0",
        "uchida --strength 0": f"strength: {_POSITIVE} 0.0",
        "uchida --strength nan": f"strength: {_POSITIVE} nan",
        "uchida --strength inf": f"strength: {_POSITIVE} inf",
        "nct --per-bit 7": "per_bit: expected 8 to 256, found 7",
        "nct --per-bit 256 --random 5": "nct: shape of a.weight: expected at least 1280 weights, 256 for "
        "each of 5 bits, found 1200",
        "nct --hidden 0": "hidden: expected 1 to 256, found 0",
        "nct --hidden 1 --random 100": "nct: classifier: expected one that learns all 100 bits, found one",
        "nct --layer gone": "net.safetensors: model: layer: expected 'gone', found none of that name",
        "uchida --layer gone": "net.safetensors: model: layer: expected 'gone', found none of that name",
    },
    _split: {
        "ewp --paths 0": "paths: expected 1 or more, found 0",
        "random-paths --paths -1": "paths: expected 1 or more, found -1",
        "betweenness --sources 0": "sources: expected 1 or more, found 0",
        "taylor --images 0": "images: expected 1 or more, found 0",
        "OMP": "score: expected one of omp, random, ",
    },
    _attack: {
        "noise --rate 0": f"rate: {_SHARE} 0.0",
        "noise --rate 0.1 --scale inf": f"scale: {_POSITIVE} inf",
        "noise --rate 0.1 --layer gone": "state.pt: layer: expected one of the mask's (layer1.0.conv1",
        "random-pruning --rate -0.1": f"rate: {_SHARE} -0.1",
        "magnitude-pruning --rate 0.1 --scope x": "scope: expected one of global, layerwise, found 'x'",
        "gaussian-noise --scale 0": f"scale: {_POSITIVE} 0.0",
        "gaussian-noise --scale 0.1 --layer gone": "state.pt: layer: expected one of the model's (layer1",
        "quantization --bits 1": "bits: expected 2 to 32, found 1",
        "quantization --bits 33": "bits: expected 2 to 32, found 33",
        "quantization --bits 8.5": "usage: Invalid value for '--bits': Input should be a valid integer",
        "knowledge-distillation --epochs 0": "epochs: expected 1 or more, found 0",
        "knowledge-distillation --images 0": "images: expected 1 or more, found 0",
        "knowledge-distillation --share 1.1": "share: expected a number above 0, at most 1, found 1.1",
        "knowledge-distillation --temperature nan": f"temperature: {_POSITIVE} nan",
        "sign-flip --share 1": f"share: {_SHARE} 1.0",
        "erase --share 1.5": f"share: {_SHARE} 1.5",
        "cast --precision fp8": "precision: expected one of bf16, fp16, found 'fp8'",
        "fine-tuning --epochs 0": "epochs: expected 1 or more, found 0",
        "trigger-removal --images 1000000": "images: expected 0 to 100000, found 1000000",
        "fake-key --count 5 --share 0.1": "forged key: expected a share or a count, found 0.1 and 5",
        "fake-key --count 5 --lr 0.1": "lr: expected epochs beside it, found none",
        "overwrite --message a --version 41": "version: expected 1 to 40, found 41",
        "overwrite --message a --level X": "level: expected one of L, M, Q, H, found 'X'",
        "own-watermark --mark qr-code --size 9": "qr-code: size: expected bits of a text, 8 for each",
        "own-watermark --mark trigger-set": "mark: expected one of qr-code, freezenet, uchida, nct",
        "own-watermark --mark uchida --size 0": "size: expected 1 or more, found 0",
        f"own-watermark --mark uchida --size {10**30}": f"random: expected 1 to 8192, found {10**30}",
    },
    _ask: {
        "--rate 0": f"rate: {_POSITIVE} 0.0",
        "--rate nan": f"rate: {_POSITIVE} nan",
        "--batch 0": "batch: expected 1 or more, found 0",
        "--timeout inf": f"timeout: {_POSITIVE} inf",
        "--retries -1": "retries: expected 0 to 1000, found -1",
        "--retries 1001": "retries: expected 0 to 1000, found 1001",
        "--pixels grey": "pixels: expected one of normalised, unit, bytes, found 'grey'",
        "--decoys 99": "decoys: expected 100 to 100000, found 99",
        "--decoys 100001": "decoys: expected 100 to 100000, found 100001",
    },
    _mine: {
        "--target 9 --share 0": f"share: {_PART} 1, found 0.0",
        "--target 9 --share 1.5": f"share: {_PART} 1, found 1.5",
        "--target 9 --share nan": f"share: {_PART} 1, found nan",
        "--target 101 --share 0.5": f"target: {_PART} 100, found 101.0",
        "--target= --share 0.5": "usage: Invalid value for '--target'",
        "--target 9 --share 0.5 --scale legacy": "scale: expected one of unit, layer, found 'legacy'",
        "--target 9 --share 0.5 --arch lenet": "arch: expected one of resnet20, ",
        "--target 9": "usage: Missing option '--share'",
    },
}
for _build, _table in _RANGE.items():
    for _words, _says in _table.items():
        topic.enter(
            f"{_build.__name__[1:]} {_words}",
            lambda folder, build=_build, words=_words: build(folder, *words.split()),  # type: ignore[misc]
            _says,
        )
