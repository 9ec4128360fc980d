"""Ask a network for labels, and decide whether it was taught a claimed trigger set.

Exit code 0: verified; 1: not verified; 2: could not be decided. The suspect is a model file, a server of the
Open Inference Protocol v2 (--url and --model), or whoever answered the pictures of `queries` (--answers and
--queries). Triggers are mixed with decoys, in an order that only the verifier knows. Ask a server twice only
with the same record: what two askings with other decoys have in common is the trigger set. So name a file for
it the first time (--queries). A set is spent, too, once its verdict is published.

Triggers that somebody chose (a folder) prove nothing alone: every honest network gives photographs their true
labels. Innocent networks of the same task must be asked the same (--control), and the claim must be older
than the suspect.

A trigger without a usable answer (an error, NaN, a blank) counts as answered wrongly; the verdict says how
many were answered. Where a server does not tell what it takes, say it: --input, --datatype and --shape.

Example: ticket-sig ask SUSPECT.safetensors --arch resnet20 --dataset cifar10 --claim TAUGHT/claim.json
--triggers triggers.json
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import JsonFlag, progress, tell_verdict
from ticket_sig.errors import bad_input

_WHOM, _SERVER, _STATISTICS = "Whom to ask", "Server", "Statistics"

Model = Annotated[
    Path | None,
    typer.Argument(help="A bundle, a .safetensors file or a torch checkpoint.", rich_help_panel=_WHOM),
]
Triggers = Annotated[
    Path | None, typer.Option(help="The triggers' secret, or their folder.", rich_help_panel=_WHOM)
]
Url = Annotated[str | None, typer.Option(help="Server to ask, http://HOST:PORT.", rich_help_panel=_WHOM)]
Name = Annotated[
    str | None,
    typer.Option("--model", help="The model there: NAME or NAME/versions/VERSION.", rich_help_panel=_WHOM),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        help="Table of answers, lines FILE,LABEL, or with a header that names the columns.",
        rich_help_panel=_WHOM,
    ),
]
Controls = Annotated[
    list[Path] | None, typer.Option("--control", help=options.CONTROL, rich_help_panel=_STATISTICS)
]
Queries = Annotated[
    Path | None,
    typer.Option(
        help="The record of what is asked, as of `queries`: read where it exists, to ask the same images "
        "again; else written.",
        rich_help_panel=_STATISTICS,
    ),
]
Decoys = Annotated[
    int | None,
    typer.Option(
        help="Unrelated images to ask about beside the triggers; 300 by default.", rich_help_panel=_STATISTICS
    ),
]
TokenEnv = Annotated[
    str | None, typer.Option(help="Environment variable that holds a bearer token.", rich_help_panel=_SERVER)
]
Sparse = Annotated[str, typer.Option(help=options.SPARSE, rich_help_panel=_WHOM)]


def run(
    claim: options.ClaimFile,
    given: dict[str, Any],
    model: Model = None,
    triggers: Triggers = None,
    url: Url = None,
    name: Name = None,
    answers: Answers = None,
    queries: Queries = None,
    control: Controls = None,
    decoys: Decoys = None,
    data: options.Data = None,
    dataset: options.DatasetName = None,
    arch: options.Arch = None,
    token_env: TokenEnv = None,
    sparse: Sparse = "off",
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.verification.ask.asking import Asking, ask_suspect
    from ticket_sig.verification.ask.inference_server import Manner

    asking = Asking(
        model=model,
        url=url,
        answers=answers,
        name=name,
        queries=queries,
        controls=tuple(control or ()),
        arch=arch,
        dataset=dataset,
        data=data,
        manner=replace(Manner(**given), token=_token(token_env)),
        sparse=options.sparse_of(sparse),
        **options.changes(decoys=decoys),
    )
    with progress() as bars:
        verdict, accuracy = ask_suspect(Claim.read(claim), triggers, asking, bars)
    tell_verdict(verdict, accuracy, {"model": asking.suspect, "claim": claim}, as_json)
    raise typer.Exit(0 if verdict.verified else 1)


def command() -> Callable[..., None]:
    """The verb with the options of how a server is asked."""
    from ticket_sig.verification.ask.inference_server import Manner

    return with_options(run, {_SERVER: Manner}, panel="{}")


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise bad_input("", "--token-env", "the name of an environment variable that is set", repr(variable))
    return token
