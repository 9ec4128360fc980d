"""What a file is that cannot be read as a model, told by its content, and what to do about it."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

from ticket_sig.errors import InputError, bad_input

_HEAD = 512
_SAVE = "save model.state_dict() with torch.save"
_CONVERT = "load it with its own library, and save the weights as safetensors"
_DECOMPRESS, _UNPACK = "decompress it first", "unpack it first"
_EMPTY = "download or write it anew"

# How files of a kind begin: at this place these bytes.
_BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a pointer of git LFS to the file", "run git lfs pull"),
    (0, b"\x1f\x8b", "a gzip file", _DECOMPRESS),
    (0, b"BZh", "a bzip2 file", _DECOMPRESS),
    (0, b"\xfd7zXZ\x00", "an xz file", _DECOMPRESS),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", _DECOMPRESS),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a rar archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x93NUMPY", "a numpy array (.npy)", _CONVERT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras and others)", _CONVERT),
    (0, b"GGUF", "a GGUF file (llama.cpp)", "take the safetensors files that it was made of"),
    (0, b"lmgg", "a GGML file (llama.cpp)", "take the safetensors files that it was made of"),
    (4, b"TFL3", "a TensorFlow Lite model", _CONVERT),
    (4, b"ET12", "an ExecuTorch program", _SAVE),
    (0, b"\x08\x01\x12", "a TensorFlow SavedModel", _CONVERT),
)
# How a folder that another framework wrote is known: it has this file.
_FOLDERS = (
    ("saved_model.pb", "a TensorFlow SavedModel", _CONVERT),
    ("tf_model.h5", "a TensorFlow model", _CONVERT),
    ("flax_model.msgpack", "a Flax model", _CONVERT),
    ("checkpoint", "a checkpoint of TensorFlow or Orbax", _CONVERT),
    (
        ".metadata",
        "a checkpoint of torch.distributed",
        "convert it: torch.distributed.checkpoint.format_utils",
    ),
)
_TENSORFLOW_INDEX = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the last bytes of a table of LevelDB


def other_kind(path: Path, expected: str = "a safetensors or torch file") -> InputError:
    """The error for a file of another kind than expected: what it is, and what to do."""
    what, hint = _kind(path)
    return bad_input(path, "model", expected, what, hint=hint)


def kind_of_zip(path: Path) -> tuple[str, str] | None:
    """What a whole zip file is that torch.save did not write, and what to do; None for others."""
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
        names = archive.namelist()  # of a damaged one, whoever reads it will tell
        last = {name.rpartition("/")[2] for name in names}
        if "constants.pkl" in last:
            return "a TorchScript archive (torch.jit)", "save the state_dict() of torch.jit.load(...)"
        if "archive_format" in last or "serialized_exported_program.json" in last:
            return "an exported program (torch.export)", f"{_SAVE}, of the model that was exported"
        if "data.pkl" in last:
            return None
        if names and all(name.endswith(".npy") for name in names):
            return "numpy arrays (.npz)", _CONVERT
        if "model.weights.h5" in last:
            return "a Keras model (.keras)", _CONVERT
        return f"a zip archive of {', '.join(names[:3])[:80] or 'nothing'}", _UNPACK
    return None


def folder_kind(path: Path) -> tuple[str, str] | None:
    """What a folder is that another framework wrote, and what to do."""
    return next(((what, hint) for name, what, hint in _FOLDERS if (path / name).is_file()), None)


def _kind(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        end = file.seek(0, 2)
        file.seek(max(0, end - 8))
        tail = file.read(8)
    if not head:
        return "an empty file", _EMPTY
    for at, begins, what, hint in _BEGINNINGS:
        if head.startswith(begins, at):
            return what, hint
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return "a web page (HTML, XML)", "download the file itself"
    if text.startswith((b"{", b"[")):
        return "a JSON text", "name the folder or the file of the weights"
    if tail == _TENSORFLOW_INDEX:
        return "the index of a TensorFlow checkpoint", _CONVERT
    if not any(head):
        return "zeros alone", _EMPTY
    if _is_onnx(head):
        return "an ONNX model", f"{_SAVE}, of the model that was exported"
    if _is_msgpack(head):
        return "a msgpack file (Flax)", _CONVERT
    if head.startswith(b"PK"):
        return kind_of_zip(path) or ("a file of torch.save, or a damaged zip file", "")
    if head[:1] == b"\x80":
        return "a pickle that torch.save did not write", _SAVE
    return f"a file that begins with {head[:8]!r}", ""


def _is_onnx(head: bytes) -> bool:
    """Whether a protobuf message begins with ONNX's version of its own format, and then another field."""
    if len(head) < 3 or head[0] != 0x08:
        return False
    return 3 <= head[1] < 64 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42")


def _is_msgpack(head: bytes) -> bool:
    """Whether it is a map of msgpack that begins with a name."""
    names = {b"\xde": 3, b"\xdf": 5}.get(head[:1], 1)
    first = head[names : names + 1]
    return (head[:1] in (b"\xde", b"\xdf") or 0x81 <= head[0] <= 0x8F) and (
        b"\xa1" <= first <= b"\xbf" or first in (b"\xd9", b"\xda")
    )
