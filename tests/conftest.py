"""Fixtures that several test files use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.command_line import Outcome, run

# What is compiled or decoded while tests are collected stays out of the user's cache, too.
os.environ["TICKET_SIG_CACHE"] = tempfile.mkdtemp(prefix="ticket_sig-tests-")
atexit.register(shutil.rmtree, os.environ["TICKET_SIG_CACHE"], ignore_errors=True)


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
def ticket_sig() -> Callable[..., Outcome]:
    """Runs the command line: `ticket_sig("extract", path).code`."""
    return lambda *arguments: run(arguments)
