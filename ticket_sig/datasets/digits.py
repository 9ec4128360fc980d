"""The 1,797 handwritten digits that come with scikit-learn (8x8, grey): real data without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ticket_sig.datasets.data import Split
from ticket_sig.errors import needs_extra

_TEST = 360


def read_digits() -> tuple[Split, Split]:
    """Returns (train, test): 1,437 and 360 images, always shuffled alike; InputError without scikit-learn."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise needs_extra("scikit-learn", "demo", "the digits data set")
    # To import scikit-learn takes longer than an epoch; 64 pixels (0 to 16) and a label stand in each line.
    table = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", np.uint8, delimiter=",")
    images = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    # The file's order follows its writers; the shuffle puts every writer into both splits.
    everything = Split(torch.from_numpy(images), torch.from_numpy(table[:, -1].astype(np.int64))).shuffled()
    return everything[:-_TEST], everything[-_TEST:]
