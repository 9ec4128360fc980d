"""Proof-of-learning: each field of a transcript altered, in its file alone and with a chain that fits."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.lib.bench import Bench
from experiments.lib.sections import table
from experiments.lib.showing import Result
from experiments.pol.recordings import Runs, recipe_of, recorded
from ticket_sig.cells import Cell, Measured
from ticket_sig.datasets import Dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.key_pair import KeyPair
from ticket_sig.mask import Mask
from ticket_sig.training.steps import Steps
from ticket_sig.transcripts import Transcript, audit
from ticket_sig.transcripts.chain import Chain
from ticket_sig.transcripts.manifest import data_facts
from ticket_sig.transcripts.recording import CHAIN, MANIFEST, MASK, SIGNATURES, state_file
from ticket_sig.transcripts.spoofs import Scene, spoof
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.states import State

TITLE = "Proof-of-learning: each field of a transcript altered"
ALONE, REWRITTEN = "alone", "chain rewritten"
SIZES = {
    "paper": Runs("digits", "demo", Steps(24, "it"), 6, 1),
    "quick": Runs("digits", "demo", Steps(24, "it"), 6, 1),
    "smoke": Runs("digits", "demo", Steps(4, "it"), 2, 1),
}
_SMOKE = ("one parameter", "signatures, all removed", "stack")
_OTHER = f"sha256:{64 * 'a'}"
_LAST = 1  # the level that is altered: a dense one and one round of pruning are there
Fields = dict[str, Any]
Lines = list[Fields]
InFile = Callable[[Path], object]
Anew = Callable[[Forgery], None]


@dataclass(frozen=True)
class Tampering:
    """One field altered; None where a way makes no sense.

    Attributes:
        alone: alters the file of a signed transcript, and nothing else.
        anew: alters what is written with a whole new chain.
        after: alters the lines of that new chain, which then follow from each other again.
        data: what an auditor is shown in place of the data set.
        true: what is said stays true of the training, with a new chain: it is accepted, and why.
    """

    alone: InFile | None = None
    anew: Anew | None = None
    after: Callable[[Lines], Lines] | None = None
    data: Callable[[Dataset], Dataset] | None = None
    true: str = ""

    def ways(self) -> Mapping[str, bool]:
        """Which of the two ways there are."""
        rewritten = bool(self.anew or self.after or self.data)
        return {ALONE: bool(self.alone or self.data), REWRITTEN: rewritten}


def of_state(change: Callable[[State], State]) -> Tampering:
    """The state half-way through the last level, changed."""

    def alone(folder: Path) -> None:
        path = _state_of(folder)
        change(State.read(path)).write(path)

    return Tampering(alone, lambda forgery: forgery.change(forgery.at(0.5), change))


def of_file(change: InFile) -> Tampering:
    """The file of that state."""
    return Tampering(lambda folder: change(_state_of(folder)))


def of_manifest(path: str, value: Any, *, anew: bool = True, true: str = "") -> Tampering:
    """One value of the manifest, by the path of its name."""

    def changed(manifest: Fields) -> None:
        *parents, name = path.split("/")
        for parent in parents:
            manifest = manifest[parent]
        manifest[name] = value

    def alone(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        changed(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return Tampering(alone, (lambda forgery: changed(forgery.manifest)) if anew else None, true=true)


def of_entry(kind: str, name: str, value: Any) -> Tampering:
    """One field of the last entry of a kind, but for the end of a level."""

    def changed(lines: Lines) -> Lines:
        mine = [line for line in lines if line["kind"] == kind]
        mine[-2 if kind == "boundary" else -1]["fields"][name] = value
        return lines

    return of_lines(changed)


def of_lines(change: Callable[[Lines], Lines], *, true: str = "") -> Tampering:
    """The lines of the chain: as they are, and in a new chain."""

    def alone(folder: Path) -> None:
        lines = [json.loads(line) for line in (folder / CHAIN).read_text().splitlines()]
        (folder / CHAIN).write_text("".join(f"{json.dumps(line)}\n" for line in change(lines)))

    return Tampering(alone, after=change, true=true)


def of_signatures(change: Callable[[list[str]], list[str]]) -> Tampering:
    """The lines of the file of signatures."""

    def alone(folder: Path) -> None:
        lines = (folder / SIGNATURES).read_text().splitlines()
        (folder / SIGNATURES).write_text("".join(f"{line}\n" for line in change(lines)))

    return Tampering(alone)


def of_data(change: Callable[[Dataset], None], true: str = "") -> Tampering:
    """The data set that an auditor is shown; with a new chain, its manifest commits to that one."""

    def changed(data: Dataset) -> Dataset:
        copies = {
            part: replace(
                split := getattr(data, part), images=split.images.clone(), labels=split.labels.clone()
            )
            for part in ("train", "test")
        }
        change(made := replace(data, **copies))
        return made

    return Tampering(data=changed, true=true)


def _state_of(folder: Path, after: int = 0) -> Path:
    """The file of a boundary half-way through the last level, or of one after it."""
    files = sorted(state_file(folder, _LAST, 0).parent.iterdir())
    return files[len(files) // 2 + after]


def _bumped(tensors: Mapping[str, Tensor], value: float | None = None) -> dict[str, Tensor]:
    """One number that is not zero changed a little, or to a value."""
    name = next(n for n, t in tensors.items() if t.is_floating_point() and bool((t != 0).any()))
    tensor = tensors[name].clone()
    place = tuple((tensor != 0).nonzero()[0].tolist())
    tensor[place] = tensor[place] + 1e-3 if value is None else value
    return {**tensors, name: tensor}


def _one_bit(mask: Mapping[str, Tensor]) -> Mask:
    name = next(iter(mask))
    tensor = mask[name].clone()
    tensor.view(-1)[0] ^= True
    return Mask({**mask, name: tensor})


def _swap(folder: Path) -> None:
    one, other = _state_of(folder), _state_of(folder, -1)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _flip_mask(folder: Path) -> None:
    write_safetensors(folder / MASK, _one_bit(read_safetensors(folder / MASK)))


def _other_mask(forgery: Forgery) -> None:
    assert forgery.mask is not None
    forgery.mask = _one_bit(forgery.mask)
    forgery.levels[-1]["mask"] = tensor_digest(forgery.mask)


def _longer(folder: Path) -> None:
    """Whoever adds a line needs no key."""
    chain = Chain(folder / CHAIN)
    last = chain.of("boundary")[-1].fields
    chain.add("boundary", {**last, "step": last["step"] + 1})


def _fewer(forgery: Forgery) -> None:
    del forgery.states[forgery.at(0.5)]


def _without_boundary(lines: Lines) -> Lines:
    mine = [line for line in lines if line["kind"] == "boundary"]
    return [line for line in lines if line is not mine[-2]]


def _cut(path: Path) -> int:
    return path.write_bytes(path.read_bytes()[:-100])


def _pixel(part: str) -> Callable[[Dataset], None]:
    def change(data: Dataset) -> None:
        getattr(data, part).images[:1] ^= 1

    return change


def _label(data: Dataset) -> None:
    data.train.labels[0] = (data.train.labels[0] + 1) % data.classes


def _spoofed(name: str) -> Anew:
    return lambda forgery: spoof(name).forge(forgery, Scene())


def _signed_field(name: str, change: Callable[[Any], Any]) -> Tampering:
    def changed(lines: list[str]) -> list[str]:
        one = json.loads(lines[-1])
        return [*lines[:-1], json.dumps({**one, name: change(one[name])})]

    return of_signatures(changed)


def tamperings(runs: Runs) -> dict[str, Tampering]:
    """Every field that can be altered, by what it is."""
    return {**_of_states(), **_of_manifest(runs), **_of_data(), **_of_chain(), **_of_files_beside()}


def _of_states() -> dict[str, Tampering]:
    return {
        "one parameter": of_state(lambda s: replace(s, parameters=_bumped(s.parameters))),
        "one value of a buffer": of_state(lambda s: replace(s, buffers=_bumped(s.buffers))),
        "one value of the momentum": of_state(lambda s: replace(s, optimizer=_bumped(s.optimizer))),
        "sum of losses": of_state(lambda s: replace(s, losses=(s.losses[0] + 1e-9, s.losses[1]))),
        "one parameter, NaN": of_state(lambda s: replace(s, parameters=_bumped(s.parameters, torch.nan))),
        "loss, NaN": of_state(lambda s: replace(s, losses=(torch.nan, s.losses[1]))),
        "state file, cut short": of_file(_cut),
        "state file, missing": of_file(Path.unlink),
        "states of two boundaries, swapped": Tampering(_swap, _spoofed("swap")),
    }


def _of_manifest(runs: Runs) -> dict[str, Tampering]:
    printed = "the bits are those of that training; the audit prints what differs"
    return {
        "learning rate": of_manifest("recipe/lr", 0.3),
        "seed": of_manifest("recipe/seed", 7),
        "batch size": of_manifest("recipe/batch_size", 32),
        "length of a segment, shorter": of_manifest("segment", runs.segment - 1),
        "length of a segment, longer": of_manifest(
            "segment", runs.segment + 1, true="no segment is longer than promised"
        ),
        "kind of training": of_manifest("kind", "training"),
        "initial weights": of_manifest("initial/digest", _OTHER, anew=False),
        "root of the data": of_manifest("data/root", _OTHER),
        "count of images": of_manifest("data/train", 1),
        "thread count": of_manifest("stack/threads", 0),
        "stack": of_manifest("stack/torch", "2.0.0", true=printed),
        "code": of_manifest("code/digest", _OTHER, true=printed),
        "marks that were kept": of_manifest("kept", [_OTHER]),
        "version of the format": of_manifest("version", 99),
        "who wrote it": of_manifest("written_by", "ticket_sig 99", anew=False),
        "signer": of_manifest("signer", f"02{64 * 'a'}", anew=False),
    }


def _of_data() -> dict[str, Tampering]:
    return {
        "image, one pixel": of_data(_pixel("train")),
        "label": of_data(_label),
        "image of the test split": of_data(_pixel("test"), true="no step sees it"),
    }


def _of_chain() -> dict[str, Tampering]:
    return {
        "chain, a boundary missing": replace(of_lines(_without_boundary), anew=_fewer, after=None),
        "chain, the end missing": of_lines(lambda lines: lines[:-1], true="it says that it has not ended"),
        "chain, a line doubled": of_lines(lambda lines: [*lines[:-1], *lines[-2:]]),
        "chain, two lines swapped": of_lines(lambda lines: [*lines[:-3], lines[-2], lines[-3], lines[-1]]),
        "chain, longer": Tampering(_longer, _spoofed("longer")),
        "chain, last line cut short": Tampering(lambda folder: _cut(folder / CHAIN)),
        "chain, digest of parameters": of_entry("boundary", "parameters", _OTHER),
        "chain, losses": of_entry("boundary", "losses", ["0x1p+0", "0x1p+4"]),
        "chain, step": of_entry("boundary", "step", 1),
        "level, mask": of_entry("level", "mask", _OTHER),
        "level, weights that are kept": of_entry("level", "kept", 1),
        "level, rate": of_entry("level", "rate", 0.4),
        "level, what it starts from": of_entry("level", "start", _OTHER),
        "end, mask": of_entry("end", "mask", _OTHER),
        "end, weights": of_entry("end", "weights", _OTHER),
    }


def _of_files_beside() -> dict[str, Tampering]:
    return {
        "mask file, one bit": Tampering(_flip_mask, _other_mask),
        "mask file, missing": Tampering(lambda folder: (folder / MASK).unlink()),
        "signature, one digit": _signed_field("signature", lambda s: s[:-1] + "01"[s[-1] == "0"]),
        "signature, by another key": _signed_field("public", lambda _: KeyPair.make().public),
        "signature, over another entry": _signed_field("entry", lambda n: n - 1),
        "signature, one removed": of_signatures(lambda lines: lines[:-1]),
        "signatures, all removed": of_signatures(lambda lines: []),
    }


def cells(bench: Bench) -> list[Cell]:
    """One cell a field."""
    runs = SIZES[bench.scale.name]
    return [altered(bench, name, one) for name, one in _chosen(bench, runs).items()]


def _chosen(bench: Bench, runs: Runs) -> dict[str, Tampering]:
    every = tamperings(runs)
    return {name: every[name] for name in _SMOKE} if bench.scale.name == "smoke" else every


def altered(bench: Bench, name: str, tampering: Tampering) -> Cell:
    """What an audit says of one alteration, by the way it is made."""
    runs = SIZES[bench.scale.name]
    recipe = recipe_of(bench, runs, rounds=1)

    def measure() -> Measured:
        honest, _ = recorded(bench, recipe, runs.segment)
        found = {way: said(bench, honest, tampering, way) for way, there in tampering.ways().items() if there}
        return {**found, "made_with": dict(honest.manifest.stack)}

    return bench.cell("pol tampering", measure, recipe, altered=name, segment=runs.segment)


def said(bench: Bench, honest: Transcript, tampering: Tampering, way: str) -> dict[str, Any]:
    """Exit code and message of `ticket-sig audit` on the altered transcript."""
    data = bench.data(honest.manifest.data["name"])
    shown = tampering.data(data) if tampering.data else data
    with tempfile.TemporaryDirectory() as home:
        folder, forgery = Path(home) / "T", Forgery(honest)
        if way == REWRITTEN:
            if tampering.data:
                forgery.manifest["data"] = data_facts(shown)
            if tampering.anew:
                tampering.anew(forgery)
            forgery.write(folder)
            if tampering.after:
                _follow(folder, tampering.after)
        else:
            forgery.write(folder, KeyPair.make())  # nothing is forged yet: it is the honest one, signed
            if tampering.alone:
                tampering.alone(folder)
        code, message = _audited(bench, folder, shown)
    message = message.replace(f"{folder}/", "").replace(str(folder), "T")
    return {
        "code": code,
        "message": re.sub(r"((?:sha256:|\b0[23])[0-9a-f]{6})[0-9a-f]{58}", r"\1...", message),
    }


def _follow(folder: Path, change: Callable[[Lines], Lines]) -> None:
    """Writes a chain again, changed, with heads that follow from each other."""
    lines = change([dict(one.content) for one in Chain(folder / CHAIN).entries])
    (folder / CHAIN).unlink()
    chain = Chain(folder / CHAIN)
    for line in lines:
        chain.add(line["kind"], line["fields"])


def _audited(bench: Bench, folder: Path, data: Dataset) -> tuple[int, str]:
    try:
        found = audit(Transcript.open(folder), data, engine=bench.engine)
    except InputError as error:
        return 2, str(error)
    differ = (f"other stack: {n}: {theirs}, here {ours}" for n, (theirs, ours) in found.differences.items())
    return int(not found.valid), "; ".join([found.outcome, *(differ if found.valid else found.reasons[:1])])


def result(bench: Bench) -> Result:
    """One row a field and way in the CSV, one a field on the page; what stays true is told apart."""
    rows, fields = [], []
    for name, tampering in _chosen(bench, SIZES[bench.scale.name]).items():
        one, cells = bench.store.measured(altered(bench, name, tampering)) or {}, []
        for way in (ALONE, REWRITTEN):
            true = tampering.true if way == REWRITTEN else ""
            message = one[way]["message"].replace("|", "\\|") if way in one else ""
            cells.append(
                f"{one[way]['code']}: {f'stays true, as {true}' if true else message}" if way in one else ""
            )
            if way in one and not true:
                rows.append((name, way, message, one[way]["code"]))
        if one:
            fields.append((name, *cells))
    accepted, runs = [row for row in rows if row[-1] == 0], SIZES[bench.scale.name]
    notes = (
        f"A search of one round, {runs.length} a training, {runs.segment} steps a segment, "
        "signed; all segments are trained again. `alone`: one file is altered, and nothing else. `chain "
        "rewritten`: by whoever writes manifest, digests and a whole new chain that fit, unsigned. Empty: "
        "there is no such way.",
        "Exit code and message of `audit`. 0: accepted; 1: not valid; 2: refused before any training. Of "
        "several reasons, the first; digests and paths are shortened.",
        "Of what stays true, a whole new chain is accepted. So is an honest transcript that somebody else "
        "signs: an audit does not say who trained.",
    )
    found = f"{len(rows)} altered transcripts: {len(rows) - len(accepted)} refused, {len(accepted)} accepted"
    shown = table(("field", ALONE, REWRITTEN), fields) if rows else []
    columns = "field | altered | message | exit code"
    return Result(columns, rows, notes, shown=shown, limits="Digits alone.", found=found)
