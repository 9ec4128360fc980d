"""Splitting a model file by a score of the registry: what the score needs, and the folder that is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticket_sig import scores
from ticket_sig.errors import about, bad_input
from ticket_sig.files import check_new, read_json, whole_folder
from ticket_sig.formats import load, save
from ticket_sig.marks.key_mask.split import Split, split
from ticket_sig.options import flag, one_named, options_of
from ticket_sig.training.subject import Subject

_NEEDS = {"arch": "network", "dataset": "data", "data": "data", "seed": "seed"}  # what each is given for


def split_file(
    path: Path,
    folder: Path,
    share: float,
    score: str,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    mask: Path | None = None,
) -> tuple[Split, float | None, float]:
    """Splits a model file and writes FOLDER/locked and FOLDER/key.safetensors, whole or not at all.

    Args:
        share: of the kept weights that the key takes.
        score: its name in the registry.
        options: of the score, those that were given.
        given: what it may look at beside the ticket: arch, dataset, data (its folder) and seed; each or None.
        mask: a file of the model's mask, where it lies apart.

    Returns:
        The parts; how far off sampled scores can be, None where none were sampled; the lowest in the key.

    Raises:
        InputError: no score of that name, an option out of range, or something that the score has no use for;
            the folder is there already, the model cannot be read or is locked, or as `split`.
    """
    made = _checked(score, options, given)
    check_new(folder, "choose another; a key is never overwritten")
    loaded = load(path, mask)
    with about(path):
        if loaded.sealed:
            hint = "unlock it first"
            raise bad_input("", "sealed part", "none, to be split", "one: it is locked", hint=hint)
        subject, uses = Subject.of(loaded.ticket, given["arch"], given["dataset"]), made.uses
        asked = scores.Scored(
            ticket=loaded.ticket,
            model=subject.network(loaded.ticket) if "network" in uses else None,
            data=subject.data(given["data"]) if "data" in uses else None,
            seed=given["seed"] or 0,
        )
        ranked = scores.score(score, asked, **options)
        claim = read_json(loaded.claim) if loaded.claim else None
        parts = split(loaded.ticket, share, ranked, score=score, claim=claim)
        error = made.error(asked)
    with whole_folder(folder) as partial:
        save(parts.locked, partial / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
        parts.key.write(partial / "key.safetensors")
    lowest = min(float(ranked[n].flatten()[where].min()) for n, where in parts.key.positions.items())
    return parts, error, lowest


def _checked(score: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> scores.Score:
    """The score, made; nothing is given that only others use."""
    one_named(scores.SCORES, "score", score)
    for name in (*options, *(n for n, value in given.items() if value is not None)):
        users = [other for other, kind in scores.SCORES.items() if _uses(kind, name)]
        if users and score not in users:
            raise bad_input("", flag(name), f"a score that uses it ({', '.join(users)})", repr(score))
    return scores.make(score, **options)


def _uses(kind: type[scores.Score], given: str) -> bool:
    return _NEEDS.get(given) in kind.uses or given in {f.name for f in options_of(kind)}
