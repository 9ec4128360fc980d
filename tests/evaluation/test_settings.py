"""What an evaluation is asked to do: bad settings, its folder, its secret."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from support.known_methods import Known, evaluation

from ticket_sig import InputError
from ticket_sig.evaluation.settings import (
    PARTS,
    begin,
    further_recipe,
    instance_secret,
    listed,
    modifications_of,
    secret_of,
)
from ticket_sig.training import Steps, preset


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": 0}, "evaluation: models: expected 1 to 1000, found 0"),
        ({"payloads": 0}, "payloads: expected 1 to 1000, found 0$"),
        ({"trained_payloads": 3}, "trained_payloads: expected 1 to 2, found 3"),
        ({"pruned": 1.0}, "pruned: expected a share between 0 and 1, without both, found 1.0"),
        (
            {"parts": ("cost", "speed")},
            "parts: expected some of imperceptibility, robustness, cost, found cost, speed",
        ),
        ({"methods": ("a", "a")}, "methods: expected one or more, each once"),
        (
            {"modifications": modifications_of("quantization=4,quantization=4")},
            "each intensity once, found quantization=4, quantization=4",
        ),
    ],
)
def test_settings_out_of_range_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        evaluation(tmp_path, Known(), **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sharpening", "modifications: expected one of gaussian-noise, .*, found 'sharpening'"),
        ("quantization=many", "quantization: expected a number, found 'many'"),
        ("quantization=0", "quantization: B: expected a whole number above 0, found 0"),
        ("", "modifications: expected all, or some of gaussian-noise, .*, found none"),
        ("gaussian-noise=nan", "gaussian-noise: S: expected a finite number above 0, found nan"),
    ],
)
def test_modifications_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        modifications_of(text)


def test_modifications_at_three_intensities_at_one_and_at_a_named_one() -> None:
    assert len(modifications_of("all")) == 21 and len(modifications_of("all", 1)) == 7
    weak, middle, strong = modifications_of("quantization")
    assert [weak.intensity, middle.intensity, strong.intensity] == [16, 8, 4]
    assert json.dumps(modifications_of("quantization=8")[0].intensity) == json.dumps(middle.intensity)
    outside, noise = modifications_of("quantization=40, gaussian-noise", 1)
    assert not outside.in_range(100) and noise.in_range(100) and noise.intensity == 0.2


def test_what_follows_is_half_as_long_unless_told_otherwise() -> None:
    recipe = preset("demo", arch="resnet20", dataset="digits", length=Steps(5))
    assert further_recipe(recipe).length == Steps(3)
    assert further_recipe(recipe, 2).length == Steps(2)
    with pytest.raises(InputError, match="further: expected 1 or more epochs, found 0"):
        further_recipe(recipe, 0)
    by_iterations = preset("demo", arch="resnet20", dataset="digits", length=Steps(50, "it"))
    with pytest.raises(InputError, match="further: expected a number of epochs"):
        further_recipe(by_iterations)


def test_a_folder_belongs_to_one_evaluation(tmp_path: Path) -> None:
    out = tmp_path / "report"
    begin(out, evaluation(out, Known()).settings, {"known": {}})
    begin(out, evaluation(out, Known()).settings, {"known": {}})
    with pytest.raises(InputError, match=r"models: expected 1, found 2; .*choose another --out") as error:
        begin(out, evaluation(out, Known(), models=2).settings, {"known": {}})
    assert "\n" not in str(error.value)
    steps = {"modifications": modifications_of("quantization=8,overwriting=2")}
    with pytest.raises(
        InputError, match="modifications: expected '', found 'quantization=8,overwriting=2'; choose"
    ):
        begin(out, evaluation(out, Known(), **steps).settings, {"known": {}})
    with pytest.raises(InputError, match="symbols"):
        begin(out, evaluation(out, Known()).settings, {"known": {"symbols": 8}})
    with pytest.raises(InputError, match="device: expected 'cpu', found 'cuda'"):
        begin(out, evaluation(out, Known()).settings, {"known": {}}, "cuda")
    (tmp_path / "full" / "photos").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"expected a new one, or one with settings\.json, found other files"
    ):
        begin(tmp_path / "full", evaluation(out, Known()).settings, {})


def test_a_secret_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    first, other = secret_of(tmp_path / "a"), secret_of(tmp_path / "b")
    assert first == secret_of(tmp_path / "a") != other and len(first) == 32
    assert stat.S_IMODE((tmp_path / "a" / "secret.json").stat().st_mode) == 0o600
    places = [("uchida", (0, 1)), ("uchida", (1, 0)), ("qr-code", (0, 1)), ("uchida", (0, 11))]
    made = {instance_secret(first, method, place) for method, place in places}
    assert len(made) == 4 and all(len(secret) == 32 for secret in made)
    assert instance_secret(first, "uchida", (0, 1)) in made


def test_a_damaged_secret_is_one_line(tmp_path: Path) -> None:
    secret_of(tmp_path)
    path = tmp_path / "secret.json"
    path.chmod(0o600)
    path.write_text(json.dumps({**json.loads(path.read_text()), "secret": "ab"}))
    with pytest.raises(InputError, match=r"secret\.json: secret: expected 64 hexadecimal digits"):
        secret_of(tmp_path)


def test_parts_are_read_with_commas_between() -> None:
    assert listed("imperceptibility, robustness ,cost") == PARTS
