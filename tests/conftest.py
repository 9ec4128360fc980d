"""Fixtures that several test files use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from ticket_sig.cli.app import main

# What is compiled or decoded while tests are collected stays out of the user's cache, too.
os.environ["TICKET_SIG_CACHE"] = tempfile.mkdtemp(prefix="ticket_sig-tests-")
atexit.register(shutil.rmtree, os.environ["TICKET_SIG_CACHE"], ignore_errors=True)


class Outcome(NamedTuple):
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The marker `gpu` alone has a test skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and the tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Decoded data of tests stays out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TICKET_SIG_CACHE", str(folder))
    yield folder


@pytest.fixture
def ticket_sig(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line: `ticket_sig("extract", path).code`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run
