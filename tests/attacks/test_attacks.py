"""All attacks: the caller's ticket stays, nothing of the owner's goes along, same seed same bits."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.extending import Rounding
from support.tickets import HISTORY, sparse_ticket, tiny_ticket
from support.tiny import TinyNet, tiny_data

from ticket_sig import InputError, Ticket, embed, load, save
from ticket_sig.attacks import ATTACKS, Scene, attack
from ticket_sig.attacks.report import attack_report
from ticket_sig.claim import Claim, ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.options import options_of
from ticket_sig.verification import verify

OPTIONS: dict[str, dict[str, Any]] = {
    "fine-tuning": {"epochs": 1},
    "magnitude-pruning": {"rate": 0.2},
    "random-pruning": {"rate": 0.2},
    "erase": {},
    "trigger-removal": {"epochs": 1, "images": 20},
    "add-on": {"rate": 0.05},
    "fake-key": {"share": 0.05},
    "noise": {"rate": 0.1},
    "overwrite": {"message": "thief"},
    "own-watermark": {"mark": "uchida", "size": 4},
    "cast": {"precision": "bf16"},
    "sign-flip": {},
    "permute-channels": {},
    "even-out": {},
    "free": {"kind": "permuted+rescaled+flipped-signs"},
    "gaussian-noise": {"scale": 0.1},
    "quantization": {"bits": 4},
    "knowledge-distillation": {"epochs": 1},
    "rounding": {},
}
NAMES = [*ATTACKS, "rounding"]
TRAINED = ("fine-tuning", "trigger-removal", "knowledge-distillation")
DRAWS = [name for name in ATTACKS if name not in ("magnitude-pruning", "cast", "quantization")]


@pytest.fixture(autouse=True)
def one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack of the worked example, registered by one line."""
    monkeypatch.setitem(ATTACKS, "rounding", Rounding)


def victim(name: str) -> tuple[Ticket, Scene]:
    """A ticket for an attack, and what its thief has."""
    if name in TRAINED or name in ("sign-flip", "permute-channels", "free"):
        return tiny_ticket(rewind=True), Scene(data=tiny_data(), model=TinyNet())
    signed = embed(replace(sparse_ticket(rewind=True), recipe={"seed": 1}), "owner", secret=b"k")
    known = of_kind(CodeMark, signed.claim) if ATTACKS[name].of_insiders else None
    return replace(signed.ticket, history=HISTORY), Scene(place=known)


def bits(ticket: Ticket) -> tuple[str, str]:
    return tensor_digest(ticket.weights), tensor_digest(ticket.mask)


@pytest.mark.parametrize("name", NAMES)
def test_the_caller_s_ticket_stays_and_the_thief_s_has_its_zeros(name: str) -> None:
    ticket, scene = victim(name)
    before = bits(ticket)
    attacked = attack(name, **OPTIONS[name])(ticket, scene)
    assert bits(ticket) == before != bits(attacked)
    assert list(attacked.weights) == list(ticket.weights)
    assert [(t.dtype, t.shape) for t in attacked.weights.values()] == [
        (t.dtype, t.shape) for t in ticket.weights.values()
    ]
    # What is kept is not zero: the bare weights, all that a thief hands on, tell the same mask.
    assert all(torch.equal(attacked.weights[n] != 0, kept) for n, kept in attacked.mask.items())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_thief_has_not_is_in_what_he_makes(name: str) -> None:
    ticket, scene = victim(name)
    attacked = attack(name, **OPTIONS[name])(ticket, scene)
    assert all(entry not in attacked.history for entry in ticket.history)
    if name != "fake-key":  # a locked ticket is handed out with rewind weights
        assert attacked.rewind is None


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_seed_gives_the_same_bits_and_another_one_others(name: str) -> None:
    ticket, scene = victim(name)
    made = [bits(attack(name, **OPTIONS[name])(ticket, replace(scene, seed=seed))) for seed in (3, 3, 4)]
    assert made[0] == made[1] != made[2]


def test_every_attack_is_tested_here() -> None:
    assert OPTIONS.keys() == ATTACKS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_attacks_take_options_by_keyword_only(name: str) -> None:
    kinds = {p.kind for p in inspect.signature(ATTACKS[name]).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_and_no_other_is_taken(name: str) -> None:
    known = options_of(ATTACKS[name])
    assert ATTACKS[name].__doc__ and all(one.metadata["help"].strip().endswith(".") for one in known)
    names = ", ".join(one.name for one in known)
    expected = f"options among {names}" if known else "no options"
    with pytest.raises(InputError, match=f"^{name}: expected {expected}, found nonsense$"):
        attack(name, **OPTIONS[name], nonsense=1)


def test_what_an_attack_left_at_zero_is_not_kept(tmp_path: Path) -> None:
    ticket, quantize = sparse_ticket(), attack("rounding", bits=3)
    left = quantize.attacked(ticket, Scene()).ticket
    zeros = sum(int((kept & (left.weights[n] == 0)).sum()) for n, kept in left.mask.items())
    assert zeros > 0, "or nothing is tested here"
    attacked = quantize(ticket, Scene())
    report = attack_report(ticket, attacked, Scene())
    assert report.kept == (ticket.mask.kept, ticket.mask.kept - zeros)
    save(attacked, tmp_path / "stolen")
    mask = load(tmp_path / "stolen").ticket.mask
    assert mask == attacked.mask and mask.density == report.kept[1] / report.total
    values = attacked.weights["b.weight"]
    assert torch.allclose(values.unique(), torch.arange(-3, 4) * values.max() / 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("melt", {}, "attack: expected one of fine-tuning, .*, found 'melt'"),
        ("add-on", {}, "--rate: expected a number, found none; add-on needs it"),
        (
            "noise",
            {"rate": 0.1, "epochs": 3},
            "noise: expected options among rate, scale, layer, found epochs",
        ),
        ("add-on", {"rate": 1.0}, "rate: expected a share between 0 and 1, without both, found 1.0"),
        ("add-on", {"rate": 0.1, "scale": 0.0}, "scale: expected a finite number more than 0, found 0.0"),
        ("noise", {"rate": float("nan")}, "rate: expected a share between 0 and 1, without both, found nan"),
        ("noise", {"rate": 0.1, "scale": float("inf")}, "scale: expected a finite number"),
        ("magnitude-pruning", {"rate": 0.0}, "rate: expected a share"),
        ("random-pruning", {"rate": -0.1}, "rate: expected a share"),
        ("erase", {"share": 1.5}, "share: expected a share between 0 and 1, without both, found 1.5"),
        ("fake-key", {}, "forged key: expected a share or a count, found neither; give --share or --count"),
        ("fake-key", {"share": 0.1, "count": 3}, "forged key: expected a share or a count, found 0.1 and 3"),
        ("fake-key", {"count": 0}, "count: expected 1 or more, found 0"),
        ("fake-key", {"share": 2.0}, "share: expected a share"),
        ("fake-key", {"share": 0.1, "lr": 0.1}, "lr: expected epochs beside it, found none"),
        ("fine-tuning", {"epochs": 0}, "epochs: expected 1 or more, found 0"),
        ("fine-tuning", {"lr": -1.0}, "lr: expected a finite number more than 0, found -1.0"),
        ("trigger-removal", {"images": -1}, "images: expected 0 to 100000, found -1"),
    ],
)
def test_options_that_cannot_be_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attack(name, **options)


@pytest.mark.parametrize("name", TRAINED)
def test_training_without_data_or_recipe_says_what_is_missing(name: str) -> None:
    ticket = tiny_ticket()
    with pytest.raises(InputError, match=r"attack: data: expected a data set, found none; .*--data"):
        attack(name)(ticket, Scene())
    with pytest.raises(InputError, match=r"attack: recipe: expected one of the ticket .*--arch"):
        attack(name)(replace(ticket, recipe=None), Scene(data=tiny_data()))


def test_a_claim_without_a_place_is_of_no_use_to_an_insider() -> None:
    signed = embed(sparse_ticket(), "owner", secret=b"k")
    assert of_kind(CodeMark, signed.claim) == signed.mark
    other = Claim(marks=(ClaimedMark("key-mask", {}), ClaimedMark("freezenet", {})), subject="")
    with pytest.raises(InputError, match=r"marks: expected 'qr-code', found 'key-mask', 'freezenet'$"):
        of_kind(CodeMark, other)


def test_to_carry_an_attack_out_gives_the_claim_of_a_thief_who_writes_a_code() -> None:
    signed_ticket = embed(sparse_ticket(), "owner", secret=b"k").ticket
    attacked, claim, *_ = attack("overwrite", message="thief").carry_out(signed_ticket, Scene())
    assert claim is not None and verify(attacked, claim).verified
    pruned, none, *_ = attack("random-pruning", rate=0.1).carry_out(signed_ticket, Scene())
    assert none is None and pruned.mask.kept < signed_ticket.mask.kept


def test_insiders_are_those_whose_attack_reads_the_place() -> None:
    ours = {name: made for name, made in ATTACKS.items() if made is not Rounding}
    used = {name for name, made in ours.items() if "scene.place" in inspect.getsource(made)}
    assert used == {name for name, made in ours.items() if made.of_insiders}
