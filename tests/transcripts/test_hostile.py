"""Transcripts and records made to hang an auditor, to frame an owner, or to pass for what they are not."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from support.command_line import Command, could_not
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig.datasets.data import Split
from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.key_pair import KeyPair
from ticket_sig.lottery import find
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import Audit, Openings, Transcript, TranscriptRecorder, audit, to_open
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.choice import Choice, chance_missed
from ticket_sig.transcripts.record import Record, combine, to_json, write_record
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, SIGNATURES, state_file
from ticket_sig.transcripts.replay import threads
from ticket_sig.transcripts.spoofs import Scene, spoof
from ticket_sig.transcripts.states import State

Fields = dict[str, Any]


def audited(folder: Path) -> Audit:
    return audit(Transcript.open(folder), tiny_data(), model=TinyNet())


def forge(
    folder: Path,
    manifest: Callable[[Fields], object] = lambda _: None,
    entry: Callable[[str, Fields], object] = lambda kind, fields: None,
) -> None:
    """Writes a manifest and a whole new chain that fit, unsigned; entries of which `entry` says True go."""
    value = json.loads((folder / MANIFEST).read_text())
    value.pop("signer", None)
    manifest(value)
    (folder / MANIFEST).write_text(json.dumps(value))
    entries = Chain(folder / CHAIN).entries[1:]
    (folder / CHAIN).unlink()
    (folder / SIGNATURES).unlink(missing_ok=True)
    (chain := Chain(folder / CHAIN)).add("manifest", {"digest": json_digest(value)})
    for one in entries:
        fields = dict(one.fields)
        if entry(one.kind, fields) is not True:
            chain.add(one.kind, fields)


def first_lines(path: Path, count: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))


# Files that an auditor would wait for, or that are too large for him.


@pytest.mark.parametrize("name", [CHAIN, SIGNATURES])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(name: str, transcript: Path) -> None:
    (transcript / name).unlink()
    os.mkfifo(transcript / name)
    with pytest.raises(InputError, match=f"{name}: .*: expected a file, found something else"):
        Transcript.open(transcript)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURES])
def test_a_sparse_file_of_any_length_is_refused_before_it_is_read(name: str, transcript: Path) -> None:
    os.truncate(transcript / name, 1 << 40)
    with pytest.raises(InputError, match=f"{name}: "):
        Transcript.open(transcript)


def test_a_mask_of_another_shape_is_refused_before_it_is_read(transcript: Path) -> None:
    write_safetensors(transcript / MASK, {"c2.weight": torch.zeros(9, dtype=torch.bool)})
    with pytest.raises(
        InputError, match=rf"{MASK}: c2.weight: expected BOOL \[8, 4, 3, 3\], found BOOL \[9\]"
    ):
        audited(transcript)


def test_a_momentum_that_is_infinite_is_trained_again(transcript: Path) -> None:
    state = State.read(path := state_file(transcript, 0, 10))
    next(iter(state.optimizer.values())).view(-1)[0] = torch.inf
    state.write(path)
    place, digests = {"level": 0, "step": 10}, state.digests()
    forge(transcript, entry=lambda _, f: f.update(digests) if place.items() <= f.items() else None)
    assert "not finite" in " ".join(audited(transcript).suspected.values())


def test_a_loss_beyond_all_numbers_is_refused(transcript: Path) -> None:
    path = state_file(transcript, 0, 10)
    write_safetensors(path, read_safetensors(path), json.dumps({"losses": ["0x1p99999", "0x1p4"]}))
    with pytest.raises(InputError, match="losses: expected two numbers"):
        audited(transcript)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 2**64}, "seed: expected a number of 64 bits"),
        ({"lr": 10**400}, "lr: expected more than 0"),
        ({"weight_decay": 10**400}, "weight_decay: expected 0 or more"),
        ({"crop": 10**7}, "crop: expected at most 8, the side of an image"),
    ],
)
def test_numbers_of_a_recipe_that_nobody_can_compute_with(
    changes: Fields, expected: str, transcript: Path
) -> None:
    forge(transcript, lambda manifest: manifest["recipe"].update(changes))
    with pytest.raises(InputError, match=f"recipe: {expected}"):
        audited(transcript)


def test_a_segment_that_nobody_could_train_is_refused(transcript: Path) -> None:
    far = {"length": f"{10**15}it", "schedule": "step"}

    def later(kind: str, fields: Fields) -> bool:
        if fields.get("step") == 12:
            fields["step"] = 10**15
        return kind == "end" or fields["level"] == 1

    forge(transcript, lambda value: (value["recipe"].update(far), value.update(segment=2**62)), later)
    shutil.copy(state_file(transcript, 0, 12), state_file(transcript, 0, 10**15))
    with pytest.raises(InputError, match=f"level 0, steps 10 to {10**15}: expected at most 10000000 steps"):
        to_open(Transcript.open(transcript), model=TinyNet())


def test_openings_of_more_samples_than_there_are_are_refused_before_they_are_hashed(recorded: Path) -> None:
    transcript = Transcript.open(recorded)
    openings = Openings.of(transcript, tiny_data(), transcript.segments[:1])
    more = replace(openings, numbers=torch.zeros(1, dtype=torch.int64).expand(10**12))
    with pytest.raises(InputError, match="numbers: expected at most 96, found 1000000000000"):
        more.checked(transcript)


def test_where_no_waking_thread_can_start_the_number_of_threads_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()

    def refused(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("ticket_sig.transcripts.replay._cores", lambda: (0,))
    monkeypatch.setattr(Thread, "start", refused)
    with pytest.raises(RuntimeError, match="can't start new thread"), threads(before + 1):
        pass
    assert torch.get_num_threads() == before


# What a manifest says and nothing is computed from.


def test_a_data_set_by_a_better_name_is_found(on_digits: Path, tmp_path: Path, ticket_sig: Command) -> None:
    shutil.copytree(on_digits / "T", tmp_path / "T")
    forge(tmp_path / "T", lambda manifest: manifest["recipe"].update(dataset="cifar10"))
    said = ticket_sig("audit", tmp_path / "T", "--segments", 1)
    assert said.code == 1 and "recipe, dataset: expected the data's name, digits, found cifar10" in said.out


def test_initial_weights_of_an_origin_that_nobody_knows_are_found(transcript: Path) -> None:
    forge(transcript, lambda manifest: manifest["initial"].update(derivation="thin air"))
    assert "initial, derivation: expected seed or given, found 'thin air'" in audited(transcript).reasons[0]


def test_a_search_keeps_no_marks(transcript: Path) -> None:
    forge(transcript, lambda manifest: manifest.update(kept=["sha256:" + 64 * "a"]))
    with pytest.raises(InputError, match="kept: expected none in a search, found 1"):
        audited(transcript)


def test_counts_are_told_to_who_sees_opened_samples_alone(transcript: Path) -> None:
    # One root, another border between train and test: trained on what others are tested on.
    data = tiny_data()
    both = Split(*(torch.cat([getattr(s, n) for s in (data.train, data.test)]) for n in ("images", "labels")))
    other = replace(data, train=both[:90], test=both[90:])
    shutil.rmtree(transcript)
    engine = Engine(recorder=TranscriptRecorder(transcript, every=5))
    find(tiny_recipe(rounds=0), other, transcript.parent / "run", model=TinyNet(), engine=engine)
    told = Transcript.open(transcript)
    openings = Openings.of(told, other, told.segments)
    record = to_json(audit(told, openings, model=TinyNet()), Choice())
    assert record["outcome"] == "valid" and (record["data"]["train"], record["data"]["test"]) == (90, 6)
    with pytest.raises(InputError, match="data, train: expected 90, found 72"):
        audited(transcript)


# An owner who is framed.


def test_what_others_add_behind_the_last_signed_head_is_told_from_what_he_signed(transcript: Path) -> None:
    lines = (transcript / CHAIN).read_text().splitlines(keepends=True)
    assert '"kind": "level"' in lines[1]
    first_lines(transcript / CHAIN, 2)
    first_lines(transcript / SIGNATURES, 2)
    chain = Chain(transcript / CHAIN)
    for line in lines[2:7]:
        chain.add("boundary", {**json.loads(line)["fields"], "losses": ["0x1p+4", "0x1p+4"]})
    told = Transcript.open(transcript)
    assert (told.signer, told.signed_entries, len(told.chain.entries)) == (told.manifest.signer, 2, 7)


def test_a_head_that_was_not_come_to_again_is_never_signed(
    recorded: Path, owner: KeyPair, tmp_path: Path
) -> None:
    run, folder = (Path(shutil.copytree(recorded.parent / n, tmp_path / n)) for n in ("run", "transcript"))
    end = Chain(folder / CHAIN).entries[-1]
    for path in (folder / CHAIN, folder / SIGNATURES):
        first_lines(path, len(path.read_text().splitlines()) - 1)
    Chain(folder / CHAIN).add("end", {**end.fields, "mask": "sha256:" + 64 * "a"})
    engine = Engine(recorder=TranscriptRecorder(folder, every=5, key=owner))
    with pytest.raises(InputError, match="end of level 0, step 0: mask: expected those of this training"):
        find(tiny_recipe(), tiny_data(), run, model=TinyNet(), engine=engine)
    assert len((folder / SIGNATURES).read_text().splitlines()) == 3
    first_lines(folder / CHAIN, end.number)  # as where a kill came before the end was entered
    find(tiny_recipe(), tiny_data(), run, model=TinyNet(), engine=engine)
    assert Transcript.open(folder).chain.head == Transcript.open(recorded).chain.head


def test_a_damaged_folder_says_nothing_against_the_chain(
    transcript: Path, recorded: Path, tmp_path: Path
) -> None:
    state = State.read(path := state_file(transcript, 0, 10))
    state.parameters["f2.bias"][0] += 1
    state.write(path)
    damaged = audited(transcript)
    assert (damaged.outcome, damaged.damaged) == ("invalid", True)
    records = {"damaged.json": damaged, "honest.json": audited(recorded)}
    for name, found in records.items():
        write_record(tmp_path / name, to_json(found, Choice()))
    together = combine({tmp_path / name: Record.read(tmp_path / name) for name in records})
    assert together.valid and together.invalid == 0 and len(together.covered) == 7


# Records that overstate, and claims that would fit any transcript.


@pytest.mark.parametrize(
    ("replayed", "expected"),
    [
        (
            [[0, 0, 9], [0, 5, 12]],
            "expected no other segment beside level 0, steps 0 to 9, found level 0, steps 5",
        ),
        ([[0, 9, 9]], "expected [level, first, last], found [0, 9, 9]"),
        ([[-1, 0, 9]], "expected [level, first, last], found [-1, 0, 9]"),
    ],
)
def test_segments_that_no_transcript_has_cover_nothing(
    replayed: list[list[int]], expected: str, recorded: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    record = to_json(audited(recorded), Choice()) | {"replayed": replayed}
    write_record(tmp_path / "record.json", record)
    could_not(ticket_sig("audit", "--combine", tmp_path / "record.json"), expected)


def test_records_that_cover_more_together_than_there_is_are_refused(
    recorded: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    record = to_json(audited(recorded), Choice())
    for name, changes in (("a.json", {}), ("b.json", {"replayed": [[7, 0, 9]]})):
        write_record(tmp_path / name, record | changes)
    both = ("--combine", tmp_path / "a.json", "--combine", tmp_path / "b.json")
    could_not(ticket_sig("audit", *both), "replayed: expected at most 7 segments, found 8")
    said = ticket_sig("audit", *both[:2])
    assert said.code == 0 and "record 1 signed by: nobody, so anybody may have written it" in said.out


# What is forged may be as hostile as what is audited.


def _spoofed(name: str, transcript: Path, stolen: Any = None) -> None:
    scene = Scene(stolen=stolen or TinyNet().state_dict(), data=tiny_data(), model=TinyNet())
    spoof(name)(Transcript.open(transcript), transcript.parent / "forged", scene)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("jump", lambda m: m["stack"].clear(), "threads: expected 1 to 1024, found None"),
        (
            "blindfold",
            lambda m: m["stack"].update(threads=10**6),
            "threads: expected 1 to 1024, found 1000000",
        ),
        ("head-start", lambda m: m["recipe"].clear(), "recipe: arch: expected, not found"),
        (
            "forged-momentum",
            lambda m: m["recipe"].update(momentum="x"),
            "recipe: .*momentum: expected",
        ),
        ("forged-momentum", lambda m: m["data"].update(train="all"), "data: train: expected a whole number"),
        (
            "forged-momentum",
            lambda m: m["recipe"].update(validation=0.999),
            "json: recipe: validation: expected",
        ),
    ],
)
def test_a_manifest_that_nothing_can_be_forged_from_is_one_line(
    name: str, change: Callable[[Fields], object], expected: str, transcript: Path
) -> None:
    forge(transcript, change)
    with pytest.raises(InputError, match=expected):
        _spoofed(name, transcript)
    assert [path.name for path in transcript.parent.iterdir()] == ["transcript"]


def test_a_boundary_that_is_too_far_to_train_to_is_refused(transcript: Path) -> None:
    def later(kind: str, fields: Fields) -> bool:
        if (fields.get("level"), fields.get("step")) == (1, 12):
            fields["step"] = 10**15
        return kind == "end"

    forge(transcript, entry=later)
    with pytest.raises(InputError, match="expected at most 10000000 steps from state to state, found more"):
        _spoofed("jump", transcript)


@pytest.mark.parametrize("change", [lambda t: t.flatten(), lambda t: t.int(), lambda t: t.half()])
def test_states_of_two_networks_are_refused(change: Callable[[Any], Any], transcript: Path) -> None:
    path = state_file(transcript, 1, 12)
    state = State.read(path)
    replace(state, parameters={name: change(t) for name, t in state.parameters.items()}).write(path)
    with pytest.raises(
        InputError, match=r"12\.safetensors: parameters/.*: expected what the first state has"
    ):
        _spoofed("interpolation", transcript)


def test_a_record_of_any_number_of_segments_is_combined_at_once(transcript: Path, tmp_path: Path) -> None:
    record = {
        **to_json(audited(transcript), Choice(number=1, seed=b"s")),
        "segments": 2**62,
        "suspected": {},
        "replayed": [[0, n, n + 1] for n in range(20_000)],
    }
    (tmp_path / "record.json").write_text(json.dumps(record))
    found = combine({tmp_path: Record.read(tmp_path / "record.json")})
    assert found.missed(10) == pytest.approx(1)
    exact = math.comb(90, 30) / math.comb(100, 30)
    assert chance_missed(100, 30, 10) == exact


def test_two_trainings_that_record_into_one_folder_spoil_nothing(tmp_path: Path) -> None:
    one, other = Chain(tmp_path / CHAIN), Chain(tmp_path / CHAIN)
    one.add("manifest", {"digest": "1"})
    with pytest.raises(
        InputError, match=f"{CHAIN}: size: expected 0 bytes, as before, found .*another process"
    ):
        other.add("manifest", {"digest": "1"})
    one.add("end", {})
    assert [entry.kind for entry in Chain(tmp_path / CHAIN).entries] == ["manifest", "end"]
