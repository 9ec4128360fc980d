"""Files written by `torch.save`, zip or legacy, read without running any code that may be in them."""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.dense import SPARSE, Unread, odd_tensor, read_as
from ticket_sig.formats.kinds import kind_of_zip, other_kind
from ticket_sig.formats.pickled import Kept, Noted, Notes, called, entries_of, name_of

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a legacy file
_DTYPES = {str(d): d for d in vars(torch).values() if isinstance(d, torch.dtype)}  # "torch.float32"
# Old names of types: those of the storages.
_STORAGES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "ComplexDoubleStorage": torch.complex128},
    **{"ComplexFloatStorage": torch.complex64, "UntypedStorage": torch.uint8, "QUInt8Storage": torch.uint8},
    **{"QInt8Storage": torch.int8, "QInt32Storage": torch.int32},
}
_DENSE = tuple(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))
# Of these, the first argument is the tensor.
_AROUND = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
)
_SUBCLASS = ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type")
_SPARSE, _LAYOUT = "torch._utils._rebuild_sparse_tensor", "torch.serialization._get_layout"
_ODD = {
    "torch._utils._rebuild_qtensor": "a quantized one",
    "torch._utils._rebuild_meta_tensor_no_storage": "one without values",
    "torch._utils._rebuild_nested_tensor": "a nested one",
}
# Containers and numbers, of which nobody needs to be told.
_PLAIN = {
    *(*_DENSE, *_AROUND, *_SUBCLASS, _SPARSE, _LAYOUT, *_ODD, *_DTYPES),
    *("_codecs.encode", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
    *("collections.deque", "torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter"),
    *(
        f"builtins.{n}"
        for n in ("set", "frozenset", "complex", "bytearray", "slice", "range", "list", "dict")
    ),
}
_TENSORS = {*_DENSE, *_AROUND, *_SUBCLASS, _SPARSE, *_ODD}
_MOST_SEARCHED = 20_000_000  # parts of other objects that are looked at to see whether they hold a tensor
_MOST_ARGUMENTS = 16  # of the code of a tensor


@dataclass(frozen=True)
class TorchContent:
    """What a file holds.

    Attributes:
        content: mappings as dicts and tensors on the CPU; `Unread` for tensors that cannot be read. Lists and
            other objects stand for nothing.
        passed_over: the code that was not run, by name.
    """

    content: Any
    passed_over: tuple[str, ...]


def looks_like_torch(head: bytes) -> bool:
    """Whether a file that begins with these bytes was written by `torch.save` (zip or legacy pickle)."""
    return head[:2] == b"PK" or head[:1] == b"\x80"


def read_torch(path: Path) -> TorchContent:
    """Returns what `torch.save` wrote. Objects beside the tensors are passed over; nothing is run.

    Raises:
        InputError: cut short or damaged; or its content is itself an object of some code (a whole
            `nn.Module`, or an attack), which is named and never run.
    """
    if kind_of_zip(path):
        raise other_kind(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
            file.seek(0)
            return _read_zip(path, file) if zipped else _read_legacy(path, file)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        raise bad_input(path, "torch file", "a whole file", _damaged(error)) from None


def _damaged(error: Exception) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return f"a damaged one ({text[:160]})"


def _read_zip(path: Path, file: IO[bytes]) -> TorchContent:
    size = path.stat().st_size
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        main = [name for name in names if name.endswith("/data.pkl")]
        if len(main) != 1 or len(set(names)) != len(names):
            raise ValueError("not one data.pkl, or a name twice")
        root = main[0].removesuffix("data.pkl")

        def read(key: str) -> Tensor:
            return _record(archive, f"{root}{key}", size)

        notes = Notes(io.BytesIO(read("data.pkl").numpy().tobytes()), size)
        noted = notes.load()
        order = read("byteorder").numpy().tobytes().decode() if f"{root}byteorder" in names else "little"
        return _content(path, noted, notes, _Tensors(lambda key: read(f"data/{key}"), order, size))


def _record(archive: zipfile.ZipFile, name: str, most: int) -> Tensor:
    """The bytes of a record, uint8; their checksum is checked, which torch itself does not do."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name}: compressed, or larger than the file")
    with archive.open(info) as part:
        return _filled(part, info.file_size)


def _filled(file: IO[bytes], size: int) -> Tensor:
    """Reads so many bytes, uint8."""
    found = torch.empty(size, dtype=torch.uint8)
    array, done = found.numpy(), 0
    while part := file.read(min(1 << 22, size - done)):
        array[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if done < size:
        raise EOFError(f"{done} of {size} bytes")
    return found


def _read_legacy(path: Path, file: IO[bytes]) -> TorchContent:
    if Notes(file).load() != MAGIC:
        raise other_kind(path)
    Notes(file).load()  # the version of the format
    system = entries_of(Notes(file).load()) or {}
    size, places = path.stat().st_size, {}
    notes = Notes(file, size)
    noted, keys = notes.load(), Notes(file).load()
    sizes = {one.key: _storage_type(one).itemsize for one in notes.kept}
    for key in map(str, keys):
        length = int.from_bytes(file.read(8), "little") * sizes[key]
        places[key] = file.tell(), length
        if file.seek(length, 1) > size:
            raise EOFError(f"{size} bytes")

    def read(key: str) -> Tensor:
        start, length = places[key]
        file.seek(start)
        return _filled(file, length)

    order = "little" if system.get("little_endian", True) else "big"
    return _content(path, noted, notes, _Tensors(read, order, size))


def _content(path: Path, noted: Any, notes: Notes, tensors: _Tensors) -> TorchContent:
    content = tensors.plain(noted)
    if isinstance(content, Noted):
        content = _not_run(content)
    if isinstance(content, Unread):
        raise bad_input(path, "pickle", "tensors alone", content.found)
    passed = [c for c in notes.codes if c not in _PLAIN and c.rpartition(".")[2] not in _STORAGES]
    return TorchContent(content, tuple(passed))


class _Tensors:
    """Makes tensors of the records of a pickle; each is checked against the bytes that are there.

    Args:
        read: the bytes of a storage, by key.
        order: of the bytes of a number, "little" or "big".
        most: bytes of all storages: those of a hostile zip file may lie over each other.
    """

    def __init__(self, read: Callable[[str], Tensor], order: str, most: int) -> None:
        self._read, self._swapped, self._left = read, order != sys.byteorder, most
        self._bytes: dict[str, Tensor] = {}
        self._made: dict[int, Any] = {}
        self._to_search = _MOST_SEARCHED

    def plain(self, root: Any) -> Any:
        """Mappings as dicts, tensors as such; of any depth, so without recursion."""
        left: list[tuple[dict[Any, Any], dict[Any, Any]]] = []

        def one(value: Any) -> Any:
            if id(value) not in self._made:
                entries = entries_of(value)
                self._made[id(value)] = {} if entries is not None else self._leaf(value)
                if entries is not None:
                    left.append((self._made[id(value)], entries))
            return self._made[id(value)]

        made = one(root)
        while left:
            target, entries = left.pop()
            target.update((key, one(value)) for key, value in entries.items())
        return made

    def _leaf(self, value: Any) -> Any:
        """A tensor, or why it cannot be read; anything else as it is."""
        if not isinstance(value, Noted) or not (value.code in _TENSORS or self._holds_storage(value)):
            return value
        try:
            return self._tensor(value)
        except MemoryError:
            raise
        except Exception as error:
            return Unread(_damaged(error))

    def _holds_storage(self, value: Any) -> bool:
        """Whether there is a tensor's memory anywhere in an object, as far as it is looked at."""
        left, seen = [value], set[int]()
        while left and self._to_search > 0:
            one = left.pop()
            if isinstance(one, Kept):
                return True
            if id(one) not in seen:
                seen.add(id(one))
                parts = [one.args, one.state, *one.entries.values()] if isinstance(one, Noted) else one
                self._to_search -= 1 + len(parts)
                left += [part for part in parts if isinstance(part, Noted | Kept | tuple | list)]
        return False

    def _tensor(self, noted: Noted) -> Tensor | Unread:
        code, args = noted.code, noted.args[:_MOST_ARGUMENTS]
        if code in _AROUND:
            return self._tensor(args[0])
        if code in _SUBCLASS:  # function, class, arguments: the values of a subclass are read as they are
            return self._tensor(called(args[0], args[2]))
        if code in _DENSE:
            if any(args[6:] if code != _DENSE[2] else args[7:]):
                return Unread("one with a sign or a conjugation to be applied")
            dtype = _DTYPES[name_of(args[6])] if code == _DENSE[2] else _storage_type(args[0])
            return self._strided(args[0], dtype, _whole(args[1]), _sizes(args[2]), _sizes(args[3]))
        if code == _SPARSE:
            return self._sparse(args[0], args[1])
        return Unread(_ODD[code]) if code in _ODD else _not_run(noted)

    def _strided(
        self, kept: Kept, dtype: torch.dtype, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> Tensor:
        flat = self._storage(kept, dtype)
        offset += _whole(kept.start)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if all(shape) and last >= len(flat):
            raise ValueError(f"{last + 1} entries or more expected, {len(flat)} found")
        return flat.as_strided(shape, stride, offset) if all(shape) else flat.new_empty(shape)

    def _storage(self, kept: Kept, dtype: torch.dtype) -> Tensor:
        if kept.key not in self._bytes:
            if self._left < 0:
                raise ValueError("more bytes of tensors than the file has")
            read = self._read(kept.key)
            self._left -= len(read)
            if self._swapped:
                read = read.view(-1, dtype.itemsize // (2 if dtype.is_complex else 1)).flip(1).flatten()
            self._bytes[kept.key] = read
        found = self._bytes[kept.key]
        return found[: len(found) // dtype.itemsize * dtype.itemsize].view(dtype)

    def _sparse(self, layout: Any, data: Any) -> Tensor:
        """Checked by torch: indices that lie in the tensor, as many as there are values."""
        kind = next(one for one in SPARSE if layout.args == (str(one),))
        count = 2 if kind == torch.sparse_coo else 3
        parts: list[Any] = [self._tensor(one) for one in data[:count]]
        if any(map(odd_tensor, parts)):
            raise ValueError("parts that are no dense tensors")
        shape, values = _sizes(data[count]), parts[-1].to(read_as(parts[-1].dtype))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == torch.sparse_coo:
                return torch.sparse_coo_tensor(parts[0], values, shape, check_invariants=True)
            return torch.sparse_compressed_tensor(
                parts[0], parts[1], values, shape, layout=kind, check_invariants=True
            )


def _not_run(noted: Noted) -> Unread:
    return Unread(f"the code {name_of(noted)}, which was not run; save model.state_dict() instead")


def _storage_type(kept: Kept) -> torch.dtype:
    return _STORAGES[kept.code.rpartition(".")[2]]


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError("no size")
    return value


def _sizes(value: Any) -> tuple[int, ...]:
    """A shape or strides: a tuple, or torch's own type of it."""
    if name_of(value) == "torch.Size":
        value = value.args[0]
    if not isinstance(value, tuple | list) or len(value) > 64:
        raise ValueError("no sizes")
    return tuple(_whole(one) for one in value)
