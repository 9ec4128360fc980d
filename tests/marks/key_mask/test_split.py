"""Scheme 1: a ticket splits into locked ticket and key, and comes together bit for bit, with no other key."""

from __future__ import annotations

import filecmp
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tickets import sparse, sparse_ticket

from ticket_sig import InputError, Mask, Ticket, load, save, verify
from ticket_sig.claim import Claim, ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import KeyMark, of_kind
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.split import Split, split, unlock
from ticket_sig.ticket import HistoryEntry


def batch_normed(seed: int) -> dict[str, torch.Tensor]:
    """A small network with batch norm, its matrix under `MASK` where the seed is 0."""
    draw = torch.Generator().manual_seed(seed)
    return {
        "c.weight": sparse(16, 8, 3, 3, density=0.3 if seed == 0 else 1.0, seed=seed),
        "bn.weight": torch.rand(16, generator=draw),
        "bn.running_mean": torch.randn(16, generator=draw),
        "bn.running_var": torch.rand(16, generator=draw),
        "bn.num_batches_tracked": torch.tensor(1000 + seed),
    }


MASK = Mask.of_zeros({"c.weight": batch_normed(0)["c.weight"]})


def earlier_claim() -> dict[str, Any]:
    """The claim of an earlier mark, with a field that this version does not know."""
    mark = ClaimedMark("qr-code", {"message": "\u00e9", "x": 0.1})
    made = Claim(marks=(mark,), subject="sha256:", accuracy=90.5)
    return {**made.to_json(), "later": 1e-7}


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
    weights, rewind = batch_normed(0), batch_normed(1)
    history = (
        HistoryEntry(step="dense", kept=1, total=1, made_with={"torch": "2"}),
        HistoryEntry(step="sign", kept=1, total=2),
    )
    recipe = {"arch": "own", "rates": [0.5, 0.2], "rewind": "24ep"}
    ticket = Ticket(weights=weights, mask=MASK, rewind=rewind, recipe=recipe, history=history)
    claim = earlier_claim()
    save(ticket, tmp_path / "whole", claim=claim)
    made = split(ticket, 0.05, magnitudes(ticket), claim=claim)
    save(made.locked, tmp_path / "locked", claim=made.claim.to_json(), sealed=made.sealed)
    made.key.write(tmp_path / "key.safetensors")
    assert (tmp_path / "key.safetensors").stat().st_mode & 0o077 == 0, "others can read the key"
    # Recipe and history of the locked ticket are anybody's to change: those that were sealed come back.
    head = json.loads((tmp_path / "locked" / "ticket.json").read_text())
    head |= {"recipe": {"arch": "other"}, "history": []}
    (tmp_path / "locked" / "ticket.json").write_text(json.dumps(head))

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


def test_batch_norm_s_statistics_do_not_tell_the_key() -> None:
    """Where the key feeds a channel, the whole network's statistics are not those of the locked network."""
    ticket = Ticket(weights=batch_normed(0), mask=MASK, rewind=batch_normed(1))
    made = parts(ticket)
    locked = made.locked.weights
    assert not locked["bn.running_mean"].any() and (locked["bn.running_var"] == 1).all()
    assert locked["bn.num_batches_tracked"] == 0
    assert locked["bn.num_batches_tracked"].dtype == ticket.weights["bn.num_batches_tracked"].dtype
    assert made.claim.subject == tensor_digest(locked)
    # Training starts from the rewind weights, whose statistics are those of the dense network.
    start, before = made.locked.rewound(), ticket.rewound()
    for name in ("bn.weight", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"):
        assert torch.equal(start[name], before[name])
    back, _ = unlock(made.locked, made.key, made.claim, made.sealed)
    assert tensor_digest(back.weights) == tensor_digest(ticket.weights)


def tied(kind: str, masked: tuple[str, ...]) -> Ticket:
    """A ticket with one matrix under two names: as one tensor, as views of one, or as equal copies."""
    weights = dict(sparse_ticket().weights)
    other = {"object": lambda t: t, "storage": lambda t: t.view(t.shape), "copy": torch.clone}[kind]
    weights["b.weight"] = weights["b.weight"].clone()
    weights["z.weight"] = other(weights["b.weight"])
    weights["0.weight"] = other(weights["b.weight"])
    draw = torch.Generator().manual_seed(5)
    rewind = {name: torch.randn(w.shape, generator=draw) for name, w in weights.items()}
    mask = Mask({name: weights[name] != 0 for name in masked})
    return Ticket(weights=weights, mask=mask, rewind=rewind)


@pytest.mark.parametrize("kind", ["object", "storage", "copy"])
@pytest.mark.parametrize("masked", [("a.weight", "b.weight"), ("z.weight", "b.weight", "a.weight")])
def test_no_alias_gives_a_weight_of_the_key_away(kind: str, masked: tuple[str, ...], tmp_path: Path) -> None:
    ticket = tied(kind, masked)
    save(ticket, tmp_path / "whole")
    made = parts(ticket, 0.2)
    first = next(name for name in masked if name in ("b.weight", "z.weight"))
    where = made.key.positions[first]
    assert made.key.positions.keys() == {"a.weight", first}, "tied weights are split once"
    assert made.locked.rewind is not None
    for tensors in (made.locked.weights, made.locked.rewind):
        for name in ("b.weight", "z.weight", "0.weight"):
            assert not tensors[name].flatten()[where].any()
    save(made.locked, tmp_path / "locked")
    back, _ = unlock(load(tmp_path / "locked").ticket, made.key, made.claim, made.sealed)
    save(back, tmp_path / "back")
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert filecmp.cmpfiles(tmp_path / "whole", tmp_path / "back", names, shallow=False)[0] == names
    assert verify(back, made.claim, key=made.key, locked=made.locked).verified


def test_tied_weights_under_two_masks_are_refused() -> None:
    ticket = tied("object", ("b.weight", "z.weight"))
    wider = ticket.mask["z.weight"].clone()
    wider[0] = True
    mask = Mask({**ticket.mask, "z.weight": wider})
    with pytest.raises(
        InputError, match=r"mask: z\.weight: expected that of b\.weight, which holds the same"
    ):
        parts(replace(ticket, mask=mask))


def test_two_splits_of_one_ticket_share_no_commitment() -> None:
    ticket = sparse_ticket()
    first, second = (of_kind(KeyMark, parts(ticket).claim).commitment for _ in range(2))
    assert first != second


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


def test_without_its_sealed_part_it_is_not_unlocked() -> None:
    made = parts(sparse_ticket(rewind=True))
    with pytest.raises(
        InputError, match=r"^locked ticket: sealed part: expected the sealed\.bin .*bit for bit"
    ):
        unlock(made.locked, made.key, made.claim, None)


def sealed_anew(made: Split, told: str | None, **tensors: torch.Tensor) -> bytes:
    """What somebody who made key and sealed part could have put into it."""
    metadata = None if told is None else {"ticket_sig": told}
    plain = safetensors.torch.save(tensors, metadata)
    return ChaCha20Poly1305(made.key.secret).encrypt(bytes(12), plain, made.key.locked.encode())


_WHOLE = {"rewind": False, "recipe": None, "history": [], "claim": None, "copies": {}}


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "{",
        "[1]",
        "{}",
        "[" * 100_000,
        *(
            json.dumps({**_WHOLE, **changes})
            for changes in (
                {"rewind": True},
                {"recipe": [1]},
                {"history": {"a": 1}},
                {"history": [[1]]},
                {"history": [{"step": "x", "kept": 2, "total": 1}]},
                {"history": None},
                {"claim": [1]},
                {"claim": {"format": "another"}},
                {"recipe": {"a": float("nan")}},
                {"copies": {"a.weight": "b.weight"}},
                {"copies": {"a.weight": ["b"]}},
                {"copies": [1]},
            )
        ),
    ],
)
def test_a_hostile_sealed_part_is_one_line(told: str | None) -> None:
    made = parts(sparse_ticket())
    with pytest.raises(
        InputError, match=r"^locked ticket: sealed part: expected what this key sealed, found c"
    ):
        unlock(made.locked, made.key, made.claim, sealed_anew(made, told))
    plain = ChaCha20Poly1305(made.key.secret).encrypt(bytes(12), b"no tensors", made.key.locked.encode())
    with pytest.raises(
        InputError, match=r"^locked ticket: sealed part: expected what this key sealed, found c"
    ):
        unlock(made.locked, made.key, made.claim, plain)


def test_a_sealed_part_may_not_bring_statistics_of_another_shape() -> None:
    made = parts(Ticket(weights=batch_normed(0), mask=MASK))
    sealed = sealed_anew(made, json.dumps(_WHOLE), **{"statistics/bn.running_mean": torch.zeros(3)})
    with pytest.raises(InputError, match=r"sealed part: .*bn\.running_mean of another shape"):
        unlock(made.locked, made.key, made.claim, sealed)


@pytest.mark.parametrize(
    "claim",
    [[1], {"format": "another"}, {**earlier_claim(), "note": float("nan")}, {**earlier_claim(), "note": {1}}],
)
def test_what_is_no_claim_is_not_sealed(claim: Any) -> None:
    ticket = sparse_ticket()
    with pytest.raises(InputError, match=r"claim.*: expected "):
        split(ticket, 0.1, magnitudes(ticket), claim=claim)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"secret": "0 " * 32}, "key: secret: expected 64 hexadecimal digits, found something else"),
        ({"secret": "0" * 63}, "key: secret: expected 64 hexadecimal digits, found something else"),
        ({"secret": "g" * 64}, "key: secret: expected 64 hexadecimal digits, found something else"),
        ({"secret": "0" * 64 + "\n"}, "key: secret: expected 64 hexadecimal digits, found something else"),
        ({"secret": 7}, "key: secret: expected str, found int"),
        ({"locked": None}, "key: locked: expected str, found NoneType"),
        ({"version": 2}, "key: version: expected 1, found 2; use the ticket_sig that wrote it"),
        ({"format": "a lock"}, "key: format: expected 'ticket_sig key', found 'a lock'"),
    ],
)
def test_a_key_s_head_is_checked(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    made = parts(sparse_ticket())
    made.key.write(tmp_path / "key.safetensors")
    head = {
        "format": "ticket_sig key",
        "version": 1,
        "secret": "0" * 64,
        "locked": made.key.locked,
        **changes,
    }
    tensors = safetensors.torch.load_file(tmp_path / "key.safetensors")
    safetensors.torch.save_file(tensors, tmp_path / "key.safetensors", {"ticket_sig": json.dumps(head)})
    with pytest.raises(InputError, match=rf"key\.safetensors: {says}"):
        Key.read(tmp_path / "key.safetensors")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"other": torch.zeros(1)}, "tensors: expected positions and weights, found other"),
        ({"positions/a": torch.tensor([1])}, "layers: expected positions and weights of each, found a"),
        ({"weights/a": torch.ones(1)}, "layers: expected positions and weights of each, found a"),
        ({}, "layers: expected positions and weights of each, found none"),
        (
            {"positions/a": torch.tensor([1.0]), "weights/a": torch.ones(1)},
            "a: expected positions, ascending",
        ),
        (
            {"positions/a": torch.tensor([], dtype=torch.int64), "weights/a": torch.ones(0)},
            "a: expected posi",
        ),
        ({"positions/a": torch.tensor([1]), "weights/a": torch.ones(2)}, r"a: expected 1 weights, one for"),
    ],
)
def test_a_key_s_tensors_are_checked(tensors: dict[str, torch.Tensor], says: str, tmp_path: Path) -> None:
    head = {"format": "ticket_sig key", "version": 1, "secret": "0" * 64, "locked": "sha256:"}
    safetensors.torch.save_file(tensors, tmp_path / "key.safetensors", {"ticket_sig": json.dumps(head)})
    with pytest.raises(InputError, match=rf"key\.safetensors: key: {says}"):
        Key.read(tmp_path / "key.safetensors")


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
