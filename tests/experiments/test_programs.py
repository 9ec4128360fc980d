"""The programs among the experiments run, at their smallest scale, and print what they promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from experiments import CHECKPOINTS
from experiments.shipping.ship_ticket import beside_older, extreme
from ticket_sig.formats import load
from ticket_sig.formats.safetensors_file import read_safetensors
from ticket_sig.training import Recipe


@pytest.mark.slow
def test_the_main_path_writes_its_section_and_its_pictures(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    another = '<a id="table1-quick"></a>\n\n### Another\n\n**measured**\n\nstays\n'
    (results / "RESULTS.md").write_text(f"# Results\n\n{another}")
    arguments = ["main_path", "--smoke", "--out", tmp_path / "run", "--results", results]
    said = experiments(*arguments).out
    written = (results / "RESULTS.md").read_text()
    assert said.strip() in written and another in written
    assert "| 0 % |" in said and "`signature`" in said and "verified" in said
    for name in ("kernel_map-digits.png", "accuracy-digits.png"):
        assert Image.open(results / "figures" / name).width > 300
    # Again: everything is read from the run folder, and the section stands once.
    assert experiments(*arguments).out == said
    assert (results / "RESULTS.md").read_text() == written


def test_a_shipped_ticket_s_card_holds_what_is_measured_of_it(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    shipped = tmp_path / "checkpoints"
    said = experiments("ship_ticket", "--smoke", "--out", tmp_path / "run", "--checkpoints", shipped).out
    signed, dense = shipped / "resnet20-digits", shipped / "resnet20-digits-dense"
    card = (signed / "README.md").read_text()
    assert said.strip() == card.strip()
    assert "`signature`, scheme 2, 29x29, version 3, level H" in card and "0.5 x 3" in card
    assert "| rates | [0.2, 0.1, 0.05, 0.01] | [0.5] |" in card, "what differs from the paper"
    assert "python -m experiments ship_ticket --data DIR --out RUN --recipe smoke" in card
    assert "no longer wins) | not searched |" in card, "a search down to a density tries no more than that"
    assert "rates" not in (dense / "README.md").read_text().split("## What differs")[1]
    assert load(dense).ticket.mask.density == 1 and load(dense).claim is None
    assert load(signed).ticket.mask.density <= 0.2
    history = [entry for entry in load(signed).ticket.history if entry.step in ("dense", "prune")]
    ladder = read_safetensors(signed / "ladder.safetensors").values()
    rungs = torch.cat([of_layer.flatten() for of_layer in ladder])
    assert [int((rungs > rung).sum()) for rung in range(len(history))] == [entry.kept for entry in history]
    evaluate = ["evaluate_checkpoints", "--checkpoints", shipped]
    done = experiments(*evaluate)
    assert done.code == 0 and done.out.count(", equal") == 2 and "`signature` verified" in done.out

    # A card that claims more is found out, and so is a bundle without one.
    (dense / "README.md").write_text("| test accuracy (float32) | 99.99 % |\n")
    done = experiments(*evaluate)
    assert done.code == 1 and "NOT EQUAL" in done.out
    (dense / "README.md").unlink()
    done = experiments(*evaluate)
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert "README.md: card: expected a line" in done.err


def test_a_search_that_was_ended_is_told_from_one_at_its_end() -> None:
    ticket = load(CHECKPOINTS / "resnet20-cifar10-extreme").ticket
    recipe, history = Recipe.from_json(ticket.recipe or {}), tuple(ticket.history)
    dropped = next(n for n, entry in enumerate(history) if entry.accepted is False)  # at the rate 0.2
    assert "while it still won, pruned by 0.01" in extreme(history, recipe)
    assert "ended before finer rates, pruned by 0.2" in extreme(history[: dropped + 1], recipe)
    last = replace([entry for entry in history if entry.step == "prune"][-1], accepted=False)
    assert extreme((*history, last), recipe) == "pruned by 0.01 more it no longer wins"


def test_a_ticket_of_another_recipe_is_compared_with_the_older_one_beside_it(tmp_path: Path) -> None:
    older = load(CHECKPOINTS / "resnet20-cifar10").ticket
    recipe = Recipe.from_json(older.recipe or {})
    assert beside_older(older, recipe, "two-cores", CHECKPOINTS) == [], "it is the first one itself"
    assert beside_older(older, recipe, "extreme", tmp_path) == [], "no other is there"
    compared, trained = beside_older(older, recipe, "extreme", CHECKPOINTS)
    assert "before it was signed: 90.40 % at 12.80 % kept" in compared and compared.count(" as accurate") == 2
    assert trained.startswith(
        "- The training: here 36 epochs of the dense network, 12 of a ticket, from weights of 24ep"
    )
    # Another search: its last round is a little less sparse and less accurate, its signed ticket better.
    *rounds, _, _, last = older.history
    near = replace(rounds[-1], kept=35_000, test=90.15)
    history = (*rounds[:-1], near, replace(last, kept=30_000, test=91.78, epochs=20))
    other = replace(older, history=history)
    compared, trained = beside_older(other, recipe, "extreme", CHECKPOINTS)
    assert "nearest to it in density: 90.15 % at 13.10 % kept, 0.25 points less accurate." in compared
    assert "Signed: 91.78 % at 11.22 % kept here, 90.78 % at 12.80 % kept there" in compared
    assert "this one is 1 point more accurate" in compared
    assert trained.startswith(
        "- The likely reason is the training: here 36 epochs of the dense network, 20 of a ticket"
    )


@pytest.mark.slow
def test_a_shipped_ticket_of_three_marks_is_verified_with_its_secret(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    shipped, again = tmp_path / "checkpoints", ("--out", tmp_path / "run")
    said = experiments("ship_carriers", "--smoke", *again, "--checkpoints", shipped).out
    bundle = shipped / "resnet20-digits-spread"
    assert said.strip() == (bundle / "README.md").read_text().strip()
    assert len((shipped / "resnet20-digits-spread.secret").read_bytes()) == 32
    permuted = next(line for line in said.splitlines() if line.startswith("| channels permuted"))
    assert permuted.count("not verified") == 2 and "`signature`, verified" in permuted
    done = experiments("evaluate_checkpoints", "--checkpoints", shipped)
    assert done.code == 0 and ", equal; signature `signature` verified" in done.out


@pytest.mark.parametrize("program", ["main_path", "fidelity", "ship_ticket", "ship_carriers"])
def test_an_experiment_without_its_data_says_so_in_one_line(
    program: str, tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    done = experiments(program, "--out", tmp_path / "run")
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert done.err.startswith(f"{program}: --data: expected the folder of cifar10, found none")


@pytest.mark.slow
def test_fidelity_puts_the_two_precisions_side_by_side(
    tmp_path: Path, experiments: Callable[..., Any]
) -> None:
    said = experiments("fidelity", "--smoke", "--out", tmp_path / "run", "--results", tmp_path).out
    assert said.strip() in (tmp_path / "RESULTS.md").read_text()
    assert "| float32 | " in said and "| bf16 | " in said and "bf16 - float32: " in said


def test_one_seed_has_no_spread_and_is_refused(tmp_path: Path, experiments: Callable[..., Any]) -> None:
    done = experiments("fidelity", "--out", tmp_path, "--seeds", 1)
    assert done.code == 2 and "--seeds: expected 2 or more, for a spread, found 1" in done.err
