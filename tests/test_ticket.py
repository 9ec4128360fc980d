"""The ticket: promise 1, finite weights, and a history that outlives versions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tickets import sparse_ticket

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.ticket import HistoryEntry


def test_a_pruned_weight_that_is_not_zero_is_refused() -> None:
    ticket = sparse_ticket()
    weights = {name: w.clone() for name, w in ticket.weights.items()}
    weights["a.weight"][~ticket.mask["a.weight"]] = 1.0
    weights["b.weight"][0, 0] = 1.0 - float(ticket.mask["b.weight"][0, 0])
    count = int((~ticket.mask["a.weight"]).sum())
    with pytest.raises(InputError, match=rf"a\.weight: expected zeros where pruned, found {count} that"):
        replace(ticket, weights=weights)


def test_weights_of_8_bits_are_checked_like_all_others() -> None:
    weights = {"a.weight": torch.tensor([[1.0, 0.0], [0.0, 2.0]]).to(torch.float8_e4m3fn)}
    kept = torch.tensor([[True, False], [False, True]])
    assert Ticket(weights=weights, mask=Mask({"a.weight": kept})).mask.kept == 2
    with pytest.raises(InputError, match=r"a\.weight: expected zeros where pruned, found 2 that are not"):
        Ticket(weights=weights, mask=Mask({"a.weight": ~kept}))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_all_named(bad: float, dtype: torch.dtype) -> None:
    weights = {
        "a.weight": torch.tensor([[1.0, bad], [bad, 2.0]], dtype=dtype),
        "fine.weight": torch.ones(2, 2, dtype=dtype),
        "b.bias": torch.tensor([bad], dtype=dtype),
    }
    with pytest.raises(InputError) as refused:
        Ticket(weights=weights, mask=Mask({}))
    assert str(refused.value) == (
        "weights: a.weight: expected finite numbers, found 2 that are not; "
        "b.bias: expected finite numbers, found 1 that are not"
    )


def test_infinities_that_cancel_out_are_found() -> None:
    with pytest.raises(InputError, match="found 2 that are not"):
        Ticket(weights={"a": torch.tensor([math.inf, -math.inf, 1.0])}, mask=Mask({}))


def test_large_weights_are_finite_also_where_their_sum_is_not() -> None:
    weights = {"a.weight": torch.full((9, 9), 60_000.0, dtype=torch.float16), "steps": torch.tensor(3)}
    assert Ticket(weights=weights, mask=Mask.full({"a.weight": weights["a.weight"]})).mask.kept == 81


def test_rewind_weights_have_to_be_of_the_same_model() -> None:
    ticket = sparse_ticket(rewind=True)
    assert ticket.rewind is not None
    rewind = {**ticket.rewind, "b.bias": torch.ones(3), "extra": torch.ones(1)}
    del rewind["a.weight"]
    with pytest.raises(InputError) as refused:
        replace(ticket, rewind=rewind)
    assert str(refused.value) == (
        "rewind weights: a.weight: expected, not found; "
        "b.bias: expected shape [64], found [3]; extra: found, not expected"
    )
    with pytest.raises(InputError, match=r"rewind weights: b\.bias: expected finite numbers, found 64"):
        replace(ticket, rewind={**ticket.rewind, "b.bias": torch.full((64,), math.nan)})


def test_rewound_is_the_rewind_weights_under_the_mask() -> None:
    ticket = sparse_ticket(rewind=True)
    assert ticket.rewind is not None
    rewound = ticket.rewound()
    assert rewound.keys() == ticket.weights.keys()
    ticket.mask.check(rewound)
    assert all(torch.equal(rewound[n][kept], ticket.rewind[n][kept]) for n, kept in ticket.mask.items())
    assert torch.equal(rewound["b.bias"], ticket.rewind["b.bias"])


def test_a_ticket_without_rewind_weights_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"ticket: rewind weights: expected some, found none; train from"):
        sparse_ticket().rewound()


def test_the_last_test_accuracy_is_that_of_the_last_training() -> None:
    dense, pruned = (
        HistoryEntry(step="dense", kept=9, total=9, test=90.0),
        HistoryEntry(step="prune", kept=5, total=9, test=89.0),
    )
    signed = HistoryEntry(step="sign", kept=5, total=9)
    ticket = sparse_ticket()
    assert ticket.last_trained() is None
    assert replace(ticket, history=(dense, pruned, signed)).last_trained() == pruned


def test_pruning_rates_count_the_rounds_that_were_accepted() -> None:
    history = [
        HistoryEntry(step="dense", kept=100, total=100),
        *[HistoryEntry(step="prune", kept=50, total=100, rate=0.2, accepted=True)] * 3,
        HistoryEntry(step="prune", kept=40, total=100, rate=0.2, accepted=False),
        HistoryEntry(step="prune", kept=45, total=100, rate=0.1, accepted=True),
        HistoryEntry(step="sign", kept=45, total=100),
    ]
    rates = replace(sparse_ticket(), history=tuple(history)).pruning_rates()
    assert list(rates.items()) == [(0.2, 3), (0.1, 1)]


rounds = st.builds(
    HistoryEntry,
    step=st.sampled_from(["dense", "prune", "sign", "train"]),
    kept=st.integers(0, 100),
    total=st.integers(100, 200),
    rate=st.none() | st.floats(0.01, 0.9),
    winning=st.none() | st.booleans(),
    accepted=st.none() | st.booleans(),
    validation=st.none() | st.floats(0, 100),
    test=st.none() | st.floats(0, 100),
    epochs=st.none() | st.integers(1, 200),
    seconds=st.none() | st.floats(0, 1e6),
    made_with=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@settings(deadline=None)
@given(entry=rounds)
def test_history_comes_back_from_json(entry: HistoryEntry) -> None:
    value = json.loads(json.dumps(entry.to_json()))
    assert None not in value.values()
    assert value["density"] == pytest.approx(entry.kept / entry.total if entry.total else 1.0, abs=1e-6)
    assert HistoryEntry.from_json(value) == entry
    assert HistoryEntry.from_json({**value, "of a later version": 1}) == entry


@pytest.mark.parametrize("missing", ["step", "kept", "total"])
def test_history_without_a_required_field_is_refused(missing: str) -> None:
    value = {"step": "dense", "kept": 1, "total": 2}
    del value[missing]
    with pytest.raises(InputError, match=rf"history: {missing}: expected .*, found [Nn]one"):
        HistoryEntry.from_json(value)


@pytest.mark.parametrize(
    ("name", "value"), [("kept", "many"), ("total", None), ("kept", []), ("test", "high"), ("rate", {})]
)
def test_history_of_the_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"history: {name}: expected"):
        HistoryEntry.from_json({"step": "dense", "kept": 1, "total": 2, name: value})
