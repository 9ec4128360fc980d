"""An accuser who has read the code and the model: no claim made up after the fact verifies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ticket_sig import Mask, Ticket, verify
from ticket_sig.marks import CodeMark, claim_of
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import most_similar


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
