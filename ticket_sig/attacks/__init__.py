"""What a thief does to a model, by name; a new attack is one file and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ticket_sig.attacks.add_on import AddOn
from ticket_sig.attacks.cast import Cast
from ticket_sig.attacks.erase import Erase
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.magnitude_pruning import MagnitudePruning
from ticket_sig.attacks.noise import Noise
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.attacks.own_watermark import OwnWatermark
from ticket_sig.attacks.random_pruning import RandomPruning
from ticket_sig.attacks.scene import Attack, Scene
from ticket_sig.attacks.sign_flip import SignFlip
from ticket_sig.attacks.trigger_removal import TriggerRemoval
from ticket_sig.claim import Claim
from ticket_sig.errors import bad_input
from ticket_sig.ticket import Ticket

ATTACKS: Mapping[str, Callable[..., Attack]] = {
    # removal
    "fine-tuning": FineTuning,
    "magnitude-pruning": MagnitudePruning,
    "random-pruning": RandomPruning,
    "erase": Erase,
    "trigger-removal": TriggerRemoval,
    "cast": Cast,
    "sign-flip": SignFlip,
    # add-on
    "add-on": AddOn,
    # ambiguity
    "fake-key": FakeKey,
    "noise": Noise,
    "overwrite": Overwrite,
    "own-watermark": OwnWatermark,
}

# Attacks that use the place of the owner's code (`Scene.signature`).
OF_INSIDERS = ("erase", "overwrite")


def attack(name: str, **options: Any) -> Attack:
    """Returns the attack of that name.

    Raises:
        InputError: no attack of that name; or an option that it does not have, is missing or is out of range.
    """
    if name not in ATTACKS:
        raise bad_input("", "attack", f"one of {', '.join(ATTACKS)}", repr(name))
    parameters = inspect.signature(ATTACKS[name]).parameters
    known = ", ".join(parameters)
    if extra := [option for option in options if option not in parameters]:
        raise bad_input("", name, f"options among {known}", ", ".join(extra))
    needed = [n for n, p in parameters.items() if p.default is p.empty and n not in options]
    if needed:
        hint = f"give it: {', '.join(f'--{n}' for n in needed)}"
        raise bad_input("", name, f"the option {', '.join(needed)}", "none of that name", hint=hint)
    return ATTACKS[name](**options)


def carry_out(made: Attack, ticket: Ticket, scene: Scene) -> tuple[Ticket, Claim | None]:
    """Carries an attack out: the attacked ticket, and the claim of a thief who writes a mark of his own.

    Raises:
        InputError: as of the attack.
    """
    if isinstance(made, (Overwrite, OwnWatermark)):
        forged = made.forge(ticket, scene)
        return forged.ticket, forged.claim
    return made(ticket, scene), None


__all__ = ["ATTACKS", "OF_INSIDERS", "Attack", "Scene", "attack", "carry_out"]
