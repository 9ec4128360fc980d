"""Codes are ours to write and ours to read; an independent reader (zxing-cpp) has to agree."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qrcode.base
import qrcode.util
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reedsolo import RSCodec
from support.qr import reading_order

from ticket_sig import InputError
from ticket_sig.marks.qr_code import qr

LEVELS = ("L", "M", "Q", "H")

# ISO/IEC 18004, table 9: modules of data and error correction, whole symbols and remainder bits included.
DATA_MODULES = {1: 208, 2: 359, 7: 1568, 14: 4651, 21: 9252, 28: 15371, 40: 29648}

texts = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text("0123456789", min_size=1, max_size=60),
    st.text("ABCXYZ019 $%*+-./:", min_size=1, max_size=60),
    st.lists(st.sampled_from(["7" * 23, "0" * 20, "OWNER-19/", "owner@example.org ", "ключ", "🔑", "\n"]))
    .map("".join)
    .filter(bool),
)


def read(picture: Image.Image) -> zxingcpp.Barcode:
    """The one QR code that zxing-cpp finds in a picture."""
    (found,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    return found


def seen_by_zxing(path: Path) -> zxingcpp.Barcode:
    """The one QR code that zxing-cpp finds in a picture file."""
    with Image.open(path) as picture:
        return read(picture)


def check_read_back(version: int, level: str, data_masks: Iterable[int], folder: Path) -> None:
    """Encodes, decodes by ours, and has zxing-cpp read the PNG."""
    message = f"{level}{version}: ж"
    codes = qr.encode(message, version, level)
    assert [code.data_mask for code in codes] == list(range(8))
    for data_mask in data_masks:
        found = qr.decode(codes[data_mask].light, version, level, data_mask)
        assert (found.message, found.corrected) == (message, 0)
        qr.write_png(codes[data_mask].light, folder / "code.png", scale=3)
        assert seen_by_zxing(folder / "code.png").bytes == message.encode()


@pytest.mark.parametrize("version", range(1, 41))
def test_every_version_is_read_back_at_every_level_and_under_every_data_mask(
    version: int, tmp_path: Path
) -> None:
    for index, level in enumerate(LEVELS):
        check_read_back(version, level, [index, 7 - index], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("version", range(1, 41))
def test_every_combination_is_read_back(version: int, tmp_path: Path) -> None:
    for level in LEVELS:
        check_read_back(version, level, range(8), tmp_path)


def test_the_parameters_are_those_that_another_reader_finds(tmp_path: Path) -> None:
    for level in LEVELS:
        for code in qr.encode("parameters", 4, level):
            qr.write_png(code.light, tmp_path / "code.png")
            found = seen_by_zxing(tmp_path / "code.png")
            assert found.ec_level == level
            assert found.text == "parameters"


@settings(deadline=None, max_examples=60)
@given(message=texts, level=st.sampled_from(LEVELS), spare=st.integers(0, 2), data=st.data())
def test_any_text_comes_back(message: str, level: str, spare: int, data: st.DataObject) -> None:
    version = qr.smallest_version(message, level) + spare
    try:
        code = data.draw(st.sampled_from(qr.encode(message, version, level)), label="code")
    except InputError:
        assert re.search("[0\0]{8}", message)  # a block of zeros
        return
    assert qr.decode(code.light, version, level, code.data_mask).message == message
    assert read(qr.to_image(code.light, scale=3)).bytes == message.encode()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("version", [1, 2, 6, 9, 10, 26, 27, 39, 40])
def test_capacity_is_the_longest_text_that_fits(version: int, level: str) -> None:
    most = qr.capacity(version, level)
    assert qr.smallest_version("m" * most, level) == version
    code = qr.encode("m" * most, version, level)[3]
    assert qr.decode(code.light, version, level, 3).message == "m" * most
    with pytest.raises(InputError, match=rf"message: expected at most {most} bytes .*found {most + 1}"):
        qr.encode("m" * (most + 1), version, level)


def test_capacity_is_the_standards() -> None:
    # ISO/IEC 18004, table 7, byte mode.
    known = {(1, "L"): 17, (1, "H"): 7, (3, "H"): 24, (10, "M"): 213, (27, "Q"): 805, (40, "L"): 2953}
    assert {key: qr.capacity(*key) for key in known} == known


@pytest.mark.parametrize("text", ["0123456789" * 4, "THE OWNER OF THIS NETWORK"])
def test_digits_and_capitals_take_less_room(text: str) -> None:
    assert qr.smallest_version("m" * len(text), "L") > 1
    assert qr.smallest_version(text, "L") == 1
    assert qr.decode(qr.encode(text, 1, "L")[0].light, 1, "L", 0).message == text


def test_the_smallest_version_is_the_smallest() -> None:
    for level in LEVELS:
        for length in (1, 8, 20, 60):
            version = qr.smallest_version("m" * length, level)
            assert qr.capacity(version, level) >= length
            assert version == 1 or qr.capacity(version - 1, level) < length


@pytest.mark.parametrize("level", LEVELS)
def test_a_message_too_long_for_any_code_says_what_would_fit(level: str) -> None:
    limit = qr.capacity(40, level)
    with pytest.raises(InputError, match=rf"at most {limit} bytes at level {level}, found 10000"):
        qr.smallest_version("m" * 10_000, level)
    headed = qr.capacity(40, level, eci=True)
    with pytest.raises(InputError, match=rf"at most {headed} bytes at level {level}, found {2 * limit}"):
        qr.smallest_version("ж" * limit, level)


def test_a_message_of_millions_of_parts_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert qr.smallest_version("7" * 7089, "L") == 40  # the most that any code holds
    seen, chunks = list[str](), qrcode.util.optimal_data_chunks

    def counted(message: str, minimum: int) -> Iterator[Any]:
        seen.append(message)
        yield from chunks(message, minimum)

    monkeypatch.setattr(qrcode.util, "optimal_data_chunks", counted)
    for message in ("7" * 7090, ("7" * 20 + "x") * 50_000):
        with pytest.raises(InputError, match=rf"at most 2953 bytes at level L, found {len(message)}"):
            qr.smallest_version(message, "L")
    assert max(map(len, seen)) < 7100


def test_what_cannot_be_a_code_is_refused() -> None:
    with pytest.raises(InputError, match="message: expected at least one character"):
        qr.encode("", 1, "H")
    with pytest.raises(InputError, match="QR level: expected L, M, Q or H, found 'X'"):
        qr.smallest_version("a", "X")
    for version in (0, 41, -1):
        with pytest.raises(InputError, match=rf"QR version: expected 1 to 40, found {version}"):
            qr.encode("a", version, "H")


def test_text_that_is_no_text_is_refused() -> None:
    # What a terminal hands over for bytes that are no UTF-8, and what JSON may hold as "\ud800".
    for message in ("\udcff", "owner \ud800"):
        with pytest.raises(InputError, match="message"):
            qr.encode(message, 3, "H")


@pytest.mark.parametrize(
    ("message", "level"), [("0" * 60, "H"), ("owner" + "\0" * 44, "Q")], ids=["digits", "bytes"]
)
def test_text_that_leaves_a_block_of_zeros_is_refused(message: str, level: str) -> None:
    """A data mask alone, stripes or a chequerboard, would be as good as the code."""
    with pytest.raises(InputError, match="message"):
        qr.encode(message, qr.smallest_version(message, level), level)


def blocks_of(version: int, level: str) -> list[list[int]]:
    """Which symbols of the code, by their place in it, belong to each block (interleaved, 7.6)."""
    blocks = qrcode.base.rs_blocks(version, qr.LEVELS[level])
    corrections = blocks[0].total_count - blocks[0].data_count
    most = max(block.data_count for block in blocks)
    turns = [[b for b, block in enumerate(blocks) if i < block.data_count] for i in range(most)]
    owners = [b for turn in turns for b in turn] + list(range(len(blocks))) * corrections
    return [[place for place, owner in enumerate(owners) if owner == b] for b in range(len(blocks))]


def with_wrong_symbols(code: qr.QRCode, symbols: list[int], rng: random.Random) -> np.ndarray:
    """The code's modules with one to eight bits of each of these symbols turned over."""
    order, light = reading_order(code.data), code.light.copy()
    for symbol in symbols:
        bits = rng.sample(range(8), rng.randint(1, 8))
        light.flat[order[[8 * symbol + bit for bit in bits]]] ^= True
    return light


@settings(deadline=None, max_examples=60)
@given(
    version=st.integers(1, 12),
    level=st.sampled_from(LEVELS),
    data_mask=st.integers(0, 7),
    seed=st.integers(0),
)
def test_corrects_what_the_standard_says(version: int, level: str, data_mask: int, seed: int) -> None:
    rng = random.Random(seed)
    blocks = blocks_of(version, level)
    # Table 9: half the correction symbols; versions 1 to 3 keep some back against misreading.
    kept_back = {(1, "L"): 3, (1, "M"): 2, (1, "Q"): 1, (1, "H"): 1, (2, "L"): 2, (3, "L"): 1}
    first = qrcode.base.rs_blocks(version, qr.LEVELS[level])[0]
    corrects = (first.total_count - first.data_count - kept_back.get((version, level), 0)) // 2
    code = qr.encode("symbols", version, level)[data_mask]
    light = with_wrong_symbols(code, [s for b in blocks for s in rng.sample(b, corrects)], rng)
    found = qr.decode(light, version, level, data_mask)
    assert found == qr.Decoded("symbols", corrects * len(blocks), sum(map(len, blocks)))


@settings(deadline=None, max_examples=40)
@given(
    version=st.integers(2, 12), level=st.sampled_from("QH"), data_mask=st.integers(0, 7), seed=st.integers(0)
)
def test_refuses_one_wrong_symbol_more(version: int, level: str, data_mask: int, seed: int) -> None:
    rng = random.Random(seed)
    block = rng.choice(blocks_of(version, level))
    first = qrcode.base.rs_blocks(version, qr.LEVELS[level])[0]
    too_many = (first.total_count - first.data_count) // 2 + 1
    code = qr.encode("symbols", version, level)[data_mask]
    light = with_wrong_symbols(code, rng.sample(block, too_many), rng)
    with pytest.raises(qr.QRDecodeError):
        qr.decode(light, version, level, data_mask)


@settings(deadline=None, max_examples=150)
@given(
    version=st.integers(1, 4), level=st.sampled_from(LEVELS), data_mask=st.integers(0, 7), seed=st.integers(0)
)
def test_noise_is_never_a_crash(version: int, level: str, data_mask: int, seed: int) -> None:
    n = qr.side(version)
    noise = np.random.default_rng(seed % 2**32).random((n, n)) < 0.5
    with contextlib.suppress(qr.QRDecodeError):
        assert isinstance(qr.decode(noise, version, level, data_mask).message, str)


def sound_code(stream: str) -> np.ndarray:
    """A version 1-L code, under data mask 0, of any stream of bits: all its symbols are right."""
    symbols = bytes(int(stream.ljust(152, "0")[i : i + 8], 2) for i in range(0, 152, 8))
    bits = np.unpackbits(np.frombuffer(bytes(RSCodec(7).encode(symbols)), np.uint8)).astype(bool)
    blank = qr.encode("x", 1, "L")[0]
    light, order = blank.light.copy(), reading_order(blank.data)
    rows, columns = np.divmod(order, 21)
    light.flat[order] = ~(bits ^ ((rows + columns) % 2 == 0))
    return light


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("1000" + "0" * 8, id="a segment that is no text"),
        pytest.param("0111" + f"{3:08b}" + "0100" + f"{1:08b}{97:08b}", id="another character set"),
        pytest.param("0111" + "10000000" + f"{26:08b}", id="a character set by two bytes"),
        pytest.param(("0111" + f"{26:08b}") * 12 + "0111", id="headers to the end"),
        pytest.param("0100" + "11111111", id="bytes that end before their length"),
        pytest.param("0001" + "1111111111", id="digits that end before their length"),
        pytest.param("0010" + "111111111", id="capitals that end before their length"),
        pytest.param("0100" + "00000001" + "11111111", id="a byte that is no UTF-8"),
        pytest.param("0010" + "000000010" + "11111111111", id="a pair of capitals that there is not"),
        pytest.param("0010" + "000000001" + "111111", id="a capital that there is not"),
        pytest.param("0001" + "0000000011" + "1111111111", id="three digits over 999"),
    ],
)
def test_a_sound_code_without_text_is_refused(stream: str) -> None:
    with pytest.raises(qr.QRDecodeError):
        qr.decode(sound_code(stream), 1, "L", 0)


@settings(deadline=None, max_examples=150)
@given(head=st.sampled_from(["0001", "0010", "0100", "011100011010", ""]), rest=st.integers(0, 2**148 - 1))
def test_any_sound_code_is_text_or_refused(head: str, rest: int) -> None:
    with contextlib.suppress(qr.QRDecodeError):
        assert isinstance(qr.decode(sound_code(f"{head}{rest:0148b}"), 1, "L", 0).message, str)


@pytest.mark.parametrize("header", ["", "0111" + f"{26:08b}"], ids=["no header", "a header"])
def test_a_sound_code_of_several_segments_is_read_as_one_text(header: str) -> None:
    digits, capitals, letter = (
        "0001" + f"{3:010b}{7:010b}",
        "0010" + f"{1:09b}{10:06b}",
        "0100" + f"{1:08b}{97:08b}",
    )
    stream = header + digits + capitals + letter + "0000"
    assert qr.decode(sound_code(stream), 1, "L", 0).message == "007Aa"


@pytest.mark.parametrize("version", DATA_MODULES)
def test_data_modules_are_as_many_as_the_standard_says(version: int) -> None:
    code = qr.encode("m", version, "L")[0]
    assert code.light.shape == (qr.side(version),) * 2
    assert int(code.data.sum()) == DATA_MODULES[version]


@settings(deadline=None, max_examples=30)
@given(version=st.integers(1, 8), level=st.sampled_from(LEVELS), data_mask=st.integers(0, 7))
def test_put_back_function_patterns_make_it_a_code_again(version: int, level: str, data_mask: int) -> None:
    code = qr.encode("back", version, level)[data_mask]
    light, data = qr.function_patterns(version, level, data_mask)
    assert np.array_equal(data, code.data)
    assert np.array_equal(light[~data], code.light[~data])
    for nothing in (False, True):
        hidden = np.where(data, code.light, nothing)
        assert qr.decode(hidden, version, level, data_mask).message == "back"
        assert np.array_equal(qr.with_function_patterns(hidden, version, level, data_mask), code.light)


@pytest.mark.parametrize(
    ("modules", "version"), [(0, 0), (20, 0), (21, 1), (24, 1), (25, 2), (177, 40), (9999, 40)]
)
def test_largest_version(modules: int, version: int) -> None:
    assert qr.largest_version(modules) == version


def test_the_picture_has_a_quiet_zone_and_its_scale(tmp_path: Path) -> None:
    code = qr.encode("m", 2, "M")[1]
    qr.write_png(code.light, tmp_path / "code.png", scale=5)
    with Image.open(tmp_path / "code.png") as picture:
        pixels = np.array(picture)
    assert pixels.shape == (5 * (25 + 8),) * 2
    assert np.array_equal(pixels[22:-20:5, 22:-20:5] == 255, code.light)
    assert (pixels[:20] == 255).all() and (pixels[:, -20:] == 255).all()
    assert set(np.unique(pixels)) == {0, 255}
