"""Find a ticket: iterative magnitude pruning with rewinding; resumes where it was stopped.

With --rounds or --density, so many rounds; with neither, the extreme ticket is searched as in the
paper. One-shot pruning is --rounds 1 --rate 0.8. The finished bundle is OUT/ticket.

Example: ticket-sig find --arch resnet20 --dataset cifar10 --data DIR --preset quick --rounds 2 --out RUN
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, percent, print_json, table, tell_next
from ticket_sig.cli.recording import recorder, tell_transcript, with_recording

if TYPE_CHECKING:
    from ticket_sig.ticket import Ticket


Run = Annotated[Path, typer.Option("--out", help="Run folder, new or of this same run.")]
Rounds = Annotated[int | None, typer.Option(min=0, help="So many rounds of pruning.")]
Density = Annotated[float | None, typer.Option(help="Rounds until this share is kept.")]
Rates = Annotated[list[float] | None, typer.Option(help="Pruning rate; once for each rate of the search.")]
Scope = Annotated[str | None, typer.Option(help="global, layerwise or random.")]
Exclude = Annotated[list[str] | None, typer.Option(help="Tensor to leave dense; * stands for anything.")]


def run(
    run_folder: Run,
    arch: options.NewArch = "resnet20",
    dataset: options.NewDataset = "digits",
    data: options.Data = None,
    preset: options.NewPreset = None,
    rounds: Rounds = None,
    density: Density = None,
    rate: Rates = None,
    scope: Scope = None,
    exclude: Exclude = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    sparse: options.Sparse = "off",
    checkpoint_every: options.CheckpointEvery = 20,
    as_json: JsonFlag = False,
    *,
    recorded: Mapping[str, Any],
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.lottery import find

    with options.engine(device, checkpoint_every, recorder(recorded), sparse) as engine:
        lists = options.changes(rates=tuple(rate or ()) or None, exclude=tuple(exclude or ()) or None)
        given = options.changes(rounds=rounds, density=density, scope=scope, seed=seed)
        recipe = options.recipe(preset, arch, dataset, precision, engine, epochs, **given, **lists)
        ticket = find(recipe, load_dataset(dataset, data), run_folder, engine=engine)
    _report(ticket, run_folder / "ticket", f"{arch} on {dataset}", recorded, data, as_json)


def command() -> Callable[..., None]:
    """The verb, with the names of networks and data sets in its help."""
    return options.new_training(with_recording(run))


def _report(
    ticket: Ticket, bundle: Path, title: str, recorded: Mapping[str, Any], data: Path | None, as_json: bool
) -> None:
    transcript = recorded.get("transcript")
    if as_json:
        rates = {str(rate): times for rate, times in ticket.pruning_rates().items()}
        history = [entry.to_json() for entry in ticket.history]
        density = ticket.mask.density
        found = {"ticket": bundle, "density": density, "pruning_rates": rates, "history": history}
        print_json({**found, "transcript": transcript})
        return
    columns, rows = ("step", "rate", "kept %", "validation %", "test %", "", "seconds"), []
    for e in ticket.history:
        figures = f"{100 * e.density:.2f}", percent(e.validation), percent(e.test)
        rows.append((e.step, e.rate, *figures, e.verdict, f"{e.seconds:.0f}"))
    out.print(table(title, columns, rows))
    out.print(f"ticket: {bundle}")
    tell_transcript(recorded, {"--data": data})
    searched = ["--transcript", transcript] if transcript else []
    tell_next("embed", bundle, "--message", "TEXT", *searched, "--out", "SIGNED")
