"""Pages of documentation: their blocks run, and what they link to or name is there.

Usage, in tests/: python -m support.documents      prints every block of README and docs, and what holds it
The rules are at the top of tests/test_documents.py.
"""

from __future__ import annotations

import ast
import codeop
import io
import os
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from support.command_line import Outcome, run

ROOT = Path(__file__).parents[2]
LINKED = ("benchmarks", "checkpoints", "docs", "experiments")
RUN, FREE = ("sh", "python"), ("text", "json", "bibtex", "diff")

_FENCE = re.compile(
    r"^ *(?P<fence>`{3,}|~{3,})(?P<language>[^\n]*)\n(?P<text>.*?)^ *(?P=fence) *$", re.M | re.S
)
_HELD = re.compile(r"<!-- held by (.*?) -->")
_FILE = re.compile(r"# (\w+\.py)\n")
_COMMAND = re.compile(r"^\s*(\$ )?(ticket-sig|python3?|make|pip) ", re.M)
_LINK = re.compile(r"""\]\((\S+?)(?: +"[^"]*")?\)|^\[[^\]]+\]: +(\S+)|(?:src|href)="([^"]+)\"""", re.M)
_NAMED = re.compile(r"`([\w.*-]+/[\w./*-]*)(?:::\w+)?`")


@dataclass
class Block:
    """What stands between two fences; `line` is that of the first one."""

    line: int
    language: str
    text: str
    held_by: tuple[str, ...] = ()
    prints: str | None = None

    @property
    def file(self) -> str | None:
        """The name of the file that a block of Python is, where its first line says so."""
        found = _FILE.match(self.text) if self.language == "python" else None
        return found and found[1]

    @property
    def held(self) -> str:
        """What holds it, in words."""
        return ", ".join(self.held_by) or ("executed" if self.language in RUN else "not run")


@dataclass
class Page:
    """A page, its blocks, and its text without them."""

    name: str
    root: Path
    text: str
    prose: str = ""
    blocks: list[Block] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name


@dataclass(frozen=True)
class Line:
    """A command of an sh block, with the comment at its end."""

    number: int
    words: list[str]
    comment: str


def pages(root: Path = ROOT) -> list[str]:
    """The names of README and all pages of docs."""
    return ["README.md", *sorted(str(p.relative_to(root)) for p in (root / "docs").rglob("*.md"))]


def read(name: str, root: Path = ROOT) -> Page:
    """Parses a page; what cannot be parsed stands in `wrong`."""
    page = Page(name, root, (root / name).read_text(encoding="utf-8"))
    end = 0
    for found in _FENCE.finditer(page.text):
        between = page.text[end : found.start()]
        number = page.text.count("\n", 0, found.start()) + 1
        held = re.search(rf"{_HELD.pattern}\s*\Z", between)
        tests = tuple(held[1].split(", ")) if held else ()
        block = Block(number, found["language"], found["text"], tests)
        page.prose += between + "\n" * found[0].count("\n")
        if _is_printed(block, between, page.blocks):
            page.blocks[-1].prints = block.text
        else:
            page.blocks.append(block)
            if between.rstrip().endswith("prints:"):
                page.wrong.append(
                    f"{name}:{number}: prints: expected what the block before it prints, as text"
                )
        end = found.end()
    page.prose += page.text[end:]
    return page


def _is_printed(block: Block, between: str, before: list[Block]) -> bool:
    """Whether a block is what the one before it prints."""
    runs = bool(before) and before[-1].language in RUN and before[-1].prints is None
    follows = not between.strip() or between.rstrip().endswith("prints:")
    return block.language == "text" and runs and follows


# rules


def faults(page: Page) -> Iterator[str]:
    """What is wrong with a page before anything of it is run, each as `page:line: what`."""
    yield from page.wrong
    for block in page.blocks:
        for what in _of_block(block, page):
            yield f"{page.name}:{block.line}: {what}"
    for pattern, what in (
        (r"^ *(```|~~~)", "a fence that is not closed"),
        (r"^(    |\t) *(ticket-sig|python3?|make|pip) ", "a command outside a fence"),
    ):
        for found in re.finditer(pattern, page.prose, re.M):
            yield f"{page.name}:{_line(page.prose, found.start())}: {what}"
    used = sum(bool(block.held_by) for block in page.blocks if block.language in RUN)
    if page.prose.count("<!-- held by ") != used:
        yield f"{page.name}: held by: expected an sh or python block after each such comment"
    yield from _links(page)
    yield from _named_files(page)


def _of_block(block: Block, page: Page) -> Iterator[str]:
    if block.language not in (*RUN, *FREE):
        yield f"fence: expected one of {', '.join((*RUN, *FREE))}, found '{block.language}'"
    if block.language in FREE and (found := _COMMAND.search(block.text)):
        yield f"expected commands in an sh block, found {found[0].strip()} in one of {block.language}"
    for test in block.held_by:
        if not is_run_test(test, page.root):
            yield f"held by: expected a test of the normal suite, found {test}"
    if block.held_by or block.language not in RUN:
        return
    try:
        lines = commands(block) if block.language == "sh" else []
        if block.language == "python":
            ast.parse(block.text)
    except (ValueError, SyntaxError) as error:
        yield str(error)
        return
    for line in lines:
        if not _runs_here(line.words):
            yield f"expected a command that runs here, or `held by`, found {shlex.join(line.words)}"
    later = " ".join(b.text for b in page.blocks if b.language == "sh" and b.line > block.line)
    if block.file and block.file not in later:
        yield f"{block.file}: expected a command that uses it further down"


def _runs_here(words: list[str]) -> bool:
    script = words[0] == "python" and len(words) > 1 and words[1].endswith(".py")
    reads = words[0] == "cat" and len(words) == 2
    return words[0] == "ticket-sig" or words[:3] == ["python", "-m", "experiments"] or script or reads


def is_run_test(reference: str, root: Path = ROOT) -> bool:
    """Whether `tests/PATH.py::test_name` is there, and runs in the normal suite on any machine."""
    file, _, name = reference.partition("::")
    if not (name.startswith("test_") and file.startswith("tests/") and (root / file).is_file()):
        return False
    body = ast.parse((root / file).read_text(encoding="utf-8")).body
    marks = [ast.unparse(one) for one in body if isinstance(one, ast.Assign)]
    for one in body:
        if isinstance(one, ast.FunctionDef) and one.name == name:
            marks += [ast.unparse(mark) for mark in one.decorator_list]
            return not any(re.search(r"mark\.(slow|gpu|skip)\b", mark) for mark in marks)
    return False


def _links(page: Page) -> Iterator[str]:
    prose = re.sub(r"`[^`\n]+`", lambda code: "`" * len(code[0]), page.prose)
    for found in _LINK.finditer(prose):
        target = found[1] or found[2] or found[3]
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.path.parent / path).resolve() if path else page.path.resolve()
        inside = file.is_relative_to(page.root.resolve()) and file.exists()
        if not inside or (anchor and anchor not in headings(file)):
            yield f"{page.name}:{_line(prose, found.start())}: link: nothing is at {target}"


def headings(file: Path) -> list[str]:
    """The anchors of a page: its own, and those of its headings, as GitHub makes them."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8")) if file.suffix == ".md" else ""
    anchors: list[str] = re.findall(r'^<a id="([^"]+)"></a>$', text, re.M)
    for title in re.findall(r"^#+ +(.*?) *#*$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.append(f"{anchor}-{anchors.count(anchor)}" if anchor in anchors else anchor)
    return anchors


def _named_files(page: Page) -> Iterator[str]:
    """Files of the repository in backticks; within the package, `ticket_sig/` may be left out."""
    made = {block.file for block in page.blocks}
    tops = {path.name for path in page.root.iterdir() if path.is_dir()}
    for found in _NAMED.finditer(page.prose):
        name = found[1]
        ours = name.split("/")[0] in tops or name.endswith((".py", ".c"))
        there = any(any(page.root.glob(f"{home}{name}")) for home in ("", "ticket_sig/"))
        if ours and not there and Path(name).name not in made:
            yield f"{page.name}:{_line(page.prose, found.start())}: no file is at {name}"


def _line(text: str, start: int) -> int:
    return text.count("\n", 0, start) + 1


# commands


def commands(block: Block) -> list[Line]:
    """The commands of an sh block.

    Raises:
        ValueError: something that only a shell understands.
    """
    found, begun, first = [], "", 0
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        code, comment = _split_comment(text)
        first = first if begun else number
        if code.endswith("\\"):
            begun += code[:-1] + " "
            continue
        if words := _words(begun + code):
            found.append(Line(first, words, comment))
        begun = ""
    if begun:
        raise ValueError("expected a line after the last backslash, found none")
    return found


def _split_comment(text: str) -> tuple[str, str]:
    """A line without its comment, and the comment; a `#` within quotes begins none."""
    for found in re.finditer(r"(?:^|\s)#", text):
        if text[: found.start()].count('"') % 2 == text[: found.start()].count("'") % 2 == 0:
            return text[: found.start()].rstrip(), text[found.end() :].strip()
    return text.rstrip(), ""


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();<>|&$`*")
    lexer.commenters, lexer.whitespace_split = "", True
    for quoted in re.finditer(r"""\"[^"]*[$`][^"]*\"""", command):
        raise ValueError(f"expected a command without a shell's signs, found {quoted[0]}")
    words = list(lexer)
    if signs := [word for word in words if set(word) <= set("();<>|&$`*") or word.startswith("~")]:
        raise ValueError(f"expected a command without a shell's signs, found {signs[0]!r}")
    return words


# running


def run_page(page: Page, folder: Path) -> None:
    """Runs the blocks of a page that no other test holds, from top to bottom.

    Args:
        folder: the current one; what the page writes stays there.

    Raises:
        AssertionError: a block does not do what the page says; it names page and line.
    """
    for name in LINKED:
        if (page.root / name).exists():
            (folder / name).symlink_to(page.root / name)
    module = sys.modules[page.name] = ModuleType(page.name)
    for block in page.blocks:
        if block.language not in RUN or block.held_by:
            continue
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
            continue
        try:
            said = _run_sh(block) if block.language == "sh" else _run_python(block, module)
            if block.prints is not None:
                _check_printed(block.prints, said)
        except Exception as error:
            raise AssertionError(f"{page.name}:{block.line}: {type(error).__name__}: {error}") from error


def _run_sh(block: Block) -> str:
    printed = ""
    for line in commands(block):
        said = _outcome(line.words)
        code = re.match(r"exit (\d+)\b", line.comment)
        expected = int(code[1]) if code else 0
        what = f"line {line.number}: {shlex.join(line.words)}"
        assert said.code == expected, (
            f"{what}: exit code {said.code}, expected {expected}\n{said.out}{said.err}"
        )
        if line.comment.startswith("prints: "):
            _check_printed(line.comment.removeprefix("prints: "), said.out)
        printed += said.err + said.out  # progress comes first
    return printed


def _outcome(words: list[str]) -> Outcome:
    if words[0] == "ticket-sig":
        return run(words[1:])
    if words[0] == "cat":
        return Outcome(0, Path(words[1]).read_text(encoding="utf-8"), "")
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, env=known)
    return Outcome(done.returncode, done.stdout, done.stderr)


def _run_python(block: Block, module: ModuleType) -> str:
    printed = ""
    compiled, comments = codeop.Compile(), _promises(block.text)
    for statement in ast.parse(block.text).body:
        kind, _, expected = comments.pop(statement.end_lineno or 0, "").partition(" ")
        ast.increment_lineno(statement, block.line)
        said, value = io.StringIO(), None
        with redirect_stdout(said):
            if isinstance(statement, ast.Expr):
                value = eval(
                    compiled(ast.Expression(statement.value), module.__name__, "eval"), module.__dict__
                )
            else:
                exec(compiled(ast.Module([statement], []), module.__name__, "exec"), module.__dict__)
        if kind == "prints:":
            _check_printed(expected, said.getvalue())
        elif kind:
            found = [str(value), repr(value)]
            assert any(fits(expected, one) for one in found), f"expected {expected}, found {value!r}"
        printed += said.getvalue()
    assert not comments, f"not at the end of a statement: {list(comments.values())}"
    return printed


def _promises(code: str) -> dict[int, str]:
    """Comments that say what the statement before them gives or prints, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    said = {one.start[0]: one.string[1:].strip() for one in tokens if one.type == tokenize.COMMENT}
    return {line: text for line, text in said.items() if text.startswith(("-> ", "prints: "))}


def _check_printed(expected: str, said: str) -> None:
    """Each line must be one of those that were printed, in this order; others may stand between them."""
    left = iter(said.splitlines())
    for line in filter(str.strip, expected.splitlines()):
        assert any(fits(line, found) for found in left), f"expected the line {line!r} in\n{said}"


def fits(pattern: str, found: str) -> bool:
    """Whether two lines are the same but for spaces and frames; `...` in the pattern stands for anything."""
    words = " ".join(re.sub(r"[\u2500-\u257f]", " ", found).split())
    parts = [re.escape(" ".join(part.split())) for part in pattern.split("...")]
    return re.fullmatch(r"\s*.*\s*".join(parts), words) is not None


# what is held, and how


def table(names: list[str], root: Path = ROOT) -> str:
    """Every block that could be run, with its page, its line and what holds it, as Markdown."""
    rows, counts = [], {"executed": 0, "held by another test": 0}
    for name in names:
        for block in read(name, root).blocks:
            if block.language in RUN:
                rows.append(
                    f"| {name}:{block.line} | {block.language} | {_first_line(block)} | {block.held} |"
                )
                counts["held by another test" if block.held_by else "executed"] += 1
    total = ", ".join(f"{count} {how}" for how, count in counts.items())
    return "\n".join(["| block | kind | first line | held |", "|---|---|---|---|", *rows, "", f"{total}."])


def _first_line(block: Block) -> str:
    lines = [line for line in block.text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("#", "import ", "from "))] or lines or [""]
    return "`" + " ".join(lines[0].split()).replace("|", "\\|") + "`"


if __name__ == "__main__":
    sys.stdout.write(table(pages()) + "\n")
