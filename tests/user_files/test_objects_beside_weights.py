"""Training scripts keep random states, arrays, paths, dates and objects of their own beside the weights."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import io
import os
import pathlib
import pickle
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import could_not, read_json, run
from support.damage import RUN_CODE, RunsCode
from support.signed import assert_verified, signed_weights
from support.user_net import UserNet

from ticket_sig import InputError, load
from ticket_sig.formats.pickled import Notes


class Own:
    """A class of the user's training script."""

    def __init__(self) -> None:
        self.rate, self.history = 0.1, [1, 2]


class OwnDict(dict[str, Any]):
    """As configurations often are."""


class OwnList(list[Any]):
    """As logs often are."""


class OwnTensor(torch.Tensor):
    """A subclass that adds nothing to the values."""


class Colour(enum.Enum):
    RED = 1


class Slotted:
    """State in slots, restored by attribute."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class _Wrapped:
    """What a quantisation library saves for a tensor: a function of its own, and the parts."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return Own, (self.tensor, 0.5)


BESIDE: dict[str, Any] = {
    "numpy": [np.random.default_rng(1), np.arange(3.0), np.float32(1), np.str_("x"), np.array(["a"], object)],
    "legacy numpy": [np.random.RandomState(1), np.random.RandomState(1).get_state()],
    "containers": [collections.defaultdict(list, a=[1]), collections.deque([1]), {1}, frozenset([2])],
    "named": [collections.Counter("aab"), types.SimpleNamespace(lr=0.1), argparse.Namespace(lr=0.1)],
    "numbers": [slice(1), range(3), 1j, b"x", bytearray(b"x"), 2**100, float("nan"), True, None],
    "times": [datetime.datetime(2024, 5, 1), datetime.timedelta(1), pathlib.PurePosixPath("/runs/7")],
    "torch": [torch.__version__, torch.Size([1]), torch.device("cpu"), torch.float16, torch.get_rng_state()],
    "functions": [functools.partial(max, 1), os.getcwd, len],
    "own": [Own(), OwnDict(a=1), OwnList([1]), Colour.RED, Slotted(), {Colour.RED: 1, (1, (2, 3)): 4}],
    "a whole optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]),
    "a whole network": UserNet(),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_weights_are_verified_whatever_lies_beside(protocol: int, zipped: bool, tmp_path: Path) -> None:
    content = {"epoch": 3, "state_dict": signed_weights(), **BESIDE, "code": RunsCode(tmp_path / "proof")}
    torch.save(content, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert_verified(tmp_path / "x.pt")
    assert not (tmp_path / "proof").exists()
    read = load(tmp_path / "x.pt")
    assert all(torch.equal(read.ticket.weights[n], t) for n, t in signed_weights().items())
    for name in (RUN_CODE, f"{__name__}.Own", "datetime.datetime", "support.user_net.UserNet"):
        assert name in read.passed_over
    assert not {"builtins.set", "collections.OrderedDict", "torch.FloatStorage"} & {*read.passed_over}


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, OwnDict])
def test_a_state_dict_may_be_of_any_kind_of_mapping(kind: Callable[[Any], Any], tmp_path: Path) -> None:
    torch.save(OwnDict(model=kind(signed_weights())), tmp_path / "x.pt")
    assert_verified(tmp_path / "x.pt")


def test_inspect_says_what_was_passed_over(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2), "more": RunsCode(tmp_path / "proof")}, tmp_path / "x.pt")
    assert f"passed over, not run: {RUN_CODE}\n" in run(["inspect", tmp_path / "x.pt"]).out
    assert read_json(run(["inspect", tmp_path / "x.pt", "--json"]))["passed_over"] == [RUN_CODE]
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "x.pt")
    assert "passed over" not in run(["inspect", tmp_path / "x.pt"]).out


def test_what_adds_nothing_to_the_values_of_a_tensor_is_passed_over_alone(tmp_path: Path) -> None:
    with_attribute = torch.nn.Parameter(torch.ones(3, 2))
    with_attribute.note = Own()  # type: ignore[attr-defined]
    state = {"a.weight": torch.ones(2, 2).as_subclass(OwnTensor), "b.weight": with_attribute}
    torch.save(state, tmp_path / "x.pt")
    read = load(tmp_path / "x.pt")
    assert {n: tuple(t.shape) for n, t in read.ticket.weights.items()} == {
        "a.weight": (2, 2),
        "b.weight": (3, 2),
    }
    assert f"{__name__}.OwnTensor" in read.passed_over


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: _Wrapped(torch.ones(2, 2)), rf"the code {__name__}\.Own, which was not run"),
        (lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), "a quantized one"),
        (lambda: torch.ones(2, 2, device="meta"), "one without values"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested one"),
    ],
    ids=["function", "quantized", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_cannot_be_read_is_named_and_not_left_out(
    make: Callable[[], Any], found: str, tmp_path: Path
) -> None:
    odd = make()
    torch.save({"a.weight": torch.ones(2, 2), "fc.weight": odd}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=rf"fc\.weight: expected a dense tensor in memory, found {found}"):
        load(tmp_path / "x.pt")
    torch.save({"state_dict": {"a.weight": torch.ones(2, 2)}, "ema": odd}, tmp_path / "x.pt")
    assert list(load(tmp_path / "x.pt").ticket.weights) == ["a.weight"]


def test_a_network_in_place_of_its_state_dict_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": UserNet()}, tmp_path / "x.pt")
    said = run(["inspect", tmp_path / "x.pt"])
    could_not(
        said,
        "x.pt: model: ",
        "found the code support.user_net.UserNet, which was not run; save model.state_dict()",
    )


def test_a_state_dict_of_python_2_is_read(tmp_path: Path) -> None:
    """It wrote an ordered mapping as a list of pairs, under the names that modules had then."""

    class _AsPython2(pickle._Pickler):  # type: ignore[name-defined,misc]
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is collections.OrderedDict:
                return collections.OrderedDict, ([[k, v] for k, v in obj.items()],)
            return NotImplemented

    module = types.SimpleNamespace(
        __name__="pickle2", Pickler=_AsPython2, dump=lambda o, f, protocol: _AsPython2(f, protocol).dump(o)
    )
    state = collections.OrderedDict(signed_weights())
    torch.save(state, tmp_path / "x.pt", pickle_module=module, _use_new_zipfile_serialization=False)
    assert_verified(tmp_path / "x.pt")


HOSTILE = {
    "a call of code": b"cposix\nmkdir\nX\x05\x00\x00\x00PROOF\x85R",
    "code by its two names": b"\x8c\x05posix\x8c\x05mkdir\x93\x8c\x05PROOF\x85R",
    "an attribute of code": b"cbuiltins\ngetattr\ncos\nos\nX\x01\x00\x00\x00a\x86R)R",
    "an object of a class made on the way": b"cbuiltins\ntype\n(tR)\x81",
    "state put into a class": b"cfoo\nbar\nN}X\x04\x00\x00\x00codeX\x01\x00\x00\x00xs\x86b",
    "an old object of such a class": b"(cbuiltins\ntype\n(tRK\x01o",
    "a name of bytes that code would make": b"X\x07\x00\x00\x00storageN)\x85\x87Q",
    "a list that holds itself": b"]q\x07h\x07a",
    "a key of nested tuples": b"}" + b")" + b"\x85" * 70_000 + b"K\x01s",
    "nested mappings": b"}X\x01\x00\x00\x00a" * 3000 + b"}" + b"s" * 3000,
    "a memory of 2^31 objects": b"Nr\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects_beside_the_weights_are_passed_over(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": signed_weights()}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        parts = {one: archive.read(one) for one in archive.namelist()}
    (main,) = (one for one in parts if one.endswith("data.pkl"))
    # Before the end of the mapping: one more entry.
    hostile = HOSTILE[name].replace(b"PROOF", str(tmp_path)[:5].encode())
    parts[main] = parts[main][:-1] + b"X\x04\x00\x00\x00more" + hostile + b"s."
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for one, data in parts.items():
            archive.writestr(one, data)
    assert_verified(tmp_path / "x.pt")


def test_nothing_of_a_pickle_is_looked_up_and_nothing_outlives_it() -> None:
    pickled = b"\x80\x02cnot.a.module\nname\nN}X\x04\x00\x00\x00argsK\x07s\x86b)R."
    read = [Notes(io.BytesIO(pickled)).load() for _ in range(2)]
    assert type(read[0]) is not type(read[1]) and read[0].code == "not.a.module.name"


@pytest.mark.parametrize("length", [2**40, 2**62])
def test_a_length_beyond_the_file_is_no_lack_of_memory(length: int, tmp_path: Path) -> None:
    for code in (b"\x8e", b"\x96", b"\x8d", b"\x95"):
        (tmp_path / "x.pt").write_bytes(b"\x80\x05" + code + length.to_bytes(8, "little") + b"x.")
        with pytest.raises(InputError, match=r"x\.pt: "):
            load(tmp_path / "x.pt")


def test_records_that_lie_over_each_other_are_read_once_at_most(tmp_path: Path) -> None:
    """A file of a few bytes must not stand for tensors of many."""
    torch.save({f"{i}": torch.ones(1000) * i for i in range(20)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        parts = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for one, data in parts.items():
            archive.writestr(one, data)
    with pytest.raises(InputError, match=r"x\.pt: torch file: .*compressed"):
        load(tmp_path / "x.pt")
