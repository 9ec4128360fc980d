"""The verification framework of NeurIPS'21, section 3.2: every scheme as a tuple (ME, WE, F, V, I)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ticket_sig.attacks import Attack
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.attacks.noise import Noise
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.attacks.trigger_removal import TriggerRemoval
from ticket_sig.lottery import retrain
from ticket_sig.signatures.scheme1 import split
from ticket_sig.signatures.scheme2 import embed
from ticket_sig.verification.black_box import verify_answers
from ticket_sig.verification.fidelity import fidelity
from ticket_sig.verification.white_box import verify


class Framework(NamedTuple):
    """A scheme in the paper's words.

    Attributes:
        mask_embedding: ME(M0, s), puts a string (or a key) into the mask.
        weight_embedding: WE, trains it, with a trigger set where the scheme has one.
        fidelity: F, whether the accuracy is within eps_f of the promised one.
        verification: V, compares what is read, or answered, with the claim.
        inversion: I, the ambiguity attacks that it must withstand, by the paper's names.
    """

    mask_embedding: Callable[..., Any]
    weight_embedding: Callable[..., Any]
    fidelity: Callable[..., Any]
    verification: Callable[..., Any]
    inversion: Mapping[str, Callable[..., Attack]]


FRAMEWORKS: Mapping[str, Framework] = {
    "scheme 1": Framework(split, retrain, fidelity, verify, {"fake1": FakeKey}),
    "scheme 2": Framework(embed, retrain, fidelity, verify, {"fake2": Noise, "fake3": Overwrite}),
    # WE has its trigger set: retrain(..., triggers=...).
    "scheme 3": Framework(
        embed,
        retrain,
        fidelity,
        verify_answers,
        {"fake2": Noise, "fake3": Overwrite, "trigger removal": TriggerRemoval},
    ),
}
