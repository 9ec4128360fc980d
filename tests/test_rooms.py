"""The rooms: one imports only those above it in docs/architecture.md, and no modules form a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def named(path: Path) -> str:
    """The module of a file: `ticket_sig.marks.mark`; a package's own file is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {named(path): path for path in sorted((ROOT / "ticket_sig").rglob("*.py"))}


def rooms() -> list[str]:
    """The list of the section on rooms, topmost first; the public face, `ticket_sig` itself, is last.

    The words of a line up to two spaces are its rooms, also as `files.py` or `marks/`.
    """
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("\n## Rooms\n")[1]
    lines = re.split(r"\n```(?:text)?\n", section)[1].splitlines()
    words = [word for line in lines for word in re.split(r"\s{2,}", line)[0].split()]
    return [*(word.removesuffix("/").removesuffix(".py") for word in words), ""]


def room(module: str) -> str:
    """The room of a module: what follows `ticket_sig.`, down to the next dot."""
    return module.partition(".")[2].partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, also within functions and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: an import by dots"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:  # `ticket_sig.mask.Mask` is something in a module
            parents = (name, name.rpartition(".")[0])
            yield from [module for module in parents if module in MODULES][:1]


def imports() -> dict[str, set[str]]:
    """What each module imports of the package."""
    return {module: set(imported(path)) for module, path in MODULES.items()}


def reached(start: str, steps: Mapping[str, set[str]]) -> set[str]:
    """All that can be reached from a module, in one step or more."""
    found, left = set[str](), [start]
    while left:
        new = steps[left.pop()] - found
        found |= new
        left += new
    return found


def test_the_list_names_every_room_and_no_other() -> None:
    listed = rooms()
    assert len(listed) == len(set(listed))
    assert set(listed) == {room(module) for module in MODULES}


def test_no_room_imports_a_room_below_it() -> None:
    order = {name: place for place, name in enumerate(rooms())}
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in sorted(others)
        if order[room(other)] > order[room(module)]
    ]
    assert wrong == []


def test_no_modules_form_a_circle() -> None:
    steps = imports()
    reach = {module: reached(module, steps) for module in MODULES}
    circles = {
        tuple(sorted(other for other in found if module in reach[other]))
        for module, found in reach.items()
        if module in found
    }
    assert circles == set()
