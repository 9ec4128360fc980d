"""Proof of work: mined, it is verified; what is for another block, cheaper or tampered with never is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.disk import content, file_size_limit
from support.stops import Notes
from support.tiny import tiny_data, tiny_recipe
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.errors import InputError
from ticket_sig.marks import Watermark
from ticket_sig.marks.freezenet.reading import Matches
from ticket_sig.models import build
from ticket_sig.proof_of_work import (
    Challenge,
    Difficulty,
    Solution,
    check,
    mine,
    read_solution,
    watermark_of,
    write_solution,
)
from ticket_sig.proof_of_work.challenge import NONCE_BYTES, signed_bytes, train_digest
from ticket_sig.proof_of_work.check import Work
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import Engine
from ticket_sig.verdict import Verdict

ARCH = "resnet20"
DATA = tiny_data()
CHALLENGE = Challenge(b"block 7, mined by alice", Difficulty(0.3, 0.01), ARCH)
RECIPE = tiny_recipe(arch=ARCH, length=Steps(2))


def nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")


def solved(
    challenge: Challenge = CHALLENGE, number: int = 0, data: Dataset = DATA, seed: int = 0
) -> Solution:
    """A solution that nobody trained: the watermark in an initial network, which classifies some right."""
    model = build(challenge.arch, data.classes, data.channels, seed)
    watermark_of(challenge, nonce(number), data).apply(model)
    return Solution(
        weights=dict(model.state_dict()),
        nonce=nonce(number),
        block=challenge.digest,
        arch=challenge.arch,
        dataset=data.name,
        train=train_digest(data),
        difficulty=challenge.difficulty,
        accuracy=100.0,
        seconds=1.0,
        attempts=1,
    )


def changed(solution: Solution, name: str, place: int, value: float) -> Solution:
    """The solution with one entry of one tensor changed."""
    tensor = solution.weights[name].clone()
    tensor.view(-1)[place] = value
    return replace(solution, weights={**solution.weights, name: tensor})


def places(solution: Solution, fixed: bool) -> tuple[str, int]:
    """One entry of the classifier that the watermark fixes, or one that it leaves free."""
    mark = watermark_of(CHALLENGE, solution.nonce, DATA)
    found = mark.fixed_in(solution.weights)["fc.weight"].places
    taken = torch.zeros(solution.weights["fc.weight"].numel(), dtype=torch.bool)
    taken[torch.from_numpy(found)] = True
    return "fc.weight", int(torch.nonzero(taken == fixed)[0])


def work(verdict: Verdict) -> Work:
    assert isinstance(verdict.reading, Work)
    return verdict.reading


def matches(verdict: Verdict) -> Matches:
    found = work(verdict).matches
    assert found is not None
    return found


def test_what_is_mined_is_verified_and_read_back_the_same(tmp_path: Path) -> None:
    challenge = replace(CHALLENGE, difficulty=Difficulty(0.3, 50))
    mined = mine(challenge, DATA, replace(RECIPE, length=Steps(8)), attempts=8)
    solution = mined.solution
    assert solution is not None and solution.accuracy == mined.attempts[-1].accuracy >= 50
    assert solution.attempts == len(mined.attempts) and solution.nonce == mined.attempts[-1].nonce
    write_solution(solution, tmp_path / "S")
    found = read_solution(tmp_path / "S")
    assert found.to_json() == solution.to_json()
    verdict = check(found, challenge, DATA)
    assert verdict.verified and work(verdict).accuracy == solution.accuracy
    assert matches(verdict).length == math.ceil(0.3 * matches(verdict).total)
    told = json.loads(json.dumps(verdict.to_json(), allow_nan=False))["evidence"]
    assert (told["accuracy"], told["matches"]) == (solution.accuracy, told["length"])
    assert (told["block"], told["nonce"], told["train"]) == (found.block, found.nonce.hex(), found.train)


def test_a_nonce_decides_all_of_an_attempt_and_the_recipe_s_seed_nothing() -> None:
    still = replace(RECIPE, length=Steps(1, "it"), lr=1e-12)  # so that initial weights stay what they are

    def weights(number: int, challenge: Challenge = CHALLENGE, recipe: Recipe = still) -> Solution:
        found = mine(challenge, DATA, recipe, nonces=[nonce(number)]).solution
        assert found is not None
        return found

    one, other, elsewhere = weights(1), weights(2), weights(1, replace(CHALLENGE, block=b"another"))
    for found in (other, elsewhere):
        same = found.weights["layer1.0.conv1.weight"] == one.weights["layer1.0.conv1.weight"]
        assert same.float().mean() < 0.01, "values and initial weights are others"
    seeded = [replace(RECIPE, length=Steps(2, "it"), seed=seed) for seed in (0, 1)]
    first, again = (weights(1, recipe=recipe).to_json()["weights"] for recipe in seeded)
    assert first == again


def test_a_target_that_is_not_reached_is_no_solution_and_the_budget_is_kept() -> None:
    hard = replace(CHALLENGE, difficulty=Difficulty(0.3, 100))
    recipe, notes = replace(RECIPE, length=Steps(1, "it")), Notes()
    mined = mine(hard, DATA, recipe, attempts=3, engine=Engine(progress=notes))
    assert mined.solution is None and len(mined.attempts) == 3
    assert len({attempt.nonce for attempt in mined.attempts}) == 3
    assert [len(attempt.nonce) for attempt in mined.attempts] == [NONCE_BYTES] * 3
    assert notes.notes[1] == f"attempt 2: {mined.attempts[1].accuracy:.2f} %, of 100 %"
    assert len(mine(hard, DATA, recipe, seconds=1e-9).attempts) == 1
    assert len(mine(hard, DATA, recipe, nonces=[nonce(1), nonce(2)]).attempts) == 2


def test_an_initial_network_with_the_watermark_is_verified_at_a_target_that_it_reaches() -> None:
    """What the refusals below stand on: nothing but what they change is wrong with it."""
    assert check(solved(), CHALLENGE, DATA).verified
    harder = replace(solved(), difficulty=Difficulty(0.4, 0.01))
    assert not check(harder, CHALLENGE, DATA).verified, "it says more than it holds"
    more = solved(replace(CHALLENGE, difficulty=Difficulty(0.4, 0.01)))
    assert check(more, CHALLENGE, DATA).verified, "more than was asked"


REFUSED: dict[str, tuple[Callable[[], Solution], str]] = {
    "another block": (lambda: solved(replace(CHALLENGE, block=b"block 8")), "block: asked sha256:"),
    "another block under this one's name": (
        lambda: replace(solved(replace(CHALLENGE, block=b"block 8")), block=CHALLENGE.digest),
        "values differ",
    ),
    "another nonce": (lambda: replace(solved(), nonce=nonce(1)), "values differ"),
    "a smaller share": (
        lambda: solved(replace(CHALLENGE, difficulty=Difficulty(0.2, 0.01))),
        "share: asked 0.3 or more, found 0.2",
    ),
    "a smaller share under a larger one's name": (
        lambda: replace(
            solved(replace(CHALLENGE, difficulty=Difficulty(0.2, 0.01))), difficulty=CHALLENGE.difficulty
        ),
        "values differ",
    ),
    "milder values": (
        lambda: solved(replace(CHALLENGE, difficulty=Difficulty(0.3, 0.01, "layer"))),
        "scale of values: asked unit, found layer",
    ),
    "another network": (
        lambda: solved(replace(CHALLENGE, arch="resnet20-proj")),
        "network: asked resnet20, found resnet20-proj",
    ),
    "other training images": (
        lambda: replace(solved(), train=train_digest(tiny_data(seed=1))),
        "training images: asked sha256:",
    ),
    "one fixed value changed": (
        lambda: changed(solved(), *places(solved(), fixed=True), 0.5),
        "1 of the watermark's values differ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, says = REFUSED[name]
    verdict = check(make(), CHALLENGE, DATA)
    assert not verdict.verified and says in verdict.lacking
    assert verdict.to_json()["proves"] == "nothing"


def test_the_checker_measures_the_accuracy_on_images_of_his_own() -> None:
    found = solved()
    right = weights_accuracy(found.weights, ARCH, DATA)
    target = replace(CHALLENGE, difficulty=Difficulty(0.3, right))
    assert check(found, target, DATA).verified
    above = replace(CHALLENGE, difficulty=Difficulty(0.3, right + 1))
    said = check(replace(found, difficulty=above.difficulty), above, DATA)
    assert not said.verified and f"{right:.2f} % test accuracy, where" in said.lacking
    # Test images that the miner never saw: the solution is bound to the training images alone.
    labels = (DATA.test.labels + 1) % DATA.classes
    hidden = replace(DATA, test=replace(DATA.test, labels=labels))
    measured = work(check(found, CHALLENGE, hidden)).accuracy
    assert measured == weights_accuracy(found.weights, ARCH, hidden) != right


def test_an_old_solution_with_the_new_watermark_written_over_stands_or_falls_with_its_accuracy() -> None:
    learned = mine(CHALLENGE, DATA, replace(RECIPE, length=Steps(20)), nonces=[nonce(0)]).solution
    assert learned is not None and learned.accuracy > 80
    asked = replace(CHALLENGE, block=b"the next block", difficulty=Difficulty(0.3, 80))
    model = build(ARCH, DATA.classes, DATA.channels)
    model.load_state_dict(dict(learned.weights))
    watermark_of(asked, learned.nonce, DATA).apply(model)
    reused = replace(learned, weights=model.state_dict(), block=asked.digest)
    said = check(reused, asked, DATA)
    assert not said.verified and "% test accuracy, where 80 % is asked" in said.lacking
    assert matches(said).whole


def test_data_that_collide_in_the_low_32_bits_do_not_share_a_solution() -> None:
    """The original's watermark is seeded by these bits alone: there such a pair is one and the same."""
    seen: dict[bytes, int] = {}
    for number in range(2**20):
        low = hashlib.sha256(signed_bytes(CHALLENGE.block, nonce(number))).digest()[-4:]
        first = seen.setdefault(low, number)
        if first != number:
            break
    else:
        pytest.fail("no two nonces collide")
    pair = [signed_bytes(CHALLENGE.block, nonce(n)) for n in (first, number)]
    assert pair[0] != pair[1]
    model = build(ARCH, DATA.classes, DATA.channels, 0)
    Watermark(pair[0], 1000, scale="legacy").apply(model)
    assert Watermark(pair[1], 1000, scale="legacy").verify(model)
    found = solved(number=first)
    assert check(found, CHALLENGE, DATA).verified
    said = check(replace(found, nonce=nonce(number)), CHALLENGE, DATA)
    assert not said.verified and matches(said).found <= 3


def test_block_and_nonce_cannot_be_cut_elsewhere() -> None:
    whole = b"block" + nonce(7)
    assert signed_bytes(whole[:-1], whole[-1:]) != signed_bytes(whole[:-2], whole[-2:])
    assert signed_bytes(b"", whole) != signed_bytes(whole, b"")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("fixed", [True, False])
def test_weights_that_are_not_finite_are_no_solution(value: float, fixed: bool) -> None:
    found = changed(solved(), *places(solved(), fixed=fixed), value)
    with pytest.raises(InputError, match=r"fc\.weight: expected finite numbers, found 1"):
        check(found, CHALLENGE, DATA)


def _without(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: t for n, t in weights.items() if n != name}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda w: _without(w, "fc.bias"), "fc.bias: expected, not found"),
        (lambda w: {**w, "more": torch.ones(1)}, "more: found, not expected"),
        (lambda w: {**w, "fc.bias": torch.ones(9)}, "fc.bias: expected shape [4], found [9]"),
        (lambda w: {**w, "fc.bias": w["fc.bias"].half()}, "fc.bias: expected float32, found float16"),
    ],
)
def test_weights_of_no_such_network_are_named(make: Callable[[Any], Any], says: str) -> None:
    found = solved()
    with pytest.raises(InputError) as caught:
        check(replace(found, weights=make(found.weights)), CHALLENGE, DATA)
    assert says in str(caught.value)


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "another format": ({"format": "ticket_sig claim"}, "format: expected 'ticket_sig proof of work'"),
    "a later version": ({"version": 2}, "version: expected 1, found 2"),
    "no nonce": ({"nonce": None}, "nonce: expected str, found NoneType"),
    "a short nonce": ({"nonce": "00"}, "nonce: expected"),
    "a nonce with spaces": ({"nonce": " 0" * 16}, "nonce: expected"),
    "a nonce that is a list": ({"nonce": [0] * 16}, "nonce: expected"),
    "a block that is no digest": ({"block": "sha256:"}, "block: expected"),
    "an unknown network": ({"arch": "../../net"}, "arch: expected one of"),
    "a network that is an object": ({"arch": {}}, "arch: expected one of"),
    "a share of zero": ({"share": 0}, "share: expected a number above 0"),
    "a share above one": ({"share": 1.5}, "share: expected"),
    "a share that is true": ({"share": True}, "share: expected"),
    "a share as text": ({"share": "0.3"}, "share: expected"),
    "an accuracy above 100": ({"accuracy": 1e300}, "accuracy: expected a number from 0 to 100"),
    "no target": ({"target": None}, "target: expected"),
    "the legacy scale": ({"scale": "legacy"}, "scale: expected one of unit, layer"),
    "attempts as large as a file": ({"attempts": 10**400}, "attempts: expected a whole number"),
    "half an attempt": ({"attempts": 0.5}, "attempts: expected a whole number"),
    "a data set with control characters": ({"dataset": "\x1b[2J"}, "dataset: expected"),
    "weights of another digest": ({"weights": "sha256:" + 64 * "0"}, "weights: expected those of sha256:0"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_solution_is_one_line(name: str, tmp_path: Path) -> None:
    fields, says = HOSTILE[name]
    path = tmp_path / "S"
    write_solution(solved(), path)
    value = json.loads((path / "solution.json").read_text())
    (path / "solution.json").write_text(json.dumps({**value, **fields}))
    with pytest.raises(InputError) as caught:
        read_solution(path)
    said = str(caught.value)
    assert said.startswith(f"{path / 'solution.json'}: ") and says in said
    assert "\n" not in said and len(said) < 400 and said.isprintable()


def test_a_field_that_is_missing_is_named(tmp_path: Path) -> None:
    value = solved().to_json()
    for name in value:
        with pytest.raises(InputError, match=name):
            Solution.from_json(_without(value, name), solved().weights)


def test_any_other_weight_that_was_changed_is_seen_by_the_digest(tmp_path: Path) -> None:
    found = solved()
    write_solution(found, tmp_path / "S")
    write_solution(changed(found, *places(found, fixed=False), 0.5), tmp_path / "T")
    (tmp_path / "T" / "solution.json").write_bytes((tmp_path / "S" / "solution.json").read_bytes())
    with pytest.raises(InputError, match="weights: expected those of"):
        read_solution(tmp_path / "T")


def sparse(path: Path, shapes: Mapping[str, list[int]], dtype: str = "F32") -> int:
    """Writes zeros of these shapes, which take no room on the disk; returns how many bytes."""
    head, size = dict[str, Any](), 0
    for name, shape in shapes.items():
        ends = [size, size := size + 4 * math.prod(shape)]
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    return size


SPARSE: dict[str, tuple[dict[str, list[int]], str]] = {
    "one more": ({"more": [2**28]}, "more: found, not expected"),
    "more of a name of any length": ({"x" * 10**5: [2**28]}, "xxx"),
    "another shape": ({"layer1.0.conv1.weight": [2**24, 16]}, "layer1.0.conv1.weight: expected shape"),
    "classes": ({"fc.weight": [2**22, 64], "fc.bias": [2**22]}, "fc.weight: expected 1 to 4096 entries"),
    "channels": ({"conv1.weight": [16, 2**21, 3, 3]}, "conv1.weight: expected 1 to 64 entries"),
    "no matrix": ({"fc.weight": [2**28]}, "no matrix of the name fc.weight"),
}


@pytest.mark.parametrize("name", SPARSE)
def test_weights_of_no_such_network_are_refused_before_they_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, says = SPARSE[name]
    write_solution(solved(), tmp_path / "S")
    own = {n: list(t.shape) for n, t in solved().weights.items()}
    assert sparse(tmp_path / "S" / "model.safetensors", {**own, **shapes}) >= 2**30

    def read(_: object) -> None:
        raise AssertionError("this is 1 GiB and more")

    monkeypatch.setattr("ticket_sig.proof_of_work.solution.read_safetensors", read)
    monkeypatch.setattr("ticket_sig.proof_of_work.solution.tensor_digest", read)
    with pytest.raises(InputError) as caught:
        read_solution(tmp_path / "S")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'S' / 'model.safetensors'}: ") and says in said
    assert "\n" not in said and len(said) < 2000


def test_weights_of_another_type_are_refused_before_they_are_read(tmp_path: Path) -> None:
    write_solution(solved(), tmp_path / "S")
    own = {n: list(t.shape) for n, t in solved().weights.items()}
    sparse(tmp_path / "S" / "model.safetensors", own, "I32")
    with pytest.raises(InputError, match=r"weights do not fit resnet20: .*expected float32, found int32"):
        read_solution(tmp_path / "S")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with file_size_limit(4096), pytest.raises(OSError):
        write_solution(solved(), tmp_path / "S")
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Difficulty(0, 90), "share: expected a number above 0, at most 1, found 0"),
        (lambda: Difficulty(math.nan, 90), "share: expected"),
        (lambda: Difficulty(0.5, 101), "target: expected"),
        (lambda: Difficulty(0.5, True), "target: expected"),
        (lambda: Difficulty(0.5, 90, "legacy"), "scale: expected one of unit, layer, found 'legacy'"),
        (lambda: Challenge(b"", Difficulty(0.5, 90)), "block: expected 1 byte or more, found none"),
        (lambda: Challenge("text", Difficulty(0.5, 90)), "block: expected 1 byte or more, found a str"),  # type: ignore[arg-type]
        (lambda: Challenge(b"b", Difficulty(0.5, 90), "net"), "arch: expected one of"),
        (
            lambda: mine(CHALLENGE, DATA, tiny_recipe(arch="vgg16")),
            "arch: expected the challenge's, resnet20",
        ),
        (lambda: mine(CHALLENGE, DATA, RECIPE, attempts=0), "attempts: expected more than 0"),
        (lambda: mine(CHALLENGE, DATA, RECIPE, seconds=math.nan), "seconds: expected more than 0"),
        (lambda: mine(CHALLENGE, DATA, RECIPE, nonces=[b"short"]), "nonce: expected 16 bytes"),
    ],
)
def test_what_is_out_of_range_is_named(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
