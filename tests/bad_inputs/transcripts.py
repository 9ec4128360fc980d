"""Transcripts that are damaged or do not fit, and verbs that make and audit them."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from support.command_line import done

from bad_inputs.case import Topic
from bad_inputs.inputs import cut_in_half, edit_json, fixture, flip_after, plain, search
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, SIGNATURES, state_file
from ticket_sig.transcripts.states import State

topic = Topic("transcript")


@cache
def _recorded() -> Path:
    """A folder with a signed transcript T of four steps, its data, key and audit record; made once."""
    home = Path(tempfile.mkdtemp(prefix="ticket_sig-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    done(["keygen", "--out", home / "owner.key"])
    recorded = ["--transcript", home / "T", "--every", 2, "--sign", home / "owner.key"]
    done(search(home, "--rounds", 0, "--epochs", 4, *recorded))
    done(["audit", home / "T", "--data", home / "IMAGES", "--segments", 1, "--out", home / "record.json"])
    return home


def _copy(folder: Path, *names: str) -> None:
    for name in names:
        source = _recorded() / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)


def _audit(folder: Path, *more: Any, damage: Callable[[Path], object] = lambda _: None) -> list[Any]:
    """Audits T after some damage; `damage` is given T."""
    _copy(folder, "T", "IMAGES")
    damage(folder / "T")
    return ["audit", folder / "T", "--data", folder / "IMAGES", *more]


def _forge(folder: Path, name: str, *more: Any) -> list[Any]:
    _copy(folder, "T")
    return ["forge", name, folder / "T", "--out", folder / "FORGED", *more]


def _state(transcript: Path) -> Path:
    return state_file(transcript, 0, 2)


def _line(name: str, at: int, **changes: Any) -> Callable[[Path], object]:
    """Changes fields of one line of a file."""

    def damage(transcript: Path) -> None:
        lines = (transcript / name).read_text().splitlines()
        lines[at] = json.dumps(json.loads(lines[at]) | changes)
        (transcript / name).write_text("".join(f"{line}\n" for line in lines))

    return damage


def _one_weight(transcript: Path) -> None:
    state = State.read(path := _state(transcript))
    state.parameters["fc.bias"][0] += 1
    state.write(path)


for _name, _damage, *_says in (
    (
        "no manifest",
        lambda t: (t / MANIFEST).unlink(),
        "T: transcript: expected a folder with manifest.json, found none",
    ),
    ("half a manifest", lambda t: cut_in_half(t / MANIFEST), "T/manifest.json: JSON: expected a whole JSON"),
    (
        "a manifest of another version",
        lambda t: edit_json(t / MANIFEST, version=2),
        "T/manifest.json: version: expected 1, found 2",
    ),
    (
        "no recipe",
        lambda t: edit_json(t / MANIFEST, recipe=None),
        "T/manifest.json: manifest: recipe: expected dict, found NoneType",
    ),
    (
        "a signer that is no key",
        lambda t: edit_json(t / MANIFEST, signer="me"),
        "T/manifest.json: manifest: signer: expected text of the form 0[23]",
    ),
    (
        "a manifest that was changed",
        lambda t: edit_json(t / MANIFEST, segment=1),
        "T/manifest.json: digest: expected the chain's sha256:",
    ),
    ("an empty chain", lambda t: (t / CHAIN).write_text(""), "T/chain.jsonl: entries: expected one or more"),
    (
        "half a chain",
        lambda t: cut_in_half(t / CHAIN),
        "T/chain.jsonl: entry",
        "expected a whole line, found one that is cut short or too long",
    ),
    ("a line that is no entry", lambda t: (t / CHAIN).write_text("[]\n"), "entry 0: expected number, kind,"),
    ("an entry that was changed", _line(CHAIN, 3, fields={}), "T/chain.jsonl: entry 3: expected the head"),
    ("an entry of another number", _line(CHAIN, 3, number=4), "entry 3: expected entry 3, found entry 4"),
    ("no signatures", lambda t: (t / SIGNATURES).unlink(), "signature over entry 0: expected one by"),
    (
        "a signature that is no JSON",
        lambda t: (t / SIGNATURES).write_text("{\n"),
        "T/signatures.jsonl: signature 0: expected JSON",
    ),
    (
        "a signature over another entry",
        _line(SIGNATURES, 1, entry=2),
        "signature 1: expected a signature over the head after entry 2, found another",
    ),
    (
        "a signature by a second key",
        _line(SIGNATURES, 1, public="02" + 64 * "a"),
        "signature 1: expected the key",
    ),
    ("no state", lambda t: _state(t).unlink(), "00000002.safetensors: file: expected a safetensors file"),
    ("half a state", lambda t: cut_in_half(_state(t)), "00000002.safetensors: safetensors: expected a whole"),
    (
        "a state of another network",
        lambda t: plain(_state(t).parent, _state(t).name, {"parameters/a": torch.ones(1)}),
        "00000002.safetensors: parameters/conv1.weight: expected F32 [16, 1, 3, 3], found none",
    ),
    ("no mask", lambda t: (t / MASK).unlink(), "T/mask.safetensors: file: expected a safetensors file"),
):
    topic.enter(
        f"audit, {_name}",
        lambda folder, damage=_damage: _audit(folder, damage=damage),  # type: ignore[misc]
        *_says,
    )


@topic.case("invalid: 0 of 3", "parameters of step 2: expected the chain's sha256:", code=1)
def audit_one_weight_changed(folder: Path) -> list[Any]:
    return _audit(folder, damage=_one_weight)


for _words, *_says in (
    ("--segments 0", "--segments: expected 1 or more, found 0"),
    ("--segments 4", "--segments: expected at most 3, found 4"),
    ("--top-q 2", "--top-q: expected at most 1, the segments of an epoch, found 2"),
    ("--segments 1 --top-q 1", "--segments, --top-q: expected one of them, found both"),
    ("--all --segments 1", "--all, --segments, --top-q: expected one of them, found several"),
    ("--segments one", "usage: Invalid value for '--segments'"),
    ("--segments 1 --seed-from gone.txt", "gone.txt: seed: expected"),
    (
        "--sign gone.key",
        "gone.key: key pair: expected a PEM file, found none",
        "ticket-sig keygen --out FILE",
    ),
    ("--claim gone.json", "gone.json: file: expected a JSON file, found none"),
    ("--data gone", "gone: "),
    ("--device tpu", "device: expected"),
    ("--combine gone.json", "audit: expected a transcript, or records to --combine, found both"),
):
    topic.enter(
        f"audit {_words}",
        lambda folder, words=_words: _audit(folder, *words.split()),  # type: ignore[misc]
        *_says,
    )


@topic.case("audit: expected a transcript, or records to --combine, found neither")
def audit_of_nothing(folder: Path) -> list[Any]:
    return ["audit"]


@topic.case("bundle-v1: transcript: expected a folder with manifest.json, found none")
def audit_of_a_ticket(folder: Path) -> list[Any]:
    return ["audit", fixture(folder, "bundle-v1")]


@topic.case("T/manifest.json: data, root: expected 'sha256:", "show the very data set that was trained on")
def audit_with_other_images(folder: Path) -> list[Any]:
    arguments = _audit(folder)
    for name in ("0", "1"):  # as many of each class as before
        shutil.copy(folder / "IMAGES" / "train" / "dark" / f"{name}.png", folder / f"{name}.png")
    (folder / "0.png").replace(folder / "IMAGES" / "train" / "dark" / "1.png")
    return arguments


@topic.case("record.json: audit record: ", "expected a name not taken yet")
def audit_over_a_record(folder: Path) -> list[Any]:
    _copy(folder, "record.json")
    return _audit(folder, "--out", folder / "record.json")


def _combine(folder: Path, **changes: Any) -> list[Any]:
    """A record, and another one with changes."""
    _copy(folder, "record.json")
    shutil.copy(folder / "record.json", folder / "other.json")
    edit_json(folder / "other.json", **changes)
    return ["audit", "--combine", folder / "record.json", "--combine", folder / "other.json"]


for _changes, _says in (
    ({"format": "a diary"}, ("other.json: format: expected 'ticket_sig audit', found 'a diary'",)),
    ({"version": 9}, ("other.json: version: expected 1, found 9",)),
    ({"outcome": "splendid"}, ("other.json: record: outcome: expected valid or", "found 'splendid'")),
    ({"segments": 0}, ("other.json: record: replayed: expected at most 0 segments, found 1",)),
    ({"replayed": [[0, 2]]}, ("other.json: record: replayed: expected [level, first, last], found [0, 2]",)),
    ({"head": "sha256:" + 64 * "a"}, ("other.json: head: expected that of", "found sha256:aaaa")),
    ({"signature": "mine"}, ("other.json: record: signature: expected an object, found str",)),
):
    topic.enter(
        f"audit --combine, {next(iter(_changes))} changed",
        lambda folder, changes=_changes: _combine(folder, **changes),  # type: ignore[misc]
        *_says,
    )


@topic.case("owner.key: key file: expected a name not taken yet, found one that is")
def keygen_over_a_key(folder: Path) -> list[Any]:
    _copy(folder, "owner.key")
    return ["keygen", "--out", folder / "owner.key"]


@topic.case(
    "--passphrase-env: expected the name of an environment variable that is set, found 'NO_SUCH_NAME'"
)
def keygen_without_its_passphrase(folder: Path) -> list[Any]:
    return ["keygen", "--out", folder / "owner.key", "--passphrase-env", "NO_SUCH_NAME"]


@topic.case("usage: Missing option '--out'")
def keygen_without_a_file(folder: Path) -> list[Any]:
    return ["keygen"]


@topic.case("notes.txt")
def keygen_inside_a_file(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return ["keygen", "--out", folder / "notes.txt" / "owner.key"]


@topic.case("owner.key: key pair: expected a PEM file and its passphrase, found")
def signing_with_half_a_key(folder: Path) -> list[Any]:
    _copy(folder, "owner.key")
    cut_in_half(folder / "owner.key")
    return _forge(folder, "swap", "--sign", folder / "owner.key")


for _words, *_says in (
    ("magic", "usage: No such command 'magic'"),
    ("swap --by level", "usage: No such option"),
    ("swap --at 2", "at: expected 0 to 1, found 2.0"),
    ("splice", "other: expected one, found none; give it: --other"),
    ("splice --other gone", "gone: transcript: expected a folder with manifest.json, found none"),
    ("interpolation", "stolen: expected one, found none; give it: --stolen"),
    ("interpolation --stolen gone", "gone: "),
    ("blindfold --top 0", "top: expected 1 or more, found 0"),
    ("frozen --segments 9", "spoof: segments: expected at most 1, found 9"),
    ("longer --by magic", "by: expected one of boundary, level, found 'magic'"),
    ("one-weight --by nan", "by: expected"),
    ("mask", "T: mask of the last level: expected one that prunes, found a full one"),
    ("pruning", "T: levels: expected a search with a round of pruning, found none"),
    ("optimizer --at 0", "spoof: optimizer: expected one tensor or more, found none"),
    ("swap --sign gone.key", "gone.key: key pair: expected a PEM file, found none"),
):
    topic.enter(
        f"forge {_words}",
        lambda folder, words=_words: _forge(folder, *words.split()),  # type: ignore[misc]
        *_says,
    )


@topic.case("stolen model: bn1.bias: expected a tensor of shape (16,), found (22,)")
def forge_to_a_model_of_another_network(folder: Path) -> list[Any]:
    return _forge(folder, "interpolation", "--stolen", fixture(folder, "state.pt"))


@topic.case("FORGED: output folder: expected a name not taken yet, found one that is", "--force")
def forge_over_a_folder(folder: Path) -> list[Any]:
    (folder / "FORGED").mkdir()
    return _forge(folder, "swap")


@topic.case("FORGED: output folder: expected a transcript to overwrite, found something else")
def forge_by_force_over_a_folder_of_something_else(folder: Path) -> list[Any]:
    (folder / "FORGED").mkdir()
    (folder / "FORGED" / "thesis.tex").touch()
    return _forge(folder, "swap", "--force")


@topic.case("notes.txt/record.json: output: expected a folder to write to, found a file")
def audit_whose_record_could_not_be_written_is_not_begun(folder: Path) -> list[Any]:
    (folder / "notes.txt").touch()
    return _audit(folder, "--out", folder / "notes.txt" / "record.json", damage=shutil.rmtree)


@topic.case("bundle-v1: transcript: expected a folder with manifest.json, found none")
def forge_of_a_ticket(folder: Path) -> list[Any]:
    return ["forge", "swap", fixture(folder, "bundle-v1"), "--out", folder / "FORGED"]


@topic.case("T/chain.jsonl: entry 2: expected the head sha256:")
def forge_of_a_damaged_transcript(folder: Path) -> list[Any]:
    arguments = _forge(folder, "swap")
    flip_after(folder / "T" / CHAIN, b'"step": ')
    return arguments
