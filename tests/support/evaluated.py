"""A report of an evaluation as `ticket-sig evaluate` writes it, without the hours that one takes."""

from __future__ import annotations

import random
from typing import Any

from ticket_sig.evaluation.intervals import rate, stat

MODELS, PAYLOADS, SYMBOLS = 3, 3, 64
# name, parameter, unit, range of the standard, intensities, points of accuracy that the strongest costs
MODIFICATIONS: list[tuple[str, str, str, float, float, tuple[float, ...], float]] = [
    ("gaussian-noise", "S", "std of the layer", 0.1, 0.3, (0.1, 0.2, 0.3), 3),
    ("l1-pruning", "P", "% of each layer", 1, 90, (10, 50, 90), 40),
    ("random-pruning", "R", "% of all weights", 1, 10, (1, 5, 10), 8),
    ("quantization", "B", "bits", 2, 32, (16, 8, 2), 50),
    ("fine-tuning", "E", "share of the initial epochs", 0, 0.5, (0.1, 0.25, 0.75), 0.5),
    ("distillation", "E", "epochs", 1, 100, (1, 4, 8), 4),
    ("overwriting", "W", "marks", 2, 4, (2, 3, 4), 1),
]
# family, where it stands, payload, subject, symbols, how much of a mark the modifications take away
METHODS: dict[str, tuple[str, str, str, str, int | None, dict[str, float]]] = {
    "qr-code": ("active", "mask", "bits", "ticket", 359, {"distillation": 1, "l1-pruning": 0.5}),
    "key-mask": ("passive", "mask", "nothing", "ticket", None, {"distillation": 1, "l1-pruning": 0.2}),
    "trigger-set": ("active", "answers", "labels", "dense", 100, {"l1-pruning": 0.6, "distillation": 0.8}),
    "freezenet": ("active", "weights", "numbers", "dense", 4096, {"distillation": 1, "quantization": 0.3}),
    "uchida": ("active", "weights", "bits", "dense", SYMBOLS, {"distillation": 1, "overwriting": 0.4}),
    "mask-fingerprint": ("passive", "mask", "nothing", "ticket", None, {"distillation": 1}),
}


def report(*names: str) -> dict[str, Any]:
    """All registered marks on digits, M = 3, D = 3; the same at every call.

    Args:
        names: of modifications, where it is not to be of all.
    """
    chance = random.Random(14)
    steps = [
        {
            "name": n,
            "parameter": p,
            "unit": u,
            "intensity": i,
            "low": lo,
            "high": hi,
            "in_range": lo <= i <= hi,
        }
        for n, p, u, lo, hi, intensities, _ in MODIFICATIONS
        for i in intensities
        if n in names or not names
    ]
    return {
        "format": "ticket_sig evaluation",
        "version": 1,
        "written_by": "ticket_sig 0.2",
        "made_with": {
            "ticket_sig": "0.2",
            "torch": "2.13.0+cpu",
            "python": "3.11.7",
            "device": "cpu: a CPU",
            "threads": 1,
            "precision": "float32",
            "kernels": "torch",
        },
        "command": "ticket-sig evaluate all --models 3 --payloads 3 --dataset digits --out runs/evaluation",
        "settings": {
            "methods": list(METHODS),
            "models": MODELS,
            "payloads": PAYLOADS,
            "trained_payloads": 1,
            "arch": "resnet20",
            "dataset": "digits",
            "data_digest": "5f" * 32,
            "recipe": {"arch": "resnet20", "dataset": "digits", "length": "8 epochs", "lr": 0.4, "seed": 0},
            "further": {"arch": "resnet20", "dataset": "digits", "length": "4 epochs", "lr": 0.1, "seed": 0},
            "pruned": 0.8,
            "parts": ["imperceptibility", "robustness", "cost"],
            "seed": 0,
            "modifications": steps,
        },
        "task": {
            "weights": 272186,
            "rule_of_ten": {"samples": 1437, "values": 91968, "by_samples": False, "by_values": False},
        },
        "methods": {name: _method(name, steps, chance) for name in METHODS},
    }


def _method(name: str, steps: list[dict[str, Any]], chance: random.Random) -> dict[str, Any]:
    family, stands_in, carries, subject, symbols, _ = METHODS[name]
    about = {
        "family": family,
        "stands_in": stands_in,
        "carries": carries,
        "subject": subject,
        "symbols": symbols,
        "detector": True,
        "decoder": symbols is not None,
        "options": {"layer": "layer3.1.conv1.weight"} if name == "uchida" else {},
    }
    passive = family == "passive"
    return {
        "about": about,
        "imperceptibility": None if passive else _imperceptibility(chance),
        "robustness": [_entry(name, step, chance) for step in [None, *steps]],
        "cost": _cost(passive, chance),
    }


def _imperceptibility(chance: random.Random) -> dict[str, Any]:
    def quality(accuracy: float) -> dict[str, Any]:
        each = {"precision": accuracy, "recall": accuracy}
        return {"accuracy": accuracy, "classes": [each] * 9 + [{**each, "precision": None}]}

    unmarked = [{"model": m, **quality(97 + chance.gauss(0, 0.4))} for m in range(MODELS)]
    marked = [
        {"model": m, "payload": d, **quality(min(100.0, unmarked[m]["accuracy"] + chance.gauss(-0.2, 0.3)))}
        for m in range(MODELS)
        for d in range(PAYLOADS)
    ]
    paired = stat([one["accuracy"] - unmarked[one["model"]]["accuracy"] for one in marked])
    return {
        "unmarked": unmarked,
        "marked": marked,
        "accuracy": {
            "unmarked": stat([one["accuracy"] for one in unmarked]),
            "marked": stat([one["accuracy"] for one in marked]),
        },
        "difference": paired,
        "precision_difference": paired,
        "recall_difference": paired,
    }


def _entry(name: str, step: dict[str, Any] | None, chance: random.Random) -> dict[str, Any]:
    _, _, _, _, symbols, lost = METHODS[name]
    kind = step and step["name"]
    entry = {
        "modification": kind or "none",
        "intensity": step and step["intensity"],
        "in_range": step and step["in_range"],
        "detector": None,
        "decoder": None,
        "log10_p": {"marked": [], "unmarked": []},
        "accuracy": {"before": None, "after": None},
        "not_measured": [],
    }
    if name == "freezenet" and kind == "overwriting":
        return {**entry, "not_measured": ["the network has no room for 3 further marks of 4096 numbers"]}
    order = [i for n, *_, values, _ in MODIFICATIONS if n == kind for i in values]
    strength = (order.index(step["intensity"]) + 1) / len(order) if step else 0.0
    gone = lost.get(str(kind), 0.05) * strength * strength
    runs = MODELS * (1 if kind in ("fine-tuning", "distillation", "overwriting") else PAYLOADS)
    missed = min(runs, round(runs * gone))
    false = 1 if name == "trigger-set" and kind == "distillation" else 0
    networks = MODELS * (PAYLOADS + 1)
    cost = next((points for n, *_, points in MODIFICATIONS if n == kind), 0) * strength**2
    before = [97 + chance.gauss(0, 0.3) for _ in range(runs)]
    entry["detector"] = {
        "standard": {"false_positive_ratio": false / networks, "false_negative_ratio": missed / networks},
        "false_positives": rate(false, MODELS * PAYLOADS),
        "false_negatives": rate(missed, runs),
    }
    if symbols is not None:
        wrong = round(symbols * runs * gone / 2)
        share = wrong / (symbols * runs)
        spread = (max(0.0, share - 0.05), min(1.0, share + 0.05))
        entry["decoder"] = {
            "standard": {"symbol_error_rate": share * 0.75 + 0.125},
            "marked": {
                "errors": wrong,
                "symbols": symbols * runs,
                "rate": share,
                "low": spread[0],
                "high": spread[1],
            },
        }
    if runs < MODELS * PAYLOADS:
        entry["not_measured"] = [f"only 1 of {PAYLOADS} payloads: it trains"]
    entry["log10_p"] = {"marked": [-40.0 * (1 - gone)] * runs, "unmarked": [-0.4] * (MODELS * PAYLOADS)}
    entry["accuracy"] = {
        "before": stat(before),
        "after": stat([a - cost + chance.gauss(0, 0.4) for a in before]),
    }
    return entry


def _cost(passive: bool, chance: random.Random) -> dict[str, Any]:
    def some(around: float) -> dict[str, Any] | None:
        return stat([around * (1 + chance.gauss(0, 0.05)) for _ in range(MODELS * PAYLOADS)])

    return {
        "injection": {
            "host_memory": some(6.1e8),
            "device_memory": None,
            "epoch_seconds": None if passive else some(2.4),
            "batches": None if passive else 12,
            "epochs": None if passive else stat([4.0] * 9),
            "inference_seconds": some(0.031),
        },
        "detection": {"host_memory": some(4.4e8), "seconds": some(0.02)},
    }
