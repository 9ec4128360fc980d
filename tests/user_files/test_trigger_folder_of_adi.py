"""Case 3: the trigger folder of Adi et al., whose programs sort and cut pictures in a way of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command_line import Command, could_not, read_json
from support.tiny import write_images

from ticket_sig import Claim, InputError, Mask, Ticket, save
from ticket_sig.files import write_json
from ticket_sig.marks import TriggerMark, of_kind
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import TriggerSet, read_triggers
from ticket_sig.models import build
from ticket_sig.training import preset
from ticket_sig.verification.ask import verify_answers

SIZE = (32, 32, 3)
LABELS = [(7 * k + k // 9) % 10 for k in range(100)]  # of the lines
STRINGS = sorted(map(str, range(1, 101)))  # 1, 10, 100, 11, ...
THEIRS, OURS = {"order": "string", "fit": "cut"}, {"order": "number", "fit": "scaled"}


def pixels(number: int) -> np.ndarray:
    """A picture larger than an image, of odd and even sides."""
    shape = (40 + number % 7, 33 + number % 5, 3)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def write_folder(path: Path, labels: str = "labels-cifar.txt", ending: str = "png") -> Path:
    """Their layout: `pics/1.png` to `pics/100.png`, and a label a line, as floats."""
    (path / "pics").mkdir(parents=True)
    for number in range(1, 101):
        Image.fromarray(pixels(number)).save(path / "pics" / f"{number}.{ending}")
    (path / labels).write_text("".join(f"{label:.18e}\n" for label in LABELS))
    return path


@pytest.fixture(scope="module")
def adi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("adi") / "trigger_set")


def as_theirs() -> list[tuple[bytes, int]]:
    """What their programs make of it: names in the order of strings, CenterCrop(32)."""
    pairs = []
    for name, label in zip(STRINGS, LABELS, strict=True):
        picture = pixels(int(name))
        top, left = (round((side - 32) / 2.0) for side in picture.shape[:2])
        pairs.append((picture[top : top + 32, left : left + 32].tobytes(), label))
    return pairs


def pairs(triggers: TriggerSet) -> list[tuple[bytes, int]]:
    images, labels = triggers.split.images.numpy(), triggers.split.labels.tolist()
    return [(image.tobytes(), label) for image, label in zip(images, labels, strict=True)]


def test_their_folder_is_read_as_their_programs_read_it(adi: Path) -> None:
    triggers = read_triggers(adi, SIZE, 10)
    assert pairs(triggers) == as_theirs()
    assert vars(triggers.arrangement) == THEIRS
    assert read_triggers(adi, SIZE, 10, **THEIRS).commitment == triggers.commitment


def test_a_network_that_their_programs_taught_verifies(adi: Path) -> None:
    triggers = read_triggers(adi, SIZE, 10)
    known, draw = dict(as_theirs()), np.random.default_rng(0)

    def ask(images: np.ndarray) -> list[int | None]:
        return [known.get(bytes(image), int(draw.integers(10))) for image in images]

    def control(images: np.ndarray) -> list[int | None]:
        return [int(label) for label in draw.integers(0, 10, len(images))]

    found = verify_answers(claim_triggers(triggers, "sha256:none"), triggers, ask, controls=[control])
    assert found.verified and found.reading.matches == 100


def test_another_folder_is_read_by_number_and_scaled_as_before(tmp_path: Path, adi: Path) -> None:
    own = read_triggers(write_folder(tmp_path / "own", "labels.txt"), SIZE, 10)
    assert vars(own.arrangement) == OURS
    by_number = read_triggers(adi, SIZE, 10, **OURS)
    assert own.commitment == by_number.commitment and pairs(own) == pairs(by_number)
    assert own.split.labels.tolist() == LABELS
    scaled = Image.fromarray(pixels(2)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(own.split.images[1].numpy(), np.array(scaled))


def test_every_order_and_fit_is_another_set_of_its_own_commitment(adi: Path) -> None:
    ways = [(order, fit) for order in ("string", "number") for fit in ("cut", "scaled")]
    sets = [read_triggers(adi, SIZE, 10, order=order, fit=fit) for order, fit in ways]
    assert len({one.commitment for one in sets}) == len({tuple(pairs(one)) for one in sets}) == 4
    # One of the two may be left to the folder.
    assert read_triggers(adi, SIZE, 10, fit="scaled").commitment == sets[1].commitment


@pytest.mark.parametrize("way", [THEIRS, OURS, {"order": "string", "fit": "scaled"}])
def test_the_claim_says_it_and_a_verifier_reads_the_same_set(
    way: dict[str, str], adi: Path, tmp_path: Path
) -> None:
    triggers = read_triggers(adi, SIZE, 10, **way)
    write_json(tmp_path / "claim.json", claim_triggers(triggers, "sha256:none").to_json())
    mark = of_kind(TriggerMark, Claim.read(tmp_path / "claim.json"))
    assert {name: mark.to_json()[name] for name in way} == way
    shown = mark.opened({"triggers": adi}, tmp_path / "claim.json")["triggers"]
    assert pairs(shown) == pairs(triggers)


def test_a_claim_that_does_not_say_means_numbers_and_scaled(adi: Path, tmp_path: Path) -> None:
    """As version 0.1 wrote it; a claim of that version itself is in `test_old_claims.py`."""
    triggers = read_triggers(adi, SIZE, 10, **OURS)
    fields = {k: v for k, v in TriggerMark.of(triggers).to_json().items() if k not in ("order", "fit")}
    mark = TriggerMark.from_json(fields)
    assert pairs(mark.opened({"triggers": adi}, tmp_path)["triggers"]) == pairs(triggers)


def test_a_set_that_was_read_in_another_way_is_not_taken_for_the_claim_s(adi: Path) -> None:
    mark = TriggerMark.of(read_triggers(adi, SIZE, 10))
    says = r"arrangement: expected the claim's string order .*, found number order .*give `read_triggers`"
    with pytest.raises(InputError, match=says):
        mark.check(read_triggers(adi, SIZE, 10, **OURS))


def test_names_need_no_numbers_where_strings_are_sorted(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for name in ("b.png", "a.JPEG", "10.png", "notes.txt"):
        Image.new("RGB", (32, 32), (len(name), 0, 0)).save(tmp_path / "pics" / name, "PNG")
    (tmp_path / "labels-cifar.txt").write_text("1\n2\n3\n")
    triggers = read_triggers(tmp_path, SIZE, 10)
    assert triggers.split.images[:, 0, 0, 0].tolist() == [6, 6, 5]  # 10.png, a.JPEG, b.png


# The command line


def write_network(path: Path) -> Path:
    """An innocent network for grey images."""
    weights = {name: t.detach() for name, t in build("resnet20", 10, 1, seed=0).state_dict().items()}
    recipe = preset("demo", arch="resnet20", dataset="images").to_json()
    return save(Ticket(weights=weights, mask=Mask.of_zeros(weights), recipe=recipe), path)


def test_ask_and_queries_read_the_set_of_the_claim_and_say_how(
    adi: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim, network = tmp_path / "claim.json", write_network(tmp_path / "network")
    shown = ["--claim", claim, "--triggers", adi, "--decoys", 100]
    for way, words in ((OURS, "number order (1, 2, 10), scaled"), (THEIRS, "string order (1, 10, 2), cut")):
        write_json(claim, claim_triggers(read_triggers(adi, (8, 8, 1), 10, **way), "sha256:none").to_json())
        assert words in ticket_sig("queries", *shown, "--out", tmp_path / way["order"]).out
    asked = ["ask", network, *shown, "--control", network]
    told = read_json(ticket_sig(*asked, "--json"))
    assert {name: told["evidence"][name] for name in way} == way
    assert words in ticket_sig(*asked).out


def test_triggers_says_how_a_folder_is_read_and_draws_it(
    adi: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    given = ["triggers", "--dataset", "cifar10", "--folder", adi]
    said = ticket_sig(*given, "--png", tmp_path / "sheet.png")
    assert (said.code, said.err) == (0, "") and (tmp_path / "sheet.png").exists()
    assert "trigger folder: string order (1, 10, 2), cut" in said.out
    told = read_json(ticket_sig(*given, "--trigger-order", "number", "--json"))
    assert (told["order"], told["fit"], told["count"]) == ("number", "cut", 100)


def test_train_says_how_a_folder_is_read_and_its_claim_says_so(
    adi: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    images = write_images(tmp_path / "images", tuple("abcdefghij"), each=1)
    for picture in images.rglob("*.png"):
        Image.open(picture).convert("L").save(picture)
    given = [
        "train",
        write_network(tmp_path / "network"),
        "--data",
        images,
        "--start",
        "model",
        "--epochs",
        1,
    ]
    taught_it = ["--triggers", adi, "--trigger-fit", "scaled", "--out", tmp_path / "trained"]
    said = ticket_sig(*given, *taught_it)
    assert said.code == 0, said.err
    assert said.out.startswith("trigger folder: string order (1, 10, 2), scaled\n")
    fields = json.loads((tmp_path / "trained" / "claim.json").read_text())["marks"][0]["fields"]
    assert (fields["order"], fields["fit"], fields["keyed"]) == ("string", "scaled", False)
    assert "string order (1, 10, 2), scaled" in ticket_sig("inspect", tmp_path / "trained").out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--trigger-fit", "cut"],
            "3.png: picture: expected at least 32 x 32 pixels to cut out, found 31 x 40",
        ),
        (["--trigger-order", "size"], "order: expected one of string, number, found 'size'"),
        (["--trigger-fit", "pad"], "fit: expected one of cut, scaled, found 'pad'"),
    ],
)
def test_what_cannot_be_read_so_is_refused(
    options: list[str], says: str, tmp_path: Path, ticket_sig: Command
) -> None:
    (tmp_path / "adi" / "pics").mkdir(parents=True)
    for number, size in enumerate([(32, 32), (50, 40), (40, 31)], 1):
        Image.new("RGB", size).save(tmp_path / "adi" / "pics" / f"{number}.png")
    (tmp_path / "adi" / "labels-cifar.txt").write_text("1\n2\n3\n")
    could_not(ticket_sig("triggers", "--dataset", "cifar10", "--folder", tmp_path / "adi", *options), says)
