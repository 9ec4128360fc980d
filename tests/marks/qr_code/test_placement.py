"""Where a code goes, against a search that anyone can read: every position, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Placement, count_placements, most_similar


def agreement(kernels: np.ndarray, code: qr.QRCode, row: int, column: int) -> int:
    """How many data modules of a code agree with the kernel map at one position."""
    n = len(code.light)
    region = kernels[row : row + n, column : column + n]
    return int(((region == code.light) & code.data).sum())


def every_position(
    maps: dict[str, np.ndarray], codes: list[qr.QRCode]
) -> list[tuple[int, Placement, qr.QRCode]]:
    """Agreement of every code at every position, in order of layer, code, row and column."""
    n = len(codes[0].light)
    return [
        (agreement(kernels, code, row, column), Placement(name, row, column), code)
        for name, kernels in maps.items()
        for code in codes
        for row in range(kernels.shape[0] - n + 1)
        for column in range(kernels.shape[1] - n + 1)
    ]


def random_maps(seed: int, shapes: list[tuple[int, int]], density: float) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {f"layer {i}": draw.random(shape) < density for i, shape in enumerate(shapes)}


sides = st.integers(15, 32)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shapes=st.lists(st.tuples(sides, sides), min_size=1, max_size=3),
    density=st.sampled_from([0.02, 0.3, 0.5, 0.9, 1.0]),
    version=st.integers(1, 2),
    level=st.sampled_from("LMQH"),
)
def test_takes_the_first_of_the_most_similar(
    seed: int, shapes: list[tuple[int, int]], density: float, version: int, level: str
) -> None:
    maps = random_maps(seed, shapes, density)
    codes = qr.encode("abc", version, level)
    positions = every_position(maps, codes)
    if not positions:
        with pytest.raises(InputError):
            most_similar(maps, codes)
        return
    value, place, code = max(positions, key=lambda found: found[0])  # max keeps the first of equals
    found, mask = most_similar(maps, codes)
    assert agreement(maps[found.layer], mask, found.row, found.column) == value
    assert (found, mask.data_mask) == (place, code.data_mask)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("shape", [(21, 21), (40, 64), (200, 300)])
def test_where_all_positions_are_equal_the_first_wins(kept: bool, shape: tuple[int, int]) -> None:
    codes = qr.encode("abc", 1, "H")
    light = [int((code.data & (code.light == kept)).sum()) for code in codes]
    place, code = most_similar({"a": np.full(shape, kept), "b": np.full(shape, kept)}, codes)
    assert (place, code.data_mask) == (Placement("a", 0, 0), int(np.argmax(light)))


@pytest.mark.parametrize("seed", range(3))
def test_where_a_pattern_repeats_the_first_of_it_wins(seed: int) -> None:
    tile = np.random.default_rng(seed).random((32, 48)) < 0.3
    codes = qr.encode("m", 3, "H")
    place, _ = most_similar({"a": np.tile(tile, (12, 16)), "b": np.tile(tile, (2, 2))}, codes)
    assert place.layer == "a" and place.row < 32 and place.column < 48


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(60, 300),
    columns=st.integers(60, 700),
    density=st.sampled_from([0.05, 0.5, 0.95]),
    data=st.data(),
)
def test_finds_a_code_that_is_there(
    seed: int, rows: int, columns: int, density: float, data: st.DataObject
) -> None:
    """Also in a layer too large to try every position, at its edges, and among smaller layers."""
    code = data.draw(st.sampled_from(qr.encode("hidden", data.draw(st.integers(2, 10)), "M")), label="code")
    n = len(code.light)
    maps = random_maps(seed, [(n - 1, 500), (rows, columns), (n, n)], density)
    row, column = data.draw(st.integers(0, rows - n)), data.draw(st.integers(0, columns - n))
    region = maps["layer 1"][row : row + n, column : column + n]
    region[code.data] = code.light[code.data]
    codes = qr.encode("hidden", code.version, "M")
    assert most_similar(maps, codes) == (Placement("layer 1", row, column), codes[code.data_mask])


def test_the_function_patterns_do_not_count() -> None:
    """A place with perfect finders and poor data loses against one with good data and no finders."""
    code = qr.encode("data alone", 2, "L")[0]
    data = np.where(code.data, code.light, ~code.light)
    finders = np.where(code.data, ~code.light, code.light)
    place, _ = most_similar({"finders": finders, "data": data}, [code])
    assert place == Placement("data", 0, 0)


@settings(deadline=None, max_examples=50)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4), side=st.integers(1, 25)
)
def test_counts_every_position(shapes: list[tuple[int, int]], side: int) -> None:
    expected = sum(
        1
        for rows, columns in shapes
        for row in range(rows)
        for column in range(columns)
        if row + side <= rows and column + side <= columns
    )
    assert count_placements(shapes, side) == expected


def test_a_code_too_large_for_every_layer_says_how_large_they_are() -> None:
    codes = qr.encode("m" * 25, 4, "H")
    maps = {"wide": np.zeros((20, 900), bool), "largest": np.zeros((32, 30), bool)}
    with pytest.raises(InputError, match=r"at least 33x33 kernels, found 30x30 at the largest"):
        most_similar(maps, codes)


@pytest.mark.parametrize(
    "maps", [{}, {"thin": np.zeros((20, 900), bool), "thinner": np.zeros((500, 3), bool)}]
)
def test_a_model_too_small_for_any_code_says_so(maps: dict[str, np.ndarray]) -> None:
    largest = 20 if maps else 0
    with pytest.raises(
        InputError, match=rf"at least 21x21 kernels, found {largest}x{largest} at the largest"
    ):
        most_similar(maps, qr.encode("m", 1, "H"))


def test_the_best_of_bad_places_is_found() -> None:
    """Every place of this map disagrees with the one code more than it agrees."""
    code = qr.encode("anti", 1, "H")[0]
    kernels = np.zeros((21, 24), bool)
    kernels[:, 3:] = ~code.light
    kernels[:, :3] = ~code.light[:, :3]
    naive = [int((kernels[:, c : c + 21] == code.light)[code.data].sum()) for c in range(4)]
    place, _ = most_similar({"only": kernels}, [code])
    assert place.column == int(np.argmax(naive))
