"""What is written in Markdown: tables, and what a card says of a ticket."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from ticket_sig.claim import Claim
from ticket_sig.datasets import Dataset
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.statistics import format_p
from ticket_sig.ticket import HistoryEntry, Ticket
from ticket_sig.training import Recipe
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.verification import verify

# NeurIPS'21, Table 6 and Figure 3: ResNet-20 on CIFAR-10, 19.4 % kept, scheme 2, magnitude pruning.
_OF = "cifar10"
_PUBLISHED = {0.0: "91.37, read", 0.05: "91.25, read", 0.1: "90.72, read", 0.2: "88.03, `sigiature`"}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def history_table(history: Sequence[HistoryEntry], precision: str) -> list[str]:
    """Every network that was trained; accuracies are those of the training, in its precision."""
    columns = ("step", "rate", "kept %", "validation %", f"test % ({precision})", "", "epochs", "seconds")
    rows = [
        (
            e.step,
            "" if e.rate is None else e.rate,
            f"{100 * e.density:.2f}",
            "" if e.validation is None else f"{e.validation:.2f}",
            f"{e.test:.2f}",
            e.verdict,
            e.epochs,
            f"{e.seconds:.0f}",
        )
        for e in history
        if e.test is not None
    ]
    return table(columns, rows)


def pruning_table(
    signed: Ticket, claim: Claim, recipe: Recipe, data: Dataset, device: torch.device
) -> list[str]:
    """The signed ticket after one-shot magnitude pruning, beside the paper's (CIFAR-10); float32."""
    columns = ("pruned more", "test % (float32)", "message", "data modules", "p", "verdict")
    rows = []
    for rate in _PUBLISHED:
        pruned = prune_ticket(signed, rate) if rate else signed
        right = weights_accuracy(pruned.weights, recipe.arch, data, device)
        verdict = verify(pruned, claim)
        message, reading = verdict.reading.message, verdict.reading.to_json()
        read = f"`{message}`" if message is not None else "cannot be read"
        agree = f"{reading['matches']} / {reading['data_modules']}"
        p = format_p(verdict.log10_p)
        rows.append((f"{100 * rate:g} %", f"{right:.2f}", read, agree, p, verdict.outcome))
    if recipe.dataset != _OF:
        return table(columns, rows)
    beside = zip(rows, _PUBLISHED.values(), strict=True)
    return table((*columns, "paper"), [(*row, published) for row, published in beside])


def made_how(recipe: Recipe, history: Sequence[HistoryEntry]) -> list[str]:
    """Recipe, versions and hardware."""
    made_with = dict.fromkeys(json.dumps(dict(e.made_with)) for e in history if e.made_with)
    return [
        "The seconds are wall-clock, other work on the machine included. Made with:",
        "",
        *(f"`{text}`" for text in made_with),
        "",
        "```json",
        json.dumps(recipe.to_json()),
        "```",
    ]
