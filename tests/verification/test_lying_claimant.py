"""An accuser who has read the code and the model: no claim made up after the fact verifies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.tickets import sparse

from ticket_sig import Mask, Ticket, embed, extract, verify
from ticket_sig.marks import CodeMark, Spread, Watermark, claim_of
from ticket_sig.marks.carrier import CarrierReading, Layer, Payload
from ticket_sig.marks.freezenet.derive import derive
from ticket_sig.marks.freezenet.reading import Matches, matches
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import most_similar
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.spread.signs import signs_of


def innocent(side: int, dead_columns: float, dead_rows: float, kept: float, seed: int) -> Ticket:
    """A network as structured pruning leaves it: whole channels are dead."""
    draw = np.random.default_rng(seed)
    kernels = draw.random((side, side)) < kept
    kernels &= (draw.random(side) >= dead_columns)[None]
    kernels &= (draw.random(side) >= dead_rows)[:, None]
    weights = {"layer": torch.from_numpy(kernels).float()}
    return Ticket(weights=weights, mask=Mask.of_matrices(weights))


@pytest.mark.parametrize(
    ("ticket", "versions"),
    [
        (innocent(256, 0.5, 0.0, 1.0, 0), (20, 40)),
        (innocent(256, 0.1, 0.0, 0.9, 1), (40,)),
        (innocent(256, 0.3, 0.3, 0.5, 2), (30,)),
        (innocent(128, 0.0, 0.5, 1.0, 3), (5, 20)),
        (innocent(64, 0.5, 0.0, 1.0, 4), (7, 11)),
    ],
    ids=["half the columns", "few columns", "both", "half the rows", "a small layer"],
)
def test_dead_channels_carry_nobodys_message(ticket: Ticket, versions: tuple[int, ...]) -> None:
    kernels = {"layer": ticket.mask.kernel_map("layer").numpy()}
    for version in versions:
        for level in "LH":
            for message in ("7", "mine"):
                place, code = most_similar(kernels, qr.encode(message, version, level))
                shape = tuple(ticket.weights["layer"].shape)
                mark = CodeMark(message, version, level, code.data_mask, place, shape)
                assert not verify(ticket, claim_of([mark], {})).verified


def test_a_short_message_in_a_large_code_leaves_nothing_regular() -> None:
    code = qr.encode("7", 20, "L")[0]
    for lag in range(1, 20):
        rows = code.light[lag:] == code.light[:-lag]
        both = code.data[lag:] & code.data[:-lag]
        assert abs(rows[both].mean() - 0.5) < 0.05


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32])
def test_a_buffer_is_no_layer(dtype: torch.dtype) -> None:
    weights = {"layer": torch.ones(64, 64), "causal": torch.ones(64, 64).tril().to(dtype)}
    ticket = Ticket(weights=weights, mask=Mask.of_matrices(weights))
    place, code = most_similar({"causal": weights["causal"].bool().numpy()}, qr.encode("m", 1, "H"))
    mark = CodeMark("m", 1, "H", code.data_mask, place, (64, 64))
    with pytest.raises(ValueError, match="causal: expected weights, found a tensor of"):
        verify(ticket, claim_of([mark], {}))


def test_tensors_that_only_the_claim_s_tied_names_find_are_paid_for() -> None:
    shape, own = (16, 12, 3, 3), Secret(bytes(range(32)))
    tensors = {f"layer{n}.weight": sparse(*shape, seed=n) for n in range(6)}
    layers = tuple(Layer(f"invented{n}", shape, math.prod(shape)) for n in range(150))
    mark = Spread(payload=Payload("mine"), layers=layers, commitment=own.commitment)
    # Which tensor stands in for each invented layer he chooses after he read them all.
    signs = signs_of(mark.stream(own), layers, mark.code.size)
    towards = (signs.signs * mark.code.encode(b"mine")[signs.groups]).reshape(len(layers), -1)
    kept = {name: (tensor != 0).double().flatten().numpy() for name, tensor in tensors.items()}
    says = {name: towards @ (one - one.mean()) for name, one in kept.items()}
    tied = {layer.name: max(says, key=lambda name: says[name][n]) for n, layer in enumerate(layers)}
    claim = claim_of([mark], {}, tied=tied)
    verdict = verify(tensors, claim, secret=own)
    assert isinstance(verdict.reading, CarrierReading)
    assert verdict.reading.sigma > 14 and verdict.reading.log10_p_here < -45
    assert verdict.reading.log10_choices > 150 * math.log10(6) and not verdict.verified
    assert extract(tensors, claim, secret=own).log10_p == verdict.log10_p


def test_values_that_only_the_claim_s_tied_names_find_are_paid_for() -> None:
    shape, manifest = (8, 8), {f"invented{n}": (8, 8) for n in range(100)}
    draw = torch.Generator().manual_seed(0)
    experts = {f"experts.{n}": (0.3 * torch.randn(shape, generator=draw)).bfloat16() for n in range(2000)}
    numbers = torch.stack(list(experts.values())).flatten(1)

    def tied(data: bytes) -> dict[str, str] | None:
        """For each invented tensor one of the network that has its value, chosen after he read them all."""
        found = dict.fromkeys(manifest, "experts.0")
        for name, fixed in derive(data, 12, manifest, "layer").items():
            values = np.broadcast_to(fixed.values, (len(numbers), len(fixed.values)))
            stands = matches(numbers[:, fixed.places], values.copy()).all(1)
            if not stands.any():
                return None
            found[name] = f"experts.{int(stands.nonzero()[0])}"
        return found

    data, names = next((d, one) for n in range(1000) if (one := tied(d := b"innocent%d" % n)))
    mark = Watermark(data, 12, scale="layer", manifest=manifest)
    verdict = verify(experts, claim_of([mark], {}, tied=names))
    assert isinstance(verdict.reading, Matches) and verdict.reading.whole
    assert verdict.reading.log10_p_here < -30 and not verdict.verified


def test_an_honest_tie_costs_as_many_chances_as_there_are_tensors() -> None:
    weights = {"first.weight": sparse(64, 64, seed=1), "other.weight": sparse(64, 64, seed=2)}
    ticket = Ticket(weights={**weights, "last.weight": weights["first.weight"]}, mask=Mask.of_zeros(weights))
    signed = embed(ticket, "mine", mark="spread")
    assert signed.claim.tied == {"last.weight": "first.weight"}
    dropped = {name: one for name, one in signed.ticket.weights.items() if name != "first.weight"}
    verdicts = [verify(suspect, signed.claim, **signed.shown) for suspect in (signed.ticket, dropped)]
    assert all(verdict.verified and verdict.reading.message == "mine" for verdict in verdicts)
    assert verdicts[1].log10_p == pytest.approx(verdicts[0].log10_p + math.log10(3))


def test_an_honest_tie_of_fixed_values_costs_as_many() -> None:
    first = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    mark = Watermark(b"mine", 40, manifest={"a.weight": (64, 64)})
    marked = mark.embed(Ticket(weights={"a.weight": first, "b.weight": first}, mask=Mask({})))
    claim = claim_of([mark], marked.weights)
    assert claim.tied == {"b.weight": "a.weight"}
    dropped = {"b.weight": marked.weights["b.weight"]}
    verdicts = [verify(suspect, claim) for suspect in (marked, dropped)]
    assert all(verdict.verified for verdict in verdicts)
    assert verdicts[1].log10_p == pytest.approx(verdicts[0].log10_p + math.log10(2))
