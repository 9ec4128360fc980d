"""References that cannot be used, and claims that commit to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.command_line import done
from support.tickets import sparse_ticket

from bad_inputs.case import Build, Topic
from bad_inputs.inputs import edit_json, embed, plain

topic = Topic("reference")


def _verify(folder: Path, model: Path, *more: Any, **changes: Any) -> list[Any]:
    """Verifies the signed model through a reference, by a claim with other fields."""
    done(embed(folder, plain(folder, "net.safetensors", dict(sparse_ticket().weights))))
    claim = folder / "SIGNED" / "claim.json"
    edit_json(claim, **changes)
    return ["verify", folder / "SIGNED", "--claim", claim, "--reference", model, *more]


def _of_claim(digest: object) -> Build:
    def build(folder: Path) -> list[Any]:
        return _verify(folder, folder / "net.safetensors", reference=digest)

    return build


for _name, _digest in (
    ("a number", 1),
    ("a text", "mine"),
    ("a digest cut off", "sha256:00"),
    ("a digest of another kind", f"sha512:{'0' * 64}"),
    ("a very long text", "sha256:" + "0" * 1_000_000),
    ("a list", ["sha256"]),
):
    topic.enter(
        f"a claim that commits to {_name}",
        _of_claim(_digest),
        "claim.json: claim: reference: expected text of the form sha256:",
    )


@topic.case("gone.pt: model: expected a bundle, a .safetensors or a torch file, found nothing at this path")
def a_reference_that_is_not_there(folder: Path) -> list[Any]:
    return _verify(folder, folder / "gone.pt")


@topic.case("words.txt: ", "expected")
def a_reference_that_is_a_text(folder: Path) -> list[Any]:
    (folder / "words.txt").write_text("the owner's model")
    return _verify(folder, folder / "words.txt")


@topic.case("nan.safetensors: weights: a.weight: expected finite numbers, found 1 that are not")
def a_reference_with_nan(folder: Path) -> list[Any]:
    weights = {name: tensor.clone() for name, tensor in sparse_ticket().weights.items()}
    weights["a.weight"][0, 0, 0, 0] = torch.nan
    return _verify(folder, plain(folder, "nan.safetensors", weights))


@topic.case("net.safetensors: arch: expected one of resnet20, ", "found 'lenet'")
def a_reference_of_an_unknown_architecture(folder: Path) -> list[Any]:
    return _verify(folder, folder / "net.safetensors", "--arch", "lenet")


@topic.case("net.safetensors: ", "expected those of vgg16")
def a_reference_of_another_architecture(folder: Path) -> list[Any]:
    return _verify(folder, folder / "net.safetensors", "--arch", "vgg16")
