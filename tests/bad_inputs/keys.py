"""Keys and locked tickets that do not fit, or were changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from support.command_line import done
from torch import Tensor

from bad_inputs.case import Topic
from bad_inputs.inputs import cut_in_half, fixture, flip_after, images, plain
from ticket_sig.models import build

topic = Topic("key")


def _split(folder: Path, *more: Any, model: str = "bundle-v1-signed") -> list[Any]:
    return ["split", fixture(folder, model), "--out", folder / "DIR", *more]


def _unlock(folder: Path, damage: Callable[[Path], object] = lambda _: None) -> list[Any]:
    """Unlocks DIR/locked with DIR/key.safetensors after some damage; `damage` is given DIR."""
    done(_split(folder))
    damage(folder / "DIR")
    key = folder / "DIR" / "key.safetensors"
    return ["unlock", folder / "DIR" / "locked", "--key", key, "--out", folder / "BACK"]


for _share in (0, 1, -0.5, "nan", 1e-9):
    topic.enter(
        f"share of {_share}",
        lambda folder, share=_share: _split(folder, "--share", share),
        "bundle-v1-signed: share: expected",
    )


for _score, _options, *_says in (
    ("omp", ["--paths", 5], "--paths: expected a score that uses it (random-paths, ewp), found 'omp'"),
    ("ewp", ["--sources", 5], "--sources: expected a score that uses it (betweenness), found 'ewp'"),
    ("ewp", ["--directed"], "--directed: expected a score that uses it (betweenness), found 'ewp'"),
    ("random", ["--no-residual"], "--residual: expected a score that uses it (random-paths, ewp,"),
    ("omp", ["--arch", "resnet20"], "--arch: expected a score that uses it (random-paths, ewp,"),
    ("ewp", ["--dataset", "digits"], "--dataset: expected a score that uses it (taylor, hessian,"),
    ("omp", ["--seed", 0], "--seed: expected a score that uses it (random, random-paths,"),
):
    topic.enter(
        f"{_options[0]} for {_score}",
        lambda folder, score=_score, options=_options: _split(folder, "--score", score, *options),  # type: ignore[misc]
        *_says,
    )


@topic.case("DIR: output folder: expected a name not taken yet, found one that is", "never overwritten")
def splitting_over_a_folder(folder: Path) -> list[Any]:
    (folder / "DIR").mkdir()
    return _split(folder)


@topic.case("usage: No such option", "--force")
def splitting_by_force(folder: Path) -> list[Any]:
    return _split(folder, "--force")


@topic.case("DIR/locked: sealed part: expected none, to be split, found one: it is locked; unlock it first")
def splitting_a_locked_ticket_again(folder: Path) -> list[Any]:
    done(_split(folder))
    return ["split", folder / "DIR" / "locked", "--out", folder / "AGAIN"]


@topic.case("score: expected one of omp, random, ", "found 'charm'")
def unknown_score(folder: Path) -> list[Any]:
    return _split(folder, "--score", "charm")


@topic.case(
    "score: data: expected a data set, to take gradients of, found none",
    "--dataset NAME, and its folder: --data DIR",
)
def gradients_of_data_of_no_name(folder: Path) -> list[Any]:
    network = {n: t.clone() for n, t in build("resnet20", 10, seed=0).state_dict().items()}
    model = plain(folder, "model.safetensors", network)
    named = ["--arch", "resnet20", "--data", images(folder)]
    return ["split", model, "--score", "taylor", *named, "--out", folder / "DIR"]


@topic.case("score: network: expected one, to follow its paths, found none", "--arch NAME; or --score omp")
def paths_of_an_unknown_network(folder: Path) -> list[Any]:
    return _split(folder, "--score", "ewp", model="state.pt")


@topic.case("state.pt: weights do not fit the network resnet20: ", "expected, not found; and 106 more")
def paths_of_another_network(folder: Path) -> list[Any]:
    return _split(folder, "--score", "ewp", "--arch", "resnet20", model="state.pt")


def _unpassable(folder: Path, layer: str, score: str) -> list[Any]:
    """A ResNet-20 with nothing kept in the layers of this name."""
    network = build("resnet20", 10, seed=0)
    state = {n: t * 0 if n.startswith(layer) and t.ndim == 4 else t for n, t in network.state_dict().items()}
    torch.save(state, folder / "net.pt")
    return ["split", folder / "net.pt", "--arch", "resnet20", "--score", score, "--out", folder / "DIR"]


@topic.case("net.pt: network: disconnected: expected a path of kept kernels from input to output, found none")
def network_without_a_path(folder: Path) -> list[Any]:
    return _unpassable(folder, "conv1", "ewp")


@topic.case("net.pt: network: disconnected: expected edges between channels, found none")
def network_without_an_edge(folder: Path) -> list[Any]:
    return [*_unpassable(folder, "layer", "betweenness"), "--no-residual"]


@topic.case("key.safetensors: file: expected a safetensors file, found none")
def key_that_is_not_there(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: (made / "key.safetensors").unlink())


@topic.case("key.safetensors: key: expected a key that `ticket-sig split` wrote, found another file")
def model_for_a_key(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        (made / "key.safetensors").write_bytes((made / "locked" / "model.safetensors").read_bytes())

    return _unlock(folder, damage)


@topic.case("key.safetensors: safetensors: expected a whole file")
def key_cut_in_half(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: cut_in_half(made / "key.safetensors"))


@topic.case("key: ticket: expected the claim's sha256:", "found a key of sha256:")
def key_of_another_ticket(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        other = made.parent / "OTHER"
        done(["split", made.parent / "bundle-v1-signed", "--share", 0.2, "--out", other])
        (made / "key.safetensors").write_bytes((other / "key.safetensors").read_bytes())

    return _unlock(folder, damage)


@topic.case("key: digest: expected the claim's sha256:", "altered")
def key_with_a_bit_flipped(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        data = bytearray((made / "key.safetensors").read_bytes())
        data[-1] ^= 1
        (made / "key.safetensors").write_bytes(data)

    return _unlock(folder, damage)


@topic.case("locked: locked ticket: sealed part: expected what this key sealed, found something else")
def sealed_part_with_a_bit_flipped(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: flip_after(made / "locked" / "sealed.bin", b""))


@topic.case(
    "locked: locked ticket: sealed part: expected the sealed.bin that was handed out with it, found none"
)
def locked_ticket_without_its_sealed_part(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: (made / "locked" / "sealed.bin").unlink())


def _rewritten_key(folder: Path, head: dict[str, Any], **tensors: Tensor) -> list[Any]:
    """Unlocks with a key whose head or tensors are others."""

    def damage(made: Path) -> None:
        path = made / "key.safetensors"
        with safetensors.safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["ticket_sig"]) | head
        content = tensors or safetensors.torch.load_file(path)
        safetensors.torch.save_file(content, path, {"ticket_sig": json.dumps(told)})

    return _unlock(folder, damage)


@topic.case("key.safetensors: key: secret: expected 64 hexadecimal digits, found something else")
def key_whose_secret_has_blanks(folder: Path) -> list[Any]:
    return _rewritten_key(folder, {"secret": "00 " * 21 + "0"})


for _name, _tensors, *_says in (
    (
        "no positions",
        {"weights/a": torch.ones(1)},
        "key: layers: expected positions and weights of each, found a",
    ),
    (
        "an empty layer",
        {"positions/a": torch.zeros(0, dtype=torch.int64), "weights/a": torch.ones(0)},
        "key: a: expected positions, ascending from 0 on, found something else",
    ),
    (
        "a negative position",
        {"positions/a": torch.tensor([-1]), "weights/a": torch.ones(1)},
        "key: a: expected positions, ascending from 0 on, found something else",
    ),
):
    topic.enter(
        f"key with {_name}",
        lambda folder, tensors=_tensors: _rewritten_key(folder, {}, **tensors),  # type: ignore[misc]
        f"key.safetensors: {_says[0]}",
    )


@topic.case("locked: claim: expected the claim.json of `ticket-sig split`")
def locked_ticket_without_its_claim(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: (made / "locked" / "claim.json").unlink())


@topic.case("key.safetensors: file: expected a safetensors file, found a folder")
def folder_for_a_key(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        (made / "key.safetensors").unlink()
        (made / "key.safetensors").mkdir()

    return _unlock(folder, damage)


@topic.case("locked/claim.json: claim: marks: expected 'key-mask', found 'qr-code'")
def unlocking_a_ticket_that_is_not_locked(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        claimed = (made.parent / "bundle-v1-signed" / "claim.json").read_bytes()
        (made / "locked" / "claim.json").write_bytes(claimed)

    return _unlock(folder, damage)


@topic.case("key: expected the key's file, to verify a key mask, found none", "--key FILE")
def claim_of_a_key_without_the_key(folder: Path) -> list[Any]:
    done(_split(folder))
    claimed = folder / "DIR" / "locked" / "claim.json"
    return ["verify", folder / "bundle-v1-signed", "--claim", claimed]


def _verify_key(folder: Path, *more: Any) -> list[Any]:
    """Verifies the whole ticket by a claim that lies outside the locked bundle."""
    done(_split(folder))
    (folder / "claim.json").write_bytes((folder / "DIR" / "locked" / "claim.json").read_bytes())
    shown = ["--claim", folder / "claim.json", "--key", folder / "DIR" / "key.safetensors"]
    return ["verify", folder / "bundle-v1-signed", *shown, *more]


@topic.case(
    "claim.json: locked ticket: expected the bundle that this claim was handed out in, found none", "--locked"
)
def key_without_the_locked_ticket(folder: Path) -> list[Any]:
    return _verify_key(folder)


@topic.case("locked ticket: digest: expected the claim's sha256:", "as it was handed out")
def key_with_another_locked_ticket(folder: Path) -> list[Any]:
    return _verify_key(folder, "--locked", folder / "bundle-v1-signed")
