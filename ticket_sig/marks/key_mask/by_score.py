"""Splitting a model file by a score of the registry: what the score needs, and the folder that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticket_sig import scores
from ticket_sig.errors import about, bad_input
from ticket_sig.files import check_new, read_json, whole_folder
from ticket_sig.formats import load, save
from ticket_sig.marks.key_mask.split import Split, split
from ticket_sig.options import flag, one_named, options_of
from ticket_sig.ticket import Ticket
from ticket_sig.training.subject import Subject

_NEEDS = {"arch": "network", "dataset": "data", "data": "data", "seed": "seed"}  # what each is given for


@dataclass(frozen=True, kw_only=True)
class ByScore:
    """A score, its options, and what it may look at beside the ticket; None: not given.

    Attributes:
        name: of the score in the registry.
        options: of the score, those that were given.
        arch, dataset, data, seed: network, data set, its folder, and seed.

    Raises:
        InputError: no score of that name, an option out of range, or something that the score has no use for.
    """

    name: str
    options: Mapping[str, Any]
    arch: str | None = None
    dataset: str | None = None
    data: Path | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        one_named(scores.SCORES, "score", self.name)
        for given in (*self.options, *(n for n in _NEEDS if getattr(self, n) is not None)):
            users = [name for name, kind in scores.SCORES.items() if _uses(kind, given)]
            if users and self.name not in users:
                expected = f"a score that uses it ({', '.join(users)})"
                raise bad_input("", flag(given), expected, repr(self.name))
        scores.make(self.name, **self.options)

    def split_file(self, path: Path, folder: Path, share: float) -> tuple[Split, float | None, float]:
        """Splits a model file and writes FOLDER/locked and FOLDER/key.safetensors, whole or not at all.

        Returns:
            The parts; how far off sampled scores can be, None where none were sampled; the lowest in the key.

        Raises:
            InputError: the folder is there already, the model cannot be read or is locked, or as `split`.
        """
        check_new(folder, "choose another; a key is never overwritten")
        loaded = load(path)
        with about(path):
            if loaded.sealed:
                hint = "unlock it first"
                raise bad_input("", "sealed part", "none, to be split", "one: it is locked", hint=hint)
            asked = self._scored(loaded.ticket)
            found = scores.score(self.name, asked, **self.options)
            claim = read_json(loaded.claim) if loaded.claim else None
            parts = split(loaded.ticket, share, found, score=self.name, claim=claim)
            error = scores.make(self.name, **self.options).error(asked)
        with whole_folder(folder) as partial:
            save(parts.locked, partial / "locked", claim=parts.claim.to_json(), sealed=parts.sealed)
            parts.key.write(partial / "key.safetensors")
        lowest = min(float(found[n].flatten()[where].min()) for n, where in parts.key.positions.items())
        return parts, error, lowest

    def _scored(self, ticket: Ticket) -> scores.Scored:
        uses, subject = scores.SCORES[self.name].uses, Subject.of(ticket, self.arch, self.dataset)
        return scores.Scored(
            ticket=ticket,
            model=subject.network(ticket) if "network" in uses else None,
            data=subject.data(self.data) if "data" in uses else None,
            seed=self.seed or 0,
        )


def _uses(kind: type[scores.Score], given: str) -> bool:
    return _NEEDS.get(given) in kind.uses or given in {f.name for f in options_of(kind)}
