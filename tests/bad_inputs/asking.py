"""Claims and triggers that nobody can be asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image
from support.command_line import done

from bad_inputs.case import Topic
from bad_inputs.inputs import claim, edit_json, edit_mark, embed, fixture, images, marked, shown, verify
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.trigger_set.triggers import read_triggers

topic = Topic("black box")
_DEAD = ["--url", "http://127.0.0.1:1", "--model", "mine", "--retries", 0]  # port 1: nobody listens


@topic.case("suspect: expected one of a model, --url and --answers, found none")
def nobody_to_ask(folder: Path) -> list[Any]:
    return ["ask", *shown(folder)]


@topic.case("suspect: expected one of a model, --url and --answers, found a model and --url")
def two_to_ask(folder: Path) -> list[Any]:
    return ["ask", fixture(folder, "state.pt"), *_DEAD, *shown(folder)]


@topic.case("http://127.0.0.1:1/v2/models/mine: server: expected an answer, found none", "refused")
def dead_server(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, *shown(folder)]


@topic.case("--triggers: expected a path, found none; the claim does not hold the secret")
def asking_without_the_triggers(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, *shown(folder)[:2]]


@topic.case("claim.json: claim: marks: expected 'trigger-set', found 'qr-code'")
def triggers_for_a_claim_of_a_code(folder: Path) -> list[Any]:
    arguments = shown(folder)
    claim(folder)
    return ["ask", *_DEAD, *arguments]


@topic.case("triggers: commitment: expected the claim's sha256:", "another secret or folder")
def triggers_of_another_secret(folder: Path) -> list[Any]:
    arguments = shown(folder)
    edit_json(folder / "triggers.json", secret="0" * 64)
    return ["ask", *_DEAD, *arguments]


@topic.case(
    "triggers.json: triggers: images: expected [8, 8, 1] and 10 classes, found [9, 8, 1] and 10 classes"
)
def triggers_of_another_size(folder: Path) -> list[Any]:
    arguments = shown(folder)
    edit_json(folder / "triggers.json", size=[9, 8, 1])
    return ["ask", *_DEAD, *arguments]


@topic.case("url: expected http:// or https:// and a host, found 'localhost:8080'")
def address_without_a_scheme(folder: Path) -> list[Any]:
    return ["ask", "--url", "localhost:8080", "--model", "mine", *shown(folder)]


@topic.case("url: expected scheme, host, port and path alone, found more (a password?)")
def password_in_the_address(folder: Path) -> list[Any]:
    return ["ask", "--url", "http://me:hunter2@host", "--model", "mine", *shown(folder)]


@topic.case("shape: expected sizes as -1,3,32,32 or 3,32,32, found '8x8'")
def shape_that_is_none(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, "--shape", "8x8", *shown(folder)]


@topic.case("datatype: expected one of UINT8, BF16, FP16, FP32, FP64, found 'BYTES'")
def datatype_that_holds_no_image(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, "--datatype", "BYTES", *shown(folder)]


@topic.case("--shape: expected images of 8 x 8 with 1 channels, found [-1, 3, 32, 32]")
def shape_of_other_images(folder: Path) -> list[Any]:
    said = ["--input", "x", "--datatype", "UINT8", "--shape", "-1,3,32,32"]
    return ["ask", *_DEAD, *said, *shown(folder)]


@topic.case("--token-env: expected the name of an environment variable that is set, found 'NOT_SET'")
def token_that_is_not_there(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, "--token-env", "NOT_SET", *shown(folder)]


@topic.case("state.pt: model: expected the names of network and data set, too, found none; name them: --arch")
def asking_a_model_of_unknown_network(folder: Path) -> list[Any]:
    return ["ask", fixture(folder, "state.pt"), *shown(folder)]


def _of_a_claim(folder: Path, **changes: Any) -> list[Any]:
    arguments = shown(folder)
    edit_mark(folder / "claim.json", **changes)
    return ["ask", *_DEAD, *arguments]


for _name, _changes, *_says in (
    (
        "too many large images",
        {"count": 100_000, "size": [1024, 1024, 4]},
        "claim.json: claim: images: expected at most 256 MiB in all, found 419430400000 bytes",
    ),
    (
        "4096 channels",
        {"size": [8, 8, 4096]},
        "claim.json: claim: size: expected sides of 1 to 1024 and 1, 2",
    ),
    (
        "a folder of 2 channels",
        {"size": [8, 8, 2], "keyed": False},
        "claim: size: expected",
        "and 1, 3 channels",
    ),
    ("another count", {"count": 99}, "triggers: count: expected the claim's 99, found 100"),
):
    topic.enter(f"claim of {_name}", lambda folder, c=_changes: _of_a_claim(folder, **c), *_says)  # type: ignore[misc]


def _of_a_folder(folder: Path) -> list[Any]:
    """A claim of pictures and labels that somebody chose."""
    (folder / "SET" / "pics").mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "SET" / "pics" / "1.png")
    (folder / "SET" / "labels.txt").write_text("3")
    chosen = claim_triggers(read_triggers(folder / "SET", (8, 8, 1), 10), "sha256:none")
    (folder / "claim.json").write_text(json.dumps(chosen.to_json()))
    return ["ask", *_DEAD, "--claim", folder / "claim.json", "--triggers", folder / "SET"]


@topic.case(
    "control: expected an innocent network of the same task", "need a control network: --control MODEL"
)
def chosen_triggers_without_a_control(folder: Path) -> list[Any]:
    return _of_a_folder(folder)


@topic.case("claim.json: claim: order: expected text of the form string|number, found 'shuffled'")
def claim_of_a_folder_in_an_unknown_order(folder: Path) -> list[Any]:
    arguments = _of_a_folder(folder)
    edit_mark(folder / "claim.json", order="shuffled")
    return arguments


@topic.case("triggers: commitment: expected the claim's sha256:", "another secret or folder")
def claim_of_a_folder_in_another_order(folder: Path) -> list[Any]:
    arguments = _of_a_folder(folder)
    edit_mark(folder / "claim.json", order="string")
    return arguments


@topic.case("triggers.json: triggers: order and fit: expected a folder of pictures, found a file")
def secret_for_a_claim_of_a_folder(folder: Path) -> list[Any]:
    shown(folder)
    return [*_of_a_folder(folder)[:-1], folder / "triggers.json"]


@topic.case("GONE: model: expected a bundle, a .safetensors")
def control_that_is_not_there(folder: Path) -> list[Any]:
    return [*_of_a_folder(folder), "--control", folder / "GONE"]


@topic.case("usage: No such option: --key")
def key_for_answers(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, *shown(folder), "--key", folder / "key.safetensors"]


@topic.case("claim.json: marks: expected a claim on key-mask, for --key, found qr-code")
def key_for_a_claim_of_a_code(folder: Path) -> list[Any]:
    return [*verify(folder, claim(folder)), "--key", folder / "key.safetensors"]


for _mark, _options in (("freezenet", ["--length", 50]), ("uchida", [])):
    for _option in ("--key", "--locked"):
        topic.enter(
            f"{_option} for a claim on {_mark}",
            lambda folder, m=_mark, o=_options, option=_option: [  # type: ignore[misc]
                *("verify", marked(folder, m, *o).parent, "--claim", folder / "MARKED" / "claim.json"),
                *(option, folder / "DIR"),
            ],
            f"claim.json: marks: expected a claim on key-mask, for {_option}, found {_mark}",
        )


@topic.case(
    "marks: expected one that is read in weights (qr-code or key-mask or freezenet or uchida or nct or "
    "spread or mirror), found trigger-set; ask the network for its answers: ticket-sig ask MODEL --claim FILE"
)
def weights_for_a_claim_on_triggers_alone(folder: Path) -> list[Any]:
    shown(folder)
    return verify(folder, folder / "claim.json")


@topic.case("marks: expected one that carries bits (qr-code, uchida, nct, spread, mirror), found trigger-set")
def message_of_a_claim_on_triggers_alone(folder: Path) -> list[Any]:
    shown(folder)
    return verify(folder, folder / "claim.json", verb="extract")


@topic.case("claim.json: marks: expected a claim on key-mask, for --key, found trigger-set")
def attack_with_a_key_for_a_claim_on_triggers_alone(folder: Path) -> list[Any]:
    attack = ["attack", "cast", fixture(folder, "state.pt"), *shown(folder)[:2], "--out", folder / "STOLEN"]
    return [*attack, "--key", folder / "key.safetensors"]


for _mark, _options in (("freezenet", ["--length", 50]), ("uchida", [])):
    topic.enter(
        f"asking about a claim on {_mark}",
        lambda folder, m=_mark, o=_options: [  # type: ignore[misc]
            *("ask", *_DEAD, "--claim", marked(folder, m, *o), *shown(folder)[2:]),
        ],
        f"claim.json: claim: marks: expected 'trigger-set', found '{_mark}'",
    )


@topic.case("claim.json: claim: marks: expected 'trigger-set', found 'qr-code'")
def queries_for_a_claim_of_a_code(folder: Path) -> list[Any]:
    return ["queries", *shown(folder)[2:], "--claim", claim(folder), "--out", folder / "OUT"]


@topic.case("suspect: expected one of a model, --url and --answers, found a model and --url and --answers")
def three_to_ask(folder: Path) -> list[Any]:
    answers = ["--answers", folder / "answers.csv"]
    return ["ask", fixture(folder, "state.pt"), *_DEAD, *answers, *shown(folder)]


@topic.case("usage: Got unexpected extra argument")
def two_models_to_ask(folder: Path) -> list[Any]:
    return ["ask", fixture(folder, "state.pt"), folder / "other.pt", *shown(folder)]


@topic.case("--model: expected the model's name on the server, found none")
def server_without_the_name_of_a_model(folder: Path) -> list[Any]:
    return ["ask", *_DEAD[:2], *shown(folder)]


@topic.case("gone.pt: model: expected a bundle, a .safetensors or a torch file, found nothing at this path")
def asking_a_model_that_is_not_there(folder: Path) -> list[Any]:
    return ["ask", folder / "gone.pt", *shown(folder)]


@topic.case("--arch: expected data to measure the accuracy on: --data DIR, or --dataset digits, found none")
def network_s_name_without_data(folder: Path) -> list[Any]:
    return [*verify(folder, claim(folder)), "--arch", "resnet20"]


@topic.case("usage: --control: no longer an option; use ticket-sig ask --control")
def control_for_weights(folder: Path) -> list[Any]:
    return [*verify(folder, claim(folder)), "--control", folder / "state.pt"]


@topic.case(
    "state.pt: --data: expected the names of network and data set, too, found none; name them: --arch"
)
def data_of_no_name_for_weights(folder: Path) -> list[Any]:
    done(embed(folder, fixture(folder, "state.pt")))
    weights = (folder / "SIGNED" / "model.safetensors").rename(folder / "state.pt")
    arguments = ["verify", weights, "--claim", folder / "SIGNED" / "claim.json"]
    return [*arguments, "--data", images(folder)]


@topic.case("--data: expected the name of the data set, too, found none; name it: --dataset")
def data_of_no_name(folder: Path) -> list[Any]:
    return ["ask", *_DEAD, *shown(folder), "--data", images(folder)]


@topic.case("OUT: output folder: expected a name not taken yet, found one that is")
def queries_over_a_folder(folder: Path) -> list[Any]:
    (folder / "OUT").mkdir()
    return ["queries", *shown(folder), "--out", folder / "OUT"]


@topic.case("triggers.json: secret file: expected a name not taken yet, found one that is")
def secret_over_another(folder: Path) -> list[Any]:
    shown(folder)
    return ["triggers", "--dataset", "digits", "--out", folder / "triggers.json"]


@topic.case("images: expected --dataset, or --size H W C and --classes N, found too few of them")
def triggers_of_no_size(folder: Path) -> list[Any]:
    return ["triggers", "--out", folder / "triggers.json"]


@topic.case("triggers: count: expected enough to verify, found 20 of 10 classes")
def too_few_triggers(folder: Path) -> list[Any]:
    return ["triggers", "--dataset", "digits", "--count", 20, "--out", folder / "triggers.json"]


@topic.case("--out: expected a file to write, found none; or read a folder of pictures: --folder")
def triggers_without_out(folder: Path) -> list[Any]:
    return ["triggers", "--dataset", "digits"]


@topic.case("--out, --count: expected a new secret, found --folder")
def triggers_of_a_folder_with_the_options_of_a_secret(folder: Path) -> list[Any]:
    return ["triggers", "--dataset", "digits", "--folder", folder, "--out", folder / "t.json", "--count", 9]


@topic.case("--trigger-fit: expected --folder, found none")
def triggers_of_a_secret_with_the_options_of_a_folder(folder: Path) -> list[Any]:
    return ["triggers", "--dataset", "digits", "--out", folder / "triggers.json", "--trigger-fit", "cut"]
