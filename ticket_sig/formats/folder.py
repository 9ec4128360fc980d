"""Which files hold a model: one file, or the shards that an index names, as model hubs lay them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from ticket_sig.claim import FORMAT
from ticket_sig.errors import InputError, bad_input, some
from ticket_sig.fields import SHOWN
from ticket_sig.files import read_json
from ticket_sig.formats.kinds import folder_kind

ONE = "model.safetensors"
REFERENCE = "reference.safetensors"  # of a claim that lies in the folder: never its model
_INDEX = ".index.json"
# How libraries call the weights of a folder; the first that is there is the model.
_NAMES = (
    *(ONE, "diffusion_pytorch_model.safetensors", "adapter_model.safetensors"),
    *("pytorch_model.bin", "diffusion_pytorch_model.bin", "adapter_model.bin"),
)
_ENDINGS = (".bin", ".pt", ".pth")  # of shards, where their index does not say safetensors
_LONGEST_NAME = 255  # bytes that file systems take
_T = TypeVar("_T")


@dataclass(frozen=True)
class ModelFiles:
    """The files that hold a model.

    Attributes:
        files: with its tensors.
        folder: that they lie in; None for a file that was named itself.
        index: that names the files, if one does.
        wanted: in which file the index has each tensor.
    """

    files: tuple[Path, ...]
    folder: Path | None = None
    index: Path | None = None
    wanted: Mapping[str, str] | None = None

    def merged(self, read: Callable[[Path], Mapping[str, _T]]) -> dict[str, _T]:
        """What is read of each file, by name, in one.

        Raises:
            InputError: two files have something of one name, or files and index differ; each is named.
        """
        content: dict[str, _T] = {}
        found: dict[str, str] = {}
        for file in self.files:
            for name, one in read(file).items():
                if name in content:
                    other = f"one of {found[name][:SHOWN]}, too"
                    raise bad_input(file, name[:SHOWN], "a tensor of one file", other)
                content[name], found[name] = one, file.name
        if self.index is not None and self.wanted is not None:
            _check_index(self.index, self.wanted, found)
        return content


def files_of(path: Path) -> ModelFiles:
    """The files of a model that is named by its folder, by its index or by its one file.

    Raises:
        InputError: the folder holds no model, or two; its index is damaged, or a shard is missing.
    """
    if is_index(path):
        return _of_index(path)
    if not path.is_dir():
        return ModelFiles((path,))
    for name in _NAMES:
        one, index = path / name, path / f"{name}{_INDEX}"
        if not index.is_file():
            if one.is_file():
                return ModelFiles((one,), path)
            continue
        found = _of_index(index)
        if one.is_file() and one not in found.files:
            hint = "take away what is not the model"
            raise bad_input(path, "folder", f"{one.name} or {index.name}", "both", hint=hint)
        return found
    return _only_one(path)


def is_index(path: Path) -> bool:
    """Whether a file can only be the index of shards."""
    return path.suffix == ".json" and path.is_file()


def has_model(folder: Path) -> bool:
    """Whether a folder has weights under a name that libraries give them."""
    return any((folder / f"{name}{end}").is_file() for name in _NAMES for end in ("", _INDEX))


def folder_of(path: Path) -> Path:
    """The folder of a model that is named by its index; else the path itself.

    Raises:
        InputError: the index is not that of its folder's model.
    """
    if not is_index(path):
        return path
    files_of(path)  # that it is one
    if (own := files_of(path.parent).index) != path:
        expected = f"{own.name if own else 'none'}, that of its folder's model"
        hint = "copy it with its shards into a folder of its own"
        raise bad_input(path, "index", expected, path.name, hint=hint)
    return path.parent


def _only_one(path: Path) -> ModelFiles:
    """The model of a folder that has one under some other name, and no more than that one."""
    if len(indices := sorted(path.glob(f"*{_INDEX}"))) == 1:
        return _of_index(indices[0])
    files = sorted(file for file in path.glob("*.safetensors") if file.name != REFERENCE)
    if len(files) == 1 and not indices:
        return ModelFiles((files[0],), path)
    expected = f"a bundle (ticket.json), {ONE} or pytorch_model.bin, or the index of one and its shards"
    if kind := folder_kind(path):
        raise bad_input(path, "folder", expected, kind[0], hint=kind[1])
    names = [file.name[:SHOWN] for file in indices + files or sorted(path.iterdir())]
    hint = "name the file itself" if names else ""
    raise bad_input(path, "folder", expected, some(names) or "neither", hint=hint)


def _of_index(index: Path) -> ModelFiles:
    value = read_json(index)
    if value.get("format") == FORMAT:
        raise bad_input(index, "model", "a model file", "a claim of ticket_sig")
    wanted = value.get("weight_map")
    endings = (".safetensors",) if ".safetensors" in index.name else _ENDINGS
    expected = f"names of {' or '.join(endings)} files of its folder, by tensor"
    if not isinstance(wanted, dict) or not wanted:
        raise bad_input(index, "weight_map", expected, repr(wanted)[:SHOWN])
    if wrong := [name for name in wanted.values() if not _is_shard_name(name, endings)]:
        raise bad_input(index, "weight_map", expected, repr(wrong[0])[:SHOWN])
    names = sorted(set(wanted.values()))
    if missing := [name[:SHOWN] for name in names if not (index.parent / name).is_file()]:
        raise bad_input(index, "shards", f"{len(names)} files", f"no {some(missing)}")
    return ModelFiles(tuple(index.parent / name for name in names), index.parent, index, wanted)


def _is_shard_name(name: object, endings: tuple[str, ...]) -> bool:
    # An index from outside must not lead out of its folder, on any system, nor to a file that is no shard:
    # a copy writes claim.json and others beside its shards.
    return (
        isinstance(name, str)
        and name.endswith(endings)
        and len(name.encode()) <= _LONGEST_NAME
        and PurePosixPath(name).name == PureWindowsPath(name).name == name
    )


def _check_index(index: Path, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    problems = []
    for name in (n for n in {**wanted, **found} if wanted.get(n) != found.get(n)):
        there = f"found in {found[name][:SHOWN]}" if name in found else "not found"
        known = f"expected in {wanted[name][:SHOWN]}, {there}" if name in wanted else f"{there}, not expected"
        problems.append(f"{name[:SHOWN]}: {known}")
    if problems:
        raise InputError(f"{index}: {some(problems, '; ')}", named=True)
