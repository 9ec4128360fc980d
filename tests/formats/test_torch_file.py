"""Files of torch.save are read without running code; damaged ones are refused, in one line."""

from __future__ import annotations

import argparse
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.damage import RUN_CODE, RunsCode, damages, flip
from support.tickets import small_state
from support.user_net import UserNet

from ticket_sig import InputError, load
from ticket_sig.formats.torch_file import read_torch

ZIP_AND_LEGACY = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def write(path: Path, content: Any, zipped: bool) -> Path:
    """Saves as users do, in today's format or in that of torch before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@ZIP_AND_LEGACY
def test_code_beside_the_weights_is_named_and_not_run(zipped: bool, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    file = write(tmp_path / "model.pt", {"state_dict": small_state(), "more": RunsCode(proof)}, zipped)
    assert load(file).passed_over == (RUN_CODE,)
    assert not proof.exists()
    torch.load(file, weights_only=False)  # it would have run
    assert proof.exists()


@pytest.mark.parametrize("name", ["code.pkl", "model.pt"])
def test_a_bare_pickle_is_not_run(name: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (tmp_path / name).write_bytes(pickle.dumps(RunsCode(proof)))
    with pytest.raises(InputError, match=name):
        load(tmp_path / name)
    assert not proof.exists()


@ZIP_AND_LEGACY
def test_a_whole_module_is_refused_with_what_to_do(zipped: bool, tmp_path: Path) -> None:
    file = write(tmp_path / "model.pt", UserNet(), zipped)
    with pytest.raises(InputError, match=r"user_net\.UserNet, which was not run; save model\.state_dict\(\)"):
        load(file)


@ZIP_AND_LEGACY
def test_what_scripts_leave_beside_tensors_is_passed_over(zipped: bool, tmp_path: Path) -> None:
    content = {
        "args": argparse.Namespace(lr=0.1, sizes=[1, 2], nested=argparse.Namespace(on=True)),
        "counts": Counter([91, 136, 136]),
        "numpy": [np.float64(1.5), np.float32(0.5), np.float16(2), np.int64(-3), np.uint8(4), np.bool_(True)],
        "plain": (1, 1.5, "text", None, True, b"bytes", {1, 2}, 1j, [torch.Size([1, 2]), torch.float16]),
    }
    read = read_torch(write(tmp_path / "model.pt", {**content, "model": small_state()}, zipped))
    assert {name: tuple(t.shape) for name, t in read.content["model"].items()} == {
        name: tuple(t.shape) for name, t in small_state().items()
    }
    assert read.passed_over[0] == "argparse.Namespace"


@ZIP_AND_LEGACY
@pytest.mark.parametrize("kind", ["tensors", "objects"])
def test_damaged_files_are_refused_or_still_read(zipped: bool, kind: str, tmp_path: Path) -> None:
    objects = {"args": argparse.Namespace(lr=0.1), "best": np.float64(1.5), "counts": Counter([1])}
    content = small_state() if kind == "tensors" else {"state_dict": small_state(), **objects}
    data = write(tmp_path / "whole.pt", content, zipped).read_bytes()
    file = tmp_path / "damaged.pt"
    for what, damaged in damages(data, seed=len(data), flips=400):
        file.write_bytes(damaged)
        try:
            load(file)
        except InputError as error:
            assert str(error).startswith(f"{file}: "), what
            assert "\n" not in str(error), what
            # PyTorch's own text advises to read the file in the way that would run its code.
            assert "weights_only" not in str(error), what
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")


@ZIP_AND_LEGACY
def test_every_cut_is_noticed(zipped: bool, tmp_path: Path) -> None:
    data = write(tmp_path / "whole.pt", small_state(), zipped).read_bytes()
    file = tmp_path / "cut.pt"
    for length in [*range(40), *range(40, len(data), 23), len(data) - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.pt"):
            load(file)


def test_a_bit_flipped_in_a_zip_file_s_weights_is_noticed(tmp_path: Path) -> None:
    """The format has a checksum for every tensor; a model read with other weights would be no evidence."""
    weights = small_state()
    file = write(tmp_path / "model.pt", weights, True)
    data = file.read_bytes()
    at = data.index(weights["a.weight"].numpy().tobytes())
    for byte in (0, 17, 100):
        file.write_bytes(flip(data, 8 * (at + byte) + 3))
        with pytest.raises(InputError, match=r"model\.pt: .*damaged"):
            load(file)


def test_a_zip_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", a=np.ones(3))
    with pytest.raises(InputError, match=r"model\.npz: .* found numpy arrays \(\.npz\)"):
        load(tmp_path / "model.npz")
