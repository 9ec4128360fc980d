"""The command `ticket-sig`: its verbs, and what every error becomes; all logic is in the library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType

import typer

from ticket_sig.cli import (
    attack,
    data,
    demo,
    embed,
    extract,
    find,
    inspect,
    queries,
    split,
    train,
    triggers,
    unlock,
    verify,
    watermark,
)
from ticket_sig.cli.output import printable
from ticket_sig.errors import InputError

_HELP = "Find lottery tickets, sign them, attack them, and prove whose they are."

app = typer.Typer(
    name="ticket-sig",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
VERBS = (
    find,
    embed,
    split,
    unlock,
    triggers,
    train,
    extract,
    verify,
    queries,
    attack,
    inspect,
    data,
    demo,
)


def _help(module: ModuleType) -> str:
    """The text of a module is its help; rich would keep the line breaks within paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (module.__doc__ or "").split("\n\n"))


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _group(module: ModuleType, into: typer.Typer) -> None:
    """Adds a group of verbs, and the groups within it, under the name of its package."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    for one in module.VERBS:
        if hasattr(one, "VERBS"):
            _group(one, group)
        else:
            group.command(name=_name(one), help=_help(one))(one.run)
    into.add_typer(group, name=_name(module), help=_help(module))


for verb in VERBS:
    app.command(name=_name(verb), help=_help(verb))(verb.run)
_group(watermark, app)

# Verbs whose exit code is a verdict: with --json they say one on standard output, whatever happens.
_VERIFYING = (
    ("verify",),
    ("watermark", "freezenet", "verify"),
    ("watermark", "freezenet", "check"),
    ("watermark", "uchida", "decode"),
)
_INTERRUPTED = 130  # what a shell reports for Ctrl-C

# typer brings its own copy of click or imports it, depending on its version.
_UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and leaves with its exit code: 0 done or verified, 1 not verified, 2 could not."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, standalone_mode=False)
        return _stopped() if code == _INTERRUPTED else code if isinstance(code, int) else 0
    except InputError as error:
        return _could_not(str(error), arguments)
    except OSError as error:
        return _could_not(f"{error.filename or 'output'}: {error.strerror or error}", arguments)
    except MemoryError:
        return _could_not("memory: expected enough for this model, found too little", arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except _UsageError as error:
        message = getattr(error, "format_message", error.__str__)()
        return _could_not(f"usage: {message or 'a verb is missing; see --help'}", arguments)
    except Exception as error:
        # Python would leave with 1 here, which reads as "not verified".
        if os.environ.get("TICKET_SIG_DEBUG"):
            raise
        name = type(error).__name__
        return _could_not(f"internal error: {name}: {error}; TICKET_SIG_DEBUG=1 shows where", arguments)


def _stopped() -> int:
    print("\nstopped; find, train, attack and data go on from here with the same command", file=sys.stderr)
    return _INTERRUPTED


def _could_not(message: str, arguments: list[str]) -> int:
    line = printable(" ".join(message.split()))
    print(f"ticket-sig: {line}", file=sys.stderr)
    if "--json" in arguments:
        verifying = any(tuple(arguments[: len(verb)]) == verb for verb in _VERIFYING)
        verdict = {"verdict": "could not verify"} if verifying else {}
        with suppress(OSError):  # standard output may be what is full
            print(json.dumps({**verdict, "error": line}), flush=True)
    return 2
