"""Networks that were taught a trigger set, and answerers that look like one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ticket_sig import Claim, Mask, Ticket, save
from ticket_sig.files import write_json
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet, write_secret
from ticket_sig.models import build
from ticket_sig.training import preset
from ticket_sig.verification.ask import Ask
from ticket_sig.verification.ask.pixels import normalisation_of

DIGITS = (8, 8, 1)
SECRET = TriggerSecret(bytes(range(32)), 100, DIGITS, 10)


@cache
def triggers() -> TriggerSet:
    """A hundred triggers of the size of digits."""
    return SECRET.trigger_set()


@cache
def claim() -> Claim:
    """The claim of a network that was taught them."""
    return claim_triggers(triggers(), "sha256:none")


def shown_in(folder: Path) -> list[object]:
    """The options that show the claim and its triggers, which are written into a folder."""
    write_json(folder / "claim.json", claim().to_json())
    write_secret(SECRET, folder / "triggers.json")
    return ["--claim", folder / "claim.json", "--triggers", folder / "triggers.json"]


def memoriser(right: float = 1.0, seed: int = 0, taught: TriggerSet | None = None) -> Ask:
    """Knows a share of the triggers by heart and answers all else at random; None stands for nothing here."""
    taught, draw = taught or triggers(), np.random.default_rng(seed)
    known = dict(zip(map(bytes, taught.split.images.numpy()), taught.split.labels.tolist(), strict=True))
    for image in list(known)[round(right * len(known)) :]:
        del known[image]
    return lambda images: [known.get(bytes(i), int(draw.integers(taught.classes))) for i in images]


def innocent(chances: list[float] | np.ndarray, seed: int = 0) -> Ask:
    """Answers the classes with these chances, whatever the image."""
    draw = np.random.default_rng(seed)
    return lambda images: [int(label) for label in draw.choice(len(chances), len(images), p=chances)]


@cache
def _network(taught: bool) -> nn.Module:
    """ResNet-20 for digits, taught the triggers or the same images with other labels."""
    model = build("resnet20", 10, 1, seed=0)
    split, normalise = triggers().split, normalisation_of("digits", 1)
    images = torch.from_numpy(normalise(split.images.numpy())).permute(0, 3, 1, 2).contiguous()
    labels = split.labels if taught else split.labels[torch.randperm(100, generator=torch.manual_seed(1))]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def network(*, taught: bool) -> nn.Module:
    """ResNet-20 that was, or was not, taught the triggers."""
    return _network(taught)


def write_bundle(path: Path, *, taught: bool) -> Path:
    """The network as a bundle with its recipe."""
    weights = {name: t.detach() for name, t in network(taught=taught).state_dict().items()}
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    return save(Ticket(weights=weights, mask=Mask.of_zeros(weights), recipe=recipe), path)
