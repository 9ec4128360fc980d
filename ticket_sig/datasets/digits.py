"""The 1,797 handwritten digits that come with scikit-learn (8x8, grey): real data without a download."""

from __future__ import annotations

import numpy as np
import torch

from ticket_sig.datasets.data import Split
from ticket_sig.errors import needs_extra

_TEST = 360


def read_digits() -> tuple[Split, Split]:
    """Returns (train, test): 1,437 and 360 images, always shuffled alike; InputError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise needs_extra("scikit-learn", "demo", "the digits data set") from None
    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    # The file's order follows its writers; the shuffle puts every writer into both splits.
    everything = Split(torch.from_numpy(images), torch.from_numpy(found.target.astype(np.int64))).shuffled()
    return everything[:-_TEST], everything[-_TEST:]
