"""Trigger sets: what follows from a secret, what a folder may hold, what a claim says of them (scheme 3)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from ticket_sig import Claim, InputError
from ticket_sig.claim import ClaimedMark
from ticket_sig.marks import TriggerMark, of_kind
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet, read_triggers, write_secret

SIZE = (32, 32, 3)
DIGEST = (
    "326bb51ec75cb5baaab6e018b293f857dd936d7bf9867f04c8b751d9ea2ce4eb"  # of the images of the secret 00...00
)
LABELS = [7, 0, 5, 9, 3, 2, 1, 9, 1, 1]


def made(secret: bytes = bytes(32), count: int = 100, classes: int = 10) -> TriggerSet:
    return TriggerSecret(secret, count, SIZE, classes).trigger_set()


def adi_folder(path: Path, labels: str = "3\n7\n1\n", count: int = 3) -> Path:
    """A folder in the layout of Adi et al.; theirs has the labels as floats."""
    (path / "pics").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for index in range(1, count + 1):
        pixels = draw.integers(0, 256, (40 + index, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / "pics" / f"{index}.jpg")
    (path / "labels-cifar.txt").write_text(labels)
    return path


def test_a_secret_gives_the_same_bits_everywhere() -> None:
    """A claim made on one machine is verified on another, years later."""
    images = made().split.images.numpy()
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGEST
    assert made().split.labels[:10].tolist() == LABELS


def test_another_secret_gives_unrelated_images_and_labels() -> None:
    one, other = made(), made(bytes(31) + b"\1")
    assert one.commitment != other.commitment
    assert (one.split.images.float() - other.split.images.float()).abs().mean() > 20
    assert (one.split.labels == other.split.labels).float().mean() < 0.3


def test_images_differ_and_fill_the_range() -> None:
    images = made().split.images.float()
    assert (
        images.shape == (100, *SIZE) and images.amax((1, 2)).min() == 255 and images.amin((1, 2)).max() == 0
    )
    flat = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
    alike = torch.corrcoef(flat) - torch.eye(100)
    assert alike.abs().max() < 0.8, "two images look the same"


def test_labels_are_uniform() -> None:
    labels = TriggerSecret(b"u" * 32, 20_000, (2, 2, 1), 10).trigger_set().split.labels
    assert chisquare(np.bincount(labels, minlength=10)).pvalue > 1e-4


@pytest.mark.parametrize("size", [(8, 8, 1), (1, 5, 3), (64, 48, 4)])
def test_any_size(size: tuple[int, int, int]) -> None:
    triggers = TriggerSecret.fresh(size, 7, 5).trigger_set()
    assert triggers.size == size and triggers.split.labels.max() < 7


def test_a_secret_is_kept_from_others_and_never_overwritten(tmp_path: Path) -> None:
    secret = TriggerSecret.fresh(SIZE, 10)
    write_secret(secret, tmp_path / "triggers.json")
    assert (tmp_path / "triggers.json").stat().st_mode & 0o077 == 0
    again = read_triggers(tmp_path / "triggers.json", SIZE, 10)
    assert torch.equal(again.split.images, secret.trigger_set().split.images)
    with pytest.raises(InputError, match="secret file: expected a name not taken yet"):
        write_secret(TriggerSecret.fresh(SIZE, 10), tmp_path / "triggers.json")
    with pytest.raises(InputError, match=r"triggers: images: expected \[32, 32, 3\] and 100 classes"):
        read_triggers(tmp_path / "triggers.json", SIZE, 100)


def test_a_folder_serves_networks_of_any_size(tmp_path: Path) -> None:
    labels = "".join(f"{index % 10}.0\n" for index in range(1, 13))
    triggers = read_triggers(adi_folder(tmp_path / "adi", labels, 12), SIZE, 10)
    assert triggers.split.labels.tolist() == [index % 10 for index in range(1, 13)]
    assert triggers.size == SIZE and not triggers.keyed
    grey = read_triggers(tmp_path / "adi", (8, 8, 1), 10)
    assert grey.size == (8, 8, 1) and grey.commitment == triggers.commitment


def test_a_folder_s_commitment_holds_pictures_and_labels(tmp_path: Path) -> None:
    one = read_triggers(adi_folder(tmp_path / "one"), SIZE, 10)
    other = read_triggers(adi_folder(tmp_path / "other", "3\n7\n2\n"), SIZE, 10)
    assert one.commitment != other.commitment


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("1\n2\n", "labels: expected 3, one for every picture, found 2"),
        ("1\n2\n10\n", "labels: expected 0 to 9, found 10"),
        ("1\n2\ncat\n", "labels: expected one whole number a line"),
        ("1\n2\nnan\n", "labels: expected one whole number a line"),
        ("1\n2\n1.5\n", "labels: expected one whole number a line"),
    ],
)
def test_a_folder_with_bad_labels_is_refused(labels: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"labels-cifar.txt: {says}"):
        read_triggers(adi_folder(tmp_path / "adi", labels), SIZE, 10)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trigger folder: expected pics/1\.jpg"):
        read_triggers(tmp_path, SIZE, 10)
    (adi_folder(tmp_path / "adi") / "pics" / "2.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2\.jpg: image: expected one that can be decoded"):
        read_triggers(tmp_path / "adi", SIZE, 10)


def test_a_claim_gives_no_trigger_away_and_knows_its_own() -> None:
    triggers = made(b"s" * 32)
    claim = claim_triggers(triggers, "sha256:subject")
    again = Claim.from_json(claim.to_json())
    assert (b"s" * 32).hex() not in str(again.to_json())
    mark = of_kind(TriggerMark, again)
    mark.check(triggers)
    for other in (made(b"t" * 32), made(b"s" * 32, count=99), replace(triggers, keyed=False)):
        with pytest.raises(InputError, match=r"triggers: .*another secret or folder"):
            mark.check(other)


def test_a_claim_of_triggers_carries_the_mark_beside_them() -> None:
    code = ClaimedMark("qr-code", {"message": "mine"})
    before = Claim(marks=(code,), subject="sha256:signed", accuracy=90.0)
    claim = claim_triggers(made(), "sha256:subject", beside=before)
    assert [mark.name for mark in claim.marks] == ["qr-code", "trigger-set"] and claim.marks[0] == code
    assert claim.subject == "sha256:subject"
    # Taught again: the new set takes the place of the old one, the code stays.
    again = claim_triggers(made(b"2" * 32), "sha256:subject", beside=claim)
    assert [mark.name for mark in again.marks] == ["qr-code", "trigger-set"] and again.marks[0] == code
    assert of_kind(TriggerMark, again).commitment == made(b"2" * 32).commitment


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 100_000, "size": [1024, 1024, 4]}, "images: expected at most 256 MiB in all"),
        ({"count": 1, "size": [4096, 8, 3]}, r"size: expected sides of 1 to 1024 and 1, 2, 3, 4 channels"),
        ({"size": [8, 8, 4096]}, r"size: expected sides .* found \[8, 8, 4096\]"),
        ({"size": [8, 8, 2], "keyed": False}, "size: expected sides of 1 to 1024 and 1, 3 channels"),
        ({"size": [8, 8, 4], "keyed": False}, "size: expected sides of 1 to 1024 and 1, 3 channels"),
        ({"size": [8, 8]}, r"size: expected \[height, width, channels\]"),
        ({"size": [8, 8, True]}, r"size: expected \[height, width, channels\]"),
        ({"count": 0}, "count: expected 1 to 100000, found 0"),
        ({"classes": 1}, "classes: expected 2 to 1000000, found 1"),
    ],
)
def test_a_claim_of_a_set_that_is_too_large_is_refused(changes: dict[str, object], says: str) -> None:
    fields = TriggerMark.of(made()).to_json()
    with pytest.raises(InputError, match=f"claim: {says}"):
        TriggerMark.from_json({**fields, **changes})


def test_a_secret_of_a_set_that_is_too_large_is_refused() -> None:
    for count, size in ((100_000, (1024, 1024, 4)), (100, (1024, 1024, 3))):
        with pytest.raises(InputError, match="triggers: images: expected at most 256 MiB in all, found"):
            TriggerSecret(bytes(32), count, size, 10)


@pytest.mark.parametrize("channels", [2, 4, 7, 4096])
def test_a_folder_is_of_grey_or_colour_images(channels: int, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"adi: triggers: size: expected sides of 1 to 1024 and 1, 3 channels"
    ):
        read_triggers(adi_folder(tmp_path / "adi"), (8, 8, channels), 10)
