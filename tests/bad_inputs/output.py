"""Names that are taken, and disks that are full."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from support.command_line import done
from support.disk import file_size_limit, full_disk, read_only

from bad_inputs.case import Topic
from bad_inputs.inputs import embed, fixture, search

topic = Topic("output")
_NOT_TAKEN = "SIGNED: output folder: expected a name not taken yet, found one that is"


@topic.case(_NOT_TAKEN, "--force")
def folder_that_is_there(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return embed(folder, folder / "state.pt")


@topic.case("pipe: output: expected the name of a file, found a device, a pipe or a socket")
def picture_in_place_of_a_pipe(folder: Path) -> list[Any]:
    os.mkfifo(folder / "pipe")  # a device is the same, but no test may risk one: root could replace it
    return ["inspect", fixture(folder, "state.pt"), "--png", folder / "pipe"]


@topic.case("/: output: expected the name of a file, found a folder")
def picture_in_place_of_the_root(folder: Path) -> list[Any]:
    return ["inspect", fixture(folder, "state.pt"), "--png", "/"]


@topic.case("SIGNED: output folder: expected a model to overwrite, found something else")
def file_in_place_of_the_folder(folder: Path) -> list[Any]:
    (folder / "SIGNED").write_text("mine")
    return embed(folder, fixture(folder, "state.pt"), "--force")


@topic.case("notes.txt/SIGNED: output: expected a folder to write to, found a file")
def folder_inside_a_file(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return [*embed(folder, fixture(folder, "state.pt"))[:-1], folder / "notes.txt" / "SIGNED"]


@topic.case("notes.txt/code.png: output: expected a folder to write to, found a file")
def picture_inside_a_file(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return ["extract", fixture(folder, "bundle-v1-signed"), "--png", folder / "notes.txt" / "code.png"]


@topic.case("maps.png: output: expected the name of a file, found a folder")
def picture_in_place_of_a_folder(folder: Path) -> list[Any]:
    (folder / "maps.png").mkdir()
    return ["inspect", fixture(folder, "state.pt"), "--png", folder / "maps.png"]


_READ_ONLY = "output: expected a folder that can be written, found a read-only one"
for _name, _build in {
    "SIGNED": lambda folder: embed(folder, fixture(folder, "state.pt")),
    "code.png": lambda folder: [
        *("extract", fixture(folder, "bundle-v1-signed"), "--png", folder / "code.png"),
    ],
    "keys.pem": lambda folder: ["keygen", "--out", folder / "keys.pem"],
    "RUN": lambda folder: search(folder),
    "owner.json": lambda folder: ["triggers", "--dataset", "digits", "--out", folder / "owner.json"],
}.items():
    topic.enter(
        f"read-only folder for {_name}",
        _build,
        f"/{_name}: {_READ_ONLY}",
        during=lambda folder: read_only(),
    )


def _disk_of(size: int) -> Callable[[Path], AbstractContextManager[object]]:
    return lambda folder: file_size_limit(size)


_WHILE_WRITTEN, _WHEN_FLUSHED = "File too large", "No space left on device"
for _wrong, _during in ((_WHILE_WRITTEN, _disk_of(4096)), (_WHEN_FLUSHED, lambda folder: full_disk())):
    _how = "while it is written" if _wrong == _WHILE_WRITTEN else "when it is flushed"
    topic.enter(
        f"disk full, bundle, found {_how}",
        lambda folder: embed(folder, fixture(folder, "state.pt")),
        "SIGNED",
        _wrong,
        during=_during,
    )
    topic.enter(
        f"disk full, picture, found {_how}",
        lambda folder: ["inspect", fixture(folder, "state.pt"), "--png", folder / "maps.png"],
        "maps.png",
        _wrong,
        during=_during,
    )
    topic.enter(
        f"disk full, run, found {_how}",
        lambda folder: search(folder, "--rounds", 0),
        "RUN",
        _wrong,
        during=_during,
        resumes=True,
    )


@topic.case("SIGNED", _WHILE_WRITTEN, during=_disk_of(4096))
def disk_full_over_an_old_bundle(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return embed(folder, folder / "state.pt", "--force")


@topic.case("code.png", _WHILE_WRITTEN, during=_disk_of(256))
def disk_full_over_an_old_picture(folder: Path) -> list[Any]:
    done(["extract", fixture(folder, "bundle-v1-signed"), "--png", folder / "code.png"])
    return ["extract", folder / "bundle-v1-signed", "--png", folder / "code.png"]


@topic.case("TRAINED", _WHILE_WRITTEN, during=_disk_of(4096), resumes=True)
def disk_full_while_training(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    data = ["--data", folder / "IMAGES"]
    return ["train", folder / "RUN" / "ticket", *data, "--out", folder / "TRAINED"]
