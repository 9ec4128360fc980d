"""Networks of a user's own, and the small data set and recipe that they are trained with."""

from __future__ import annotations

import torch

from support.tiny import tiny_data, tiny_recipe
from support.user_net import UserNet
from ticket_sig.training import Steps

DATA = tiny_data(classes=10)
RECIPE = tiny_recipe(length=Steps(1), rates=(0.5,))


def user_net(seed: int = 0) -> UserNet:
    """A network of a user, dense and not trained; a code of version 1 fits into `layer1.0.conv1`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UserNet()
