"""Proof of work by training: an accurate network that carries the watermark of a block (Bouvard, 2020).

    challenge = Challenge(b"block 7, mined by alice", Difficulty(share=0.5, target=94))
    mined = mine(challenge, data, preset("demo", arch="freezenet", dataset="digits"))
    check(mined.solution, challenge, data).verified

The watermark follows from the block and a nonce of the miner's choice, by the whole SHA-256 digest. What a
solution does not prove:

- That any work was done, where the share is small. Any trained network can have its layers scaled up
  until the watermark's values are too small to matter, the watermark written over it, and its batch
  norms' statistics taken anew: `experiments/proof_of_work.py` measures what is left of the accuracy. A
  network of an old block can also be retrained (`experiments/freezenet_strong.py`). Ask for a share of a half
  or more, and for an accuracy that such networks do not have.
- That it knows more than the test images, if its miner could see them: they can be trained on. Publish
  them once all solutions are in, or keep them with the checker; a solution is bound to the training
  images alone.
- Who mined it. Whoever changes weights outside the watermark and keeps the accuracy has another valid
  solution of the same block: the block's bytes must name its miner.
- How long it took: seconds and attempts are the miner's word, and so is what it was trained on.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError, about, bad_input
from ticket_sig.files import read_json, whole_folder, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.formats.weights import Shards
from ticket_sig.mask import differences
from ticket_sig.models import MODELS, build, ends
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.ticket import check_finite
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine, train
from ticket_sig.training.recipe import Recipe
from ticket_sig.verdict import Verdict
from ticket_sig.watermarks.derive import SCALES
from ticket_sig.watermarks.freezenet import Watermark

FORMAT, FORMAT_VERSION = "ticket_sig proof of work", 1
MODEL, SOLUTION = "model.safetensors", "solution.json"
NONCE_BYTES = 16
_MOST_CLASSES, _MOST_CHANNELS = 4096, 64
_TAG = b"ticket_sig freezenet proof of work 1\n"
_DIGEST, _SHOWN = re.compile("sha256:[0-9a-f]{64}"), len("sha256:") + 16
_PROVES = (
    "this network was made to carry the block's watermark, and it is accurate enough on the checker's images"
)
_DOES_NOT_PROVE = (
    "how much was worked for it: a small share can be written over any trained network; test images that the "
    "miner could see can be trained on; and unless the block names its miner, anyone can alter this network "
    "into a solution of his own"
)


@dataclass(frozen=True)
class Difficulty:
    """What makes a solution hard to find.

    Attributes:
        share: of the N trainable parameters that the watermark fixes, above 0 and up to 1.
        target: test accuracy in %, above 0 and up to 100.
        scale: of the watermark's values, "unit" or "layer" (`derive`); "layer" disturbs a network less.

    Raises:
        InputError: a field is out of range.
    """

    share: float
    target: float
    scale: str = "unit"

    def __post_init__(self) -> None:
        for name, most in (("share", 1), ("target", 100)):
            value = getattr(self, name)
            if not _is_number(value, most) or not value:
                raise bad_input("difficulty", name, f"a number above 0, at most {most}", repr(value)[:80])
        if self.scale not in SCALES:
            raise bad_input("difficulty", "scale", f"one of {', '.join(SCALES)}", repr(self.scale)[:80])

    def length(self, total: int) -> int:
        """How many of `total` parameters are fixed: the share, rounded up."""
        return math.ceil(self.share * total)


@dataclass(frozen=True)
class Challenge:
    """What a checker asks for; nothing of it is taken from a solution.

    Attributes:
        block: what is signed, any bytes; they should name the miner and the block before.
        arch: the network: another one may be easier to train.

    Raises:
        InputError: an empty block, or no network of that name.
    """

    block: bytes
    difficulty: Difficulty
    arch: str = "freezenet"

    def __post_init__(self) -> None:
        if not isinstance(self.block, bytes) or not self.block:
            found = "none" if isinstance(self.block, bytes) else f"a {type(self.block).__name__}"
            raise bad_input("challenge", "block", "1 byte or more", found)
        _check_arch("challenge", self.arch)

    @property
    def digest(self) -> str:
        """SHA-256 of the block."""
        return f"sha256:{hashlib.sha256(self.block).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One training: its nonce, test accuracy in % (float32), seconds, and what it was trained with."""

    nonce: bytes
    accuracy: float
    seconds: float
    made_with: Mapping[str, Any]


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
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "nonce": self.nonce.hex(),
            "block": self.block,
            "arch": self.arch,
            "dataset": self.dataset,
            "train": self.train,
            "share": self.difficulty.share,
            "target": self.difficulty.target,
            "scale": self.difficulty.scale,
            "accuracy": self.accuracy,
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "weights": tensor_digest(self.weights),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Solution:
        """Reads the content of solution.json.

        Raises:
            InputError: another format or version; a field that is missing, of another type or out of
                range; or weights of another digest than it states.
        """
        for name, known in (("format", FORMAT), ("version", FORMAT_VERSION)):
            if value.get(name) != known:
                raise bad_input("solution", name, repr(known), repr(value.get(name))[:80])
        _check_arch("solution", value.get("arch"))
        share, target = _number(value, "share", 1), _number(value, "target", 100)
        stated = _matching(value, "weights", _DIGEST)
        solution = cls(
            weights=weights,
            nonce=bytes.fromhex(_matching(value, "nonce", re.compile(f"[0-9a-f]{{{2 * NONCE_BYTES}}}"))),
            block=_matching(value, "block", _DIGEST),
            arch=value["arch"],
            dataset=_matching(value, "dataset", re.compile(r"[\w.-]{1,80}")),
            train=_matching(value, "train", _DIGEST),
            difficulty=Difficulty(share, target, _matching(value, "scale", re.compile(r"[\w.-]{1,80}"))),
            accuracy=_number(value, "accuracy", 100),
            seconds=_number(value, "seconds", 1e12),
            attempts=_whole(value, "attempts"),
        )
        # Last, because it takes as long as there are weights.
        if stated != (found := tensor_digest(weights)):
            expected = f"those of {stated[:_SHOWN]}"
            raise bad_input("solution", "weights", expected, found[:_SHOWN], hint="they were changed")
        return solution


@dataclass(frozen=True)
class Mined:
    """What mining came to: every attempt in order, and the solution; None where the budget was too small."""

    attempts: tuple[Attempt, ...]
    solution: Solution | None


def signed_bytes(block: bytes, nonce: bytes) -> bytes:
    """What the watermark signs: version, block and nonce, each with its length, so that no two read alike."""
    return _TAG + b"".join(len(part).to_bytes(8, "big") + part for part in (block, nonce))


def watermark_of(challenge: Challenge, nonce: bytes, data: Dataset, share: float | None = None) -> Watermark:
    """The watermark of a nonce, in the challenge's network for these data.

    Args:
        share: of the parameters; by default that of the challenge.
    """
    model = build(challenge.arch, data.classes, data.channels)
    manifest = {name: tuple(p.shape) for name, p in model.named_parameters()}
    difficulty = replace(challenge.difficulty, share=share or challenge.difficulty.share)
    length = difficulty.length(sum(p.numel() for p in model.parameters()))
    data_signed = signed_bytes(challenge.block, nonce)
    return Watermark(data_signed, length, scale=difficulty.scale, manifest=manifest)


def train_digest(data: Dataset) -> str:
    """SHA-256 of images and labels of the training split; of the test split nothing."""
    return tensor_digest({"images": data.train.images, "labels": data.train.labels})


def mine(
    challenge: Challenge,
    data: Dataset,
    recipe: Recipe,
    *,
    engine: Engine | None = None,
    attempts: int | None = None,
    seconds: float | None = None,
    nonces: Iterable[bytes] | None = None,
) -> Mined:
    """Trains one network after the other with the watermark held, until one reaches the target.

    Each attempt goes through the recipe's whole schedule with another nonce, from which initial weights and
    all else that is drawn follow. Nothing is written: mining that is stopped loses the current attempt.

    Args:
        recipe: of each attempt, but for its seed.
        attempts: how many at most.
        seconds: after so many, no attempt is begun.
        nonces: what to try, 16 bytes each; fresh ones by default.

    Raises:
        InputError: the recipe is for another network, a budget or a nonce is out of range, or a training
            failed (`train`).
    """
    if recipe.arch != challenge.arch:
        raise bad_input("recipe", "arch", f"the challenge's, {challenge.arch}", repr(recipe.arch)[:80])
    for name, budget in (("attempts", attempts), ("seconds", seconds)):
        if budget is not None and not budget > 0:
            raise bad_input("budget", name, "more than 0", repr(budget)[:80])
    engine, tried, begun = engine or Engine(), list[Attempt](), time.monotonic()
    for nonce in _fresh() if nonces is None else nonces:
        weights, attempt = _attempt(challenge, data, recipe, engine, nonce, len(tried) + 1)
        tried.append(attempt)
        elapsed = time.monotonic() - begun
        if attempt.accuracy >= challenge.difficulty.target:
            solution = _solution(challenge, data, weights, attempt, elapsed, len(tried))
            return Mined(tuple(tried), solution)
        target = f"{challenge.difficulty.target:g} %"
        engine.progress.note(f"attempt {len(tried)}: {attempt.accuracy:.2f} %, of {target}")
        if len(tried) >= (attempts or math.inf) or elapsed >= (seconds or math.inf):
            break
    return Mined(tuple(tried), None)


def check(
    solution: Solution, challenge: Challenge, data: Dataset, *, device: torch.device | None = None
) -> Verdict:
    """Decides whether a solution solves a challenge; what it proves, and what not, stands above.

    In this order, and no further than what fails: it is for this block, network, training images and
    scale of values, at no smaller share; every value of its watermark stands; and it reaches the target on
    the test split, measured here in float32. Another device may classify an image at the border otherwise.

    Args:
        data: the checker's own.
        device: to measure the accuracy on, by default the CPU.

    Raises:
        InputError: it could not be decided: the weights do not fit the network, or are not finite.
    """
    evidence: dict[str, Any] = {
        "scheme": FORMAT,
        "block": challenge.digest,
        "nonce": solution.nonce.hex(),
        "arch": challenge.arch,
        "dataset": data.name,
        "train": train_digest(data),
        "share_asked": challenge.difficulty.share,
        "target": challenge.difficulty.target,
    }
    if lacking := _of_another_challenge(solution, challenge, evidence["train"]):
        return _verdict("nothing was measured", 0.0, evidence, lacking)
    _check_fit(solution.weights, challenge.arch, data.classes, data.channels)
    check_finite(solution.weights, "weights")
    reading = watermark_of(challenge, solution.nonce, data, solution.difficulty.share).read(solution.weights)
    evidence |= reading.to_json()
    values = f"{reading.found} of {reading.length} values stand"
    if not reading.whole:
        lacking = f"{reading.length - reading.found} of the watermark's values differ, and all must stand"
        return _verdict(values, reading.log10_p, evidence, lacking)
    right = weights_accuracy(solution.weights, challenge.arch, data, device)
    target = challenge.difficulty.target
    lacking = f"{right:.2f} % test accuracy, where {target:g} % is asked" if right < target else ""
    statistic = f"{values}, {right:.2f} % test accuracy"
    return _verdict(statistic, reading.log10_p, {**evidence, "accuracy": right}, lacking)


def check_place(path: Path, *, replace: bool = False) -> None:
    """Checks, before hours of mining, that a solution can be written.

    Raises:
        InputError: the name is taken, and not to be overwritten, or not by a solution.
    """
    if not path.exists():
        return
    if not replace:
        hint = "choose another or pass --force"
        raise bad_input(path, "output folder", "a name not taken yet", "one that is", hint=hint)
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
        _check_arch("solution", head.get("arch"))
    _check_header(path / MODEL, head["arch"])
    weights = read_safetensors(path / MODEL)
    with about(path / SOLUTION):
        return Solution.from_json(head, weights)


def _fresh() -> Iterator[bytes]:
    while True:
        yield secrets.token_bytes(NONCE_BYTES)


def _attempt(
    challenge: Challenge, data: Dataset, recipe: Recipe, engine: Engine, nonce: bytes, number: int
) -> tuple[dict[str, Tensor], Attempt]:
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
        raise bad_input("mining", "nonce", f"{NONCE_BYTES} bytes", repr(nonce)[:80])
    begun = time.monotonic()
    # One bit less than a word: PyTorch's seeds are signed.
    seed = int(keyed_words(signed_bytes(challenge.block, nonce), "proof of work seed", 1)[0] >> 1)
    model = build(challenge.arch, data.classes, data.channels, seed)
    mark = watermark_of(challenge, nonce, data)
    label = f"attempt {number}"
    trained = train(model, data, replace(recipe, seed=seed), engine, mark=mark, label=label)
    right = weights_accuracy(trained.weights, challenge.arch, data, engine.device)
    spent = time.monotonic() - begun
    return trained.weights, Attempt(nonce=nonce, accuracy=right, seconds=spent, made_with=trained.made_with)


def _solution(
    challenge: Challenge,
    data: Dataset,
    weights: Mapping[str, Tensor],
    attempt: Attempt,
    seconds: float,
    attempts: int,
) -> Solution:
    return Solution(
        weights=weights,
        nonce=attempt.nonce,
        block=challenge.digest,
        arch=challenge.arch,
        dataset=data.name,
        train=train_digest(data),
        difficulty=challenge.difficulty,
        accuracy=attempt.accuracy,
        seconds=seconds,
        attempts=attempts,
    )


def _of_another_challenge(solution: Solution, challenge: Challenge, train: str) -> str:
    """Where a solution is not of this challenge, and how, in words."""
    asked, given = challenge.difficulty, solution.difficulty
    differing = [
        ("block", challenge.digest, solution.block),
        ("network", challenge.arch, solution.arch),
        ("training images", train, solution.train),
        ("scale of values", asked.scale, given.scale),
    ]
    words = [
        f"{what}: asked {ours[:_SHOWN]}, found {theirs[:_SHOWN]}"
        for what, ours, theirs in differing
        if ours != theirs
    ]
    if given.share < asked.share:
        words.append(f"share: asked {asked.share:g} or more, found {given.share:g}")
    return "; ".join(words)


def _verdict(statistic: str, log10_p: float, evidence: Mapping[str, Any], lacking: str) -> Verdict:
    return Verdict(
        statistic=statistic,
        log10_p=log10_p,
        evidence=evidence,
        proves=_PROVES,
        does_not_prove=_DOES_NOT_PROVE,
        lacking=lacking,
    )


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
        _check_fit(found, arch, found[last].shape[0], found[first].shape[1])


def _check_fit(weights: Mapping[str, Tensor], arch: str, classes: int, channels: int) -> None:
    """Checks that tensors are those of a network, in its own types."""
    with torch.device("meta"):
        own = build(arch, classes, channels).state_dict()
    problems = differences(own, weights)
    problems += [
        f"{name}: expected {_plain(t)}, found {_plain(weights[name])}"
        for name, t in own.items()
        if name in weights and weights[name].dtype != t.dtype
    ]
    if problems:
        raise InputError(f"weights do not fit {arch}: " + "; ".join(one[:160] for one in problems[:8]))


def _plain(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_arch(where: str, arch: object) -> None:
    if not isinstance(arch, str) or arch not in MODELS:
        raise bad_input(where, "arch", f"one of {', '.join(MODELS)}", repr(arch)[:80])


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _number(value: Mapping[str, Any], name: str, most: float) -> float:
    found = value.get(name)
    if not _is_number(found, most):
        raise bad_input("solution", name, f"a number from 0 to {most:g}", repr(found)[:80])
    return float(found)  # type: ignore[arg-type]


def _whole(value: Mapping[str, Any], name: str) -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found < 2**48:
        raise bad_input("solution", name, "a whole number of 1 or more", repr(found)[:80])
    return found


def _matching(value: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise bad_input("solution", name, f"text of the form {pattern.pattern}", repr(found)[:80])
    return found
