"""A real server: MLServer runs our bundles, and `ticket-sig ask --url` asks it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import urllib3
from support import taught
from support.command_line import Outcome

from ticket_sig import InputError

# To import it takes a second, and only a process that runs these tests has to.
pytestmark = pytest.mark.skipif(find_spec("mlserver") is None, reason="needs mlserver")
Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the models `mine`, taught the triggers, and `innocent`."""
    from ticket_sig.serving import serve

    folder, names = tmp_path_factory.mktemp("mlserver"), ("mine", "innocent")
    with serve(
        {name: taught.write_bundle(folder / name, taught=name == "mine") for name in names}
    ) as address:
        yield address


def test_a_bundle_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    from ticket_sig.serving import serve

    with (
        pytest.raises(
            InputError, match=r"server: expected ready within .* found .*gone: model: expected a bundle"
        ),
        serve({"gone": tmp_path / "gone"}),
    ):
        raise AssertionError("it started")


@pytest.fixture
def claim(tmp_path: Path) -> list[object]:
    """The options that show the claim and its triggers."""
    return taught.shown_in(tmp_path)


@pytest.mark.parametrize(("model", "code"), [("mine", 0), ("innocent", 1)])
def test_a_server_is_told_apart_by_its_answers(
    model: str, code: int, url: str, claim: list[object], ticket_sig: Command
) -> None:
    said = ticket_sig("ask", "--url", url, "--model", model, *claim, "--json")
    assert said.code == code, said.err
    verdict = json.loads(said.out)
    assert verdict["verdict"] == ("verified" if code == 0 else "not verified")
    assert verdict["evidence"]["triggers_answered"] == 100
    assert (verdict["log10_p"] < -40) is (code == 0)
    assert verdict["model"] == f"{url}, model {model}"


def test_a_model_that_it_does_not_have_is_named(url: str, claim: list[object], ticket_sig: Command) -> None:
    said = ticket_sig("ask", "--url", url, "--model", "nix", *claim)
    assert said.code == 2
    expected = "answer: expected HTTP status 200, found HTTP status 404: Model nix not found"
    hint = "if the model is there, say what it takes: --input NAME --datatype UINT8 --shape -1,8,8,1"
    assert said.err == f"ticket-sig: {url}/v2/models/nix: {expected}; {hint}\n"


def test_images_of_another_size_are_refused_in_its_words(url: str) -> None:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": [0] * 16}
    answer = urllib3.PoolManager().request("POST", f"{url}/v2/models/mine/infer", json={"inputs": [tensor]})
    assert answer.status >= 400
    assert "expected one input UINT8 [n, 8, 8, 1]" in answer.json()["error"]
