"""The page: what stands in the report stands there, as text, without network; on a phone, too."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.evaluated import METHODS, report

from ticket_sig.evaluation import tables
from ticket_sig.evaluation.methods import METHODS as REGISTERED
from ticket_sig.evaluation.page import render, write_page
from ticket_sig.evaluation.plots import draw, styles, verification

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = 375  # pixels


class Seen(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return report("l1-pruning", "fine-tuning", "overwriting")


@pytest.fixture(scope="module")
def page(told: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, told)
    return path


@pytest.fixture(scope="module")
def seen(page: Path) -> Seen:
    return Seen(page.read_text(encoding="utf-8"))


def test_it_says_what_was_measured(told: dict[str, Any], seen: Seen) -> None:
    missed = tables.measured(told["methods"]["qr-code"], "l1-pruning", 90)
    assert missed is not None
    assert (
        tables.percent(1 - missed["detector"]["false_negatives"]["rate"]).replace(" ", "\u00a0")[:-2]
        in seen.text
    )
    assert all(name in seen.text for name in METHODS)
    assert told["command"] in seen.text and told["settings"]["data_digest"] in seen.text
    assert told["made_with"]["torch"] in seen.text
    assert re.search("E = 0.75 outside the range", seen.text)
    assert "no room for 3 further marks of 4096 numbers" in seen.text
    assert "a passive method leaves the network as it is" in seen.text
    read = seen.text.replace("\u00a0", " ")
    assert all(why in read for why in tables.hidden(told).values())


def test_a_reader_of_screens_finds_language_heads_and_the_words_of_each_plot(seen: Seen) -> None:
    assert seen.of("html") == [{"lang": "en"}]
    assert seen.of("title") and seen.of("caption")
    assert all(head.get("scope") in ("col", "row") for head in seen.of("th"))
    plots = [one for one in seen.of("div") if one.get("role") == "img"]
    assert len(plots) == 9  # of three modifications: verification, networks not found, symbols wrong
    assert all("qr-code" in str(one["aria-label"]) for one in plots)
    names = [name for _, one in seen.elements if (name := one.get("id"))]
    assert len(names) == len(set(names))


def test_it_takes_nothing_from_elsewhere(page: Path, seen: Seen) -> None:
    assert not seen.of("script") and not seen.of("img")
    links = [one.get(name) for _, one in seen.elements for name in ("href", "src") if name in one]
    assert all(str(link).startswith(("#", "data:")) for link in links)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page.read_text(encoding="utf-8"))


def test_names_of_a_plug_in_are_text(tmp_path: Path) -> None:
    told = report("l1-pruning")
    name = "<script>alert(1)</script>$x"
    own = told["methods"]["uchida"]
    own["about"]["detector"] = False  # a decoder alone
    for entry in own["robustness"]:
        entry["detector"] = None
    told["methods"] = {name: own}
    text = render(told)
    assert "No detector, so symbols read right" in text
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    draw(tmp_path / "plot.png", told)
    assert Image.open(tmp_path / "plot.png").width > 500


def test_a_report_of_one_part_says_what_was_not_measured(tmp_path: Path) -> None:
    told = report("l1-pruning")
    told["settings"]["parts"] = ["imperceptibility"]
    for method in told["methods"].values():
        method |= {"robustness": None, "cost": None}
    seen = Seen(render(told))
    assert "Robustness: not measured." in seen.text and "not found, %" not in seen.text
    draw(tmp_path / "plot.png", told)
    assert not list(tmp_path.iterdir())


def test_the_summary_gives_found_and_accuracy_with_intervals() -> None:
    told = report("l1-pruning")
    table = tables.summary(told)
    row = next(row for row in table.rows if row[0].text == "qr-code")
    cells = dict(zip(table.columns, map(str, row), strict=True))
    rate = tables.measured(told["methods"]["qr-code"], "l1-pruning", 50)["detector"]["false_negatives"]  # type: ignore[index]
    low, high = 100 * (1 - rate["high"]), 100 * (1 - rate["low"])
    assert cells["l1-pruning, P = 50"] == f"{tables.percent(1 - rate['rate'])} ({low:.0f} to {high:.0f} %)"
    difference = told["methods"]["qr-code"]["imperceptibility"]["difference"]
    assert cells["accuracy, points"].startswith(f"{difference['mean']:+.2f} (")


def test_a_modification_that_could_not_be_done_is_said_and_not_drawn() -> None:
    told = report("l1-pruning", "overwriting")
    assert "No figure: the modification could not be done. The tables of the methods say why." in (
        tables.summary(told).notes
    )
    pruned, overwritten = verification(told)
    colour = styles(told)["freezenet"].colour
    assert colour in pruned.svg and colour not in overwritten.svg
    assert not any(note.startswith("No figure") for note in tables.summary(report("l1-pruning")).notes)


def test_every_method_has_a_look_of_its_own() -> None:
    looks = styles({"methods": REGISTERED}).values()
    for kind in ("colour", "marker", "path"):
        assert len({getattr(look, kind) for look in looks}) == len(REGISTERED)


def test_what_the_ratios_hide_has_the_numbers_of_the_standard() -> None:
    told = report("l1-pruning")
    told["settings"]["payloads"] = 10
    hidden = tables.hidden(told)
    assert (
        "scores 0.091" in hidden["false-positive ratio"] and "scores 0.909" in hidden["false-negative ratio"]
    )
    assert "scores 0.045" in hidden["symbol error rate"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome here")
def test_a_browser_shows_it_without_errors_and_a_phone_without_scrolling_sideways(page: Path) -> None:
    """One frame holds the page as it is, the other one a copy that may tell its width: it has no policy."""
    copy = re.sub(r"<meta http-equiv.*?>", "", page.read_text(encoding="utf-8"))
    tell = '<script>onload = () => parent.postMessage(document.documentElement.scrollWidth, "*")</script>'
    (page.parent / "copy.html").write_text(copy.replace("</body>", f"{tell}</body>"), encoding="utf-8")
    frames = page.parent / "frames.html"
    frames.write_text(
        '<body><script>addEventListener("message", e => document.body.dataset.width = e.data)</script>'
        f'<iframe src="report.html" width="1200"></iframe><iframe src="copy.html" width="{PHONE}"></iframe>'
    )
    run = subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            f"--user-data-dir={page.parent / 'browser'}",
            *("--virtual-time-budget=3000", "--dump-dom", frames.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in run.stderr
    width = re.search(r'data-width="(\d+)"', run.stdout)
    assert width is not None and int(width[1]) <= PHONE
