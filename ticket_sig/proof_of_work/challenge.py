"""What a checker asks for: a block, a difficulty, a network; and the watermark that follows from a nonce."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.marks.freezenet.derive import SCALES
from ticket_sig.marks.freezenet.watermark import Watermark
from ticket_sig.models import MODELS, build
from ticket_sig.options import Options, above_0, one_of, option

NONCE_BYTES = 16
_TAG = b"ticket_sig freezenet proof of work 1\n"


@dataclass(frozen=True)
class Difficulty(Options):
    """What makes a solution hard to find.

    Attributes:
        share: of the N trainable parameters that the watermark fixes, above 0 and up to 1.
        target: test accuracy in %, above 0 and up to 100.
        scale: of the watermark's values, "unit" or "layer" (`derive`); "layer" disturbs a network less.

    Raises:
        InputError: a field is out of range.
    """

    share: float = option("Share of the parameters that the watermark fixes.", check=above_0(1))
    target: float = option("Test accuracy to reach, in %.", check=above_0(100))
    scale: str = option(
        "Of the values: unit, as in the paper, or layer, of the size of initial weights.",
        default="unit",
        check=one_of(SCALES),
    )

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
        check_arch("challenge", self.arch)

    @classmethod
    def of(cls, block: Path | None, text: str | None, difficulty: Difficulty, arch: str) -> Challenge:
        """The challenge of a block that is the bytes of a file, or a text.

        Raises:
            InputError: not exactly one of the two, or a part is out of range.
        """
        if (block is None) == (text is None):
            raise bad_input("", "block", "one of --block and --text", "both" if block else "neither")
        # Bytes of the command line that are no UTF-8 come as surrogates; they go back to what they were.
        signed = block.read_bytes() if block is not None else (text or "").encode(errors="surrogateescape")
        return cls(signed, difficulty, arch)

    @property
    def digest(self) -> str:
        """SHA-256 of the block."""
        return f"sha256:{hashlib.sha256(self.block).hexdigest()}"

    def of_data(self, data: Dataset) -> dict[str, str]:
        """What a solution is of: block, network, data set, and the digest of the training images."""
        return {"block": self.digest, "arch": self.arch, "dataset": data.name, "train": train_digest(data)}


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


def check_arch(where: str, arch: object) -> None:
    """Checks a network's name.

    Raises:
        InputError: none of ours.
    """
    if not isinstance(arch, str) or arch not in MODELS:
        raise bad_input(where, "arch", f"one of {', '.join(MODELS)}", repr(arch)[:80])
