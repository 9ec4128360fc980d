"""Kernels in C are compiled once, kept where nobody else can write, and done without where they cannot be."""

from __future__ import annotations

import ctypes
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.disk import without_a_home

from ticket_sig import native

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(autouse=True)
def fresh(own_cache: Path) -> None:
    """Nothing is compiled yet."""
    (own_cache / "native").unlink()
    native.library.cache_clear()


def source(folder: Path, answer: int = 42) -> Path:
    path = folder / "answer.c"
    path.write_text(f"int answer(void) {{ return {answer}; }}\n")
    return path


def answer(library: ctypes.CDLL | None) -> int:
    assert library is not None
    return int(library.answer())


@needs_compiler
def test_a_file_is_compiled_once(tmp_path: Path, own_cache: Path) -> None:
    assert answer(native.library(source(tmp_path))) == 42
    (built,) = (own_cache / "native").glob("*.so")
    before = built.stat().st_mtime_ns
    native.library.cache_clear()
    assert answer(native.library(source(tmp_path))) == 42
    assert built.stat().st_mtime_ns == before


@needs_compiler
def test_processes_that_compile_at_once_all_get_it(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from ticket_sig import native
for _ in range(4):
    if os.fork() == 0:
        os.write(1, b"%d\\n" % native.library(Path(sys.argv[1])).answer())  # one write: none comes between
        os._exit(0)
for _ in range(4):
    os.wait()
"""
    command = [sys.executable, "-c", program, str(source(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["42"] * 4


@needs_compiler
def test_a_compiler_may_be_named_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named.c").write_text("int answer(void) { return ANSWER; }\n")
    for number in (7, 8):  # one compiler: its options say what it makes
        monkeypatch.setenv("CC", f"cc -DANSWER={number}")
        native.library.cache_clear()
        assert answer(native.library(tmp_path / "named.c")) == number


@needs_compiler
def test_without_a_home_it_is_compiled_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_a_home(monkeypatch)
    assert answer(native.library(source(tmp_path))) == 42


@needs_compiler
def test_a_changed_source_is_compiled_anew(tmp_path: Path) -> None:
    assert answer(native.library(source(tmp_path))) == 42
    native.library.cache_clear()
    assert answer(native.library(source(tmp_path, 43))) == 43


@needs_compiler
def test_a_cache_that_others_can_write_to_is_not_trusted(tmp_path: Path, own_cache: Path) -> None:
    folder = own_cache / "native"
    folder.mkdir()
    folder.chmod(0o777)
    assert answer(native.library(source(tmp_path))) == 42
    assert list(folder.iterdir()) == []


@needs_compiler
def test_the_cache_is_made_private(tmp_path: Path, own_cache: Path) -> None:
    native.library(source(tmp_path))
    assert stat.S_IMODE((own_cache / "native").stat().st_mode) == 0o700


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "cc '"])
def test_without_a_compiler_that_works_there_is_no_library(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert native.library(source(tmp_path)) is None


@needs_compiler
def test_what_a_compiler_wrongly_says_it_made_is_not_kept(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    for does in ("true", 'cc "$@"'):  # both of one version; the first makes nothing
        compiler.write_text(f"#!/bin/sh\ncase $1 in --version) echo 1;; *) {does};; esac\n")
        compiler.chmod(0o700)
        monkeypatch.setenv("CC", str(compiler))
        native.library.cache_clear()
        made = native.library(source(tmp_path))
        assert (made is None) is (does == "true")
    assert answer(made) == 42


@needs_compiler
def test_a_changed_header_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "answer").mkdir()
    (tmp_path / "answer.c").write_text('#include "answer/number.h"\nint answer(void) { return NUMBER; }\n')
    for number in (42, 43):
        (tmp_path / "answer" / "number.h").write_text(f"#define NUMBER {number}\n")
        native.library.cache_clear()
        assert answer(native.library(tmp_path / "answer.c")) == number


@needs_compiler
def test_a_source_that_does_not_compile_is_no_library_and_leaves_nothing(
    tmp_path: Path, own_cache: Path
) -> None:
    (tmp_path / "wrong.c").write_text("int wrong(")
    assert native.library(tmp_path / "wrong.c") is None
    assert [p for p in own_cache.rglob("*") if p.is_file()] == []
