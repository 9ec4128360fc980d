"""The hash chain of a transcript: each entry holds the head before it, so that none can be changed alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticket_sig.digests import json_digest
from ticket_sig.errors import InputError, bad_input
from ticket_sig.fields import parse_json
from ticket_sig.files import is_there

FIRST = "sha256:" + 64 * "0"  # what the first entry holds as the head before it
_LONGEST = 1 << 20  # bytes of a line


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        number: counted from 0.
        kind: "manifest", "level", "boundary" or "end".
        fields: what it says, as JSON.
        previous: the head before it.
    """

    number: int
    kind: str
    fields: Mapping[str, Any]
    previous: str

    @property
    def content(self) -> dict[str, Any]:
        """What is hashed."""
        own = {"number": self.number, "kind": self.kind, "previous": self.previous}
        return {**own, "fields": dict(self.fields)}

    @property
    def head(self) -> str:
        """The head of the chain after this entry: SHA-256 of its content."""
        return json_digest(self.content)

    @property
    def place(self) -> tuple[str, object, object]:
        """What there is one entry of: its kind, level and step."""
        return self.kind, self.fields.get("level"), self.fields.get("step")


class Chain:
    """The entries of a file, one a line, and whatever is added to it.

    Args:
        path: of the file; none yet is an empty chain.
        mend: `cut_unfinished` before.

    Raises:
        InputError: a line is cut short or damaged, or its head does not follow from what is before it.
    """

    def __init__(self, path: Path, *, mend: bool = False) -> None:
        self.path = path
        there = is_there(path, "chain")
        if mend and there:
            cut_unfinished(path)
        self.entries: list[Entry] = list(_read(path)) if there else []
        self._size = path.stat().st_size if there else 0

    @property
    def head(self) -> str:
        """The digest that all entries follow from."""
        return self.entries[-1].head if self.entries else FIRST

    def add(self, kind: str, fields: Mapping[str, Any]) -> Entry:
        """Adds an entry; it is on the disk when this returns.

        Raises:
            InputError: the file is no longer as it was read and added to: two trainings record into it.
        """
        entry = Entry(len(self.entries), kind, fields, self.head)
        line = json.dumps({**entry.content, "head": entry.head}, sort_keys=True, allow_nan=False)
        with self.path.open("ab") as file:
            if (found := file.tell()) != self._size:
                hint = "does another process record there?"
                raise bad_input(self.path, "size", f"{self._size} bytes, as before", str(found), hint=hint)
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()
        self.entries.append(entry)
        return entry

    def of(self, kind: str) -> Sequence[Entry]:
        """The entries of a kind."""
        return [entry for entry in self.entries if entry.kind == kind]


def cut_unfinished(path: Path) -> None:
    """Cuts off a last line that a killed process left unfinished."""
    content = path.read_bytes()
    if (whole := content.rfind(b"\n") + 1) < len(content):
        os.truncate(path, whole)


def _read(path: Path) -> Iterator[Entry]:
    previous = FIRST
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b"")):
            entry = _entry(path, number, line)
            if entry.previous != previous:
                raise _broken(path, number, f"the head before it, {previous}", entry.previous)
            previous = entry.head
            yield entry


def _entry(path: Path, number: int, line: bytes) -> Entry:
    if not line.endswith(b"\n"):
        raise _broken(path, number, "a whole line", "one that is cut short or too long")
    try:
        value = parse_json(line)
        entry = Entry(value["number"], value["kind"], value["fields"], value["previous"])
        typed = isinstance(entry.kind, str) and isinstance(entry.fields, dict)
        if not typed or type(entry.number) is not int or not isinstance(entry.previous, str):
            raise TypeError
        head = entry.head
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _broken(path, number, "number, kind, fields, previous and head", "something else") from None
    if entry.number != number:
        raise _broken(path, number, f"entry {number}", f"entry {entry.number}")
    if value.get("head") != head:
        raise _broken(path, number, f"the head {head}", str(value.get("head"))[:80])
    return entry


def _broken(path: Path, number: int, expected: str, found: str) -> InputError:
    return bad_input(path, f"entry {number}", expected, found)
