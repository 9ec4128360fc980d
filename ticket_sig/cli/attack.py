"""Attack a model as a thief would, and see what it costs him and what is left of the marks.

The bundle holds the attacked model alone: a thief has no claim of the owner's, no rewind weights and no
history. Accuracy before and after is measured where there is data. An attack has not won if it costs more
than a point of accuracy, or if a mark is still verified. A trigger set is tried if it is given
(--triggers). A locked ticket (key mask) holds no key to lose: its thief wins if a forged key brings back
the accuracy that the claim promises. With --insider the thief knows the place of the code.

Example: ticket-sig attack magnitude-pruning SIGNED --rate 0.2 --claim SIGNED/claim.json --out STOLEN
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, printable, table
from ticket_sig.errors import about
from ticket_sig.options import flag, options_of

if TYPE_CHECKING:
    from ticket_sig.attacks import Attack
    from ticket_sig.attacks.report import AttackReport
    from ticket_sig.attacks.trial import Decision

Bundle = Annotated[Path, typer.Option("--out", help="Bundle to write; OUT.run keeps a training's state.")]
Triggers = Annotated[
    Path | None,
    typer.Option(
        help="The owner's trigger set: how much of it is still answered, and is the claim still verified."
    ),
]
Controls = Annotated[list[Path] | None, typer.Option("--control", help=options.CONTROL)]
Insider = Annotated[bool, typer.Option("--insider", help="The thief knows the place that the claim names.")]
DatasetName = Annotated[str | None, typer.Option(help="Data set of the thief; the bundle's own by default.")]


def run(
    name: str,
    model: options.Model,
    bundle: Bundle,
    given: dict[str, Any],
    needed: dict[str, Path],
    claim: options.OwnClaim = None,
    triggers: Triggers = None,
    control: Controls = None,
    insider: Insider = False,
    mask: options.MaskFile = None,
    data: options.Data = None,
    dataset: DatasetName = None,
    arch: options.Arch = None,
    seed: Annotated[int, typer.Option(help="Of whatever the thief draws.")] = 0,
    device: options.Device = "auto",
    sparse: options.Sparse = "off",
    checkpoint_every: options.CheckpointEvery = 20,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.attacks import attack
    from ticket_sig.attacks.staging import Stage
    from ticket_sig.formats import load, save
    from ticket_sig.training.run_folder import remove_run

    chosen = attack(name, **given)
    options.check_free(bundle, force)
    loaded = load(model, mask)
    state = options.state_beside(bundle)
    with about(model), options.engine(device, checkpoint_every, sparse=sparse) as engine:
        stage = Stage(
            ticket=loaded.ticket,
            arch=arch,
            dataset=dataset,
            data=data,
            seed=seed,
            insider=insider,
            engine=engine,
            state=state,
            claim=claim or loaded.claim,
            needed=needed,
            triggers=triggers,
            controls=tuple(control or ()),
        )
        done, report = stage.carry_out(chosen)
    save(done.ticket, bundle, claim=done.claim.to_json() if done.claim else None, replace=force)
    if any(entry.step == "train" for entry in done.ticket.history):
        remove_run(state)
    _tell(name, chosen, report, bundle, as_json, done.did)


def commands() -> Mapping[str, tuple[Callable[[], Callable[..., None]], str]]:
    """Every attack of the registry: what makes its verb, with the options that it takes, and its text."""
    from ticket_sig.attacks import ATTACKS

    return {name: (partial(_command, name, kind), _text(name, kind)) for name, kind in ATTACKS.items()}


def _command(name: str, kind: type[Attack]) -> Callable[..., None]:
    fixed = {"name": name} if kind.of_insiders else {"name": name, "insider": False}
    verb = with_options(run, {name: kind}, fixed=fixed)
    return with_options(verb, {"marks": options.needed()}, panel="What {} need", into="needed")


def _text(name: str, kind: type[Attack]) -> str:
    """What an attack does, with an example that gives all it requires."""
    required = [f"{flag(f.name)} {f.name.upper()}" for f in options_of(kind) if f.default is MISSING]
    knows = ["--insider"] if kind.of_insiders else []
    words = ["ticket-sig attack", name, "MODEL", *required, "--claim CLAIM", *knows, "--out STOLEN"]
    return f"{kind.__doc__}\n\nExample: {' '.join(words)}"


def _read(pair: Sequence[Decision]) -> list[str]:
    """The texts that are read; where the mark is known to say one and it is gone, that."""
    gone = "cannot be read" if any(decision.message for decision in pair) else ""
    return [decision.message or gone for decision in pair]


def _tell(
    name: str, chosen: Attack, report: AttackReport, bundle: Path, as_json: bool, did: Sequence[str]
) -> None:
    if as_json:
        done = {"did": did} if did else {}
        print_json({"attack": name, "options": vars(chosen), "bundle": bundle, **done, **report.to_json()})
        return
    rows: list[Sequence[object]] = [
        ("test accuracy, %", *map(percent, report.accuracy)),
        ("triggers, %", *map(percent, report.triggers)),
        (
            "weights kept, %",
            *(percent(100 * kept / max(1, of)) for kept, of in zip(report.kept, report.totals, strict=True)),
        ),
    ]
    decisions: list[Decision] = []
    for what, tried in report.marks.items():
        decisions += (pair := [tried.before, tried.after])
        rows += [("message read", *_read(pair)), (f"the owner's {what}", *(d.outcome for d in pair))]
    if report.forged:
        rows += [("the thief's claim", "", report.forged.outcome)]
    shown = [row for row in rows if any(row[1:])]  # what was not measured says nothing
    out.print(table(name, ("", "before", "after"), shown))
    if did:
        out.print(f"done: {printable('; '.join(did))}")
    for reason in dict.fromkeys(d.reason for d in decisions if d.reason and not d.lacking):
        out.print(f"could not verify: {printable(reason)}")
    if report.outcome:
        out.print(report.outcome)
    out.print(f"bundle: {bundle}")
