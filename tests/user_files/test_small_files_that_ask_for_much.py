"""Files of strangers: a small one must not take all memory, or keep the computer busy for minutes."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.shards import write_packed
from support.signed import assert_verified, signed_weights
from support.tiny import write_images

from ticket_sig import InputError, load
from ticket_sig.datasets import entries, load_dataset
from ticket_sig.formats import pickled, torch_file
from ticket_sig.formats.names import each_in, names_in
from ticket_sig.formats.weights import Shards
from ticket_sig.marks.trigger_set.triggers import read_triggers

LONG = struct.pack("<I", 2**20)  # a length
BYTES, TEXT, NUMBER = (code + LONG + b"x" * 2**20 + b"q\x01" for code in (b"B", b"X", b"\x8b"))
CODE = b"ca\nb\nq\x00"
PAIRS = b"](" + b"".join(b"M" + struct.pack("<H", n) + b"N\x86" for n in range(500)) + b"e\x85q\x01"
COPYING = {  # and what is said of them
    "calls with one long argument": (CODE + BYTES + b"h\x00h\x01R" * 400 + b".", "no tuple"),
    "new objects with one long argument": (CODE + BYTES + b"h\x00h\x01\x81" * 400 + b".", "no tuple"),
    "long names": (TEXT + b"h\x01h\x01\x93" * 400 + b".", "a name of more than 1000 characters"),
    "many names": (b"".join(b"c\n%x\n" % n for n in range(51)) + b".", "more than 50 names of code"),
    "a long number as a key": (NUMBER + b"0}" + b"h\x01Ns" * 2000 + b".", "content: expected tensors"),
}
COUNTED = {
    "mappings": b"}" * 1200,
    "lists": b"]" * 1200,
    "entries": b"}(" + b"K\x01N" * 1200 + b"u",
    "calls": CODE + b"h\x00)R" * 1200,
    "places in memory": b"N" + b"\x94" * 1200,
    "pairs": b"ccollections\nOrderedDict\nq\x00" + PAIRS + b"h\x00h\x01R" * 3,
    "tensors of one storage": b"(X\x07\0\0\0storagecx\nFloatStorage\nNtq\x01" + b"h\x01Q" * 1200,
}


def in_a_zip(path: Path, pickle: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x04" + pickle)
    return path


@pytest.mark.parametrize("name", COPYING)
def test_what_a_pickle_refers_to_many_times_is_not_copied(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "_MOST_NAMES", 50)
    pickle, says = COPYING[name]
    file = in_a_zip(tmp_path / "x.pt", pickle)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"x\.pt: .*{says}"):
        load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


@pytest.mark.parametrize("name", COUNTED)
def test_objects_of_a_pickle_are_counted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "_MOST_OBJECTS", 1000)
    with pytest.raises(InputError, match=r"x\.pt: torch file: .*more than 10\d\d objects"):
        load(in_a_zip(tmp_path / "x.pt", COUNTED[name] + b"."))


class Trainer:
    """An object of a training script, with its losses."""

    def __init__(self, losses: int) -> None:
        self.losses = [float(n) for n in range(losses)]


def test_a_large_object_beside_the_weights_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "_MOST_OBJECTS", 1000)  # numbers of a list are not counted
    monkeypatch.setattr(torch_file, "_MOST_SEARCHED", 1000)
    torch.save({**signed_weights(), "trainer": Trainer(5000), "more": Trainer(5000)}, tmp_path / "x.pt")
    assert_verified(tmp_path / "x.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e4m3fn])
def test_views_of_the_same_bytes_are_counted(dtype: torch.dtype, tmp_path: Path) -> None:
    shared = torch.randn(1000).to(dtype)
    state = {f"{n}.weight": shared[n : n + 900].view(30, 30) for n in range(5)}
    torch.save(state, tmp_path / "many.pt")
    with pytest.raises(InputError, match=r"many\.pt: tensors: expected views of at most 4 times the bytes"):
        load(tmp_path / "many.pt")
    few = {name: state[name] for name in list(state)[:4]}
    torch.save({**few, "tied": few["0.weight"], "part": shared[:100]}, tmp_path / "few.pt")
    assert len(load(tmp_path / "few.pt").ticket.weights) == 6


@pytest.mark.parametrize("entry", ["pics/1.png", "labels.txt", "train/cat/0.png"])
def test_entries_of_a_folder_that_never_end_are_refused(entry: str, tmp_path: Path) -> None:
    folder = write_images(tmp_path, each=1)
    (folder / "pics").mkdir()
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "pics" / "1.png")
    (folder / "labels.txt").write_text("1\n")
    (folder / entry).unlink()
    (folder / entry).symlink_to("/dev/null")  # as /dev/zero; a pipe is none either
    with pytest.raises(InputError, match=f"{entry}: file: expected a plain file, found another kind"):
        read_triggers(folder, (8, 8, 3), 10)
        load_dataset("images", folder)


def test_entries_of_a_folder_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MOST_BYTES", 10)
    (tmp_path / "1.png").write_bytes(b"x" * 10)
    assert entries.read_entry(tmp_path / "1.png") == b"x" * 10
    (tmp_path / "1.png").write_bytes(b"x" * 11)
    with pytest.raises(InputError, match=r"1\.png: file: expected at most 10 bytes, found 11"):
        entries.read_entry(tmp_path / "1.png")


class Counted(dict[str, tuple[int, ...]]):
    """Shapes by name; counts how often all names are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return super().__iter__()


def test_many_names_are_looked_for_at_once_and_found_as_each_by_itself() -> None:
    names = ("model.a.weight", "model.b.weight", "_orig_mod.c.weight", "x.d.weight", "y.d.weight", "e")
    suspect = Counted(dict.fromkeys(names, (2, 2)))
    claimed = ["a.weight", "net.model.b.weight", "module.c.weight", "d.weight", "b", "e", "x.e"]
    by_itself = {}
    for name in claimed:
        with contextlib.suppress(InputError):
            by_itself |= names_in({name: None}, dict(suspect))
    assert each_in([*claimed, *map(str, range(100))], suspect) == by_itself
    assert len(by_itself) == 5 and suspect.passes <= 3


def test_copies_among_8_bit_floats_are_found_without_reading_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: torch.randn(64, 64).to(torch.float8_e4m3fn) for name in ("a.weight", "b.weight")}
    read = Shards(write_packed(tmp_path / "x.safetensors", {**state, "c.weight": state["b.weight"]}))
    converted = []
    whole = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda t, *to, **k: converted.append(t) or whole(t, *to, **k))
    assert read.copies == {"c.weight": "b.weight"} and not converted


def test_a_large_file_may_have_more_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "_MOST_OBJECTS", 0)
    torch.save({f"{n}.weight": torch.ones(32, 64) for n in range(20)}, tmp_path / "x.pt")
    assert len(load(tmp_path / "x.pt").ticket.weights) == 20
