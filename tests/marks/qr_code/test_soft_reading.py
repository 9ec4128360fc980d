"""A damaged code is read by the modules that are trusted most, and never wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ticket_sig import Claim, Ticket, load
from ticket_sig.attacks import ATTACKS
from ticket_sig.attacks.scene import Scene
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.marks.qr_code import qr, soft
from ticket_sig.marks.qr_code.reading import modules

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


@pytest.fixture(scope="module")
def shipped() -> tuple[Ticket, CodeMark]:
    """The shipped ticket, which was signed in version 0.1, and its mark."""
    loaded = load(CHECKPOINTS / "resnet20-cifar10")
    assert loaded.claim is not None
    return loaded.ticket, of_kind(CodeMark, Claim.read(loaded.claim))


def read_as_the_standard_says(suspect: Ticket, mark: CodeMark) -> bool:
    """Whether Reed-Solomon decoding alone corrects what is wrong."""
    light = modules(suspect.weights[mark.placement.layer], mark)
    try:
        return qr.decode(light, mark.version, mark.level, mark.data_mask).message == mark.message
    except qr.QRDecodeError:
        return False


def put_back(ticket: Ticket, seed: int) -> Ticket:
    """2 % of what is pruned put back, by chance."""
    return ATTACKS["add-on"](rate=0.02).attacked(ticket, Scene(seed=seed)).ticket


DAMAGES: dict[str, Callable[[Ticket, int], Ticket]] = {
    "5 % pruned": lambda ticket, _: prune_ticket(ticket, 0.05),
    "35 % pruned at random": lambda ticket, seed: prune_ticket(ticket, 0.35, scope="random", seed=seed),
    "2 % put back": put_back,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_lost_is_read(shipped: tuple[Ticket, CodeMark], damage: str) -> None:
    ticket, mark = shipped
    for seed in range(3):
        suspect = DAMAGES[damage](ticket, seed)
        assert not read_as_the_standard_says(suspect, mark)
        assert mark.read(suspect).message == mark.message


def test_a_message_is_read_or_none_at_any_strength_of_pruning(shipped: tuple[Ticket, CodeMark]) -> None:
    ticket, mark = shipped
    found = [mark.read(prune_ticket(ticket, rate)).message for rate in (0.02, 0.1, 0.2, 0.4, 0.8, 0.99)]
    assert set(found) <= {mark.message, None}
    assert found[0] == mark.message and found[-1] is None


@pytest.mark.parametrize("light", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_unrelated_modules_have_no_message(shipped: tuple[Ticket, CodeMark], light: float) -> None:
    _, mark = shipped
    draw = torch.Generator().manual_seed(1)
    for _ in range(10):
        weights = torch.randn(mark.shape, generator=draw)
        weights *= (torch.rand(mark.shape[:2], generator=draw) < light)[..., None, None]
        suspect = {mark.placement.layer: weights}
        assert mark.read(suspect).message is None


@pytest.mark.parametrize(("symbols", "data"), [(35, 13), (26, 19), (44, 28)])
def test_a_codeword_is_found_by_its_ones_alone(symbols: int, data: int) -> None:
    """A third of the zeros is trusted as little as is right; without errors the word itself comes back."""
    draw = np.random.default_rng(0)
    words = soft._generator(symbols, data)
    for lost in (0, 8):
        word = np.bitwise_xor.reduce(words[draw.random(len(words)) < 0.5], axis=0)
        read = word.copy()
        read[draw.choice(word.nonzero()[0], lost, replace=False)] = False
        trust = np.where(read, 1000.0, 1.0)
        found = soft.nearest(read, trust, data)
        expected = np.packbits(word).tobytes()
        assert found == expected if lost == 0 or 2 * data < symbols else found in (expected, None)


def test_no_codeword_is_made_of_noise() -> None:
    draw = np.random.default_rng(2)
    for symbols, data in ((35, 13), (26, 19), (26, 9)):
        for density in (0.1, 0.5, 0.9):
            for _ in range(20):
                read = draw.random(8 * symbols) < density
                assert soft.nearest(read, np.where(read, 2.0, 1.0) + draw.random(8 * symbols), data) is None


def test_words_that_fit_are_counted() -> None:
    """Against all words of 10 bits, one by one."""
    read = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    every = (np.arange(1024)[:, None] >> np.arange(10) & 1).astype(bool)
    for misses, extra in ((0, 0), (1, 0), (2, 1)):
        word = read.copy()
        word[3 : 3 + misses] = True
        word[:extra] = False
        fits = ((every & ~read).sum(1) <= misses) & ((~every & read).sum(1) <= extra)
        share = np.exp(soft._log_fitting(read, word)) / 11  # the bound for all shapes of that area
        assert share == pytest.approx(fits.mean())
