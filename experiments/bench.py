"""What every table and figure stands on: the scales, the tickets, the trainings, and how a result is written.

    python experiments/table6.py --scale quick --data DIR --out RUN

A table lists its cells (`cells.py`) and says what they show; trainings are shared between tables. Resumable
at every step: finished cells stand in `experiments/cells/`, half-finished trainings in RUN. The same command
in a second process works on the same list.
"""

from __future__ import annotations

import csv
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cells import Cell, Measured, Store
from filelock import FileLock
from results import command, run, sturdiest, table, write_section

import ticket_sig
from ticket_sig.claim import Claim
from ticket_sig.cli.output import progress
from ticket_sig.datasets import Dataset, load_dataset
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.files import whole_file
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.device import pick_device, pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine

HERE = Path(__file__).parent
CHECKPOINTS = HERE.parent / "checkpoints"
TRIGGERS, TRIGGER_BATCH, OTHER_BATCHES = 100, 6, (4, 8, 16)


@dataclass(frozen=True)
class Subject:
    """A network on a data set, and the other data set of Table 4."""

    arch: str
    dataset: str
    other: str

    def __str__(self) -> str:
        return f"{self.arch}-{self.dataset}"


@dataclass(frozen=True)
class Scale:
    """How large an experiment is done.

    Attributes:
        subjects: what is trained on what.
        seeds: of the trainings; the first rates and shares get all of them, the others the first `few`.
        shares: of keys (Figures 2 and 5).
        innocent: networks that are asked about triggers they never saw.
        search: preset and changes of the search; None = the shipped ticket.
        length: of a retraining; None = the recipe's.
        says: what this scale cannot show.
    """

    name: str
    subjects: tuple[Subject, ...]
    seeds: tuple[int, ...]
    few: int
    shares: tuple[float, ...]
    innocent: int
    search: tuple[str, dict[str, Any]] | None
    length: Steps | None
    says: str


SCALES = {
    "paper": Scale(
        "paper",
        tuple(
            Subject(arch, dataset, other)
            for arch in ("resnet20", "resnet18")
            for dataset, other in (("cifar10", "cifar100"), ("cifar100", "cifar10"))
        ),
        (0, 1, 2),
        3,
        (0.05, 0.02, 0.1, 0.2, 0.3),
        20,
        ("paper", {}),
        None,
        "Needs a GPU and days; all 60,000 images of both data sets.",
    ),
    "quick": Scale(
        "quick",
        (Subject("resnet20", "cifar10", "cifar100"),),
        (0, 1, 2),
        2,
        (0.05, 0.1, 0.2),
        20,
        None,
        Steps(4),
        "One network on one data set: the shipped ticket (12.8 % kept, rewound late, to epoch 24 of 36), "
        "retrained for 4 epochs where the paper takes 182. Accuracies are those of a short schedule, to be "
        "compared with each other and not with the paper's.",
    ),
    "smoke": Scale(
        "smoke",
        (Subject("resnet20", "digits", "digits"),),
        (0, 1),
        1,
        (0.05, 0.2),
        1,
        ("demo", {"length": Steps(2), "rates": (0.5,), "tolerance": 99.0, "density": 0.2}),
        Steps(2),
        "Shows that the scripts run, and nothing else.",
    ),
}


@dataclass(frozen=True)
class Signed:
    """A ticket before and after signing, with its claim; `unsigned` is None where it is not known."""

    unsigned: Ticket | None
    ticket: Ticket
    claim: Claim


class Bench:
    """The tickets, data and trainings of one scale; everything is made once, and found again."""

    def __init__(self, scale: Scale, folder: Path | None, run: Path, store: Store, engine: Engine) -> None:
        self.scale, self.folder, self.run, self.store, self.engine = scale, folder, run, store, engine
        self._data: dict[str, Dataset] = {}
        self._signed: dict[Subject, Signed] = {}

    def data(self, name: str) -> Dataset:
        """A data set by name; `--data` holds one folder each, or is the only one's."""
        if name not in self._data:
            own = self.folder / name if self.folder and (self.folder / name).is_dir() else self.folder
            alone = [] if own is None or list(own.glob("train*")) else sorted(own.glob("test-*.parquet"))
            self._data[name] = self._test_split_alone(name, alone[0]) if alone else load_dataset(name, own)
        return self._data[name]

    def _test_split_alone(self, name: str, file: Path) -> Dataset:
        """Where only a test split is at hand, its first 8 of 10 images are trained on."""
        folder = self.run / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("train", "test"):
            link = folder / f"{part}-00000-of-00001.parquet"
            if not link.exists():
                link.symlink_to(file.resolve())
        data = load_dataset(name, folder)
        cut = len(data.test) * 8 // 10
        return replace(data, train=data.test[:cut], test=data.test[cut:])

    def signed(self, subject: Subject) -> Signed:
        """The signed ticket of scheme 2: the shipped one, or what this scale's search finds."""
        if subject not in self._signed:
            self._signed[subject] = (
                self._shipped(subject) if self.scale.search is None else self._found(subject)
            )
        return self._signed[subject]

    def _shipped(self, subject: Subject) -> Signed:
        loaded = load(CHECKPOINTS / str(subject))
        if loaded.claim is None:
            raise bad_input(CHECKPOINTS / str(subject), "claim", "the shipped one", "none")
        return Signed(None, loaded.ticket, Claim.read(loaded.claim))

    def _found(self, subject: Subject) -> Signed:
        assert self.scale.search is not None
        name, changes = self.scale.search
        precision = pick_precision("auto", self.engine.device)
        recipe = preset(name, arch=subject.arch, dataset=subject.dataset, precision=precision, **changes)
        ticket = ticket_sig.find(
            recipe, self.data(subject.dataset), self.run / "find" / str(subject), engine=self.engine
        )
        embedded = sturdiest(ticket, key=b"experiments")
        return Signed(ticket, embedded.ticket, embedded.claim)

    def one_shot(self, subject: Subject) -> Signed:
        """A ticket whose unsigned form is known: the search's, or the shipped dense parent pruned once."""
        if (signed := self.signed(subject)).unsigned is not None:
            return signed
        dense = load(CHECKPOINTS / f"{subject}-dense").ticket
        ticket = prune_ticket(dense, 1 - signed.ticket.mask.density)
        embedded = sturdiest(ticket, key=b"experiments")
        return Signed(ticket, embedded.ticket, embedded.claim)

    def recipe(self, subject: Subject, seed: int, **changes: Any) -> Recipe:
        """The recipe of a retraining: the ticket's own, at this scale's length."""
        known = self.signed(subject).ticket.recipe
        assert known is not None
        recipe = replace(Recipe.from_json(known), seed=seed, **changes)
        if self.scale.length is None:
            return recipe
        return replace(recipe, length=self.scale.length, retrain="start", rewind=Steps(0, "it"), lr=0.2)

    def train(
        self,
        ticket: Ticket,
        recipe: Recipe,
        *,
        start: str = "rewind",
        triggers: TriggerBatch | None = None,
    ) -> Ticket:
        """A ticket trained by a recipe; once, and read from the run folder ever after."""
        given = {
            "recipe": recipe.to_json(),
            "start": start,
            "mask": tensor_digest(ticket.mask),
            "weights": tensor_digest(ticket.rewound() if start == "rewind" else ticket.weights),
            "triggers": triggers.digest if triggers else None,
        }
        folder = self.folder_of("trained", given)
        data = self.data(recipe.dataset)
        with FileLock(folder.with_suffix(".lock")):  # another process may be training the same
            return ticket_sig.retrain(
                ticket, recipe, data, folder, start=start, triggers=triggers, engine=self.engine
            )

    def folder_of(self, kind: str, given: Mapping[str, Any]) -> Path:
        """The folder of one training in RUN, by what decides it."""
        (self.run / kind).mkdir(parents=True, exist_ok=True)
        return self.run / kind / json_digest(given).removeprefix("sha256:")[:16]

    def accuracy(self, ticket: Ticket, subject: Subject) -> float:
        """Test accuracy in %, float32."""
        return weights_accuracy(ticket.weights, subject.arch, self.data(subject.dataset), self.engine.device)

    def cell(self, name: str, subject: Subject, measure: Callable[[], Measured], **asked: Any) -> Cell:
        """A cell on a subject of this scale: what decides it is its ticket, its recipe and what is asked."""
        whole = {
            "experiment": name,
            "scale": self.scale.name,
            "subject": str(subject),
            "ticket": self.signed(subject).claim.subject,
            "recipe": self.recipe(subject, asked.get("seed", 0)).to_json(),
            **asked,
        }
        parts = [name, str(subject), *(f"{key} {value}" for key, value in asked.items())]
        return Cell(" ".join(parts), whole, measure)

    def of_training(self, trained: Ticket, subject: Subject, **more: Any) -> dict[str, Any]:
        """What a cell keeps of a training."""
        entry = trained.history[-1]
        return {
            "accuracy": self.accuracy(trained, subject),
            "validation": entry.validation,
            "kept": trained.mask.kept,
            "total": trained.mask.total,
            "made_with": dict(entry.made_with or {}),
            **more,
        }


@dataclass(frozen=True)
class Line:
    """One line of a picture: what is plotted over what, with the spread over seeds."""

    label: str
    x: Sequence[Any]
    mean: Sequence[float]
    spread: Sequence[float] = ()
    published: bool = False


@dataclass(frozen=True)
class Result:
    """What an experiment shows.

    Attributes:
        columns, rows: of the table, ours beside the paper's.
        notes: what it says and where it differs, and why.
        lines, x, y: of the picture; or `draw`, which writes it.
        recipe: of the trainings, where there are any.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    lines: Sequence[Line] = ()
    x: str = ""
    y: str = "test accuracy in %"
    draw: Callable[[Path], None] | None = None
    recipe: Recipe | None = None


class Experiment(Protocol):
    """A module of this folder: one table or figure."""

    TITLE: str
    __file__: str

    def cells(self, bench: Bench) -> list[Cell]:
        """What is to be measured, the most telling first."""

    def result(self, bench: Bench) -> Result:
        """What the measured cells show."""


def not_run(bench: Bench, published: Iterable[str]) -> str:
    """What the paper has and this scale has not, as a note."""
    missing = [name for name in published if name not in map(str, bench.scale.subjects)]
    return f"Not run at this scale: {', '.join(dict.fromkeys(missing)) or 'nothing'}."


def summary(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, with their number."""
    if not values:
        return "not run"
    if len(values) == 1:
        return f"{values[0]:.2f} (1)"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} ({len(values)})"


def line(label: str, x: Sequence[Any], values: Sequence[Sequence[float]], published: bool = False) -> Line:
    """A line of the points that were measured."""
    points = [(at, found) for at, found in zip(x, values, strict=True) if found]
    return Line(
        label,
        [at for at, _ in points],
        [statistics.mean(found) for _, found in points],
        [statistics.stdev(found) if len(found) > 1 else 0.0 for _, found in points],
        published,
    )


def main(experiment: Experiment) -> None:
    """The command of one table or figure."""
    name = Path(experiment.__file__).stem
    run(lambda: reproduce(experiment.__doc__, [name]))


def reproduce(description: str | None, names: Sequence[str]) -> None:
    """Measures and writes tables and figures; of several those that the command line names, or all."""
    parser = command(description)
    if len(names) > 1:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--results", type=Path, default=HERE, help="where RESULTS.md, tables and figures go")
    parser.add_argument(
        "--minutes", type=float, help="begin no cell after so many; what was measured is shown"
    )
    options = parser.parse_args()
    if unknown := set(getattr(options, "names", ())) - set(names):
        parser.error(f"expected names of {', '.join(names)}, found {', '.join(sorted(unknown))}")
    scale = SCALES["smoke" if options.smoke else options.scale]
    deadline = None if options.minutes is None else time.time() + 60 * options.minutes
    experiments = [importlib.import_module(name) for name in getattr(options, "names", None) or names]
    with progress() as bars:
        store = Store(options.results / "cells" / scale.name, options.out, bars)
        engine = Engine(device=pick_device(), progress=bars)
        bench = Bench(scale, Path(options.data) if options.data else None, options.out, store, engine)
        store.measure([cell for module in experiments for cell in module.cells(bench)], deadline)
    for module in experiments:
        print(write(module, module.result(bench), bench, options.results))


def write(experiment: Experiment, result: Result, bench: Bench, folder: Path) -> str:
    """Writes table, picture and section of one experiment; returns the section."""
    name = f"{Path(experiment.__file__).stem}-{bench.scale.name}"
    with whole_file(folder / "tables" / f"{name}.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([result.columns, *result.rows])
    picture = folder / "figures" / f"{name}.png"
    if result.draw is not None:
        result.draw(picture)
    elif result.lines:
        plot(picture, experiment.TITLE, result)
    drawn = result.draw is not None or bool(result.lines)
    body = [
        *table(result.columns, result.rows),
        "",
        *(f"- {note}" for note in result.notes),
        "",
        *([f"![{experiment.TITLE}](figures/{name}.png)", ""] if drawn else []),
        f"Scale {bench.scale.name}: {bench.scale.says} Mean ± standard deviation (number of seeds); "
        "accuracies are of the test split, float32, of the last epoch.",
        *_made_how(experiment, bench, result),
    ]
    return write_section(
        folder / "RESULTS.md", f"{experiment.TITLE} (scale {bench.scale.name})", "\n".join(body)
    )


def _made_how(experiment: Experiment, bench: Bench, result: Result) -> list[str]:
    cells = {cell.file: cell for cell in experiment.cells(bench)}.values()
    if not cells:
        return []
    measured = [m for cell in cells if (m := bench.store.measured(cell)) is not None]
    made = dict.fromkeys(json.dumps(m["made_with"]) for m in measured if m.get("made_with"))
    recipe = [f"Recipe (seed 0): `{json.dumps(result.recipe.to_json())}`", ""] if result.recipe else []
    how = [f"`{text}`" for text in made]
    return ["", *recipe, f"{len(measured)} of {len(cells)} cells measured. Made with:", "", *how]


def plot(path: Path, title: str, result: Result) -> None:
    """Draws lines with error bars, ours solid and the paper's dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for one in result.lines:
        style = (
            {"linestyle": "--", "alpha": 0.6, "marker": "x"}
            if one.published
            else {"marker": "o", "capsize": 3}
        )
        axes.errorbar(one.x, one.mean, yerr=one.spread or None, label=one.label, **style)
    axes.set(title=title, xlabel=result.x, ylabel=result.y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
