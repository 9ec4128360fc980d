"""The catalogue names every experiment, and no module of the experiments is named as one of the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ticket_sig
from experiments import FOLDER
from experiments.catalogue import PROGRAMS, RESULTS, in_a_line, module_of


def modules(folder: Path) -> set[str]:
    """The names of all modules below a folder."""
    return {path.stem for path in folder.rglob("*.py")} - {"__init__", "__main__"}


def test_no_module_bears_the_name_of_a_module_or_package_of_ticket_sig() -> None:
    package = Path(ticket_sig.__file__).parent
    packages = {path.parent.name for path in package.rglob("__init__.py")}
    assert not modules(FOLDER) & (modules(package) | packages)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_a_title_cells_and_a_way_to_show_them(name: str) -> None:
    module = module_of(name)
    assert module.TITLE and callable(module.cells) and callable(module.result)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_a_help_text_of_its_own(name: str, experiments: Callable[..., Any]) -> None:
    done = experiments(name, "--help")
    assert done.code == 0 and f"python -m experiments {name}" in done.out
    assert in_a_line(name) in " ".join(done.out.split())


def test_the_help_text_lists_everything_in_a_line_each(experiments: Callable[..., Any]) -> None:
    done = experiments("--help")
    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    for name in (*RESULTS, *PROGRAMS):
        assert sum(line.startswith(f"{name} ") and in_a_line(name) in line for line in lines) == 1


def test_a_table_that_is_none_is_refused(tmp_path: Path, experiments: Callable[..., Any]) -> None:
    done = experiments("tabel6", "--out", tmp_path)
    expected = "tabel6: name: expected a result or a program, found 'tabel6'; did you mean table6?\n"
    assert (done.code, done.err) == (2, expected)
    done = experiments("halo", "--out", tmp_path)
    assert done.code == 2 and done.err.endswith("found 'halo'; python -m experiments --help lists them\n")
