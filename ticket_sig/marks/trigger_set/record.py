"""The queries for a claim: prepared, and kept on record to be asked again."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from ticket_sig.claim import Claim
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, hexadecimal, whole
from ticket_sig.files import SECRET, read_json, write_json
from ticket_sig.marks.mark import of_kind
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.trigger_set.queries import Queries
from ticket_sig.marks.trigger_set.triggers import TriggerSet, check_extent

FORMAT, FORMAT_VERSION = "ticket_sig queries", 1
DECOYS = 300
FEWEST_DECOYS, MOST_DECOYS = 100, 100_000
NONCE_BYTES = 32


def prepare(claim: Claim, triggers: TriggerSet, decoys: int = DECOYS, nonce: bytes | None = None) -> Queries:
    """Makes the queries for a claim on a trigger set.

    Args:
        decoys: how many unrelated images to ask about beside the triggers.
        nonce: what decoys and order follow from; fresh by default. Whoever judges a claim must draw it.

    Raises:
        InputError: the claim is damaged or of no trigger set, the trigger set is not the claim's, or there
            are too few or too many decoys, or decoys of such a size.
    """
    of_kind(TriggerMark, claim).check(triggers)
    if not FEWEST_DECOYS <= decoys <= MOST_DECOYS:
        raise bad_input("", "decoys", f"{FEWEST_DECOYS} to {MOST_DECOYS}", str(decoys))
    check_extent("decoys", decoys, triggers.size, triggers.classes)
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    if len(nonce) != NONCE_BYTES:
        raise bad_input("", "nonce", f"{NONCE_BYTES} bytes", str(len(nonce)))
    return Queries(triggers, nonce, decoys)


def write_record(queries: Queries, path: Path) -> None:
    """Writes what the queries are made again from. It tells triggers from decoys: its owner's to read."""
    write_json(path, _record(queries), mode=SECRET)


def read_queries(path: Path, claim: Claim, triggers: TriggerSet) -> Queries:
    """Reads a record and makes the queries again.

    Raises:
        InputError: missing, damaged, of another claim, or the pictures that follow from it are not those
            that were written.
    """
    value = read_json(path)
    with about(path):
        check_format(value, "queries", FORMAT, FORMAT_VERSION)
        nonce, decoys = hexadecimal(value, "nonce", "queries", NONCE_BYTES), whole(value, "decoys", "queries")
        queries = prepare(claim, triggers, decoys, nonce)
        ours = _record(queries)
        named = {"commitment": "the claim's", "pictures": "those of claim, triggers and nonce"}
        for name, theirs in named.items():
            if value.get(name) != ours[name]:
                raise bad_input("queries", name, f"{theirs} {ours[name]}", repr(value.get(name))[:80])
    return queries


def _record(queries: Queries) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "commitment": queries.triggers.commitment,
        "nonce": queries.nonce.hex(),
        "decoys": queries.decoys,
        "pictures": queries.digest,
    }
