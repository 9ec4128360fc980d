"""Every bad input with what the command line answers: this makes the table of them.

Each case builds its input in an empty folder and returns the arguments of one command. Usage:
    python tests/bad_inputs.py      prints the table as Markdown, from what the commands really say
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import safetensors.torch
import torch
from damage import RUN_CODE, RunsCode, flip
from disk import file_size_limit, full_disk
from filelock import FileLock
from make_fixtures import FIXTURES, LAYER
from PIL import Image
from torch import Tensor
from user_net import UserNet

from ticket_sig.cli.app import main
from ticket_sig.digests import tensor_digest
from ticket_sig.training import PRESETS

Build = Callable[[Path], list[Any]]
PROOF = "code-was-run"  # the folder that hostile files would make
CIFAR10_MD5, CIFAR10_URL = (
    "c58f30108f718f92721af3b95e74349a",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)


class Outcome(NamedTuple):
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


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


def run(arguments: list[Any], during: AbstractContextManager[object] | None = None) -> Outcome:
    """Runs the command line in this process; an error that it lets through ends as Python would end it."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err), _warnings_as_users_see_them():
        try:
            with during or nullcontext():
                main([str(a) for a in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
    return Outcome(code, out.getvalue(), err.getvalue())


@contextmanager
def _warnings_as_users_see_them() -> Iterator[None]:
    """Prints warnings on stderr as Python does by itself; pytest would keep them back."""
    hidden = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)

    def show(message: Warning | str, category: type[Warning], file: str, line: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, file, line))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in hidden:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield


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


@case("module.pt: pickle: expected tensors alone, found the code user_net.UserNet", "model.state_dict()")
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


# --- usage --------------------------------------------------------------------------------------

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
