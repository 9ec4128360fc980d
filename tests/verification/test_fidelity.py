"""Fidelity: the accuracy against the one that was promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.tiny import tiny_data

from ticket_sig.verification.fidelity import Fidelity, fidelity_of_answers


@pytest.mark.parametrize(
    ("accuracy", "promised", "holds"),
    [(90.0, 91.0, True), (89.9, 91.0, False), (99.0, 91.0, True), (50.0, None, None)],
)
def test_fidelity_holds_within_a_point(accuracy: float, promised: float | None, holds: bool | None) -> None:
    found = Fidelity(accuracy, promised)
    assert found.holds is holds and found.to_json()["holds"] is holds
    assert ("does not hold" in str(found)) is (holds is False)


def test_answers_are_enough_to_measure_it() -> None:
    data = tiny_data()
    labels = {
        image.numpy().tobytes(): int(label) for image, label in zip(*vars(data.test).values(), strict=True)
    }

    def ask(images: np.ndarray) -> list[int | None]:
        """Right, but every fourth time no answer comes."""
        return [None if i % 4 == 0 else labels[image.tobytes()] for i, image in enumerate(images)]

    n = len(data.test)
    assert fidelity_of_answers(ask, data).accuracy == pytest.approx(100 * (n - -(-n // 4)) / n)
    assert fidelity_of_answers(ask, data, images=4).accuracy == 75
    assert fidelity_of_answers(ask, data, 90.0, eps_f=50).holds
    assert not replace(fidelity_of_answers(ask, data, 90.0)).holds
