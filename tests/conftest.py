"""Fixtures that several test files use."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import typer
from support.command_line import Outcome, run

from ticket_sig.cli import app

# What is compiled or decoded while tests are collected stays out of the user's cache, too.
_OF_SESSION = os.environ["TICKET_SIG_CACHE"] = tempfile.mkdtemp(prefix="ticket_sig-tests-")
atexit.register(shutil.rmtree, _OF_SESSION, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The marker `gpu` alone has a test skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and the tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test pulls the plug; that all is written to the disk at once would cost a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def options_declared_once() -> Iterator[None]:
    """A process declares the options of one verb; tests run thousands, and would declare them every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "make_app", functools.cache(app.make_app))
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New names for folders; pytest's own would look through all earlier ones each time."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded data of tests stays out of the user's cache."""
    folder = next(caches)
    folder.mkdir()
    monkeypatch.setenv("TICKET_SIG_CACHE", str(folder))
    return folder


@pytest.fixture
def compiled(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the test starts find the kernels of the session, and do not compile them once more."""
    monkeypatch.setenv("TICKET_SIG_CACHE", _OF_SESSION)


@pytest.fixture
def ticket_sig() -> Callable[..., Outcome]:
    """Runs the command line: `ticket_sig("extract", path).code`."""
    return lambda *arguments: run(arguments)
