"""README and docs: every command and every block of Python runs, and what they link to or name is there.

How a page is written (`python -m support.documents`, in tests/, lists all blocks and what holds them):

- `sh` blocks hold commands: `ticket-sig ...`, `python -m experiments ...`, `python FILE.py ...`, `cat FILE`.
  Of a shell's signs they may have quotes, backslashes at a line's end, and comments. Each must end with exit
  code 0, or with the one that the comment at its end says: `# exit 1`, `# exit 1: why`.
- `python` blocks share their names with those before them on the page. A block whose first line is
  `# NAME.py` is written to that file, for a command further down.
- A page runs from top to bottom, in an empty folder with links to the folders of `LINKED`.
- `# prints: LINE` at the end of a command or statement: it prints this line. `# -> VALUE` at the end of an
  expression: its `str` or `repr`. A `text` block right after a block, or after words that end in `prints:`,
  holds lines that the block prints, in this order: progress, then results, 120 columns wide. `...` stands
  for anything; spaces and the frames of tables do not count.
- What cannot run here has `<!-- held by tests/PATH.py::test_name -->` in the line above: a test of the normal
  suite that does the same.
- Blocks of `text`, `json`, `bibtex` and `diff` are not run, and no other kind is allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.documents import (
    LINKED,
    ROOT,
    Page,
    commands,
    faults,
    fits,
    headings,
    pages,
    read,
    run_page,
    table,
)

from ticket_sig.cli import output


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file that a page can reach; caches of Python and of locks do not count."""
    files = (path for name in LINKED for path in (folder / name).rglob("*") if path.is_file())
    ours = (path for path in files if path.parent.name != "__pycache__" and not path.name.startswith("."))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in ours}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Page], Path]]:
    """Runs a page in a folder of its own, and returns the folder."""
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("COLUMNS", "120")  # for processes; the console of this one may be there already
    monkeypatch.setattr(output.out, "_width", 120)

    def run(page: Page) -> Path:
        run_page(page, folder)
        return folder

    yield run
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize("name", pages())
def test_a_page_keeps_the_rules(name: str) -> None:
    assert list(faults(read(name))) == []


@pytest.mark.parametrize("name", pages())
def test_a_page_does_what_it_says(name: str, runs: Callable[[Page], Path]) -> None:
    before = state(ROOT)
    runs(read(name))
    assert state(ROOT) == before, "a page changed the repository"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


# the rules, each on a page of its own

GOOD = """# A page, and `code`

[here](#a-page-and-code), [there](docs/more.md#more-1), ![picture](docs/p.png) of `docs/more.md` and `a/b`.

```python
# taught.py
import sys

print("taught", *sys.argv[1:])
```

```python
from dataclasses import dataclass

@dataclass
class Found:
    at: float

found = Found(
    at=0.123,
)
found  # -> Found(at=0.12...)
found.at < 1  # -> True
for _ in range(2):
    print("twice", found.at)  # prints: twice 0.123
```

```sh
# a comment alone
python taught.py "one # two" \\
       three      # prints: taught one # two three
ticket-sig extract gone.pt   # exit 2: there is none
cat docs/more.md
```

It prints:

```text
taught ... three
## More
```

```python
print(found.at)
```

```text
0.123
```

<!-- held by tests/test_x.py::test_it -->
```sh
make everything
```

```json
{"free": true}
```
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Page]:
    """Writes a page, beside the files that it may name."""
    root = tmp_path / "root"
    for name in ("docs", "tests"):
        (root / name).mkdir(parents=True)
    (root / "docs" / "more.md").write_text("# More\n\n## More\n")
    (root / "docs" / "p.png").write_bytes(b"")
    marked = [f"@pytest.mark.{mark}\ndef test_{mark}(): ...\n" for mark in ("slow", "gpu")]
    (root / "tests" / "test_x.py").write_text("def test_it(): ...\n" + "".join(marked))

    def write(text: str) -> Page:
        (root / "README.md").write_text(text)
        return read("README.md", root)

    return write


def test_a_good_page_has_no_faults_and_runs(
    write: Callable[[str], Page], runs: Callable[[Page], Path]
) -> None:
    page = write(GOOD)
    assert list(faults(page)) == []
    assert (runs(page) / "taught.py").exists()
    listed = table(["README.md"], page.root)
    assert listed.count("| executed |") == 4 and "4 executed, 1 held by another test." in listed
    assert "| README.md:52 | sh | `make everything` | tests/test_x.py::test_it |" in listed


def test_the_words_of_a_command_are_those_of_a_shell(write: Callable[[str], Page]) -> None:
    (block,) = write("""```sh\na 'b c'  "d # e" \\\n  --f=http://g:1  # it's #2\n\n# h\ni#j\n```\n""").blocks
    assert [(line.number, line.words, line.comment) for line in commands(block)] == [
        (2, ["a", "b c", "d # e", "--f=http://g:1"], "it's #2"),
        (6, ["i#j"], ""),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```\nls\n```", "1: fence: expected one of sh, python, text, "),
        ("\n```console\nls\n```", "2: fence: expected one of sh, python, text, "),
        ("```bash\nls\n```", "1: fence: "),
        ("~~~shell\nls\n~~~", "1: fence: "),
        ("```sh\nls\n", "1: a fence that is not closed"),
        ("So:\n\n    ticket-sig demo\n", "3: a command outside a fence"),
        ("```text\n$ ticket-sig demo\n```", "1: expected commands in an sh block, found $ ticket-sig in "),
        ("```sh\nrm -r docs\n```", "1: expected a command that runs here, or `held by`, found rm"),
        (
            "```sh\nmake test\n```",
            "1: expected a command that runs here, or `held by`, found make",
        ),
        ("```sh\npython -c 1\n```", "1: expected a command that runs here, "),
        ("```sh\nA=1 ticket-sig demo\n```", "1: expected a command that runs here, "),
        ("```sh\nticket-sig demo > log\n```", "1: expected a command without a shell's signs, found '>'"),
        ("```sh\nticket-sig demo && ls\n```", "1: expected a command without a shell's signs, found '&&'"),
        ("```sh\ncat *.md\n```", "1: expected a command without a shell's signs, found '*'"),
        ("```sh\ncat ~/a\n```", "1: expected a command without a shell's signs, found '~/a'"),
        ('```sh\nticket-sig data "$HOME"\n```', "1: expected a command without a shell's signs, found "),
        ("```sh\nticket-sig data 'a\n```", "1: No closing quotation"),
        ("```sh\ncat a \\\n```", "1: expected a line after the last backslash"),
        ("```python\n1 +\n```", "1: invalid syntax"),
        ("```python\n# a.py\n1\n```\n```sh\ncat b\n```", "1: a.py: expected a command that uses it further"),
        ("It prints:\n\n```text\n1\n```", "3: prints: expected what the block before it prints"),
        ("```sh\ncat a\n```\nprints:\n```json\n1\n```", "5: prints: expected what the block before it"),
        (
            "<!-- held by tests/test_x.py::test_not -->\n```sh\nmake\n```",
            "2: held by: expected a test of the",
        ),
        ("<!-- held by tests/test_y.py::test_it -->\n```sh\nmake\n```", "2: held by: expected a test of the"),
        (
            "<!-- held by tests/test_x.py::test_slow -->\n```sh\nmake\n```",
            "2: held by: expected a test of the",
        ),
        (
            "<!-- held by tests/test_x.py::test_gpu -->\n```sh\nmake\n```",
            "2: held by: expected a test of the",
        ),
        ("<!-- held by tests/test_x.py::test_it -->\nSo:\n```sh\ncat a\n```", " held by: expected an sh or"),
        ("a\n[b](docs/c.md)", "2: link: nothing is at docs/c.md"),
        ("[b](#c)", "1: link: nothing is at #c"),
        ("[b](docs/more.md#less)", "1: link: nothing is at docs/more.md#less"),
        ("![b](docs/q.png)", "1: link: nothing is at docs/q.png"),
        ("[![b](docs/q.png)](docs/more.md)", "1: link: nothing is at docs/q.png"),
        ("[b](../..)", "1: link: nothing is at ../.."),
        ('<img src="docs/q.png">', "1: link: nothing is at docs/q.png"),
        ("[b]: docs/c.md", "1: link: nothing is at docs/c.md"),
        ("see\n`docs/c.md`", "2: no file is at docs/c.md"),
        ("see `marks/c.py`", "1: no file is at marks/c.py"),
    ],
)
def test_a_page_that_breaks_a_rule_is_named(text: str, expected: str, write: Callable[[str], Page]) -> None:
    found = list(faults(write(text)))
    assert len(found) == 1 and found[0].startswith(f"README.md:{expected}"), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ok\n```sh\nticket-sig extract gone.pt\n```",
            "README.md:2: .*exit code 2, expected 0(.|\n)*gone.pt",
        ),
        ("```sh\ncat docs/more.md  # exit 1\n```", "line 2: cat docs/more.md: exit code 0, expected 1"),
        ("```sh\ncat docs/more.md  # prints: Mor\n```", "expected the line 'Mor'"),
        ("```sh\ncat docs/more.md\n```\n```text\n## More\n# More\n```", "expected the line '# More'"),
        ("```python\n1 + 1  # -> 3\n```", "README.md:1: AssertionError: expected 3, found 2"),
        ("```python\nprint(2)  # prints: 3\n```", "expected the line '3'"),
        ("```python\nif True:\n    1  # -> 1\n    2\n```", "not at the end of a statement"),
        ("```python\n\n1 / 0\n```", "README.md:1: ZeroDivisionError"),
    ],
)
def test_a_page_that_is_wrong_is_named(
    text: str, expected: str, write: Callable[[str], Page], runs: Callable[[Page], Path]
) -> None:
    page = write(text)
    assert list(faults(page)) == []
    with pytest.raises(AssertionError, match=expected):
        runs(page)


def test_three_points_stand_for_anything() -> None:
    assert fits("p = 1e...  of  ...", "p = 1e-9 of 3") and fits("...", "") and fits("...a", "a")
    assert fits("p-value 1e-9", "│ p-value │   1e-9 │")
    assert not fits("p = 1e...", "P = 1e-9") and not fits("a.c", "abc") and not fits("a", "a b")


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b-c` & [d](e)!\n```sh\n# no heading\n```\n## Two\n## Two\n")
    assert headings(page) == ["a-b-c--d", "two", "two-1"]
