"""A new mark, attack, score or model is one file of 30 lines or fewer, and one line (docs/extending.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.extending import EXAMPLES, PAGE, PLUG_IN


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_30_lines_or_fewer(name: str) -> None:
    assert len(EXAMPLES[name].splitlines()) <= 30


def test_who_does_what_the_page_says_has_it_in_every_help(tmp_path: Path) -> None:
    text, root = PAGE.read_text(), PAGE.parents[1]
    shutil.copytree(
        root / "ticket_sig", tmp_path / "ticket_sig", ignore=shutil.ignore_patterns("__pycache__")
    )
    files = re.findall(r"file\s+is `(ticket_sig/\w+/(\w+)\.py)`", text)
    assert [name for _, name in files] == [name for name in EXAMPLES if name != PLUG_IN]
    for file, name in files:
        (tmp_path / file).write_text(EXAMPLES[name])
    registries = re.findall(
        r"in `([A-Z]+)` of `([\w/.]+)`.*?```python\n(?:(from .*?)\n\n)?(.*?)```", text, re.DOTALL
    )
    assert [name for name, *_ in registries] == ["MARKS", "ATTACKS", "SCORES", "MODELS", "DATASETS"]
    for name, file, imports, lines in registries:
        code = (tmp_path / file).read_text()
        code, put_in = re.subn(rf"({name}(?:: .*?)? = {{\n)", rf"\1{lines}", code)
        assert put_in == 1
        # Where a linter would sort it to: before the others.
        code = code.replace("from ticket_sig.", f"{imports}\nfrom ticket_sig.", 1)
        (tmp_path / file).write_text(code)
    shows = {
        "embed": "sign-bits",
        "attack rounding": "--bits",
        "split": "relative-magnitude",
        "find": "small-net mnist",
    }
    for (verb, says), text in zip(shows.items(), helped(tmp_path, *shows), strict=True):
        assert all(word in text for word in says.split()), verb


def helped(folder: Path, *verbs: str) -> list[str]:
    """The help of each verb, as the package in a folder gives it: one process, which imports torch once."""
    code = "import sys; from ticket_sig.cli.app import main\n"
    code += "for verb in sys.argv[1:]:\n    try: main([*verb.split(), '--help'])\n"
    code += "    except SystemExit as left: print(left.code or '', end='\\f')"
    said = subprocess.run(
        [sys.executable, "-c", code, *verbs],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.removesuffix("\f").split("\f")
