"""Copies with single entries changed: these entries alone, and nothing that should stay at home."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support.disk import content, file_size_limit
from support.shards import FLOATS, packed, weights, write_packed, write_shards
from support.stops import Notes

from ticket_sig import InputError
from ticket_sig.files import whole_folder
from ticket_sig.formats.patch import copy_files, other_files
from ticket_sig.formats.weights import Shards

PLACES = np.array([0, 7, 22])
VALUES = torch.tensor([-0.75, 0.1, 0.5])


def places_that_differ(one: Path, other: Path) -> set[int]:
    a, b = one.read_bytes(), other.read_bytes()
    assert len(a) == len(b)
    return {i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y}


@pytest.mark.parametrize("chunk", [7, 1 << 22])
@pytest.mark.parametrize("name", FLOATS)
def test_only_the_changed_entries_differ_in_the_tensor_s_own_type(
    name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticket_sig.formats.patch._CHUNK", chunk)  # entries lie over the edges of chunks
    source = Shards(write_packed(tmp_path / "x.safetensors", packed()))
    (tmp_path / "out").mkdir()
    copy_files(source, tmp_path / "out", {name: (PLACES, VALUES)})
    copy = Shards(tmp_path / "out")
    one = source.stored[name]
    allowed = {one.start + int(p) * one.dtype.itemsize + b for p in PLACES for b in range(one.dtype.itemsize)}
    changed = places_that_differ(tmp_path / "x.safetensors", tmp_path / "out" / "model.safetensors")
    assert changed and changed <= allowed
    assert torch.equal(copy.take(name, PLACES), VALUES.to(one.dtype))


def test_tensors_that_lie_in_another_order_than_they_are_named_are_changed_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticket_sig.formats.patch._CHUNK", 7)
    source = Shards(write_packed(tmp_path / "x.safetensors", dict(reversed(packed().items()))))
    (tmp_path / "out").mkdir()
    copy_files(source, tmp_path / "out", {name: (PLACES, VALUES) for name in FLOATS})
    copy = Shards(tmp_path / "out")
    for name, tensor in packed().items():
        expected = tensor.clone()
        if name in FLOATS:
            expected.put_(torch.from_numpy(PLACES), VALUES.to(tensor.dtype))
        assert torch.equal(copy.tensor(name), expected)


def test_shards_keep_their_names_and_each_is_changed_where_its_tensors_are(tmp_path: Path) -> None:
    source = Shards(write_shards(tmp_path / "model", weights()))
    (tmp_path / "out").mkdir()
    changed = {name: (PLACES, VALUES) for name in ("a.weight", "b.bias", "b.weight")}
    notes = Notes()
    copy_files(source, tmp_path / "out", changed, notes)
    assert [f.name for f in source.files] == sorted(f.name for f in (tmp_path / "out").iterdir())
    for file in source.files:
        before, after = (safetensors.torch.load_file(tmp_path / f / file.name) for f in ("model", "out"))
        for name, tensor in before.items():
            expected = tensor.clone()
            if name in changed:
                expected.put_(torch.from_numpy(PLACES), VALUES)
            assert torch.equal(after[name], expected)
    size = sum(file.stat().st_size for file in source.files)
    assert notes.begun == [("weights", size)] and notes.done[-1] == size


def test_nothing_changed_is_a_copy(tmp_path: Path) -> None:
    source = write_packed(tmp_path / "x.safetensors", packed())
    (tmp_path / "out").mkdir()
    copy_files(Shards(source), tmp_path / "out", {})
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == source.read_bytes()


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    source = Shards(write_shards(tmp_path / "model", weights()))
    before = content(tmp_path)
    with (
        file_size_limit(4096),
        pytest.raises(OSError, match="File too large"),
        whole_folder(tmp_path / "out") as folder,
    ):
        copy_files(source, folder, {"b.bias": (PLACES, VALUES)})
    assert content(tmp_path) == before


def test_what_holds_the_unchanged_weights_or_a_claim_is_left(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    with_weights = [
        "consolidated.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "old.GGUF",
    ]
    for name in [*with_weights, "claim.json", "tokenizer.model", "README.md", ".gitattributes"]:
        (folder / name).write_text("{}")
    (folder / "original").mkdir()
    taken, left = other_files(Shards(folder))
    names = ["README.md", "config.json", "model.safetensors.index.json", "tokenizer.model"]
    assert [file.name for file in taken] == names
    assert sorted(left) == sorted([*with_weights, "claim.json", "original"])


def test_beside_a_single_file_nothing_is_taken(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights(), 1)
    file = folder / "model-00001-of-00001.safetensors"
    assert other_files(Shards(file)) == ([], [])


def test_links_are_followed_within_the_folder_alone(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    (folder / "generation.json").symlink_to("config.json")
    assert "generation.json" in [file.name for file in other_files(Shards(folder))[0]]
    (tmp_path / "secret").write_text("not to be given away")
    (folder / "vocab.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(
        InputError, match=r"vocab\.txt: file: expected one of its folder, found a link that leads"
    ):
        other_files(Shards(folder))


def test_links_to_shards_elsewhere_are_not_followed(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    shard = folder / "model-00001-of-00003.safetensors"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="found a link that leads out of it; copy the folder with what its links"
    ):
        other_files(Shards(folder))


def test_a_download_cache_is_read_through_its_links(tmp_path: Path) -> None:
    cache = tmp_path / "models--owner--name"
    folder = write_shards(cache / "snapshots" / "0a1b", weights())
    (cache / "blobs").mkdir()
    for file in list(folder.iterdir()):
        file.rename(cache / "blobs" / f"digest-of-{file.name}")
        file.symlink_to(os.path.relpath(cache / "blobs" / f"digest-of-{file.name}", folder))
    taken, left = other_files(Shards(folder))
    assert [file.name for file in taken] == ["config.json", "model.safetensors.index.json"] and left == []
    (tmp_path / "secret").write_text("not to be given away")
    (cache / "blobs" / "of-a-thief").symlink_to(tmp_path / "secret")
    (folder / "vocab.txt").symlink_to(cache / "blobs" / "of-a-thief")
    with pytest.raises(InputError, match=r"vocab\.txt"):
        other_files(Shards(folder))


def test_only_what_models_come_with_is_given_away(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    come = ["LICENSE", "Notice-3rd-party", "README.rst", "chat.jinja", "code.py", "merges.TXT", "vocab.json"]
    stay = ["secret", "secret.bin", "id_rsa.pem", "LICENSE.pt", "a.zip", "optimizer.old", "notes.docx"]
    for name in [*come, *stay]:
        (folder / name).write_text("[1]")
    taken, left = other_files(Shards(folder))
    assert {file.name for file in taken} == {*come, "config.json", "model.safetensors.index.json"}
    assert left == sorted(stay)


def test_what_only_its_owner_may_read_stays_but_for_the_index(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    (folder / "secret.txt").write_text("not to be given away")
    (folder / "shared.txt").write_text("for a group")
    (folder / "shared.txt").chmod(0o640)
    for name in ("secret.txt", "model.safetensors.index.json"):
        (folder / name).chmod(0o600)
    taken, left = other_files(Shards(folder))
    assert [file.name for file in taken] == ["config.json", "model.safetensors.index.json", "shared.txt"]
    assert left == ["secret.txt"]


@pytest.mark.parametrize("kind", ["claim", "ticket", "secret key"])
def test_our_own_files_stay_whatever_their_names(kind: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    text = json.dumps({"format": f"ticket_sig {kind}", "signature": {"data": "00"}})
    for name, held in [("old.json", text), ("marked.json", "\ufeff" + text), ("cut.json", text[:-1])]:
        (folder / name).write_text(held, encoding="utf-8")
    (folder / "vocab.json").write_text('{"format": 3, "infinite": Infinity}')
    taken, left = other_files(Shards(folder))
    assert left == ["cut.json", "marked.json", "old.json"]
    assert "vocab.json" in [file.name for file in taken]
