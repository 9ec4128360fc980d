"""Attacks with options that they have no use for, or without those that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.command_line import done
from support.make_fixtures import LAYER

from bad_inputs.case import Topic
from bad_inputs.inputs import claim, embed, fixture, images, shown

topic = Topic("attack")


def _attack(folder: Path, name: str, *more: Any, model: str = "bundle-v1-signed") -> list[Any]:
    return ["attack", name, fixture(folder, model), "--out", folder / "STOLEN", *more]


@topic.case("usage: No such command 'melt'. Expected one of fine-tuning, magnitude-pruning, ")
def unknown_attack(folder: Path) -> list[Any]:
    return _attack(folder, "melt")


@topic.case("usage: Missing option '--rate'")
def attack_without_its_rate(folder: Path) -> list[Any]:
    return _attack(folder, "add-on")


@topic.case("usage: No such option: --epochs")
def option_of_another_attack(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--epochs", 2)


for _name, _option, _value, _said in (
    ("magnitude-pruning", "--rate", 1, "rate: expected a share between 0 and 1, without both, found 1.0"),
    ("add-on", "--rate", "nan", "rate: expected a share between 0 and 1, without both, found nan"),
    ("fine-tuning", "--lr", 0, "lr: expected a finite number more than 0, found 0.0"),
    ("trigger-removal", "--images", -1, "images: expected 0 to 100000, found -1"),
    ("fake-key", "--count", 0, "count: expected 1 or more, found 0"),
    ("free", "--kind", "renamed+melted", "kind: expected one of renamed, prefixed, reordered, "),
):
    topic.enter(
        f"{_name} with {_option} {_value}",
        lambda folder, n=_name, o=_option, v=_value: _attack(folder, n, o, v),
        _said,
    )


@topic.case("forged key: expected a share or a count, found neither")
def forged_key_of_no_size(folder: Path) -> list[Any]:
    return _attack(folder, "fake-key")


@topic.case("pruned weights: expected 1000000, for the forged key, found")
def forged_key_larger_than_the_rest_of_the_model(folder: Path) -> list[Any]:
    return _attack(folder, "fake-key", "--count", 1_000_000)


@topic.case("place of the code: expected the owner's claim, found none", "--insider")
def erasing_without_the_place(folder: Path) -> list[Any]:
    return _attack(folder, "erase")


@topic.case("--insider: expected a claim to try: --claim FILE, found none")
def insider_without_a_claim(folder: Path) -> list[Any]:
    return _attack(folder, "erase", "--insider", model="state.pt")


@topic.case(
    "claim.json: claim: placement: expected a region of the 22x22 kernels of ",
    f"{LAYER}, found rows 5..25, columns 0..20",
)
def erasing_outside_the_layer(folder: Path) -> list[Any]:
    place = claim(folder, placement={"row": 5, "column": 0})
    return _attack(folder, "erase", "--insider", "--claim", place)


@topic.case("usage: No such option: --insider")
def insider_of_an_attack_that_needs_no_place(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--insider")


@topic.case("--key: expected a claim to try: --claim FILE, found none")
def key_without_a_claim(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--key", folder / "key.safetensors", model="state.pt")


@topic.case("bundle-v1-signed/claim.json: marks: expected a claim on key-mask, for --key, found qr-code")
def attack_with_a_key_for_a_claim_of_a_code(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--key", folder / "key.safetensors")


@topic.case("--control: expected triggers to ask it about: --triggers, found none")
def control_without_triggers(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--control", folder / "state.pt")


@topic.case("data: expected a data set, found none; name network and data set: --arch, --dataset, --data DIR")
def triggers_on_a_bare_model(folder: Path) -> list[Any]:
    triggers = shown(folder)[2:]
    return _attack(folder, "random-pruning", "--rate", 0.1, *triggers, model="state.pt")


@topic.case("data: expected a data set, found none; name network and data set: --arch, --dataset, --data DIR")
def fine_tuning_without_data(folder: Path) -> list[Any]:
    return _attack(folder, "fine-tuning", model="state.pt")


@topic.case("seed: expected a number of 64 bits, found 1180591620717411303424")
def fine_tuning_from_a_seed_that_pytorch_does_not_take(folder: Path) -> list[Any]:
    digits = ["--arch", "resnet20", "--dataset", "digits"]
    return _attack(folder, "fine-tuning", *digits, "--seed", 2**70, model="bundle-v1")


@topic.case("recipe: expected one in the bundle, or --arch and --dataset, found neither")
def fine_tuning_without_a_recipe(folder: Path) -> list[Any]:
    return _attack(folder, "fine-tuning", "--data", images(folder), model="state.pt")


@topic.case("state.pt: weights do not fit the network: ", "layer1.0.bn1.bias: expected, not found", " more")
def attack_measured_with_another_network(folder: Path) -> list[Any]:
    digits = ["--arch", "resnet20", "--dataset", "digits"]
    return _attack(folder, "random-pruning", "--rate", 0.1, *digits, model="state.pt")


@topic.case("SIGNED: output folder: expected a name not taken yet, found one that is", "--force")
def attack_over_a_folder_that_is_there(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return ["attack", "noise", folder / "state.pt", "--rate", 0.1, "--out", folder / "SIGNED"]


@topic.case("STOLEN: output folder: expected a bundle to overwrite, found something else")
def attack_by_force_over_a_folder_of_something_else(folder: Path) -> list[Any]:
    (folder / "STOLEN").mkdir()
    (folder / "STOLEN" / "thesis.tex").touch()
    return _attack(folder, "fine-tuning", "--force", model="state.pt")  # said before data are asked for
