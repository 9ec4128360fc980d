"""Claims that are missing, damaged or of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.command_line import done
from support.make_fixtures import LAYER
from support.shards import write_shards
from support.tickets import sparse_ticket

from bad_inputs.case import Topic
from bad_inputs.inputs import claim, embed, fixture, verify

topic = Topic("claim")


@topic.case("gone.json: file: expected a JSON file, found none")
def missing_claim(folder: Path) -> list[Any]:
    return verify(folder, folder / "gone.json")


for _name, _content, _found in (
    ("empty", b"", "an empty file"),
    ("in UTF-16", "{}".encode("utf-16"), "a file that is no text in UTF-8"),
    ("that is a model", b"\x80\x02}q\x00\xff", "a file that is no text in UTF-8"),
):

    def _of_bytes(folder: Path, content: bytes = _content) -> list[Any]:
        (folder / "c.json").write_bytes(content)
        return verify(folder, folder / "c.json")

    topic.enter(f"claim {_name}", _of_bytes, f"c.json: JSON: expected a whole JSON object, found {_found}")


@topic.case("SIGNED: claim: expected a claim file, found a folder; give ", "SIGNED/claim.json")
def folder_for_a_claim(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return ["verify", folder / "state.pt", "--claim", folder / "SIGNED"]


@topic.case("usage: --claim: expected a claim file, or", "found neither", "SIGNED/claim.json lies beside it")
def claim_that_lies_beside_the_model(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return ["verify", folder / "SIGNED"]


@topic.case(
    "model-00002-of-00002.safetensors: model: layer: expected the claim's ",
    "found none of that name or shape; this is one shard of several; give its folder or index",
)
def one_shard_of_several(folder: Path) -> list[Any]:
    model = write_shards(folder / "MODEL", dict(sparse_ticket().weights), 2)
    done(embed(folder, model, "--layer", "a.weight"))
    shard = model / "model-00002-of-00002.safetensors"
    return ["verify", shard, "--claim", folder / "SIGNED" / "claim.json"]


@topic.case(
    "claim.json: ", "expected 'trigger-set', found 'qr-code'; give the claim that `train --triggers` wrote"
)
def asking_by_a_claim_without_triggers(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    return ["ask", folder / "SIGNED", "--claim", folder / "SIGNED" / "claim.json"]


@topic.case("state.pt: claim: expected a claim.json beside the model, or --claim FILE, found neither")
def no_claim_beside_the_model(folder: Path) -> list[Any]:
    return ["extract", fixture(folder, "state.pt")]


@topic.case("package.json: ", "format: expected 'ticket_sig claim', found None")
def other_json(folder: Path) -> list[Any]:
    (folder / "package.json").write_text('{"name": "left-pad", "version": 1}')
    return verify(folder, folder / "package.json")


@topic.case("claim.json: model: expected a model file, found a claim of ticket_sig")
def claim_for_a_model(folder: Path) -> list[Any]:
    return ["inspect", claim(folder)]


@topic.case("claim.json: model: expected a model file, found a claim of ticket_sig")
def claim_for_the_suspect(folder: Path) -> list[Any]:
    return ["verify", claim(folder), "--claim", folder / "claim.json"]


@topic.case("claim.json: model: expected a model file, found a claim of ticket_sig")
def claim_for_the_reference(folder: Path) -> list[Any]:
    return [*verify(folder, claim(folder)), "--reference", folder / "claim.json"]


@topic.case("claim.json: ", "version: expected 1 or 2, found 99", "use the ticket_sig that wrote it")
def unknown_version(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, version=99))


for _verb, *_options in (
    ("inspect",),
    ("extract",),
    ("split", "--out", "OUT"),
    ("train", "--epochs", 1, "--out", "OUT"),
    ("attack", "cast", "--out", "OUT"),
    ("attack", "erase", "--insider", "--out", "OUT"),
):

    def _later(folder: Path, verb: str = _verb, options: Any = _options) -> list[Any]:
        model = fixture(folder, "bundle-v1-signed")
        claim(model, version=3, written_by="ticket_sig 9.9")
        return [verb, *(folder / "OUT" if word == "OUT" else word for word in options), model]

    topic.enter(
        f"later version, beside the model of {' '.join(map(str, (_verb, *_options)))}",
        _later,
        "bundle-v1-signed",
        "claim: version: expected 1 or 2, found 3, written by ticket_sig 9.9; use the ticket_sig",
    )


@topic.case("claim.json: ", "mark: expected one of qr-code, ", "found 'scheme 9', written by ticket_sig 0.1")
def unknown_scheme(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, scheme="scheme 9"))


@topic.case("claim.json: ", "created: expected str, found int")
def field_of_another_type(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, created=2026))


@topic.case("claim.json: ", "row: expected a whole number of 0 or more, found 'first'")
def place_in_words(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, placement={"row": "first"}))


@topic.case("claim.json: ", "QR version: expected 1 to 40, found 41")
def impossible_qr_version(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, qr={"version": 41}))


@topic.case("claim.json: ", "message: expected at most 7 bytes in version 1, level H", "found 17")
def message_that_does_not_fit_its_code(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, message="owner@example.org"))


@topic.case("claim.json: ", "expected", "found")
def message_that_is_no_text(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, message="\ud800"))


@topic.case(
    "not verified",
    "expected the claim's layer7.weight, found none of that name or shape",
    "--reference",
    code=1,
)
def layer_that_the_model_lacks(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, placement={"layer": "layer7.weight", "shape": [22, 22, 3, 3]}))


@topic.case(
    "not verified", "expected the claim's shape [22, 22, 3, 3], found [22, 22, 2, 2]", "--reference", code=1
)
def layer_of_another_shape(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, placement={"shape": [22, 22, 3, 3]}))


@topic.case(
    "claim.json: claim: placement: expected a region of the 22x22 kernels of ",
    f"{LAYER}, found rows 5..25, columns 0..20",
)
def place_outside_the_layer(folder: Path) -> list[Any]:
    return verify(folder, claim(folder, placement={"row": 5, "column": 0}))


@topic.case("not verified", code=1)
def model_of_the_right_shape_without_the_signature(folder: Path) -> list[Any]:
    return verify(folder, claim(folder))


@topic.case("no message can be read: ", "data modules agree with the claimed code, p = ", code=1)
def message_read_from_a_model_without_the_signature(folder: Path) -> list[Any]:
    return verify(folder, claim(folder), verb="extract")
