"""Fixtures that several test files use."""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import os
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from support.command_line import Outcome, run

from ticket_sig.attacks import ATTACKS
from ticket_sig.cli import app
from ticket_sig.datasets import DATASETS
from ticket_sig.marks import MARKS
from ticket_sig.models import norm_relu
from ticket_sig.models.sparse import choice
from ticket_sig.native import library
from ticket_sig.scores import SCORES

# What is compiled or decoded while tests are collected stays out of the user's cache, too. Workers have it of
# the process that starts them.
_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not _IS_WORKER:
    os.environ["TICKET_SIG_CACHE"] = tempfile.mkdtemp(prefix="ticket_sig-tests-")
    atexit.register(shutil.rmtree, os.environ["TICKET_SIG_CACHE"], ignore_errors=True)
# Files of tests lie in memory where there is room for them, and where kernels that tests compile there may
# run: a disk may take longer than the tests.
_MEMORY = "/dev/shm"
_MAY_RUN = os.access(_MEMORY, os.W_OK) and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
if _MAY_RUN and shutil.disk_usage(_MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)
_KERNELS = Path(os.environ["TICKET_SIG_CACHE"], "native")
_KERNELS.mkdir(mode=0o700, exist_ok=True)


def pytest_configure(config: pytest.Config) -> None:
    """Kernels are compiled once, while the workers begin, and not by each of them."""
    if not _IS_WORKER and config.getoption("numprocesses", None):
        threading.Thread(target=_compile).start()


def _compile() -> None:
    library(norm_relu._SOURCE)
    choice.sparse_kernels()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported stays: it is not looked through for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The marker `gpu` alone has a test skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and the tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def seeds_without_stacks() -> Iterator[None]:
    """Each time a seed is set, torch formats the whole stack for every kind of device that is not there."""
    kept = {name: value for name, value in vars(traceback).items() if name != "format_stack"}
    with pytest.MonkeyPatch.context() as patch:
        for device in (torch.cuda, torch.xpu, torch.mtia):
            patch.setattr(device, "traceback", SimpleNamespace(**kept, format_stack=list))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test pulls the plug; that all is written to the disk at once would cost a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def options_declared_once() -> Iterator[None]:
    """A process declares the options of one verb; tests run thousands, and would declare them every time."""
    declare = app.make_app
    groups = [
        v for v in app._VERBS if hasattr(import_module(f"ticket_sig.cli.{v.replace('-', '_')}"), "commands")
    ]

    @functools.cache
    def declared(verb: str | None, member: str | None, *_: object) -> typer.Typer:
        return declare(verb, member)

    def make_app(verb: str | None = None, member: str | None = None) -> typer.Typer:
        registries = (tuple(one.items()) for one in (MARKS, ATTACKS, SCORES))
        return declared(verb, member if verb in groups else None, *registries, *DATASETS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "make_app", make_app)
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New names for folders; pytest's own would look through all earlier ones each time."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded data of tests stays out of the user's cache; a process that a test starts finds the kernels."""
    folder = next(caches)
    folder.mkdir()
    (folder / "native").symlink_to(_KERNELS)
    monkeypatch.setenv("TICKET_SIG_CACHE", str(folder))
    return folder


@pytest.fixture
def ticket_sig() -> Callable[..., Outcome]:
    """Runs the command line: `ticket_sig("extract", path).code`."""
    return lambda *arguments: run(arguments)
