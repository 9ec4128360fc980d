"""Options that several verbs have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli.output import progress
from ticket_sig.errors import bad_input
from ticket_sig.files import check_new, check_room, read_json
from ticket_sig.options import Options, one_named, option

if TYPE_CHECKING:
    from ticket_sig.datasets import Dataset
    from ticket_sig.key_pair import KeyPair
    from ticket_sig.marks.trigger_set.triggers import TriggerSet
    from ticket_sig.training.batches import TriggerBatch
    from ticket_sig.training.loop import Engine
    from ticket_sig.training.recipe import Recipe
    from ticket_sig.training.recorder import Recorder

Model = Annotated[
    Path,
    typer.Argument(
        help="A bundle, a .safetensors file, a folder of them with its index, or a torch checkpoint."
    ),
]
MaskFile = Annotated[
    Path | None,
    typer.Option("--mask", help="File of the model's pruning mask (0 and 1), where it lies apart from it."),
]
Data = Annotated[Path | None, typer.Option(help="Folder of the data set; digits needs none.")]
Arch = Annotated[str | None, typer.Option(help="Network, where the bundle does not say.")]
DatasetName = Annotated[str | None, typer.Option(help="Data set, where the bundle does not say.")]
ClaimFile = Annotated[Path, typer.Option("--claim", help="Claim file.")]
OwnClaim = Annotated[Path | None, typer.Option("--claim", help="Claim file; the bundle's own by default.")]
Bundle = Annotated[Path, typer.Option("--out", help="Bundle to write.")]
Folder = Annotated[Path, typer.Option("--out", help="Folder to write.")]
CONTROL = (
    "An innocent network of the same task, as good as the suspect, asked the same; may be repeated. Needed "
    "where somebody chose the triggers (a folder)."
)
TriggerOrder = Annotated[
    str | None,
    typer.Option(
        help="Order of a folder's pictures, line k of the labels being the k-th one's: string (1, 10, 2) or "
        "number (1, 2, 10). By default string if the labels are in labels-cifar.txt, else number."
    ),
]
TriggerFit = Annotated[
    str | None,
    typer.Option(
        help="How a folder's pictures become as large as the network's images: cut (the centre) or scaled. "
        "By default cut if the labels are in labels-cifar.txt, else scaled."
    ),
]
TriggerSize = Annotated[
    int | None, typer.Option("--trigger-batch", help="Triggers appended to every batch; 4 by default.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of initial weights, shuffling and augmentation.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Another recipe: paper, open-lth, quick or demo. Where the bundle has none: quick by default, "
        "demo for digits."
    ),
]
NewArch = Annotated[str, typer.Option(help="Network: {}.")]
NewDataset = Annotated[str, typer.Option(help="Data set: {}.")]
NewPreset = Annotated[
    str | None,
    typer.Option(help="Recipe: paper, open-lth, quick or demo; quick by default, demo for digits."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Length of a training, in place of the preset's.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str, typer.Option(help="auto, bf16 or float32; auto is bf16 where the hardware has it.")
]
PassphraseEnv = Annotated[
    str | None, typer.Option(help="Environment variable that holds the passphrase of the key's file.")
]
SignWith = Annotated[
    Path | None, typer.Option("--sign", help="Sign with this key pair, which `keygen` made.")
]
CheckpointEvery = Annotated[
    float, typer.Option(min=0, help="Seconds between checkpoints: what a kill may cost.")
]

SPARSE = (
    "Leave pruned weights out of the computation, on a CPU: off; on, in every layer that something is "
    "pruned of and that allows it; or auto, where it is measured to be faster, so that two runs alike may "
    "differ in bits."
)
Sparse = Annotated[str, typer.Option(help=f"{SPARSE} A run goes on as it was begun.")]
_SPARSE: dict[str, bool | str] = {"off": False, "on": True, "auto": "auto"}


def new_training(run: Callable[..., None]) -> Callable[..., None]:
    """A verb that trains from the beginning: its help lists the networks and data sets."""
    from ticket_sig.cli.declared import with_names
    from ticket_sig.datasets import DATASETS
    from ticket_sig.models import MODELS

    return with_names(run, arch=MODELS, dataset=DATASETS)


def changes(**values: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def length_change(epochs: int | None) -> dict[str, Any]:
    """`--epochs` as a change to a recipe."""
    from ticket_sig.training.steps import Steps

    return {} if epochs is None else {"length": Steps(epochs)}


def recipe(
    preset: str | None,
    arch: str,
    dataset: str,
    precision: str,
    engine: Engine,
    epochs: int | None,
    **changes: Any,
) -> Recipe:
    """The recipe of a training from the beginning: a preset, changed by options."""
    from ticket_sig.training.device import pick_precision
    from ticket_sig.training.recipe import default_preset
    from ticket_sig.training.recipe import preset as named

    name = preset or default_preset(dataset)
    chosen = pick_precision(precision, engine.device)
    return named(name, arch=arch, dataset=dataset, precision=chosen, **changes, **length_change(epochs))


def sparse_of(name: str) -> bool | str:
    """`--sparse` as an `Engine` takes it."""
    return one_named(_SPARSE, "--sparse", name)


@contextmanager
def engine(
    device: str, checkpoint_every: float, recorder: Recorder | None = None, sparse: str = "off"
) -> Iterator[Engine]:
    """The engine of a training verb, with a progress bar while the block runs."""
    from ticket_sig.training.device import pick_device
    from ticket_sig.training.loop import Engine

    picked, layers = pick_device(device), sparse_of(sparse)
    with progress() as bars:
        yield Engine(
            device=picked,
            checkpoint_seconds=checkpoint_every,
            sparse=layers,
            progress=bars,
            recorder=recorder,
        )


def trigger_set(path: Path | None, images: Dataset, order: str | None, fit: str | None) -> TriggerSet | None:
    """The triggers of a file or folder, as large as the images of a data set; None where none is named."""
    from ticket_sig.marks.trigger_set.triggers import read_triggers

    if path is not None:
        return read_triggers(path, images.size, images.classes, order=order, fit=fit)
    if (order, fit) != (None, None):
        raise bad_input("", "--trigger-order and --trigger-fit", "triggers to read so: --triggers", "none")
    return None


def trigger_batch(taught: TriggerSet | None, size: int | None) -> TriggerBatch | None:
    """What of them is appended to every batch of a training."""
    from ticket_sig.training.batches import TriggerBatch

    if taught is not None:
        return TriggerBatch(taught.split, **changes(size=size))
    if size is not None:
        raise bad_input("", "--trigger-batch", "triggers to append: --triggers", "none")
    return None


def key_pair(path: Path | None, passphrase_env: str | None) -> KeyPair | None:
    """The key pair of a file; None where none is named."""
    from ticket_sig.key_pair import KeyPair

    return None if path is None else KeyPair.read(path, secret_of(passphrase_env, "--passphrase-env"))


def secret_of(variable: str | None, option: str) -> bytes | None:
    """The content of an environment variable; InputError where it is named and not set."""
    if variable is None:
        return None
    if not (value := os.environ.get(variable)):
        raise bad_input("", option, "the name of an environment variable that is set", repr(variable))
    return value.encode()


def check_free(bundle: Path, force: bool) -> None:
    """Checks, before hours of training, that its bundle can be written.

    Raises:
        InputError: the name is taken, and not to be overwritten; or what has it is no bundle.
        OSError: nothing can be made there.
    """
    from ticket_sig.formats.bundle import check_overwrite

    check_overwrite(bundle, force)
    check_place(bundle, force)


def check_place(path: Path, force: bool) -> None:
    """Checks, before the work, that an output can be written there; errors as of `check_free`."""
    if force:
        check_room(path)
    else:
        check_new(path, "choose another or pass --force")


def state_beside(bundle: Path) -> Path:
    """The folder that keeps the state of a training until its bundle is written."""
    place = bundle.absolute()  # `.` has no name to add to
    return place.with_name(f"{place.name}.run")


def names_for(model: Path, arch: str | None = None, dataset: str | None = None) -> list[str]:
    """Options that name network and data set of a model, with what is to be filled in; none if it says so."""
    from ticket_sig.formats.bundle import TICKET, is_bundle

    known = is_bundle(model) and read_json(model / TICKET).get("recipe")
    return [] if known else ["--arch", arch or "NAME", "--dataset", dataset or "NAME"]


def data_for(model: Path) -> list[str]:
    """The option for the folder of a bundle's data set, to be filled in; none where that needs no folder."""
    from ticket_sig.datasets.registry import FREE
    from ticket_sig.formats.bundle import TICKET, is_bundle

    recipe = read_json(model / TICKET)["recipe"] if is_bundle(model) else None
    return [] if recipe and recipe.get("dataset") == FREE else ["--data", "DIR"]


def needed(carries: str = "") -> type[Options]:
    """What marks may need beside the weights (`Mark.needs`), as options; those given go to the marks.

    Args:
        carries: only of marks that carry such a payload.
    """
    from ticket_sig.marks import MARKS

    of_weights = [kind for kind in MARKS.values() if kind.stands_in != "answers"]
    kinds = [kind for kind in of_weights if carries in ("", kind.carries)]
    texts = {name: text for kind in kinds for name, text in kind.needs.items()}
    fields = [(name, Path | None, option(text, default=None)) for name, text in texts.items()]
    return make_dataclass("Needed", fields, bases=(Options,), frozen=True, kw_only=True)
