"""Case 20: CIFAR's python batches were filtered or relabelled, and pickled anew with today's numpy."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset

ROWS = 7
LABELS = [3, 0, 9, 1, 7, 2, 5]
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 3072), dtype=np.uint8)
FILES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")


def write(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (folder / name).write_bytes(content)
    return folder


def batch(labels: Any = LABELS, data: Any = PIXELS, **more: Any) -> dict[bytes, Any]:
    return {b"batch_label": b"", b"labels": labels, b"data": data, **{k.encode(): v for k, v in more.items()}}


def is_read(content: bytes, folder: Path) -> None:
    data = load_dataset("cifar10", write(folder, content))
    assert data.test.labels.tolist() == LABELS
    expected = PIXELS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(data.test.images.numpy(), expected)


def numpy1(value: Any, protocol: int) -> bytes:
    """Pickled as numpy 1 does, which has its functions in `numpy.core`."""
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = pickle.whichmodule
        patch.setattr(pickle, "whichmodule", lambda *found: own(*found).replace("numpy._core", "numpy.core"))
        pickle._Pickler(file, protocol).dump(value)  # type: ignore[attr-defined]
    return file.getvalue()


WRITERS: dict[str, Callable[[Any, int], bytes]] = {"numpy 2": pickle.dumps, "numpy 1": numpy1}
KINDS: dict[str, Any] = {
    "list": LABELS,
    "tuple": tuple(LABELS),
    "array": np.array(LABELS),
    "array of bytes": np.array(LABELS, np.uint8),
    "array of another byte order": np.array(LABELS, ">i4"),
    "part of an array": np.repeat(np.array(LABELS), 2)[::2],
    "numpy's numbers": list(np.array(LABELS)),
    "numpy's numbers of another byte order": list(np.array(LABELS, ">i2")),
    "arrays of no dimension": [np.array(label) for label in LABELS],
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_labels_of_every_kind_are_read_in_every_protocol(writer: str, protocol: int, tmp_path: Path) -> None:
    for number, labels in enumerate(KINDS.values()):
        is_read(WRITERS[writer](batch(labels), protocol), tmp_path / str(number))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_text_keys_and_entries_of_other_kinds_are_no_hindrance(protocol: int, tmp_path: Path) -> None:
    others: list[Any] = [
        *(np.array(["a.png", "b.png"]), np.array([b"a.png"]), np.array(["a", None], dtype=object)),
        *(np.str_("a.png"), np.float64(0.5), np.zeros((2, 3)).T, np.zeros((2, 3, 4)).transpose(2, 0, 1)),
    ]
    named = {f"other {number}": other for number, other in enumerate(others)}
    is_read(pickle.dumps(batch(**named), protocol), tmp_path / "bytes")
    text = {key.decode(): value for key, value in batch(np.array(LABELS), **named).items()}
    is_read(pickle.dumps(text, protocol), tmp_path / "text")


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "data", [np.asfortranarray(PIXELS), np.repeat(PIXELS, 2, 0)[::2]], ids=["Fortran", "rows of another"]
)
def test_pixels_in_any_order_in_memory(data: np.ndarray, protocol: int, tmp_path: Path) -> None:
    is_read(pickle.dumps(batch(data=data), protocol), tmp_path)


@pytest.mark.parametrize("kind", ["list", "array", "numpy's numbers"])
@pytest.mark.parametrize("text", [True, False])
def test_fine_labels_of_cifar100(kind: str, text: bool, tmp_path: Path) -> None:
    content = batch()
    content[b"fine_labels"], content[b"coarse_labels"] = KINDS[kind], np.zeros(ROWS, int)
    del content[b"labels"]
    for name in ("train", "test"):
        keyed: Any = {key.decode(): value for key, value in content.items()} if text else content
        (tmp_path / name).write_bytes(pickle.dumps(keyed))
    assert load_dataset("cifar100", tmp_path).train.labels.tolist() == LABELS


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([*LABELS[1:], 0.5], "'float' object"),
        (np.array(LABELS) / 2, "numbers of type f8, not whole ones"),
        (["cat"] * ROWS, "'str' object"),
        (np.array(["cat"] * ROWS), "numbers of type U3, not whole ones"),
        (np.array(LABELS, object), "numbers of type O8, not whole ones"),
        ({0: 1}, "labels are dict"),
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused(labels: Any, says: str, tmp_path: Path) -> None:
    write(tmp_path, pickle.dumps(batch(labels)))
    with pytest.raises(InputError, match=rf"data_batch_1: .* of whole numbers, found.* {says}"):
        load_dataset("cifar10", tmp_path)


GOOD = pickle.dumps(batch(KINDS["numpy's numbers"]), 2)
CODES = [
    *("_codecs encode", "__builtin__ bytes", "numpy dtype", "numpy ndarray"),
    *(
        "numpy.core.multiarray _reconstruct",
        "numpy._core.multiarray scalar",
        "numpy._core.numeric _frombuffer",
    ),
]


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    "state", [b"}Vmine\nI1\ns", b"(N}V__doc__\nI1\nst", b"(N}V__init__\nI1\nst", b"(N}V__defaults__\n)st"]
)
def test_a_file_cannot_change_what_the_next_one_is_read_with(name: str, state: bytes, tmp_path: Path) -> None:
    module, function = name.split()
    hostile = f"c{module}\n{function}\n".encode() + state + b"b."
    write(tmp_path / "hostile", hostile)
    with pytest.raises(InputError, match="data_batch_1: CIFAR python batch"):
        load_dataset("cifar10", tmp_path / "hostile")
    is_read(GOOD, tmp_path / "good")


@pytest.mark.parametrize(
    "name",
    [
        *("numpy._core.multiarray fromfile", "numpy._core.multiarray scalar.__reduce__", "numpy memmap"),
        *("numpy._core.numeric fromfunction", "numpy.core.numeric pickle", "builtins bytearray"),
        *(
            "builtins eval",
            "_codecs decode",
            "numpy.core _reconstruct",
            "numpy._core.multiarray _reconstruct.x",
        ),
    ],
)
def test_neighbours_of_what_is_known_are_refused_by_name(name: str, tmp_path: Path) -> None:
    module, function = name.split()
    write(tmp_path, f"c{module}\n{function}\n(V/etc/passwd\ntR.".encode())
    with pytest.raises(InputError, match=f"the code {module}.{function}, which was not run"):
        load_dataset("cifar10", tmp_path)


def test_out_of_band_buffers_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path, pickle.dumps(batch(), 5, buffer_callback=lambda buffer: None))
    with pytest.raises(InputError, match=r"data_batch_1: CIFAR python batch: .*out-of-band"):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("shape", [(2**40,), (ROWS, 2**61), (-1, 10**30), ("a",), 7, None], ids=str)
def test_buffers_of_another_size_than_they_say_are_refused(shape: Any, tmp_path: Path) -> None:
    class Lie:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.empty(3, np.uint8).__reduce_ex__(5)[0], (bytearray(8), np.dtype("u1"), shape, "C")

    write(tmp_path, pickle.dumps(batch(data=Lie()), 5))
    with pytest.raises(InputError, match="data_batch_1: "):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize(
    "dtype", ["u1", "O", "u1,O", b"u1", 7, ["u1"], np.dtype("O"), np.dtype("u1,O")], ids=repr
)
def test_an_array_of_a_type_that_is_not_numpy_s_or_holds_objects_is_refused(
    dtype: Any, tmp_path: Path
) -> None:
    class Lie:
        def __reduce__(self) -> tuple[Any, ...]:
            return *np.empty(0).__reduce__()[:2], (1, (3,), dtype, False, b"A" * 27)

    write(tmp_path, pickle.dumps(batch(Lie()), 2))
    with pytest.raises(InputError, match="data_batch_1: CIFAR python batch"):
        load_dataset("cifar10", tmp_path)


def test_a_small_file_cannot_fill_the_memory_with_copies_of_a_text(tmp_path: Path) -> None:
    text, call = b"V" + b"A" * 2**20 + b"\nVlatin1\n\x86q\x02", b"h\x01h\x02R"
    write(tmp_path, b"\x80\x02(c_codecs\nencode\nq\x01" + text + b"R" + call * 2000 + b"l.")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"data_batch_1: .*found a list"):  # all 2000 were read
        load_dataset("cifar10", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20


def test_a_file_of_nine_bytes_takes_no_memory(tmp_path: Path) -> None:
    write(tmp_path, b"\x80\x02Nr\0\0\0\x01.")  # a place in a memory of 2^24 objects
    tracemalloc.start()
    with pytest.raises(InputError, match=r"data_batch_1: .*found a NoneType"):
        load_dataset("cifar10", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
