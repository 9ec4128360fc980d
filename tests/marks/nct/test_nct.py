"""NCT: the network is left as it is, the bits outlive small changes, and a reading alone proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.command_line import Command, read_json
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket, embed, extract, save, verify
from ticket_sig.formats import open_weights
from ticket_sig.marks import Nct, Uchida, claim_of, marks_of
from ticket_sig.marks.embed import options_for
from ticket_sig.marks.embed_in_files import embed_in_files
from ticket_sig.marks.nct.mark import NctOptions
from ticket_sig.marks.nct.reading import Classified

SECRET, OTHER = b"owner".ljust(32), b"thief".ljust(32)
MESSAGE = "owner@example.org"
CONV = "1.weight"


def network(seed: int = 0) -> dict[str, Tensor]:
    """One whose largest layer is a convolution, of which every kernel is heavier in the middle."""
    torch.manual_seed(seed)
    weights = dict(nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(32, 4)).state_dict())
    weights[CONV][:, :, 1, 1] = 1.5 * weights[CONV][:, :, 1, 1] - 0.01
    return weights


@pytest.fixture(scope="module")
def mark() -> Nct:
    """A mark of the first network."""
    return Nct.make(network(), NctOptions(message=MESSAGE), SECRET)


def changed(layer: Tensor) -> dict[str, Tensor]:
    return {**network(), CONV: layer}


def quantised(layer: Tensor, bits: int) -> Tensor:
    step = (layer.max() - layer.min()) / (2**bits - 1)
    return ((layer - layer.min()) / step).round() * step + layer.min()


def pruned(layer: Tensor, share: float) -> Tensor:
    return layer.where(layer.abs() > layer.abs().flatten().quantile(share), 0)


# Read


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda layer: layer + 0.3 * layer.std() * torch.randn(layer.shape), 0),
        (lambda layer: pruned(layer, 0.5), 0),
        (lambda layer: pruned(layer, 0.8), 0.1),
        (lambda layer: quantised(layer, 4), 0),
        (lambda layer: quantised(layer, 2), 0.2),
        (lambda layer: layer.bfloat16(), 0),
        (lambda layer: 1e20 * layer.double(), 0),
    ],
    ids=["noise", "half pruned", "80 % pruned", "4 bits", "2 bits", "bfloat16", "scaled"],
)
def test_the_bits_outlive_small_changes(change: Callable[[Tensor], Tensor], most: float, mark: Nct) -> None:
    torch.manual_seed(5)
    reading = mark.read(changed(change(network()[CONV])))
    assert reading.error_rate <= most
    assert (reading.message == MESSAGE) is (reading.wrong == 0)


def test_other_networks_and_other_secrets_read_chance(mark: Nct) -> None:
    """Whatever the law of the weights, if it is the same for all of a layer."""
    readings = [mark.read(network(seed)) for seed in range(1, 41)]
    readings += [mark.read(changed(network(seed)[CONV].exp() - 0.5)) for seed in range(1, 41)]
    others = [replace(mark.selection, secret=bytes([n])) for n in range(40)]
    readings += [Nct(selection, mark.classifier).read(network()) for selection in others]
    right = [reading.agreement for reading in readings]
    assert abs(sum(right) / len(right) - 0.5) < 0.02 and max(right) < 0.7
    assert all(reading.log10_p == 0 for reading in readings)
    small = [reading for reading in readings if reading.log10_p_here < -1]
    assert len(small) <= 25, "p-values below 0.1 among 120"


def test_a_classifier_that_says_the_same_of_everything_gains_nothing(mark: Nct) -> None:
    labels = mark.selection.labels()
    for logit in (1.0, -1.0, 0.0):
        said = [label == (logit > 0) for label in labels]
        reading = Classified(
            payload=mark.selection.payload,
            right=tuple(said),
            layers=1,
            labels=labels,
            logits=(logit,) * len(labels),
        )
        assert 0.3 < reading.agreement < 0.7 and reading.log10_p_here == 0


def test_a_layer_without_any_weight_reads_nothing(mark: Nct) -> None:
    reading = mark.read(changed(torch.zeros(32, 32, 3, 3)))
    assert reading.log10_p_here == 0 and not reading.verdict().detected


def test_all_that_a_claimant_chooses_decides_which_weights_are_read(mark: Nct) -> None:
    """Else he could read bits, and then claim what he read."""
    own = mark.selection
    bits = (not own.payload[0], *own.payload[1:])
    for other in (replace(own, payload=bits), replace(own, secret=OTHER), replace(own, layer=f"net.{CONV}")):
        assert Nct(other, mark.classifier).read({f"net.{n}": t for n, t in network().items()}).log10_p == 0


# What it proves


def test_whoever_has_the_network_reads_his_own_message_and_neither_is_verified(mark: Nct) -> None:
    ticket = Ticket(weights=network(), mask=Mask({}))
    thief = embed(ticket, "thief@example.org", mark="nct", secret=OTHER)
    for one in (mark, *marks_of(thief.claim)):
        verdict = one.read(ticket).verdict()
        assert verdict.detected and not verdict.verified and "a date" in verdict.lacking
        assert verdict.to_json()["proves"] == "nothing"
    assert extract(ticket, thief.claim).message == "thief@example.org"


def test_beside_a_mark_that_stands_it_is_the_other_that_is_verified(mark: Nct) -> None:
    bits = Uchida([True, False] * 64, CONV, (32, 32, 3, 3), secret=SECRET)
    marked = bits.embed(Ticket(weights=network(), mask=Mask({})))
    both, alone = claim_of([mark, bits], marked.weights), claim_of([mark], marked.weights)
    verdict = verify(marked, both)
    assert verdict.verified and verdict.proves.startswith("uchida: ")
    assert not verify(marked, alone).verified and verify(marked, alone).detected


# Put into files


def test_a_file_is_copied_as_it_is_and_what_is_put_in_next_leaves_it_claimed(tmp_path: Path) -> None:
    save(Ticket(weights=network(), mask=Mask({})), tmp_path / "net")
    source = tmp_path / "net" / "model.safetensors"
    options = NctOptions(message=MESSAGE)
    first = embed_in_files(source, tmp_path / "read", {"nct": options}, secret=SECRET)
    assert (tmp_path / "read" / "model.safetensors").read_bytes() == source.read_bytes()
    assert isinstance(first.mark, Nct)
    in_parts = first.mark.read(open_weights(tmp_path / "read"))
    assert in_parts == first.mark.read(network()) and in_parts.wrong == 0
    written = tmp_path / "both"
    frozen = options_for("freezenet", share=0.04, scale="layer")
    second = embed_in_files(tmp_path / "read", written, {"freezenet": frozen}, secret=SECRET)
    reading = first.mark.read(open_weights(written))
    assert 0 < reading.wrong < 40 and reading.verdict().detected
    assert [one.name for one in second.claim.marks] == ["nct", "freezenet"] and not second.dropped


def test_the_command_line_reads_the_message_and_verifies_nothing(tmp_path: Path, ticket_sig: Command) -> None:
    save(Ticket(weights=network(), mask=Mask({})), tmp_path / "net")
    read, claim = tmp_path / "read", tmp_path / "read" / "claim.json"
    said = ticket_sig("embed", tmp_path / "net", "--mark", "nct", "--message", MESSAGE, "--out", read)
    assert said.code == 0 and "network: not changed" in said.out and "too weak" not in said.out
    assert ticket_sig("extract", read).out == f"{MESSAGE}\n"
    said = ticket_sig("verify", read, "--claim", claim)
    assert said.code == 1 and said.out.startswith("not verified") and "a date of" in said.out
    told = read_json(ticket_sig("verify", read, "--claim", claim, "--json"))
    assert told["evidence"]["message"] == MESSAGE and told["lacking"].startswith("a date of the classifier")


# Refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            NctOptions(random=1200),
            "nct: shape of 1.weight: expected at least 9600 weights, 8 for each of 1200",
        ),
        (
            NctOptions(random=128, hidden=1),
            "nct: classifier: expected one that learns all 128 .*--hidden",
        ),
        (NctOptions(layer="2.bias"), "nct: shape: expected 2 or more sizes of 1 or more, found \\(4,\\)"),
        (NctOptions(layer="3.weight"), "model: layer: expected '3.weight', found none of that name"),
    ],
)
def test_what_does_not_fit_is_named(options: NctOptions, says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        Nct.make(network(), options, SECRET)


def test_what_cannot_be_read_is_named(mark: Nct) -> None:
    layer = network()[CONV]
    for other, says in (
        (layer / 0, f"weights: {CONV}: expected finite numbers, found {mark.selection.count} that are not"),
        (layer[:, :30], f"model: {CONV}: expected the mark's shape "),
        (layer.to(torch.int8), f"nct: {CONV}: expected one of float64, "),
    ):
        with pytest.raises(InputError, match=f"^{says}"):
            mark.read(changed(other))
    with pytest.raises(InputError, match="the network that the classifier was trained for, found one with"):
        mark.embed(Ticket(weights=network(1), mask=Mask({})))


def test_a_claim_of_many_bits_stays_small(mark: Nct) -> None:
    """The classifier has one size, whatever the network."""
    assert len(json.dumps(mark.to_json())) < 40_000
