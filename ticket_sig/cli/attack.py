"""Attack a model as a thief would, and see what it costs him and what is left of the signature.

Removal: fine-tuning, magnitude-pruning, random-pruning, erase, trigger-removal, cast, sign-flip.
Adding: add-on. Ambiguity: fake-key (scheme 1), noise, overwrite, own-watermark (dense networks). Each takes
the options that say so. The bundle holds the attacked model alone: a thief has no claim of the owner's, no
rewind weights and no history.

Accuracy before and after is measured where there is data. An attack that loses more than a point of it has
not won, nor has one that leaves a mark verified: the one in the mask or, with --triggers, the trigger set.
A locked ticket (scheme 1) holds no key to lose: its thief wins if a forged key brings back the accuracy that
the claim promises. With --insider the thief knows the place of the code.

Example: ticket-sig attack magnitude-pruning SIGNED --rate 0.2 --claim SIGNED/claim.json --out STOLEN
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ticket_sig.cli import black_box, options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, printable, table

if TYPE_CHECKING:
    from ticket_sig.attacks import Attack, Scene
    from ticket_sig.claim import Claim
    from ticket_sig.datasets import Dataset
    from ticket_sig.evaluation.attack_report import AttackReport, Decision
    from ticket_sig.signatures.scheme1 import Key
    from ticket_sig.signatures.scheme2 import Signature
    from ticket_sig.signatures.triggers import TriggerSet
    from ticket_sig.ticket import Ticket
    from ticket_sig.training.recipe import Recipe
    from ticket_sig.verification.black_box import Ask

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
    typer.Option(
        help="The owner's trigger set: how much of it is still answered, and is the claim still verified.",
        show_default=False,
    ),
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
Scheme = Annotated[
    str | None, typer.Option(help="Of the thief's own mark (own-watermark).", show_default=False)
]
Size = Annotated[int | None, typer.Option(help="Values or bits of it (own-watermark).", show_default=False)]
Rounding = Annotated[str | None, typer.Option(help="bf16 or fp16 (cast).", show_default=False)]
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
    locked: options.Locked = None,
    triggers: Triggers = None,
    control: black_box.Controls = None,
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
    scheme: Scheme = None,
    size: Size = None,
    precision: Rounding = None,
    seed: Annotated[int, typer.Option(help="Of whatever the thief draws.")] = 0,
    device: options.Device = "auto",
    checkpoint_every: options.CheckpointEvery = 20,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig import attacks
    from ticket_sig.errors import about
    from ticket_sig.evaluation.attack_report import attack_report
    from ticket_sig.formats import load, save

    given: dict[str, Any] = {"rate": rate, "scale": scale, "share": share, "count": count, "message": message}
    given |= {"layer": layer, "epochs": epochs, "lr": lr, "images": images, "scheme": scheme, "size": size}
    given["precision"] = precision
    chosen = attacks.attack(name, **options.changes(**given))
    options.check_free(bundle, force)
    loaded = load(model)
    owner, place, secret, handed_out = _owner(name, claim or loaded.claim, insider, key, locked)
    state = bundle.with_name(f"{bundle.name}.run")
    with about(model), options.engine(device, checkpoint_every) as engine:
        recipe, images_of = _recipe_and_data(loaded.ticket, arch, dataset, data)
        scene = attacks.Scene(
            data=images_of, recipe=recipe, engine=engine, run=state, seed=seed, signature=place
        )
        taught = _trigger_set(loaded.ticket, scene, owner, triggers) if triggers else None
        tried: dict[str, Any] = {"claim": owner, "key": secret, "locked": handed_out, "triggers": taught}
        tried["controls"] = _controls(taught, control or (), arch, dataset)
        attacked, forged = attacks.carry_out(chosen, loaded.ticket, scene)
        report = attack_report(loaded.ticket, attacked, scene, **tried, forged=forged)
    save(attacked, bundle, claim=forged.to_json() if forged else None, replace=force)
    if any(entry.step == "train" for entry in attacked.history):
        shutil.rmtree(state)
    _tell(name, chosen, report, bundle, as_json)


class _Owner(NamedTuple):
    """What the owner shows, and the place that an insider knows of it."""

    claim: Claim | None
    place: Signature | None
    key: Key | None
    locked: Ticket | None


def _owner(name: str, path: Path | None, insider: bool, key: Path | None, locked: Path | None) -> _Owner:
    """Reads what there is of the owner's; refuses what the attack or the claim has no use for."""
    from ticket_sig.attacks import OF_INSIDERS
    from ticket_sig.attacks.scene import place_of
    from ticket_sig.claim import Claim
    from ticket_sig.errors import bad_input

    if insider and name not in OF_INSIDERS:
        raise bad_input("", "--insider", f"an attack that uses the place ({', '.join(OF_INSIDERS)})", name)
    if path is None:
        if insider:
            raise bad_input("", "--insider", "a claim, which names the place: --claim FILE", "none")
        if key or locked:
            raise bad_input("", "--key, --locked", "a claim to try: --claim FILE", "none")
        return _Owner(None, None, None, None)
    claim = Claim.read(path)
    if key or locked:
        options.check_scheme_1(claim)
    place = place_of(claim) if insider else None
    return _Owner(claim, place, *(options.key_and_locked(key, path, locked) if key else (None, None)))


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


def _trigger_set(ticket: Ticket, scene: Scene, claim: Claim | None, path: Path) -> TriggerSet:
    """The owner's trigger set: the claim's, or else one for the network's images and classes."""
    from ticket_sig.attacks.train_on import task_of
    from ticket_sig.signatures import scheme3
    from ticket_sig.signatures.triggers import read_triggers

    if claim is not None and claim.scheme == scheme3.SCHEME:
        return black_box.triggers_of(claim, path)
    data = task_of(ticket, scene).data
    height, width, channels = data.train.images.shape[1:]
    return read_triggers(path, (height, width, channels), data.classes)


def _controls(
    taught: TriggerSet | None, paths: Sequence[Path], arch: str | None, dataset: str | None
) -> list[Ask]:
    """How to ask the control networks, of which there are to be some where somebody chose the triggers."""
    from ticket_sig.errors import bad_input

    if taught is None:
        if paths:
            raise bad_input("", "--control", "triggers to ask it about: --triggers", "none")
        return []
    return black_box.controls_of(paths, taught.size[2], arch, dataset)


def _read(decision: Decision) -> str:
    if decision.verdict is None or "message" not in decision.verdict.evidence:
        return ""
    return "cannot be read" if decision.message is None else decision.message


def _tell(name: str, chosen: Attack, report: AttackReport, bundle: Path, as_json: bool) -> None:
    if as_json:
        print_json({"attack": name, "options": vars(chosen), "bundle": str(bundle), **report.to_json()})
        return
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
    if report.taught:
        rows += [("the claim on the triggers", *(decision.outcome for decision in report.taught))]
    if report.forged:
        rows += [("the thief's claim", "", report.forged.outcome)]
    shown = [row for row in rows if any(row[1:])]  # what was not measured says nothing
    out.print(table(name, ("", "before", "after"), shown))
    tried = [decision for pair in report.marks.values() for decision in pair]
    for reason in dict.fromkeys(decision.reason for decision in tried if decision.reason):
        out.print(f"could not verify: {printable(reason)}")
    if report.outcome:
        out.print(report.outcome)
    out.print(f"bundle: {bundle}")
