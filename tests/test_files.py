"""Whatever happens while it is written, a file or folder is the new one, the old one or not there."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disk import content, file_size_limit, full_disk

from ticket_sig import InputError
from ticket_sig.cli.leaving import ended_by_signals
from ticket_sig.files import (
    PARTIAL,
    check_new,
    clear_partials,
    is_unused,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)

few = settings(deadline=None, max_examples=40)
# JSON holds no lone surrogates and no NaN; of large integers only what other readers can take, too.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
JSON_OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
FULL_DISKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "while it is written": lambda: file_size_limit(100),
    "when it is flushed": full_disk,
}
full_disks = pytest.mark.parametrize("full", FULL_DISKS)


class Interrupted(Exception):
    """Anything that goes wrong in the caller's code."""


def write_file(path: Path, data: bytes = b"new" * 1000) -> None:
    """Writes a file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(data)


def write_folder(path: Path, replace: bool = False) -> None:
    """Writes a folder with a file, and one within another folder, whole or not at all."""
    with whole_folder(path, replace=replace) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "b").write_bytes(b"new" * 1000)
        (partial / "a").write_bytes(b"new")


def test_a_file_and_the_folders_above_it_are_made(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "er" / "file", b"new")
    assert content(tmp_path) == {"deep": None, "deep/er": None, "deep/er/file": b"new"}


def test_a_file_is_overwritten(tmp_path: Path) -> None:
    for data in (b"longer than the new one", b"new"):
        write_file(tmp_path / "file", data)
    assert content(tmp_path) == {"file": b"new"}


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_file(tmp_path / "file")
    write_folder(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


@pytest.mark.parametrize("there", [True, False])
def test_an_error_leaves_the_file_as_it_was(there: bool, tmp_path: Path) -> None:
    if there:
        (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(Interrupted), whole_file(tmp_path / "file") as partial:
        partial.write_bytes(b"half")
        raise Interrupted
    assert content(tmp_path) == ({"file": b"old"} if there else {})


@full_disks
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_the_file_as_it_was(full: str, there: bool, tmp_path: Path) -> None:
    if there:
        (tmp_path / "file").write_bytes(b"old")
    with FULL_DISKS[full](), pytest.raises(OSError, match=r"File too large|No space left"):
        write_file(tmp_path / "file")
    assert content(tmp_path) == ({"file": b"old"} if there else {})


@full_disks
def test_the_error_of_a_full_disk_names_the_file(full: str, tmp_path: Path) -> None:
    for write, name in ((write_file, "file"), (write_folder, "folder")):
        with FULL_DISKS[full](), pytest.raises(OSError, match=r"File too large|No space left") as error:
            write(tmp_path / name)
        assert error.value.filename is not None
        assert str(error.value.filename).startswith(str(tmp_path / name))


def test_a_folder_is_made_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "new" / "folder")
    expected = {"new": None, "new/folder": None, "new/folder/deep": None}
    assert content(tmp_path) == expected | {"new/folder/a": b"new", "new/folder/deep/b": b"new" * 1000}


@pytest.mark.parametrize("there", ["folder", "empty folder", "file"])
@pytest.mark.parametrize("replace", [True, False])
def test_what_is_there_is_only_replaced_when_asked_and_if_it_is_a_folder(
    there: str, replace: bool, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    if there == "file":
        path.write_bytes(b"old")
    else:
        path.mkdir()
    if there == "folder":
        (path / "old").write_bytes(b"old")
    before = content(tmp_path)
    if replace and there != "file":
        write_folder(path, replace=True)
        assert content(path).keys() == {"a", "deep", "deep/b"}
        assert [p.name for p in tmp_path.iterdir()] == ["out"]
        return
    with pytest.raises(
        InputError, match=f"{path}: output folder: expected a name not taken yet, found one that is"
    ):
        write_folder(path, replace=replace)
    assert content(tmp_path) == before


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "old").write_bytes(b"old")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    write_folder(tmp_path / "out", replace=True)
    assert (tmp_path / "out").readlink() == tmp_path / "disk" / "real"
    assert content(tmp_path / "disk" / "real").keys() == {"a", "deep", "deep/b"}
    assert {p.name for p in tmp_path.iterdir()} == {"disk", "out"}, "nothing partial is left"
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["real"]


@pytest.mark.parametrize("there", [True, False])
def test_the_file_that_a_link_leads_to_is_replaced_and_the_link_stays(there: bool, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    if there:
        (tmp_path / "disk" / "real").write_bytes(b"old")
    (tmp_path / "out").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "disk" / "real")
    write_file(tmp_path / "out", b"new")
    assert (tmp_path / "out").readlink() == Path("second")
    assert content(tmp_path) == {"disk": None, **dict.fromkeys(("disk/real", "second", "out"), b"new")}


def test_a_link_that_leads_round_in_a_circle_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("other")
    (tmp_path / "other").symlink_to("out")
    with pytest.raises(OSError, match="expected the name of a file, found a link that leads round") as error:
        write_file(tmp_path / "out")
    assert error.value.filename == str(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_a_link_to_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # a device is the same, but no test may risk one
    (tmp_path / "out").symlink_to("pipe")
    with pytest.raises(OSError, match="found a device, a pipe or a socket"):
        write_file(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("target", ["gone", "out", "file"])
def test_a_link_to_no_folder_is_a_name_that_is_taken(target: str, replace: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "out").symlink_to(target)
    with pytest.raises(InputError, match="out: output folder: expected a name not taken yet"):
        write_folder(tmp_path / "out", replace=replace)
    assert {p.name for p in tmp_path.iterdir()} == {"file", "out"}
    assert (tmp_path / "out").readlink() == Path(target)


@pytest.mark.parametrize("replace", [True, False])
def test_an_error_leaves_the_folder_as_it_was(replace: bool, tmp_path: Path) -> None:
    if replace:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_bytes(b"old")
    before = content(tmp_path)
    with pytest.raises(Interrupted), whole_folder(tmp_path / "out", replace=replace) as partial:
        (partial / "a").write_bytes(b"half")
        raise Interrupted
    assert content(tmp_path) == before


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_ctrl_c_between_two_renames_leaves_the_old_folder_or_the_new_one(
    moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"old")
    rename, calls = Path.replace, itertools.count(1)

    def interrupted(self: Path, target: Path) -> Path:
        if (call := next(calls)) == moved + 1:
            raise KeyboardInterrupt
        renamed = rename(self, target)
        if call == moved == 2:
            raise KeyboardInterrupt
        return renamed

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == ({"a", "deep"} if moved == 2 else {"old"})


def test_that_nothing_can_be_made_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    check_new(tmp_path / "new" / "er" / "record.json")
    with pytest.raises(OSError, match="expected a folder to write to, found a file"):
        check_new(tmp_path / "file" / "record.json")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # to root every folder seems open
    with pytest.raises(OSError, match="expected a folder that can be written, found a read-only one"):
        check_new(tmp_path / "new" / "record.json")
    assert content(tmp_path) == {"file": b""}


def test_a_folder_in_which_a_write_was_killed_is_unused(tmp_path: Path) -> None:
    assert is_unused(tmp_path / "gone") and is_unused(tmp_path)
    (tmp_path / f"{PARTIAL}manifest.json-x").touch()
    assert is_unused(tmp_path)
    (tmp_path / "mine").touch()
    assert not is_unused(tmp_path)


@full_disks
@pytest.mark.parametrize("replace", [True, False])
def test_a_full_disk_leaves_the_folder_as_it_was(full: str, replace: bool, tmp_path: Path) -> None:
    if replace:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_bytes(b"old")
    before = content(tmp_path)
    with FULL_DISKS[full](), pytest.raises(OSError, match=r"File too large|No space left"):
        write_folder(tmp_path / "out", replace=replace)
    assert content(tmp_path) == before


_WRITER = """
import sys
from pathlib import Path
from ticket_sig.cli.leaving import ended_by_signals
from ticket_sig.files import whole_file, whole_folder
path = Path(sys.argv[1])
with (
    ended_by_signals(),
    whole_file(path / "file") as file,
    whole_folder(path / "folder", replace=True) as folder,
):
    file.write_text("half")
    (folder / "a").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_writer_leaves_what_was_there_and_nothing_else(
    ending: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(b"old")
    before = content(tmp_path)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _WRITER, tmp_path]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(ending)
        writer.communicate(timeout=150)
    assert content(tmp_path) == before


@pytest.mark.parametrize("ignored", [True, False])
def test_a_signal_that_is_ignored_stays_so(ignored: bool) -> None:
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with ended_by_signals():
            assert (signal.getsignal(signal.SIGHUP) == signal.SIG_IGN) == ignored
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_killed_writer_leaves_what_was_there_and_rests_that_can_be_cleared(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"old")
    before = content(tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path], stdin=pipe, stdout=pipe) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        os.kill(writer.pid, signal.SIGKILL)
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after != before
    clear_partials(tmp_path)
    assert content(tmp_path) == before


@few
@given(value=JSON_OBJECTS)
def test_json_comes_back_as_it_was_and_with_the_same_bytes(value: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        one, other = Path(folder) / "one.json", Path(folder) / "other.json"
        for path in (one, other):
            write_json(path, value)
        assert read_json(one) == value == json.loads(one.read_text(encoding="utf-8"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_json_cannot_say_is_not_written(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "file.json", {"a": 1, "b": value})
    assert read_json(tmp_path / "file.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "JSON: expected a whole JSON object, found an empty file"),
        (b'{"a": 1', "JSON: expected a whole JSON object, found text that does not parse"),
        (b'{"a": 1} x', "JSON: expected a whole JSON object, found text that does not parse"),
        (b'{"a": "\xff"}', "JSON: expected a whole JSON object, found a file that is no text in UTF-8"),
        (
            '{"a": 1}'.encode("utf-16"),
            "JSON: expected a whole JSON object, found a file that is no text in UTF-8",
        ),
        (b"[" * 100_000, "JSON: expected a whole JSON object, found text that does not parse"),
        (b'{"a": ' + b"1" * 5000 + b"}", "JSON: expected"),
        (b'{"a": NaN}', "JSON: expected"),
        (b'{"a": ' + b"1" * 5000 + b"e999}", "JSON: expected"),
        (b'{"a": "\\ud800"}', "JSON: expected"),
        (b"[1]", "JSON: expected an object, found a list"),
        (b'"text"', "JSON: expected an object, found a str"),
        (b"null", "JSON: expected an object, found a NoneType"),
    ],
    ids=lambda value: str(value[:12]) if isinstance(value, bytes) else "",
)
def test_what_is_no_json_object_is_refused_in_one_line(text: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(text)
    with pytest.raises(InputError) as error:
        read_json(file)
    assert str(error.value).startswith(f"{file}: {says}")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "file.json") == {"a": 1}


@pytest.mark.parametrize("there", ["nothing", "folder"])
def test_a_missing_json_file_is_named(there: str, tmp_path: Path) -> None:
    if there == "folder":
        (tmp_path / "file.json").mkdir()
    found = "a folder" if there == "folder" else "none"
    with pytest.raises(InputError, match=rf"file\.json: file: expected a JSON file, found {found}"):
        read_json(tmp_path / "file.json")
