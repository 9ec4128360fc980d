"""Every spoof is found by the audit, though manifest, chain and digests of its transcript fit together."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import Command, could_not, read_json
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor

from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError
from ticket_sig.files import write_json
from ticket_sig.formats import load
from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.key_pair import KeyPair
from ticket_sig.lottery import find, retrain
from ticket_sig.training.loop import Engine
from ticket_sig.transcripts import Audit, Choice, Transcript, TranscriptRecorder, audit
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.manifest import Manifest
from ticket_sig.transcripts.record import Record, to_json, write_record
from ticket_sig.transcripts.recording import CHAIN, MANIFEST
from ticket_sig.transcripts.spoofs import SPOOFS, Scene, spoof
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.states import State

REPLAY = "of step [0-9]+: expected what training on from step [0-9]+ gives"
MASK = "mask of level 1: expected sha256"
BEGUN = "optimizer/.* of step 0: expected zeros, before any step"
# What finds it: in a search, and in a training of one level under a mask.
FOUND_BY = {
    "head-start": (BEGUN, BEGUN),
    "infinitesimal": ("level 0: expected a boundary at step 8, found none", REPLAY),
    "blindfold": ("level 0: expected a boundary at step 8, found none", REPLAY),
    "bent-data": ("level 0: expected a boundary at step 8, found none", REPLAY),
    "longer": ("boundaries at steps 0 to 12, found 0 to 17", "boundaries at steps 0 to 12, found 0 to 17"),
    # The other run's ticket is so accurate that it would have been taken.
    "splice": ("weights of the end", REPLAY),
    "mask": (MASK, REPLAY),
    "pruning": (MASK, None),
}
FEWER: dict[str, dict[str, Any]] = {  # segments than by default, to be fast
    "infinitesimal": {"segments": 8},
    "blindfold": {"segments": 8},
    "bent-data": {"segments": 8, "steps": 1},
}


def audited(folder: Path, choice: Choice | None = None) -> Audit:
    return audit(Transcript.open(folder), tiny_data(), choice, model=TinyNet())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transcript of another search, with other initial weights and other batches."""
    folder = tmp_path_factory.mktemp("other")
    engine = Engine(recorder=TranscriptRecorder(folder / "transcript", every=5))
    find(tiny_recipe(seed=7), tiny_data(), folder / "run", model=TinyNet(seed=7), engine=engine)
    return folder / "transcript"


@pytest.fixture(scope="module")
def training(other: Path) -> Path:
    """The transcript of a training of one level, under the mask of the other search."""
    folder, ticket = other.parent / "training", load(other.parent / "run" / "ticket").ticket
    ticket = replace(ticket, weights=ticket.rewound() if ticket.rewind else ticket.weights)
    engine = Engine(recorder=TranscriptRecorder(folder, every=5))
    retrain(ticket, tiny_recipe(), tiny_data(), other.parent / "retrain", model=TinyNet(), engine=engine)
    return folder


@pytest.fixture
def scene(other: Path) -> Scene:
    """What a liar has: a stolen model, another transcript, the data."""
    stolen = read_safetensors(other.parent / "run" / "ticket" / "model.safetensors")
    return Scene(stolen=stolen, other=Transcript.open(other), data=tiny_data(), model=TinyNet())


@pytest.mark.parametrize("name", SPOOFS)
@pytest.mark.parametrize("kind", ["search", "training"])
def test_every_spoof_is_invalid_and_the_message_names_file_field_and_step(
    name: str, kind: str, recorded: Path, training: Path, scene: Scene, tmp_path: Path
) -> None:
    honest = {"search": recorded, "training": training}[kind]
    expected = FOUND_BY.get(name, (REPLAY, REPLAY))[kind == "training"]
    forger = spoof(name, **FEWER.get(name, {}))
    if expected is None:
        with pytest.raises(InputError, match="expected a search with a round of pruning, found none"):
            forger(Transcript.open(honest), tmp_path / "forged", scene)
        return
    forger(Transcript.open(honest), tmp_path / "forged", scene)
    found = audited(tmp_path / "forged")
    assert found.outcome == "invalid"
    assert re.search(rf"^{re.escape(str(tmp_path))}.*(jsonl|safetensors): .*{expected}", found.reasons[0])


def test_both_transcripts_are_valid_before_anybody_forges_them(recorded: Path, training: Path) -> None:
    assert audited(recorded).valid and audited(training).valid


@pytest.mark.parametrize("name", ["nan", "buffers", "optimizer", "one-weight"])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_the_first_and_the_last_boundary_are_not_safer_to_forge(
    name: str, at: float, training: Path, scene: Scene, tmp_path: Path
) -> None:
    if (name, at) == ("optimizer", 0.0):
        with pytest.raises(InputError, match="optimizer: expected one tensor or more, found none"):
            spoof(name, at=at)(Transcript.open(training), tmp_path / "forged", scene)
        return
    spoof(name, at=at)(Transcript.open(training), tmp_path / "forged", scene)
    assert audited(tmp_path / "forged").outcome == "invalid"


@pytest.mark.parametrize(
    ("name", "options", "found_by"),
    [
        ("longer", {"by": "level"}, "levels: expected 2, found 3"),
        ("pruning", {"scope": "random"}, MASK),
        ("frozen", {"segments": 2, "at": 0.0}, REPLAY),
        ("jump", {"share": 0.01, "at": 1.0}, REPLAY),
        ("bent-data", {"attack": 1, "segments": 4, "steps": 1}, "level 0: expected a boundary at step 4"),
        ("bent-data", {"attack": 3, "segments": 4, "steps": 2}, "level 0: expected a boundary at step 8"),
    ],
)
def test_other_ways_to_forge_are_found(
    name: str, options: dict[str, Any], found_by: str, recorded: Path, scene: Scene, tmp_path: Path
) -> None:
    spoof(name, **options)(Transcript.open(recorded), tmp_path / "forged", scene)
    found = audited(tmp_path / "forged")
    assert found.outcome == "invalid" and re.search(found_by, found.reasons[0])


@pytest.fixture(scope="module")
def digests_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of which every third state is kept, of the others the digests; steps 0, 6, 12 of level 1."""
    folder = tmp_path_factory.mktemp("digests")
    engine = Engine(recorder=TranscriptRecorder(folder / "transcript", every=2, keep=3))
    find(tiny_recipe(), tiny_data(), folder / "run", model=TinyNet(), engine=engine)
    return folder / "transcript"


@pytest.mark.parametrize(
    ("name", "options", "found_by"),
    [
        ("one-weight", {}, "parameters/.* of step 6: expected what training on from step 0"),
        ("jump", {}, "parameters/.* of step 6: expected what training on from step 0"),
        ("head-start", {}, BEGUN),
        ("longer", {"by": "level"}, "levels: expected 2, found 3"),
        ("infinitesimal", {"segments": 8}, "level 0: expected a boundary at step 8, found none"),
    ],
)
def test_where_digests_alone_are_kept_a_spoof_writes_digests_that_fit_as_far_as_it_trains(
    name: str, options: dict[str, Any], found_by: str, digests_alone: Path, scene: Scene, tmp_path: Path
) -> None:
    spoof(name, **options)(Transcript.open(digests_alone), tmp_path / "forged", scene)
    found = audited(tmp_path / "forged")
    assert found.outcome == "invalid" and re.search(found_by, found.reasons[0])
    if name == "jump":
        assert len(found.reasons) == 1  # from where it landed on it was really trained, digests and all


def test_a_forgery_of_nothing_is_the_honest_transcript(digests_alone: Path, tmp_path: Path) -> None:
    Forgery(honest := Transcript.open(digests_alone)).write(tmp_path / "forged")
    assert Transcript.open(tmp_path / "forged").chain.head == honest.chain.head


@pytest.mark.parametrize(("field", "lie"), [("rate", 0.4), ("kept", 1), ("total", 10_000), ("rate", None)])
def test_what_a_level_says_of_its_pruning_is_checked(
    field: str, lie: float | None, recorded: Path, tmp_path: Path
) -> None:
    forgery = Forgery(Transcript.open(recorded))
    forgery.levels[1][field] = lie
    forgery.write(tmp_path / "forged")
    assert f"chain.jsonl: {field} of level 1: expected" in audited(tmp_path / "forged").reasons[0]


@pytest.mark.parametrize(
    ("group", "name", "tensor", "message"),
    [
        ("parameters", "f2.bias", None, r"parameters/f2.bias: expected F32 \[4\], found none"),
        ("parameters", "f2.bias", torch.ones(7), r"parameters/f2.bias: expected F32 \[4\], found F32 \[7\]"),
        ("parameters", "f2.bias", torch.ones(4).double(), r"expected F32 \[4\], found F64 \[4\]"),
        ("parameters", "more", torch.ones(4), r"parameters/more: expected nothing, found F32 \[4\]"),
        ("buffers", "bn.running_var", None, r"buffers/bn.running_var: expected F32 \[4\], found none"),
        ("buffers", "bn.num_batches_tracked", torch.tensor(torch.nan), r"expected I64 \[\], found F32"),
        (
            "optimizer",
            "momentum_buffer/f2.bias",
            torch.ones(1),
            r"expected F32 \[4\] or F32 \[\], found F32 \[1",
        ),
        (
            "optimizer",
            "momentum_buffer/more",
            torch.ones(4),
            r"momentum_buffer/more: expected nothing, found",
        ),
        ("optimizer", "momentum_buffer/f2.bias", None, "optimizer: expected a tensor for each parameter, or"),
    ],
)
@pytest.mark.parametrize("at", [0.7, 1.0])
def test_tensors_of_another_network_are_named(
    group: str, name: str, tensor: Tensor | None, message: str, at: float, training: Path, tmp_path: Path
) -> None:
    def changed(state: State) -> State:
        kept = {n: t for n, t in getattr(state, group).items() if n != name}
        return replace(state, **{group: kept if tensor is None else {**kept, name: tensor}})

    forgery = Forgery(Transcript.open(training))
    forgery.change(forgery.at(at), changed)
    forgery.write(tmp_path / "forged")
    if (group, tensor, at) == ("optimizer", None, 1.0):
        assert audited(tmp_path / "forged").outcome == "invalid"  # nothing is trained on from there
        return
    with pytest.raises(InputError, match=rf"states/00/[0-9]+.safetensors: .*{message}"):
        audited(tmp_path / "forged")


@pytest.mark.parametrize(
    ("name", "options"),
    [("forged-momentum", {}), ("buffers", {"rate": 100.0}), ("optimizer", {"rate": 100.0}), ("nan", {})],
)
def test_a_lie_about_the_stack_makes_no_spoof_consistent(
    name: str, options: dict[str, Any], training: Path, scene: Scene, tmp_path: Path
) -> None:
    forgery = Forgery(Transcript.open(training))
    forgery.manifest["stack"] |= {"kernels": "others"}
    spoof(name, **options).forge(forgery, scene)
    forgery.write(tmp_path / "forged")
    assert audited(tmp_path / "forged").outcome == "inconsistent"


def test_the_largest_updates_of_an_epoch_are_honest_and_drawn_segments_find_what_is_not(
    training: Path, scene: Scene, tmp_path: Path
) -> None:
    spoof("blindfold", segments=40)(Transcript.open(training), tmp_path / "forged", scene)
    assert audited(tmp_path / "forged", Choice(top=1)).valid
    assert audited(tmp_path / "forged", Choice(number=4, seed=b"letter")).outcome == "invalid"


def test_a_level_begins_without_a_loss(recorded: Path, tmp_path: Path) -> None:
    forgery = Forgery(Transcript.open(recorded))
    forgery.change((1, 0), lambda state: replace(state, losses=(0.0, 16.0)))
    forgery.write(tmp_path / "forged")
    assert "losses of step 0: expected none, before any step" in audited(tmp_path / "forged").reasons[0]


def test_the_manifest_commits_to_the_weights_that_the_first_level_starts_from(
    training: Path, tmp_path: Path
) -> None:
    manifest = Manifest.read(training / MANIFEST).to_json()
    manifest["initial"]["digest"] = f"sha256:{64 * 'a'}"
    forged = Path(shutil.copytree(training, tmp_path / "forged"))
    write_json(forged / MANIFEST, manifest)
    entries = Transcript.open(training).chain.entries
    (forged / CHAIN).unlink()
    chain = Chain(forged / CHAIN)
    for entry in entries:
        said = {"digest": json_digest(manifest)} if entry.kind == "manifest" else entry.fields
        chain.add(entry.kind, said)
    assert "manifest.json: initial, digest: expected what level 0" in audited(tmp_path / "forged").reasons[0]


def test_the_record_of_an_audit_that_met_nan_can_be_written_and_read(
    training: Path, scene: Scene, tmp_path: Path
) -> None:
    spoof("nan")(Transcript.open(training), tmp_path / "forged", scene)
    record = to_json(audited(tmp_path / "forged"), Choice())
    write_record(tmp_path / "record.json", record)
    assert Record.read(tmp_path / "record.json").outcome == "invalid"


def test_a_liar_signs_with_his_own_key(recorded: Path, owner: KeyPair, tmp_path: Path) -> None:
    liar = KeyPair.make()
    spoof("swap")(Transcript.open(recorded), tmp_path / "forged", key=liar)
    spoof("swap")(Transcript.open(recorded), tmp_path / "unsigned")
    forged = Transcript.open(tmp_path / "forged")
    assert {one.public for one in forged.signatures} == {liar.public} != {owner.public}
    assert len(forged.signatures) == len(Transcript.open(recorded).signatures)
    assert not Transcript.open(tmp_path / "unsigned").signatures


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("splice", {}, "spoof: other: expected one, found none; give it: --other"),
        ("frozen", {"segments": 3}, "segments: expected at most 1, found 3"),
        ("pruning", {"scope": "global"}, "scope: expected another than the recipe's, global"),
        ("jump", {"share": 2.0}, "share: expected a number above 0, at most 1, found 2"),
    ],
)
def test_a_forgery_that_cannot_be_made_leaves_no_folder(
    name: str, options: dict[str, Any], expected: str, recorded: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        spoof(name, **options)(Transcript.open(recorded), tmp_path / "forged")
    assert not list(tmp_path.iterdir())


def test_a_stolen_model_of_another_network_is_refused(recorded: Path, scene: Scene, tmp_path: Path) -> None:
    other = replace(scene, stolen=TinyNet(classes=5).state_dict())
    with pytest.raises(InputError, match=r"stolen model: f2\.bias: expected a tensor of shape"):
        spoof("interpolation")(Transcript.open(recorded), tmp_path / "forged", other)


def test_forge_on_the_command_line(ticket_sig: Command, recorded: Path, other: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    said = ticket_sig("forge", "splice", recorded, "--other", other, "--at", 0.2, "--out", forged, "--json")
    value = read_json(said)
    assert (said.code, value["spoof"], value["segments"]) == (0, "splice", 7)
    assert value["head"] == Transcript.open(forged).chain.head
    again = ticket_sig("forge", "swap", recorded, "--out", forged)
    could_not(again, "output folder: expected a name not taken yet")
    again = ticket_sig("forge", "swap", recorded, "--out", forged, "--force")
    assert (again.code, "next: ticket-sig audit" in again.out) == (0, True)
    stolen = other.parent / "run" / "ticket"
    said = ticket_sig("forge", "interpolation", recorded, "--stolen", stolen, "--out", tmp_path / "second")
    assert said.code == 0 and audited(tmp_path / "second").outcome == "invalid"
