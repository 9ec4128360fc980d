"""Run folders and recipes that do not fit the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from filelock import FileLock
from support.command_line import done

from bad_inputs.case import Topic
from bad_inputs.inputs import cut_in_half, edit_json, fixture, search
from ticket_sig.training import PRESETS

topic = Topic("run")


@topic.case(
    "RUN: belongs to another run: ",
    "recipe.seed: expected 0, found 1",
    "recipe.rates: expected [0.2, 0.1, 0.05, 0.01], found [0.5]",
    "choose another folder",
)
def recipe_of_another_run(folder: Path) -> list[Any]:
    arguments = search(folder, "--rounds", 0)
    done(arguments)
    return [*arguments, "--seed", 1, "--rate", 0.5]


@topic.case("RUN: belongs to another run: data: expected 'sha256:", "found 'sha256:")
def data_of_another_run(folder: Path) -> list[Any]:
    arguments = search(folder, "--rounds", 0)
    done(arguments)
    (folder / "IMAGES" / "train" / "dark" / "0.png").unlink()
    return arguments


@topic.case("RUN: run folder: expected a new one, or one with run.json, found other files")
def run_folder_with_other_files(folder: Path) -> list[Any]:
    (folder / "RUN").mkdir()
    (folder / "RUN" / "thesis.tex").touch()
    return search(folder, "--rounds", 0)


@topic.case("RUN: run folder: expected a folder, found a file")
def run_folder_that_is_a_file(folder: Path) -> list[Any]:
    (folder / "RUN").touch()
    return search(folder, "--rounds", 0)


@topic.case("RUN/run.json: JSON: expected a whole JSON object, found")
def damaged_run_json(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    cut_in_half(folder / "RUN" / "run.json")
    return search(folder, "--rounds", 0, data=folder / "IMAGES")


@topic.case(
    "RUN: run folder: expected one that no process works in, found one that is in use",
    during=lambda folder: FileLock(folder / "RUN" / ".lock"),
)
def run_folder_in_use(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    return search(folder, "--rounds", 0, data=folder / "IMAGES")


for _name, _value in (("seed", "one"), ("crop", 1.5), ("nesterov", "yes"), ("rewind", [])):
    topic.enter(
        f"recipe with {_name} = {_value!r}",
        lambda folder, n=_name, v=_value: _with_recipe(folder, {n: v}),
        "recipe",
        _name,
        "expected",
        repr(_value) if _value else "found",
    )


def _with_recipe(folder: Path, changes: dict[str, Any]) -> list[Any]:
    done(search(folder, "--rounds", 0))
    file = folder / "RUN" / "ticket" / "ticket.json"
    edit_json(file, recipe=json.loads(file.read_text())["recipe"] | changes)
    return ["train", folder / "RUN" / "ticket", "--data", folder / "IMAGES", "--out", folder / "TRAINED"]


@topic.case(
    "training: loss in epoch ",
    ": expected a finite number, found",
    "the last good checkpoint is kept; lower the learning rate (1e+20)",
    during=lambda folder: patch.dict(PRESETS, {"demo": {**PRESETS["demo"], "lr": 1e20, "warmup": 0.0}}),
    resumes=True,
)
def loss_that_is_not_a_number(folder: Path) -> list[Any]:
    return search(folder, "--preset", "demo", "--rounds", 0, "--epochs", 3)


@topic.case(r"exclude: expected Unicode text, found '\udcff' in it")
def excluded_name_that_is_no_text(folder: Path) -> list[Any]:
    return search(folder, "--exclude", "\udcff")


@topic.case("arch: expected one of resnet20", "found 'lenet'")
def unknown_network(folder: Path) -> list[Any]:
    return search(folder, "--arch", "lenet")


@topic.case("preset: expected one of paper, open-lth, quick, demo, found 'fast'")
def unknown_preset(folder: Path) -> list[Any]:
    return search(folder, "--preset", "fast")


@topic.case(
    "recipe: ",
    "rates: expected shares between 0 and 1, found (1.5,)",
    "density: expected between 0 and 1, found 2.0",
)
def recipe_out_of_range(folder: Path) -> list[Any]:
    return search(folder, "--rate", 1.5, "--density", 2)


@topic.case("recipe: expected one in the bundle, or --arch and --dataset, found neither")
def training_without_a_recipe(folder: Path) -> list[Any]:
    return ["train", fixture(folder, "state.pt"), "--out", folder / "TRAINED"]


def _train(folder: Path, *more: Any) -> list[Any]:
    digits = ["--arch", "resnet20", "--dataset", "digits", "--precision", "float32"]
    return ["train", fixture(folder, "state.pt"), *digits, "--out", folder / "TRAINED", *more]


@topic.case("rewind weights: expected some, found none", "train from the model's weights")
def training_without_rewind_weights(folder: Path) -> list[Any]:
    return _train(folder)


for _option, _given in (("batch", 8), ("order", "string"), ("fit", "cut")):
    topic.enter(
        f"trigger {_option} without triggers",
        lambda folder, option=f"--trigger-{_option}", given=_given: _train(  # type: ignore[misc]
            folder, "--start", "model", option, given
        ),
        f"--trigger-{_option}",
        ": expected triggers to ",
        ": --triggers, found none",
    )


@topic.case(
    "state.pt: weights do not fit the network resnet20: ",
    "conv1.weight: expected shape [16, 1, 3, 3], found [22, 1, 3, 3]",
    " more",
)
def training_another_network(folder: Path) -> list[Any]:
    return _train(folder, "--start", "model")
