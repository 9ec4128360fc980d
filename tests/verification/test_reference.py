"""Verification through a reference: what is counted, on which condition it holds, and what has no say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tickets import sparse_ticket
from torch import Tensor, nn

from ticket_sig import Claim, InputError, Mask, Ticket, embed, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats.safetensors_file import write_safetensors
from ticket_sig.marks import claim_of
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.key_mask.mark import KeyMark
from ticket_sig.progress import Silent
from ticket_sig.recovery.undone import Undone
from ticket_sig.verification import through
from ticket_sig.verification.through import Referred
from ticket_sig.verification.white_box import verify_file

MESSAGE, SECRET = "owner-1", bytes(range(32))
CHOICES = 20.0
DATED = "holds if the reference tells nothing of the secret, and the claim is older than the suspect"


UNKNOWN = (
    "the reference's network is not known; "
    "in Python give the module: verify(suspect, claim, reference=module)"
)


def turned(weights: Any) -> dict[str, Tensor]:
    """What a thief does here for nothing: rows and columns of every layer in the other order."""
    return {name: tensor.flip(list(range(min(2, tensor.ndim)))) for name, tensor in weights.items()}


@dataclass
class Fake:
    """An alignment that turns the rows back, and notes which layers were to have no say."""

    without: list[frozenset[str]] = field(default_factory=list)
    error: str = ""

    def __call__(self, suspect: Ticket, reference: Any, *, without: Collection[str] = ()) -> Any:
        self.without.append(frozenset(without))
        if self.error:
            raise bad_input("reference", "layers", "those of the suspect", self.error)
        weights = turned(suspect.weights)
        return SimpleNamespace(
            ticket=Ticket(weights=weights, mask=Mask.of_zeros(weights)),
            undone=(Undone("permuted", 168, "channels"),),
            log10_choices=CHOICES,
            similarity=0.9,
        )


@pytest.fixture
def align(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """In place of the alignment."""
    fake = Fake()
    monkeypatch.setattr(through, "align", fake)
    return fake


def signed(mark: str = "qr-code", **options: Any) -> Embedded:
    """A signed ticket, its reference with it."""
    return embed(sparse_ticket(), MESSAGE, mark=mark, secret=SECRET, **options)


def referred(suspect: Any, claim: Claim, reference: Any, **shown: Any) -> Referred:
    """The verdict on a suspect, with a reference."""
    verdict = verify(suspect, claim, reference=reference, **shown)
    assert isinstance(verdict, Referred)
    return verdict


def test_a_claim_commits_to_the_model_before_its_first_mark() -> None:
    made = signed()
    assert made.reference is not None
    assert made.claim.reference == tensor_digest(sparse_ticket().weights)
    assert tensor_digest(made.reference.weights) == made.claim.reference
    again = Claim.from_json(made.claim.to_json())
    assert again.reference == made.claim.reference
    left_out = embed(sparse_ticket(), MESSAGE, secret=SECRET, keep_reference=False)
    assert left_out.reference is None and "reference" not in left_out.claim.to_json()
    assert Claim.from_json(left_out.claim.to_json()).reference is None


@pytest.mark.parametrize("found", [3, "", "sha256:", f"sha256:{'g' * 64}", f"sha256:{'0' * 65}", ["a"]])
def test_a_claim_that_commits_to_no_digest_is_refused(found: object) -> None:
    with pytest.raises(InputError, match="claim: reference: expected text of the form sha256:"):
        Claim.from_json({**signed().claim.to_json(), "reference": found})


def test_as_it_stands_a_suspect_needs_no_alignment_but_both_readings_are_paid_for(align: Fake) -> None:
    made = signed()
    alone, found = verify(made.ticket, made.claim), referred(made.ticket, made.claim, made.reference)
    assert found.verified and found.headline == "verified" and align.without == []
    assert found.log10_p == pytest.approx(alone.log10_p + 0.30103, abs=1e-4)
    said = found.to_json()
    assert said["condition"] is None and not said["reference"]["aligned"]
    assert dict(found.rows())["reference"].startswith("not needed; ")


def test_an_aligned_suspect_is_verified_on_a_condition(align: Fake) -> None:
    made = signed()
    suspect = turned(made.ticket.weights)
    assert not verify(suspect, made.claim).verified
    found = referred(suspect, made.claim, made.reference)
    assert found.verified and found.headline == f"verified; {DATED}"
    assert align.without == [frozenset()]
    assert found.log10_p == pytest.approx(verify(made.ticket, made.claim).log10_p + 0.30103, abs=1e-4)
    said = found.to_json()
    assert said["condition"] == DATED
    assert said["log10_p_unconditional"] == pytest.approx(found.log10_p + CHOICES, abs=1e-3)
    assert said["reference"] == {
        "committed": True,
        "aligned": True,
        "bound": [],
        "undone": [{"what": "permuted", "count": 168, "of": "channels"}],
        "similarity": 0.9,
        "log10_choices": CHOICES,
        "left_out": [],
        "not_followed": UNKNOWN,
    }
    assert "that the condition holds" in found.leaves_open
    rows = dict(found.rows())
    assert (rows["reference"], rows["undone"]) == ("the claim commits to it", "168 channels permuted")
    assert rows["channels"] == f"not followed: {UNKNOWN}"
    assert "10^20.0 ways to align counted" in str(rows["  without the condition"])


def test_a_reference_that_the_claim_does_not_commit_to_is_another_condition(align: Fake) -> None:
    made = signed()
    claim = replace(made.claim, reference=None)
    found = referred(turned(made.ticket.weights), claim, made.reference)
    assert found.verified and not found.through.committed
    expected = "holds if the reference tells nothing of the secret, and is older than the suspect"
    assert found.to_json()["condition"] == expected
    assert dict(found.rows())["reference"] == "the claim commits to none"
    other = replace(made.claim, reference=f"sha256:{'0' * 64}")
    found = referred(turned(made.ticket.weights), other, made.reference)
    assert str(found).startswith("verified; holds if ") and "; p-value " in str(found)
    assert len(repr(found)) < 500 and repr(found).startswith("<Referred: verified; ")
    assert dict(found.rows())["reference"] == "another than the claim commits to"


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_layers_that_carry_the_mark_of_a_signed_reference_have_no_say(align: Fake, noise: float) -> None:
    """Also where it is not the very model of the claim: the mark is read in it."""
    made = signed(layer="a.weight")
    reference = {n: w + noise * w for n, w in made.ticket.weights.items()}
    found = referred(turned(made.ticket.weights), made.claim, reference)
    assert align.without == [frozenset({"a.weight"})] and found.verified
    older = "claim" if not noise else "reference"
    told = f"holds if the layers without the mark tell nothing of the secret, and the {older} is older"
    assert found.headline == f"verified; {told} than the suspect"
    assert found.to_json()["reference"]["left_out"] == ["a.weight"]
    assert dict(found.rows())["not used to align"] == "1 layer: the reference carries the mark there"


def test_a_mark_in_all_layers_of_a_signed_reference_leaves_nothing_to_align_by(align: Fake) -> None:
    made = signed("spread", margin=1.5)
    found = referred(turned(made.ticket.weights), made.claim, made.ticket, **made.shown)
    assert not found.verified and align.without == []
    assert "carries it in all layers; give the model as it was before" in str(
        dict(found.remarks)["not aligned"]
    )
    assert referred(turned(made.ticket.weights), made.claim, made.reference, **made.shown).verified


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("uchida", {"layer": "a.weight", "random": 128}),
        ("freezenet", {"length": 300}),
    ],
)
def test_other_marks_go_through_it_as_well(align: Fake, mark: str, options: dict[str, Any]) -> None:
    draw = torch.Generator().manual_seed(1)
    dense = {n: torch.randn(w.shape, generator=draw) for n, w in sparse_ticket().weights.items()}
    made = embed(Ticket(weights=dense, mask=Mask.full({})), mark=mark, secret=SECRET, **options)
    suspect = turned(made.ticket.weights)
    assert not verify(suspect, made.claim, **made.shown).verified
    found = referred(suspect, made.claim, made.reference, **made.shown)
    assert found.verified and found.headline == f"verified; {DATED}"


def test_a_mark_that_is_bound_to_the_reference_needs_no_condition(align: Fake) -> None:
    made = signed("spread", margin=1.5)
    suspect = turned(made.ticket.weights)
    assert not verify(suspect, made.claim, **made.shown).verified
    found = referred(suspect, Claim.from_json(made.claim.to_json()), made.reference, **made.shown)
    assert found.verified and found.headline == "verified"
    said = found.to_json()
    assert said["condition"] is None and said["log10_p_unconditional"] == said["log10_p"]
    assert said["reference"]["bound"] == ["spread"] and said["reference"]["aligned"]
    assert "the condition" not in found.leaves_open
    assert not [what for what, _ in found.rows() if "without the condition" in what]


def test_bound_to_another_reference_other_signs_are_read_so_that_none_can_be_made_to_fit(align: Fake) -> None:
    made = signed("spread", margin=1.5)
    [mark] = made.claim.to_json()["marks"]
    other = {**mark["fields"], "reference": f"sha256:{'0' * 64}"}
    for fields in (other, {name: one for name, one in other.items() if name != "reference"}):
        claim = Claim.from_json({**made.claim.to_json(), "marks": [{**mark, "fields": fields}]})
        for verdict in (
            verify(made.ticket, claim, **made.shown),
            referred(turned(made.ticket.weights), claim, made.reference, **made.shown),
        ):
            assert not verdict.verified and verdict.log10_p > -3


def test_through_another_reference_or_bound_to_none_it_holds_on_a_condition(align: Fake) -> None:
    made = signed("spread", margin=1.5)
    other = {name: w + 0.01 * w for name, w in sparse_ticket().weights.items()}
    found = referred(turned(made.ticket.weights), made.claim, other, **made.shown)
    assert found.verified and found.headline.startswith("verified; holds if") and not found.through.bound
    made = signed("spread", margin=1.5, keep_reference=False)
    assert "reference" not in made.claim.to_json()["marks"][0]["fields"]
    found = referred(turned(made.ticket.weights), made.claim, sparse_ticket(), **made.shown)
    assert found.verified and found.headline.startswith("verified; holds if")


def test_a_module_of_one_s_own_is_more_than_its_tensors_so_that_the_condition_stays(align: Fake) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, tensor in sparse_ticket().weights.items():
                layer, part = name.split(".")
                self.register_module(layer, self._modules.get(layer) or nn.Module())
                self.get_submodule(layer).register_buffer(part, tensor.clone())

    made = signed("spread", margin=1.5)
    found = referred(turned(made.ticket.weights), made.claim, Own(), **made.shown)
    assert found.through.committed and found.headline == f"verified; {DATED}"


def test_of_several_marks_the_bound_ones_alone_need_no_condition(align: Fake) -> None:
    made = signed("qr-code+spread", margin=0.8)
    suspect = turned(made.ticket.weights)
    found = referred(suspect, made.claim, made.reference, **made.shown)
    assert found.headline == f"verified by spread; qr-code: {DATED}"
    assert found.to_json()["condition"] == f"qr-code: {DATED}"
    assert "by spread, which is bound" in dict(found.rows())["  without the condition"]
    parts = {one["mark"]: one for one in found.to_json()["evidence"]["marks"]}
    code = parts["qr-code"]["log10_p"] + CHOICES
    expected = min(parts["spread"]["log10_p"], code)
    assert found.to_json()["log10_p_unconditional"] == pytest.approx(expected, abs=1e-2)
    unread = referred(suspect, made.claim, made.reference)  # without the secret the code is read alone
    assert unread.headline == f"verified; {DATED}"


def test_an_nct_never_aligns_by_the_layer_that_its_classifier_was_trained_for(align: Fake) -> None:
    made = signed("nct", layer="a.weight")
    found = referred(turned(made.ticket.weights), made.claim, made.reference)
    assert align.without == [frozenset({"a.weight"})]
    assert not found.verified and found.lacking


def test_a_key_mask_is_read_through_the_locked_ticket_alone(align: Fake) -> None:
    ticket = sparse_ticket()
    drawn = KeyMark.drawn(ticket, SECRET)
    locked = drawn.shown["locked"]
    claim = claim_of([drawn.mark], locked.weights)
    suspect = turned(ticket.weights)
    assert not verify(suspect, claim, **drawn.shown).verified
    found = referred(suspect, claim, locked, **drawn.shown)
    assert found.verified and found.headline == f"verified; {DATED}"
    whole = referred(suspect, claim, ticket, **drawn.shown)
    assert not whole.verified and "layers that its claim does not name" in whole.through.reason


def test_several_marks_are_aligned_once_and_pay_for_their_number_and_two_readings(align: Fake) -> None:
    made = signed("qr-code+spread", margin=0.8)
    suspect = turned(made.ticket.weights)
    found = referred(suspect, made.claim, made.reference, **made.shown)
    assert found.verified and align.without == [frozenset()]
    alone = verify(made.ticket, made.claim, **made.shown)
    assert found.log10_p == pytest.approx(alone.log10_p + 0.30103, abs=1e-4)


class Told(Silent):
    """What a long run told."""

    def begin(self, label: str, total: int) -> None:
        self.total, self.steps = total, list[str]()

    def advance(self, done: int, detail: str = "") -> None:
        assert done == len(self.steps) < self.total
        self.steps.append(detail)


def test_who_waits_is_told_what_is_being_done(align: Fake, tmp_path: Path) -> None:
    made, told = signed("qr-code+spread", margin=0.8), Told()
    suspect, reference, secret = (tmp_path / name for name in ("suspect.st", "reference.st", "own.secret"))
    write_safetensors(suspect, turned(made.ticket.weights))
    write_safetensors(reference, sparse_ticket().weights)
    made.shown["secret"].write(secret)
    verdict = verify_file(suspect, made.claim, {"secret": secret}, reference=reference, progress=told)
    assert verdict.verified
    first, *read = told.steps
    assert first == "reading the model" and read == [
        "reading qr-code",
        "reading spread",
        "aligning with the reference",
        "reading qr-code, aligned",
        "reading spread, aligned",
    ]


def innocents() -> list[Callable[[], dict[str, Tensor]]]:
    return [lambda seed=seed: dict(sparse_ticket(seed=seed).weights) for seed in range(10, 18)]  # type: ignore[misc]


def test_innocents_are_not_verified(align: Fake) -> None:
    made = signed()
    for innocent in innocents():
        found = referred(innocent(), made.claim, made.reference)
        assert not found.verified and found.headline == "not verified"


def test_what_cannot_be_aligned_is_not_verified_for_that_reason_or_could_not_be(align: Fake) -> None:
    made = signed()
    align.error = "other ones"
    found = referred(turned(made.ticket.weights), made.claim, made.reference)
    assert not found.verified and found.through.reason.endswith("found other ones")
    assert dict(found.rows())["reference"].startswith("not aligned; ")
    assert found.to_json()["reference"]["reason"] == found.through.reason
    with pytest.raises(InputError, match="found other ones"):
        referred({"c.weight": torch.ones(2, 2)}, made.claim, made.reference)


def test_what_says_no_more_when_it_is_aligned_is_not_called_unaligned(align: Fake) -> None:
    draw = torch.Generator().manual_seed(1)
    dense = {n: torch.randn(w.shape, generator=draw) for n, w in sparse_ticket().weights.items()}
    made = embed(
        Ticket(weights=dense, mask=Mask.full({})), mark="uchida", secret=SECRET, layer="a.weight", random=90
    )
    noisy = {n: w + 0.9 * torch.randn(w.shape, generator=draw) for n, w in made.ticket.weights.items()}
    assert -6 < verify(noisy, made.claim).log10_p < -1  # more than chance, and too little
    found = referred(noisy, made.claim, made.reference)
    assert not found.verified and align.without == [frozenset()]
    assert dict(found.rows())["reference"].startswith("aligned, the suspect says no more; ")
    assert "not aligned" not in dict(found.remarks)
    assert dict(found.rows())["channels"] == f"not followed: {UNKNOWN}"
    assert found.to_json()["reference"]["reason"] == found.through.reason


def test_a_suspect_that_lacks_the_layers_may_be_aligned(align: Fake) -> None:
    made = signed()
    suspect = {f"x{n}": w for n, w in enumerate(turned(made.ticket.weights).values())}
    names = dict(zip(suspect, made.ticket.weights, strict=True))

    def renamed(ticket: Ticket, reference: Any, *, without: Collection[str] = ()) -> Any:
        own = {names[name]: tensor for name, tensor in ticket.weights.items()}
        return align(replace(ticket, weights=own, mask=Mask.of_zeros(own)), reference, without=without)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(through, "align", renamed)
        assert referred(suspect, made.claim, made.reference).verified
