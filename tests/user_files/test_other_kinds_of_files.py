"""People name whole files that hold no state dict: exported programs, archives, pointers, other formats."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import could_not, done, run
from support.user_net import UserNet

from ticket_sig import InputError, load
from ticket_sig.formats import open_weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1094304\n"


def _saved() -> bytes:
    file = io.BytesIO()
    torch.save(UserNet().state_dict(), file)
    return file.getvalue()


def _scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(UserNet().eval(), torch.zeros(1, 1, 8, 8)), path)


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"))


def _zip(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, _saved())

    return write


def _of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


KINDS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "pointer": (_of(POINTER.encode()), "a pointer of git LFS", "git lfs pull"),
    "page": (_of(b"<!DOCTYPE html><html>Virus scan warning"), "a web page", "download the file"),
    "error page": (_of(b'<?xml version="1.0"?><Error>NoSuchKey</Error>'), "a web page", "download the file"),
    "answer": (_of(b'{"error": "not found"}'), "a JSON text", "name the"),
    "nothing": (_of(b""), "an empty file", "download"),
    "zeros": (_of(bytes(5000)), "zeros alone", "download"),
    "gzip": (_of(gzip.compress(_saved())), "a gzip file", "decompress"),
    "bzip2": (_of(bz2.compress(_saved())), "a bzip2 file", "decompress"),
    "xz": (_of(lzma.compress(_saved())), "an xz file", "decompress"),
    "zstd": (_of(b"\x28\xb5\x2f\xfd\x04\x00"), "a zstd file", "decompress"),
    "7z": (_of(b"7z\xbc\xaf\x27\x1c\x00\x04"), "a 7z archive", "unpack"),
    "rar": (_of(b"Rar!\x1a\x07\x01\x00"), "a rar archive", "unpack"),
    "tar": (_tar, "a tar archive", "unpack"),
    "zip": (_zip("runs/model.pt", "notes.txt"), "a zip archive of runs/model.pt, notes.txt", "unpack"),
    "keras": (_zip("config.json", "model.weights.h5"), "a Keras model", "safetensors"),
    "scripted": (_scripted, "a TorchScript archive", "state_dict()"),
    "exported": (
        _zip("m/models/model.json", "m/archive_format"),
        "an exported program (torch.export)",
        "state_dict()",
    ),
    "old export": (_zip("serialized_exported_program.json"), "an exported program", "state_dict()"),
    "executorch": (_of(b"\x1c\x00\x00\x00ET12\x00"), "an ExecuTorch program", "state_dict()"),
    "onnx": (_of(b"\x08\x08\x12\x07pytorch\x1a\x052.6.0"), "an ONNX model", "state_dict()"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.ones(3)), "numpy arrays (.npz)", "safetensors"),
    "npy": (lambda path: np.save(path.open("wb"), np.ones(3)), "a numpy array (.npy)", "safetensors"),
    "hdf5": (_of(b"\x89HDF\r\n\x1a\n\x00"), "an HDF5 file", "safetensors"),
    "gguf": (_of(b"GGUF\x03\x00\x00\x00"), "a GGUF file", "safetensors"),
    "tflite": (_of(b"\x1c\x00\x00\x00TFL3\x00"), "a TensorFlow Lite model", "safetensors"),
    "saved model": (_of(b"\x08\x01\x12\x9b\x02\x0a"), "a TensorFlow SavedModel", "safetensors"),
    "tf index": (
        _of(b"\x00" * 9 + b"x\x57\xfb\x80\x8b\x24\x75\x47\xdb"),
        "the index of a TensorFlow checkpoint",
        "safetensors",
    ),
    "msgpack": (_of(b"\x81\xa6params\x82\xa6Conv_0\x81"), "a msgpack file (Flax)", "safetensors"),
    "pickle": (_of(pickle.dumps({"weights": np.ones(3)})), "a pickle that torch.save did not", "torch.save"),
    "text": (_of(b"Dear reader"), "a file that begins with b'Dear rea'", ""),
}


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_named_and_what_to_do(kind: str, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"model{ending}"
    write, what, hint = KINDS[kind]
    write(file)
    said = run(["inspect", file])
    could_not(said, f"{file}: model: expected a safetensors or torch file, found {what}", hint)
    assert "damaged" not in said.err
    for read in (load, open_weights):
        with pytest.raises(InputError, match="expected a safetensors or torch file"):
            read(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pt")
    could_not(run(["inspect", tmp_path / "x.pt"]), "expected a bundle, a .safetensors or a torch file")


def test_a_cut_file_of_torch_is_damaged_and_no_other_kind(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(_saved()[:-100])
    could_not(run(["inspect", tmp_path / "x.pt"]), "torch file: expected a whole file, found a damaged one")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("saved_model.pb", "a TensorFlow SavedModel"),
        ("flax_model.msgpack", "a Flax model"),
        ("tf_model.h5", "a TensorFlow model"),
        (".metadata", "a checkpoint of torch.distributed; convert it"),
    ],
)
def test_a_folder_of_another_framework_is_named(file: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).write_bytes(b"\x08\x01")
    could_not(run(["inspect", tmp_path]), "folder: expected a bundle", f"found {what}")


def test_values_are_read_in_a_torch_file_whatever_its_name(tmp_path: Path) -> None:
    torch.save({n: torch.randn(40, 30) for n in ("a", "b")}, tmp_path / "dense.pt")
    claim = tmp_path / "out" / "claim.json"
    done(["embed", tmp_path / "dense.pt", "--mark", "freezenet", "--length", 300, "--out", claim.parent])
    marked = dict(load(claim.parent).ticket.weights)
    torch.save(marked, tmp_path / "named.safetensors")
    assert run(["verify", tmp_path / "named.safetensors", "--claim", claim]).code == 0
    (tmp_path / "named.safetensors").write_text(POINTER)
    could_not(run(["verify", tmp_path / "named.safetensors", "--claim", claim]), "git LFS")
    done(["embed", tmp_path / "dense.pt", "--mark", "uchida", "--out", tmp_path / "bits"])
    torch.save(dict(load(tmp_path / "bits").ticket.weights), tmp_path / "named.safetensors")
    said = run(["verify", tmp_path / "named.safetensors", "--claim", tmp_path / "bits" / "claim.json"])
    assert said.code in (0, 1) and "uchida" in said.out
