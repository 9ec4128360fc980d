"""Messages, keys, secrets and claims that no carrier takes; the carrier is the least one (`probe_code`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from support.command_line import run
from support.disk import full_disk
from support.probe_code import ProbeCode
from support.tickets import sparse_ticket

from bad_inputs.case import Build, Topic
from bad_inputs.inputs import edit_mark, plain
from ticket_sig.marks import MARKS

topic = Topic("carrier")
_MARK = ["--mark", "probe-code"]


@contextmanager
def _registered(folder: Path) -> Iterator[None]:
    with patch.dict(MARKS, {"probe-code": ProbeCode}):
        yield


@contextmanager
def _and_full(folder: Path) -> Iterator[None]:
    with _registered(folder), full_disk():
        yield


def _case(name: str, build: Build, *says: str, **options: Any) -> None:
    topic.enter(name, build, *says, **{"during": _registered, **options})


def _model(folder: Path) -> Path:
    return plain(folder, "net.safetensors", dict(sparse_ticket().weights))


def _embed(folder: Path, *more: Any, out: str = "OUT") -> list[Any]:
    return ["embed", _model(folder), *_MARK, *more, "--out", folder / out]


def _signed(folder: Path, *more: Any, mark: str = "probe-code") -> Path:
    """A bundle OUT, its claim, and its secret in OUT.secret."""
    arguments = ["embed", _model(folder), "--mark", mark, "--message", "mine", "--out", folder / "OUT", *more]
    with _registered(folder):
        said = run(arguments)
    assert said.code == 0, said.err
    return folder / "OUT"


def _read(folder: Path, verb: str, *more: Any, **fields: Any) -> list[Any]:
    """Verifies or extracts by a claim of which fields are changed."""
    claim = edit_mark(_signed(folder) / "claim.json", **fields)
    return [verb, folder / "OUT" / "model.safetensors", "--claim", claim, *more]


# What is to be written.

for _name, _options, _says in (
    ("neither message nor fingerprint", [], "--message, --fingerprint: expected one of them, found neither"),
    ("a message of no characters", ["--message", ""], "message: expected 1 to 64 bytes in UTF-8, found 0"),
    ("a message of 65 bytes", ["--message", "x" * 65], "message: expected 1 to 64 bytes in UTF-8, found 65"),
    (
        "a message that is no text",
        ["--message", b"\xff".decode(errors="surrogateescape")],
        "message: expected Unicode text, found ",
    ),
    ("no margin", ["--message", "a", "--margin", 0], "margin: expected 0.5 to 50, found 0.0"),
    (
        "a margin that is no number",
        ["--message", "a", "--margin", "nan"],
        "margin: expected 0.5 to 50, found nan",
    ),
    (
        "an option of no carrier",
        ["--message", "a", "--length", 5],
        "probe-code: expected options among message, fingerprint, margin, found length",
    ),
):
    _case(_name, lambda folder, options=_options: _embed(folder, *options), _says)  # type: ignore[misc]

_FINGERPRINT = "key: public key: expected "
for _name, _key, _says in (
    ("that is not there", None, "a file of bytes, found none"),
    ("of no bytes", b"", "a file of bytes, found an empty one"),
    (
        "that is a text",
        b"hello",
        "one in PEM or OpenSSH form, found something else; a .pub file of ssh-keygen",
    ),
    (
        "that is private",
        b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
        "one in PEM or OpenSSH form, found a private key",
    ),
    ("of a kind that nobody knows", b"ssh-halo AAAA", "one in PEM or OpenSSH form, found something else"),
):

    def _of_key(folder: Path, key: bytes | None = _key) -> list[Any]:
        if key is not None:
            (folder / "key").write_bytes(key)
        return _embed(folder, "--fingerprint", folder / "key")

    _case(f"a public key {_name}", _of_key, f"{_FINGERPRINT}{_says}")


def _both(folder: Path) -> list[Any]:
    return _embed(folder, "--message", "a", "--fingerprint", folder / "key")


_case("message and fingerprint", _both, "--message, --fingerprint: expected one of them, found both")


def _empty(folder: Path) -> list[Any]:
    model = plain(folder, "zero.safetensors", {"a": torch.zeros(9, 9)})
    return ["embed", model, *_MARK, "--message", "a", "--out", folder / "OUT"]


_case("a model of zeros", _empty, "zero.safetensors: kept weights: expected some, found none")


# Several at once.

for _names, _options, _says in (
    ("probe-code+probe-code", ["--message", "a"], "mark: expected each once, found 'probe-code+probe-code'"),
    ("probe-code+halo", ["--message", "a"], "mark: expected one of qr-code, "),
    ("probe-code+", ["--message", "a"], "mark: expected one of qr-code, "),
    ("probe-code+key-mask", ["--message", "a"], "found 'key-mask'"),
    ("qr-code+probe-code", ["--margin", 3], "--message: expected a text, found none; qr-code needs it"),
    (
        "qr-code+probe-code",
        ["--message", "a", "--length", 5],
        "qr-code+probe-code: expected options among message, version, level, layer, fingerprint, margin, "
        "found length",
    ),
):

    def _several(folder: Path, names: str = _names, options: list[Any] = _options) -> list[Any]:
        return ["embed", _model(folder), "--mark", names, *options, "--out", folder / "OUT"]

    _case(f"{_names} {' '.join(map(str, _options))}", _several, _says)


# Secrets.


def _with_secret(name: str, content: bytes | None) -> Build:
    def build(folder: Path) -> list[Any]:
        if content is not None:
            (folder / name).write_bytes(content)
        return _embed(folder, "--message", "a", "--secret", folder / name)

    return build


def _as_folder(folder: Path) -> list[Any]:
    (folder / "s").mkdir()
    return _embed(folder, "--message", "a", "--secret", folder / "s")


def _as_loop(folder: Path) -> list[Any]:
    (folder / "s").symlink_to("s")
    return _embed(folder, "--message", "a", "--secret", folder / "s")


_case(
    "a secret of no bytes", _with_secret("s", b""), "s: secret: expected a file of bytes, found an empty one"
)
_case("a secret of 31 bytes", _with_secret("s", bytes(31)), "s: secret: expected 32 bytes, found 31")
_case("a secret as digits", _with_secret("s", b"00" * 32), "s: secret: expected 32 bytes, found 64")
_case("a secret that is a link to itself", _as_loop, "s: secret: expected a file of bytes, found none")
_case("a folder for a secret", _as_folder, "s: secret: expected a file of bytes, found a folder")
_case(
    "a secret inside the bundle",
    _with_secret("OUT/s", None),
    "OUT/s: secret: expected a file outside of ",
    "found one inside; the model is given away, the secret never",
)
_case(
    "a secret inside another bundle",
    lambda folder: _embed(folder, "--message", "a", "--secret", _signed(folder) / "s", out="MORE"),
    "OUT/s: secret: expected a file outside of ",
)
_case(
    "a file beside the bundle that is no secret",
    lambda folder: (folder / "OUT.secret").write_text("mine") and _embed(folder, "--message", "a"),
    "OUT.secret: secret: expected 32 bytes, found 4",
)
_case(
    "disk full, a secret",
    lambda folder: _embed(folder, "--message", "a"),
    "No space left on device",
    during=_and_full,
)
for _verb in ("verify", "extract"):
    _case(
        f"{_verb} without the secret",
        lambda folder, verb=_verb: _read(folder, verb),  # type: ignore[misc]
        "model.safetensors: claim: secret: expected the owner's secret, found none; give it: --secret FILE",
    )
    for _mark in ("probe-code", "qr-code+probe-code"):

        def _other(folder: Path, verb: str = _verb, mark: str = _mark) -> list[Any]:
            bundle = _signed(folder, mark=mark)
            (folder / "other").write_bytes(bytes(32))
            return [verb, bundle, "--claim", bundle / "claim.json", "--secret", folder / "other"]

        _case(
            f"{_verb}, {_mark}, the secret of another claim",
            _other,
            "other: secret: expected the one of sha256:",
            "found that of another claim",
        )

    def _useless(folder: Path, verb: str = _verb) -> list[Any]:
        bundle = _signed(folder, mark="qr-code")
        (folder / "other").write_bytes(bytes(32))
        return [verb, bundle, "--claim", bundle / "claim.json", "--secret", folder / "other"]

    _case(
        f"{_verb}, a secret that no mark needs",
        _useless,
        "claim.json: marks: expected a claim on spread or mirror or probe-code, for --secret, found qr-code",
    )


def _second(folder: Path) -> list[Any]:
    return ["embed", _signed(folder), *_MARK, "--message", "b", "--out", folder / "MORE"]


_case(
    "a second secret beside a claim",
    _second,
    "OUT/claim.json: secret: expected the one of sha256:",
    "give this claim's: --secret FILE",
)


# Suspects and claims that do not go together.


def _suspect(**changed: torch.Tensor | None) -> Build:
    def build(folder: Path) -> list[Any]:
        weights = {**sparse_ticket().weights, **changed}
        claim = _signed(folder) / "claim.json"
        suspect = plain(folder, "suspect.safetensors", {n: w for n, w in weights.items() if w is not None})
        return ["verify", suspect, "--claim", claim, "--secret", folder / "OUT.secret"]

    return build


_case(
    "a suspect that lacks a layer",
    _suspect(**{"b.weight": None}),
    "suspect.safetensors: model: b.weight: expected the mark's shape [64, 48], found none of that name",
)
_case(
    "a suspect of other shapes",
    _suspect(**{"b.weight": torch.ones(64, 40)}),
    "suspect.safetensors: model: b.weight: expected the mark's shape [64, 48], found [64, 40]",
)

_LAYER: dict[str, Any] = {"name": "a.weight", "shape": [40, 36, 3, 3], "kept": 9}
for _name, _fields, _says in (
    ("no message", {"message": ""}, "message: expected 1 to 64 bytes in UTF-8, found 0"),
    ("a long message", {"message": "x" * 65}, "message: expected 1 to 64 bytes in UTF-8, found 65"),
    ("a number for a message", {"message": 1}, "message: expected str, found int"),
    ("message and key", {"public_key": "00"}, "message, public_key: expected one of them, found both"),
    ("a commitment cut off", {"commitment": "sha256:0"}, "commitment: expected text of the form"),
    ("no layers", {"layers": []}, "layers: expected 1 to 65536 objects, found 0 entries"),
    ("layers by name", {"layers": {"a": 1}}, "layers: expected list, found dict"),
    (
        "a layer twice",
        {"layers": [_LAYER] * 2},
        "layers: expected each of another name, found two of one name",
    ),
    (
        "100,000 layers",
        {"layers": [_LAYER] * 100_000},
        "layers: expected 1 to 65536 objects, found 100000 entries",
    ),
    ("a vector", {"layers": [{**_LAYER, "shape": [4]}]}, "shape: expected 2 to 8 positive whole numbers"),
    (
        "a layer past all size",
        {"layers": [{**_LAYER, "shape": [1 << 60] * 8}]},
        "shape: expected 2 to 8 positive",
    ),
    (
        "more kept than there are",
        {"layers": [{**_LAYER, "kept": 12_961}]},
        "kept: expected 1 to 12960, the weights",
    ),
    (
        "less than none kept",
        {"layers": [{**_LAYER, "kept": -1}]},
        "kept: expected a whole number of 1 or more",
    ),
):

    def _claim(folder: Path, fields: dict[str, Any] = _fields) -> list[Any]:
        return _read(folder, "verify", "--secret", folder / "OUT.secret", **fields)

    _case(f"claim, {_name}", _claim, f"claim.json: {'claim: ' if 'bytes in' not in _says else ''}{_says}")


def _keyed(key: str) -> Build:
    def build(folder: Path) -> list[Any]:
        claim = _signed(folder) / "claim.json"
        value = json.loads(claim.read_text())
        del value["marks"][0]["fields"]["message"]
        value["marks"][0]["fields"]["public_key"] = key
        claim.write_text(json.dumps(value))
        return ["verify", folder / "OUT" / "model.safetensors", "--claim", claim]

    return build


_case(
    "claim, no public key",
    _keyed(""),
    "claim.json: claim: public_key: expected a SubjectPublicKeyInfo in DER",
)
_case(
    "claim, a public key of nothing",
    _keyed("00"),
    "claim.json: public_key: expected a SubjectPublicKeyInfo in DER",
)
_case("claim, a public key that is no bytes", _keyed("xy"), "public_key: expected hexadecimal digits")


# A suspect of the right kind without the mark is no bad input: it is answered.


def _innocent(folder: Path) -> list[Any]:
    bundle = _signed(folder)
    return ["verify", _model(folder), "--claim", bundle / "claim.json", "--secret", folder / "OUT.secret"]


_case("a suspect without the mark", _innocent, "not verified", code=1)


# The spread and the mirror code themselves, on networks that cannot carry them, or other ones.


def _tensors(*shapes: tuple[int, ...], kept: float = 0.3) -> dict[str, torch.Tensor]:
    """Random weights of which a share is kept."""
    draw = torch.Generator().manual_seed(0)
    values = [(torch.randn(shape, generator=draw), torch.rand(shape, generator=draw)) for shape in shapes]
    return {f"{n}.weight": weights * (chance < kept) for n, (weights, chance) in enumerate(values)}


def _of_shapes(mark: str, *shapes: tuple[int, ...], message: str = "a", kept: float = 0.3) -> Build:
    def build(folder: Path) -> list[Any]:
        model = plain(folder, "net.safetensors", _tensors(*shapes, kept=kept))
        secret = folder / "OUT.secret"  # what fits depends on it
        secret.write_bytes(bytes(range(32)))
        written = ["--message", message, "--secret", secret, "--out", folder / "OUT"]
        return ["embed", model, "--mark", mark, *written]

    return build


def _of_other_network(mark: str) -> Build:
    def build(folder: Path) -> list[Any]:
        signed = _of_shapes(mark, (64, 64, 3, 3), (64, 64, 3, 3))(folder)
        assert run(signed).code == 0
        other = plain(folder, "other.safetensors", _tensors((48, 48, 3, 3)))
        return ["verify", other, "--claim", folder / "OUT/claim.json", "--secret", folder / "OUT.secret"]

    return build


_MLP = ((200, 64), (100, 200))
for _name, _build, *_told in (
    (
        "spread, a dense model",
        _of_shapes("spread", *_MLP, kept=2),
        "net.safetensors: spread: expected a sparse model, found 32800 of 32800 weights kept; prune it",
    ),
    (
        "spread, a small network",
        _of_shapes("spread", (20, 30)),
        "spread: expected 2048 or more weights in pruned layers, found 600; the network is too small for it",
    ),
    (
        "spread, a message that does not fit",
        _of_shapes("spread", (64, 64), message="x" * 64),
        "net.safetensors: spread: message: expected at most ",
        "found 64 bytes; it ",
    ),
    (
        "mirror, an MLP",
        _of_shapes("mirror", *_MLP),
        "mirror: pruned layers: expected kernels of a width of 2 or more",
        "found none; take the mark spread",
    ),
):
    topic.enter(_name, _build, *_told)

for _mark in ("spread", "mirror"):
    topic.enter(
        f"{_mark}, another network",
        _of_other_network(_mark),
        "not verified",
        "not found: model: layers: expected 2 of shape [64, 64, 3, 3], found 0",
        "--reference FILE",
        code=1,
    )
