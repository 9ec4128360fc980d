"""What is made once is read ever after; a cell is found by what was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import tiny_data

import experiments.lib.bench
from experiments.lib.bench import Bench, Signed, dense
from experiments.lib.scales import SCALES, Subject
from experiments.lib.showing import line, summary
from experiments.lib.sturdiest import LEVEL, MESSAGE, VERSION
from experiments.mpai import evaluated
from ticket_sig import embed
from ticket_sig.cells import Cell, Store
from ticket_sig.datasets import Dataset
from ticket_sig.errors import InputError
from ticket_sig.evaluation.networks import Evaluation
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.progress import Silent
from ticket_sig.ticket import HistoryEntry
from ticket_sig.training import Steps, preset
from ticket_sig.training.loop import Engine


def bench_of(folder: Path, data: Path | None = None) -> Bench:
    """An empty bench."""
    store = Store(folder / "cells", folder / "run", Silent())
    return Bench(SCALES["smoke"], data, folder / "run", store, Engine())


def test_a_training_is_done_once_and_goes_on_from_its_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 65 images to train on in batches of 64: the one left over makes no batch of its own.
    data = tiny_data(images=108, classes=10)
    monkeypatch.setattr(Bench, "data", lambda self, name: data)
    bench = bench_of(tmp_path)
    recipe = preset("demo", arch="freezenet", dataset="tiny", length=Steps(2), rewind=Steps(1))
    assert len(data.hold_out(recipe.validation)[0]) == 65
    first = bench.train(dense(bench.initial("freezenet", "tiny")), recipe)
    begun, rest_of_it = dense(first.halfway), replace(recipe, retrain="rewind")
    rest = bench.train(begun, rest_of_it)
    assert len(first.validation) == 2 and len(rest.validation) == 1

    monkeypatch.setattr(experiments.lib.bench, "train", None)
    kept = bench_of(tmp_path).train(begun, rest_of_it)
    assert kept.validation == rest.validation and kept.made_with == rest.made_with
    assert all(torch.equal(kept.weights[name], tensor) for name, tensor in rest.weights.items())
    # Other data are another training.
    data = tiny_data(images=108, classes=10, seed=1)
    with pytest.raises(TypeError):
        bench_of(tmp_path).train(begun, rest_of_it)


def test_a_cell_is_measured_once_by_what_was_asked(tmp_path: Path) -> None:
    bench, calls = bench_of(tmp_path), []

    def cell(**asked: Any) -> Any:
        def measure() -> dict[str, int]:
            calls.append(asked)
            return {"accuracy": len(calls)}

        return bench.cell("one", measure, bench.preset("demo", "freezenet", "digits"), **asked)

    bench.store.measure([cell(share=0.1), cell(share=0.2), cell(share=0.1)])
    bench.store.measure([cell(share=0.1)])
    assert bench.store.numbers([cell(share=s) for s in (0.1, 0.2, 0.3)]) == [1.0, 2.0]
    assert bench.store.differences([cell(share=0.2)], [cell(share=0.1)]) == [1.0]
    assert cell(share=0.1).file.startswith("one_share_0.1-")


def test_a_search_is_known_without_its_tensors_and_another_ticket_has_no_part_in_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[str] = []

    def found(self: Bench, subject: Subject) -> Signed:
        recipe = self.preset("demo", subject.arch, subject.dataset).to_json()
        network = dense(self.initial(subject.arch, subject.dataset, seed=len(searches)))
        ticket = replace(
            prune_ticket(network, 0.5), recipe=recipe, history=(HistoryEntry(step="dense", kept=2, total=2),)
        )
        signed = embed(ticket, MESSAGE, version=VERSION, level=LEVEL)
        searches.append(signed.claim.subject)
        return Signed(ticket, signed.ticket, signed.claim)

    monkeypatch.setattr(Bench, "_found", found)
    (subject,) = SCALES["smoke"].subjects
    known = bench_of(tmp_path).known(subject)
    again = bench_of(tmp_path)
    assert again.known(subject).to_json() == known.to_json() and searches == [known.ticket]
    assert known.code.version == VERSION and again.recipe(subject, 7).seed == 7
    assert again.signed_mask(subject) == known.mask
    with pytest.raises(InputError, match=r"the search on this machine found another.*--results"):
        again.signed(subject)  # this one begins with other weights


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [("", "JSON: expected a whole JSON object"), ("{}", "measured: expected dict, found none")],
)
def test_a_damaged_cell_is_named(damaged: str, expected: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "cells", tmp_path / "run", Silent())
    cell = Cell("one", {}, dict)
    store.measure([cell])
    assert store.measured(cell) == {}
    (tmp_path / "cells" / cell.file).write_text(damaged)
    with pytest.raises(InputError, match=f"{cell.file}: {expected}"):
        store.found([cell])


def test_an_evaluation_finds_the_data_where_every_other_result_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Evaluation] = []
    loaded: list[Path | None] = []

    def load(name: str, folder: Path | None) -> Dataset:
        loaded.append(folder)
        return tiny_data()

    monkeypatch.setattr(experiments.lib.bench, "load_dataset", load)
    monkeypatch.setattr(evaluated, "load_dataset", load)
    monkeypatch.setattr(evaluated, "evaluate", lambda evaluation, **_: given.append(evaluation))
    (tmp_path / "several" / "cifar10").mkdir(parents=True)
    for folder, expected in (("several", "several/cifar10"), ("several/cifar10", "several/cifar10")):
        bench = bench_of(tmp_path, tmp_path / folder)
        evaluated.evaluated(bench, replace(evaluated.SMOKE, dataset="cifar10")).measure()
        given[-1].make_data()
        assert loaded[-2:] == [tmp_path / expected] * 2
    assert bench.folder_with("digits") is None


def test_spreads_are_over_what_was_measured() -> None:
    assert summary([1.0, 2.0, 3.0]) == "2.00 ± 1.00 (3)"
    assert (summary([1.0], 1), summary([])) == ("1.0 (1)", "not run")
    shown = line("ours", (0.1, 0.2, 0.3), [[1.0, 3.0], [], [5.0]])
    assert (shown.x, shown.mean, shown.spread) == ([0.1, 0.3], [2.0, 5.0], [2**0.5, 0.0])
