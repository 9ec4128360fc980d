"""How well a network does its task: accuracy, and precision and recall of every class, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.ticket import Ticket
from ticket_sig.training.evaluate import predicted


def quality(network: Ticket, task: EvaluationTask) -> dict[str, Any]:
    """Accuracy, precision and recall by class on the test split, in %.

    Raises:
        InputError: the weights do not fit the task's network.
    """
    test, device = task.data.test, task.engine.device
    found = predicted(task.network(network), test, task.data, device, task.recipe.precision).cpu().numpy()
    return of_answers(test.labels.numpy(), found, task.data.classes)


def of_answers(labels: NDArray[np.int64], found: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """The same of answers.

    A class without samples has neither precision nor recall: null. The precision of a class that has samples
    and that no image is given is 0: a network must not look better for never naming it.

    Args:
        labels, found: int64 [n], 0 to `classes` - 1.
    """
    samples, named = (np.bincount(x, minlength=classes) for x in (labels, found))
    right = np.bincount(labels[labels == found], minlength=classes)
    rows = [
        {
            "precision": 100 * int(r) / max(1, int(given)) if count else None,
            "recall": 100 * int(r) / int(count) if count else None,
        }
        for r, given, count in zip(right, named, samples, strict=True)
    ]
    return {"accuracy": 100 * int(right.sum()) / len(labels), "classes": rows}


def macro_mean(measured: Mapping[str, Any], what: str) -> float:
    """The mean of precision or recall over the classes that have samples, in %."""
    return float(np.mean([row[what] for row in measured["classes"] if row[what] is not None]))
