"""An auditor who sees only the samples of his segments: what they prove, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import Command, could_not, next_commands, read_json
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError
from ticket_sig.formats import load
from ticket_sig.formats.safetensors_file import write_safetensors
from ticket_sig.lottery import find, retrain
from ticket_sig.training import Steps
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import Audit, Choice, Openings, Transcript, TranscriptRecorder, audit, to_open
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.merkle import leaf, leaves, proof_of, root_from, root_of
from ticket_sig.transcripts.record import to_json
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, SIGNATURES
from ticket_sig.transcripts.spoofs import Scene, spoof
from ticket_sig.transcripts.transcript import Segment

FIRST = Segment(0, 0, 2)


def letter(folder: Path) -> Choice:
    """A choice that draws the first segment; the head, and so every draw, changes with the code."""
    transcript = Transcript.open(folder)
    choices = (Choice(number=1, seed=f"letter {n}".encode()) for n in range(1000))
    head, segments = transcript.chain.head, transcript.segments
    return next(one for one in choices if one.chosen(segments, {}, head, 1) == [FIRST])


def opened(folder: Path, choice: Choice) -> Openings:
    """What an owner opens."""
    transcript = Transcript.open(folder)
    return Openings.of(transcript, tiny_data(), to_open(transcript, choice, model=TinyNet()))


def audited(folder: Path, openings: Openings, choice: Choice) -> Audit:
    return audit(Transcript.open(folder), openings, choice, model=TinyNet())


@pytest.fixture(scope="module")
def given(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Openings:
    """The samples of the first segment, as they are read from a file."""
    path = tmp_path_factory.mktemp("openings") / "openings.safetensors"
    opened(recorded, letter(recorded)).write(path)
    return Openings.read(path)


def without(openings: Openings, row: int) -> Openings:
    """The same but for one sample, with a proof that fits."""
    kept = torch.ones(len(openings), dtype=torch.bool)
    kept[row] = False
    numbers, data = openings.numbers[kept], tiny_data()
    proof = b"".join(proof_of([*leaves(data.train), *leaves(data.test)], numbers.tolist()))
    return replace(
        openings,
        numbers=numbers,
        images=openings.images[kept],
        labels=openings.labels[kept],
        proof=torch.tensor(list(proof), dtype=torch.uint8).reshape(-1, 32),
    )


def test_a_segment_is_trained_again_bit_for_bit_on_its_own_samples_alone(
    recorded: Path, given: Openings
) -> None:
    choice, data = letter(recorded), tiny_data()
    found = audited(recorded, given, choice)
    full = audit(Transcript.open(recorded), data, choice, model=TinyNet())
    assert found.valid and found.replayed == full.replayed == [FIRST]
    assert len(given) == 32 and given.images.equal(data.train.images[given.numbers])  # two batches of 16
    assert to_json(found, choice)["opened"] == {"samples": 32, "of": 96}
    assert to_json(full, choice)["opened"] is None


def test_a_forged_segment_is_found_on_its_own_samples(recorded: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    spoof("one-weight")(Transcript.open(recorded), forged, Scene(model=TinyNet()))
    found = audited(forged, opened(forged, Choice()), Choice())
    assert found.outcome == "invalid" and "expected what training on from step" in found.reasons[0]


def test_segments_that_are_drawn_and_not_opened_are_said_by_name(recorded: Path, given: Openings) -> None:
    with pytest.raises(
        InputError, match=r"openings.safetensors: segments: expected all .*, steps [0-9]+ to"
    ) as said:
        audited(recorded, given, Choice())
    transcript = Transcript.open(recorded)
    missing = [transcript.segment(name.strip()) for name in str(said.value).split("--segment ")[1:]]
    assert missing and all(str(one) in str(said.value) for one in missing)
    more = Openings.of(transcript, tiny_data(), [*missing, FIRST])
    assert audited(recorded, more, Choice()).valid


def test_what_an_owner_leaves_out_is_missed_though_the_proof_fits(recorded: Path, given: Openings) -> None:
    with pytest.raises(InputError, match=f"{len(given) - 1} of {len(given)} samples"):
        audited(recorded, without(given, 0), letter(recorded))


def test_in_a_search_for_the_extreme_ticket_the_held_out_samples_are_opened_too(tmp_path: Path) -> None:
    recipe = tiny_recipe(rounds=None, rates=(0.9,), length=Steps(1))
    engine = Engine(recorder=TranscriptRecorder(tmp_path / "transcript", every=4))
    find(recipe, tiny_data(), tmp_path / "run", model=TinyNet(), engine=engine)
    choice = Choice(number=1, seed=b"letter")
    found = opened(tmp_path / "transcript", choice)
    assert set(range(58, 72)) <= set(found.numbers.tolist()) and int(found.numbers.max()) < 72
    assert audited(tmp_path / "transcript", found, choice).valid
    # Without them no mask can be checked, whatever else is opened.
    with pytest.raises(InputError, match=r"held-out samples: expected all 14 that decide .*, found 13"):
        audited(tmp_path / "transcript", without(found, -1), choice)


def test_a_training_under_a_mask_is_audited_on_its_opened_samples(recorded: Path, tmp_path: Path) -> None:
    ticket = load(recorded.parent / "run" / "ticket").ticket
    engine = Engine(recorder=TranscriptRecorder(tmp_path / "transcript", every=4))
    # Where nothing is held out, and the recipe says no number of rounds, nothing but training takes samples.
    recipe = tiny_recipe(rounds=None, validation=0.0)
    retrain(ticket, recipe, tiny_data(), tmp_path / "run", model=TinyNet(), engine=engine)
    choice = Choice(number=1, seed=b"letter")
    found = opened(tmp_path / "transcript", choice)
    assert audited(tmp_path / "transcript", found, choice).valid
    assert int(found.numbers.max()) < 72


@pytest.mark.parametrize("count", range(1, 8))
def test_a_proof_holds_for_any_samples_and_for_no_others(count: int) -> None:
    hashes = [leaf(bytes([n])) for n in range(count)]
    for number in range(1, count + 1):
        for chosen in combinations(range(count), number):
            proof, shown = proof_of(hashes, chosen), {i: hashes[i] for i in chosen}
            assert len(proof) == len(set(proof)) and not set(proof) & set(shown.values())
            assert root_from(shown, proof, count) == root_of(hashes)
            moved = {i: leaf(b"other") if i == chosen[0] else one for i, one in shown.items()}
            assert root_from(moved, proof, count) != root_of(hashes)


# Files that are not what `open` wrote.

Change = Callable[[dict[str, Any]], object]


def no_number(name: str, at: int, value: int) -> Change:
    return lambda tensors: tensors[name].__setitem__(at, value)


DAMAGE: dict[str, tuple[Change, str]] = {
    "a pixel": (lambda t: t["images"][2, 0, 0].add_(1), "proof: expected hashes that give the root"),
    "a label": (lambda t: t["labels"].copy_(3 - t["labels"]), "proof: expected hashes that give the root"),
    "a hash": (lambda t: t["proof"][0].add_(1), "proof: expected hashes that give the root"),
    "a hash less": (
        lambda t: t.update(proof=t["proof"][1:]),
        "proof: expected [0-9]+ nodes, for [0-9]+ of 96",
    ),
    "no hash": (lambda t: t.update(proof=t["proof"][:0]), "proof: expected [0-9]+ nodes, .*found 0"),
    "a class too many": (no_number("labels", 3, 4), r"labels\[3\]: expected 0 to 3, found 4"),
    "a class under 0": (no_number("labels", 0, -1), r"labels\[0\]: expected 0 to 3, found -1"),
    "a number out of range": (no_number("numbers", -1, 96), r"numbers\[[0-9]+\]: .* 0 to 95, found 96"),
    "a number under 0": (no_number("numbers", 0, -2), r"numbers\[0\]: expected ascending, .*found -2"),
    "a number twice": (lambda t: t["numbers"][1].copy_(t["numbers"][0]), r"numbers\[1\]: expected ascending"),
    "another order": (lambda t: t.update(numbers=t["numbers"].flip(0)), r"numbers\[1\]: expected ascending"),
    "images of another size": (
        lambda t: t.update(images=t["images"][:, :4]),
        r"images: expected of size \[8, 8, 1",
    ),
    "images as floats": (lambda t: t.update(images=t["images"].float()), "images: expected U8 .*, found F32"),
    "labels as bytes": (lambda t: t.update(labels=t["labels"].byte()), r"labels: expected I64 .*, found U8"),
    "fewer labels": (lambda t: t.update(labels=t["labels"][1:]), r"labels: expected I64 \[n"),
    "short hashes": (lambda t: t.update(proof=t["proof"][:, :16]), r"proof: expected U8 \[m, 32\]"),
    "no samples": (lambda t: t.update({n: t[n][:0] for n in t}), r"numbers: expected I64 .* n over 0"),
    "a tensor more": (lambda t: t.update(more=t["labels"].clone()), "tensors: expected numbers, images"),
    "a tensor less": (lambda t: t.pop("proof"), "tensors: expected numbers, images"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_changed_file_is_refused_with_field_and_index(
    name: str, recorded: Path, given: Openings, tmp_path: Path
) -> None:
    change, expected = DAMAGE[name]
    tensors = {one: getattr(given, one).clone() for one in ("numbers", "images", "labels", "proof")}
    change(tensors)
    about = {"format": "ticket_sig openings", "version": 1, "head": given.head}
    write_safetensors(path := tmp_path / "changed.safetensors", tensors, json.dumps(about))
    with pytest.raises(InputError, match=f"^{path}: {expected}"):
        audited(recorded, Openings.read(path), Choice())


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (None, "format: expected 'ticket_sig openings', found none"),
        ("[7]", "format: expected 'ticket_sig openings', found none"),
        (
            '{"format": "ticket_sig audit", "version": 1}',
            "format: expected 'ticket_sig openings', found 'ticket",
        ),
        ('{"format": "ticket_sig openings", "version": 2}', "version: expected 1, found 2"),
        ('{"format": "ticket_sig openings", "version": 1, "head": 7}', "head: expected text of the form"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    about: str | None, expected: str, given: Openings, tmp_path: Path
) -> None:
    tensors = {one: getattr(given, one) for one in ("numbers", "images", "labels", "proof")}
    write_safetensors(path := tmp_path / "other.safetensors", tensors, about)
    with pytest.raises(InputError, match=f"^{path}: {expected}"):
        Openings.read(path)
    path.write_bytes(given.source.read_bytes()[:-10])
    with pytest.raises(InputError, match="expected a whole file, found a damaged one"):
        Openings.read(path)


def test_openings_of_another_transcript_are_refused(recorded: Path, given: Openings) -> None:
    other = replace(given, head=f"sha256:{64 * 'a'}")
    with pytest.raises(InputError, match=r"head: expected sha256:.*they were opened for another transcript"):
        audited(recorded, other, Choice())


def test_other_data_cannot_be_opened(recorded: Path) -> None:
    with pytest.raises(InputError, match="data, root: expected"):
        Openings.of(Transcript.open(recorded), tiny_data(seed=1), [Segment(0, 0, 2)])


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("train", 10**12, "train: expected 1 to 100000000, found 1000000000000"),
        ("test", 0, "test: expected a whole number of 1 or more, found 0"),
        ("classes", 10**7, "classes: expected 1 to 100000, found 10000000"),
        ("size", [8, 8, 0], "size: expected 1 to 100000, found 0"),
        ("size", [8, 8], r"size: expected \[height, width, channels\]"),
        ("std", [0.5, 0.5], "std: expected 1 numbers"),
        ("mean", ["x"], "mean: expected 1 numbers"),
        ("name", None, "name: expected str, found NoneType"),
        ("root", f"sha256:{64 * '0'}", "proof: expected hashes that give the root"),
    ],
)
def test_what_a_manifest_says_of_data_that_nobody_sees_is_checked(
    field: str, value: object, expected: str, transcript: Path, given: Openings
) -> None:
    manifest = json.loads((transcript / MANIFEST).read_text())
    manifest["data"][field] = value
    del manifest["signer"]  # nobody signs the new chain
    (transcript / MANIFEST).write_text(json.dumps(manifest))
    entries = Chain(transcript / CHAIN).entries
    (transcript / CHAIN).unlink()
    (transcript / SIGNATURES).unlink()
    for entry in entries:
        fields = {"digest": json_digest(manifest)} if entry.kind == "manifest" else entry.fields
        (chain := Chain(transcript / CHAIN)).add(entry.kind, fields)
    with pytest.raises(InputError, match=expected):
        audited(transcript, replace(given, head=chain.head), Choice())


# From the command line.


def test_owner_and_auditor_draw_the_same_segments_from_one_letter(
    on_digits: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    (letter := tmp_path / "letter.txt").write_text("a letter of the other party")
    file, drawn = tmp_path / "openings.safetensors", ("--segments", 1, "--seed-from", letter)
    asked = read_json(ticket_sig("open", on_digits / "T", *drawn, "--json"))
    assert asked["samples"] is None and not file.exists()
    said = ticket_sig("open", on_digits / "T", *drawn, "--out", file)
    assert said.code == 0 and f" samples, {file.stat().st_size} bytes: {file}" in said.out, said.err
    (audit,) = next_commands(said.out)
    found = read_json(ticket_sig(*audit, "--out", tmp_path / "record.json", "--json"))
    assert (found["outcome"], found["replayed"]) == ("valid", asked["segments"])
    combined = ticket_sig("audit", "--combine", tmp_path / "record.json")
    assert combined.code == 0 and "records of auditors who saw opened samples alone: 1" in combined.out
    # Both levels take the same samples in the same steps: those of one segment open its counterpart, too.
    steps = {tuple(one[1:]) for one in asked["segments"]}
    others = [s for s in Transcript.open(on_digits / "T").segments if (s.first, s.last) not in steps]
    could_not(
        ticket_sig("audit", on_digits / "T", "--openings", file),
        f"{file}: segments",
        *map(str, others),
        "0 of",
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("open", "--segment", "0:0"), "--segments, --top-q, --all: expected one of them"),
        (("open", "--all", "--top-q", 1), "--segments, --top-q, --all: expected one of them"),
        (("open", "--segments", 0, "--seed-from", "letter"), "--segments: expected 1 or more, found 0"),
        (("open", "--segments", 1), "--seed-from: expected a file beside --segments"),
        (("open", "--all", "--seed-from", "letter"), "--seed-from: expected a file beside --segments"),
        (
            ("open", "--all", "--segment", "0:1"),
            "segment: expected LEVEL:STEP, with the first step of a segment",
        ),
        (("open", "--all", "--out", "letter"), "letter: output folder: expected a name not taken yet"),
        (("audit", "--openings", "letter", "--data", "DIR"), "--data, --openings: expected one of them"),
        (("audit", "--openings", "letter", "--segments", 1), "--seed-from: expected the file by which"),
        (("audit", "--openings", "letter"), "letter: safetensors: expected a whole file"),
        (("audit", "--openings", "none"), "none: file: expected a safetensors file, found none"),
    ],
)
def test_options_that_do_not_go_together(
    words: tuple[object, ...],
    expected: str,
    on_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ticket_sig: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("letter").write_text("a letter")
    could_not(ticket_sig(words[0], on_digits / "T", *words[1:]), expected)
