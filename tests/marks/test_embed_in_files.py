"""A mark in a copy of any model file: it verifies, and all else stays what it was."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.disk import content, file_size_limit, full_disk
from support.shards import FLOATS, weights, write_shards
from torch import Tensor

from ticket_sig import Claim, InputError, Mask, Ticket, Watermark, embed, load, save, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.formats import open_weights
from ticket_sig.formats.weights import Shards, tensors_of
from ticket_sig.marks import marks_of
from ticket_sig.marks.embed import options_of_each
from ticket_sig.marks.embed_in_files import Written, embed_in_files
from ticket_sig.marks.freezenet.derive import Fixed
from ticket_sig.marks.freezenet.reading import Matches
from ticket_sig.marks.freezenet.watermark import FreezeNetOptions
from ticket_sig.models import build


def as_shards(folder: Path, tensors: dict[str, Tensor]) -> Path:
    return write_shards(folder / "model", tensors)


def as_file(folder: Path, tensors: dict[str, Tensor]) -> Path:
    safetensors.torch.save_file(tensors, folder / "net.safetensors")
    return folder / "net.safetensors"


def as_torch(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": tensors}, folder / "net.pt")
    return folder / "net.pt"


def as_bundle(folder: Path, tensors: dict[str, Tensor]) -> Path:
    return save(Ticket(weights=tensors, mask=Mask.of_zeros(tensors)), folder / "bundle")


KINDS = [as_shards, as_file, as_torch, as_bundle]
Write = Callable[[Path, dict[str, Tensor]], Path]


DATA = b"nobody guesses this"


def marked(
    path: Path, out: Path, length: int = 500, data: bytes = DATA, scale: str = "unit", **how: Any
) -> Written:
    options = FreezeNetOptions(length=length, scale=scale)
    return embed_in_files(path, out, {"freezenet": options}, secret=data, **how)


def fixed_in(out: Path, made: Written) -> dict[str, Fixed]:
    assert isinstance(made.mark, Watermark)
    return dict(made.mark.fixed_in(open_weights(out)))


def matches(made: Written) -> Matches:
    assert isinstance(made.reading, Matches)
    return made.reading


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("write", KINDS)
def test_a_marked_copy_of_any_kind_and_type_verifies(write: Write, dtype: str, tmp_path: Path) -> None:
    before = weights(getattr(torch, dtype))
    made = marked(write(tmp_path, before), tmp_path / "out")
    fixed = fixed_in(tmp_path / "out", made)
    assert matches(made).whole and matches(made).length == sum(len(f.places) for f in fixed.values()) == 500
    claim = Claim.read(tmp_path / "out" / "claim.json")
    assert claim.to_json() == made.claim.to_json()
    assert stat.S_IMODE((tmp_path / "out" / "claim.json").stat().st_mode) == 0o600, "it holds the data"
    after = open_weights(tmp_path / "out")
    assert verify(after, claim).verified
    assert claim.subject == tensor_digest(tensors_of(after))
    for name, tensor in before.items():
        same = after.tensor(name) == tensor
        places = fixed[name].places if name in fixed else np.zeros(0, dtype=np.int64)
        same.view(-1)[torch.from_numpy(places)] = True
        assert same.all() and after.dtypes[name] == tensor.dtype


@pytest.mark.parametrize("scale", ["unit", "layer", "legacy"])
def test_every_kind_of_file_gets_the_same_values(scale: str, tmp_path: Path) -> None:
    digests = set()
    for write in KINDS:
        (tmp_path / write.__name__).mkdir()
        out = tmp_path / write.__name__ / "out"
        made = marked(write(tmp_path / write.__name__, weights()), out, scale=scale)
        digests.add(made.claim.subject)
        # Each claim is good for each copy: places and values follow from names and shapes alone.
        assert all(
            verify(open_weights(tmp_path / one.__name__ / "out"), made.claim).verified
            for one in KINDS[: KINDS.index(write)]
        )
    assert len(digests) == 1


def test_an_unmarked_model_does_not_verify(tmp_path: Path) -> None:
    model = as_shards(tmp_path, weights())
    made = marked(model, tmp_path / "out")
    assert not verify(open_weights(model), made.claim).verified


def test_buffers_stay_as_they_are(tmp_path: Path) -> None:
    model = as_shards(tmp_path, weights())
    everything = sum(weights()[n].numel() for n in ("a.weight", "b.weight", "b.bias"))
    marked(model, tmp_path / "out", everything)
    after = Shards(tmp_path / "out")
    for name, tensor in weights().items():
        assert torch.equal(after.tensor(name), tensor) is name.startswith("norm.")


def test_tied_weights_are_fixed_once(tmp_path: Path) -> None:
    tensors = weights()
    tensors["z.weight"] = tensors["b.weight"]
    made = marked(as_torch(tmp_path, tensors), tmp_path / "out")
    assert "z.weight" not in fixed_in(tmp_path / "out", made) and matches(made).total == sum(
        weights()[n].numel() for n in ("a.weight", "b.weight", "b.bias")
    )
    back = load(tmp_path / "out").ticket.weights
    assert back["z.weight"] is back["b.weight"]
    assert verify(open_weights(tmp_path / "out"), made.claim).verified
    # The bundle's model file holds both names; so does whatever is saved from it.
    assert verify(open_weights(tmp_path / "out" / "model.safetensors"), made.claim).verified


def test_a_manifest_is_of_all_weights_or_of_one_network_s_parameters(tmp_path: Path) -> None:
    network = build("resnet20", 10, 1, seed=0)
    tensors = {**network.state_dict(), "normalize.mean": torch.zeros(1)}
    read = Shards(as_shards(tmp_path, tensors))
    parameters = {name: tuple(p.shape) for name, p in network.named_parameters()}
    for arch in ("resnet20", None):
        assert Watermark.make(read, FreezeNetOptions(length=9, arch=arch)).manifest == parameters
    other = Shards(write_shards(tmp_path / "other", weights()))
    with pytest.raises(InputError, match="layers: expected those of resnet20"):
        Watermark.make(other, FreezeNetOptions(length=9, arch="resnet20"))


@pytest.mark.parametrize("write", KINDS)
def test_more_than_there_is_cannot_be_fixed(write: Write, tmp_path: Path) -> None:
    model = write(tmp_path, weights())
    before = content(tmp_path)
    with pytest.raises(
        InputError, match=r"length: expected 0 to 16096, the network's parameters, found 16097"
    ):
        marked(model, tmp_path / "out", 16097)
    assert content(tmp_path) == before


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    made = marked(as_file(tmp_path, weights()), tmp_path / "out")
    fixed = fixed_in(tmp_path / "out", made)
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    tensors["a.weight"].view(-1)[int(fixed["a.weight"].places[3])] = torch.nan
    safetensors.torch.save_file(tensors, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match=r"a\.weight: expected finite numbers, found 1 that are not"):
        verify(open_weights(tmp_path / "nan.safetensors"), made.claim)


def data_claimed(folder: Path) -> list[bytes]:
    marks = marks_of(Claim.read(folder / "claim.json"))
    return [mark.data for mark in marks if isinstance(mark, Watermark)]


@pytest.mark.parametrize("write", [as_shards, as_bundle])
def test_an_earlier_mark_is_claimed_on_while_it_stands(write: Write, tmp_path: Path) -> None:
    marked(write(tmp_path, weights()), tmp_path / "first", 30)
    made = marked(tmp_path / "first", tmp_path / "second", 30, b"another")
    assert (made.left_out, made.dropped) == ((), ())
    assert data_claimed(tmp_path / "second") == [DATA, b"another"]
    assert verify(open_weights(tmp_path / "second"), made.claim).verified
    # So many values of the third meet some of the others, of which every one must stand.
    made = marked(tmp_path / "second", tmp_path / "third", 8000, b"third")
    assert made.dropped == ("freezenet", "freezenet")
    assert data_claimed(tmp_path / "third") == [b"third"]


@pytest.mark.parametrize("write", [as_shards, as_bundle])
def test_a_mark_that_is_not_of_this_model_is_not_claimed_on(write: Write, tmp_path: Path) -> None:
    claim = marked(as_torch(tmp_path, weights()), tmp_path / "other", 30).claim
    model = write(tmp_path, weights())
    (model / "claim.json").write_text(json.dumps(claim.to_json()))
    made = marked(model, tmp_path / "out", 30, b"another")
    assert made.dropped == ("freezenet",) and data_claimed(tmp_path / "out") == [b"another"]


def test_a_locked_ticket_is_unlocked_first(tmp_path: Path) -> None:
    locked = save(
        Ticket(weights=weights(), mask=Mask.of_zeros(weights())), tmp_path / "locked", sealed=b"part"
    )
    with pytest.raises(
        InputError, match="locked: sealed part: expected none, found one: the ticket is locked"
    ):
        marked(locked, tmp_path / "out")


def test_a_model_is_never_written_over_itself(tmp_path: Path) -> None:
    folder = as_shards(tmp_path, weights())
    file = folder / "model-00001-of-00003.safetensors"
    before = content(tmp_path)
    for model in (folder, file):
        with pytest.raises(InputError, match="output folder: expected another than the model's own"):
            marked(model, folder, replace=True)
    assert content(tmp_path) == before
    bundle = save(load(SHIPPED).ticket, tmp_path / "bundle")
    with pytest.raises(InputError, match="output folder: expected another than the model's own"):
        embed_in_files(bundle, bundle, options_of_each("qr-code", message="mine"), replace=True)


def test_only_a_model_is_overwritten_and_only_when_asked(tmp_path: Path) -> None:
    model = as_shards(tmp_path, weights())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    before = content(tmp_path)
    with pytest.raises(
        InputError, match="mine: output folder: expected a model to overwrite, found something"
    ):
        marked(model, tmp_path / "mine", replace=True)
    with pytest.raises(InputError, match="expected a name not taken yet"):
        marked(model, tmp_path / "mine")
    assert content(tmp_path) == before
    marked(model, tmp_path / "out")
    claim = marked(model, tmp_path / "out", 200, b"another", replace=True).claim
    assert verify(open_weights(tmp_path / "out"), claim).verified


@pytest.mark.parametrize("write", [as_shards, as_torch])
def test_a_claim_beside_other_things_makes_them_no_model_to_overwrite(write: Write, tmp_path: Path) -> None:
    model = write(tmp_path, weights())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "mine" / "claim.json").write_text("{}")
    before = content(tmp_path)
    with pytest.raises(InputError, match="mine: output folder: expected a model to overwrite"):
        marked(model, tmp_path / "mine", replace=True)
    assert content(tmp_path) == before


def test_what_lies_beside_a_model_is_not_given_away_with_it(tmp_path: Path) -> None:
    model = as_shards(tmp_path, weights())
    (model / "secret.bin").write_bytes(b"nobody guesses this")
    (model / "notes.txt").write_text("mine alone")
    (model / "notes.txt").chmod(0o600)
    marked(model, tmp_path / "first", 300, b"first")
    (model / "first.json").write_bytes((tmp_path / "first" / "claim.json").read_bytes())
    (model / "config.json").chmod(0o755)
    made = marked(model, tmp_path / "out")
    assert made.left_out == ("first.json", "notes.txt", "secret.bin")
    shards = [file.name for file in Shards(tmp_path / "out").files]
    others = ["claim.json", "config.json", "model.safetensors.index.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted([*shards, *others])
    assert stat.S_IMODE((tmp_path / "out" / "config.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("fault", [full_disk, lambda: file_size_limit(4096)], ids=["full", "limit"])
def test_a_full_disk_leaves_nothing(fault: Callable[[], object], write: Write, tmp_path: Path) -> None:
    model = write(tmp_path, weights())
    before = content(tmp_path)
    with fault(), pytest.raises(OSError, match=r"out"):  # type: ignore[attr-defined]
        marked(model, tmp_path / "out")
    assert content(tmp_path) == before


SHIPPED = Path(__file__).parents[2] / "checkpoints" / "resnet20-cifar10"


@pytest.mark.parametrize("rewinds", [True, False])
def test_in_place_and_in_a_copy_the_same_is_written(rewinds: bool, tmp_path: Path) -> None:
    """From file to file nobody else looks at the weights, and they are not copied."""
    ticket, marks, secret = load(SHIPPED).ticket, "qr-code+mirror+spread", bytes(range(32))
    if not rewinds:
        ticket = Ticket(weights=ticket.weights, mask=ticket.mask)
    path = save(ticket, tmp_path / "model")
    before = content(path)
    written = embed_in_files(path, tmp_path / "out", options_of_each(marks, message="mine"), secret=secret)
    assert content(path) == before
    was = tensor_digest(ticket.weights), tensor_digest(ticket.mask)
    made = embed(ticket, "mine", mark=marks, secret=secret)
    assert (tensor_digest(ticket.weights), tensor_digest(ticket.mask)) == was
    found = load(tmp_path / "out").ticket
    assert tensor_digest(found.weights) == tensor_digest(made.ticket.weights) == written.claim.subject
    assert tensor_digest(found.mask) == tensor_digest(made.ticket.mask)
    assert (found.rewind is None) is (made.ticket.rewind is None)
    assert tensor_digest(found.rewind or {}) == tensor_digest(made.ticket.rewind or {})
