"""The committed cells are those of the experiments; RESULTS.md and docs/results.md are what they show."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from experiments import FOLDER
from experiments.catalogue import RESULTS, module_of
from experiments.lib import document
from experiments.lib.bench import Bench
from experiments.lib.document import one_page, sections_of
from experiments.lib.scales import SCALES
from experiments.lib.showing import write
from ticket_sig.cells import Cell, Measured, Store
from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.progress import Silent
from ticket_sig.training.loop import Engine

CELLS = FOLDER / "cells" / "quick"
GPU = ("table1", "table2", "table6", "figure4")  # that were measured at scale gpu
IMAGES = 50_000  # to train on, of CIFAR-10 and CIFAR-100 alike


class Asking(Store):
    """The committed cells; it knows which were asked for, and none can be measured."""

    def __init__(self, scale: str, run: Path) -> None:
        super().__init__(FOLDER / "cells" / scale, run, Silent())
        self.asked: dict[str, Measured | None] = {}

    def measured(self, cell: Cell) -> Measured | None:
        if (file := cell.file) not in self.asked:
            self.asked[file] = super().measured(cell)
        return self.asked[file]


class BenchOfSizes(Bench):
    """Data sets of which nothing but the sizes is known."""

    def data(self, name: str) -> Dataset:
        pixels, labels = torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
        split = Split(pixels.expand(IMAGES, 32, 32, 3), labels.expand(IMAGES))
        return Dataset(name, split, split, 10 if name == "cifar10" else 100, (0.5,) * 3, (0.5,) * 3)


COMMITTED = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("scale", "names"), [("quick", tuple(RESULTS)), ("gpu", GPU)])
def test_every_section_is_printed_again_from_the_committed_cells_and_every_cell_is_used(
    scale: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pictures are made up to their pixels, which take half of the time and are compared with nothing.
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    store = Asking(scale, tmp_path)
    folder = tmp_path / "experiments"
    monkeypatch.setattr(document, "FOLDER", folder)  # the page goes beside it
    folder.mkdir()
    (folder / "RESULTS.md").write_text(COMMITTED, encoding="utf-8")
    bench = BenchOfSizes(SCALES[scale], None, tmp_path, store, Engine())
    for name in names:
        written = write(name, module_of(name), bench, folder)
        assert written in COMMITTED, f"{name}: other words than in RESULTS.md"
    assert (folder / "RESULTS.md").read_text(encoding="utf-8") == COMMITTED
    unused = {path.name for path in store.folder.iterdir()} - store.asked.keys()
    assert not unused
    for table in (folder / "tables").iterdir():
        assert table.read_text() == (FOLDER / "tables" / table.name).read_text()


def test_the_page_has_a_line_of_every_section() -> None:
    page = (FOLDER.parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == one_page(sections_of(COMMITTED), "../experiments/RESULTS.md")
    assert all(f"#{name}-quick)" in page for name in RESULTS)


def test_no_transcript_with_an_altered_field_was_accepted() -> None:
    with (FOLDER / "tables" / "pol_tamper-quick.csv").open(encoding="utf-8", newline="") as file:
        codes = [row["exit code"] for row in csv.DictReader(file)]
    assert len(codes) > 80 and set(codes) == {"1", "2"}
    shown = re.findall(r"\| (\d): (stays true)?", sections_of(COMMITTED)["pol_tamper-quick"])
    assert len(shown) > 80 and {code for code, true in shown if not true} == {"1", "2"}


def test_a_table_that_needs_no_data_is_printed_again_without_computing(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    cells = tmp_path / "cells" / "quick"
    cells.mkdir(parents=True)
    for path in CELLS.glob("proof_of_work*"):
        shutil.copy(path, cells)
    before = sorted(path.name for path in cells.iterdir())
    done = experiments("proof_of_work", "--out", tmp_path / "run", "--results", tmp_path, "--minutes", 0)
    assert done.code == 0, done.err
    assert done.out.strip() == sections_of(COMMITTED)["proof_of_work-quick"]
    assert before == sorted(path.name for path in cells.iterdir())
    assert not list((tmp_path / "run").glob("*/*"))


@pytest.mark.parametrize("card", ["resnet20-cifar10", "resnet20-cifar10-dense"])
def test_a_card_names_a_command_that_is_there(card: str) -> None:
    text = (FOLDER.parent / "checkpoints" / card / "README.md").read_text()
    assert "`python -m experiments ship_ticket --data DIR --out RUN --recipe two-cores`" in text


def test_all_that_a_gpu_measured_is_printed_again() -> None:
    assert [name for name in sections_of(COMMITTED) if name.endswith("-gpu")] == [f"{n}-gpu" for n in GPU]


def test_a_scale_says_which_results_it_has(tmp_path: Path, experiments: Callable[..., Any]) -> None:
    done = experiments(
        "table1", "descent", "--scale", "gpu", "--out", tmp_path / "run", "--results", tmp_path
    )
    assert done.code == 2
    assert "name: expected one of table1, " in done.err and "at scale gpu, found descent" in done.err
