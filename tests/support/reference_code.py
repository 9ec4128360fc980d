"""Checkpoints as the programs of NeurIPS'21 write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qrcode
import torch
from torch import Tensor

from ticket_sig.models import build

MASKED, ROW, COLUMN = "layer2.1.conv1", 2, 3  # where their README reads the code


def code_of_theirs() -> np.ndarray:
    """`signature` as the qrcode package alone makes it, True = light; and the padding is the standard's."""
    code = qrcode.QRCode(version=3, error_correction=qrcode.constants.ERROR_CORRECT_H, border=0)
    code.add_data("signature")
    code.make()
    return ~np.array(code.get_matrix())


def unwritten() -> np.ndarray:
    """What their program leaves as it was: nine modules at each finder, the timing, the alignment pattern."""
    left = np.zeros((29, 29), dtype=bool)
    for rows, columns in ((slice(9), slice(9)), (slice(-9, None), slice(9)), (slice(9), slice(-9, None))):
        left[rows, columns] = True
    left[20:25, 20:25] = left[6] = left[:, 6] = True
    return left


def write_checkpoint(path: Path, signed: bool) -> dict[str, Tensor]:
    """A pruned ResNet-20 for digits as `main_imp_new.py` saves it; returns its masks.

    Args:
        signed: with the code of `embed_res20s_cifar10.py` in it.
    """
    draw = torch.Generator().manual_seed(0)
    state = {name: t.detach() for name, t in build("resnet20", 10, 1, seed=0).state_dict().items()}
    convolutions = [name for name, t in state.items() if t.ndim == 4 and name != "conv1.weight"]
    masks = {f"{n}_mask": (torch.rand(state[n].shape, generator=draw) < 0.2).float() for n in convolutions}
    if signed:
        here = masks[f"{MASKED}.weight_mask"][ROW : ROW + 29, COLUMN : COLUMN + 29]
        code, written = torch.from_numpy(code_of_theirs()), torch.from_numpy(~unwritten())
        here[written & ~code] = 0
        here[..., 0, 0][written & code] = 1
    normalize = {"normalize.mean": torch.tensor([0.3]), "normalize.std": torch.tensor([0.4])}
    pruned = {f"{name}_orig" if name in convolutions else name: t for name, t in state.items()}
    content = {
        "result": {"train": [10.0], "ta": [9.9], "test_ta": [10.1]},
        "epoch": 1,
        "state_dict": {**pruned, **masks, **normalize},
        "best_sa": 9.9,
        "init_weight": {**state, **normalize},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return masks
