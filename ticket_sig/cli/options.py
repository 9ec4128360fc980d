"""Options that several verbs have, and how they become a recipe, a data set and an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_sig.cli.output import progress

if TYPE_CHECKING:
    from torch import nn

    from ticket_sig.claim import Claim
    from ticket_sig.datasets import Dataset
    from ticket_sig.signatures.scheme1 import Key
    from ticket_sig.ticket import Ticket
    from ticket_sig.training.loop import Engine
    from ticket_sig.training.recipe import Recipe

Model = Annotated[
    Path, typer.Argument(help="A bundle, a .safetensors file or a torch checkpoint.", show_default=False)
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the data set; digits needs none.", show_default=False)
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of initial weights, shuffling and augmentation.", show_default=False)
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Length of a training, in place of the preset's.", show_default=False),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Locked = Annotated[
    Path | None,
    typer.Option(
        "--locked",
        help="The locked bundle as it was handed out (scheme 1); by default the claim's own folder.",
        show_default=False,
    ),
]
Precision = Annotated[
    str, typer.Option(help="auto, bf16 or float32; auto is bf16 where the hardware has it.")
]
CheckpointEvery = Annotated[
    float, typer.Option(min=0, help="Seconds between checkpoints: what a kill may cost.")
]


def changes(**values: Any) -> dict[str, Any]:
    """The options that were given, as changes to a recipe."""
    return {name: value for name, value in values.items() if value is not None}


def length_change(epochs: int | None) -> dict[str, Any]:
    """`--epochs` as a change to a recipe."""
    from ticket_sig.training.steps import Steps

    return {} if epochs is None else {"length": Steps(epochs)}


@contextmanager
def engine(device: str, checkpoint_every: float) -> Iterator[Engine]:
    """The engine of a training verb, with a progress bar while the block runs."""
    from ticket_sig.training.device import pick_device
    from ticket_sig.training.loop import Engine

    picked = pick_device(device)
    with progress() as bars:
        yield Engine(device=picked, checkpoint_seconds=checkpoint_every, progress=bars)


def recipe_of(known: Mapping[str, Any] | None, preset_name: str | None, **overrides: Any) -> Recipe:
    """The recipe of a bundle, or a preset's, with what was given on the command line.

    Raises:
        InputError: the bundle has no recipe and the command line does not say enough.
    """
    from ticket_sig.errors import bad_input
    from ticket_sig.training.recipe import Recipe, preset

    given = changes(**overrides)
    if known is not None and preset_name is None:
        return replace(Recipe.from_json(known), **given)
    names = {"arch": (known or {}).get("arch"), "dataset": (known or {}).get("dataset"), **given}
    if not (names["arch"] and names["dataset"]):
        raise bad_input("", "recipe", "one in the bundle, or --arch and --dataset", "neither")
    return preset(preset_name or "quick", **names)


def check_free(bundle: Path, force: bool) -> None:
    """Checks, before hours of training, that its bundle can be written.

    Raises:
        InputError: the name is taken, and not to be overwritten.
    """
    from ticket_sig.errors import bad_input

    if bundle.exists() and not force:
        hint = "choose another or pass --force"
        raise bad_input(bundle, "output folder", "a name not taken yet", "one that is", hint=hint)


def network_and_data(
    ticket: Ticket, arch: str | None, dataset: str | None, folder: Path | None
) -> tuple[nn.Module | None, Dataset | None]:
    """The network and data set that options name, or else the bundle's recipe; None where neither does."""
    from ticket_sig.datasets import load_dataset
    from ticket_sig.models import build_for

    known = ticket.recipe or {}
    arch, dataset = arch or known.get("arch"), dataset or known.get("dataset")
    data = load_dataset(dataset, folder) if dataset and (folder or dataset == "digits") else None
    return (build_for(arch, ticket.weights) if arch else None), data


def check_scheme_1(claim: Claim) -> None:
    """Checks that a claim has a use for --key and --locked.

    Raises:
        InputError: it is not of scheme 1, nor does its trigger set stand beside one.
    """
    from ticket_sig.errors import bad_input
    from ticket_sig.signatures import scheme1
    from ticket_sig.signatures.scheme3 import in_mask

    if (scheme := in_mask(claim).scheme) != scheme1.SCHEME:
        raise bad_input(claim.source, "scheme", f"{scheme1.SCHEME!r}, for --key and --locked", repr(scheme))


def key_and_locked(key: Path, claim: Path, locked: Path | None) -> tuple[Key, Ticket]:
    """What scheme 1 is verified with: the key, and the locked ticket that was handed out with the claim.

    Args:
        locked: its bundle; None: the folder that the claim's file lies in.

    Raises:
        InputError: one is missing or damaged, or the claim lies in no bundle.
    """
    from ticket_sig.errors import bad_input
    from ticket_sig.formats import load
    from ticket_sig.formats.bundle import is_bundle
    from ticket_sig.signatures.scheme1 import Key

    if locked is None and not is_bundle(claim.parent):
        hint = "give it: --locked DIR"
        raise bad_input(
            claim, "locked ticket", "the bundle that this claim was handed out in", "none", hint=hint
        )
    return Key.read(key), load(locked or claim.parent).ticket
