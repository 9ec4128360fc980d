"""Write secret bits into the weights of one layer of a model, dense or sparse.

The model must lie in one file, or in a bundle; one of many safetensors files has to be merged first.

Without data only that layer is changed, and as little as it takes. With --data (or --dataset digits) the
network is fine-tuned instead, with the regularizer of Uchida et al. beside its loss, and accuracies are
measured before and after; stopped and started again, it goes on where it was.

The bundle's claim.json holds the key and the bits: who has it can find and remove them. Keep it until there
is a dispute, and have it dated. A claim of an earlier mark stays with the model that was given.

Example: ticket-sig watermark uchida embed MODEL --message "owner@example.org" --out MARKED
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, percent, print_json, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ticket_sig.datasets import Dataset
    from ticket_sig.ticket import Ticket
    from ticket_sig.training.loop import Engine
    from ticket_sig.training.recipe import Recipe
    from ticket_sig.watermarks import Uchida
    from ticket_sig.watermarks.uchida import Bits

_BITS = 128
_STRENGTH = 0.01
_SECONDS = 20.0  # between checkpoints
_GENTLER = 10  # by how much fine-tuning learns more slowly than the training that made the network

Bundle = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Bundle to write; OUT.run and OUT.mark.json keep the state until then.",
        show_default=False,
    ),
]
Message = Annotated[str | None, typer.Option(help="Text to write, in UTF-8.", show_default=False)]
Digits = Annotated[str | None, typer.Option(help="Bits to write, as 0101.", show_default=False)]
Random = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=f"So many random bits; {_BITS} where nothing is given, or as many as the layer holds.",
        show_default=False,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="Name of its weights; by default those with most weights in a filter, and most filters, first "
        "and last tensor of the file left out.",
        show_default=False,
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        help=f"Weight of the regularizer beside the loss, with data; {_STRENGTH} by default.",
        show_default=False,
    ),
]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.", show_default=False)]
DatasetName = Annotated[
    str | None, typer.Option(help="Data set, where the bundle does not say.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option(help="Another recipe: paper, open-lth, quick or demo.", show_default=False)
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Length of the fine-tuning; 1 where nothing is given.", show_default=False),
]
Device = Annotated[
    str | None,
    typer.Option(help="Of the fine-tuning: auto, cpu, cuda or cuda:N; auto by default.", show_default=False),
]
CheckpointEvery = Annotated[
    float | None,
    typer.Option(
        min=0,
        help=f"Seconds between checkpoints: what a kill may cost; {_SECONDS:g} by default.",
        show_default=False,
    ),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate; by default a tenth of the recipe's.", show_default=False)
]
Precision = Annotated[
    str | None, typer.Option(help="auto, bf16 or float32; the recipe's by default.", show_default=False)
]


def run(
    model: options.Model,
    bundle: Bundle,
    message: Message = None,
    bits: Digits = None,
    random: Random = None,
    layer: Layer = None,
    strength: Strength = None,
    data: options.Data = None,
    dataset: DatasetName = None,
    arch: Arch = None,
    preset: Preset = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    seed: options.Seed = None,
    device: Device = None,
    precision: Precision = None,
    checkpoint_every: CheckpointEvery = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.cli.watermark.inputs import check_one_file
    from ticket_sig.datasets import load_dataset
    from ticket_sig.errors import about
    from ticket_sig.formats import load, save
    from ticket_sig.watermarks import claim_of

    options.check_free(bundle, force)
    given: dict[str, Any] = {"arch": arch, "preset": preset, "epochs": epochs, "lr": lr}
    given |= {"seed": seed, "precision": precision}
    has_data = data is not None or dataset is not None
    engine_given = {"strength": strength, "device": device, "checkpoint-every": checkpoint_every}
    _check_used(has_data, given | engine_given)
    payload = _payload(message, bits, random)
    check_one_file(model, "model", "one file, or a bundle", "merge them into one file")
    ticket, accuracies = load(model).ticket, None
    state, begun = (bundle.with_name(f"{bundle.name}{end}") for end in (".run", ".mark.json"))
    with about(model):
        mark = _mark_for(ticket, payload, layer, strength)
        if not has_data:
            marked = mark.embed(ticket)
    if has_data:
        seconds = _SECONDS if checkpoint_every is None else checkpoint_every
        with options.engine(device or "auto", seconds) as engine:
            recipe = _recipe(ticket, engine, dataset, **given)
            images = load_dataset(recipe.dataset, data)
            mark = _begun(mark, begun, message is None and bits is None)
            try:
                marked, accuracies = _taught(ticket, mark, recipe, images, engine, state)
            finally:
                if not state.exists():  # it never began
                    begun.unlink()
    claim = claim_of(mark, marked.weights, accuracies and accuracies[1])
    save(marked, bundle, claim=claim.to_json(), replace=force)
    shutil.rmtree(state, ignore_errors=True)
    begun.unlink(missing_ok=True)
    _report(mark, ticket, marked, accuracies, bundle, as_json)


def _check_used(has_data: bool, given: Mapping[str, object]) -> None:
    """Refuses options of a training where there is none: whoever gave one expects it to matter."""
    from ticket_sig.errors import bad_input

    if not has_data and (unused := [name for name, value in given.items() if value is not None]):
        raise bad_input("", f"--{unused[0]}", "data to fine-tune on: --data DIR, or --dataset digits", "none")


def _payload(message: str | None, digits: str | None, random: int | None) -> Bits | None:
    """The bits that options give; None where they say nothing."""
    from ticket_sig.errors import bad_input
    from ticket_sig.watermarks.uchida import bits_from, bits_of, random_bits

    if (message, digits, random).count(None) < 2:
        raise bad_input("", "payload", "one of --message, --bits and --random", "several")
    if message is not None:
        return bits_of(message)
    if digits is not None:
        return bits_from(digits)
    return None if random is None else random_bits(random)


def _mark_for(ticket: Ticket, payload: Bits | None, layer: str | None, strength: float | None) -> Uchida:
    """The watermark; without bits to write, of as many random ones as the layer can hold, up to `_BITS`."""
    from math import prod

    from ticket_sig.watermarks import Uchida
    from ticket_sig.watermarks.uchida import layer_for, random_bits

    weights, strength = ticket.weights, _STRENGTH if strength is None else strength
    if payload is None:
        name = layer_for(weights, 1) if layer is None else layer
        capacity = prod(weights[name].shape[1:]) if name in weights else 1
        payload = random_bits(max(1, min(_BITS, capacity)))
    return Uchida.on(weights, payload, layer, strength=strength)


def _begun(mark: Uchida, path: Path, is_random: bool) -> Uchida:
    """The watermark that a stopped run was begun with: no key is made twice. Else this one, which is kept."""
    from ticket_sig.errors import about, bad_input
    from ticket_sig.files import SECRET, read_json, write_json
    from ticket_sig.watermarks import Uchida

    if not path.exists():
        write_json(path, mark.to_json(), SECRET)
        return mark
    with about(path):
        begun = Uchida.from_json(read_json(path))
    same = begun.payload == mark.payload or (is_random and len(begun.payload) == len(mark.payload))
    if not same or (begun.layer, begun.shape, begun.strength) != (mark.layer, mark.shape, mark.strength):
        expected = "the bits, layer and strength that this run was begun with"
        raise bad_input(path, "watermark", expected, "others", hint="choose another --out")
    return begun


def _recipe(
    ticket: Ticket,
    engine: Engine,
    dataset: str | None,
    *,
    arch: str | None,
    preset: str | None,
    epochs: int | None,
    lr: float | None,
    seed: int | None,
    precision: str | None,
) -> Recipe:
    """How it is fine-tuned: the model's own recipe, or a preset, but shorter and more slowly."""
    from dataclasses import replace

    from ticket_sig.training.device import pick_precision

    recipe = options.recipe_of(
        ticket.recipe,
        preset,
        arch=arch,
        dataset=dataset,
        seed=seed,
        precision=precision and pick_precision(precision, engine.device),
        **options.length_change(epochs or 1),
    )
    return replace(recipe, lr=recipe.lr / _GENTLER if lr is None else lr)


def _taught(
    ticket: Ticket, mark: Uchida, recipe: Recipe, images: Dataset, engine: Engine, state: Path
) -> tuple[Ticket, tuple[float, float]]:
    """The network fine-tuned with the regularizer; test accuracy (%, float32) before and after."""
    from ticket_sig.lottery import retrain
    from ticket_sig.training.evaluate import weights_accuracy

    marked = retrain(ticket, recipe, images, state, start="model", mark=mark, engine=engine)
    before, after = (
        weights_accuracy(t.weights, recipe.arch, images, engine.device) for t in (ticket, marked)
    )
    return marked, (before, after)


def _report(
    mark: Uchida,
    ticket: Ticket,
    marked: Ticket,
    accuracies: tuple[float, float] | None,
    bundle: Path,
    as_json: bool,
) -> None:
    from ticket_sig.statistics import format_p
    from ticket_sig.watermarks.uchida import text_of

    reading = mark.read(marked.weights)
    old, new = (t.weights[mark.layer].double() for t in (ticket, marked))
    changed = float((new - old).norm() / old.norm())
    if as_json:
        before, after = accuracies or (None, None)
        told = {"layer": mark.layer, "capacity": mark.capacity, "changed": changed, **reading.to_json()}
        accuracy = {"before": before, "after": after}
        print_json({"bundle": str(bundle), **told, "verified": reading.verdict().verified, **accuracy})
        return
    if text := text_of(mark.payload):
        out.print(f"message: {printable(text)}")
    out.print(f"layer: {mark.layer}, {mark.capacity} weights in a filter; changed by {100 * changed:.1f} %")
    out.print(f"bits: {reading.wrong} of {len(mark.payload)} wrong, p-value {format_p(reading.log10_p)}")
    if accuracies:
        out.print(f"before: {percent(accuracies[0])} % test accuracy")
        out.print(f"after:  {percent(accuracies[1])} % test accuracy")
    if not reading.verdict().verified:
        out.print(f"too weak to verify: it takes {_what_helps(mark, accuracies is not None)}")
    claim = bundle / "claim.json"
    out.print(f"bundle: {bundle}\nclaim: {claim}, with the key; keep it")
    out.print(f"next: ticket-sig watermark uchida decode SUSPECT --claim {claim}")


def _what_helps(mark: Uchida, taught: bool) -> str:
    """By what bits that are too weak would stand out more."""
    ways = ["longer --epochs", "a larger --strength"] if taught else []
    if len(mark.payload) < mark.capacity:
        ways.append(f"more bits (--random N, up to {mark.capacity} in this layer)")
    return ", or ".join([*ways, "a --layer with more weights in a filter"])
