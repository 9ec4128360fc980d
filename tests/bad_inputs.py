"""Every bad input with what the command line answers: this makes the table of them.

Each case builds its input in an empty folder and returns the arguments of one command. Usage:
    python tests/bad_inputs.py      prints the table as Markdown, from what the commands really say
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from PIL import Image
from support import taught
from support.command_line import run
from support.damage import RUN_CODE, RunsCode, flip
from support.disk import file_size_limit, full_disk
from support.fake_server import DRIPS, FakeServer, dripped, fake_server
from support.make_fixtures import FIXTURES, LAYER
from support.shards import write_shards
from support.user_net import UserNet
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.models import build
from ticket_sig.signatures.scheme3 import claim_triggers
from ticket_sig.signatures.triggers import read_triggers
from ticket_sig.training import PRESETS

Build = Callable[[Path], list[Any]]
FREEZENET, UCHIDA = ("watermark", "freezenet"), ("watermark", "uchida")
PROOF = "code-was-run"  # the folder that hostile files would make
CIFAR10_MD5, CIFAR10_URL = (
    "c58f30108f718f92721af3b95e74349a",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        topic, name: for people.
        build: makes the input in an empty folder; returns the command's arguments.
        says: what the one line must contain.
        code: expected exit code.
        during: what holds while the command runs (a full disk, a lock); given the folder.
        resumes: whether the command rightly leaves state behind, to go on from.
        has_verb: without a verb the help is printed, and --json means nothing.
    """

    topic: str
    name: str
    build: Build
    says: tuple[str, ...]
    code: int = 2
    during: Callable[[Path], AbstractContextManager[object]] = nullcontext
    resumes: bool = False
    has_verb: bool = True


CASES: list[Case] = []
_topic = [""]


def case(*says: str, **options: Any) -> Callable[[Build], Build]:
    """Enters a builder into the table under its own name."""

    def enter(build: Build) -> Build:
        CASES.append(Case(_topic[0], build.__name__.replace("_", " "), build, says, **options))
        return build

    return enter


def enter(name: str, build: Build, *says: str, **options: Any) -> None:
    """Enters one of a family of cases into the table."""
    CASES.append(Case(_topic[0], name, build, says, **options))


# --- whole inputs to damage ---------------------------------------------------------------------


def fixture(folder: Path, name: str) -> Path:
    """A copy of a fixture, to be damaged."""
    source, target = FIXTURES / name, folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir()
        for file in source.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    else:
        target.write_bytes(source.read_bytes())
    return target


def plain(folder: Path, name: str, state: dict[str, Tensor]) -> Path:
    """A .safetensors file of any tensors."""
    safetensors.torch.save_file(state, folder / name)
    return folder / name


def bundle(folder: Path, **files: dict[str, Tensor]) -> Path:
    """A bundle of any tensors, with the right digests."""
    path = folder / "BUNDLE"
    path.mkdir()
    for name, tensors in files.items():
        safetensors.torch.save_file(tensors, path / f"{name}.safetensors")
    digests = {f"{name}.safetensors": tensor_digest(tensors) for name, tensors in files.items()}
    head = {"format": "ticket_sig ticket", "version": 1, "history": [], "digests": digests}
    (path / "ticket.json").write_text(json.dumps(head))
    return path


def claim(folder: Path, **changes: Any) -> Path:
    """The claim of the signed fixture with other fields; `placement` and `qr` change single entries."""
    value = json.loads((FIXTURES / "bundle-v1-signed" / "claim.json").read_text())
    for part in ("placement", "qr"):
        value["signature"][part] |= changes.pop(part, {})
    if "message" in changes:
        value["signature"]["message"] = changes.pop("message")
    (folder / "claim.json").write_text(json.dumps(value | changes))
    return folder / "claim.json"


def edit_json(path: Path, **changes: Any) -> None:
    """Changes fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def images(folder: Path, size: int = 8) -> Path:
    """A small image folder of two classes."""
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("dark", "light"):
            (folder / "IMAGES" / part / name).mkdir(parents=True)
            for index in range(4):
                pixels = draw.integers(0, 128, (size, size), dtype=np.uint8) + (128 if name == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / "IMAGES" / part / name / f"{index}.png"
                )
    return folder / "IMAGES"


def batches(folder: Path) -> Path:
    """CIFAR-10's python batches, with 4 images each."""
    (folder / "CIFAR").mkdir()
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        content = {b"data": np.zeros((4, 3072), dtype=np.uint8), b"labels": [0, 1, 2, 3]}
        (folder / "CIFAR" / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder / "CIFAR"


def parquet(folder: Path, **columns: list[Any]) -> Path:
    """A Hugging Face folder with these columns."""
    import pyarrow
    import pyarrow.parquet

    (folder / "PARQUET").mkdir()
    for part in ("train", "test"):
        file = folder / "PARQUET" / f"{part}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return folder / "PARQUET"


def search(folder: Path, *more: Any, data: Path | None = None) -> list[Any]:
    """A `find` that takes a second on a small image folder."""
    data = data or images(folder)
    recipe = ["--dataset", "images", "--preset", "demo", "--epochs", 1, "--precision", "float32"]
    return ["find", *recipe, "--data", data, "--out", folder / "RUN", *more]


def done(arguments: list[Any]) -> None:
    """Runs a command that must succeed: what comes before the bad input."""
    outcome = run(arguments)
    assert outcome.code == 0, outcome.err


def embed(folder: Path, model: Path, *more: Any, message: str = "owner-1") -> list[Any]:
    """The arguments of `embed`."""
    return ["embed", model, "--message", message, "--out", folder / "SIGNED", *more]


def cut_in_half(path: Path) -> Path:
    """Leaves the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def flip_after(path: Path, mark: bytes, bit: int = 0) -> Path:
    """Flips a bit of the byte after a mark."""
    data = path.read_bytes()
    path.write_bytes(flip(data, 8 * (data.index(mark) + len(mark)) + bit))
    return path


# --- model files --------------------------------------------------------------------------------

_topic[0] = "model file"


@case("gone.pt: model: expected a bundle folder, a .safetensors or a torch file", "nothing")
def missing(folder: Path) -> list[Any]:
    return ["inspect", folder / "gone.pt"]


@case("empty.pt: model: expected a safetensors or torch file, found an empty file")
def empty(folder: Path) -> list[Any]:
    (folder / "empty.pt").touch()
    return embed(folder, folder / "empty.pt")


@case("notes.txt: model: expected a safetensors or torch file, found a file that begins with", "Dear")
def text(folder: Path) -> list[Any]:
    (folder / "notes.txt").write_text("Dear reader")
    return ["inspect", folder / "notes.txt"]


@case("FOLDER: folder: expected a bundle", "ticket.json", "model.safetensors", "found neither")
def folder_without_a_model(folder: Path) -> list[Any]:
    (folder / "FOLDER").mkdir()
    return ["inspect", folder / "FOLDER"]


for _name, _mark, _field in (
    ("state.safetensors", b'data_offsets":[', "safetensors: expected a whole file, found a damaged one"),
    ("state.pt", b"\x80\x02", "torch file: expected a whole file, found a damaged one"),
    ("state-legacy.pt", b"\x80\x02", "torch file: expected a whole file, found a damaged one"),
):
    _said = f"{_name}: {_field}"
    enter(f"{_name}, cut short", lambda folder, n=_name: ["inspect", cut_in_half(fixture(folder, n))], _said)
    enter(
        f"{_name}, a bit flipped",
        lambda folder, n=_name, m=_mark: ["inspect", flip_after(fixture(folder, n), m)],
        _said,
    )


@case("state.pt: ", "damaged")
def torch_file_with_a_bit_of_a_weight_flipped(folder: Path) -> list[Any]:
    state = safetensors.torch.load_file(FIXTURES / "state.safetensors")
    return embed(folder, flip_after(fixture(folder, "state.pt"), state[LAYER].numpy().tobytes()[:100], 2))


def _hostile(folder: Path, zipped: bool) -> list[Any]:
    state: dict[str, Any] = {"fc.weight": torch.ones(2, 2), "more": RunsCode(folder / PROOF)}
    torch.save(state, folder / "hostile.pt", _use_new_zipfile_serialization=zipped)
    return ["extract", folder / "hostile.pt", "--claim", claim(folder)]


for _kind in ("zip", "legacy"):
    enter(
        f"{_kind} torch file that would run code",
        lambda folder, k=_kind: _hostile(folder, k == "zip"),
        f"hostile.pt: pickle: expected tensors alone, found the code {RUN_CODE}, which was not run",
    )


@case(
    "module.pt: pickle: expected tensors alone, found the code support.user_net.UserNet", "model.state_dict()"
)
def whole_module(folder: Path) -> list[Any]:
    torch.save(UserNet(), folder / "module.pt")
    return ["inspect", folder / "module.pt"]


@case("scripted.pt: ", "expected", "found")
def torchscript_archive(folder: Path) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(UserNet().eval(), torch.zeros(1, 1, 8, 8)), folder / "scripted.pt")
    return ["inspect", folder / "scripted.pt"]


@case("results.pt: content: expected tensors, or a state dict under one of state_dict", "found epoch, result")
def torch_file_without_tensors(folder: Path) -> list[Any]:
    torch.save({"epoch": 3, "result": [0.5]}, folder / "results.pt")
    return ["inspect", folder / "results.pt"]


for _value in ("nan", "inf"):
    enter(
        f"weights that are {_value}",
        lambda folder, v=_value: embed(
            folder, plain(folder, "broken.safetensors", {"fc.weight": torch.tensor([[1, float(v)], [0, 1]])})
        ),
        "broken.safetensors: ",
        "fc.weight: expected finite numbers, found 1 that are not",
    )

# --- bundles ------------------------------------------------------------------------------------

_topic[0] = "bundle"


def _of_bundle(folder: Path, name: str, damage: Callable[[Path], object]) -> list[Any]:
    path = fixture(folder, "bundle-v1-signed")
    damage(path / name)
    return ["extract", path]


for _name in ("model.safetensors", "mask.safetensors", "rewind.safetensors"):
    enter(
        f"{_name} missing",
        lambda folder, n=_name: _of_bundle(folder, n, Path.unlink),
        f"bundle-v1-signed/{_name}: file: expected a safetensors file, found none",
    )
    enter(
        f"{_name} empty",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_bytes(b"")),
        f"bundle-v1-signed/{_name}: safetensors: expected a whole file, found a damaged one",
    )
    enter(
        f"{_name} cut short",
        lambda folder, n=_name: _of_bundle(folder, n, cut_in_half),
        f"bundle-v1-signed/{_name}: safetensors: expected a whole file, found a damaged one",
    )
    enter(
        f"{_name} with a bit flipped",
        lambda folder, n=_name: _of_bundle(
            folder, n, lambda path: path.write_bytes(flip(path.read_bytes(), 8 * path.stat().st_size - 1))
        ),
        f"bundle-v1-signed/{_name}: digest: expected sha256:",
        "found sha256:",
        "changed",
    )

for _name in ("ticket.json", "claim.json"):
    enter(
        f"{_name} empty",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_bytes(b"")),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    enter(
        f"{_name} cut short",
        lambda folder, n=_name: _of_bundle(folder, n, cut_in_half),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    enter(
        f"{_name} with a bit flipped",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: flip_after(path, b"{\n", 6)),
        f"bundle-v1-signed/{_name}: JSON: expected a whole JSON object, found",
    )
    enter(
        f"{_name} is a list",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: path.write_text("[1]")),
        f"bundle-v1-signed/{_name}: JSON: expected an object, found a list",
    )
    enter(
        f"{_name} of an unknown version",
        lambda folder, n=_name: _of_bundle(folder, n, lambda path: edit_json(path, version=99)),
        f"bundle-v1-signed/{_name}: ",
        "version: expected 1, found 99",
    )

enter(
    "history with words for numbers",
    lambda folder: _of_bundle(
        folder,
        "ticket.json",
        lambda path: edit_json(path, history=[{"step": "dense", "kept": "many", "total": 9}]),
    ),
    "bundle-v1-signed",
    "history",
    "kept",
    "expected",
    "'many'",
)
enter(
    "recipe that is a text",
    lambda folder: embed(
        folder, _of_bundle(folder, "ticket.json", lambda p: edit_json(p, recipe="paper"))[1]
    ),
    "bundle-v1-signed",
    "recipe: expected",
)
enter(
    "number of 5,000 digits",
    lambda folder: _of_bundle(
        folder, "ticket.json", lambda path: path.write_text('{"version": ' + "1" * 5000 + "}")
    ),
    "bundle-v1-signed/ticket.json: JSON: expected",
)


@case("BUNDLE", "rewind weights: fc.weight: expected finite numbers, found 2 that are not")
def rewind_weights_that_are_nan(folder: Path) -> list[Any]:
    state = {"fc.weight": torch.ones(2, 2)}
    broken = {"fc.weight": torch.tensor([[1, float("nan")], [float("inf"), 1]])}
    return [
        "inspect",
        bundle(folder, model=state, mask={"fc.weight": torch.ones(2, 2).bool()}, rewind=broken),
    ]


@case(
    "BUNDLE",
    "rewind weights: ",
    "a.weight: expected shape [2, 2], found [2, 3]",
    "b.weight: expected, not found",
    "c.weight: found, not expected",
)
def rewind_weights_of_another_network(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    rewind = {"a.weight": torch.ones(2, 3), "c.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask={"a.weight": torch.ones(2, 2).bool()}, rewind=rewind)]


# --- masks --------------------------------------------------------------------------------------

_topic[0] = "mask"


@case(
    "pruned.pt: ",
    "a.weight_mask: expected 0 and 1 only, found 1 other values",
    "b.weight_mask: expected 0 and 1 only, found 4 other values",
)
def values_other_than_0_and_1(folder: Path) -> list[Any]:
    masks = {"a.weight_mask": torch.tensor([[0, 1], [1, 0.5]]), "b.weight_mask": torch.full((2, 2), 2.0)}
    weights = {"a.weight_orig": torch.ones(2, 2), "b.weight_orig": torch.ones(2, 2)}
    torch.save(masks | weights, folder / "pruned.pt")
    return embed(folder, folder / "pruned.pt")


@case(
    "pruned.pt: ",
    "a.weight_mask: expected shape [2, 2], found [4]",
    "b.weight_mask: expected shape [2, 2], found [2, 3]",
)
def other_shapes(folder: Path) -> list[Any]:
    masks = {"a.weight_mask": torch.ones(4), "b.weight_mask": torch.ones(2, 3)}
    weights = {"a.weight_orig": torch.ones(2, 2), "b.weight_orig": torch.ones(2, 2)}
    torch.save(masks | weights, folder / "pruned.pt")
    return embed(folder, folder / "pruned.pt")


@case("pruned.pt: ", "gone.weight", "lost.weight")
def masks_without_weights(folder: Path) -> list[Any]:
    state = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.eye(2)}
    torch.save(
        state | {"gone.weight_mask": torch.eye(2), "lost.weight_mask": torch.eye(2)}, folder / "pruned.pt"
    )
    return embed(folder, folder / "pruned.pt")


@case("pruned.pt: ", "b.weight_mask", "c.weight_mask")
def weights_without_their_masks(folder: Path) -> list[Any]:
    state = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.eye(2)}
    torch.save(
        state | {"b.weight_orig": torch.ones(2, 2), "c.weight_orig": torch.ones(2, 2)}, folder / "pruned.pt"
    )
    return embed(folder, folder / "pruned.pt")


@case("BUNDLE", "a.weight: expected a boolean tensor", "found float32 [2, 2]", "b.weight: expected a boolean")
def floats_in_a_bundle_s_mask(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask=state)]


@case(
    "BUNDLE",
    "a.weight: expected shape [2, 2], found [2, 3]",
    "gone.weight: expected, not found",
    "lost.weight: expected, not found",
)
def tensors_that_the_model_of_a_bundle_lacks(folder: Path) -> list[Any]:
    names = ("a.weight", "gone.weight", "lost.weight")
    mask = {name: torch.ones(2, 2, dtype=torch.bool) for name in names}
    return ["inspect", bundle(folder, model={"a.weight": torch.zeros(2, 3)}, mask=mask)]


@case(
    "BUNDLE",
    "a.weight: expected zeros where pruned, found 2 that are not",
    "b.weight: expected zeros where pruned, found 1 that are not",
)
def weights_that_are_not_zero_where_pruned(folder: Path) -> list[Any]:
    mask = {"a.weight": torch.eye(2).bool(), "b.weight": torch.tensor([[True, True], [True, False]])}
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}
    return ["inspect", bundle(folder, model=state, mask=mask)]


# --- messages -----------------------------------------------------------------------------------

_topic[0] = "message"


@case("message: expected at most 7 bytes at level H", "found")
def too_long_for_every_layer(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="owner@example.org")


@case("message: expected at most 7 bytes at level H", "found")
def too_long_for_any_code(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="x" * 5000)


@case("message: expected at most 14 bytes in version 2, level H", "found 17, which takes version 3")
def too_long_for_the_version_that_was_asked_for(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", 2, message="owner@example.org")


@case("message: expected at least one character, found none")
def of_no_characters(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message="")


@case("message: expected", "found")
def of_bytes_that_are_no_text(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), message=b"\xff\xfe".decode(errors="surrogateescape"))


@case("tiny.safetensors", "kernel maps: expected one of at least 21x21 kernels, found 8x8 at the largest")
def no_layer_large_enough(folder: Path) -> list[Any]:
    state = {"a.weight": torch.eye(8), "b.weight": torch.eye(4).expand(9, 4, 4).contiguous()}
    return embed(folder, plain(folder, "tiny.safetensors", state))


@case("vector.safetensors", "kernel maps: expected one of at least 21x21 kernels, found")
def no_layer_at_all(folder: Path) -> list[Any]:
    return embed(folder, plain(folder, "vector.safetensors", {"a.bias": torch.ones(4)}))


@case("dense.safetensors", "pruned weights: expected", "too dense", "--prune")
def dense_model(folder: Path) -> list[Any]:
    return embed(folder, plain(folder, "dense.safetensors", {"a.weight": torch.ones(30, 30)}))


@case("sparse.safetensors", "kept weights: expected", "too sparse")
def model_with_too_few_weights(folder: Path) -> list[Any]:
    state = {"a.weight": torch.zeros(30, 30)}
    state["a.weight"][0, 0] = 1
    return embed(folder, plain(folder, "sparse.safetensors", state))


@case("layer: expected one of the mask's (layer1.0.conv1.weight), found fc.weight")
def layer_outside_the_mask(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--layer", "fc.weight")


@case("QR level: expected L, M, Q or H, found 'X'")
def unknown_level(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--level", "X")


@case("rate: expected a share between 0 and 1, found 1.5")
def pruning_by_more_than_everything(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--prune", 1.5)


# --- data ---------------------------------------------------------------------------------------

_topic[0] = "data"


def _cifar(folder: Path, data: Path | None) -> list[Any]:
    given = ["--data", data] if data else []
    return ["find", "--dataset", "cifar10", *given, "--out", folder / "RUN"]


@case(
    "--data: expected the folder of cifar10, found none", "ticket-sig data cifar10", CIFAR10_URL, CIFAR10_MD5
)
def no_folder_given(folder: Path) -> list[Any]:
    return _cifar(folder, None)


@case(
    "gone: data folder: expected the folder of cifar10, found none",
    "ticket-sig data",
    CIFAR10_URL,
    CIFAR10_MD5,
)
def missing_folder(folder: Path) -> list[Any]:
    return _cifar(folder, folder / "gone")


@case(
    "OTHER: data folder: expected python batches, *.parquet or", "found notes.txt", CIFAR10_URL, CIFAR10_MD5
)
def folder_of_another_kind(folder: Path) -> list[Any]:
    (folder / "OTHER").mkdir()
    (folder / "OTHER" / "notes.txt").touch()
    return _cifar(folder, folder / "OTHER")


@case("cifar-100-python: data folder: expected", "found meta, test, train", CIFAR10_URL, CIFAR10_MD5)
def cifar_100_for_cifar_10(folder: Path) -> list[Any]:
    (folder / "cifar-100-python").mkdir()
    for name in ("meta", "test", "train"):
        (folder / "cifar-100-python" / name).touch()
    return _cifar(folder, folder / "cifar-100-python")


@case("train images: expected cifar10's size [32, 32, 3], found [8, 8, 1]", "IMAGES")
def images_of_another_size(folder: Path) -> list[Any]:
    return _cifar(folder, images(folder))


@case("data_batch_3: file: expected a CIFAR python batch, found none")
def python_batch_missing(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").unlink()
    return _cifar(folder, folder / "CIFAR")


@case("data_batch_3: CIFAR python batch: expected", "damaged")
def python_batch_empty(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").write_bytes(b"")
    return _cifar(folder, folder / "CIFAR")


@case("data_batch_3: CIFAR python batch: expected", "found")
def python_batch_cut_short(folder: Path) -> list[Any]:
    cut_in_half(batches(folder) / "data_batch_3")
    return _cifar(folder, folder / "CIFAR")


@case("data_batch_3: CIFAR python batch: expected a pickle of arrays alone", RUN_CODE, "which was not run")
def python_batch_that_would_run_code(folder: Path) -> list[Any]:
    (batches(folder) / "data_batch_3").write_bytes(pickle.dumps({b"data": RunsCode(folder / PROOF)}))
    return _cifar(folder, folder / "CIFAR")


@case("train-00000-of-00001.parquet: columns: expected img or image, and label, found image, category")
def parquet_with_other_columns(folder: Path) -> list[Any]:
    return _cifar(folder, parquet(folder, image=[b""], category=[0]))


@case("train-00000-of-00001.parquet: parquet: expected a whole file, found a damaged one")
def parquet_cut_short(folder: Path) -> list[Any]:
    cut_in_half(parquet(folder, img=[b""], label=[0]) / "train-00000-of-00001.parquet")
    return _cifar(folder, folder / "PARQUET")


@case("train-00000-of-00001.parquet: row 0: image: expected one that can be decoded, found")
def parquet_with_an_image_that_is_none(folder: Path) -> list[Any]:
    return _cifar(folder, parquet(folder, img=[b"not a picture"], label=[0]))


@case("IMAGES: test split: expected a folder test", "found none")
def images_without_a_test_split(folder: Path) -> list[Any]:
    (images(folder) / "test").rename(folder / "IMAGES" / "other")
    return search(folder, data=folder / "IMAGES")


@case("0.png: image: expected one that can be decoded, found")
def image_cut_short(folder: Path) -> list[Any]:
    cut_in_half(images(folder) / "train" / "dark" / "0.png")
    return search(folder, data=folder / "IMAGES")


@case("dataset: expected one of digits, cifar10", "found 'mnist'")
def unknown_data_set(folder: Path) -> list[Any]:
    return ["find", "--dataset", "mnist", "--out", folder / "RUN"]


@case("dataset: expected one that can be downloaded (cifar10, cifar100), found 'mnist'")
def data_set_that_cannot_be_downloaded(folder: Path) -> list[Any]:
    return ["data", "mnist", "--out", folder / "DATA"]


# --- claims -------------------------------------------------------------------------------------

_topic[0] = "claim"


def _verify(folder: Path, path: Path, verb: str = "verify", model: str = "state.pt") -> list[Any]:
    return [verb, fixture(folder, model), "--claim", path]


@case("gone.json: file: expected a JSON file, found none")
def missing_claim(folder: Path) -> list[Any]:
    return _verify(folder, folder / "gone.json")


@case("state.pt: claim: expected a claim.json beside the model, or --claim FILE, found neither")
def no_claim_beside_the_model(folder: Path) -> list[Any]:
    return ["extract", fixture(folder, "state.pt")]


@case("package.json: ", "format: expected 'ticket_sig claim', found None")
def other_json(folder: Path) -> list[Any]:
    (folder / "package.json").write_text('{"name": "left-pad", "version": 1}')
    return _verify(folder, folder / "package.json")


@case("claim.json: ", "version: expected 1, found 99", "use the ticket_sig that wrote it")
def unknown_version(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, version=99))


@case("claim.json: ", "scheme: expected 'scheme 2", "found 'scheme 9'")
def unknown_scheme(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, scheme="scheme 9"))


@case("claim.json: ", "created: expected str, found int")
def field_of_another_type(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, created=2026))


@case("claim.json: ", "row: expected int, found str")
def place_in_words(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, placement={"row": "first"}))


@case("claim.json: ", "QR version: expected 1 to 40, found 41")
def impossible_qr_version(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, qr={"version": 41}))


@case("claim.json: ", "message: expected at most 7 bytes in version 1, level H", "found 17")
def message_that_does_not_fit_its_code(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, message="owner@example.org"))


@case("claim.json: ", "expected", "found")
def message_that_is_no_text(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, message="\ud800"))


@case("state.pt", "layer: expected the claim's layer7.weight, found none of that name")
def layer_that_the_model_lacks(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, placement={"layer": "layer7.weight"}))


@case("state.pt", f"{LAYER}: expected the claim's shape [22, 22, 3, 3], found [22, 22, 2, 2]")
def layer_of_another_shape(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, placement={"shape": [22, 22, 3, 3]}))


@case(LAYER, "placement: expected a region of its 22x22 kernels, found rows 5..25, columns 0..20")
def place_outside_the_layer(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder, placement={"row": 5, "column": 0}))


@case("not verified", code=1)
def model_of_the_right_shape_without_the_signature(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder))


@case("no message can be read: ", "data modules agree with the claim, p = ", code=1)
def message_read_from_a_model_without_the_signature(folder: Path) -> list[Any]:
    return _verify(folder, claim(folder), verb="extract")


# --- output -------------------------------------------------------------------------------------

_topic[0] = "output"
_NOT_TAKEN = "SIGNED: output folder: expected a name not taken yet, found one that is"


@case(_NOT_TAKEN, "--force")
def folder_that_is_there(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return embed(folder, folder / "state.pt")


@case("SIGNED: output folder: expected a bundle to overwrite, found something else")
def file_in_place_of_the_folder(folder: Path) -> list[Any]:
    (folder / "SIGNED").write_text("mine")
    return embed(folder, fixture(folder, "state.pt"), "--force")


@case("notes.txt: ")
def folder_inside_a_file(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return [*embed(folder, fixture(folder, "state.pt"))[:-1], folder / "notes.txt" / "SIGNED"]


@case("notes.txt")
def picture_inside_a_file(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return ["extract", fixture(folder, "bundle-v1-signed"), "--png", folder / "notes.txt" / "code.png"]


@case("maps.png", "Is a directory")
def picture_in_place_of_a_folder(folder: Path) -> list[Any]:
    (folder / "maps.png").mkdir()
    return ["inspect", fixture(folder, "state.pt"), "--png", folder / "maps.png"]


def _disk_of(size: int) -> Callable[[Path], AbstractContextManager[object]]:
    return lambda folder: file_size_limit(size)


_WHILE_WRITTEN, _WHEN_FLUSHED = "File too large", "No space left on device"
for _wrong, _during in ((_WHILE_WRITTEN, _disk_of(4096)), (_WHEN_FLUSHED, lambda folder: full_disk())):
    _how = "while it is written" if _wrong == _WHILE_WRITTEN else "when it is flushed"
    enter(
        f"disk full, bundle, found {_how}",
        lambda folder: embed(folder, fixture(folder, "state.pt")),
        "SIGNED",
        _wrong,
        during=_during,
    )
    enter(
        f"disk full, picture, found {_how}",
        lambda folder: ["inspect", fixture(folder, "state.pt"), "--png", folder / "maps.png"],
        "maps.png",
        _wrong,
        during=_during,
    )
    enter(
        f"disk full, run, found {_how}",
        lambda folder: search(folder, "--rounds", 0),
        "RUN",
        _wrong,
        during=_during,
        resumes=True,
    )


@case("SIGNED", _WHILE_WRITTEN, during=_disk_of(4096))
def disk_full_over_an_old_bundle(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return embed(folder, folder / "state.pt", "--force")


@case("code.png", _WHILE_WRITTEN, during=_disk_of(256))
def disk_full_over_an_old_picture(folder: Path) -> list[Any]:
    done(["extract", fixture(folder, "bundle-v1-signed"), "--png", folder / "code.png"])
    return ["extract", folder / "bundle-v1-signed", "--png", folder / "code.png"]


@case("TRAINED", _WHILE_WRITTEN, during=_disk_of(4096), resumes=True)
def disk_full_while_training(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    data = ["--data", folder / "IMAGES"]
    return ["train", folder / "RUN" / "ticket", *data, "--out", folder / "TRAINED"]


# --- run folders and recipes --------------------------------------------------------------------

_topic[0] = "run"


@case(
    "RUN: belongs to another run: ",
    "recipe.seed: expected 0, found 1",
    "recipe.rates: expected [0.2, 0.1, 0.05, 0.01], found [0.5]",
    "choose another folder",
)
def recipe_of_another_run(folder: Path) -> list[Any]:
    arguments = search(folder, "--rounds", 0)
    done(arguments)
    return [*arguments, "--seed", 1, "--rate", 0.5]


@case("RUN: belongs to another run: data: expected 'sha256:", "found 'sha256:")
def data_of_another_run(folder: Path) -> list[Any]:
    arguments = search(folder, "--rounds", 0)
    done(arguments)
    (folder / "IMAGES" / "train" / "dark" / "0.png").unlink()
    return arguments


@case("RUN: run folder: expected a new one, or one with run.json, found other files")
def run_folder_with_other_files(folder: Path) -> list[Any]:
    (folder / "RUN").mkdir()
    (folder / "RUN" / "thesis.tex").touch()
    return search(folder, "--rounds", 0)


@case("RUN: run folder: expected a folder, found a file")
def run_folder_that_is_a_file(folder: Path) -> list[Any]:
    (folder / "RUN").touch()
    return search(folder, "--rounds", 0)


@case("RUN/run.json: JSON: expected a whole JSON object, found")
def damaged_run_json(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    cut_in_half(folder / "RUN" / "run.json")
    return search(folder, "--rounds", 0, data=folder / "IMAGES")


@case(
    "RUN: run folder: expected one that no process works in, found one that is in use",
    during=lambda folder: FileLock(folder / "RUN" / ".lock"),
)
def run_folder_in_use(folder: Path) -> list[Any]:
    done(search(folder, "--rounds", 0))
    return search(folder, "--rounds", 0, data=folder / "IMAGES")


for _name, _value in (("seed", "one"), ("crop", 1.5), ("nesterov", "yes"), ("rewind", [])):
    enter(
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


@case(
    "training: loss in epoch ",
    ": expected a finite number, found",
    "the last good checkpoint is kept; lower the learning rate (1e+20)",
    during=lambda folder: patch.dict(PRESETS, {"demo": {**PRESETS["demo"], "lr": 1e20, "warmup": 0.0}}),
    resumes=True,
)
def loss_that_is_not_a_number(folder: Path) -> list[Any]:
    return search(folder, "--preset", "demo", "--rounds", 0, "--epochs", 3)


@case("arch: expected one of resnet20", "found 'lenet'")
def unknown_network(folder: Path) -> list[Any]:
    return search(folder, "--arch", "lenet")


@case("preset: expected one of paper, open-lth, quick, demo, found 'fast'")
def unknown_preset(folder: Path) -> list[Any]:
    return search(folder, "--preset", "fast")


@case(
    "recipe: ",
    "rates: expected shares between 0 and 1, found (1.5,)",
    "density: expected between 0 and 1, found 2.0",
)
def recipe_out_of_range(folder: Path) -> list[Any]:
    return search(folder, "--rate", 1.5, "--density", 2)


@case("recipe: expected one in the bundle, or --arch and --dataset, found neither")
def training_without_a_recipe(folder: Path) -> list[Any]:
    return ["train", fixture(folder, "state.pt"), "--out", folder / "TRAINED"]


def _train(folder: Path, *more: Any) -> list[Any]:
    digits = ["--arch", "resnet20", "--dataset", "digits", "--precision", "float32"]
    return ["train", fixture(folder, "state.pt"), *digits, "--out", folder / "TRAINED", *more]


@case("rewind weights: expected some, found none", "train from the model's weights")
def training_without_rewind_weights(folder: Path) -> list[Any]:
    return _train(folder)


@case(
    "weights do not fit the network: ",
    "layer2.0.conv1.weight: expected, not found",
    "conv1.weight: expected shape [16, 1, 3, 3], found [22, 1, 3, 3]",
)
def training_another_network(folder: Path) -> list[Any]:
    return _train(folder, "--start", "model")


# --- keys (scheme 1) ----------------------------------------------------------------------------

_topic[0] = "key"


def _split(folder: Path, *more: Any, model: str = "bundle-v1-signed") -> list[Any]:
    return ["split", fixture(folder, model), "--out", folder / "DIR", *more]


def _unlock(folder: Path, damage: Callable[[Path], object] = lambda _: None) -> list[Any]:
    """Unlocks DIR/locked with DIR/key.safetensors after some damage; `damage` is given DIR."""
    done(_split(folder))
    damage(folder / "DIR")
    key = folder / "DIR" / "key.safetensors"
    return ["unlock", folder / "DIR" / "locked", "--key", key, "--out", folder / "BACK"]


for _share in (0, 1, -0.5, "nan", 1e-9):
    enter(
        f"share of {_share}",
        lambda folder, share=_share: _split(folder, "--share", share),
        "bundle-v1-signed: share: expected",
    )


for _score, _options, *_says in (
    ("omp", ["--paths", 5], "--paths: expected a score that uses it (random-paths, ewp), found 'omp'"),
    ("ewp", ["--sources", 5], "--sources: expected a score that uses it (betweenness), found 'ewp'"),
    ("ewp", ["--directed"], "--directed: expected a score that uses it (betweenness), found 'ewp'"),
    ("random", ["--no-residual"], "--no-residual: expected a score that uses it (random-paths, ewp,"),
    ("omp", ["--arch", "resnet20"], "--arch: expected a score that uses it (random-paths, ewp,"),
    ("ewp", ["--dataset", "digits"], "--dataset: expected a score that uses it (taylor, hessian,"),
    ("omp", ["--seed", 0], "--seed: expected a score that uses it (random, random-paths,"),
):
    enter(
        f"{_options[0]} for {_score}",
        lambda folder, score=_score, options=_options: _split(folder, "--score", score, *options),  # type: ignore[misc]
        *_says,
    )


@case("DIR: output folder: expected a name not taken yet, found one that is", "never overwritten")
def splitting_over_a_folder(folder: Path) -> list[Any]:
    (folder / "DIR").mkdir()
    return _split(folder)


@case("usage: No such option", "--force")
def splitting_by_force(folder: Path) -> list[Any]:
    return _split(folder, "--force")


@case("DIR/locked: sealed part: expected none, to be split, found one: it is locked; unlock it first")
def splitting_a_locked_ticket_again(folder: Path) -> list[Any]:
    done(_split(folder))
    return ["split", folder / "DIR" / "locked", "--out", folder / "AGAIN"]


@case("score: expected one of omp, random, ", "found 'charm'")
def unknown_score(folder: Path) -> list[Any]:
    return _split(folder, "--score", "charm")


@case(
    "score: data: expected a data set, to take gradients of, found none",
    "--dataset, and its folder: --data DIR",
)
def gradients_of_data_of_no_name(folder: Path) -> list[Any]:
    network = {n: t.clone() for n, t in build("resnet20", 10, seed=0).state_dict().items()}
    model = plain(folder, "model.safetensors", network)
    named = ["--arch", "resnet20", "--data", images(folder)]
    return ["split", model, "--score", "taylor", *named, "--out", folder / "DIR"]


@case("score: network: expected one, to follow its paths, found none", "--arch")
def paths_of_an_unknown_network(folder: Path) -> list[Any]:
    return _split(folder, "--score", "ewp", model="state.pt")


@case("state.pt: weights do not fit the network: ", "layer3.2.conv2.weight: expected, not found")
def paths_of_another_network(folder: Path) -> list[Any]:
    return _split(folder, "--score", "ewp", "--arch", "resnet20", model="state.pt")


def _unpassable(folder: Path, layer: str, score: str) -> list[Any]:
    """A ResNet-20 with nothing kept in the layers of this name."""
    network = build("resnet20", 10, seed=0)
    state = {n: t * 0 if n.startswith(layer) and t.ndim == 4 else t for n, t in network.state_dict().items()}
    torch.save(state, folder / "net.pt")
    return ["split", folder / "net.pt", "--arch", "resnet20", "--score", score, "--out", folder / "DIR"]


@case("net.pt: network: disconnected: expected a path of kept kernels from input to output, found none")
def network_without_a_path(folder: Path) -> list[Any]:
    return _unpassable(folder, "conv1", "ewp")


@case("net.pt: network: disconnected: expected edges between channels, found none")
def network_without_an_edge(folder: Path) -> list[Any]:
    return [*_unpassable(folder, "layer", "betweenness"), "--no-residual"]


@case("key.safetensors: file: expected a safetensors file, found none")
def key_that_is_not_there(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: (made / "key.safetensors").unlink())


@case("key.safetensors: key: expected a key that `ticket-sig split` wrote, found another file")
def model_for_a_key(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        (made / "key.safetensors").write_bytes((made / "locked" / "model.safetensors").read_bytes())

    return _unlock(folder, damage)


@case("key.safetensors: safetensors: expected a whole file")
def key_cut_in_half(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: cut_in_half(made / "key.safetensors"))


@case("key: ticket: expected the claim's sha256:", "found a key of sha256:")
def key_of_another_ticket(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        other = made.parent / "OTHER"
        done(["split", made.parent / "bundle-v1-signed", "--share", 0.2, "--out", other])
        (made / "key.safetensors").write_bytes((other / "key.safetensors").read_bytes())

    return _unlock(folder, damage)


@case("key: digest: expected the claim's sha256:", "altered")
def key_with_a_bit_flipped(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        data = bytearray((made / "key.safetensors").read_bytes())
        data[-1] ^= 1
        (made / "key.safetensors").write_bytes(data)

    return _unlock(folder, damage)


@case("locked: locked ticket: sealed part: expected what this key sealed, found something else")
def sealed_part_with_a_bit_flipped(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: flip_after(made / "locked" / "sealed.bin", b""))


@case("locked: locked ticket: sealed part: expected the sealed.bin that was handed out with it, found none")
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


@case("key.safetensors: key: expected a key that `ticket-sig split` wrote, found another file")
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
    enter(
        f"key with {_name}",
        lambda folder, tensors=_tensors: _rewritten_key(folder, {}, **tensors),  # type: ignore[misc]
        f"key.safetensors: {_says[0]}",
    )


@case("locked: claim: expected the claim.json of `ticket-sig split`")
def locked_ticket_without_its_claim(folder: Path) -> list[Any]:
    return _unlock(folder, lambda made: (made / "locked" / "claim.json").unlink())


@case("claim: scheme: expected 'scheme 1: key mask', found 'scheme 2: ")
def unlocking_a_ticket_that_is_not_locked(folder: Path) -> list[Any]:
    def damage(made: Path) -> None:
        claimed = (made.parent / "bundle-v1-signed" / "claim.json").read_bytes()
        (made / "locked" / "claim.json").write_bytes(claimed)

    return _unlock(folder, damage)


@case("key: expected the key's file, to verify scheme 1, found none", "--key FILE")
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


@case(
    "claim.json: locked ticket: expected the bundle that this claim was handed out in, found none", "--locked"
)
def key_without_the_locked_ticket(folder: Path) -> list[Any]:
    return _verify_key(folder)


@case("locked ticket: digest: expected the claim's sha256:", "as it was handed out")
def key_with_another_locked_ticket(folder: Path) -> list[Any]:
    return _verify_key(folder, "--locked", folder / "bundle-v1-signed")


# --- attacks ------------------------------------------------------------------------------------

_topic[0] = "attack"


def _attack(folder: Path, name: str, *more: Any, model: str = "bundle-v1-signed") -> list[Any]:
    return ["attack", name, fixture(folder, model), "--out", folder / "STOLEN", *more]


@case("attack: expected one of fine-tuning, magnitude-pruning", "found 'melt'")
def unknown_attack(folder: Path) -> list[Any]:
    return _attack(folder, "melt")


@case("add-on: expected the option rate, found none of that name; give it: --rate")
def attack_without_its_rate(folder: Path) -> list[Any]:
    return _attack(folder, "add-on")


@case("noise: expected options among rate, scale, layer, found epochs")
def option_of_another_attack(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--epochs", 2)


for _name, _option, _value, _said in (
    ("magnitude-pruning", "--rate", 1, "rate: expected a share between 0 and 1, found 1.0"),
    ("add-on", "--rate", "nan", "rate: expected a share between 0 and 1, found nan"),
    ("fine-tuning", "--lr", 0, "lr: expected a finite number more than 0, found 0.0"),
    ("trigger-removal", "--images", -1, "images: expected 0 to 100000, found -1"),
    ("fake-key", "--count", 0, "count: expected a finite number more than 0, found 0"),
):
    enter(
        f"{_name} with {_option} {_value}",
        lambda folder, n=_name, o=_option, v=_value: _attack(folder, n, o, v),
        _said,
    )


@case("forged key: expected a share or a count, found neither")
def forged_key_of_no_size(folder: Path) -> list[Any]:
    return _attack(folder, "fake-key")


@case("pruned weights: expected 1000000, for the forged key, found")
def forged_key_larger_than_the_rest_of_the_model(folder: Path) -> list[Any]:
    return _attack(folder, "fake-key", "--count", 1_000_000)


@case("place of the code: expected the owner's signature, found none", "--insider")
def erasing_without_the_place(folder: Path) -> list[Any]:
    return _attack(folder, "erase")


@case("--insider: expected a claim, which names the place: --claim FILE, found none")
def insider_without_a_claim(folder: Path) -> list[Any]:
    return _attack(folder, "erase", "--insider", model="state.pt")


@case(f"place of the code: expected 21x21 kernels from row 5, column 0 of {LAYER}, of shape", "found none")
def erasing_outside_the_layer(folder: Path) -> list[Any]:
    place = claim(folder, placement={"row": 5, "column": 0})
    return _attack(folder, "erase", "--insider", "--claim", place)


@case("--insider: expected an attack that uses the place (erase, overwrite), found noise")
def insider_of_an_attack_that_needs_no_place(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--insider")


@case("--key, --locked: expected a claim to try: --claim FILE, found none")
def key_without_a_claim(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--key", folder / "key.safetensors", model="state.pt")


@case("claim.json: scheme: expected 'scheme 1: key mask', for --key and --locked, found 'scheme 2")
def attack_with_a_key_of_scheme_2(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--key", folder / "key.safetensors")


@case("--control: expected triggers to ask it about: --triggers, found none")
def control_without_triggers(folder: Path) -> list[Any]:
    return _attack(folder, "noise", "--rate", 0.1, "--control", folder / "state.pt")


@case("data: expected a data set, found none; name network and data set: --arch, --dataset, --data DIR")
def triggers_on_a_bare_model(folder: Path) -> list[Any]:
    triggers = shown(folder)[2:]
    return _attack(folder, "random-pruning", "--rate", 0.1, *triggers, model="state.pt")


@case("data: expected a data set, found none; name network and data set: --arch, --dataset, --data DIR")
def fine_tuning_without_data(folder: Path) -> list[Any]:
    return _attack(folder, "fine-tuning", model="state.pt")


@case("recipe: expected one in the bundle, or --arch and --dataset, found neither")
def fine_tuning_without_a_recipe(folder: Path) -> list[Any]:
    return _attack(folder, "fine-tuning", "--data", images(folder), model="state.pt")


@case("weights do not fit the network: ", "layer2.0.conv1.weight: expected, not found")
def attack_measured_with_another_network(folder: Path) -> list[Any]:
    digits = ["--arch", "resnet20", "--dataset", "digits"]
    return _attack(folder, "random-pruning", "--rate", 0.1, *digits, model="state.pt")


@case("SIGNED: output folder: expected a name not taken yet, found one that is", "--force")
def attack_over_a_folder_that_is_there(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return ["attack", "noise", folder / "state.pt", "--rate", 0.1, "--out", folder / "SIGNED"]


# --- black box ----------------------------------------------------------------------------------

_topic[0] = "black box"
_DEAD = ["--url", "http://127.0.0.1:1", "--model", "mine", "--retries", 0]  # port 1: nobody listens


def shown(folder: Path) -> list[Any]:
    """The options that show a claim of scheme 3 and its triggers."""
    (folder / "claim.json").write_text(json.dumps(taught.claim().to_json()))
    (folder / "triggers.json").write_text(json.dumps(taught.SECRET.to_json()))
    return ["--claim", folder / "claim.json", "--triggers", folder / "triggers.json"]


@case("suspect: expected one of a model, --url and --answers, found none")
def nobody_to_ask(folder: Path) -> list[Any]:
    return ["verify", *shown(folder)]


@case("suspect: expected one of a model, --url and --answers, found a model and --url")
def two_to_ask(folder: Path) -> list[Any]:
    return ["verify", fixture(folder, "state.pt"), *_DEAD, *shown(folder)]


@case("http://127.0.0.1:1/v2/models/mine: server: expected an answer, found none", "refused")
def dead_server(folder: Path) -> list[Any]:
    return ["verify", *_DEAD, *shown(folder)]


@case("--triggers: expected a path, found none; the claim does not hold the secret")
def asking_without_the_triggers(folder: Path) -> list[Any]:
    return ["verify", *_DEAD, *shown(folder)[:2]]


@case("claim.json: claim: scheme: expected 'scheme 3: trigger set', found 'scheme 2")
def triggers_for_a_claim_of_scheme_2(folder: Path) -> list[Any]:
    arguments = shown(folder)
    claim(folder)
    return ["verify", *_DEAD, *arguments]


@case("triggers: commitment: expected the claim's sha256:", "another secret or folder")
def triggers_of_another_secret(folder: Path) -> list[Any]:
    arguments = shown(folder)
    edit_json(folder / "triggers.json", secret="0" * 64)
    return ["verify", *_DEAD, *arguments]


@case("triggers.json: triggers: images: expected [8, 8, 1] and 10 classes, found [9, 8, 1] and 10 classes")
def triggers_of_another_size(folder: Path) -> list[Any]:
    arguments = shown(folder)
    edit_json(folder / "triggers.json", size=[9, 8, 1])
    return ["verify", *_DEAD, *arguments]


@case("url: expected http:// or https:// and a host, found 'localhost:8080'")
def address_without_a_scheme(folder: Path) -> list[Any]:
    return ["verify", "--url", "localhost:8080", "--model", "mine", *shown(folder)]


@case("url: expected scheme, host, port and path alone, found more (a password?)")
def password_in_the_address(folder: Path) -> list[Any]:
    return ["verify", "--url", "http://me:hunter2@host", "--model", "mine", *shown(folder)]


@case("--token-env: expected the name of an environment variable that is set, found 'NOT_SET'")
def token_that_is_not_there(folder: Path) -> list[Any]:
    return ["verify", *_DEAD, "--token-env", "NOT_SET", *shown(folder)]


@case("state.pt: recipe: expected one in the bundle, or --arch and --dataset, found neither")
def asking_a_model_of_unknown_network(folder: Path) -> list[Any]:
    return ["verify", fixture(folder, "state.pt"), *shown(folder)]


_ports: dict[Path, int] = {}


def _misbehaving(change: Callable[[FakeServer], None]) -> Callable[[Path], AbstractContextManager[object]]:
    @contextmanager
    def during(folder: Path) -> Iterator[None]:
        with fake_server(port=_ports[folder]) as server:
            change(server)
            yield

    return during


def _asking_it(folder: Path) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        _ports[folder] = free.getsockname()[1]
    url = f"http://127.0.0.1:{_ports[folder]}"
    return ["verify", "--url", url, "--model", "mine", "--retries", 0, "--timeout", 5, *shown(folder)]


def _output(**fields: Any) -> Callable[[FakeServer], None]:
    def change(server: FakeServer) -> None:
        server.change = lambda answer: {"outputs": [answer["outputs"][0] | fields]}

    return change


def _always(status: int, body: bytes, **headers: str) -> Callable[[FakeServer], None]:
    return lambda server: setattr(server, "always", (status, headers, body))


for _name, _change, *_says in (
    ("500 with a text", _always(500, b'{"error": "no GPU"}'), "infer: server: ", "HTTP status 500: no GPU"),
    ("401", _always(401, b'{"detail": "no token"}'), "infer: answer: ", "HTTP status 401: no token"),
    ("a redirect", _always(302, b"", Location="http://else/"), "redirects are not followed", "http://else/"),
    ("HTML", _always(200, b"<html>"), "infer: answer: expected JSON, found something else"),
    ("NaN", _always(200, b'{"outputs": NaN}'), "infer: answer: expected JSON", "NaN is no JSON number"),
    (
        "an error with 200",
        _always(200, b'{"error": "busy"}'),
        "expected a list of tensors, found an error: busy",
    ),
    ("fewer answers", _output(shape=[15, 10]), "answer, outputs: expected one of shape [16, 10]", "[15, 10]"),
    ("fewer numbers", _output(data=[0.5] * 159), "answer, data: expected 160 finite numbers, found 159"),
    ("texts", _output(datatype="BYTES"), "answer, datatype: expected numbers, found 'BYTES'"),
    ("fractions", _output(shape=[16], data=[0.5] * 16), "labels, which are whole numbers, found fractions"),
    (
        "one long text among its numbers",
        _output(data=[*[0.5] * 159, "a" * 100_000]),
        "answer, data: expected 160 finite numbers, found something else, or more",
    ),
):
    enter(f"server answers {_name}", _asking_it, *_says, during=_misbehaving(_change))


def _dripping(kind: str) -> Callable[[FakeServer], None]:
    return lambda server: setattr(server, "raw", lambda: dripped(kind, 0.02))


for _name in DRIPS:
    enter(
        f"server whose answer never ends: {_name}",
        lambda folder: [*_asking_it(folder), "--timeout", 0.2],
        "infer: server: expected a whole answer in time, found none in 0.2 seconds",
        during=_misbehaving(_dripping(_name)),
    )


for _name, _change in (
    ("labels out of range", _output(shape=[16], data=[99] * 16)),
    ("a class more", _output(shape=[16, 11], data=[*[0.0] * 10, 1.0] * 16)),
):
    enter(f"server answers {_name}", _asking_it, "not verified", code=1, during=_misbehaving(_change))


for _name, _fields, *_says in (
    ("no inputs", {"inputs": []}, "metadata, inputs: expected one input, found 0"),
    (
        "other images",
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]},
        "metadata, shape: expected images of 8 x 8 with 1 channels, found [-1, 3, 32, 32]",
    ),
    (
        "floats",
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]},
        "pixels: expected a normalisation, found none; say --dataset",
    ),
):
    enter(
        f"server that takes {_name}",
        _asking_it,
        *_says,
        during=_misbehaving(lambda server, fields=_fields: server.metadata.update(fields)),  # type: ignore[misc]
    )


@case(
    "v2/models/other: answer: expected HTTP status 200, found HTTP status 404: Model nix not found",
    during=_misbehaving(lambda server: None),
)
def model_that_a_server_does_not_have(folder: Path) -> list[Any]:
    return ["other" if a == "mine" else a for a in _asking_it(folder)]


def _answers(folder: Path, text: str, **changes: Any) -> list[Any]:
    arguments = shown(folder)
    done(["queries", *arguments, "--out", folder / "OUT", "--decoys", 100])
    edit_json(folder / "OUT" / "queries.json", **changes)
    (folder / "answers.csv").write_text(text)
    files = ["--answers", folder / "answers.csv", "--queries", folder / "OUT" / "queries.json"]
    return ["verify", *files, *arguments]


for _name, _text, *_says in (
    (
        "an unknown picture",
        "0001.png,3\n9999.png,3\n",
        "answers.csv: line 2: expected a picture, 0001.png to 0200.png",
    ),
    ("a picture twice", "0001.png,3\n0001.png,4\n", "answers.csv: line 2: expected every picture once"),
    (
        "a word",
        "file,label\n0001.png,cat\n",
        "answers.csv: line 2: expected a whole number as label, found 'cat'",
    ),
    ("a third column", "0001.png,3,0.9\n", "answers.csv: line 1: expected FILE,LABEL, found 3 cells"),
    ("nothing", "", "answers to decoys: expected at least half of them, found 0 of 100"),
):
    enter(f"answers with {_name}", lambda folder, text=_text: _answers(folder, text), *_says)  # type: ignore[misc]


@case("OUT/queries.json: queries: pictures: expected those of claim, triggers and nonce sha256:")
def record_that_was_changed(folder: Path) -> list[Any]:
    return _answers(folder, "0001.png,3\n", nonce="0" * 64)


@case("--queries: expected a path, found none; the record that `ticket-sig queries --out DIR` wrote")
def answers_without_the_record(folder: Path) -> list[Any]:
    (folder / "answers.csv").write_text("0001.png,3\n")
    return ["verify", "--answers", folder / "answers.csv", *shown(folder)]


def _of_a_claim(folder: Path, **changes: Any) -> list[Any]:
    arguments, signature = shown(folder), taught.claim().signature
    edit_json(folder / "claim.json", signature={"triggers": {**signature["triggers"], **changes}})
    return ["verify", *_DEAD, *arguments]


for _name, _changes, *_says in (
    (
        "too many large images",
        {"count": 100_000, "size": [1024, 1024, 4]},
        "claim.json: claim: images: expected at most 256 MiB in all, found 419430400000 bytes",
    ),
    (
        "4096 channels",
        {"size": [8, 8, 4096]},
        "claim.json: claim: size: expected sides of 1 to 1024 and 1, 2",
    ),
    (
        "a folder of 2 channels",
        {"size": [8, 8, 2], "keyed": False},
        "claim: size: expected",
        "and 1, 3 channels",
    ),
    ("another count", {"count": 99}, "triggers: count: expected the claim's 99, found 100"),
):
    enter(f"claim of {_name}", lambda folder, c=_changes: _of_a_claim(folder, **c), *_says)  # type: ignore[misc]


def _of_a_folder(folder: Path) -> list[Any]:
    """A claim of pictures and labels that somebody chose."""
    (folder / "SET" / "pics").mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "SET" / "pics" / "1.png")
    (folder / "SET" / "labels.txt").write_text("3")
    chosen = claim_triggers(read_triggers(folder / "SET", (8, 8, 1), 10), "sha256:none")
    (folder / "claim.json").write_text(json.dumps(chosen.to_json()))
    return ["verify", *_DEAD, "--claim", folder / "claim.json", "--triggers", folder / "SET"]


@case("control: expected an innocent network of the same task", "need a control network: --control MODEL")
def chosen_triggers_without_a_control(folder: Path) -> list[Any]:
    return _of_a_folder(folder)


@case("GONE: model: expected a bundle folder")
def control_that_is_not_there(folder: Path) -> list[Any]:
    return [*_of_a_folder(folder), "--control", folder / "GONE"]


@case("--key, --locked: expected weights to read, found a suspect that is asked for answers")
def key_for_answers(folder: Path) -> list[Any]:
    return ["verify", *_DEAD, *shown(folder), "--key", folder / "key.safetensors"]


@case("claim.json: scheme: expected 'scheme 1: key mask', for --key and --locked, found 'scheme 2")
def key_for_a_claim_of_scheme_2(folder: Path) -> list[Any]:
    return [*_verify(folder, claim(folder)), "--key", folder / "key.safetensors"]


@case("--queries, --control: expected a suspect that is asked: --triggers, found weights to read")
def control_for_weights(folder: Path) -> list[Any]:
    return [*_verify(folder, claim(folder)), "--control", folder / "state.pt"]


@case("state.pt: --data: expected the names of network and data set, too, found none; name them: --arch")
def data_of_no_name_for_weights(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    weights = (folder / "SIGNED" / "model.safetensors").rename(folder / "state.pt")
    arguments = ["verify", weights, "--claim", folder / "SIGNED" / "claim.json"]
    return [*arguments, "--data", images(folder)]


@case("--data: expected the name of the data set, too, found none; name it: --dataset")
def data_of_no_name(folder: Path) -> list[Any]:
    return ["verify", *_DEAD, *shown(folder), "--data", images(folder)]


@case("OUT: output folder: expected a name not taken yet, found one that is")
def queries_over_a_folder(folder: Path) -> list[Any]:
    (folder / "OUT").mkdir()
    return ["queries", *shown(folder), "--out", folder / "OUT"]


@case("triggers.json: secret file: expected a name not taken yet, found one that is")
def secret_over_another(folder: Path) -> list[Any]:
    shown(folder)
    return ["triggers", "--dataset", "digits", "--out", folder / "triggers.json"]


@case("images: expected --dataset, or --size H W C and --classes N, found too few of them")
def triggers_of_no_size(folder: Path) -> list[Any]:
    return ["triggers", "--out", folder / "triggers.json"]


@case("triggers: count: expected enough to verify, found 20 of 10 classes")
def too_few_triggers(folder: Path) -> list[Any]:
    return ["triggers", "--dataset", "digits", "--count", 20, "--out", folder / "triggers.json"]


# --- usage --------------------------------------------------------------------------------------

_topic[0] = "watermark"


def _apply(folder: Path, state: dict[str, Tensor], *more: Any, length: int = 4) -> list[Any]:
    model = plain(folder, "net.pt", state)
    return [*FREEZENET, "apply", model, "--length", length, *more, "--out", folder / "OUT"]


def _marked(folder: Path, *write: Any) -> Path:
    """The claim of a small network with a watermark."""
    model = plain(folder, "owner.pt", {"a.weight": torch.randn(40, 30), "b.weight": torch.randn(6, 40)})
    done(["watermark", *write[:2], model, *write[2:], "--out", folder / "MARKED"])
    return folder / "MARKED" / "claim.json"


for _name, _length, _says in (
    (
        "a negative length",
        -1,
        "watermark: length: expected a whole number of 0 or more, found a negative one",
    ),
    ("a length above N", 7, "length: expected 0 to 6, the network's parameters, found 7"),
):
    enter(
        _name,
        lambda folder, length=_length: _apply(
            folder, {"a.weight": torch.ones(2, 3)}, "--text", "mine", length=length
        ),
        _says,
    )


@case("watermark: data: expected 1 byte or more, found none")
def empty_data(folder: Path) -> list[Any]:
    return _apply(folder, {"a.weight": torch.ones(2, 3)}, "--text", "")


@case("watermark: network: expected trainable parameters, found none")
def network_without_trainable_parameters(folder: Path) -> list[Any]:
    return _apply(folder, {"steps": torch.tensor(7), "norm.running_mean": torch.ones(9)}, "--text", "mine")


@case("watermark: a.weight: expected one of float64, float32, float16, bfloat16, found float8_e4m3fn")
def weights_of_8_bits(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 3).to(torch.float8_e4m3fn), "b.weight": torch.ones(2, 2)}
    return _apply(folder, state, "--text", "mine", length=10)


@case("watermark: a.weight: expected shape [40, 30], found [40, 31]")
def parameters_that_changed_shape(folder: Path) -> list[Any]:
    claimed = _marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
    other = {"a.weight": torch.randn(40, 31), "b.weight": torch.randn(6, 40)}
    return ["verify", plain(folder, "net.pt", other), "--claim", claimed]


@case("shards: expected 2 files, found no model-00002-of-00002.safetensors")
def a_missing_shard(folder: Path) -> list[Any]:
    claimed = _marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
    weights = {"a.weight": torch.randn(40, 30), "b.weight": torch.randn(6, 40)}
    model = write_shards(folder / "model", weights, count=2)
    (model / "model-00002-of-00002.safetensors").unlink()
    return ["verify", model, "--claim", claimed]


@case("model.safetensors: weights: a.weight: expected finite numbers, found 50 that are not")
def fixed_values_that_are_nan(folder: Path) -> list[Any]:
    claimed = _marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
    safetensors.torch.save_file({"a.weight": torch.full((40, 30), torch.nan)}, folder / "model.safetensors")
    edit_json(
        claimed,
        signature={**json.loads(claimed.read_text())["signature"], "manifest": {"a.weight": [40, 30]}},
    )
    return ["verify", folder / "model.safetensors", "--claim", claimed]


for _name, _changes, _says in (
    ("data that are no digits", {"data": "mine"}, "data: expected hexadecimal digits"),
    ("a length in words", {"length": "fifty"}, "length: expected int, found str"),
    (
        "a shape of negative numbers",
        {"manifest": {"a.weight": [-40, 30]}},
        "manifest, a.weight: expected a shape",
    ),
    ("an unknown scale", {"scale": "loud"}, "scale: expected one of unit, layer, legacy, found 'loud'"),
):

    def _hostile_claim(folder: Path, changes: dict[str, Any] = _changes) -> list[Any]:
        claimed = _marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
        signature = json.loads(claimed.read_text())["signature"]
        edit_json(claimed, signature={**signature, **changes})
        return ["verify", folder / "owner.pt", "--claim", claimed]

    enter(f"a claim with {_name}", _hostile_claim, "claim.json: ", _says)


@case("payload: expected one of --message, --bits and --random")
def two_payloads(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return [*UCHIDA, "embed", model, "--message", "a", "--bits", "01", "--out", folder / "OUT"]


@case("model: capacity: expected a layer with 80 weights in a filter, one a bit, found 30")
def more_bits_than_a_filter_has_weights(folder: Path) -> list[Any]:
    model = plain(folder, "net.pt", {"a.weight": torch.randn(40, 30)})
    return [*UCHIDA, "embed", model, "--message", "0123456789", "--out", folder / "OUT"]


@case("claim.json: ", "scheme: expected 'uchida', found 'freezenet'")
def bits_of_another_watermark(folder: Path) -> list[Any]:
    claimed = _marked(folder, "freezenet", "apply", "--text", "mine", "--length", 50)
    return [*UCHIDA, "decode", folder / "owner.pt", "--claim", claimed]


@case("block: expected one of --block and --text, found neither")
def a_challenge_without_a_block(folder: Path) -> list[Any]:
    return [*FREEZENET, "mine", "--share", 0.5, "--target", 90, "--out", folder / "OUT"]


@case("SOLUTION/solution.json: file: expected a JSON file, found none")
def a_solution_that_is_none(folder: Path) -> list[Any]:
    (folder / "SOLUTION").mkdir()
    return [*FREEZENET, "check", folder / "SOLUTION", "--text", "block 7", "--share", 0.5, "--target", 90]


_topic[0] = "usage"


@case("usage: ", "verb", "--help", has_verb=False)
def no_verb(folder: Path) -> list[Any]:
    return []


@case("usage: No such command 'sign'")
def unknown_verb(folder: Path) -> list[Any]:
    return ["sign", folder / "state.pt"]


@case("usage: Missing option '--message'")
def missing_option(folder: Path) -> list[Any]:
    return ["embed", fixture(folder, "state.pt"), "--out", folder / "SIGNED"]


@case("usage: Missing argument", "model")
def missing_argument(folder: Path) -> list[Any]:
    return ["inspect"]


@case("usage: No such option", "--massage")
def unknown_option(folder: Path) -> list[Any]:
    return ["embed", fixture(folder, "state.pt"), "--massage", "hi", "--out", folder / "SIGNED"]


@case("usage: Invalid value for '--version'", "40")
def option_out_of_range(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", 41)


@case("usage: Invalid value for '--version'", "integer")
def word_for_a_number(folder: Path) -> list[Any]:
    return embed(folder, fixture(folder, "state.pt"), "--version", "three")


if not torch.cuda.is_available():
    enter(
        "a GPU where there is none",
        lambda folder: search(folder, "--device", "cuda"),
        "device: expected one that this machine has, found cuda",
    )


@case("device: expected one that this machine has, found tpu")
def unknown_device(folder: Path) -> list[Any]:
    return search(folder, "--device", "tpu")


# --- the table ----------------------------------------------------------------------------------


def table() -> str:
    """Runs every case and returns what happened as Markdown; paths are relative to the case's folder."""
    lines = ["| bad input | command | exit | message |", "|---|---|---|---|"]
    for entry in CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            arguments = entry.build(folder)
            outcome = run(arguments, entry.during(folder))
            said = (outcome.err or outcome.out.splitlines()[0]).strip()
            cells = [
                f"{entry.topic}: {entry.name}",
                " ".join(["ticket-sig", *(_quoted(str(a)) for a in arguments)]),
                str(outcome.code),
                said,
            ]
            lines.append("| " + " | ".join(_cell(cell, folder) for cell in cells) + " |")
    return "\n".join(lines)


def _quoted(argument: str) -> str:
    argument = argument.encode("utf-8", "backslashreplace").decode()
    argument = argument if len(argument) < 100 else f"{argument[:8]}... ({len(argument)} characters)"
    return f'"{argument}"' if not argument or " " in argument else argument


def _cell(text: str, folder: Path) -> str:
    text = text.replace(f"{folder}/", "").replace("\n", "<br>").replace("|", "\\|")
    return text


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as cache:
        os.environ["TICKET_SIG_CACHE"] = cache
        sys.stdout.write(table() + "\n")
