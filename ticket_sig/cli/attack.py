"""Attack a model as a thief would, and see what it costs him and what is left of the signature.

Removal: fine-tuning, magnitude-pruning, random-pruning, erase, trigger-removal. Adding: add-on.
Ambiguity: fake-key (scheme 1), noise, overwrite. Each takes the options that say so. The bundle holds the
attacked model alone: a thief has no claim of the owner's, no rewind weights and no history.

Accuracy before and after is measured where there is data. An attack that loses more than a point of it has
not won; with --insider the thief knows the place of the code.

Example: ticket-sig attack magnitude-pruning SIGNED --rate 0.2 --claim SIGNED/claim.json --out STOLEN
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, printable, table

if TYPE_CHECKING:
    from ticket_sig.attacks import Attack, Scene
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import Dataset
    from ticket_sig.evaluation.attack_report import AttackReport, Decision
    from ticket_sig.signatures.scheme2 import Signature
    from ticket_sig.signatures.triggers import TriggerSet
    from ticket_sig.ticket import Ticket
    from ticket_sig.training.recipe import Recipe

Name = Annotated[str, typer.Argument(help="Of the attack.", show_default=False)]
Bundle = Annotated[
    Path,
    typer.Option("--out", help="Bundle to write; OUT.run keeps a training's state.", show_default=False),
]
ClaimFile = Annotated[
    Path | None,
    typer.Option("--claim", help="The owner's; the bundle's own by default.", show_default=False),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="Key of a claim of scheme 1.", show_default=False)
]
Triggers = Annotated[
    Path | None,
    typer.Option(help="The owner's trigger set: how much of it is still answered.", show_default=False),
]
Insider = Annotated[bool, typer.Option("--insider", help="The thief knows the place that the claim names.")]
DatasetName = Annotated[
    str | None, typer.Option(help="Data set of the thief; the bundle's own by default.", show_default=False)
]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.", show_default=False)]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Share of the kept weights (pruning, noise) or of the pruned ones (add-on).", show_default=False
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(help="Size of new weights, 1 = as the layer's own (add-on, noise).", show_default=False),
]
Share = Annotated[
    float | None,
    typer.Option(help="Of a forged key in the ticket; of kernels to shuffle (erase).", show_default=False),
]
Count = Annotated[int | None, typer.Option(help="Weights of a forged key.", show_default=False)]
Message = Annotated[str | None, typer.Option(help="The thief's own (overwrite).", show_default=False)]
Layer = Annotated[str | None, typer.Option(help="This layer alone (noise, overwrite).", show_default=False)]
Epochs = Annotated[
    int | None,
    typer.Option(help="Length of training, in place of the recipe's; trains a fake-key.", show_default=False),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate, in place of the recipe's.", show_default=False)
]
Images = Annotated[
    int | None, typer.Option(help="Abstract images to teach (trigger-removal).", show_default=False)
]


def run(
    name: Name,
    model: options.Model,
    bundle: Bundle,
    claim: ClaimFile = None,
    key: KeyFile = None,
    triggers: Triggers = None,
    insider: Insider = False,
    data: options.Data = None,
    dataset: DatasetName = None,
    arch: Arch = None,
    rate: Rate = None,
    scale: Scale = None,
    share: Share = None,
    count: Count = None,
    message: Message = None,
    layer: Layer = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    images: Images = None,
    seed: Annotated[int, typer.Option(help="Of whatever the thief draws.")] = 0,
    device: options.Device = "auto",
    checkpoint_every: options.CheckpointEvery = 20,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig import attacks
    from ticket_sig.errors import about, bad_input
    from ticket_sig.evaluation.attack_report import attack_report
    from ticket_sig.formats import load, save
    from ticket_sig.signatures.scheme1 import Key

    given: dict[str, Any] = {"rate": rate, "scale": scale, "share": share, "count": count, "message": message}
    given |= {"layer": layer, "epochs": epochs, "lr": lr, "images": images}
    chosen = attacks.attack(name, **options.changes(**given))
    if bundle.exists() and not force:
        hint = "choose another or pass --force"
        raise bad_input(bundle, "output folder", "a name not taken yet", "one that is", hint=hint)
    loaded = load(model)
    owner, place = _owner(claim or loaded.claim, insider)
    secret, state = Key.read(key) if key else None, bundle.with_name(f"{bundle.name}.run")
    with about(model), options.engine(device, checkpoint_every) as engine:
        recipe, images_of = _recipe_and_data(loaded.ticket, arch, dataset, data)
        scene = attacks.Scene(
            data=images_of, recipe=recipe, engine=engine, run=state, seed=seed, signature=place
        )
        taught = _trigger_set(loaded.ticket, scene, triggers) if triggers else None
        attacked, forged = _attacked(chosen, loaded.ticket, scene)
        report = attack_report(
            loaded.ticket, attacked, scene, claim=owner, key=secret, triggers=taught, forged=forged
        )
    save(attacked, bundle, claim=forged.to_json() if forged else None, replace=force)
    if any(entry.step == "train" for entry in attacked.history):
        shutil.rmtree(state)
    if as_json:
        print_json({"attack": name, "options": vars(chosen), "bundle": str(bundle), **report.to_json()})
    else:
        _print(name, report, bundle)


def _owner(path: Path | None, insider: bool) -> tuple[Claim | None, Signature | None]:
    """The owner's claim, and for an insider the place it names."""
    from ticket_sig.attacks.scene import place_of
    from ticket_sig.claim import Claim
    from ticket_sig.errors import bad_input

    if path is None:
        if insider:
            raise bad_input("", "--insider", "a claim, which names the place: --claim FILE", "none")
        return None, None
    claim = Claim.read(path)
    return claim, place_of(claim) if insider else None


def _recipe_and_data(
    ticket: Ticket, arch: str | None, dataset: str | None, folder: Path | None
) -> tuple[Recipe | None, Dataset | None]:
    """How and on what the thief trains, as far as bundle and command line say."""
    from ticket_sig.datasets import load_dataset

    if not (ticket.recipe or arch or dataset or folder):
        return None, None
    recipe = options.recipe_of(ticket.recipe, None, arch=arch, dataset=dataset)
    wanted = folder or dataset or recipe.dataset == "digits"
    return recipe, load_dataset(recipe.dataset, folder) if wanted else None


def _trigger_set(ticket: Ticket, scene: Scene, path: Path) -> TriggerSet:
    """The owner's trigger set, for the network's images and classes."""
    from ticket_sig.attacks.train_on import task_of
    from ticket_sig.signatures.triggers import read_triggers

    data = task_of(ticket, scene).data
    height, width, channels = data.train.images.shape[1:]
    return read_triggers(path, (height, width, channels), data.classes)


def _attacked(chosen: Attack, ticket: Ticket, scene: Scene) -> tuple[Ticket, Claim | None]:
    """The attacked ticket, and the claim that a thief who writes a code of his own would show."""
    from ticket_sig.attacks.overwrite import Overwrite

    if isinstance(chosen, Overwrite):
        made = chosen.forge(ticket, scene)
        return made.ticket, made.claim
    return chosen(ticket, scene), None


def _read(decision: Decision) -> str:
    if decision.verdict is None or "message" not in decision.verdict.evidence:
        return ""
    return "cannot be read" if decision.message is None else decision.message


def _print(name: str, report: AttackReport, bundle: Path) -> None:
    rows: list[Sequence[object]] = [
        ("test accuracy, %", *map(percent, report.accuracy)),
        ("triggers, %", *map(percent, report.triggers)),
        ("weights kept, %", *(percent(100 * kept / max(1, report.total)) for kept in report.kept)),
    ]
    if report.owner:
        rows += [
            ("message read", *map(_read, report.owner)),
            ("the owner's claim", *(decision.outcome for decision in report.owner)),
        ]
    if report.forged:
        rows += [("the thief's claim", "", report.forged.outcome)]
    shown = [row for row in rows if any(row[1:])]  # what was not measured says nothing
    out.print(table(name, ("", "before", "after"), shown))
    for decision in report.owner or ():
        if decision.reason:
            out.print(f"could not verify: {printable(decision.reason)}")
    if report.outcome:
        out.print(report.outcome)
    out.print(f"bundle: {bundle}")
