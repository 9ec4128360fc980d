"""From bytes to places and values: the same everywhere, bound to everything, and uniform."""

from __future__ import annotations

import hashlib
import json
import math
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare, kstest

from ticket_sig import InputError
from ticket_sig.marks.freezenet.derive import Fixed, derive, initial_bounds, size_of
from ticket_sig.prf import keyed_places

DATA = b"Some block information"
MANIFEST = {"b.weight": (7, 5), "b.bias": (7,), "a.weight": (6, 4, 3, 3), "bn.weight": (6,)}
N = 264
Derived = dict[str, tuple[list[int], list[float]]]

# Worked out once; whoever derives others has another watermark.
GOLDEN: dict[str, dict[str, tuple[list[int], list[str]]]] = {
    "unit": {
        "a.weight": (
            [4, 11, 70, 84, 133, 135, 154, 188, 199],
            [
                "-0x1.62a618p-3",
                "0x1.37c06cp-2",
                "0x1.c12c7ap-1",
                "-0x1.b61a1ep-1",
                "-0x1.8f5dc8p-3",
                "-0x1.bcb19ap-1",
                "-0x1.539f56p-1",
                "-0x1.4a6a04p-2",
                "-0x1.42daaep-1",
            ],
        ),
        "b.weight": ([4, 5, 13], ["-0x1.8a11e6p-1", "-0x1.c33824p-2", "-0x1.51fe46p-1"]),
    },
    "layer": {
        "a.weight": (
            [74, 80, 93, 95, 100, 125, 145, 206, 207],
            [
                "0x1.94ba78p-3",
                "0x1.4b625ap-5",
                "-0x1.0a2204p-3",
                "-0x1.8028ecp-5",
                "-0x1.d2491ep-4",
                "0x1.4cd150p-2",
                "0x1.3ab7dap-5",
                "0x1.422604p-2",
                "-0x1.d58cd8p-3",
            ],
        ),
        "b.bias": ([4, 6], ["-0x1.02a8eap-2", "-0x1.798906p-3"]),
        "b.weight": ([13], ["0x1.1ac6e4p-1"]),
    },
    "legacy": {
        "a.weight": (
            [16, 62, 101, 105, 132, 171, 186, 205],
            [
                "0x1.8e5646p-1",
                "-0x1.c12f38p-2",
                "0x1.6be92cp-4",
                "0x1.f17b62p-1",
                "0x1.ca7f98p-1",
                "-0x1.592b38p-1",
                "-0x1.992fe0p-1",
                "-0x1.f6a846p-3",
            ],
        ),
        "b.bias": ([0], ["-0x1.e3bbb2p-1"]),
        "b.weight": ([0, 2, 18], ["0x1.71c44ep-1", "-0x1.35a4aep-1", "0x1.484e9ap-1"]),
    },
}


def plain(fixed: dict[str, Fixed]) -> Derived:
    return {name: (f.places.tolist(), f.values.tolist()) for name, f in fixed.items()}


def block(number: int) -> bytes:
    return b"block %d" % number


@pytest.mark.parametrize("scale", GOLDEN)
def test_the_same_bytes_give_the_same_places_and_values_on_every_platform(scale: str) -> None:
    expected = {
        name: (places, [float.fromhex(v) for v in values]) for name, (places, values) in GOLDEN[scale].items()
    }
    assert plain(derive(DATA, 12, MANIFEST, scale)) == expected


def words(key: bytes, label: bytes) -> Iterator[int]:
    stream = hashlib.shake_256(len(key).to_bytes(8, "big") + key + label).digest(8 * 20_000)
    return (int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream), 8))


def drawn(key: bytes, count: int, total: int) -> list[int]:
    """The first `count` different indices of a stream; where they are most, those that it leaves out."""
    if 2 * count > total:
        out = set(drawn(key, total - count, total))
        return [i for i in range(total) if i not in out]
    chosen: set[int] = set()
    stream = words(key, b"freezenet indices")
    while len(chosen) < count:
        word = next(stream)
        if word < 2**64 // total * total:
            chosen.add(word % total)
    return sorted(chosen)


def from_the_definition(data: bytes, length: int, manifest: dict[str, tuple[int, ...]]) -> Derived:
    """The derivation of scale unit without numpy, one word after the other."""
    shapes = [[name, list(manifest[name])] for name in sorted(manifest)]
    text = json.dumps(
        {"version": 1, "scale": "unit", "length": length, "manifest": shapes}, separators=(",", ":")
    )
    key = hashlib.sha256(data).digest() + hashlib.sha256(text.encode()).digest()
    values = words(key, b"freezenet values")
    pairs = [
        (i, (2 * (next(values) >> 40) + 1 - 2**24) / 2**24) for i in drawn(key, length, size_of(manifest))
    ]
    fixed, start = {}, 0
    for name, shape in shapes:
        own = [(i - start, v) for i, v in pairs if start <= i < start + math.prod(shape)]
        if own:
            fixed[name] = [i for i, _ in own], [v for _, v in own]
        start += math.prod(shape)
    return fixed


@settings(deadline=None, max_examples=40)
@given(data=st.binary(min_size=1, max_size=80), share=st.floats(0, 1))
def test_it_is_what_its_definition_says(data: bytes, share: float) -> None:
    manifest = {**MANIFEST, "empty": (0, 3), "scalar": (), "É\n": (2, 2)}
    length = round(share * size_of(manifest))
    assert plain(derive(data, length, manifest)) == from_the_definition(data, length, manifest)


def test_everything_that_decides_it_changes_it() -> None:
    renamed = {("c.weight" if name == "b.weight" else name): shape for name, shape in MANIFEST.items()}
    reshaped = {**MANIFEST, "b.weight": (5, 7)}
    split = {**MANIFEST, "b.weight": (6, 5), "c.weight": (5, 1)}
    variants = [
        derive(DATA, 12, MANIFEST),
        derive(DATA + b"\0", 12, MANIFEST),
        derive(DATA, 13, MANIFEST),
        derive(DATA, 12, renamed),
        derive(DATA, 12, reshaped),
        derive(DATA, 12, split),
        derive(DATA, 12, MANIFEST, "layer"),
    ]
    # Of unrelated ones hardly a value is shared: 12 of 2^24 each.
    bags = [{abs(v) for f in fixed.values() for v in (f.values / f.bound).tolist()} for fixed in variants]
    for index, bag in enumerate(bags):
        assert len(bag) == 12 + (index == 2)
        assert all(bag.isdisjoint(other) for other in bags[:index])


def test_the_order_in_which_tensors_are_registered_is_nothing_to_it() -> None:
    backwards = dict(reversed(MANIFEST.items()))
    assert list(backwards) != list(MANIFEST)
    for scale in GOLDEN:
        assert plain(derive(DATA, 100, backwards, scale)) == plain(derive(DATA, 100, MANIFEST, scale))


def all_places(fixed: dict[str, Fixed]) -> list[int]:
    """Places counted through the tensors in order of their names."""
    places, start = [], 0
    for name in sorted(MANIFEST):
        if name in fixed:
            places += (fixed[name].places + start).tolist()
        start += math.prod(MANIFEST[name])
    return places


@pytest.mark.parametrize("scale", ["unit", "layer"])
@pytest.mark.parametrize("length", [5, 130, 200])
def test_places_are_uniform_and_without_replacement(length: int, scale: str) -> None:
    draws, counts, pairs = 600, np.zeros(N), np.zeros(2)
    for number in range(draws):
        places = all_places(derive(block(number), length, MANIFEST, scale))
        assert len(set(places)) == length and places == sorted(places)
        counts[places] += 1
        pairs += {17, 18} <= set(places), {0, N - 1} <= set(places)
    # Drawn without replacement the counts spread less: by (N - length) / (N - 1).
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / ((N - length) / (N - 1))
    assert N - 1 - 4 * math.sqrt(2 * N) < statistic < N - 1 + 4 * math.sqrt(2 * N)
    both = length * (length - 1) / (N * (N - 1))
    assert (abs(pairs - draws * both) <= 4 * math.sqrt(draws * both * (1 - both)) + 1).all()


def test_places_are_uniform_where_the_words_do_not_divide_evenly() -> None:
    """2^64 words leave two of 3 * 2^61 indices in eight too many, if none is passed over."""
    places = derive(DATA, 4000, {"a": (3, 2**61)})["a"].places
    assert chisquare(np.bincount(places // 2**61, minlength=3)).pvalue > 1e-3


@pytest.mark.parametrize("length", [0, 1, 2, N // 2, N // 2 + 1, N - 1, N])
@pytest.mark.parametrize("scale", GOLDEN)
def test_every_length_gives_as_many_places_and_values(length: int, scale: str) -> None:
    fixed = derive(DATA, length, MANIFEST, scale)
    places = all_places(fixed)
    assert len(set(places)) == length and set(places) <= set(range(N))
    assert sum(len(f.values) for f in fixed.values()) == length
    assert all(len(f.places) for f in fixed.values()), "a tensor of which nothing is fixed is left out"


@pytest.mark.parametrize("count", [0, 1, 40, 131])
def test_of_more_than_half_the_places_those_left_out_are_drawn(count: int) -> None:
    few, most = (keyed_places(b"key", "places", n, N).tolist() for n in (count, N - count))
    assert sorted(few + most) == list(range(N))


def every_value(scale: str, numbers: int = 60) -> NDArray[np.float64]:
    fixed = [derive(block(n), 200, MANIFEST, scale) for n in range(numbers)]
    return np.concatenate([f.values.astype(np.float64) / f.bound for one in fixed for f in one.values()])


def test_values_are_uniform_odd_multiples_of_2_to_the_minus_24() -> None:
    values = every_value("unit")
    cells = values * 2**24
    assert (cells == cells.round()).all() and (cells % 2 == 1).all(), "never 0, and exact in float32"
    assert (abs(values) < 1).all()
    assert kstest(values, "uniform", args=(-1, 2)).pvalue > 1e-3
    # Each of the 24 bits, not the leading ones alone.
    bits = ((cells.astype(np.int64)[:, None] + 2**24) // 2 >> np.arange(24)) % 2
    assert (abs(bits.mean(0) - 0.5) < 4 * 0.5 / math.sqrt(len(values))).all()


def test_values_have_nothing_to_do_with_their_places() -> None:
    fixed = [derive(block(n), 60, {"a": (N,)})["a"] for n in range(200)]
    places, values = (np.concatenate([getattr(f, what) for f in fixed]) for what in ("places", "values"))
    assert abs(np.corrcoef(places, values)[0, 1]) < 4 / math.sqrt(len(values))
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / math.sqrt(len(values))


def test_values_of_scale_layer_are_uniform_up_to_what_each_tensor_begins_with() -> None:
    bounds = {
        "a.weight": math.sqrt(6 / 36),
        "b.weight": math.sqrt(6 / 5),
        "b.bias": 1 / math.sqrt(5),
        "bn.weight": 1.0,
    }
    assert initial_bounds(MANIFEST) == bounds
    for name, f in derive(DATA, N, MANIFEST, "layer").items():
        assert f.bound == bounds[name] and (abs(f.values) <= np.float32(f.bound)).all() and f.values.all()
    assert kstest(every_value("layer"), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_a_bias_beside_no_matrix_and_a_tensor_without_inputs_begin_at_one() -> None:
    manifest = {"bn.weight": (4,), "bn.bias": (4,), "alone.bias": (3,), "none.weight": (3, 0), "bias": (2,)}
    bounds = initial_bounds(manifest)
    assert bounds.pop("none.weight") == math.sqrt(6)
    assert set(bounds.values()) == {1.0}
    assert initial_bounds({"bias": (2,), "weight": (2, 16)})["bias"] == 0.25


def test_memory_grows_with_the_length_and_not_with_the_network() -> None:
    tracemalloc.start()
    fixed = derive(DATA, 4096, {"a": (2**20, 2**20)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(fixed["a"].places) == 4096
    assert peak < 4096 * 150


@pytest.mark.parametrize("length", [0, 1, 100, N])
def test_legacy_is_the_numpy_code_of_the_original(length: int) -> None:
    seed = int(hashlib.sha256(DATA).hexdigest(), 16) % 2**32
    frozen = np.zeros(N, dtype=bool)
    frozen[np.random.RandomState(seed).choice(np.arange(N), length, replace=False)] = True
    values = np.random.RandomState(seed).uniform(-1, 1, length).astype(np.float32)
    whole = np.full(N, np.nan, dtype=np.float32)
    whole[frozen] = values
    found, start = np.full(N, np.nan, dtype=np.float32), 0
    fixed = derive(DATA, length, MANIFEST, "legacy")
    for name in sorted(MANIFEST):
        if name in fixed:
            found[start + fixed[name].places] = fixed[name].values
        start += math.prod(MANIFEST[name])
    assert found.tobytes() == whole.tobytes()


def test_data_of_one_legacy_seed_are_one_watermark_there_and_two_otherwise() -> None:
    """The lowest 32 bits of the digest alone: a second block with them is found at once."""
    seen: dict[bytes, int] = {}
    for number in range(300_000):
        first = seen.setdefault(hashlib.sha256(block(number)).digest()[-4:], number)
        if first != number:
            break
    one, other = block(first), block(number)
    assert one != other
    for scale, same in (("legacy", True), ("unit", False), ("layer", False)):
        a, b = (plain(derive(data, 50, MANIFEST, scale)) for data in (one, other))
        assert (a == b) is same


@pytest.mark.parametrize(
    ("length", "manifest", "says"),
    [
        (1, {}, "network: expected trainable parameters, found none"),
        (0, {"a": (0, 3)}, "network: expected trainable parameters, found none"),
        (-1, {"a": (3,)}, "length: expected 0 to 3, the network's parameters, found -1"),
        (4, {"a": (3,)}, "length: expected 0 to 3, the network's parameters, found 4"),
        pytest.param(
            10**5000,
            {"a": (3,)},
            "length: expected 0 to 3, .*, found one of more than 63 bits",
            id="thousands of digits",
        ),
        (3, {"a": (2**32, 2**32)}, r"network: expected fewer than 2\^63 parameters, found more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    length: int, manifest: dict[str, tuple[int, ...]], says: str
) -> None:
    for scale in GOLDEN:
        with pytest.raises(InputError, match=f"^freezenet: {says}"):
            derive(DATA, length, manifest, scale)
