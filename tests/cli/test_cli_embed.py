"""Put a mark in from the command line: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import Command, could_not, next_commands, read_json
from support.disk import content, file_size_limit
from support.networks import TASK, dense_bundle, resnet20, torch_file
from support.shards import FLOATS, weights, write_shards
from support.tickets import sparse, sparse_ticket

from ticket_sig import Claim, Mask, Ticket, load, save
from ticket_sig.formats import open_weights
from ticket_sig.formats.bundle import is_bundle
from ticket_sig.formats.weights import Shards
from ticket_sig.marks import MARKS, Watermark, of_kind

MESSAGE = "owner@example.org"
FREEZENET, UCHIDA = ("--mark", "freezenet"), ("--mark", "uchida")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A dense model in many safetensors files."""
    return write_shards(tmp_path / "shards", weights())


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network for digits, as a bundle with its recipe."""
    return dense_bundle(tmp_path_factory.mktemp("model") / "dense")


# qr-code


def test_embed_says_what_it_wrote_and_where(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "out")
    mask = sparse_ticket().mask
    assert (said.code, said.err) == (0, "")
    assert f"qr-code, '{MESSAGE}'\n" in said.out and f"message read: {MESSAGE}\n" in said.out
    assert f"weights kept: {mask.kept} of {mask.total}, as before" in said.out
    place = read_place(tmp_path / "out")
    assert f"place: {place['layer']}, row {place['row']}, column {place['column']}" in said.out
    assert f"bundle: {tmp_path / 'out'}\n" in said.out and "give away the model alone" in said.out
    train, verify = next_commands(said.out)
    assert train[:2] == ["train", str(tmp_path / "out")] and ticket_sig(*verify).code == 0


def read_place(bundle: Path) -> dict[str, object]:
    (mark,) = json.loads((bundle / "claim.json").read_text())["marks"]
    assert mark["mark"] == "qr-code" and mark["fields"]["message"]
    return dict(mark["fields"]["placement"])


def test_embed_in_json(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    value = read_json(ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "out", "--json"))
    before, after = sparse_ticket().mask, load(tmp_path / "out").ticket.mask
    assert (value["bundle"], value["claim"]) == (str(tmp_path / "out"), str(tmp_path / "out" / "claim.json"))
    assert (value["mark"], value["verdict"], value["left_out"]) == ("qr-code", "verified", [])
    assert value["evidence"]["message"] == MESSAGE
    assert (value["evidence"]["kept"], value["evidence"]["total"]) == (before.kept, before.total)
    assert value["facts"]["weights moved"] == sum(int((after[n] & ~before[n]).sum()) for n in before) > 0


def test_embed_takes_version_level_and_layer(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    choice = ["--version", 4, "--level", "Q", "--layer", "b.weight"]
    said = ticket_sig("embed", model, "--message", "m", "--out", tmp_path / "out", *choice)
    assert said.code == 0 and "QR code: version 4, level Q" in said.out
    assert read_place(tmp_path / "out")["layer"] == "b.weight"


def test_embed_prunes_a_dense_model_first_when_told(tmp_path: Path, ticket_sig: Command) -> None:
    torch.save({"a.weight": sparse(40, 40, 3, 3, density=1)}, tmp_path / "dense.pt")
    call = ["embed", tmp_path / "dense.pt", "--message", "m", "--out", tmp_path / "out"]
    could_not(ticket_sig(*call), "pruned weights", "--prune 0.8")
    assert not (tmp_path / "out").exists()
    value = read_json(ticket_sig(*call, "--prune", 0.8, "--json"))
    assert value["evidence"]["kept"] == 40 * 40 * 9 - round(0.8 * 40 * 40 * 9)
    said = ticket_sig(*call, "--prune", 0.8, "--force").out
    assert "\npruned: 14400 weights kept before, 2880 after\nQR code: " in said
    could_not(
        ticket_sig(*call, "--prune", 1.5, "--force"),
        "--prune: expected a share between 0 and 1, without both, found 1.5",
    )


def test_a_refused_code_leaves_nothing_behind(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    there = content(tmp_path)
    call = ["embed", model, "--out", tmp_path / "out"]
    could_not(ticket_sig(*call), "--message: expected a text, found none; qr-code needs it")
    could_not(ticket_sig(*call, "--message", "m" * 500), "message: expected at most 64 bytes at level H")
    could_not(ticket_sig(*call, "--message", ""), "message: expected at least one character")
    could_not(ticket_sig(*call, "--message", "\udcff\udcfe"), "message")
    could_not(ticket_sig(*call, "--message", "m", "--level", "Z"), "level: expected one of L, M, Q, H")
    could_not(ticket_sig(*call, "--message", "m", "--version", 41), "version: expected 1 to 40, found 41")
    could_not(ticket_sig(*call, "--message", "m", "--layer", "none"), "layer", "a.weight, b.weight")
    could_not(ticket_sig(*call, "--message", "m", "--layer", "small.weight"), "8x8 at the largest")
    assert content(tmp_path) == there


MESSAGES = [
    "ключ 🔑",
    "[bold]owner[/bold]",
    "[/] [/x]",
    "a\\[b]",
    "two\nlines",
    "THE 2021 OWNER",
    "  spaces  ",
    "-x",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_any_message_is_shown_and_read_as_it_is(
    message: str, model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    out = tmp_path / "out"
    said = ticket_sig("embed", model, f"--message={message}", "--out", out, "--layer", "a.weight")
    assert said.code == 0
    shown = message.replace("\n", "\\n")  # a line break could forge a line of the output
    assert f"message read: {shown}\n" in said.out
    assert ticket_sig("extract", out).out == f"{message}\n"
    looked = ticket_sig("inspect", out)
    assert looked.code == 0 and repr(message) in looked.out
    verdict = ticket_sig("verify", out, "--claim", out / "claim.json")
    assert verdict.code == 0 and f"\nmessage: {shown}\n" in verdict.out


def test_a_claim_cannot_move_the_cursor(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    out = tmp_path / "signed"
    signing = ["embed", model, "--message", "a\x1b[2Jb", "--out", out]
    for arguments in (signing, ["inspect", out], ["verify", out, "--claim", out / "claim.json"]):
        said = ticket_sig(*arguments)
        assert "\x1b" not in said.out + said.err and said.code == 0


def test_a_path_is_shown_as_it_is_and_quoted_for_a_shell(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    bundle = tmp_path / "it's my [red] run"
    said = ticket_sig("embed", model, "--message", "m", "--out", bundle)
    assert f"bundle: {bundle}\n" in said.out
    assert ticket_sig(*next_commands(said.out)[-1]).code == 0
    assert str(bundle) in ticket_sig("inspect", bundle).out.replace("\n", "")


# freezenet


def apply(ticket_sig: Command, model: Path, *more: object) -> dict[str, object]:
    return read_json(ticket_sig("embed", model, *FREEZENET, *more, "--out", model.with_name("out"), "--json"))


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_files_are_copied_with_their_values_fixed(
    dtype: str, tmp_path: Path, ticket_sig: Command
) -> None:
    model, out = write_shards(tmp_path / "model", weights(getattr(torch, dtype))), tmp_path / "out"
    said = ticket_sig("embed", model, *FREEZENET, "--message", "geheim äöü", "--length", 600, "--out", out)
    assert said.code == 0, said.err
    assert "length: 600 of 16096 parameters, 3.728 %\nscale: unit\n" in said.out and "a.weight: " in said.out
    assert "expected by chance" in said.out and "keep it, give away the model alone" in said.out
    assert stat.S_IMODE((out / "claim.json").stat().st_mode) == 0o600, "it holds the data"
    assert (out / "config.json").exists() and Shards(out).dtypes == Shards(model).dtypes
    (verify,) = next_commands(said.out)  # many files cannot be trained
    said = ticket_sig(*verify)
    assert said.code == 0 and "600 of 600 values stand" in said.out and "proves: these weights" in said.out
    said = ticket_sig("verify", model, "--claim", out / "claim.json")
    assert said.code == 1 and "all must stand" in said.out.replace("\n", " ")


def test_data_are_a_text_or_a_file_or_fresh(shards: Path, tmp_path: Path, ticket_sig: Command) -> None:
    (tmp_path / "data").write_bytes("geheim äöü".encode())
    copies = []
    for data in (["--message", "geheim äöü"], ["--secret", tmp_path / "data"], [], []):
        out = tmp_path / f"out{len(copies)}"
        said = ticket_sig("embed", shards, *FREEZENET, *data, "--length", 600, "--out", out)
        assert said.code == 0, said.err
        drawn = of_kind(Watermark, Claim.read(out / "claim.json")).data
        assert drawn.hex() not in said.out + said.err, "the data are for the claim alone"
        copies.append((drawn, {name: open_weights(out).tensor(name) for name in ("a.weight", "b.weight")}))
    text, file, *fresh = copies
    assert text[0] == file[0] and all(torch.equal(text[1][name], file[1][name]) for name in text[1])
    assert len({data for data, _ in copies}) == 3 and all(len(data) == 32 for data, _ in fresh)


@pytest.mark.parametrize("scale", ["unit", "layer", "legacy"])
def test_the_report_for_machines_says_what_was_fixed(
    scale: str, shards: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ["embed", shards, *FREEZENET, "--message", "mine", "--share", 0.05, "--scale", scale]
    said = ticket_sig(*asked, "--out", tmp_path / "out", "--json")
    made = read_json(said)
    assert b"mine".hex() not in said.out, "the data are for the claim alone"
    found = made["evidence"]
    assert (found["length"], found["matches"], found["parameters"], found["scale"]) == (
        805,
        805,
        16096,
        scale,
    )
    assert sum(int(told.split()[0]) for told in made["facts"].values()) == 805
    assert set(made["facts"]) == {"a.weight", "b.weight", "b.bias"}
    assert ticket_sig("verify", made["bundle"], "--claim", made["claim"]).code == 0


def test_a_watermark_too_short_for_a_verdict_is_said_so(shards: Path, ticket_sig: Command) -> None:
    for length in (0, 3):
        out = shards.with_name(f"out{length}")
        said = ticket_sig("embed", shards, *FREEZENET, "--message", "mine", "--length", length, "--out", out)
        assert said.code == 0 and "too weak to verify: it takes a larger --length\n" in said.out
        assert ticket_sig("verify", out, "--claim", out / "claim.json").code == 1


def test_a_single_file_becomes_a_folder_that_loads(tmp_path: Path, ticket_sig: Command) -> None:
    safetensors.torch.save_file(weights(), tmp_path / "net.safetensors")
    made = apply(ticket_sig, tmp_path / "net.safetensors", "--message", "mine", "--length", 600)
    out = Path(str(made["bundle"]))
    assert sorted(file.name for file in out.iterdir()) == ["claim.json", "model.safetensors"]
    assert read_json(ticket_sig("inspect", out, "--json"))["claim"]["marks"][0]["mark"] == "freezenet"


@pytest.mark.parametrize("source", ["bundle", "net.pt", "net.safetensors"])
def test_the_commands_that_embed_prints_train_and_verify(
    source: str, dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    model = dense if source == "bundle" else torch_file(tmp_path / source)
    if source == "net.safetensors":
        safetensors.torch.save_file(resnet20(), model)
    out, trained = tmp_path / "marked", tmp_path / "trained"
    options = [*FREEZENET, "--message", "mine", "--length", 300, "--arch", "resnet20"]
    said = ticket_sig("embed", model, *options, "--out", out)
    assert said.code == 0, said.err
    train, verify = next_commands(said.out, TRAINED=trained, DIR=tmp_path)
    assert ticket_sig(*verify).code == 0
    assert ("--arch" in train) is (source != "bundle"), "a bundle says itself what it is"
    if source != "bundle":
        assert "for a network of your own: retrain(model=...) in Python" in said.out
        train[train.index("--arch") :] = [*TASK, *train[train.index("--data") + 2 :]]
    said = ticket_sig(*train, "--epochs", 1)
    assert said.code == 0, said.err
    assert ticket_sig("verify", trained, "--claim", out / "claim.json").code == 0


FREEZENET_REFUSES: list[tuple[list[object], str]] = [
    (
        ["--message", "a", "--secret", "FILE", "--length", 3],
        "--message, --secret: expected one of them, found both",
    ),
    (["--message", "a"], "--length, --share: expected one of them, found neither"),
    (
        ["--message", "a", "--length", 3, "--share", 0.1],
        "--length, --share: expected one of them, found both",
    ),
    (["--message", "", "--length", 3], "data: expected 1 byte or more, found none"),
    (["--secret", "gone", "--length", 3], "gone: --secret: expected a file of bytes, found none"),
    (["--message", "a", "--length", 16097], "shards: freezenet: length: expected 0 to 16096"),
    (["--message", "a", "--length", -1], "length: expected"),
    (["--message", "a", "--share", 1.01], "share: expected 0 to 1, found 1.01"),
    (["--message", "a", "--share", "nan"], "share: expected 0 to 1, found nan"),
    (["--message", "a", "--length", 3, "--scale", "huge"], "scale: expected one of unit, layer, legacy"),
    (["--message", "a", "--length", 3, "--arch", "lenet"], "arch: expected one of"),
    (["--message", "a", "--length", 3, "--arch", "vgg16"], "shards: model: layers: expected those of vgg16"),
]


@pytest.mark.parametrize(("options", "says"), FREEZENET_REFUSES)
def test_values_that_cannot_be_fixed_are_one_line_and_write_nothing(
    options: list[object], says: str, shards: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    (tmp_path / "secret").write_bytes(b"bytes")
    before = content(tmp_path)
    given = [tmp_path / "secret" if option == "FILE" else option for option in options]
    said = ticket_sig("embed", shards, *FREEZENET, *given, "--out", tmp_path / "out")
    could_not(said, says)
    assert content(tmp_path) == before
    if "shards: " not in says and "--secret" not in says:
        assert str(shards) not in said.err, "a wrong option is not the model's fault"


# uchida


def test_a_message_is_written_extracted_and_verified(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked, bare = tmp_path / "marked", tmp_path / "bare.pt"
    claim = marked / "claim.json"
    said = ticket_sig("embed", dense, *UCHIDA, "--message", "it is mine", "--out", marked)
    assert said.code == 0, said.err
    assert "80 of 80 bits read as claimed" in said.out and "bit error rate: 0.0000" in said.out
    assert "layer: layer3.0.conv2.weight, 576 weights in a filter" in said.out
    assert "too weak" not in said.out and "keep it" in said.out
    assert claim.stat().st_mode & 0o077 == 0, "others can read the key"
    assert [p.name for p in tmp_path.iterdir()] == ["marked"]
    torch.save(load(marked).ticket.weights, bare)
    assert ticket_sig("extract", bare, "--claim", claim).out == "it is mine\n"
    said = ticket_sig("verify", bare, "--claim", claim)
    assert said.code == 0 and said.out.startswith("verified\n") and "message: it is mine\n" in said.out
    assert "0.0000" in said.out and "proves: these weights" in said.out
    value = read_json(ticket_sig("verify", bare, "--claim", claim, "--json"))
    assert value["verdict"] == "verified" and value["evidence"]["message"] == "it is mine"
    assert value["evidence"]["bit_error_rate"] == 0 and value["log10_p"] < -20
    said = ticket_sig("verify", dense, "--claim", claim)
    assert said.code == 1 and said.out.startswith("not verified\n") and "proves: nothing" in said.out


def test_bits_are_written_into_the_layer_that_is_named(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    bits = "1101" * 16  # no text
    asked = ["embed", dense, *UCHIDA, "--bits", bits, "--layer", "layer2.2.conv2.weight", "--json"]
    value = read_json(ticket_sig(*asked, "--out", tmp_path / "marked"))
    assert (value["evidence"]["bits"], value["evidence"]["wrong_bits"]) == (bits, 0)
    assert value["verdict"] == "verified" and "layer2.2.conv2.weight, 288" in value["facts"]["layer"]
    assert 0 < float(value["facts"]["changed by"].removesuffix(" %")) < 30
    before, after = load(dense).ticket.weights, load(tmp_path / "marked").ticket.weights
    assert [n for n in before if not torch.equal(before[n], after[n])] == ["layer2.2.conv2.weight"]
    assert ticket_sig("extract", tmp_path / "marked").out == f"{bits}\n"
    # 128 bits, and fresh ones each time, where nothing is said.
    drawn = [
        read_json(ticket_sig("embed", dense, *UCHIDA, "--out", tmp_path / name, "--json"))["evidence"]["bits"]
        for name in ("one", "two")
    ]
    assert drawn[0] != drawn[1] and {len(bits) for bits in drawn} == {128}


def test_a_narrow_layer_takes_as_many_bits_as_it_holds(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("embed", dense, *UCHIDA, "--layer", "fc.weight", "--out", tmp_path / "marked")
    assert said.code == 0 and "64 of 64 bits read as claimed" in said.out, said.err


def test_a_layer_too_small_says_that_it_proves_nothing(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    asked = [*UCHIDA, "--random", 40, "--layer", "fc.weight", "--out", tmp_path / "marked"]
    said = ticket_sig("embed", dense, *asked)
    assert said.code == 0 and "40 of 40 bits read as claimed" in said.out
    assert (
        "too weak to verify: it takes more bits (--random N, up to 64 in this layer), "
        "or a --layer with more weights in a filter; or train it on with a larger --strength\n" in said.out
    )
    verify = next_commands(said.out)[-1]
    assert ticket_sig(*verify).code == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--message", "a", "--bits", "01"], "payload: expected one of --message, --bits and --random"),
        (["--bits", "012"], "payload: expected digits 0 and 1, found '012'"),
        (["--message", ""], "payload: expected 1 to 8192 bits, found 0"),
        (["--random", 577], "a layer with 577 weights in a filter, one a bit, found 576"),
        (["--random", 0], "random: expected"),
        (["--layer", "conv9"], "layer: expected 'conv9', found none of that name"),
        (["--layer", "bn1.weight"], "shape: expected 2 or more sizes of 1 or more"),
        (["--strength", 0], "strength: expected a finite number"),
        (["--secret", "SHORT"], "--secret: expected 32 bytes for uchida, found 5"),
        (["--data", "DIR"], "--data: no longer an option; use ticket-sig train"),
    ],
)
def test_bits_that_cannot_be_written_are_one_line_and_leave_nothing(
    options: list[object], says: str, dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    given = [tmp_path / "secret" if option == "SHORT" else option for option in options]
    said = ticket_sig("embed", dense, *UCHIDA, *given, "--out", tmp_path / "marked")
    could_not(said, says)
    if "payload" in says:
        assert str(dense) not in said.err, "a wrong option is not the model's fault"
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_bits_in_many_files_are_read_and_written_as_in_one(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    marked = tmp_path / "marked"
    assert ticket_sig("embed", dense, *UCHIDA, "--out", marked).code == 0
    shards = write_shards(tmp_path / "shards", load(marked).ticket.weights)
    assert ticket_sig("verify", shards, "--claim", marked / "claim.json").code == 0
    assert len(ticket_sig("extract", shards, "--claim", marked / "claim.json").out) == 129
    other = tmp_path / "other"
    assert ticket_sig("embed", shards, *UCHIDA, "--out", other).code == 0
    assert is_bundle(other) and ticket_sig("verify", other, "--claim", other / "claim.json").code == 0


# every mark


def embeddable() -> list[str]:
    return [name for name, kind in MARKS.items() if kind.options]


_SAYS = ("--message", "m")
REQUIRED = {"qr-code": _SAYS, "freezenet": ("--length", 100), "spread": _SAYS}
REQUIRED["mirror"] = (*_SAYS, "--margin", 1.5)  # the small network has no room for more


def carrier(mark: str, sparse_model: Path, dense: Path) -> Path:
    return sparse_model if MARKS[mark].stands_in == "mask" else dense


@pytest.mark.parametrize("mark", embeddable())
def test_the_same_secret_gives_the_same_bits(
    mark: str, model: Path, dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    options = ["--mark", mark, *REQUIRED.get(mark, ())]
    for name, secret in (
        ("one", ["--secret", tmp_path / "secret"]),
        ("two", ["--secret", tmp_path / "secret"]),
        ("fresh", []),
    ):
        said = ticket_sig("embed", carrier(mark, model, dense), *options, *secret, "--out", tmp_path / name)
        assert said.code == 0, said.err
        assert bytes(range(32)).hex() not in said.out + said.err
    written = [tmp_path / name for name in ("one", "two", "fresh")]
    models = [(folder / "model.safetensors").read_bytes() for folder in written]
    claims = [Claim.read(folder / "claim.json").marks for folder in written]
    assert models[0] == models[1] and (models[0] == models[2]) is MARKS[mark].passive
    assert claims[0] == claims[1] and (models[0], claims[0]) != (models[2], claims[2])


@pytest.mark.parametrize("mark", embeddable())
def test_what_is_there_is_overwritten_only_by_force(
    mark: str, model: Path, dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    source, out = carrier(mark, model, dense), tmp_path / "out"
    asked = ["embed", source, "--mark", mark, *REQUIRED.get(mark, ()), "--out", out]
    assert ticket_sig(*asked).code == 0
    before = content(tmp_path)
    could_not(ticket_sig(*asked), "choose another or pass --force")
    assert content(tmp_path) == before
    assert ticket_sig(*asked, "--force").code == 0
    (tmp_path / "mine").mkdir()
    could_not(ticket_sig(*asked[:-1], tmp_path / "mine", "--force"), "expected a model to overwrite")
    inside = ticket_sig(*asked[:1], out, *asked[2:-1], out / "within")
    could_not(inside, "expected ", " outside ", "found one inside")  # the bundle, or its secret


def test_a_model_in_parts_is_not_overwritten_while_it_is_read(
    shards: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ["embed", shards, *FREEZENET, "--message", "mine", "--length", 600]
    before = content(tmp_path)
    could_not(ticket_sig(*asked, "--out", shards, "--force"), "expected another than the model's own")
    could_not(ticket_sig(*asked, "--out", shards / "within"), "expected one outside the model's own")
    assert content(tmp_path) == before


@pytest.mark.parametrize("mark", embeddable())
def test_a_full_disk_leaves_the_earlier_copy_and_nothing_else(
    mark: str, model: Path, dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    source = carrier(mark, model, dense)
    asked = ["embed", source, "--mark", mark, *REQUIRED.get(mark, ()), "--out", tmp_path / "out"]
    assert ticket_sig(*asked).code == 0
    before = content(tmp_path)
    with file_size_limit(4096):
        said = ticket_sig(*asked, "--force")
    could_not(said, str(tmp_path / "out"))
    assert ".partial-" not in said.err and content(tmp_path) == before


def test_many_files_and_a_full_disk(shards: Path, tmp_path: Path, ticket_sig: Command) -> None:
    apply(ticket_sig, shards, "--message", "mine", "--length", 600)
    before = content(tmp_path)
    with file_size_limit(4096):
        asked = [*FREEZENET, "--message", "b", "--length", 9, "--out", tmp_path / "out", "--force"]
        said = ticket_sig("embed", shards, *asked)
    could_not(said, str(tmp_path / "out"))
    assert ".partial-" not in said.err and content(tmp_path) == before


# a mark beside another


def marks_in(bundle: Path) -> list[str]:
    return [one.name for one in Claim.read(bundle / "claim.json").marks]


def test_a_second_mark_is_claimed_beside_the_first(dense: Path, tmp_path: Path, ticket_sig: Command) -> None:
    one, both, secret = tmp_path / "one", tmp_path / "both", tmp_path / "secret"
    secret.write_bytes(bytes(32))
    first = [*UCHIDA, "--message", "it is mine", "--secret", secret]
    assert ticket_sig("embed", dense, *first, "--out", one).code == 0
    second = [*FREEZENET, "--message", "a secret text", "--length", 200]
    said = ticket_sig("embed", one, *second, "--out", both)
    assert said.code == 0 and "no longer claimed" not in said.out, said.err
    assert marks_in(both) == ["uchida", "freezenet"] and marks_in(one) == ["uchida"]
    said = ticket_sig("verify", both, "--claim", both / "claim.json", "--json")
    value = read_json(said)
    each = value["evidence"]["marks"]
    assert [(mark["mark"], mark["verdict"]) for mark in each] == [
        ("uchida", "verified"),
        ("freezenet", "verified"),
    ]
    alone = read_json(ticket_sig("verify", both, "--claim", one / "claim.json", "--json"))
    paid = alone["log10_p"] + math.log10(2)
    assert each[0]["log10_p"] == pytest.approx(paid, abs=2e-3), "the price of two tries"
    assert value["log10_p"] == min(mark["log10_p"] for mark in each)
    assert ticket_sig("extract", both).out == "it is mine\n"
    shown = ticket_sig("inspect", both).out
    assert "claim: uchida, 80 bits" in shown and "claim: freezenet, 200 values" in shown


def test_a_second_mark_that_destroys_the_first_says_so(
    dense: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert ticket_sig("embed", dense, *FREEZENET, "--share", 0.1, "--out", one).code == 0
    asked = ["embed", one, *UCHIDA, "--message", "it is mine", "--out", two]
    said = ticket_sig(*asked)
    assert said.code == 0 and "no longer claimed, as it no longer stands: freezenet\n" in said.out
    assert marks_in(two) == ["uchida"]
    assert ticket_sig("verify", two, "--claim", one / "claim.json").code == 1
    value = read_json(ticket_sig(*asked, "--force", "--json"))
    assert value["no_longer_claimed"] == ["freezenet"]


def test_a_code_over_a_code_is_the_one_that_is_read(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert ticket_sig("embed", model, "--message", MESSAGE, "--out", one).code == 0
    assert ticket_sig("embed", one, "--message", "another", "--out", two).code == 0
    assert ticket_sig("extract", two).out == "another\n"
    assert ticket_sig("verify", two, "--claim", two / "claim.json").code == 0


def test_a_locked_ticket_takes_no_mark(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    """Its key would no longer open it."""
    save(sparse_ticket(rewind=True), tmp_path / "ticket")
    assert ticket_sig("split", tmp_path / "ticket", "--out", tmp_path / "DIR").code == 0
    said = ticket_sig("embed", tmp_path / "DIR" / "locked", "--message", "m", "--out", tmp_path / "out")
    could_not(said, "sealed part: expected none", "unlock it first")


def test_an_earlier_claim_stays_with_the_model_that_was_given(tmp_path: Path, ticket_sig: Command) -> None:
    network = {"a.weight": torch.randn(40, 36, 3, 3)}
    bundle = save(Ticket(weights=network, mask=Mask.full(network)), tmp_path / "bundle")
    assert ticket_sig("embed", bundle, *FREEZENET, "--length", 600, "--out", tmp_path / "out").code == 0
    assert not (bundle / "claim.json").exists()
