"""Safetensors files: any tensors go in and come out, the same bytes each time, and damage is named."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import damages
from support.disk import file_size_limit
from support.tickets import small_state
from torch import Tensor, nn

from ticket_sig import InputError, load
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors

few = settings(deadline=None, max_examples=40)
DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool"]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1) if t.ndim else t,
    "part of a larger one": lambda t: torch.stack([t, t])[1],
    "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    "expanded": lambda t: t[:1].expand(t.shape) if t.ndim and t.numel() else t,
    "parameter": lambda t: nn.Parameter(t, requires_grad=t.is_floating_point()),
}


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    """Named tensors of any type, shape and layout; some share memory."""
    out: dict[str, Tensor] = {}
    for name in draw(st.lists(st.text(max_size=12), unique=True, max_size=5)):
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        values = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(len(out)))
        tensor = values.to(getattr(torch, draw(st.sampled_from(DTYPES))))
        out[name] = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](tensor)
        if draw(st.booleans()):
            out[f"{name} again"] = out[name]
    return out


@few
@given(content=tensors())
def test_what_is_written_is_read_by_us_and_by_anybody(content: dict[str, Tensor]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        write_safetensors(file, content)
        for read in (read_safetensors(file), safetensors.torch.load_file(file)):
            assert read.keys() == content.keys()
            for name, tensor in content.items():
                assert read[name].dtype == tensor.dtype
                assert read[name].shape == tensor.shape
                assert torch.equal(read[name], tensor)


@few
@given(content=tensors(), metadata=st.none() | st.text())
def test_the_same_tensors_give_the_same_bytes(content: dict[str, Tensor], metadata: str | None) -> None:
    with TemporaryDirectory() as folder:
        files = Path(folder) / "a", Path(folder) / "b"
        for file in files:
            write_safetensors(file, content, metadata)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert read_metadata(files[0]).get("ticket_sig") == metadata


def test_damaged_files_are_refused_or_still_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "whole", small_state(), json.dumps({"step": 3}))
    file = tmp_path / "damaged.safetensors"
    for what, damaged in damages((tmp_path / "whole").read_bytes(), seed=3, flips=300):
        file.write_bytes(damaged)
        for read in (lambda: load(file).ticket.weights, lambda: read_safetensors(file)):
            try:
                read()
            except InputError as error:
                assert str(error).startswith(f"{file}: "), what
                assert "\n" not in str(error), what
            except Exception as error:
                pytest.fail(f"{what}: {type(error).__name__}: {error}")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "whole", small_state())
    data = (tmp_path / "whole").read_bytes()
    file = tmp_path / "cut.safetensors"
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors: safetensors: expected a whole file"):
            read_safetensors(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone: file: expected a safetensors file, found none"):
        read_safetensors(tmp_path / "gone")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_safetensors(file, small_state())
    before = file.read_bytes()
    with file_size_limit(2000), pytest.raises(OSError, match="File too large") as error:
        write_safetensors(file, {"large": torch.ones(10_000)})
    assert error.value.errno == errno.EFBIG
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
