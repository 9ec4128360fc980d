"""Mining: one network after the other is trained with the watermark held, until one is accurate enough."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.models import build
from ticket_sig.prf import keyed_words
from ticket_sig.proof_of_work.challenge import NONCE_BYTES, Challenge, signed_bytes, watermark_of
from ticket_sig.proof_of_work.solution import Solution
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine, train
from ticket_sig.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One training: its nonce, test accuracy in % (float32), seconds, and what it was trained with."""

    nonce: bytes
    accuracy: float
    seconds: float
    made_with: Mapping[str, Any]


@dataclass(frozen=True)
class Mined:
    """What mining came to: every attempt in order, and the solution; None where the budget was too small."""

    attempts: tuple[Attempt, ...]
    solution: Solution | None


def mine(
    challenge: Challenge,
    data: Dataset,
    recipe: Recipe,
    *,
    engine: Engine | None = None,
    attempts: int | None = None,
    seconds: float | None = None,
    nonces: Iterable[bytes] | None = None,
) -> Mined:
    """Trains one network after the other with the watermark held, until one reaches the target.

    Each attempt goes through the recipe's whole schedule with another nonce, from which initial weights and
    all else that is drawn follow. Nothing is written: mining that is stopped loses the current attempt.

    Args:
        recipe: of each attempt, but for its seed.
        attempts: how many at most.
        seconds: after so many, no attempt is begun.
        nonces: what to try, 16 bytes each; fresh ones by default.

    Raises:
        InputError: the recipe is for another network, a budget or a nonce is out of range, or a training
            failed (`train`).
    """
    if recipe.arch != challenge.arch:
        raise bad_input("recipe", "arch", f"the challenge's, {challenge.arch}", repr(recipe.arch)[:80])
    for name, budget in (("attempts", attempts), ("seconds", seconds)):
        if budget is not None and not budget > 0:
            raise bad_input("budget", name, "more than 0", repr(budget)[:80])
    engine, tried, begun = engine or Engine(), list[Attempt](), time.monotonic()
    for nonce in _fresh() if nonces is None else nonces:
        weights, attempt = _attempt(challenge, data, recipe, engine, nonce, len(tried) + 1)
        tried.append(attempt)
        elapsed, target = time.monotonic() - begun, challenge.difficulty.target
        if attempt.accuracy >= target:
            solution = Solution(
                **challenge.of_data(data),
                weights=weights,
                nonce=nonce,
                difficulty=challenge.difficulty,
                accuracy=attempt.accuracy,
                seconds=elapsed,
                attempts=len(tried),
            )
            return Mined(tuple(tried), solution)
        engine.progress.note(f"attempt {len(tried)}: {attempt.accuracy:.2f} %, of {target:g} %")
        if len(tried) >= (attempts or math.inf) or elapsed >= (seconds or math.inf):
            break
    return Mined(tuple(tried), None)


def _fresh() -> Iterator[bytes]:
    while True:
        yield secrets.token_bytes(NONCE_BYTES)


def _attempt(
    challenge: Challenge, data: Dataset, recipe: Recipe, engine: Engine, nonce: bytes, number: int
) -> tuple[dict[str, Tensor], Attempt]:
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
        raise bad_input("mining", "nonce", f"{NONCE_BYTES} bytes", repr(nonce)[:80])
    begun = time.monotonic()
    # One bit less than a word: PyTorch's seeds are signed.
    seed = int(keyed_words(signed_bytes(challenge.block, nonce), "proof of work seed", 1)[0] >> 1)
    model = build(challenge.arch, data.classes, data.channels, seed)
    mark = watermark_of(challenge, nonce, data)
    label = f"attempt {number}"
    trained = train(model, data, replace(recipe, seed=seed), engine, marks=[mark], label=label)
    right = weights_accuracy(trained.weights, challenge.arch, data, engine.device)
    spent = time.monotonic() - begun
    return trained.weights, Attempt(nonce=nonce, accuracy=right, seconds=spent, made_with=trained.made_with)
