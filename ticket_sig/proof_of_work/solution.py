"""A solution: a network and all that is needed to check it, and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticket_sig.digests import DIGEST, tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.fields import check_format, hexadecimal, matching, number, whole
from ticket_sig.files import check_new, read_json, whole_folder, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.formats.weights import Shards
from ticket_sig.mask import differences, dtype_name
from ticket_sig.models import build, ends
from ticket_sig.proof_of_work.challenge import NONCE_BYTES, Difficulty, check_arch

FORMAT, FORMAT_VERSION = "ticket_sig proof of work", 1
MODEL, SOLUTION = "model.safetensors", "solution.json"
SHOWN = len("sha256:") + 16  # characters of a digest in a message
_MOST_CLASSES, _MOST_CHANNELS = 4096, 64


@dataclass(frozen=True, kw_only=True, repr=False)
class Solution:
    """A network and all that is needed to check it.

    Attributes:
        weights: of the whole network, buffers included.
        nonce: 16 bytes.
        block: digest of the block.
        arch, dataset: names of network and data set.
        train: digest of the images and labels it was trained on (`train_digest`).
        difficulty: that it was mined at.
        accuracy, seconds, attempts: what the miner measured; his word.
    """

    weights: Mapping[str, Tensor]
    nonce: bytes
    block: str
    arch: str
    dataset: str
    train: str
    difficulty: Difficulty
    accuracy: float
    seconds: float
    attempts: int

    def to_json(self) -> dict[str, Any]:
        """The content of solution.json."""
        of = {name: getattr(self, name) for name in ("block", "arch", "dataset", "train")}
        measured = {"accuracy": self.accuracy, "seconds": round(self.seconds, 3), "attempts": self.attempts}
        head = {"format": FORMAT, "version": FORMAT_VERSION, "nonce": self.nonce.hex()}
        return {**head, **of, **vars(self.difficulty), **measured, "weights": tensor_digest(self.weights)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Solution:
        """Reads the content of solution.json.

        Raises:
            InputError: another format or version; a field that is missing, of another type or out of
                range; or weights of another digest than it states.
        """
        where = "solution"
        check_format(value, where, FORMAT, FORMAT_VERSION)
        check_arch(where, value.get("arch"))
        stated, word = matching(value, "weights", DIGEST, where), r"[\w.-]{1,80}"
        share, target = number(value, "share", 1, where), number(value, "target", 100, where)
        solution = cls(
            weights=weights,
            nonce=hexadecimal(value, "nonce", where, NONCE_BYTES),
            block=matching(value, "block", DIGEST, where),
            arch=value["arch"],
            dataset=matching(value, "dataset", word, where),
            train=matching(value, "train", DIGEST, where),
            difficulty=Difficulty(share, target, matching(value, "scale", word, where)),
            accuracy=number(value, "accuracy", 100, where),
            seconds=number(value, "seconds", 1e12, where),
            attempts=whole(value, "attempts", where, 1),
        )
        # Last, because it takes as long as there are weights.
        if stated != (found := tensor_digest(weights)):
            expected = f"those of {stated[:SHOWN]}"
            raise bad_input("solution", "weights", expected, found[:SHOWN], hint="they were changed")
        return solution


def check_place(path: Path, *, replace: bool = False) -> None:
    """Checks, before hours of mining, that a solution can be written.

    Raises:
        InputError: the name is taken, and not to be overwritten, or not by a solution.
    """
    if not path.exists():
        return
    if not replace:
        check_new(path, "choose another or pass --force")
    if not (path / SOLUTION).is_file():
        raise bad_input(path, "output folder", "a solution to overwrite", "something else")


def write_solution(solution: Solution, path: Path, *, replace: bool = False) -> None:
    """Writes a solution as a folder, whole or not at all.

    Raises:
        InputError: as `check_place`.
        OSError: the disk is full; nothing is left behind.
    """
    check_place(path, replace=replace)
    with whole_folder(path, replace=replace) as folder:
        write_safetensors(folder / MODEL, solution.weights)
        write_json(folder / SOLUTION, solution.to_json())


def read_solution(path: Path) -> Solution:
    """Reads a solution's folder; whether it solves anything is for `check` to say.

    Weights are read once their names, shapes and types are those of the network, of at most 4096 classes
    and 64 channels: a file of any size takes no room on a disk as long as it holds zeros.

    Raises:
        InputError: a file is missing or damaged, a field of solution.json is missing, of another type or
            out of range, or the weights do not fit the network or are not those that it names.
    """
    head = read_json(path / SOLUTION)
    with about(path / SOLUTION):
        check_arch("solution", head.get("arch"))
    _check_header(path / MODEL, head["arch"])
    weights = read_safetensors(path / MODEL)
    with about(path / SOLUTION):
        return Solution.from_json(head, weights)


def _check_header(path: Path, arch: str) -> None:
    """Checks from a file's header alone that its tensors are those of a network for some images."""
    header = Shards(path)
    found = {n: torch.empty(s, dtype=header.dtypes[n], device="meta") for n, s in header.shapes.items()}
    with torch.device("meta"):
        first, last = ends(build(arch, classes=2))
    with about(path):
        for name, axis, most in ((first, 1, _MOST_CHANNELS), (last, 0, _MOST_CLASSES)):
            if name not in found or found[name].ndim < 2:
                raise bad_input("", "layers", f"those of {arch}", f"no matrix of the name {name}")
            if not 1 <= found[name].shape[axis] <= most:
                shape = str(list(found[name].shape))[:80]
                raise bad_input("", name, f"1 to {most} entries along axis {axis}", f"shape {shape}")
        check_fit(found, arch, found[last].shape[0], found[first].shape[1])


def check_fit(weights: Mapping[str, Tensor], arch: str, classes: int, channels: int) -> None:
    """Checks that tensors are those of a network, in its own types.

    Raises:
        InputError: they are not; the first differences are listed.
    """
    with torch.device("meta"):
        own = build(arch, classes, channels).state_dict()
    problems = differences(own, weights)
    problems += [
        f"{name}: expected {dtype_name(t.dtype)}, found {dtype_name(weights[name].dtype)}"
        for name, t in own.items()
        if name in weights and weights[name].dtype != t.dtype
    ]
    if problems:
        raise InputError(f"weights do not fit {arch}: " + "; ".join(one[:160] for one in problems[:8]))
