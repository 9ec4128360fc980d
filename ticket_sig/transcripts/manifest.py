"""The manifest: everything that decides the bits of a training, fixed before its first step."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticket_sig.datasets import Dataset
from ticket_sig.digests import bytes_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, entry, matching, whole
from ticket_sig.files import read_json
from ticket_sig.key_pair import PUBLIC
from ticket_sig.transcripts.merkle import merkle_root
from ticket_sig.version import VERSION

FORMAT, FORMAT_VERSION = "ticket_sig transcript", 1
STEPS = 100  # of a segment, as in the paper


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an auditor needs to train again.

    Attributes:
        kind: "search" (a dense training and rounds of pruning), "training" (one training under a mask) or
            "own" (a loop of a user's own; recipe is then whatever JSON he gives).
        recipe: of the training, as JSON.
        initial: how the initial weights come about, and their digest: {"derivation", "digest"}. The
            derivation is "seed" (by `models.build` from recipe and data), "set-up" (of a user's own loop:
            what his set-up gives, which the auditor runs again), or "given".
        data: {"name", "train", "test", "classes", "size", "root"}: counts of samples, and the Merkle root. Of
            a user's own loop: {"samples", "root"}, or "root" alone.
        segment: steps from one boundary to the next.
        stack: what the bits depend on beside the recipe (`stack`).
        code: {"version", "digest"} of this package; of a user's own loop also "step", the digest of the
            source of its step function.
        kept: digests of the marks that training keeps, and of the trigger set; they are shown to an auditor.
        signer: public key that signs the heads, so that no signature can be left out; None: nobody signs.
    """

    kind: str
    recipe: Mapping[str, Any]
    initial: Mapping[str, str]
    data: Mapping[str, Any]
    segment: int
    stack: Mapping[str, Any]
    code: Mapping[str, str]
    kept: tuple[str, ...] = ()
    signer: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        head = {"format": FORMAT, "version": FORMAT_VERSION, "written_by": f"ticket_sig {VERSION}"}
        fields = {name: value for name, value in vars(self).items() if (name, value) != ("signer", None)}
        return {**head, **fields, "kept": list(self.kept)}

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads manifest.json; InputError where it is missing, of another version, or a field is wrong."""
        value = read_json(path)
        check_format(value, path, FORMAT, FORMAT_VERSION)
        with about(path):
            objects = ("recipe", "initial", "data", "stack", "code")
            found: dict[str, Any] = {name: entry(value, name, dict, "manifest") for name in objects}
            if (kind := entry(value, "kind", str, "manifest")) not in ("search", "training", "own"):
                raise bad_input("manifest", "kind", "search, training or own", repr(kind)[:80])
            found |= {"kept": tuple(map(str, entry(value, "kept", list, "manifest"))), "kind": kind}
            found["signer"] = matching(value, "signer", PUBLIC, "manifest") if "signer" in value else None
            return cls(**found, segment=whole(value, "segment", "manifest", 1))


def data_facts(data: Dataset) -> dict[str, Any]:
    """What the manifest says of a data set."""
    counts = {"train": len(data.train), "test": len(data.test), "classes": data.classes}
    scale = {"mean": list(data.mean), "std": list(data.std)}
    return {"name": data.name, **counts, "size": list(data.size), **scale, "root": merkle_root(data)}


def code_facts() -> dict[str, str]:
    """Version and digest of this package: SHA-256 over its source files, by name."""
    home = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted([*home.rglob("*.py"), *home.rglob("*.c")]):
        digest.update(f"{file.relative_to(home).as_posix()} {bytes_digest(file.read_bytes())}\n".encode())
    return {"version": VERSION, "digest": f"sha256:{digest.hexdigest()}"}


def stack(made_with: Mapping[str, Any]) -> dict[str, Any]:
    """The numerical stack: what other bits may come from, though recipe and data are the same.

    How torch draws (`torch.Generator`, `randperm`) goes with its version.

    Args:
        made_with: of the engine (`Engine.prepare`).
    """
    flags = {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "flags": bytes_digest(torch.__config__.show().encode()),
    }
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {**made_with, **versions, **flags, "machine": platform.machine()}
