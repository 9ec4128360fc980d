"""From options that are declared as dataclass fields to options of the command line, with their help."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from typing import Annotated, Any, get_args, get_type_hints

import typer

from ticket_sig.errors import bad_input
from ticket_sig.options import Options, options_of

Run = Callable[..., None]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def with_options(
    run: Run,
    kinds: Mapping[str, type[Options]],
    *,
    panel: str = "Options of {}",
    chooser: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    into: str = "given",
) -> Run:
    """A verb with the options of one or several kinds of a thing; those given come in a dictionary, by name.

    Of one kind they are as it declares them. Of several, another option of the verb says which one is meant:
    then each may be left out, the help says which kinds have it, and what is given is checked later.

    Args:
        run: the verb.
        kinds: by name.
        panel: of the help, with the kinds' names.
        chooser: the parameter that names one of the kinds; its help lists them, where {} stands.
        fixed: parameters of `run` that are no options here, and their values.
        into: the parameter of `run` that takes what is given.

    Raises:
        InputError: a declared option has the name of one of the verb's own, or two types.
    """
    fixed = fixed or {}
    hints = get_type_hints(run, include_extras=True)
    own = {
        name: one.replace(annotation=hints[name], kind=_KEYWORD)
        for name, one in inspect.signature(run).parameters.items()
        if name not in (into, *fixed)
    }
    if chooser is not None:
        own[chooser] = _choosing(own[chooser], kinds)
    declared = _merged(kinds, panel) if len(kinds) > 1 else _of_one(kinds, panel)
    if taken := sorted(own.keys() & declared.keys()):
        named, expected = ", ".join(taken), "one that the verb itself has not"
        where = f"option {named} of {', '.join(kinds)}"
        raise bad_input(where, "name", expected, named, hint="rename the option")
    parameters = own | declared

    def command(**values: Any) -> None:
        given = {name: value for name in declared if (value := values.pop(name)) is not None}
        run(**values, **fixed, **{into: given})

    return _with_parameters(command, parameters)


def with_names(run: Run, **registries: Mapping[str, object]) -> Run:
    """A verb in which the help of some parameters lists the names of a registry, where {} stands."""
    hints = get_type_hints(run, include_extras=True)
    own = {
        name: one.replace(annotation=hints[name]) for name, one in inspect.signature(run).parameters.items()
    }
    parameters = own | {name: _choosing(own[name], kinds) for name, kinds in registries.items()}

    def command(**values: Any) -> None:
        run(**values)

    return _with_parameters(command, parameters)


def _with_parameters(command: Run, parameters: Mapping[str, inspect.Parameter]) -> Run:
    """A function that is told its parameters, for typer."""
    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return command


def _choosing(one: inspect.Parameter, kinds: Mapping[str, object]) -> inspect.Parameter:
    kind, option = get_args(one.annotation)
    listed = copy.copy(option)
    listed.help = option.help.format(", ".join(kinds))
    return one.replace(annotation=Annotated[kind, listed])


def _of_one(kinds: Mapping[str, type[Options]], panel: str) -> dict[str, inspect.Parameter]:
    [(name, kind)] = kinds.items()
    hints = get_type_hints(kind)
    return {
        f.name: _parameter(f.name, hints[f.name], _help(f), panel.format(name), f.default)
        for f in options_of(kind)
    }


def _merged(kinds: Mapping[str, type[Options]], panel: str) -> dict[str, inspect.Parameter]:
    """Each option once, in a panel that names the kinds which have it."""
    found: dict[str, dict[str, tuple[Field[Any], Any]]] = {}
    for name, kind in kinds.items():
        hints = get_type_hints(kind)
        for f in options_of(kind):
            found.setdefault(f.name, {})[name] = f, hints[f.name]
    parameters = {}
    for option, users in found.items():
        helps = {name: _help(f, with_default=True) for name, (f, _) in users.items()}
        text = next(iter(helps.values()))
        if len(set(helps.values())) > 1:
            same = {one: [name for name, help_ in helps.items() if help_ == one] for one in helps.values()}
            text = " ".join(f"{', '.join(names)}: {help_}" for help_, names in same.items())
        hint, *others = dict.fromkeys(hint | None for _, hint in users.values())
        if others:
            types = f"{hint}, {', '.join(map(str, others))}"
            where = f"option {option} of {', '.join(users)}"
            raise bad_input(where, "type", "one", types, hint="rename the option")
        parameters[option] = _parameter(option, hint, text, panel.format(", ".join(users)), None)
    return parameters


def _help(field: Field[Any], with_default: bool = False) -> str:
    text: str = field.metadata["help"]
    if not with_default or field.default in (MISSING, None):
        return text
    default = {True: "on", False: "off"}.get(field.default, field.default)
    return f"{text.removesuffix('.')}; {default} by default."


def _parameter(name: str, hint: Any, text: str, panel: str, default: Any) -> inspect.Parameter:
    option = typer.Option(help=text, rich_help_panel=panel, show_default=default not in (None, MISSING))
    given = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, _KEYWORD, default=given, annotation=Annotated[hint, option])
