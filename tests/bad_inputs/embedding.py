"""Models that `embed` must not write over, secrets that are none, and disks that are full half-way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.command_line import done
from support.disk import file_size_limit, full_disk
from support.shards import write_shards

from bad_inputs.case import Topic
from bad_inputs.inputs import claim, edit_json, fixture, plain

topic = Topic("embed")
_NET = {"a.weight": torch.ones(400, 30), "b.weight": torch.ones(6, 40)}
_CODE = ["--message", "a"]
_VALUES = ["--mark", "freezenet", "--length", 50]
_BITS = ["--mark", "uchida"]
_MARKS = {"code": _CODE, "values": _VALUES, "bits": _BITS}  # values are patched into safetensors files


def _model(folder: Path, mark: str) -> Path:
    return fixture(folder, "state.pt") if mark == "code" else plain(folder, "net.safetensors", _NET)


def _embed(folder: Path, model: Path, *more: Any, out: str = "OUT") -> list[Any]:
    return ["embed", model, *more, "--out", folder / out]


def _shards(folder: Path) -> Path:
    return write_shards(folder / "MODEL", _NET, count=2)


def _with_secret(folder: Path, mark: str, secret: bytes | None) -> list[Any]:
    if secret is not None:
        (folder / "secret").write_bytes(secret)
    return _embed(folder, _model(folder, mark), *_MARKS[mark], "--secret", folder / "secret")


for _mark in _MARKS:
    for _name, _secret, _says in (
        ("that is not there", None, "secret: --secret: expected a file of bytes, found none"),
        ("of no bytes", b"", "secret: --secret: expected a file of bytes, found an empty one"),
    ):
        topic.enter(
            f"{_mark}, a secret {_name}",
            lambda folder, m=_mark, s=_secret: _with_secret(folder, m, s),  # type: ignore[misc]
            _says,
        )

for _length in (31, 33):
    topic.enter(
        f"bits, a secret of {_length} bytes",
        lambda folder, n=_length: _with_secret(folder, "bits", bytes(n)),
        f"net.safetensors: --secret: expected 32 bytes for uchida, found {_length}",
    )


@topic.case("net.safetensors: --message, --secret: expected one of them, found both")
def values_from_a_message_and_a_secret(folder: Path) -> list[Any]:
    return [*_with_secret(folder, "values", bytes(32)), "--message", "mine"]


# Places that are the model's own, or somebody's.


@topic.case("MODEL: output folder: expected a name not taken yet, found one that is", "--force")
def copy_in_the_model_s_place(folder: Path) -> list[Any]:
    return _embed(folder, _shards(folder), *_VALUES, out="MODEL")


@topic.case("MODEL: output folder: expected another than the model's own, found the same")
def copy_in_the_model_s_place_by_force(folder: Path) -> list[Any]:
    return _embed(folder, _shards(folder), *_VALUES, "--force", out="MODEL")


@topic.case("LINK: output folder: expected another than the model's own, found the same")
def copy_in_the_model_s_place_by_another_name(folder: Path) -> list[Any]:
    (folder / "LINK").symlink_to(_shards(folder))
    return _embed(folder, folder / "MODEL", *_VALUES, "--force", out="LINK")


@topic.case("MODEL/OUT: output folder: expected one outside the model's own, found one inside")
def copy_inside_the_model(folder: Path) -> list[Any]:
    return _embed(folder, _shards(folder), *_VALUES, out="MODEL/OUT")


@topic.case("bundle-v1/OUT: output folder: expected one outside the model's own, found one inside")
def bundle_inside_the_model(folder: Path) -> list[Any]:
    return _embed(folder, fixture(folder, "bundle-v1"), *_CODE, "--force", out="bundle-v1/OUT")


for _mark in ("code", "values"):
    topic.enter(
        f"{_mark}, the bundle that the model's file lies in, by force",
        lambda folder, options=_MARKS[_mark]: _embed(  # type: ignore[misc]
            folder, fixture(folder, "bundle-v1") / "model.safetensors", *options, "--force", out="bundle-v1"
        ),
        "bundle-v1: output folder: expected another than the model's own, found the same",
    )


def _over(folder: Path, mark: str, make: Callable[[Path], object], *more: Any) -> list[Any]:
    make(folder / "OUT")
    return _embed(folder, _model(folder, mark), *_MARKS[mark], *more)


def _thesis(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


def _claim_alone(path: Path) -> None:
    path.mkdir()
    claim(path)


for _mark in _MARKS:
    for _name, _make in (
        ("an empty folder", Path.mkdir),
        ("a thesis", _thesis),
        ("a claim alone", _claim_alone),
    ):
        topic.enter(
            f"{_mark} over {_name}",
            lambda folder, m=_mark, make=_make: _over(folder, m, make),  # type: ignore[misc]
            "OUT: output folder: expected a name not taken yet, found one that is; choose another",
        )
        topic.enter(
            f"{_mark} over {_name} by force",
            lambda folder, m=_mark, make=_make: _over(folder, m, make, "--force"),  # type: ignore[misc]
            "OUT: output folder: expected a model to overwrite, found something else",
        )


# Models that cannot carry it, or lie where they cannot be read whole.


@topic.case("MODEL: model: weights: expected a dense network, found pruned weights in a.weight")
def many_files_that_are_to_be_pruned(folder: Path) -> list[Any]:
    return _embed(folder, _shards(folder), *_VALUES, "--prune", 0.5)


@topic.case("bundle-v1: model: weights: expected a dense network, found pruned weights in ", "qr-code")
def values_in_a_ticket(folder: Path) -> list[Any]:
    return _embed(folder, fixture(folder, "bundle-v1"), "--mark", "freezenet", "--share", 0.9)


@topic.case("net.safetensors: model: a: expected weights other than zero, found none")
def bits_in_nothing(folder: Path) -> list[Any]:
    return _embed(folder, plain(folder, "net.safetensors", {"a": torch.zeros(50, 50)}), *_BITS)


@topic.case("net.safetensors: weights: a: expected finite numbers, found 2500 that are not")
def bits_in_weights_that_are_nan(folder: Path) -> list[Any]:
    broken = {"a": torch.full((50, 50), torch.nan)}
    return _embed(folder, plain(folder, "net.safetensors", broken), *_BITS, "--layer", "a")


for _mark, _options in _MARKS.items():

    def _locked(folder: Path, options: list[Any] = _options) -> list[Any]:
        done(["split", fixture(folder, "bundle-v1"), "--out", folder / "DIR"])
        return _embed(folder, folder / "DIR" / "locked", *options)

    topic.enter(
        f"{_mark} in a locked ticket",
        _locked,
        "DIR/locked: sealed part: expected none, found one: the ticket is locked; unlock it first",
    )


# A claim beside the model that nobody can read: what it says must not be lost.


def _beside(folder: Path, mark: str, **changes: Any) -> list[Any]:
    model = fixture(folder, "bundle-v1-signed") if mark == "code" else _shards(folder)
    edit_json(claim(model), **changes)
    return _embed(folder, model, *_MARKS[mark])


for _mark in ("code", "values"):
    for _name, _changes, _says in (
        (
            "of a later version",
            {"version": 3, "written_by": "ticket_sig 9.9"},
            "version: expected 1 or 2, found 3, written by ticket_sig 9.9",
        ),
        ("on an unknown mark", {"scheme": "halo"}, "mark: expected one of qr-code, "),
        ("without its fields", {"signature": {}}, "qr: expected dict, found none"),
    ):
        topic.enter(
            f"{_mark} beside a claim {_name}",
            lambda folder, mark=_mark, changes=_changes: _beside(folder, mark, **changes),  # type: ignore[misc]
            f"/claim.json: claim: {_says}",
        )


# Disks that are full, while files are patched and while a bundle is written.


def _torch_file(folder: Path) -> Path:
    torch.save(_NET, folder / "net.pt")
    return folder / "net.pt"


def _over_the_last(folder: Path) -> list[Any]:
    arguments = _embed(folder, _model(folder, "values"), *_VALUES)
    done(arguments)
    return [*arguments, "--force"]


for _wrong, _during in (
    ("File too large", lambda folder: file_size_limit(4096)),
    ("No space left on device", lambda folder: full_disk()),
):
    for _name, _build in {
        "one file that is patched": lambda folder: _embed(folder, _model(folder, "values"), *_VALUES),
        "many files that are patched": lambda folder: _embed(folder, _shards(folder), *_VALUES),
        "a copy over the last one": _over_the_last,
        "a bundle with values": lambda folder: _embed(folder, _torch_file(folder), *_VALUES),
        "a bundle with bits": lambda folder: _embed(folder, _model(folder, "bits"), *_BITS),
    }.items():
        topic.enter(f"disk full, {_name}: {_wrong}", _build, "OUT", _wrong, during=_during)
