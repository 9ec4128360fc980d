"""Evaluate marks as IEEE 3304 (MPAI-NNW) says: imperceptibility, robustness, computational cost.

M networks are trained, and D keys and payloads of each METHOD are put into each of them. All of them, and the
M networks without a mark, go through the modifications of the standard. METHOD is the name of a mark, or all.
OUT holds report.html, report.json, and what was measured: stopped at any point, the same command goes on.

Example: ticket-sig evaluate uchida qr-code --dataset digits --models 2 --payloads 2 --out REPORT
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json, progress, table
from ticket_sig.options import flag, one_of

if TYPE_CHECKING:
    from ticket_sig.evaluation.networks import Evaluation

_DOSSIER = "nnw-tec"
_BORDERS, _LONGEST = 3, 6  # of a column in the terminal, and the longest share: 99.9 %
_NETWORKS, _MEASURED, _RUNNING = "Networks and keys", "What is measured", "How it runs"


def _option(panel: str, help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, **more)


Names = Annotated[
    list[str] | None,
    typer.Argument(help="all, or names; with --plugin it may be left out: {}.", metavar="METHOD"),
]
Report = Annotated[Path, typer.Option("--out", help="Folder to write, new or of this same evaluation.")]
Models = Annotated[int, _option(_NETWORKS, "M: networks, each trained from a seed of its own.")]
Payloads = Annotated[int, _option(_NETWORKS, "D: fresh keys and payloads for each network.")]
Further = Annotated[
    int | None,
    _option(_NETWORKS, "Epochs that follow, in which a mark is injected; half of the first ones by default."),
]
Pruned = Annotated[
    float, _option(_NETWORKS, "Share of the weights that is pruned where a mark stands in the mask.")
]
Plugin = Annotated[
    Path | None,
    _option(_NETWORKS, "A method of your own: a Python file with Embedder, Detector, Decoder and the like."),
]
Parts = Annotated[
    str, _option(_MEASURED, "With commas between: imperceptibility, robustness, cost.", show_default="all")
]
Modifications = Annotated[str, _option(_MEASURED, "all, or NAME and NAME=INTENSITY with commas between: {}.")]
Intensities = Annotated[
    int, _option(_MEASURED, "Where none is named: 3 (weak, middle and strong) or 1 (middle).")
]
TrainedPayloads = Annotated[
    int | None, _option(_MEASURED, "So many of the D where a modification trains; all by default.")
]
Standard = Annotated[
    str | None, _option(_MEASURED, "nnw-tec: also the dossier that a further technology hands in.")
]
Sparse = Annotated[str, _option(_RUNNING, f"{options.SPARSE} A training goes on as it was begun.")]
Workers = Annotated[int, _option(_RUNNING, "Processes, each with one thread.")]


def run(
    report: Report,
    method: Names = None,
    models: Models = 3,
    payloads: Payloads = 3,
    arch: options.NewArch = "resnet20",
    dataset: options.NewDataset = "digits",
    data: options.Data = None,
    preset: options.NewPreset = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    further: Further = None,
    pruned: Pruned = 0.8,
    plugin: Plugin = None,
    parts: Parts = "imperceptibility,robustness,cost",
    modifications: Modifications = "all",
    intensities: Intensities = 3,
    trained_payloads: TrainedPayloads = None,
    standard: Standard = None,
    workers: Workers = 1,
    device: options.Device = "auto",
    sparse: Sparse = "off",
    precision: options.Precision = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.evaluation.evaluate import evaluate
    from ticket_sig.evaluation.outputs import check_installed, write_outputs

    check_installed()
    if standard is not None:
        one_of([_DOSSIER])("standard", standard)
    given = {"out": report, "models": models, "payloads": payloads, "arch": arch, "dataset": dataset}
    given |= {"data": data, "preset": preset, "epochs": epochs, "seed": seed, "further": further}
    given |= {"pruned": pruned, "plugin": plugin, "parts": parts, "modifications": modifications}
    given |= {"intensities": intensities, "trained_payloads": trained_payloads, "standard": standard}
    given |= {"workers": workers, "device": device, "sparse": sparse, "precision": precision}
    with progress() as bars:
        asked = _evaluation(method or (), given)
        found = evaluate(asked, workers=workers, progress=bars, command=_again(method or (), given))
    write_outputs(report, found, dossier=standard is not None)
    _tell(found, report, as_json)


def command() -> Callable[..., None]:
    """The verb, with the names of methods, modifications, networks and data sets in its help."""
    from ticket_sig.cli.declared import with_names
    from ticket_sig.datasets import DATASETS
    from ticket_sig.evaluation.methods import METHODS
    from ticket_sig.evaluation.modifications import MODIFICATIONS
    from ticket_sig.models import MODELS

    return with_names(run, method=METHODS, modifications=MODIFICATIONS, arch=MODELS, dataset=DATASETS)


def _evaluation(names: Sequence[str], given: Mapping[str, Any]) -> Evaluation:
    """What the options ask for."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.evaluation.chosen import method_names, methods_named
    from ticket_sig.evaluation.networks import Evaluation
    from ticket_sig.evaluation.settings import Settings, further_recipe, listed, modifications_of
    from ticket_sig.training.device import pick_device
    from ticket_sig.training.loop import Engine

    engine = Engine(device=pick_device(given["device"]), sparse=options.sparse_of(given["sparse"]))
    task = {name: given[name] for name in ("preset", "arch", "dataset", "precision", "epochs")}
    recipe = options.recipe(engine=engine, **task, **options.changes(seed=given["seed"]))
    data = load_dataset(given["dataset"], given["data"])
    chosen = method_names(names, given["plugin"])
    settings = Settings(
        methods=chosen,
        recipe=recipe,
        further=further_recipe(recipe, given["further"]),
        data_digest=data.digest,
        images=len(data.train),
        models=given["models"],
        payloads=given["payloads"],
        trained_payloads=given["payloads" if given["trained_payloads"] is None else "trained_payloads"],
        pruned=given["pruned"],
        parts=listed(given["parts"]),
        modifications=modifications_of(given["modifications"], given["intensities"]),
    )
    return Evaluation(
        settings=settings,
        out=given["out"],
        make_methods=partial(methods_named, chosen, given["plugin"]),
        make_data=partial(load_dataset, given["dataset"], given["data"]),
        device=str(engine.device),
        sparse=engine.sparse,
    )


def _again(names: Sequence[str], given: Mapping[str, Any]) -> str:
    """The command that gives the same report."""
    pairs = [(flag(name), str(value)) for name, value in given.items() if value is not None]
    return shlex.join(["ticket-sig", "evaluate", *names, *(word for pair in pairs for word in pair)])


def _tell(found: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """The summary of the page for people; the whole report for machines."""
    if as_json:
        print_json(found)
        return
    from ticket_sig.evaluation.tables import rule_of_ten, summary

    # Methods side by side, without intervals: a terminal is not wide enough for the table of the page.
    whole = summary(found)
    for start, stop in _side_by_side([row[0].text for row in whole.rows], max(map(len, whole.columns))):
        heads, *rows = zip(whole.columns, *whole.rows[start:stop], strict=True)
        shown = [[head, *(cell.text for cell in cells)] for head, *cells in rows]
        out.print(table(whole.title, ["", *(cell.text for cell in heads[1:])], shown))
    for note in (*whole.notes, rule_of_ten(found)):
        out.print(note)
    out.print(f"report: {folder / 'report.html'}")


def _side_by_side(names: Sequence[str], first: int) -> Iterator[tuple[int, int]]:
    """From which to which name a table of the terminal holds them, so that none is cut."""
    start, taken = 0, first + _BORDERS
    for place, name in enumerate(names):
        width = max(len(name), _LONGEST) + _BORDERS
        if place > start and taken + width > out.width:
            yield start, place
            start, taken = place, first + _BORDERS
        taken += width
    yield start, len(names)
