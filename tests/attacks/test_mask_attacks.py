"""What each attack on the mask changes, how much of it, and what the verifier makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tickets import sparse_ticket

from ticket_sig import InputError, Mask, Ticket, embed, extract, verify
from ticket_sig.attacks import Scene
from ticket_sig.attacks.add_on import AddOn
from ticket_sig.attacks.erase import Erase
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.attacks.magnitude_pruning import MagnitudePruning
from ticket_sig.attacks.noise import Noise
from ticket_sig.attacks.overwrite import Overwrite
from ticket_sig.attacks.random_pruning import RandomPruning
from ticket_sig.lottery import prune
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.marks.embed import Embedded


@pytest.fixture(scope="module")
def signed() -> Embedded:
    return embed(sparse_ticket(), "owner", secret=b"k")


@pytest.fixture(scope="module")
def code(signed: Embedded) -> CodeMark:
    """The owner's code, as an insider knows it."""
    return of_kind(CodeMark, signed.claim)


def added(before: Ticket, after: Ticket) -> int:
    return sum(int((after.mask[n] & ~kept).sum()) for n, kept in before.mask.items())


def removed(before: Ticket, after: Ticket) -> int:
    return added(after, before)


# pruning


def test_magnitude_pruning_is_the_owner_s_own(signed: Embedded) -> None:
    pruned = MagnitudePruning(rate=0.3)(signed.ticket, Scene())
    assert pruned.mask == prune(signed.ticket.weights, signed.ticket.mask, 0.3)
    assert [(entry.step, entry.rate) for entry in pruned.history] == [("prune", 0.3)]


def test_random_pruning_takes_as_many_whatever_their_size(signed: Embedded) -> None:
    pruned = RandomPruning(rate=0.3)(signed.ticket, Scene(seed=2))
    kept = signed.ticket.mask.kept
    assert removed(signed.ticket, pruned) == kept - pruned.mask.kept == round(0.3 * kept)
    assert pruned.mask != MagnitudePruning(rate=0.3)(signed.ticket, Scene()).mask


# add-on


@pytest.mark.parametrize(
    ("rate", "kept"), [(0.005, 19.789), (0.01, 20.179), (0.02, 21.009), (0.05, 23.386), (0.1, 27.402)]
)
def test_add_on_keeps_as_many_as_in_the_paper(rate: float, kept: float) -> None:
    """Table 8; the paper draws every position by itself, and so is off by chance."""
    draw = torch.Generator().manual_seed(0)
    total = 267_264
    flat = torch.randperm(total, generator=draw) < round(0.19369 * total)
    weights = {"w": (torch.randn(total, generator=draw) * flat).view(464, 576)}
    ticket = Ticket(weights=weights, mask=Mask({"w": flat.view(464, 576)}))
    assert 100 * AddOn(rate=rate)(ticket, Scene()).mask.density == pytest.approx(kept, abs=0.035)


def test_add_on_only_adds_and_leaves_what_is_kept(signed: Embedded) -> None:
    before = signed.ticket
    after = AddOn(rate=0.05)(before, Scene())
    pruned = before.mask.total - before.mask.kept
    assert (removed(before, after), added(before, after)) == (0, round(0.05 * pruned))
    for name, kept in before.mask.items():
        assert torch.equal(after.weights[name][kept], before.weights[name][kept])


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_noise_is_as_large_as_asked_in_every_layer(scale: float) -> None:
    ticket = sparse_ticket()
    weights = {**ticket.weights, "b.weight": 50 * ticket.weights["b.weight"]}
    ticket = replace(ticket, weights=weights)
    after = AddOn(rate=0.5, scale=scale)(ticket, Scene())
    for name in ("a.weight", "b.weight"):
        kept = ticket.mask[name]
        new = after.weights[name][after.mask[name] & ~kept]
        assert float(new.std() / ticket.weights[name][kept].std()) == pytest.approx(scale, rel=0.1)


def test_large_noise_hides_no_code_that_its_reader_can_tell_by_strength(signed: Embedded) -> None:
    """Noise much smaller than the weights leaves the verdict as it was, however much of it there is."""
    after = AddOn(rate=0.9, scale=1e-3)(signed.ticket, Scene())
    assert verify(after, signed.claim).verified
    assert extract(after, signed.claim).message == "owner"


def test_a_ticket_that_keeps_nothing_has_no_scale() -> None:
    empty = {"w": torch.zeros(4, 4)}
    with pytest.raises(InputError, match="kept weights: expected two that differ, or more, found fewer"):
        AddOn(rate=0.5)(Ticket(weights=empty, mask=Mask({"w": empty["w"] != 0})), Scene())


# noise


@pytest.mark.parametrize("layer", [None, "a.weight"])
def test_noise_moves_weights_and_holds_their_number(layer: str | None, signed: Embedded) -> None:
    before = signed.ticket
    after = Noise(rate=0.2, layer=layer)(before, Scene())
    kept = before.mask.kept if layer is None else int(before.mask[layer].sum())
    assert removed(before, after) == added(before, after) == round(0.2 * kept)
    assert after.mask.kept == before.mask.kept
    changed = {n for n in before.mask if not torch.equal(before.mask[n], after.mask[n])}
    assert changed == ({layer} if layer else set(before.mask))


def test_noise_needs_room_and_a_layer_that_is_there(signed: Embedded) -> None:
    dense = sparse_ticket(density=0.9)
    with pytest.raises(InputError, match=r"pruned weights: expected .* to put as many back, found"):
        Noise(rate=0.5)(dense, Scene())
    with pytest.raises(InputError, match=r"layer: expected one of the mask's \(a.weight, .*found c"):
        Noise(rate=0.5, layer="c")(signed.ticket, Scene())


# fake key


def test_a_forged_key_has_the_asked_share_of_the_whole(signed: Embedded) -> None:
    locked = signed.ticket
    forged = FakeKey(share=0.1)(locked, Scene())
    assert removed(locked, forged) == 0
    assert added(locked, forged) / forged.mask.kept == pytest.approx(0.1, abs=1e-4)
    assert added(locked, FakeKey(count=7)(locked, Scene())) == 7


def test_a_forged_key_looks_like_initial_weights_and_is_in_the_rewind_weights() -> None:
    locked = sparse_ticket(rewind=True)
    assert locked.rewind is not None
    locked = replace(locked, rewind=locked.mask.apply(locked.rewind))  # as it is handed out
    forged = FakeKey(count=8000)(locked, Scene())
    assert forged.rewind is not None and locked.rewind is not None
    for name, fan_in in (("a.weight", 36 * 9), ("b.weight", 48)):
        key = forged.mask[name] & ~locked.mask[name]
        values = forged.weights[name][key]
        assert float(values.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        assert torch.equal(forged.rewind[name][key], values)
        kept = locked.mask[name]
        assert torch.equal(forged.rewind[name][kept], locked.rewind[name][kept])


def test_a_forged_key_needs_room(signed: Embedded) -> None:
    with pytest.raises(InputError, match="pruned weights: expected 999999, for the forged key, found"):
        FakeKey(count=999_999)(signed.ticket, Scene())


# overwrite, erase


def test_an_insider_overwrites_the_owner_s_code_where_it_stands(signed: Embedded, code: CodeMark) -> None:
    forged = Overwrite(message="thief").carry_out(signed.ticket, Scene(place=code))
    assert forged.claim is not None
    his = of_kind(CodeMark, forged.claim)
    assert (his.message, his.placement, his.version) == ("thief", code.placement, code.version)
    assert forged.ticket.mask.kept == signed.ticket.mask.kept
    assert verify(forged.ticket, forged.claim).verified
    assert not verify(forged.ticket, signed.claim).verified


def test_without_the_place_a_thief_s_code_may_leave_the_owner_s_alone(
    signed: Embedded, code: CodeMark
) -> None:
    other = "a.weight" if code.placement.layer == "b.weight" else "b.weight"
    forged = Overwrite(message="thief", layer=other).carry_out(signed.ticket, Scene())
    assert forged.claim is not None
    assert verify(forged.ticket, forged.claim).verified and verify(forged.ticket, signed.claim).verified


def test_a_message_too_long_for_the_owner_s_code_is_refused(signed: Embedded, code: CodeMark) -> None:
    with pytest.raises(InputError, match="message: expected at most 7 bytes in version 1, level H"):
        Overwrite(message="a much longer one")(signed.ticket, Scene(place=code))


def test_erasing_moves_whole_kernels_within_the_region(signed: Embedded, code: CodeMark) -> None:
    before, scene = signed.ticket, Scene(place=code)
    after = Erase()(before, scene)
    place = code.placement
    assert not verify(after, signed.claim).verified
    region = slice(place.row, place.row + 21), slice(place.column, place.column + 21)
    for kept in (before, after):
        assert kept.mask.kept == before.mask.kept
    sums = [int(t.mask.kernel_map(place.layer)[region].sum()) for t in (before, after)]
    assert sums[0] == sums[1]
    for name, w in before.weights.items():
        rest = torch.ones_like(w, dtype=torch.bool)
        if name == place.layer:
            rest[region] = False
            # The same weights, elsewhere.
            assert torch.equal(w.flatten().sort().values, after.weights[name].flatten().sort().values)
        assert torch.equal(w[rest], after.weights[name][rest])


def test_a_small_share_erases_less(signed: Embedded, code: CodeMark) -> None:
    scene = Scene(place=code)
    part, whole = (verify(Erase(share=s)(signed.ticket, scene), signed.claim) for s in (0.05, None))
    assert part.verified and part.log10_p < whole.log10_p


def test_erasing_needs_the_place_and_the_model_it_is_in(signed: Embedded, code: CodeMark) -> None:
    with pytest.raises(InputError, match=r"place of the code: expected the owner's claim.*--insider"):
        Erase()(signed.ticket, Scene())
    small = {"small.weight": signed.ticket.weights["small.weight"]}
    other = Ticket(weights=small, mask=Mask.of_zeros(small))
    with pytest.raises(InputError, match=r"place of the code: expected 21x21 kernels .*, found none"):
        Erase()(other, Scene(place=code))
