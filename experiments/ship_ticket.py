"""The ticket in `checkpoints/`: search the extreme ticket, sign it, retrain it, write both bundles and cards.

    python experiments/ship_ticket.py --data DIR --out RUN                   # on a GPU: the paper's recipe
    python experiments/ship_ticket.py --data DIR --out RUN --recipe two-cores
    python experiments/ship_ticket.py --smoke --out RUN --checkpoints DIR

Resumable. The extreme ticket is that of NeurIPS'21, section 3.1; the code is 29x29, level H, as there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from main_path import RATES, attack_row, sign_once
from results import command, write_card

import ticket_sig
from ticket_sig.claim import Claim
from ticket_sig.cli.output import progress
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.formats import load
from ticket_sig.pictures import accuracy_over_rounds, before_and_after
from ticket_sig.signatures.scheme2 import Signature
from ticket_sig.ticket import Round, Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine
from ticket_sig.verification import verify
from ticket_sig.verification.statistics import format_p

MESSAGE, VERSION, LEVEL = "signature", 3, "H"

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    # Two hours on two cores. The dense network gets most of the time, since all tickets are as good as it is;
    # each of them goes on at the rewind step (Renda et al., 2020), where the learning rate is still high. The
    # first rate halves the network, so that the whole search fits. The ticket must win by a narrower margin.
    "two-cores": (
        "quick",
        {
            "length": Steps(36),
            "lr": 0.4,
            "crop": 2,
            "rewind": Steps(24),
            "retrain": "rewind",
            "rates": (0.5, 0.2, 0.1, 0.05, 0.01),
            "tolerance": 0.5,
        },
    ),
    "smoke": ("demo", {"length": Steps(2), "rates": (0.5,), "tolerance": 99.0, "density": 0.2}),
}
# Fields that say where a ticket was made rather than how.
_NO_DIFFERENCE = ("arch", "dataset", "seed", "precision")


def differences(recipe: Recipe) -> list[str]:
    """What this recipe has that the paper's has not, field by field."""
    paper = preset("paper", arch=recipe.arch, dataset=recipe.dataset).to_json()
    here = recipe.to_json()
    return [
        f"| {name} | {paper[name]} | {here[name]} |"
        for name in here
        if here[name] != paper[name] and name not in _NO_DIFFERENCE
    ]


def search_table(history: tuple[Round, ...]) -> list[str]:
    """Every network that was trained."""
    rows = [
        f"| {e.step} | {'' if e.rate is None else e.rate} | {100 * e.density:.2f} | {e.validation:.2f} | "
        f"{e.test:.2f} | {_verdict(e)} | {(e.seconds or 0) / 60:.1f} |"
        for e in history
        if e.test is not None
    ]
    return [
        "| step | rate | kept % | validation % | test % | | minutes |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _verdict(entry: Round) -> str:
    if entry.winning is None:
        return ""
    return "wins" if entry.winning else "does not win, dropped"


def made_how(recipe: Recipe, history: tuple[Round, ...], hours: float) -> list[str]:
    """Recipe, hardware and time, for both cards."""
    made_with = dict(next(e.made_with for e in history if e.made_with) or {})
    return [
        "## How it was made",
        "",
        f"`python experiments/ship_ticket.py` of this repository, seed {recipe.seed} (one seed), "
        f"{hours:.1f} hours of training, wall-clock, other work on the machine included.",
        "",
        f"Made with: `{json.dumps(made_with)}`",
        "",
        f"Recipe: `{json.dumps(recipe.to_json())}`",
        "",
        "What differs from the paper (NeurIPS'21, section 4):",
        "",
        "| field | paper | here |",
        "|---|---|---|",
        *differences(recipe),
    ]


def hours_of(history: tuple[Round, ...]) -> float:
    """All training of a history."""
    return sum(entry.seconds or 0.0 for entry in history) / 3600


def dense_card(dense: Ticket, recipe: Recipe, name: str, found: float) -> str:
    """The card of the dense parent."""
    entry = dense.history[0]
    lines = [
        f"# {name}: the dense parent of the ticket beside it",
        "",
        "| | |",
        "|---|---|",
        f"| network | {recipe.arch}, {entry.total:,} prunable weights, none pruned |",
        f"| data | {recipe.dataset} |",
        f"| test accuracy (float32) | {found:.2f} % |",
        f"| as trained ({recipe.precision}) | {entry.test:.2f} % test, {entry.validation:.2f} % validation |",
        "",
        *made_how(recipe, dense.history, hours_of(dense.history)),
    ]
    return "\n".join(lines)


def ticket_card(signed: Ticket, claim: Claim, recipe: Recipe, name: str, accuracies: dict[str, float]) -> str:
    """The card of the signed ticket."""
    signature, history = Signature.from_json(claim.signature), signed.history
    verdict, place, mask = verify(signed, claim), signature.placement, signed.mask
    side = len(signature.code().light)
    rates = ", ".join(f"{rate:g} x {times}" for rate, times in signed.pruning_rates().items())
    lines = [
        f"# {name}: an extreme ticket, signed",
        "",
        "| | |",
        "|---|---|",
        f"| network | {recipe.arch}, {mask.kept:,} of {mask.total:,} prunable weights kept "
        f"({100 * mask.density:.2f} %) |",
        f"| data | {recipe.dataset} |",
        f"| test accuracy (float32) | {accuracies['signed']:.2f} % |",
        f"| of the ticket before it was signed (float32) | {accuracies['ticket']:.2f} % |",
        f"| of the dense parent (float32) | {accuracies['dense']:.2f} % |",
        f"| pruning specification (rate x times) | {rates} |",
        f"| signature | `{signature.message}`, scheme 2, {side}x{side}, version {signature.version}, level "
        f"{signature.level} |",
        f"| place | {place.layer}, row {place.row}, column {place.column} |",
        f"| verdict | {verdict.outcome}: {verdict.statistic}, p = {format_p(verdict.log10_p)} |",
        "",
        f"`ticket-sig extract checkpoints/{name}` reads the signature; no data set is needed.",
        "",
        "![kernel map of the signed layer, before and after signing](kernel_map.png)",
        "",
        "## The search",
        "",
        f"A ticket wins within {recipe.tolerance:g} points of the dense network on the validation split; the "
        "test split is only reported. The last row is the signed ticket, retrained.",
        "",
        *search_table(history),
        "",
        "![accuracy and density of every network](accuracy.png)",
        "",
        *made_how(recipe, history, hours_of(history)),
    ]
    return "\n".join(lines)


def survives(signed: Ticket, claim: Claim, recipe: Recipe, data: Dataset, engine: Engine) -> list[str]:
    """What the signature survives: the table of the main path."""
    rows = (attack_row(signed, claim, rate, recipe, data, engine) for rate in RATES)
    return [
        "## What the signature survives",
        "",
        "Pruned by magnitude over all prunable layers, not retrained:",
        "",
        "| pruned more | test % | message | data modules | p | verdict |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def write_bundles(
    models: dict[str, Ticket], claim: Claim, recipe: Recipe, data: Dataset, engine: Engine, folder: Path
) -> str:
    """Writes both bundles with cards and pictures; returns the card of the signed one."""
    dense, ticket, signed = models["dense"], models["ticket"], models["signed"]
    device = engine.device
    accuracies = {n: weights_accuracy(t.weights, recipe.arch, data, device) for n, t in models.items()}
    name = f"{recipe.arch}-{data.name}"
    checked = replace(recipe, precision="float32")
    card = ticket_card(signed, claim, recipe, name, accuracies)
    card += "\n\n" + "\n".join(survives(signed, claim, checked, data, engine))
    bundle = ticket_sig.save(signed, folder / name, claim=claim.to_json(), replace=True)
    signature = Signature.from_json(claim.signature)
    before_and_after(bundle / "kernel_map.png", ticket.mask, signed.mask, signature)
    accuracy_over_rounds(bundle / "accuracy.png", signed.history)
    write_card(bundle, card)
    bundle = ticket_sig.save(dense, folder / f"{name}-dense", replace=True)
    write_card(bundle, dense_card(dense, recipe, bundle.name, accuracies["dense"]))
    return card


def main() -> None:
    """Searches, signs, retrains; writes the bundles and their cards."""
    parser = command(__doc__)
    parser.add_argument("--recipe", choices=("paper", "two-cores"))
    parser.add_argument("--checkpoints", type=Path, default=Path(__file__).parents[1] / "checkpoints")
    options = parser.parse_args()
    device = pick_device()
    choice = (
        "smoke" if options.smoke else options.recipe or ("paper" if device.type == "cuda" else "two-cores")
    )
    name, changes = RECIPES[choice]
    data = load_dataset("digits" if options.smoke else "cifar10", options.data)
    precision = pick_precision("auto", device)
    recipe = preset(name, arch="resnet20", dataset=data.name, precision=precision, **changes)
    with progress() as bars:
        engine = Engine(device=device, progress=bars)
        ticket = ticket_sig.find(recipe, data, options.out / "find", engine=engine)
        dense = load(options.out / "find" / "dense").ticket
        embedded, claim = sign_once(ticket, MESSAGE, options.out / "embedded", version=VERSION, level=LEVEL)
        signed = ticket_sig.retrain(embedded, recipe, data, options.out / "retrain", engine=engine)
    models = {"dense": dense, "ticket": ticket, "signed": signed}
    print(write_bundles(models, claim, recipe, data, engine, options.checkpoints))


if __name__ == "__main__":
    main()
