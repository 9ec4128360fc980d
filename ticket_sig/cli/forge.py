"""Forge a transcript as a liar would, with a manifest and a whole new chain that fit; `audit` must find it.

Some spoofs lead to a stolen model (--stolen), take another transcript (--other), or really train in part
(--data). What is forged is the last level of the transcript, as it ends in what is claimed.

Example: ticket-sig forge splice TRANSCRIPT --other OTHER --out FORGED
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, print_json, tell_next

if TYPE_CHECKING:
    from ticket_sig.transcripts.spoofs import Spoof

Folder = Annotated[Path, typer.Argument(help="Transcript that was honestly recorded.")]
Forged = Annotated[Path, typer.Option("--out", help="Folder of the forged transcript.")]
Stolen = Annotated[Path | None, typer.Option("--stolen", help="Model that the transcript is to end in.")]
Other = Annotated[Path | None, typer.Option("--other", help="Another transcript, of as many steps.")]


def run(
    name: str,
    transcript: Folder,
    forged: Forged,
    given: dict[str, Any],
    stolen: Stolen = None,
    other: Other = None,
    data: options.Data = None,
    sign: options.SignWith = None,
    passphrase_env: options.PassphraseEnv = None,
    seed: Annotated[int, typer.Option(help="Of whatever the liar draws.")] = 0,
    device: options.Device = "auto",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.formats import load
    from ticket_sig.transcripts import Transcript
    from ticket_sig.transcripts.spoofs import Scene, spoof

    chosen = spoof(name, **given)
    key = options.key_pair(sign, passphrase_env)
    options.check_place(forged, force)
    honest = Transcript.open(transcript)
    trains = "data" in chosen.needs
    with options.engine(device, 0) as engine:
        scene = Scene(
            stolen=load(stolen).ticket.weights if stolen else None,
            other=Transcript.open(other) if other else None,
            data=load_dataset(str(honest.manifest.data.get("name")), data) if trains else None,
            engine=engine,
            seed=seed,
        )
        chosen(honest, forged, scene, key, replace=force)
    made = Transcript.open(forged)
    if as_json:
        value = {"spoof": name, "options": vars(chosen), "transcript": forged, "head": made.chain.head}
        print_json({**value, "segments": len(made.segments)})
        return
    out.print(
        f"forged: {len(made.segments)} segments, {'signed by the liar' if key else 'unsigned'}: {forged}"
    )
    tell_next("audit", forged)


def commands() -> Mapping[str, tuple[Callable[[], Callable[..., None]], str]]:
    """Every spoof of the registry: what makes its verb, with the options that it takes, and its text."""
    from ticket_sig.transcripts.spoofs import SPOOFS

    return {name: (partial(_command, name, kind), _text(name, kind)) for name, kind in SPOOFS.items()}


def _command(name: str, kind: type[Spoof]) -> Callable[..., None]:
    unused = {need: None for need in ("stolen", "other", "data") if need not in kind.needs}
    fixed = {"name": name, **unused, **({"device": "cpu"} if "data" in unused else {})}
    return with_options(run, {name: kind}, fixed=fixed)


def _text(name: str, kind: type[Spoof]) -> str:
    """What a spoof does, with an example that gives all it needs."""
    words = ["ticket-sig forge", name, "TRANSCRIPT", *(f"--{need} {need.upper()}" for need in kind.needs)]
    return f"{kind.__doc__}\n\nExample: {' '.join(words)} --out FORGED"
