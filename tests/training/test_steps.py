"""A length of training, in iterations or epochs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.training import Steps


@given(count=st.integers(0, 10**9), unit=st.sampled_from(["ep", "it"]))
def test_what_is_printed_is_read_back(count: int, unit: str) -> None:
    steps = Steps(count, unit)
    assert Steps.parse(str(steps)) == steps
    assert Steps.parse(f" {count}{unit} ") == steps


@given(count=st.integers(0, 10**6), per_epoch=st.integers(1, 10**4))
def test_epochs_count_batches_and_iterations_count_themselves(count: int, per_epoch: int) -> None:
    assert Steps(count).iterations(per_epoch) == count * per_epoch
    assert Steps(count, "it").iterations(per_epoch) == count


def test_a_bare_number_means_epochs() -> None:
    assert Steps.parse("3") == Steps.parse("3ep") == Steps(3, "ep")


@pytest.mark.parametrize("text", ["", "ep", "-1ep", "1.5ep", "3epochs", "3 ep", "3ep 4it", "three", "0x3it"])
def test_other_text_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InputError, match=f"steps: expected .*3ep or 2000it, found '{text}'"):
        Steps.parse(text)


@pytest.mark.parametrize(("count", "unit"), [(-1, "ep"), (1, "epochs"), (1, ""), (0.5, "ep")])
def test_a_length_that_cannot_be_is_refused(count: int, unit: str) -> None:
    with pytest.raises(InputError, match=f"steps: expected .*, found {count}{unit}"):
        Steps(count, unit)
