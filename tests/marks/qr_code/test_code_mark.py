"""Scheme 2 on networks of any shape, density and dtype: what signing changes, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st
from support.tickets import sparse, sparse_ticket
from torch import Tensor

from ticket_sig import Claim, InputError, Mask, Ticket, embed, extract, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import of_kind
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.mask_change import moved
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.mark import CodeMark, CodeOptions

KERNELS = {"conv 3x3": (3, 3), "conv 1x1": (1, 1), "conv1d": (5,), "linear": ()}
SECRET = b"the secret of the tests"


class Network(NamedTuple):
    """A sparse network as a few numbers, so that a failing example can be read."""

    seed: int
    layers: list[tuple[str, int, int, float]]  # kind, out, in, density
    dtype: torch.dtype
    rewind: bool

    def ticket(self) -> Ticket:
        weights: dict[str, Tensor] = {}
        rewind: dict[str, Tensor] = {}
        for i, (kind, rows, columns, density) in enumerate(self.layers):
            shape = rows, columns, *KERNELS[kind]
            weights[f"{i}.weight"] = sparse(*shape, density=density, seed=self.seed + i).to(self.dtype)
            rewind[f"{i}.weight"] = sparse(*shape, density=0.99, seed=self.seed + 10 + i)
        weights["head.bias"] = rewind["head.bias"] = torch.linspace(-1, 1, 7)
        return Ticket(weights=weights, mask=Mask.of_zeros(weights), rewind=rewind if self.rewind else None)


def layer(least: int) -> st.SearchStrategy[tuple[str, int, int, float]]:
    """Kind, out channels, in channels and density of a layer."""
    densities = st.sampled_from([0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0])
    return st.tuples(
        st.sampled_from(sorted(KERNELS)), st.integers(least, 34), st.integers(least, 34), densities
    )


networks = st.builds(
    Network,
    seed=st.integers(0, 2**31),
    layers=st.builds(lambda first, others: [first, *others], layer(21), st.lists(layer(4), max_size=2)),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    rewind=st.booleans(),
)


def sign(network: Network, message: str, level: str) -> tuple[Ticket, Embedded, qr.QRCode]:
    """Signs; where that is refused, checks that it cannot be done, and drops the example."""
    ticket = network.ticket()
    version = qr.smallest_version(message, level)
    if all(min(kept.shape[:2]) < qr.side(version) for kept in ticket.mask.values()):
        with pytest.raises(InputError, match=r"message: expected at most|kernel maps"):
            embed(ticket, message, level=level, secret=SECRET)
        assume(False)
    mark = CodeMark.make(ticket, CodeOptions(message=message, level=level), SECRET)
    place, code = mark.placement, mark.code()
    in_a_kernel = ticket.mask[place.layer][0, 0].numel()
    least = int((code.data & code.light).sum())
    most = ticket.mask.total - in_a_kernel * int((code.data & ~code.light).sum())
    if not least <= ticket.mask.kept <= most:
        event("too sparse" if ticket.mask.kept < least else "too dense")
        hint = "too sparse" if ticket.mask.kept < least else "prune it first"
        with pytest.raises(InputError, match=hint):
            embed(ticket, message, level=level, secret=SECRET)
        assume(False)
    embedded = embed(ticket, message, level=level, secret=SECRET)
    event(f"{len(ticket.mask)} layers, rewind {'known' if ticket.rewind else 'not known'}")
    return ticket, embedded, embedded.mark.code()


def bare(ticket: Ticket) -> Ticket:
    """The same weights as a model file has them: no mask, no rewind weights."""
    weights = {name: w.clone() for name, w in ticket.weights.items()}
    return Ticket(weights=weights, mask=Mask.of_zeros(weights))


def kernels_of(mask: Mask, name: str) -> np.ndarray:
    """A layer's mask as [out, in, weights of a kernel]."""
    return mask[name].flatten(2).numpy() if mask[name].ndim > 2 else mask[name].numpy()[..., None]


messages = st.sampled_from(["a", "owner", "0123456789", "ключ"])
levels = st.sampled_from("LMQH")
some = settings(deadline=None, max_examples=60)


@some
@given(network=networks, message=messages, level=levels)
def test_the_message_is_read_from_the_mask_and_from_bare_weights(
    network: Network, message: str, level: str
) -> None:
    _, embedded, code = sign(network, message, level)
    for signed in (embedded.ticket, bare(embedded.ticket)):
        reading = extract(signed, embedded.claim)
        assert (reading.message, reading.corrected) == (message, 0)
        assert (reading.matches, reading.modules) == (int(code.data.sum()), int(code.data.sum()))
        assert np.array_equal(reading.light, code.light)
        assert not reading.wrong.any()
    assert Claim.from_json(embedded.claim.to_json()) == embedded.claim
    assert of_kind(CodeMark, embedded.claim) == embedded.mark


@some
@given(network=networks, message=messages, level=levels)
def test_as_many_weights_are_kept_as_before(network: Network, message: str, level: str) -> None:
    ticket, embedded, _ = sign(network, message, level)
    signed = embedded.ticket
    assert (signed.mask.kept, signed.mask.total) == (ticket.mask.kept, ticket.mask.total)
    came = sum(int((signed.mask[n] & ~ticket.mask[n]).sum()) for n in ticket.mask)
    went = sum(int((ticket.mask[n] & ~signed.mask[n]).sum()) for n in ticket.mask)
    assert moved(ticket.mask, signed.mask) == came == went
    assert sum(int((signed.weights[n] != 0).sum()) for n in ticket.mask) == ticket.mask.kept
    entry = signed.history[-1]
    assert (entry.step, entry.kept, entry.total) == ("sign", ticket.mask.kept, ticket.mask.total)


FEW = Network(
    0, [("conv 1x1", 21, 21, 0.9), ("conv 1x1", 4, 4, 0.0), ("conv 1x1", 4, 7, 0.1)], torch.float32, False
)


@some
@example(network=FEW, message="a", level="L")
@given(network=networks, message=messages, level=levels)
def test_a_weight_that_comes_back_has_its_rewind_value_or_a_small_one(
    network: Network, message: str, level: str
) -> None:
    ticket, embedded, _ = sign(network, message, level)
    signed = embedded.ticket
    assert signed.weights.keys() == ticket.weights.keys()
    assert (signed.rewind is None) == (ticket.rewind is None)
    for name, before in ticket.weights.items():
        after = signed.weights[name]
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        if name not in ticket.mask:
            assert torch.equal(after, before)
            continue
        kept, back = ticket.mask[name] & signed.mask[name], ~ticket.mask[name] & signed.mask[name]
        assert torch.equal(after[kept], before[kept])
        assert (after[back] != 0).all()
        large = before[before != 0].abs().double()
        if ticket.rewind is None:
            if len(large) and back.any():
                # Of a few weights the fourth decile is one of them: the next, not a number between two.
                assert after[back].abs().max() <= large.quantile(0.45, interpolation="higher")
            continue
        known = ticket.rewind[name][back]
        assert torch.equal(after[back][known != 0], known[known != 0].to(after.dtype))
        untouched = ~back | (ticket.rewind[name] != 0)
        assert torch.equal(signed.rewind[name][untouched], ticket.rewind[name][untouched])
        assert (signed.rewind[name][back] != 0).all()  # so that the code outlives rewinding, too
    if ticket.rewind is not None:
        assert extract(replace(signed, weights=signed.rewound()), embedded.claim).message == message


@some
@given(network=networks, message=messages, level=levels)
def test_only_what_balance_needs_is_touched_nearest_first(network: Network, message: str, level: str) -> None:
    ticket, embedded, code = sign(network, message, level)
    place, n = embedded.mark.placement, len(code.light)
    before, after = (
        {m: kernels_of(mask, m) for m in ticket.mask} for mask in (ticket.mask, embedded.ticket.mask)
    )
    old, new = place.cut(before[place.layer], n), place.cut(after[place.layer], n)
    light = code.data & code.light
    # Rings around the code: light modules, the rest of the layer (the function patterns are part of it:
    # emptied or filled first, they would show), the other layers.
    rest = np.ones_like(before[place.layer])
    place.cut(rest, n)[...] = ~code.data[..., None]
    others = [m for m in ticket.mask if m != place.layer]
    rings = [
        (old[light], new[light]),
        (before[place.layer][rest], after[place.layer][rest]),
        (
            np.concatenate([before[m].ravel() for m in others] or [[]]) > 0,
            np.concatenate([after[m].ravel() for m in others] or [[]]) > 0,
        ),
    ]
    came = [int((b & ~a).sum()) for a, b in rings]
    went = [int((a & ~b).sum()) for a, b in rings]
    # Light kernels that had nothing get one weight whatever the balance.
    came[0] -= int((~old[light].any(-1)).sum())
    assert not (sum(came) and sum(went)), "weights both came and went for the balance"
    for ring in range(1, 3):
        if came[ring]:
            assert all(b.all() for _, b in rings[:ring]), "a ring was taken before a nearer one was full"
        if went[ring]:
            assert all(not b.any() for _, b in rings[1:ring]), (
                "a ring was taken before a nearer one was empty"
            )
            assert (new[light].sum(-1) == 1).all()


@some
@given(network=networks, message=messages, level=levels)
def test_the_smallest_weights_go(network: Network, message: str, level: str) -> None:
    ticket, embedded, code = sign(network, message, level)
    place, n = embedded.mark.placement, len(code.light)
    before, after = (kernels_of(m, place.layer) for m in (ticket.mask, embedded.ticket.mask))
    sizes = ticket.weights[place.layer].abs().double().reshape(before.shape).numpy()
    old, new, size = (place.cut(a, n)[code.data & code.light] for a in (before, after, sizes))
    had = old.any(-1)
    # A light kernel keeps the largest of what it had.
    assert np.array_equal(np.where(new, size, 0).max(-1)[had], np.where(old, size, 0).max(-1)[had])
    gone, spared = old & ~new, old & new & (size < np.where(old, size, 0).max(-1, keepdims=True))
    if gone.any() and spared.any():
        assert size[gone].max() <= size[spared].min()


def test_the_function_patterns_are_not_written() -> None:
    """Neither the finders nor anything else that would be seen at a glance."""
    ticket = sparse_ticket(density=0.2)
    embedded = embed(ticket, "no finders", layer="a.weight", secret=SECRET)
    place, code = embedded.mark.placement, embedded.mark.code()
    regions = [
        place.cut(mask.kernel_map(place.layer).numpy(), len(code.light))
        for mask in (ticket.mask, embedded.ticket.mask)
    ]
    assert np.array_equal(regions[0][~code.data], regions[1][~code.data])
    finder = np.s_[:7, :7]
    assert not np.array_equal(regions[1][finder], code.light[finder])


@settings(deadline=None, max_examples=15)
@given(network=networks, message=messages)
def test_the_same_secret_gives_the_same_bits(network: Network, message: str) -> None:
    ticket, first, _ = sign(network, message, "H")
    second = embed(ticket, message, secret=SECRET)
    assert tensor_digest(first.ticket.weights) == tensor_digest(second.ticket.weights)
    assert first.ticket.mask == second.ticket.mask
    assert first.claim.subject == second.claim.subject == tensor_digest(first.ticket.weights)


def test_another_secret_takes_other_positions() -> None:
    ticket = sparse_ticket(density=0.1)
    masks = [
        embed(ticket, "where", layer="a.weight", secret=secret).ticket.mask
        for secret in (b"one", b"two", None, None)
    ]
    assert all(a != b for i, a in enumerate(masks) for b in masks[:i])


def test_an_empty_secret_is_a_secret() -> None:
    ticket = sparse_ticket(density=0.1)
    first, second = (embed(ticket, "k", layer="a.weight", secret=b"").ticket.mask for _ in range(2))
    assert first == second


def test_the_callers_ticket_is_left_as_it_was() -> None:
    ticket = sparse_ticket(rewind=True)
    before = tensor_digest(ticket.weights), tensor_digest(ticket.mask), tensor_digest(ticket.rewind or {})
    embed(ticket, "untouched")
    assert before == (
        tensor_digest(ticket.weights),
        tensor_digest(ticket.mask),
        tensor_digest(ticket.rewind or {}),
    )


@settings(deadline=None, max_examples=25)
@given(network=networks, message=messages, level=levels)
def test_an_honest_signature_verifies(network: Network, message: str, level: str) -> None:
    _, embedded, _ = sign(network, message, level)
    verdict = verify(bare(embedded.ticket), embedded.claim)
    assert verdict.verified == (verdict.log10_p < -6)
    assert verdict.reading.message == message
    # At level H (30 % of the symbols) a short message leaves far more modules than the liar has choices.
    if level == "H":
        assert verdict.verified


@pytest.mark.parametrize("share", [1.0, 0.97])
def test_a_dense_model_is_refused_with_the_way_out(share: float) -> None:
    weights = {"a.weight": sparse(24, 24, 3, 3, density=share)}
    ticket = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    with pytest.raises(
        InputError, match=r"mask: pruned weights: expected .* more.*prune it first \(--prune 0\.8\)"
    ):
        embed(ticket, "dense")


def test_a_model_that_is_too_sparse_is_refused() -> None:
    weights = {"a.weight": sparse(24, 24, 3, 3, density=0.002)}
    ticket = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    with pytest.raises(
        InputError, match=r"mask: kept weights: expected .* too sparse for this code; prune it less$"
    ):
        embed(ticket, "few")


def test_kept_weights_that_happen_to_be_zero_do_not_hide_the_code() -> None:
    """A mask may keep a weight whose value is 0 (underflow, say): bare weights must be read all the same."""
    draw = torch.Generator().manual_seed(5)
    kept = torch.rand(40, 40, 3, 3, generator=draw) < 0.2
    weights = torch.randn(kept.shape, generator=draw) * kept
    weights[torch.rand(kept.shape, generator=draw) < 0.5] = 0
    ticket = Ticket(weights={"a.weight": weights}, mask=Mask({"a.weight": kept}))
    embedded = embed(ticket, "zeros", level="L", secret=SECRET)
    assert extract(bare(embedded.ticket), embedded.claim).message == "zeros"


def test_version_level_and_layer_can_be_chosen() -> None:
    ticket = sparse_ticket()
    mark = embed(ticket, "chosen", version=5, level="Q", layer="b.weight").mark
    assert (mark.version, mark.level, mark.placement.layer) == (5, "Q", "b.weight")
    assert mark.shape == (64, 48)


def test_the_default_is_the_smallest_code_at_level_h() -> None:
    mark = embed(sparse_ticket(), "m" * 24).mark
    assert (mark.version, mark.level) == (3, "H")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"layer": "c.weight"},
            r"layer: expected one of the mask's \(a\.weight, b\.weight, small\.weight\), found c",
        ),
        ({"layer": "small.weight"}, "found 8x8 at the largest"),
        ({"level": "Z"}, "^level: expected one of L, M, Q, H, found 'Z'"),
        ({"version": 41}, "^version: expected 1 to 40, found 41"),
        ({"version": 0}, "^version: expected 1 to 40, found 0"),
        (
            {"version": 1},
            "message: expected at most 7 bytes in version 1, level H, found 11, which takes version 2",
        ),
        ({"version": 20}, "kernel maps: expected one of at least 97x97 kernels, found 48x48 at the largest"),
        ({"message": ""}, "message: expected at least one character"),
        ({"message": "m" * 99}, "message: expected at most .* bytes at level H"),
        ({"message": "\udcff"}, "message"),
    ],
)
def test_what_cannot_be_embedded_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        embed(sparse_ticket(), **{"message": "hello world", **arguments})  # type: ignore[arg-type]


def test_any_message_that_fits_is_signed_and_read_back() -> None:
    weights = {"a.weight": sparse(64, 80, 3, 3, density=0.2)}
    ticket = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    for message in (
        "THE OWNER 2021",
        "3" * 30,
        "имя: 🔑 \n\t'\"",
        "https://example.org/?a=b&c=[d]",
        "m" * 100,
    ):
        embedded = embed(ticket, message, level="M")
        assert extract(bare(embedded.ticket), embedded.claim).message == message
