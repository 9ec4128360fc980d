"""The unaltered mask as a fingerprint: taken, matched, and found in no network that it was not taken of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.evaluation.fingerprint import MaskFingerprint, Match, extracted, matched
from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.lottery.prune import prune_ticket


def channelled(seed: int, density: float = 0.3) -> Ticket:
    """A ticket that keeps some channels and taps far more often than others, as all networks do."""
    draw = torch.Generator().manual_seed(seed)
    rates = torch.rand(64, 1, 1, generator=torch.manual_seed(0)) * torch.rand(1, 64, 9) * 4 * density
    kept = torch.rand(64, 64, 9, generator=draw) < rates
    weights = {"a.weight": (torch.randn(64, 64, 9, generator=draw) * kept).view(64, 64, 3, 3)}
    return Ticket(weights=weights, mask=Mask.of_matrices(weights))


def test_a_mask_comes_back_from_its_bits() -> None:
    ticket = sparse_ticket()
    taken = extracted(ticket)
    assert taken.mask == ticket.mask
    assert sum(map(len, taken.bits.values())) == sum(-(-kept.numel() // 8) for kept in ticket.mask.values())
    assert taken.digest == extracted(ticket).digest != extracted(sparse_ticket(seed=9)).digest


def test_it_is_found_in_what_was_made_of_the_ticket_and_in_no_other() -> None:
    ticket = sparse_ticket()
    taken = extracted(ticket)
    noisy = replace(ticket, weights={n: w * (1 + 0.2 * w.sin()) for n, w in ticket.weights.items()})
    whole = Mask.full({n: ticket.weights[n] for n in ticket.mask})
    filled = {n: torch.where(w == 0, 1e-4 * torch.ones_like(w), w) for n, w in ticket.weights.items()}
    derived = [ticket, noisy, prune_ticket(ticket, 0.5), Ticket(weights=filled, mask=whole)]
    for suspect in derived:
        match = matched(taken, suspect)
        assert match.detected and match.agreement == 1.0 and match.log10_p < -300
    for seed in range(10, 16):
        other = matched(taken, sparse_ticket(seed=seed))
        assert not other.detected and other.log10_p == 0


def test_tied_weights_are_one_piece_of_evidence() -> None:
    ticket = sparse_ticket()
    name, mask = next(iter(ticket.mask.items()))
    weights = {**ticket.weights, "copy": ticket.weights[name]}
    doubled = Ticket(weights=weights, mask=Mask({**ticket.mask, "copy": mask}))
    assert matched(extracted(doubled), doubled) == matched(extracted(ticket), ticket)


def test_channels_that_every_network_keeps_are_no_evidence() -> None:
    torch.manual_seed(1)
    taken = extracted(channelled(1))
    for seed in range(2, 8):
        torch.manual_seed(1)
        match = matched(taken, channelled(seed))
        assert match.agreement > 0.3 and not match.detected


def test_a_small_agreement_is_not_enough_however_significant() -> None:
    match = Match(found=2400, kept=10_000, expected=2000.0, log10_p_here=-60.0)
    assert match.log10_p < -40 and not match.detected
    assert replace(match, found=4000).detected
    assert not replace(match, found=10_000, log10_p_here=-25.0).detected  # 2^64 masks could be tried


def test_wrapped_names_are_found_and_others_named() -> None:
    ticket = sparse_ticket()

    def renamed(change: dict[str, Tensor]) -> Ticket:
        return Ticket(weights=change, mask=Mask.of_zeros(change))

    wrapped = renamed({f"module.{name}": w for name, w in ticket.weights.items()})
    assert matched(extracted(ticket), wrapped).detected
    with pytest.raises(
        InputError, match=r"^model: a.weight: expected weights \[40, 36, 3, 3\], .* found none"
    ):
        matched(extracted(ticket), renamed({n: w for n, w in ticket.weights.items() if n != "a.weight"}))


def test_a_dense_network_has_no_fingerprint(digits: EvaluationTask, subjects: dict[str, Ticket]) -> None:
    method = MaskFingerprint()
    assert method.passive and method.subject == "ticket"
    with pytest.raises(InputError, match=r"^mask fingerprint: mask: expected pruned weights, found none"):
        method.instance(subjects["dense"], bytes(32), digits)
    one, other = (method.instance(subjects["ticket"], bytes([n]) * 32, digits) for n in (1, 2))
    assert one == other and not method.keyed  # whatever the secret
    assert one.inject(subjects["ticket"], digits) is subjects["ticket"]
    found = one.test(subjects["ticket"], digits)
    assert found.detected and found.symbols is None and found.log10_p is not None
