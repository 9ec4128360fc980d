"""Case 13: people sign with their names, and an arbiter reads the picture of the code with what is at hand.

Without a header that says UTF-8 some readers guess another character set. `zxing-cpp` always guesses UTF-8,
so the tests look at the bits, too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import zxingcpp
from support.qr import reading_order
from support.tickets import sparse, sparse_ticket

from ticket_sig import Claim, Mask, Ticket, embed, extract, verify
from ticket_sig.marks.mark import of_kind
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.mark import CodeMark

PLAIN = ["owner@example.org", "00012345", "https://example.org/a?b=c%20d#x", "  a  ", "a\nb", "0" * 9 + "A"]
OTHERS = [
    *(
        "Zürich 8",
        "café",
        "αβγ",
        "توقيع",
        "漢字",
        "🎟️ ticket",
        "€100",
        "Подпись",
        "한국어",
        "é",
        "ｱｲｳ",
        " é\n",
    ),
    "Straße 123456789012345678901234 é",  # digits that would be a part of their own
    "CAPITALS OF TWENTY AND MORE É",
]

# What ticket_sig wrote before: no header, no field.
OLD: dict[str, Any] = {
    "message": "Zürich 漢字",
    "qr": {
        "version": 1,
        "level": "M",
        "data_mask": 1,
        "digest": "sha256:1306c2c83b53064399827af4d541dcd08df777f369cd133eab075dcf380933c6",
    },
    "placement": {"layer": "a.weight", "row": 10, "column": 7, "shape": [40, 40]},
}


def seen(code: qr.QRCode) -> str:
    """What an independent reader finds in the picture of a code."""
    (found,) = zxingcpp.read_barcodes(qr.to_image(code.light), formats=zxingcpp.BarcodeFormat.QRCode)
    assert found.bytes == found.text.encode()
    return found.text


def begins_with_header(code: qr.QRCode) -> bool:
    """Whether the data of a code of one block begin with mode 7 and the number 26, which is UTF-8."""
    rows, columns = np.divmod(reading_order(code.data)[:12], len(code.light))
    assert code.data_mask == 0
    bits = ~(code.light[rows, columns] ^ ((rows + columns) % 2 == 0))
    return "".join("01"[int(bit)] for bit in bits) == "0111" + "00011010"


def ours(code: qr.QRCode) -> str:
    """What our own reader finds in the modules of a code."""
    return qr.decode(code.light, code.version, code.level, code.data_mask).message


@pytest.mark.parametrize("message", [*PLAIN, *OTHERS])
def test_a_code_says_that_it_is_utf_8_where_that_makes_a_difference(message: str) -> None:
    for level in "LH":
        codes = qr.encode(message, qr.smallest_version(message, level), level)
        for code in codes[::3]:
            assert (seen(code), ours(code), code.eci) == (message, message, not message.isascii())
    assert begins_with_header(qr.encode(message, 5, "L")[0]) == (not message.isascii())


@pytest.mark.parametrize("message", OTHERS)
def test_codes_written_before_have_no_header_and_are_read(message: str) -> None:
    code = qr.encode(message, 5, "L", eci=False)[0]
    assert (ours(code), seen(code), begins_with_header(code)) == (message, message, False)


def test_the_header_takes_room() -> None:
    for version in (1, 9, 10, 27, 40):
        most = qr.capacity(version, "H", eci=True)
        assert 1 <= qr.capacity(version, "H") - most <= 2
        text = "é" * (most // 2) + "e" * (most % 2)
        assert qr.smallest_version(text, "H") == version
        plain, headed = (qr.encode(text, version, "H", eci=eci)[0].payload_bits for eci in (False, True))
        assert headed == plain + 12
        assert version == 40 or qr.smallest_version(text + "e", "H") == version + 1


def test_a_signature_with_accents_is_read_and_its_claim_says_that_there_is_a_header() -> None:
    signed = embed(sparse_ticket(), "Zoë, Genève")
    [one] = signed.claim.to_json()["marks"]
    assert one["fields"]["qr"]["eci"] == 26
    claim = Claim.from_json(signed.claim.to_json())
    assert of_kind(CodeMark, claim) == signed.mark
    reading = extract(signed.ticket, claim)
    assert (reading.message, reading.corrected) == ("Zoë, Genève", 0)
    assert verify(signed.ticket, claim).verified
    [ascii_only] = embed(sparse_ticket(), "Zoe, Geneve").claim.to_json()["marks"]
    assert "eci" not in ascii_only["fields"]["qr"]


def test_a_claim_written_before_is_of_a_code_without_a_header_and_has_its_p_value() -> None:
    weights = {"a.weight": sparse(40, 40, density=0.5, seed=3)}
    mark = CodeMark.from_json(deepcopy(OLD))
    signed = mark.embed(Ticket(weights=weights, mask=Mask.of_zeros(weights)))
    reading = mark.read(signed)
    assert (reading.message, reading.agreement, mark.to_json()) == ("Zürich 漢字", 1.0, OLD)
    assert reading.log10_p == -14.837938392421634
