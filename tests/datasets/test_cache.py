"""Decoded images are kept, made again when anything changed or was damaged, and done without if need be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.disk import without_a_home
from support.tiny import write_images

from ticket_sig import InputError
from ticket_sig.datasets import load_dataset


def cache_file(cache: Path) -> Path:
    (file,) = cache.glob("images-*.safetensors")
    return file


def forge(file: Path) -> None:
    """Makes an image unreadable without any outward sign, so that only a cache can still give it."""
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_second_load_decodes_nothing(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    first = load_dataset("images", folder)
    for image in folder.rglob("*.png"):
        forge(image)
    second = load_dataset("images", folder)
    assert second.digest == first.digest


def test_a_changed_added_or_removed_file_is_seen(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    seen = {load_dataset("images", folder).digest}
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "train" / "cat" / "0.png")
    seen.add(load_dataset("images", folder).digest)
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "test" / "cat" / "more.png")
    seen.add(load_dataset("images", folder).digest)
    (folder / "train" / "dog" / "2.png").unlink()
    seen.add(load_dataset("images", folder).digest)
    assert len(seen) == 4


def test_a_file_that_changed_without_changing_its_size_is_seen(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    image = folder / "train" / "cat" / "0.bmp"
    sizes, digests = set(), set()
    for brightness in (0, 255):
        Image.fromarray(np.full((8, 8, 3), brightness, np.uint8)).save(image)
        sizes.add(image.stat().st_size)
        digests.add(load_dataset("images", folder).digest)
    assert (len(sizes), len(digests)) == (1, 2)


def test_two_folders_with_the_same_names_do_not_share_a_cache(tmp_path: Path) -> None:
    one = write_images(tmp_path / "one")
    two = shutil.copytree(one, tmp_path / "two")
    first = load_dataset("images", one)
    forge(two / "train" / "cat" / "0.png")
    with pytest.raises(InputError, match=r"two/train/cat/0\.png"):
        load_dataset("images", two)
    assert load_dataset("images", one).digest == first.digest


@given(
    kind=st.sampled_from(["cut", "flip", "empty"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_cache_is_made_again(
    kind: str, where: float, bit: int, tmp_path_factory: pytest.TempPathFactory, own_cache: Path
) -> None:
    for old in own_cache.iterdir():
        old.unlink()
    folder = write_images(tmp_path_factory.mktemp("damaged") / "data", each=1)
    first = load_dataset("images", folder)
    file = cache_file(own_cache)
    whole = bytearray(file.read_bytes())
    at = int(where * len(whole))
    if kind == "flip":
        whole[at] ^= 1 << bit
    file.write_bytes(whole if kind == "flip" else whole[:at] if kind == "cut" else b"")
    assert load_dataset("images", folder).digest == first.digest
    for image in folder.rglob("*.png"):
        forge(image)
    assert load_dataset("images", folder).digest == first.digest, "the cache was not made again"


@pytest.mark.parametrize(
    "in_the_way", ["a file for a folder", "a folder for a file", "a full disk", "no home"]
)
def test_a_cache_that_cannot_be_written_is_done_without(
    in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    folder = write_images(tmp_path / "data")
    first = load_dataset("images", folder)
    if in_the_way == "a file for a folder":
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("TICKET_SIG_CACHE", str(tmp_path / "file" / "cache"))
    elif in_the_way == "a folder for a file":
        name = cache_file(own_cache)
        name.unlink()
        name.mkdir()
    elif in_the_way == "no home":
        without_a_home(monkeypatch)
    else:
        # Every write to this folder fails, as on a full disk or for another user's folder.
        monkeypatch.setenv("TICKET_SIG_CACHE", "/proc/ticket_sig")
    assert load_dataset("images", folder).digest == first.digest


def test_without_a_folder_of_ones_own_the_cache_is_where_caches_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "data")
    monkeypatch.delenv("TICKET_SIG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_dataset("images", folder)
    assert list((tmp_path / "xdg" / "ticket_sig").glob("images-*"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_dataset("images", folder)
    assert list((tmp_path / "home" / ".cache" / "ticket_sig").glob("images-*"))
