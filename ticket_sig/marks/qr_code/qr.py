"""QR codes as bits: a message to light and dark modules, and modules back to a message.

Encoding is the `qrcode` package's; Reed-Solomon decoding is `reedsolo`'s. Decoding works on the
module matrix, not on a picture, so it can say how many symbols it had to correct.
Text is UTF-8. A header (ECI 26) says so where the text is not ASCII: without it some readers guess
another character set. Codes of ticket_sig 0.1 have no header.
Source of the layout: ISO/IEC 18004, sections 7.3 to 7.7 (module placement, data masks, blocks).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import qrcode
import qrcode.base
import qrcode.util
from numpy.typing import NDArray
from PIL import Image
from reedsolo import ReedSolomonError, RSCodec

from ticket_sig.errors import bad_input
from ticket_sig.files import whole_file
from ticket_sig.marks.qr_code import soft
from ticket_sig.options import unicode_text

Bits = NDArray[np.bool_]

LEVELS = {"L": 1, "M": 0, "Q": 3, "H": 2}  # the standard's two-bit indicators, ISO/IEC 18004 table 12
DATA_MASKS = range(8)
VERSIONS = range(1, 41)
MOST_BITS = 23648  # of data in the largest code, version 40 at level L
_TOO_LONG = MOST_BITS // 10 * 3 + 4  # characters: three digits take 10 bits, and no other three take fewer
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_NUMERIC_MODE, _ALPHANUMERIC_MODE, _BYTE_MODE, _ECI_MODE = 1, 2, 4, 7
UTF8 = 26  # what an ECI header calls it
_HEADER = 4 + 8  # bits of an ECI header: the mode, and a number below 128


class QRDecodeError(ValueError):
    """The modules hold too many errors, or no text."""


@dataclass(frozen=True)
class QRCode:
    """A QR code: its parameters and its modules.

    Attributes:
        version: 1 to 40; the side is 17 + 4 * version modules.
        level: error correction, "L", "M", "Q" or "H".
        data_mask: which of the eight data masks is on, 0 to 7.
        light: boolean [side, side], True = light (white).
        payload_bits: length of the encoded message before padding, header included.
        eci: whether it has the header that says UTF-8.
    """

    version: int
    level: str
    data_mask: int
    light: Bits
    payload_bits: int
    eci: bool

    @property
    def data(self) -> Bits:
        """Boolean [side, side], True where a module carries data or error correction."""
        return function_patterns(self.version, self.level, self.data_mask)[1]


@dataclass(frozen=True)
class Decoded:
    """A message that was read, and what it took: corrected symbols (codewords) of all symbols."""

    message: str
    corrected: int
    symbols: int


def side(version: int) -> int:
    """Modules along one side."""
    return 17 + 4 * version


def largest_version(modules: int) -> int:
    """The largest version whose side is at most this many modules; 0 where none is."""
    return max(0, min(VERSIONS[-1], (modules - 17) // 4))


def capacity(version: int, level: str, eci: bool = False) -> int:
    """How many bytes of any text fit (byte mode); digits and capitals alone take less room."""
    taken = _HEADER * eci + 4 + qrcode.util.length_in_bits(_BYTE_MODE, version)
    return int(_room(version, level) - taken) // 8


def smallest_version(message: str, level: str, limit: int = VERSIONS[-1], eci: bool | None = None) -> int:
    """The smallest version that the message fits into.

    Args:
        eci: whether the code has the header that says UTF-8; by default where the message is not ASCII.

    Raises:
        InputError: the message is empty, no text, or too long for version `limit`; or no such level.
    """
    _check_level(level)
    if not message:
        raise bad_input("", "message", "at least one character", "none")
    length = len(unicode_text("message", message))
    eci = not message.isascii() if eci is None else eci
    # A claim's message may have millions of parts, and take hours: so many characters fit no code.
    segments = _segments(message[:_TOO_LONG], eci)
    for version in VERSIONS[:limit]:
        if _payload_bits(segments, version, eci) <= _room(version, level):
            return version
    hint = "is the largest there is room for; shorten the message or choose a lower level"
    expected = f"at most {capacity(limit, level, eci)} bytes at level {level}"
    raise bad_input("", "message", expected, str(length), hint=f"version {limit} {hint}")


@lru_cache(maxsize=32)
def encode(message: str, version: int, level: str, eci: bool | None = None) -> tuple[QRCode, ...]:
    """Returns the code of a message under each of the eight data masks; nobody can write to its modules.

    Args:
        eci: whether the code has the header that says UTF-8; by default where the message is not ASCII.

    Raises:
        InputError: the message does not fit this version and level, or there is no such version or level.
    """
    _check_level(level)
    if version not in VERSIONS:
        raise bad_input("", "QR version", "1 to 40", str(version))
    eci = not message.isascii() if eci is None else eci
    if (needed := smallest_version(message, level, eci=eci)) > version:
        expected = f"at most {capacity(version, level, eci)} bytes in version {version}, level {level}"
        raise bad_input("", "message", expected, f"{len(message.encode())}, which takes version {needed}")
    codewords, payload_bits = _codewords(message, version, level, eci)
    order, codes = _reading_order(version), []
    bits = np.zeros(len(order[0]), dtype=bool)  # the few modules that the codewords leave over stay 0
    bits[: 8 * len(codewords)] = np.unpackbits(np.array(codewords, dtype=np.uint8))
    for data_mask in DATA_MASKS:
        light = function_patterns(version, level, data_mask)[0].copy()
        light[order] = bits == _mask_pattern(version, data_mask)[order]
        light.setflags(write=False)
        codes.append(QRCode(version, level, data_mask, light, payload_bits, eci))
    return tuple(codes)


def _room(version: int, level: str) -> int:
    """Bits of data in a code."""
    return 8 * sum(int(block.data_count) for block in qrcode.base.rs_blocks(version, LEVELS[level]))


def _segments(message: str, eci: bool) -> list[qrcode.util.QRData]:
    """A message in parts: digits and capitals take less room where 20 or more of them follow each other.

    Behind a header the message is one part: OpenCV 5 reads no more than one there.
    """
    return (
        [qrcode.util.QRData(message)] if eci else list(qrcode.util.optimal_data_chunks(message, minimum=20))
    )


def _payload_bits(segments: list[qrcode.util.QRData], version: int, eci: bool) -> int:
    """Length of a message in bits, before padding."""
    bits = _HEADER * eci
    for segment in segments:
        n = len(segment)
        # Three digits take 10 bits, two capitals 11.
        body = {_NUMERIC_MODE: (10 * n + 2) // 3, _ALPHANUMERIC_MODE: (11 * n + 1) // 2}
        bits += 4 + qrcode.util.length_in_bits(segment.mode, version) + body.get(segment.mode, 8 * n)
    return bits


def _codewords(message: str, version: int, level: str, eci: bool) -> tuple[list[int], int]:
    """The interleaved codewords of a message, and its length in bits before padding.

    The standard pads with two bytes in turn, which makes a short message in a large code so regular
    that a mask with dead channels may agree with it. Readers skip the padding; ours is SHAKE-256 of
    the message, so that the whole code looks like chance.
    """
    buffer = qrcode.util.BitBuffer()
    if eci:
        buffer.put(_ECI_MODE << 8 | UTF8, _HEADER)
    for segment in _segments(message, eci):
        buffer.put(segment.mode, 4)
        buffer.put(len(segment), qrcode.util.length_in_bits(segment.mode, version))
        segment.write(buffer)
    payload_bits, room = len(buffer), _room(version, level)
    buffer.put(0, min(4, room - payload_bits))  # the terminator
    buffer.put(0, -len(buffer) % 8)
    seed = b"ticket_sig padding %d %s " % (version, level.encode()) + bytes(buffer.buffer)
    for byte in hashlib.shake_256(seed).digest((room - len(buffer)) // 8):
        buffer.put(byte, 8)
    try:
        blocks = qrcode.base.rs_blocks(version, LEVELS[level])
        return qrcode.util.create_bytes(buffer, blocks), payload_bits
    except ValueError:
        # A block of zeros would show the bare data mask. The qrcode package cannot encode it either.
        expected = "text that fills every block of the code"
        raise bad_input("", "message", expected, "one that leaves a block of zeros") from None


def decode(
    light: Bits, version: int, level: str, data_mask: int, trust: NDArray[np.float64] | None = None
) -> Decoded:
    """Reads the message out of the data modules alone.

    Args:
        trust: how much it takes to believe that a module is wrong, [side, side]. A block with more errors
            than the level corrects is then read by the modules that are trusted most (`soft.nearest`).

    Raises:
        QRDecodeError: more errors than can be corrected, or no text.
    """
    order = _reading_order(version)
    bits = ~light[order] ^ _mask_pattern(version, data_mask)[order]
    blocks = qrcode.base.rs_blocks(version, LEVELS[level])
    data, corrected, symbols = bytearray(), 0, _interleaved(version, level)
    for block, spots in zip(blocks, symbols, strict=True):
        where = (8 * spots[:, None] + np.arange(8)).reshape(-1)
        trusted = None if trust is None else trust[order][where]
        read = np.packbits(bits[where]).tobytes()
        word = _corrected(bits[where], block.data_count, trusted)
        data += word[: block.data_count]
        corrected += sum(a != b for a, b in zip(read, word, strict=True))
    return Decoded(_read_segments(bytes(data), version), corrected, sum(map(len, symbols)))


@lru_cache(maxsize=64)
def function_patterns(version: int, level: str, data_mask: int) -> tuple[Bits, Bits]:
    """Returns (light, data): the modules every such code shares, and True where a module carries data.

    The function patterns are finders, separators, timing and alignment patterns, and the format
    and version areas; `light` means nothing where `data` is True.
    """
    code = _Blank(version=version, error_correction=LEVELS[level])
    code.data_cache = []  # or makeImpl computes codewords that nobody asked for
    code.makeImpl(False, data_mask)
    modules = np.array(code.modules, dtype=object)
    data = modules == None  # noqa: E711  (elementwise)
    light = ~np.where(data, False, modules).astype(bool)
    for array in (light, data):
        array.setflags(write=False)
    return light, data


def with_function_patterns(light: Bits, version: int, level: str, data_mask: int) -> Bits:
    """What was read under the function patterns, so that any QR reader finds the code."""
    patterns, data = function_patterns(version, level, data_mask)
    return np.where(data, light, patterns)


def to_image(light: Bits, scale: int = 8) -> Image.Image:
    """Black-and-white picture with the quiet zone of 4 modules that readers need."""
    pixels = np.pad(light, 4, constant_values=True) * np.uint8(255)
    return Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1))


def write_png(light: Bits, path: Path, scale: int = 8) -> None:
    """Writes the picture of a code."""
    with whole_file(path) as partial:
        to_image(light, scale).save(partial, format="PNG")


def module_map(light: Bits) -> list[str]:
    """The modules as rows of 1 (light, kept) and 0 (dark, pruned)."""
    return ["".join("01"[int(m)] for m in row) for row in light]


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise bad_input("", "QR level", "L, M, Q or H", repr(level))


class _Blank(qrcode.QRCode):  # type: ignore[misc]
    """A code whose data modules are left undecided (None)."""

    def map_data(self, data: object, mask_pattern: int) -> None:
        """Writes nothing."""


@lru_cache(maxsize=64)
def _mask_pattern(version: int, data_mask: int) -> Bits:
    flips, n = qrcode.util.mask_func(data_mask), range(side(version))
    return np.array([[flips(row, column) for column in n] for row in n], dtype=bool)


@lru_cache(maxsize=16)
def _reading_order(version: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the data modules in the order of their bits: up and down in pairs of columns."""
    _, data = function_patterns(version, "L", 0)
    n = side(version)
    # The timing pattern's column 6 belongs to no pair.
    rights = [column if column > 6 else column - 1 for column in range(n - 1, 0, -2)]
    down = np.arange(n).repeat(2)
    row = np.concatenate([down if turn % 2 else down[::-1] for turn in range(len(rights))])
    column = np.concatenate([np.tile([right, right - 1], n) for right in rights])
    carries = data[row, column]
    return row[carries], column[carries]


@lru_cache(maxsize=160)
def first_block(version: int, level: str) -> tuple[NDArray[np.intp], NDArray[np.intp], Bits, int]:
    """Where the first block of a code stands: rows and columns of its modules [n], in the order of its bits.

    Returns:
        Also which of them each data mask flips, [n, 8], and how many of its symbols are data.
    """
    where = (8 * _interleaved(version, level)[0][:, None] + np.arange(8)).reshape(-1)
    rows, columns = (order[where] for order in _reading_order(version))
    flips = np.stack([_mask_pattern(version, data_mask)[rows, columns] for data_mask in DATA_MASKS], axis=1)
    return rows, columns, flips, int(qrcode.base.rs_blocks(version, LEVELS[level])[0].data_count)


@lru_cache(maxsize=16)
def _interleaved(version: int, level: str) -> tuple[NDArray[np.intp], ...]:
    """For each block the places of its symbols among all: data in turns, then correction (7.6)."""
    blocks = qrcode.base.rs_blocks(version, LEVELS[level])
    data = [(turn, b) for b, block in enumerate(blocks) for turn in range(block.data_count)]
    most = max(turn for turn, _ in data) + 1
    rest = [
        (most + turn, b)
        for b, block in enumerate(blocks)
        for turn in range(block.total_count - block.data_count)
    ]
    owners = np.array([b for _, b in sorted(data + rest)])
    return tuple((owners == b).nonzero()[0] for b in range(len(blocks)))


def _corrected(bits: Bits, data: int, trust: NDArray[np.float64] | None) -> bytes:
    """The codeword of a block, by Reed-Solomon decoding, or where that fails, by the trust in its bits."""
    try:
        return bytes(RSCodec(len(bits) // 8 - data).decode(np.packbits(bits).tobytes())[1])
    except (ReedSolomonError, ZeroDivisionError) as error:
        if trust is not None and (word := soft.nearest(bits, trust, data)) is not None:
            return word
        raise QRDecodeError("more symbols are wrong than the code corrects") from error


def _read_segments(data: bytes, version: int) -> str:
    """Reads the numeric, alphanumeric and byte segments of a data stream, with or without an ECI header."""
    bits = "".join(f"{byte:08b}" for byte in data)
    position = 0

    def take(count: int) -> int:
        nonlocal position
        if position + count > len(bits):
            raise QRDecodeError("the text ends before its length")
        value = int(bits[position : position + count], 2)
        position += count
        return value

    text = bytearray()
    while len(bits) - position >= 4 and (mode := take(4)):
        if mode == _ECI_MODE:
            if (eci := take(8)) != UTF8:
                raise QRDecodeError(f"a character set that is not UTF-8 (ECI {eci})")
            continue
        if mode not in (_NUMERIC_MODE, _ALPHANUMERIC_MODE, _BYTE_MODE):
            raise QRDecodeError(f"segment mode {mode} is not text")
        length = take(qrcode.util.length_in_bits(mode, version))
        if mode == _BYTE_MODE:
            text += bytes(take(8) for _ in range(length))
        else:
            symbols = _numeric if mode == _NUMERIC_MODE else _alphanumeric
            text += "".join(symbols(length, take)).encode()
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QRDecodeError("the bytes are not UTF-8 text") from error


def _numeric(length: int, take: Callable[[int], int]) -> Iterator[str]:
    for left in range(length, 0, -3):
        digits = min(left, 3)
        value = take(3 * digits + 1)
        if value >= 10**digits:
            raise QRDecodeError("a group of digits is out of range")
        yield f"{value:0{digits}d}"


def _alphanumeric(length: int, take: Callable[[int], int]) -> Iterator[str]:
    for left in range(length, 0, -2):
        value = take(11) if left > 1 else take(6)
        try:
            yield "".join(_ALPHANUMERIC[v] for v in (divmod(value, 45) if left > 1 else (value,)))
        except IndexError as error:
            raise QRDecodeError("an alphanumeric symbol is out of range") from error
