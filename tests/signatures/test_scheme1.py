"""Scheme 1: a ticket splits into locked ticket and key, and comes together bit for bit, with no other key."""

from __future__ import annotations

import filecmp
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import sparse_ticket
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import InputError, Ticket, load, save
from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.signatures.scheme1 import Key, Split, split, unlock


def magnitudes(ticket: Ticket) -> dict[str, torch.Tensor]:
    return {name: ticket.weights[name].abs() for name in ticket.mask}


def parts(ticket: Ticket, share: float = 0.05) -> Split:
    return split(ticket, share, magnitudes(ticket), score="omp")


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.001, 0.999), seed=st.integers(0, 1000), coarse=st.booleans(), rewind=st.booleans())
def test_exactly_the_share_goes_the_highest_first_and_comes_back(
    share: float, seed: int, coarse: bool, rewind: bool
) -> None:
    ticket = sparse_ticket(seed=seed, rewind=rewind)
    scores = magnitudes(ticket)
    if coarse:  # many ties
        scores = {name: (2 * s).round() for name, s in scores.items()}
    made = split(ticket, share, scores)
    assert len(made.key) == round(share * ticket.mask.kept)
    assert made.locked.mask.kept == ticket.mask.kept - len(made.key)
    gone = {name: ticket.mask[name] & ~made.locked.mask[name] for name in ticket.mask}
    taken = torch.cat([scores[name][g] for name, g in gone.items()])
    left = torch.cat([scores[name][k] for name, k in made.locked.mask.items()])
    assert taken.min() >= left.max()
    back, _ = unlock(made.locked, made.key, made.claim, made.sealed)
    assert back.mask == ticket.mask and back.history == ticket.history
    assert tensor_digest(back.weights) == tensor_digest(ticket.weights)
    assert (back.rewind is None) == (ticket.rewind is None)
    assert not rewind or tensor_digest(back.rewind or {}) == tensor_digest(ticket.rewind or {})


def test_of_equal_scores_the_larger_magnitude_goes() -> None:
    ticket = sparse_ticket()
    made = split(ticket, 0.1, {name: torch.zeros(k.shape) for name, k in ticket.mask.items()})
    taken = torch.cat(list(made.key.weights.values())).abs().min()
    left = max(float(made.locked.weights[name].abs().max()) for name in made.locked.mask)
    assert taken >= left


def test_the_files_come_back_byte_for_byte(tmp_path: Path) -> None:
    ticket = sparse_ticket(rewind=True)
    claim = {"format": "of an earlier mark"}
    save(ticket, tmp_path / "whole", claim=claim)
    made = split(ticket, 0.05, magnitudes(ticket), claim=claim)
    save(made.locked, tmp_path / "locked", claim=made.claim.to_json(), sealed=made.sealed)
    made.key.write(tmp_path / "key.safetensors")
    assert (tmp_path / "key.safetensors").stat().st_mode & 0o077 == 0, "others can read the key"

    loaded = load(tmp_path / "locked")
    assert loaded.claim and loaded.sealed
    key = Key.read(tmp_path / "key.safetensors")
    back, earlier = unlock(loaded.ticket, key, Claim.read(loaded.claim), loaded.sealed.read_bytes())
    save(back, tmp_path / "back", claim=earlier)
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert filecmp.cmpfiles(tmp_path / "whole", tmp_path / "back", names, shallow=False)[0] == names


def test_the_locked_ticket_does_not_tell_the_key(tmp_path: Path) -> None:
    """Rewind weights at the key's positions are often large: with them a thief could guess the key."""
    ticket = sparse_ticket(rewind=True)
    made = parts(ticket)
    save(made.locked, tmp_path / "locked", claim=made.claim.to_json(), sealed=made.sealed)
    locked = load(tmp_path / "locked").ticket
    assert locked.rewind is not None
    for name, kept in made.locked.mask.items():
        assert not locked.rewind[name][~kept].any() and not locked.weights[name][~kept].any()
    told = b"".join(file.read_bytes() for file in (tmp_path / "locked").iterdir())
    for name, values in made.key.weights.items():
        assert values.numpy().tobytes() not in told and name.encode() in told


def test_two_splits_of_one_ticket_share_no_commitment() -> None:
    ticket = sparse_ticket()
    assert parts(ticket).claim.signature["commitment"] != parts(ticket).claim.signature["commitment"]


def test_a_key_of_another_ticket_is_refused() -> None:
    made, other = parts(sparse_ticket(seed=0)), parts(sparse_ticket(seed=7))
    with pytest.raises(
        InputError, match=r"^key: ticket: expected the claim's sha256:.*found a key of sha256:"
    ):
        unlock(made.locked, other.key, made.claim, made.sealed)


def test_an_altered_key_is_refused(tmp_path: Path) -> None:
    made = parts(sparse_ticket())
    name = next(iter(made.key.weights))
    for altered in (
        replace(made.key, weights={**made.key.weights, name: made.key.weights[name] * 1.0001}),
        replace(made.key, positions={**made.key.positions, name: made.key.positions[name] + 1}),
        replace(made.key, secret=bytes(32)),
    ):
        altered.write(tmp_path / "key.safetensors")
        with pytest.raises(InputError, match=r"key: digest: expected the claim's .*altered since"):
            unlock(made.locked, Key.read(tmp_path / "key.safetensors"), made.claim, made.sealed)


def test_a_locked_ticket_that_was_trained_or_sealed_anew_is_refused() -> None:
    made = parts(sparse_ticket())
    weights = {name: 2 * w for name, w in made.locked.weights.items()}
    with pytest.raises(InputError, match=r"locked ticket: digest: .*before it is trained"):
        unlock(replace(made.locked, weights=weights), made.key, made.claim, made.sealed)
    with pytest.raises(InputError, match="locked ticket: sealed part: expected what this key sealed"):
        unlock(made.locked, made.key, made.claim, made.sealed[:-1] + b"x")


def test_without_its_sealed_part_it_is_unlocked_without_earlier_claim() -> None:
    ticket = sparse_ticket(rewind=True)
    made = parts(ticket)
    back, earlier = unlock(made.locked, made.key, made.claim, None)
    assert tensor_digest(back.weights) == tensor_digest(ticket.weights) and earlier is None


@pytest.mark.parametrize("share", [0.0, 1.0, -1, float("nan"), 1e-9, 1 - 1e-9])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"^share: expected"):
        parts(sparse_ticket(), share)


def test_scores_that_are_no_numbers_are_refused() -> None:
    ticket = sparse_ticket()
    scores = {name: torch.full(k.shape, float("nan")) for name, k in ticket.mask.items()}
    with pytest.raises(InputError, match="scores: kept weights: expected numbers, found"):
        split(ticket, 0.1, scores)
    with pytest.raises(InputError, match=r"scores.*b\.weight"):
        split(ticket, 0.1, {name: s for name, s in magnitudes(ticket).items() if name != "b.weight"})
