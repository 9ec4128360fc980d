"""The python batches of CIFAR, as Python 2 and Python 3 write them; and pickles that would do harm."""

from __future__ import annotations

import codecs
import io
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset

_CIFAR10 = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes protocol 2 as Python 2 with numpy 1 does, which is how the official files were made."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_text(self, text: bytes | str) -> None:
        raw = text.encode() if isinstance(text, str) else text
        short = len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) + raw if short else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_text

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else obj.__module__
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[type(pickle.dumps)] = dispatch[type(len)] = dispatch[type] = save_global


def python2(batch: dict[bytes, Any]) -> bytes:
    file = io.BytesIO()
    _Python2(file, 2).dump(batch)
    return file.getvalue()


def python3(protocol: int) -> Callable[[dict[bytes, Any]], bytes]:
    return lambda batch: pickle.dumps(batch, protocol)


def python3_text(batch: dict[bytes, Any]) -> bytes:
    return pickle.dumps({key.decode(): value for key, value in batch.items()}, 2)


def batch_of(rows: int, seed: int, label: bytes = b"labels", classes: int = 10) -> dict[bytes, Any]:
    draw = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch 1 of 5",
        label: draw.integers(0, classes, rows).tolist(),
        b"data": draw.integers(0, 256, (rows, 3072), dtype=np.uint8),
        b"filenames": [b"leptodactylus_pentadactylus_s_000004.png" for _ in range(rows)],
    }


def write_cifar10(
    folder: Path, write: Callable[[dict[bytes, Any]], bytes] = python2
) -> list[dict[bytes, Any]]:
    folder.mkdir(parents=True)
    batches = [batch_of(3 + n, n) for n in range(len(_CIFAR10))]
    for name, batch in zip(_CIFAR10, batches, strict=True):
        (folder / name).write_bytes(write(batch))
    return batches


@pytest.mark.parametrize(
    "write",
    [python2, python3(2), python3(3), python3(4), python3_text],
    ids=["python 2", "python 3, protocol 2", "protocol 3", "protocol 4", "text keys"],
)
def test_cifar10_is_read_as_it_was_written(
    write: Callable[[dict[bytes, Any]], bytes], tmp_path: Path
) -> None:
    batches = write_cifar10(tmp_path / "data", write)
    data = load_dataset("cifar10", tmp_path / "data")
    assert data.train.labels.tolist() == [label for b in batches[:5] for label in b[b"labels"]]
    assert data.test.labels.tolist() == batches[5][b"labels"]
    for split, parts in ((data.train, batches[:5]), (data.test, batches[5:])):
        rows = np.concatenate([b[b"data"] for b in parts])
        # The files hold 1024 red values, then green, then blue, row by row.
        for image, row in zip(split.images.numpy(), rows, strict=True):
            colours = np.stack([row[:1024], row[1024:2048], row[2048:]], 1)
            assert np.array_equal(image, colours.reshape(32, 32, 3))


def test_cifar100_is_read_by_its_fine_labels(tmp_path: Path) -> None:
    train, test = (batch_of(5, seed, b"fine_labels", 100) | {b"coarse_labels": [0] * 5} for seed in (1, 2))
    (tmp_path / "train").write_bytes(python2(train))
    (tmp_path / "test").write_bytes(python2(test))
    data = load_dataset("cifar100", tmp_path)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == (
        train[b"fine_labels"],
        test[b"fine_labels"],
    )
    assert data.classes == 100


def test_the_folder_that_the_archive_was_unpacked_into_will_do(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py")
    assert len(load_dataset("cifar10", tmp_path).test) == 8


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made_of = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.made_of


def test_code_in_a_batch_is_named_and_never_run(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    proof = tmp_path / "ran"
    hostile = [
        pickle.dumps(Call(eval, f"open({str(proof)!r}, 'w')"), protocol) for protocol in (0, 1, 2, 3, 4, 5)
    ]
    hostile += [
        pickle.dumps({b"data": Call(Path.touch, proof), b"labels": []}, 4),
        pickle.dumps(batch_of(3, 0) | {b"more": Call(np.ones(1).tofile, str(proof))}, 4),
        f"cnumpy\nsave\n(V{proof}\nI1\ntR.".encode(),
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"cnumpy\nload\n(V" + str(tmp_path / "data" / "test_batch").encode() + b"\nI00\nI01\ntR.",
    ]
    for content in hostile:
        (tmp_path / "data" / "data_batch_2").write_bytes(content)
        with pytest.raises(InputError, match=r"data_batch_2: .*the code .*, which was not run"):
            load_dataset("cifar10", tmp_path / "data")
        assert not proof.exists()


class Lie:
    """Pickles as a numpy dtype or array with any state."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made_of


def test_arrays_that_lie_about_what_they_hold_cannot_reach_into_memory(tmp_path: Path) -> None:
    # An object array whose dtype says that it holds no objects: its bytes would be taken as pointers.
    write_cifar10(tmp_path / "data")
    objects = Lie(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0))
    rebuild, arguments = np.empty(0).__reduce__()[:2]
    pointers = Lie(rebuild, arguments, (1, (3,), objects, False, b"\x08" + b"A" * 23))
    content = pickle.dumps({b"data": _GOOD[b"data"], b"labels": pointers}, 2)
    (tmp_path / "data" / "data_batch_1").write_bytes(content)
    script = "import sys; from ticket_sig.cli.app import main; main(sys.argv[1:])"
    verb = ["find", "--dataset", "cifar10", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    done = subprocess.run([sys.executable, "-c", script, *verb], capture_output=True, text=True, check=False)
    assert done.returncode == 2, f"left with {done.returncode}: {done.stderr[-500:]}"
    assert "data_batch_1" in done.stderr and done.stderr.count("\n") == 1


_GOOD = batch_of(3, 0)


_DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", ""),
    "text": (b"no pickle at all", ""),
    "later protocol": (b"\x80\xff" + python2(_GOOD)[2:], ""),
    "list": (pickle.dumps([1, 2], 2), ""),
    "number": (pickle.dumps(7, 2), ""),
    "no labels": (pickle.dumps({b"data": _GOOD[b"data"]}, 2), "labels"),
    "no data": (pickle.dumps({b"labels": [0]}, 2), "data"),
    "int16": (
        python2(_GOOD | {b"data": _GOOD[b"data"].astype(np.int16)}),
        r"expected uint8 \[3, 3072\], found int16 \[3, 3072\]",
    ),
    "narrow": (python2(_GOOD | {b"data": _GOOD[b"data"][:, :-1]}), r"found uint8 \[3, 3071\]"),
    "few labels": (python2(_GOOD | {b"labels": [0, 1]}), r"expected uint8 \[2, 3072\]"),
    "label is text": (python2(_GOOD | {b"labels": [b"cat", b"dog", b"cow"]}), ""),
    "ragged labels": (python2(_GOOD | {b"labels": [0, [1, 2], 3]}), ""),
    "one label": (python2(_GOOD | {b"labels": 3}), ""),
    "label matrix": (python2(_GOOD | {b"labels": [[0, 1], [2, 3], [4, 5]]}), ""),
    "high label": (python2(_GOOD | {b"labels": [0, 1, 2**70]}), ""),
    "unknown encoding": (pickle.dumps(Call(codecs.encode, "x", "no such encoding"), 2), ""),
    "cannot be encoded": (pickle.dumps(Call(codecs.encode, "\u0141", "latin1"), 2), ""),
    "huge array": (pickle.dumps(Call(np.ndarray, (2**45,)), 2), ""),
    "negative array": (pickle.dumps(Call(np.ndarray, (-1,)), 2), ""),
    "unknown dtype": (pickle.dumps(Call(np.dtype, "no such type"), 2), ""),
}


@pytest.mark.parametrize(("content", "message"), _DAMAGED.values(), ids=_DAMAGED.keys())
def test_a_batch_of_another_content_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    (tmp_path / "data" / "data_batch_3").write_bytes(content)
    with pytest.raises(InputError, match=f"data_batch_3: .*{message}"):
        load_dataset("cifar10", tmp_path / "data")


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_out_of_range_is_refused(label: int, tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    (tmp_path / "data" / "data_batch_3").write_bytes(python2(_GOOD | {b"labels": [0, 1, label]}))
    with pytest.raises(InputError, match=f"data: cifar10: train labels: expected 0 to 9, found .*{label}"):
        load_dataset("cifar10", tmp_path / "data")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    (tmp_path / "data" / "data_batch_4").unlink()
    with pytest.raises(InputError, match=r"data_batch_4: file: expected a CIFAR python batch, found none"):
        load_dataset("cifar10", tmp_path / "data")


@given(
    cut=st.floats(0, 1, exclude_max=True),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), max_size=3),
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_or_bit_flipped_batch_is_read_or_refused_but_never_a_crash(
    cut: float, flips: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    whole = python2(_GOOD | {b"data": np.zeros((3, 3072), np.uint8)})
    # Most of the file is pixels, which any bits can be; the damage goes where the structure is.
    start = whole.index(bytes(3072))
    structure = [*range(start), *range(start + 9216, len(whole))]
    damaged = bytearray(whole)
    for where, bit in flips:
        damaged[structure[int(where * (len(structure) - 1))]] ^= 1 << bit
    if not flips:
        damaged = damaged[: int(cut * len(whole))]
    for name in _CIFAR10:
        (folder / name).write_bytes(damaged)
    try:
        data = load_dataset("cifar10", folder)
    except InputError as error:
        assert str(folder) in str(error)
    else:
        assert flips and data.train.images.dtype == torch.uint8
