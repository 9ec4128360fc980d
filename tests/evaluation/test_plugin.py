"""A user's file under the contract of the reference software: run unchanged, or refused in one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.extending import EXAMPLES, PLUG_IN
from support.tickets import tiny_ticket

from ticket_sig import InputError, Ticket
from ticket_sig.digests import tensor_digest
from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.evaluation.methods import method
from ticket_sig.evaluation.plugin import OnePlugIn, PlugIn
from ticket_sig.training import Steps

SECRET = bytes(range(32))
EMBED = "def Embedder(model, d):\n    pass\n"
STEP = """
def Embedder_one_step(model, train_set, optimizer, cost_fn, d):
    total = 0.0
    for images, labels in train_set:
        optimizer.zero_grad()
        loss = cost_fn(model(images), labels)
        sum(p.view(-1).detach().abs().sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total, total, 0.0
"""
DECODE = "def Decoder(model, d):\n    return d['watermark']\n"
DETECT = "def Detector(model, d):\n    return True\n"
# As the authors' testbed has it: a class made of a device; its Detector says what it read, and a distance.
TESTBED = """
import numpy as np
import torch

class Signs_tools:
    def __init__(self, device):
        self.device = device

    def init(self, net, watermarking_dict, save=None):
        watermarking_dict["watermark"] = torch.tensor(np.random.choice([0, 1], size=12))
        watermarking_dict["X"] = torch.randn(12)
        return watermarking_dict

    def Embedder(self, net, watermarking_dict):
        print("Launching injection.....")
        signs = (2 * watermarking_dict["watermark"] - 1) * watermarking_dict["X"].sign()
        with torch.no_grad():
            net.f1.bias.copy_(signs * net.f1.bias.abs().clamp(min=0.01))
        return net

    def extraction(self, net, watermarking_dict):
        return torch.sigmoid(100 * net.f1.bias * watermarking_dict["X"].sign())

    def Detector(self, net, watermarking_dict):
        read = self.extraction(net, watermarking_dict)
        return read, float((read.round() != watermarking_dict["watermark"]).sum())

    def Decoder(self, net, watermarking_dict):
        return self.extraction(net, watermarking_dict).detach().numpy()
"""
FINGERPRINT = """
def Extractor(model, d):
    return model.f1.weight.detach().sign()

def Matcher(fingerprint, other, d):
    return (fingerprint == other).float().mean() > 0.9
"""

Made = Callable[..., PlugIn]


@pytest.fixture
def plug_in(tmp_path: Path) -> Made:
    """Writes a file, and makes a method of it."""

    def made(*parts: str) -> PlugIn:
        file = tmp_path / "own.py"
        file.write_text("\n".join(parts))
        return PlugIn(file)

    return made


def test_the_example_of_the_page_is_evaluated_unchanged(
    tmp_path: Path, digits: EvaluationTask, subjects: dict[str, Ticket]
) -> None:
    file = tmp_path / f"{PLUG_IN}.py"
    file.write_text(EXAMPLES[PLUG_IN])
    made, network = method(PLUG_IN, plugin=file), subjects["dense"]
    assert (made.name, made.subject, made.carries, made.passive) == (PLUG_IN, "dense", "bits", False)
    task = replace(digits, further=replace(digits.further, length=Steps(1), lr=0.2))
    one, other = (made.instance(network, bytes([n]) * 32, task) for n in (1, 2))
    assert one.digest != other.digest == made.instance(network, bytes([2]) * 32, task).digest
    marked = one.inject(network, task)
    found, before, wrong_key = one.test(marked, task), one.test(network, task), other.test(marked, task)
    assert found.detected is None and found.log10_p is None and found.symbols
    assert found.symbols.errors <= 3 and len(found.symbols.claimed) == 64
    assert all(it.symbols and 16 < it.symbols.errors < 48 for it in (before, wrong_key))
    assert marked.history[-1].epochs == 1 and marked.recipe == task.further.to_json()


def test_a_class_of_the_testbed_runs_unchanged(
    plug_in: Made, tiny: EvaluationTask, small: Ticket, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plug_in(TESTBED)
    one, other = (made.instance(small, bytes([n]) * 32, tiny) for n in (1, 2))
    assert one.digest != other.digest
    marked = one.inject(small, tiny)
    found = one.test(marked, tiny)
    assert found.detected is True and found.symbols and found.symbols.errors == 0
    assert set(found.symbols.claimed) == {0, 1}
    assert other.test(marked, tiny).detected is False
    # Trained as long as an unmarked one, of which nothing but the marked tensor differs.
    plain = tiny.trained_further(small)
    differ = [n for n in plain.weights if not torch.equal(plain.weights[n], marked.weights[n])]
    assert differ == ["f1.bias"]
    assert capsys.readouterr().out == ""  # what a plug-in prints does not mix with --json


def test_steps_without_a_mark_give_the_bits_of_the_package_s_training(
    plug_in: Made, tiny: EvaluationTask, small: Ticket
) -> None:
    """Batches, rates, momentum and weight decay are those of an unmarked network; and `view` works."""
    plain = tensor_digest(tiny.trained_further(small).weights)
    one_batch = STEP.replace("in train_set:", "in [next(iter(train_set))]:")
    counted = "calls = []\n" + STEP.replace("total = 0.0", "calls.append(1); total = 0.0")
    for text, calls in (
        (counted, 2),
        (counted.replace("in train_set:", "in [next(iter(train_set))]:"), None),
    ):
        made = plug_in(text, DETECT)
        one = made.instance(small, SECRET, tiny)
        assert tensor_digest(one.inject(small, tiny).weights) == plain
        if calls:
            assert len(made.code.functions["Embedder_one_step"].__globals__["calls"]) == calls
    assert one_batch != STEP


def test_pruned_weights_stay_pruned_in_the_plug_in_s_training(plug_in: Made, tiny: EvaluationTask) -> None:
    ticket = tiny_ticket()
    marked = plug_in(STEP, DETECT).instance(ticket, SECRET, tiny).inject(ticket, tiny)
    assert marked.mask == ticket.mask
    marked.mask.check(marked.weights)


def test_a_fingerprint_is_extracted_and_matched(
    plug_in: Made, tiny: EvaluationTask, small: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plug_in(FINGERPRINT)
    assert made.passive
    one, other = (made.instance(small, bytes([n]) * 32, tiny) for n in (1, 2))
    with monkeypatch.context() as once:  # extraction is the making of an instance, and costs no more
        once.setattr(OnePlugIn, "extracted", None)
        assert one.digest != other.digest and one.inject(small, tiny) is small
    negated = replace(small, weights={**small.weights, "f1.weight": -small.weights["f1.weight"]})
    assert one.test(small, tiny).detected is True and one.test(negated, tiny).detected is False


def test_without_init_a_fresh_payload_is_in_the_dict(
    plug_in: Made, tiny: EvaluationTask, small: Ticket
) -> None:
    for template, bits in (("", 64), ("watermarking_dict = {'watermark': [0] * 9}\n", 9)):
        made = plug_in(template, EMBED, DECODE)
        found = [made.instance(small, bytes([n]) * 32, tiny).test(small, tiny).symbols for n in (1, 1, 2)]
        assert all(symbols and len(symbols.claimed) == bits and symbols.errors == 0 for symbols in found)
        assert found[0] == found[1] != found[2]


def test_a_key_that_an_embedder_draws_is_the_one_it_is_tested_with(
    plug_in: Made, tiny: EvaluationTask, small: Ticket
) -> None:
    draws = "import random\ndef Embedder(model, d):\n    d['key'] = {}\n"
    detect = "def Detector(model, d):\n    return d['key'] > 0\n"
    made = plug_in(draws.format("random.random()"), detect)
    one = made.instance(small, SECRET, tiny)
    assert one.test(one.inject(small, tiny), tiny).detected is True
    made = plug_in(draws.format("random.SystemRandom().random()"), detect)
    with pytest.raises(InputError, match=r"own\.py: Embedder: expected the key in dict left as it is"):
        made.instance(small, SECRET, tiny).inject(small, tiny)


def test_the_caller_s_random_numbers_go_on(plug_in: Made, tiny: EvaluationTask, small: Ticket) -> None:
    made = plug_in(TESTBED)

    def drawn(with_plug_in: bool) -> tuple[float, float, float]:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if with_plug_in:
            made.instance(small, SECRET, tiny)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert drawn(True) == drawn(False)


LACKING = "expected Embedder or Embedder_one_step, and Detector or Decoder; or Extractor and Matcher, found"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (EMBED, f"functions: {LACKING} Embedder"),
        (DECODE + DETECT, f"functions: {LACKING} Detector, Decoder"),
        ("def Extractor(model, d):\n    pass\n", f"functions: {LACKING} Extractor"),
        ("", f"functions: {LACKING} none"),
        (
            "import nonsense_1\n",
            "plug-in: expected a file that runs, found ModuleNotFoundError: No module named",
        ),
        ("def (", "plug-in: expected a file that runs, found SyntaxError: "),
        ("raise SystemExit(3)", "plug-in: expected a file that runs, found SystemExit: 3"),
        ("watermarking_dict = 5\n" + EMBED + DETECT, "watermarking_dict: expected a dict, found a int"),
    ],
)
def test_a_file_that_is_no_method_is_one_line(text: str, says: str, plug_in: Made) -> None:
    with pytest.raises(InputError, match=rf"own\.py: {says}") as error:
        plug_in(text)
    assert "\n" not in str(error.value)


def step(body: str) -> str:
    return f"def Embedder_one_step(model, train_set, optimizer, cost_fn, d):\n    {body}\n"


ALL = "for batch in train_set: pass\n    "


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            EMBED + "def Decoder(m, d):\n    return [0] * 63\n",
            r"Decoder: expected 64 symbols, as dict\['watermark'\] has, found 63",
        ),
        (
            EMBED + "def Decoder(m, d):\n    return [float('nan')] * 64\n",
            "Decoder: expected finite numbers, found 64 others",
        ),
        (EMBED + "def Decoder(m, d):\n    return 'yes'\n", "Decoder: expected numbers, found a str"),
        (EMBED + "def Detector(m, d):\n    return 0.7\n", "Detector: expected true or false, found 0.7"),
        (EMBED + "def Detector(m, d):\n    pass\n", "Detector: expected a number, found a NoneType"),
        (
            EMBED + "def Detector(m, d):\n    return d['none']\n",
            "Detector: expected no error, found KeyError: 'none'",
        ),
        (
            EMBED + "def Detector(m, d):\n    m.f2.bias.data += 1\n    return True\n",
            "Detector: expected the model left as it is",
        ),
        (
            EMBED + "def init(m, d):\n    m.f2.bias.data += 1\n" + DETECT,
            "init: expected the model left as it is, found changed",
        ),
        (
            EMBED + "def init(m, d):\n    return {}\n" + DECODE,
            "dict: expected its payload as 'watermark', to decode, found none",
        ),
        (
            "def Embedder(m, d):\n    raise ValueError('a\\nb')\n" + DETECT,
            "Embedder: expected no error, found ValueError: a b",
        ),
        (
            "def Embedder(m, d):\n    m.f2.bias.data[0] = float('nan')\n" + DETECT,
            "Embedder: training: weights: f2.bias: expected finite",
        ),
        ("def Embedder(m, d):\n    return m.f2\n" + DETECT, "Embedder: .*f1.weight: expected, not found"),
        (step("return 0.0") + DETECT, "Embedder_one_step: expected batches of train_set taken, found none"),
        (
            step(ALL + "return 1.0, float('nan')") + DETECT,
            "Embedder_one_step: expected finite losses, found nan by step 4",
        ),
        (step(ALL + "return 'low'") + DETECT, "Embedder_one_step: expected a number, found a str"),
        (
            step(ALL + "model.f2.bias.data[0] = float('inf')") + DETECT,
            "Embedder_one_step: .*f2.bias: expected finite",
        ),
        (
            step(ALL + "d['watermark'] = 1") + DETECT,
            "Embedder_one_step: expected the key in dict left as it is",
        ),
    ],
)
def test_what_breaks_the_contract_is_one_line(
    text: str, says: str, plug_in: Made, tiny: EvaluationTask, small: Ticket
) -> None:
    before = tensor_digest(small.weights)
    with pytest.raises(InputError, match=rf"own\.py: {says}") as error:
        one = plug_in(text).instance(small, SECRET, tiny)
        one.test(one.inject(small, tiny), tiny)
    assert "\n" not in str(error.value) and tensor_digest(small.weights) == before


def test_what_cannot_be_a_plug_in_is_named(tmp_path: Path, plug_in: Made) -> None:
    with pytest.raises(InputError, match=r"none\.py: plug-in: expected a file of Python, found none$"):
        method("none", plugin=tmp_path / "none.py")
    file = plug_in(EMBED, DETECT).code.file
    with pytest.raises(InputError, match=r"^own: size: expected none: it has no size of its own, found 5$"):
        method("own", plugin=file, size=5)
    with pytest.raises(
        InputError, match=r"^method: expected one of .*, mask-fingerprint, own, found 'other'$"
    ):
        method("other", plugin=file)
    with pytest.raises(InputError, match=r"uchida\.py: plug-in: .*, found uchida; rename it$"):
        method("uchida", plugin=file.rename(tmp_path / "uchida.py"))


def test_a_cell_is_of_the_file_that_was_run(plug_in: Made) -> None:
    first, second = plug_in(EMBED, DETECT), plug_in(EMBED, DETECT, "# changed")
    assert first.options["file"] == "own.py" and first.options["digest"] != second.options["digest"]
