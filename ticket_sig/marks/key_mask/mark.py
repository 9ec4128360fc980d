"""The key mask as a mark: what a claim says of a key, and how a suspect is read with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.errors import InputError, bad_input
from ticket_sig.fields import entry, whole
from ticket_sig.formats import load
from ticket_sig.formats.bundle import is_bundle
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.parts import locked_digest, taken_apart
from ticket_sig.marks.key_mask.reading import KeyReading, read_key
from ticket_sig.marks.mark import Drawn, Mark, Model, as_ticket
from ticket_sig.mask import dtype_name
from ticket_sig.scores.chance import Chance
from ticket_sig.scores.scored import Scored
from ticket_sig.ticket import Ticket

_DRAWN = 0.05  # of a ticket's kept weights, where a key is drawn at random


@dataclass(frozen=True)
class KeyMark(Mark):
    """What a claim says of a key.

    Attributes:
        commitment: digest of the key (`Key.commitment`).
        locked: digest of the locked ticket.
        score: what the key's weights were chosen by.
        kept_locked, kept_key: number of weights of each.
    """

    name: ClassVar[str] = "key-mask"
    stands_in: ClassVar[str] = "mask"
    carries: ClassVar[str] = "nothing"
    needs: ClassVar[Mapping[str, str]] = {
        "key": "The key's file (key-mask).",
        "locked": "The locked bundle as it was handed out (key-mask); by default the claim's own folder.",
    }
    locks: ClassVar[bool] = True
    passive: ClassVar[bool] = True  # the ticket that is split stays as it is
    usual_size: ClassVar[int | None] = None

    commitment: str
    locked: str
    score: str
    kept_locked: int
    kept_key: int

    @classmethod
    def drawn(
        cls, model: Model, secret: bytes, size: int | None = None, data: Dataset | None = None
    ) -> Drawn:
        """A key of 5 % of the kept weights, drawn at random, so that one ticket has many.

        Raises:
            InputError: a size is given, or the ticket has too few weights.
        """
        if size is not None:
            raise bad_input(cls.name, "size", "none: it carries nothing", str(size))
        ticket = as_ticket(model)
        scores = Chance()(Scored(ticket=ticket, seed=int.from_bytes(secret[:8], "big")))
        locked, key, _ = taken_apart(ticket, _DRAWN, scores, secret)
        made = cls(key.commitment, key.locked, "random", locked.mask.kept, len(key))
        return Drawn(mark=made, shown={"key": key, "locked": locked})

    def read(self, suspect: Model, *, key: Key | None = None, locked: Ticket | None = None) -> KeyReading:
        """What a suspect keeps of the key; the locked ticket is as it was handed out, not trained since.

        Raises:
            InputError: key or locked ticket is missing, or as `check`; or the suspect lacks one of the key's
                layers or has it in another shape.
        """
        if key is None:
            raise _no_key()
        if locked is None:
            expected = "the one of the claim, to verify a key mask"
            raise bad_input("", "locked ticket", expected, "none", hint="give it: --locked DIR")
        self.check(key, locked)
        return read_key(as_ticket(suspect), key, locked)

    def check(self, key: Key, locked: Ticket) -> None:
        """Checks that key and locked ticket are those this claim was made with, and fit each other.

        Raises:
            InputError: one belongs to another claim or was changed; or the key names layers that the locked
                ticket does not have, positions that are not there, or weights of the locked mask itself.
        """
        if key.locked != self.locked:
            raise bad_input("key", "ticket", f"the claim's {self.locked}", f"a key of {key.locked}")
        if key.commitment != self.commitment:
            hint = "it was altered since the ticket was split, or forged"
            raise bad_input("key", "digest", f"the claim's {self.commitment}", key.commitment, hint=hint)
        if (found := locked_digest(locked)) != self.locked:
            hint = "it must be as it was handed out, before it is trained"
            raise bad_input("locked ticket", "digest", f"the claim's {self.locked}", found, hint=hint)
        for name, where in key.positions.items():
            _check_layer(name, where, key.weights[name], locked)

    def to_json(self) -> dict[str, Any]:
        """The claim's fields."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KeyMark:
        """Reads the claim's fields; InputError where one is missing, of another type or out of range."""
        commitment, locked, score = (entry(value, name, str) for name in ("commitment", "locked", "score"))
        kept = (whole(value, name, least=0) for name in ("kept_locked", "kept_key"))
        return cls(commitment, locked, score, *kept)

    def __str__(self) -> str:
        return f"{self.name}, {self.kept_key} weights by {self.score}; {self.kept_locked} are locked"

    def opened(self, files: Mapping[str, Path], beside: Path) -> dict[str, Any]:
        """The key, and the locked ticket of the claim; InputError where one is missing or damaged."""
        if "key" not in files:
            if "locked" in files:
                raise _no_key()
            return {}
        folder = files.get("locked", beside.parent)
        if "locked" not in files and not is_bundle(folder):
            expected, hint = "the bundle that this claim was handed out in", "give it: --locked DIR"
            raise bad_input(beside, "locked ticket", expected, "none", hint=hint)
        return {"key": Key.read(files["key"]), "locked": load(folder).ticket}


def _no_key() -> InputError:
    hint = "give it: --key FILE"
    return bad_input("", "key", "the key's file, to verify a key mask", "none", hint=hint)


def _check_layer(name: str, where: Tensor, weights: Tensor, locked: Ticket) -> None:
    if name not in locked.mask:
        raise bad_input("key", "layer", "one of the locked mask", name)
    kept, dtype = locked.mask[name].flatten(), locked.weights[name].dtype
    if int(where[-1]) >= len(kept):
        raise bad_input("key", name, f"positions below {len(kept)}", str(int(where[-1])))
    if weights.dtype != dtype:
        expected = f"weights of {dtype_name(dtype)}, as the locked ticket's"
        raise bad_input("key", name, expected, dtype_name(weights.dtype))
    if within := int(kept[where].sum()):
        raise bad_input("key", name, "positions outside the locked mask", f"{within} within")
