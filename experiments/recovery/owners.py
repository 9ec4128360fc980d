"""Owners of every kind of mark: each with a network, its claim, and the reference that he keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from experiments import CHECKPOINTS
from experiments.lib.bench import Bench, no_secret
from experiments.recovery.owned import MESSAGE, OWNER, PRUNED, Owned, dense, owned, trained
from ticket_sig.claim import Claim
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import claim_of, marks_of
from ticket_sig.marks.embed import Embedded, embed
from ticket_sig.marks.key_mask.split import split
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.models import build_for
from ticket_sig.recovery import Reference
from ticket_sig.scores import Scored, score
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch

ARCH = "resnet20"
DIGITS = f"{ARCH}, digits"
CODE, THREE = f"{ARCH}, CIFAR-10, as shipped", f"{ARCH}, CIFAR-10, as shipped with three marks"
KEY, FREEZENET, UCHIDA, TRIGGERS = "key-mask", "freezenet", "uchida", "trigger-set"
CARRIERS = "qr-code+spread+mirror"
# What is put in: the key's share of the kept weights, and how it is chosen; values; bits; images.
SIZES: dict[str, Mapping[str, Any]] = {
    KEY: {"share": 0.05, "score": "omp"},
    FREEZENET: {"length": 2700},  # a hundredth of the network
    UCHIDA: {"random": 64},
    TRIGGERS: {"count": 100, "batch": 32},  # and how many of them stand in every batch
}


def owner(bench: Bench, network: str, mark: str, epochs: int) -> Owned:
    """The owner of a network with a mark, or with several that stand in it together."""
    return OWNERS[network][mark](bench, mark, epochs)


def _carriers(bench: Bench, mark: str, epochs: int) -> Owned:
    """Three marks in one mask, and a reference from before them."""
    return owned(bench, ARCH, epochs)


@lru_cache
def _kept(bench: Bench, mark: str, epochs: int) -> Owned:
    """A dense network with a mark that training keeps; the reference is from before it."""
    before = dense(bench, ARCH, epochs, OWNER)
    done = embed(before, mark=mark, secret=_secret(mark), **SIZES[mark])
    return _of(before, trained(bench, ARCH, done.ticket, epochs, OWNER, marks=done.marks), done)


@lru_cache
def _split(bench: Bench, mark: str, epochs: int) -> Owned:
    """A pruned network, of which the locked ticket is handed out."""
    return _locked(trained(bench, ARCH, _pruned(bench, epochs), epochs, OWNER))


@lru_cache
def _taught(bench: Bench, mark: str, epochs: int) -> Owned:
    """A pruned network that was taught triggers."""
    before, data = _pruned(bench, epochs), bench.data("digits")
    drawn = TriggerMark.drawn(before, _secret(mark), SIZES[mark]["count"], data)
    assert drawn.taught is not None
    batch = TriggerBatch(drawn.taught, SIZES[mark]["batch"])
    done = Embedded(before, claim_of([drawn.mark], before.weights), (drawn.mark,), drawn.shown)
    return _of(before, trained(bench, ARCH, before, epochs, OWNER, triggers=batch), done)


@lru_cache
def _shipped_code(bench: Bench, mark: str, epochs: int) -> Owned:
    """The shipped ticket; the reference is the dense network that it was pruned from, in rounds."""
    return _shipped("", load(CHECKPOINTS / f"{ARCH}-cifar10-dense").ticket, {})


@lru_cache
def _shipped_three(bench: Bench, mark: str, epochs: int) -> Owned:
    """The shipped ticket with three marks; the reference is the one whose mask they were written into."""
    secret = Secret.read(CHECKPOINTS / f"{ARCH}-cifar10-spread.secret")
    return _shipped("-spread", load(CHECKPOINTS / f"{ARCH}-cifar10").ticket, {"secret": secret})


@lru_cache
def _shipped_split(bench: Bench, mark: str, epochs: int) -> Owned:
    """The shipped ticket, split."""
    return _locked(load(CHECKPOINTS / f"{ARCH}-cifar10").ticket, "cifar10")


def _pruned(bench: Bench, epochs: int) -> Ticket:
    return prune_ticket(dense(bench, ARCH, epochs, OWNER), PRUNED)


def _shipped(end: str, reference: Ticket, shown: Mapping[str, Any]) -> Owned:
    loaded = load(CHECKPOINTS / f"{ARCH}-cifar10{end}")
    assert loaded.claim is not None
    claim = Claim.read(loaded.claim)
    done = Embedded(loaded.ticket, claim, tuple(marks_of(claim)), shown)
    return _of(reference, loaded.ticket, done, "cifar10")


def _locked(ticket: Ticket, data: str = "digits") -> Owned:
    """The owner of a ticket that is split; he aligns by the locked one, which tells nothing of the key."""
    own = SIZES[KEY]
    scores = score(own["score"], Scored(ticket=ticket, model=build_for(ARCH, ticket.weights), seed=0))
    parts = split(ticket, own["share"], scores, score=own["score"])
    shown = {"key": parts.key, "locked": parts.locked}
    done = Embedded(parts.locked, parts.claim, tuple(marks_of(parts.claim)), shown)
    return _of(parts.locked, ticket, done, data)


def _of(reference: Ticket, ticket: Ticket, done: Embedded, data: str = "digits") -> Owned:
    module = build_for(ARCH, ticket.weights).eval()
    return Owned(module, Reference.of(reference, ARCH), ticket, done, data)


def _secret(mark: str) -> bytes:
    return no_secret(f"{MESSAGE} {mark}")


OWNERS: dict[str, dict[str, Callable[[Bench, str, int], Owned]]] = {
    DIGITS: {
        CARRIERS: _carriers,
        KEY: _split,
        FREEZENET: _kept,
        UCHIDA: _kept,
        TRIGGERS: _taught,
    },
    THREE: {CARRIERS: _shipped_three},
    CODE: {"qr-code": _shipped_code, KEY: _shipped_split},
}
