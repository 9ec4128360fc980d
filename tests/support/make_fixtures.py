"""Makes the model files in tests/fixtures: one pruned network, in every format a user may have.

Every file holds the same network, so that they can be compared with each other. A file that is there
is left alone: what an older version wrote must stay readable, so it is never written again. When the
bundle format changes, FORMAT_VERSION names new folders and the old ones stay. On one machine the
script gives the same bytes each time, but for the legacy file: its keys are memory addresses.

Usage, in tests/: python -m support.make_fixtures [FOLDER]
"""

from __future__ import annotations

import argparse
import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from support.user_net import UserNet, prune_as_users_do, train_a_little
from ticket_sig import Mask, Ticket, embed, save
from ticket_sig.formats.bundle import FORMAT_VERSION
from ticket_sig.ticket import HistoryEntry
from ticket_sig.training.recipe import preset

FIXTURES = Path(__file__).parents[1] / "fixtures"
MESSAGE = "owner-1"  # as much as fits a code of version 1 at level H
LAYER = "layer1.0.conv1.weight"
_SCALAR: Any = np.float64(0).__reduce__()[0]


class Normalize(nn.Module):
    """The input normalisation that the NeurIPS'21 code takes from advertorch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.3054]))
        self.register_buffer("std", torch.tensor([0.3757]))


class PaperNet(UserNet):
    """The user's network with the normalisation inside, as the NeurIPS'21 code has it."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()


class _OfNumpy1(pickle._Pickler):  # type: ignore[name-defined]
    """Names numpy's scalar constructor as numpy 1 did."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Writes the name by which a pickle finds a global."""
        if obj is _SCALAR:
            self.write(b"cnumpy.core.multiarray\nscalar\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)


class Made:
    """The network at the points of its life that files are made from."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(2021)
        net = PaperNet()
        train_a_little(net, 2, seed=1)
        self.rewind = copy.deepcopy(net.state_dict())
        prune_as_users_do(net)
        self.optimizer = train_a_little(net, 3, seed=2)
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones=[91, 136], gamma=0.1)
        self.paper_state = copy.deepcopy(net.state_dict())
        self.prune_state = _without_constants(self.paper_state)
        prune.remove(net.block, "weight")
        self.state = _without_constants(copy.deepcopy(net.state_dict()))

    def bundle(self, path: Path) -> None:
        """A ticket as `find` leaves it."""
        save(self._ticket(), path)

    def signed_bundle(self, path: Path) -> None:
        """A ticket as `embed` leaves it."""
        embedded = embed(self._ticket(), MESSAGE, secret=b"fixture")
        claim = replace(embedded.claim, created="2026-01-01T00:00:00+00:00")
        save(embedded.ticket, path, claim=claim.to_json())

    def of_paper(self, path: Path) -> None:
        """A checkpoint of the NeurIPS'21 code, written on a GPU."""
        result = {"train": [10.0, 12.5], "ta": [9.9, 11.0], "test_ta": [10.1, 12.0]}
        content = {
            "state": 1,
            "result": result,
            "epoch": 2,
            "state_dict": self.paper_state,
            "best_sa": 11.0,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "init_weight": self.rewind,
        }
        _save_on_gpu(content, path)

    def mask_of_paper(self, path: Path) -> None:
        """What the NeurIPS'21 code writes after it put a code into a mask: the masks alone."""
        torch.save({n: t for n, t in self.paper_state.items() if "mask" in n}, path)

    def imagenet_example(self, path: Path) -> None:
        """A checkpoint of PyTorch's ImageNet example: DataParallel, best_acc1 a tensor on the GPU."""
        content = {
            "epoch": 3,
            "arch": "usernet",
            "state_dict": {f"module.{n}": t for n, t in self.state.items()},
            "best_acc1": torch.tensor(71.5),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }
        _save_on_gpu(content, path)

    def with_objects(self, path: Path, pickle_module: Any = pickle) -> None:
        """A checkpoint with the command line and numpy scalars of the script that wrote it."""
        args = argparse.Namespace(arch="usernet", lr=0.1, milestones=[91, 136], resume=None)
        scores = {
            "best": np.float64(71.5),
            "epoch": np.int64(3),
            "loss": np.float32(0.5),
            "ok": np.bool_(True),
        }
        content = {"args": args, "scores": scores, "model": self.state}
        torch.save(content, path, pickle_module=pickle_module)

    def _ticket(self) -> Ticket:
        recipe = preset("demo", arch="resnet20", dataset="digits", rounds=1)
        mask = Mask({LAYER: self.prune_state[f"{LAYER}_mask"] != 0})
        history = (
            HistoryEntry(
                step="dense", kept=mask.total, total=mask.total, validation=12.0, test=11.5, epochs=2
            ),
            HistoryEntry(
                step="prune",
                kept=mask.kept,
                total=mask.total,
                rate=0.7,
                winning=True,
                accepted=True,
                validation=11.0,
                test=12.0,
                epochs=2,
                seconds=0.5,
                made_with={"torch": "2.13.0", "device": "cpu"},
            ),
        )
        rewind = _without_constants(self.rewind)
        return Ticket(weights=self.state, mask=mask, rewind=rewind, recipe=recipe.to_json(), history=history)


def _without_constants(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in state.items() if not name.startswith("normalize.")}


def _save_on_gpu(content: object, path: Path) -> None:
    with patch.object(torch.serialization, "location_tag", lambda storage: "cuda:0"):
        torch.save(content, path)


def fixtures(made: Made) -> dict[str, Callable[[Path], None]]:
    """What writes each fixture, by file name."""
    of_numpy1 = SimpleNamespace(Pickler=_OfNumpy1, __name__="pickle", dumps=pickle.dumps)
    return {
        f"bundle-v{FORMAT_VERSION}": made.bundle,
        f"bundle-v{FORMAT_VERSION}-signed": made.signed_bundle,
        "state.safetensors": lambda path: safetensors.torch.save_file(made.state, path),
        "state.pt": lambda path: torch.save(made.state, path),
        "state-legacy.pt": lambda path: torch.save(made.state, path, _use_new_zipfile_serialization=False),
        "nested.pth": lambda path: torch.save({"epoch": 3, "state_dict": made.state}, path),
        "data-parallel.pth": lambda path: torch.save({f"module.{n}": t for n, t in made.state.items()}, path),
        "imagenet-example.pth.tar": made.imagenet_example,
        "prune.pt": lambda path: torch.save(made.prune_state, path),
        "neurips21.pth.tar": made.of_paper,
        "neurips21-mask.pth.tar": made.mask_of_paper,
        "objects.pth": made.with_objects,
        "objects-numpy1.pth": lambda path: made.with_objects(path, of_numpy1),
    }


def make(folder: Path) -> list[Path]:
    """Writes the fixtures that are missing; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, write in fixtures(Made()).items():
        if not (folder / name).exists():
            write(folder / name)
            written.append(folder / name)
    return written


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if sys.argv[1:] else FIXTURES):
        print(path)
