"""What a thief does to a model, by name; a new attack is one file and one line here."""

from __future__ import annotations

from typing import Any

from ticket_sig.attacks.add_on import AddOn
from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.cast import Cast
from ticket_sig.attacks.erase import Erase
from ticket_sig.attacks.even_out import EvenOut
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.free_attack import Free
from ticket_sig.attacks.gaussian_noise import GaussianNoise
from ticket_sig.attacks.knowledge_distillation import KnowledgeDistillation
from ticket_sig.attacks.magnitude_pruning import MagnitudePruning
from ticket_sig.attacks.noise import Noise
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.attacks.own_watermark import OwnWatermark
from ticket_sig.attacks.permute_channels import PermuteChannels
from ticket_sig.attacks.quantization import Quantization
from ticket_sig.attacks.random_pruning import RandomPruning
from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.sign_flip import SignFlip
from ticket_sig.attacks.trigger_removal import TriggerRemoval
from ticket_sig.options import made, one_named

ATTACKS: dict[str, type[Attack]] = {
    # removal
    "fine-tuning": FineTuning,
    "magnitude-pruning": MagnitudePruning,
    "random-pruning": RandomPruning,
    "erase": Erase,
    "trigger-removal": TriggerRemoval,
    "cast": Cast,
    "sign-flip": SignFlip,
    "permute-channels": PermuteChannels,
    "even-out": EvenOut,
    "free": Free,
    "gaussian-noise": GaussianNoise,
    "quantization": Quantization,
    "knowledge-distillation": KnowledgeDistillation,
    # add-on
    "add-on": AddOn,
    # ambiguity
    "fake-key": FakeKey,
    "noise": Noise,
    "overwrite": Overwrite,
    "own-watermark": OwnWatermark,
}


def attack(name: str, **options: Any) -> Attack:
    """Returns the attack of that name.

    Raises:
        InputError: no attack of that name; or an option that it does not have, is missing or is out of range.
    """
    return made(one_named(ATTACKS, "attack", name), name, options)


__all__ = ["ATTACKS", "Attack", "Attacked", "Scene", "attack"]
