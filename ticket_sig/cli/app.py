"""The command `ticket-sig`: its verbs, and what every error becomes; all logic is in the library."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ticket_sig.cli.leaving import INTERRUPTED, leaving, one_line, say
from ticket_sig.cli.output import printable
from ticket_sig.errors import InputError
from ticket_sig.version import VERSION

_HELP = "Find lottery tickets, put your mark into networks, attack it, and prove whose they are."

_VERBS = (
    *(
        "find",
        "embed",
        "split",
        "unlock",
        "triggers",
        "train",
        "extract",
        "verify",
        "ask",
        "queries",
        "attack",
        "evaluate",
        "keygen",
        "open",
        "audit",
        "forge",
    ),
    *("proof-of-work", "inspect", "data", "demo"),
)
# Verbs whose exit code is a verdict: with --json they say one on standard output, whatever happens.
_VERIFYING = (("verify",), ("ask",), ("audit",), ("proof-of-work", "check"))

# What version 0.1 called it.
_OLD_VERBS = {
    ("watermark", "freezenet", "apply"): "embed MODEL --mark freezenet",
    ("watermark", "freezenet", "verify"): "verify MODEL --claim FILE",
    ("watermark", "freezenet", "mine"): "proof-of-work mine",
    ("watermark", "freezenet", "check"): "proof-of-work check",
    ("watermark", "uchida", "embed"): "embed MODEL --mark uchida (and `train`, to teach the bits with data)",
    ("watermark", "uchida", "decode"): "extract, or verify, MODEL --claim FILE",
    ("watermark",): "embed MODEL --mark freezenet|uchida, verify, extract; and proof-of-work mine|check",
}
_NOW_ASKED = ("triggers", "url", "model", "answers", "queries", "control", "decoys")
_OF_SERVERS = ("pixels", "rate", "batch", "timeout", "retries", "token-env")
_OLD_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "embed": {
        "--key": "embed --secret",
        "--text": "embed --message",
        "--data-file": "embed --secret",
        "--data": "train, which teaches the bits of a bundle that `embed` wrote",
    },
    "verify": {f"--{name}": f"ask --{name}" for name in (*_NOW_ASKED, *_OF_SERVERS)},
    "attack": {"--scheme": "attack own-watermark --mark"},
}

# typer brings its own copy of click or imports it, depending on its version.
_UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class _InOrder(TyperGroup):
    """The verbs in the order of a user's way; typer puts groups of verbs last."""

    def list_commands(self, ctx: object) -> list[str]:
        """Their names."""
        return list(_VERBS)


def make_app(verb: str | None = None, member: str | None = None) -> typer.Typer:
    """The application, with the options of one verb (of a group, of one member); all take time to declare."""
    app = typer.Typer(
        name="ticket-sig",
        cls=_InOrder,
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in _VERBS:
        module = import_module(f"ticket_sig.cli.{name.replace('-', '_')}")
        _add(name, module, app, called=name == verb, member=member)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ticket-sig {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
]


def _options(version: Version = False) -> None:
    """What stands before the verb."""


def _not_called() -> None:
    """Stands for a verb whose name and help alone are shown."""


def _add(name: str, module: ModuleType, app: typer.Typer, called: bool, member: str | None) -> None:
    """Adds a verb, or a group of them (a module with `commands`), whose options come from a registry."""
    if not hasattr(module, "commands"):
        run = (module.command() if hasattr(module, "command") else module.run) if called else _not_called
        app.command(name=name, help=_text(module.__doc__))(run)
        return
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    commands: Mapping[str, tuple[Callable[[], Callable[..., None]], str]]
    commands = module.commands() if called else {}
    for command, (make, text) in commands.items():
        group.command(name=command, help=_text(text))(make() if command == member else _not_called)
    group.callback()(lambda: None)
    app.add_typer(group, name=name, help=_text(module.__doc__))


def _text(text: str | None) -> str:
    """The text of a module is its help; rich would keep the line breaks within paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and leaves with its exit code: 0 done or verified, 1 not verified, 2 could not."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with leaving():
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            # What the encoding of a terminal lacks is spelled out: it is no reason to fail when all is done.
            sys.stdout.reconfigure(errors="backslashreplace")
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        _check_old_verb(arguments)
        code = make_app(*_called(arguments))(arguments, standalone_mode=False)
        sys.stdout.flush()
        return _stopped() if code == INTERRUPTED else code if isinstance(code, int) else 0
    except SystemExit as left:
        # rich and typer leave with 1, which reads as "not verified", where nobody reads what they print.
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        return _could_not(f"output: {left.__context__.strerror}", arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except _UsageError as error:
        return _could_not(f"usage: {_said(error, arguments)}", arguments)
    except Exception as error:
        # Python would leave with 1 here, which reads as "not verified".
        return _could_not(one_line(error), arguments)


def _called(arguments: list[str]) -> list[str]:
    """Verb and member of a command line; where a shell asks for completions, of the line it has so far."""
    if any(name.startswith("_TICKET_SIG") and name.endswith("_COMPLETE") for name in os.environ):
        line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
        arguments = line.split()[1:]
    return [word for word in arguments if not word.startswith("-")][:2]


def _check_old_verb(arguments: list[str]) -> None:
    for words, now in _OLD_VERBS.items():
        if tuple(arguments[: len(words)]) == words:
            raise InputError(f"usage: {' '.join(words)}: no longer a verb; use ticket-sig {now}")


def _said(error: Exception, arguments: list[str]) -> str:
    old = _OLD_OPTIONS.get(next(iter(_called(arguments)), ""), {})
    if (option := getattr(error, "option_name", None)) in old:
        return f"{option}: no longer an option; use ticket-sig {old[str(option)]}"
    said = str(getattr(error, "format_message", error.__str__)()) or "a verb is missing; see --help"
    if said.startswith("Missing option '--claim'"):
        lies = [str(claim) for word in arguments[1:] if (claim := Path(word, "claim.json")).is_file()]
        said += f" Give the claim: --claim FILE{''.join(f'; {one} lies beside it' for one in lies)}"
    if said.startswith("No such "):
        said = f"{said}{'' if said[-1] in '.?' else '.'} Expected one of {', '.join(_known(error))}"
    return said


def _known(error: Any) -> list[str]:
    """The options, or the verbs, of the command that was given another one."""
    context = error.ctx
    if getattr(error, "option_name", None) is None:
        return list(context.command.list_commands(context))
    options = context.command.get_params(context)
    return [name for one in options for name in one.opts if name.startswith("--")]


def _stopped() -> int:
    say("\nstopped; find, train, attack, evaluate and data go on from here with the same command")
    return INTERRUPTED


def _could_not(message: str, arguments: list[str]) -> int:
    line = printable(" ".join(message.split()))
    say(f"ticket-sig: {line}")
    if "--json" in arguments:
        verifying = any(tuple(arguments[: len(verb)]) == verb for verb in _VERIFYING)
        verdict = {"verdict": "could not verify"} if verifying else {}
        with suppress(OSError):  # standard output may be what is full
            print(json.dumps({**verdict, "error": line}), flush=True)
    return 2
