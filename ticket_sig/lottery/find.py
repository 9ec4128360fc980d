"""Finds a ticket: dense training, then rounds of pruning and retraining, in a run folder that resumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from torch import nn

from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats import load, save
from ticket_sig.lottery.level import Trainer, network_of
from ticket_sig.lottery.prune import prune
from ticket_sig.lottery.search import Train, Tried, extreme_ticket, rounds
from ticket_sig.mask import Mask
from ticket_sig.models import prunable_names
from ticket_sig.ticket import HistoryEntry, Ticket, retie
from ticket_sig.training.loop import Engine, plain_weights
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.recorder import Plan
from ticket_sig.training.run_folder import run_folder


def find(
    recipe: Recipe,
    data: Dataset,
    run: Path | str,
    *,
    model: nn.Module | None = None,
    engine: Engine | None = None,
    most_rounds: int | None = None,
) -> Ticket:
    """Finds a ticket by iterative magnitude pruning with rewinding (NeurIPS'21, section 3.1).

    Everything is kept in the run folder: killed at any point and started again with the same
    arguments, it ends with the same bits. The finished bundle is `RUN/ticket`, that of its dense
    parent `RUN/dense`.

    Args:
        recipe: with `rounds` or `density` set, so many rounds; else the extreme ticket is searched.
        model: a network of the user's own in place of `recipe.arch`, initialised as training is to start.
            It may be in DataParallel, compiled, lazy or in half precision, and is left as it is: what is
            trained, and what the bundle holds, is the bare network in float32. What was pruned in it by
            `torch.nn.utils.prune` starts at zero and is trained like the rest.
        most_rounds: ends after so many rounds, with the best ticket so far: nobody knows how many the
            search for the extreme ticket takes. `RUN/ticket` is not written, and a later call goes on.

    Raises:
        InputError: the folder belongs to another run or is in use, the model has nothing to prune,
            cannot be trained on the data (`trainable`), or training failed.
    """
    if most_rounds is not None and most_rounds < 0:
        raise bad_input("", "most_rounds", "0 or more", str(most_rounds))
    run = Path(run)
    engine = (engine or Engine()).going_on(run)
    own, model = model is not None, network_of(recipe, data, model, engine.device)
    initial = plain_weights(model, Mask({}))
    mask = Mask.full({name: initial[name] for name in prunable_names(model, recipe.exclude)})
    identity = {"recipe": recipe.to_json(), "data": data.digest, "initial": tensor_digest(initial)}
    begun_with = engine.prepare(model, recipe.precision)
    with run_folder(run, identity, begun_with, engine.progress.note):
        if engine.recorder:
            fresh = not (run / "levels").exists()
            plan = Plan(recipe, data, initial, mask, begun_with, derived=not own, search=True, fresh=fresh)
            engine.recorder.begin(plan, engine.progress.note)
        if (run / "ticket").exists() and (run / "dense").exists():
            ticket = load(run / "ticket").ticket
            if engine.recorder:  # a kill may have come before its end was entered
                engine.recorder.end(ticket)
            return ticket
        trainer = Trainer(model, data, recipe, engine)
        dense = trainer.train_level(run / "levels" / "00", initial, mask, step="dense", label="dense network")
        if not (run / "dense").exists():
            save(dense, run / "dense")
        ticket = _search(trainer, run, dense, most_rounds)
        if most_rounds is not None:
            return ticket
        if not (run / "ticket").exists():
            save(ticket, run / "ticket")
        if engine.recorder:
            engine.recorder.end(ticket)
        return ticket


def _search(trainer: Trainer, run: Path, dense: Ticket, most_rounds: int | None) -> Ticket:
    recipe, note, rewind = trainer.recipe, trainer.engine.progress.note, dense.rewind
    assert rewind is not None
    history = [dense.history[-1]]

    def train(mask: Mask, rate: float) -> Ticket:
        folder = run / "levels" / f"{len(history):02d}"
        label = f"round {len(history)}, {100 * mask.density:.2f} % kept"
        start = retie(rewind, mask.apply(rewind))
        return trainer.train_level(folder, start, mask, step="prune", label=label, rate=rate, rewind=rewind)

    best = dense
    note(_line("dense network", dense.history[-1]))
    for tried in islice(tries(recipe, dense, train), most_rounds):
        entry = replace(tried.ticket.history[-1], winning=tried.winning, accepted=tried.accepted)
        note(_line(f"round {len(history)}", entry))
        history.append(entry)
        best = tried.ticket if tried.accepted else best
    return replace(best, history=tuple(history))


def tries(recipe: Recipe, dense: Ticket, train: Train) -> Iterator[Tried]:
    """The search of a recipe: so many rounds, or that for the extreme ticket."""

    def shrink(ticket: Ticket, rate: float) -> Mask:
        return prune(ticket.weights, ticket.mask, rate, scope=recipe.scope, seed=recipe.seed)

    rate, count, density, tolerance = recipe.rates[0], recipe.rounds, recipe.density, recipe.tolerance
    if recipe.extreme:
        return extreme_ticket(dense, train, shrink, rates=recipe.rates, tolerance=tolerance)
    return rounds(dense, train, shrink, rate=rate, count=count, density=density, tolerance=tolerance)


def _line(name: str, entry: HistoryEntry) -> str:
    held = f"{entry.validation:.2f} % validation, " if entry.validation is not None else ""
    verdict = f", {entry.verdict}" if entry.verdict else ""
    return f"{name}: {100 * entry.density:.2f} % kept, {held}{entry.test:.2f} % test{verdict}"
