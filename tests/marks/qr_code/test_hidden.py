"""What a thief who has read the code can see in a signed model."""

from __future__ import annotations

from pathlib import Path

import torch
from support.tickets import sparse, sparse_ticket

from ticket_sig import Mask, Ticket, embed, load, save
from ticket_sig.lottery.prune import prune_dense


def test_weights_that_come_back_look_like_others() -> None:
    ticket = sparse_ticket()
    signed = embed(ticket, "signature", version=3).ticket
    back = {name: signed.mask[name] & ~ticket.mask[name] for name in signed.mask}
    values = torch.cat([signed.weights[name][b].abs() for name, b in back.items()])
    kept = torch.cat([ticket.weights[name][ticket.mask[name]].abs() for name in ticket.mask])
    assert len(values.unique()) > 0.9 * len(values) > 50
    assert values.max() < kept.median()


def test_the_same_secret_gives_the_same_bits_and_another_gives_others() -> None:
    ticket = sparse_ticket()
    first, again, other = (
        embed(ticket, "m", version=3, secret=secret).ticket for secret in (b"k", b"k", b"l")
    )
    assert all(torch.equal(first.weights[n], again.weights[n]) for n in first.weights)
    assert any(not torch.equal(first.weights[n], other.weights[n]) for n in first.weights)


def test_tied_weights_stay_tied_when_signed_and_saved(tmp_path: Path) -> None:
    shared = sparse(48, 48)
    weights = {"encoder.weight": shared, "decoder.weight": shared, "bias": torch.ones(3)}
    mask = Mask.of_zeros({"encoder.weight": shared})
    bundle = save(embed(Ticket(weights=weights, mask=mask), "m").ticket, tmp_path / "signed")
    again = embed(load(bundle).ticket, "another", version=3).ticket
    assert torch.equal(again.weights["encoder.weight"], again.weights["decoder.weight"])
    assert not torch.equal(again.weights["encoder.weight"], shared)


def test_a_dense_model_is_pruned_everywhere_though_one_row_is_zero() -> None:
    embedding = sparse(50, 40, density=1.0)
    embedding[0] = 0  # padding_idx
    weights = {"embedding.weight": embedding, "fc.weight": sparse(40, 40, density=1.0, seed=1)}
    ticket = prune_dense(Ticket(weights=weights, mask=Mask.of_zeros(weights)), 0.8)
    assert ticket.mask["fc.weight"].float().mean() < 0.4
    assert embed(ticket, "m").ticket.mask.kept == ticket.mask.kept
