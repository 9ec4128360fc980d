"""Where training runs: what this machine has, or a refusal."""

from __future__ import annotations

import json

import pytest
import torch

from ticket_sig import InputError
from ticket_sig.training.device import emulated, made_with, pick_device, pick_precision


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=rf"device: expected one that this machine has, found {name} ?\("):
        pick_device(name)


def test_auto_is_a_precision_that_a_recipe_takes_and_others_pass_as_they_are() -> None:
    device = torch.device("cpu")
    assert pick_precision("auto", device) in ("bf16", "float32")
    assert [pick_precision(name, device) for name in ("bf16", "float32")] == ["bf16", "float32"]


@pytest.mark.parametrize("has", [True, False])
def test_bf16_is_emulated_where_the_hardware_has_none(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticket_sig.training.device._cpu", lambda: {"avx512_bf16": has})
    device = torch.device("cpu")
    assert pick_precision("auto", device) == ("bf16" if has else "float32")
    assert emulated("bf16", device) is not has and not emulated("float32", device)


def test_a_history_says_with_what_it_was_made() -> None:
    said = json.loads(json.dumps(made_with(torch.device("cpu"), "bf16")))
    assert said["torch"] == torch.__version__
    assert said["precision"] == "bf16"
    assert said["threads"] == torch.get_num_threads()
    assert said["device"].startswith("cpu: ") and len(said["device"]) > 5
